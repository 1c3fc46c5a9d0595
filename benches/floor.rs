//! The yardstick for a load: inflating with libdeflate, sending ready-made commands, and both at once.
//!
//! To be compared with the `load` benches, which load as many records of the same shape.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memc_testkit::{Floor, Memcached, Sample, gzip};

const RECORDS: usize = 200_000;

fn floor(criterion: &mut Criterion) {
    let start = || Memcached::start(&["-m", "1024"]).expect("memcached starts");
    let servers = [start(), start(), start(), start()];
    let addresses = servers.each_ref().map(Memcached::address);
    let compressed = gzip(&Sample::new(1).text(RECORDS)).expect("writing to memory");
    let mut floor = Floor::new(compressed).expect("a gzip member");
    assert_eq!(floor.records(), RECORDS as u64);

    let mut group = criterion.benchmark_group("floor");
    group.sample_size(10).throughput(Throughput::Elements(floor.records()));
    group.bench_function("inflate", |bench| bench.iter(|| floor.inflate().expect("it is inflated")));
    group.bench_function("send", |bench| bench.iter(|| floor.send(&addresses).expect("all is stored")));
    group.bench_function("both", |bench| bench.iter(|| floor.both(&addresses).expect("all is stored")));
}

criterion_group!(benches, floor);
criterion_main!(benches);
