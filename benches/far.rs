//! A load with memc-load's own settings into four real memcached that are far away: records a second, with every byte
//! late, so that a round trip takes 0, 1 and 10 ms longer. The proxies that delay it share the cores, so only the
//! ratios mean something.

use std::iter;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput, criterion_group, criterion_main};
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Input, Loader, Options};
use memc_testkit::{DEVICE_TYPES, Fault, Memcached, Proxy, Sample, gzip};

const LINES: usize = 1_000_000;

fn far(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("20170929000000.tsv.gz");
    std::fs::write(&file, gzip(&Sample::new(1).text(LINES)).expect("gzip")).expect("a file");
    let servers = DEVICE_TYPES.map(|_| Memcached::start(&["-m", "512"]).expect("memcached"));

    let mut group = criterion.benchmark_group("far");
    group.sampling_mode(SamplingMode::Flat);
    group.throughput(Throughput::Elements(LINES as u64));
    for millis in [0, 1, 10] {
        let late = iter::repeat(Fault::Delay(Duration::from_millis(millis) / 2));
        let start = |server: &Memcached| Proxy::start(&server.address(), late.clone()).expect("a proxy");
        let proxies = servers.each_ref().map(start);
        let addresses = proxies.iter().map(|proxy| proxy.address().parse::<Address>().expect("its address"));
        let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses, Options::default());
        group.bench_function(BenchmarkId::new("ms", millis), |bench| {
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
    config = Criterion::default().sample_size(10);
    targets = far
}
criterion_main!(benches);
