//! From the bytes of a file in memory to lines: records and bytes of plain text a second, with one worker.
//!
//! It is a dry run whose encoder skips every line. So it includes inflating with its check of the CRC and
//! cutting at line ends, both on the reader's thread; and on the worker's, finding the end of each line in
//! its chunk and passing on the empty batches. "plain text" is the same without inflating.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memc_core::{Address, Encode, Input, Loader, Options, Record, RejectReason};
use memc_testkit::{Sample, gzip};

const LINES: usize = 50_000;

/// Counts a line and does nothing with it.
#[derive(Clone)]
struct Skip;

impl Encode for Skip {
    fn encode(&mut self, _line: &[u8], _record: &mut Record) -> Result<Option<usize>, RejectReason> {
        Ok(None)
    }
}

fn inflate_and_cut(criterion: &mut Criterion) {
    // An input owns what it reads; these are there to the end anyway.
    let text: &[u8] = Sample::new(1).text(LINES).leak();
    let compressed: &[u8] = gzip(text).expect("gzip").leak();
    // Never connected to.
    let servers = vec!["127.0.0.1:33013".parse::<Address>().expect("an address")];
    let mut options = Options::default();
    options.threads = 1;
    let loader = Loader::new(Skip, servers, options);
    let mut group = criterion.benchmark_group("inflate_and_cut");
    group.throughput(Throughput::ElementsAndBytes { elements: LINES as u64, bytes: text.len() as u64 });
    for (name, bytes) in [("gzip", compressed), ("plain text", text)] {
        group.bench_function(name, |bench| {
            bench.iter(|| {
                let input = Input::bytes(name, bytes);
                let report = loader.dry_run([input], |_| (), |_| Ok(()));
                assert_eq!(report.expect("a dry run").counts.lines, LINES as u64);
            });
        });
    }
}

criterion_group!(benches, inflate_and_cut);
criterion_main!(benches);
