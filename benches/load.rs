//! The whole load of a gzip file into four real memcached, at 1, 2 and 4 threads (the reader has a further
//! one of its own): records and decompressed bytes a second. The file is in the page cache.
//!
//! The servers run on the same cores and take a good part of the time. After the first round their keys are
//! overwritten. Each round makes new connections, as a run of memc-load does.

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Input, Loader, Options};
use memc_testkit::{DEVICE_TYPES, Memcached, Sample, gzip};

const LINES: usize = 200_000;

fn load(criterion: &mut Criterion) {
    let text = Sample::new(1).text(LINES);
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("20170929000000.tsv.gz");
    std::fs::write(&file, gzip(&text).expect("gzip")).expect("a file");
    let servers = DEVICE_TYPES.map(|_| Memcached::start(&["-m", "256"]).expect("memcached"));
    let addresses: Vec<_> =
        servers.iter().map(|server| server.address().parse::<Address>().expect("its address")).collect();

    let mut group = criterion.benchmark_group("load");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::ElementsAndBytes { elements: LINES as u64, bytes: text.len() as u64 });
    for threads in [1, 2, 4] {
        let mut options = Options::default();
        options.threads = threads;
        let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses.clone(), options);
        group.bench_function(BenchmarkId::new("threads", threads), |bench| {
            bench.iter(|| {
                let report = loader.load([Input::path(&file)], |_| Ok(())).expect("a load");
                assert_eq!(report.counts.loaded, LINES as u64);
            });
        });
    }
}

criterion_group! {
    name = benches;
    // The command line may still say otherwise.
    config = Criterion::default().sample_size(20);
    targets = load
}
criterion_main!(benches);
