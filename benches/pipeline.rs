//! What carries records to a server, without inflating and parsing: plain text in memory through an encoder
//! that only splits the line, batches, turns and one connection into one real memcached. Records and bytes
//! of text a second, with a thread for each core; what is sent has nearly the size of the text.
//!
//! The memcached runs on the same cores and takes a good part of the time. After the first round its keys
//! are overwritten.

use criterion::{Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use memc_core::{Address, Encode, Input, Loader, Options, Record, RejectReason};
use memc_testkit::{Memcached, Sample};

const LINES: usize = 50_000;

/// The id of a line is its key, all behind it the value.
#[derive(Clone)]
struct Split;

impl Encode for Split {
    fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, RejectReason> {
        // A type of four letters, a tab, an id of 32 digits and a tab.
        record.key.extend_from_slice(line.get(5..37).ok_or(RejectReason::FieldCount)?);
        record.value.extend_from_slice(line.get(38..).ok_or(RejectReason::FieldCount)?);
        Ok(Some(0))
    }
}

fn pipeline(criterion: &mut Criterion) {
    // An input owns what it reads; this is there to the end anyway.
    let text: &[u8] = Sample::new(1).text(LINES).leak();
    let server = Memcached::start(&["-m", "256"]).expect("memcached");
    let address: Address = server.address().parse().expect("its address");
    let loader = Loader::new(Split, vec![address], Options::default());
    let mut group = criterion.benchmark_group("pipeline");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes { elements: LINES as u64, bytes: text.len() as u64 });
    group.bench_function("one server", |bench| {
        bench.iter(|| {
            let report = loader.load([Input::bytes("text", text)], |_| Ok(())).expect("a load");
            assert_eq!(report.counts.loaded, LINES as u64);
        });
    });
}

criterion_group!(benches, pipeline);
criterion_main!(benches);
