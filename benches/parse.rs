//! One line to an `AppsInstalled`, in bytes and lines a second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memc_core::AppsInstalled;
use memc_testkit::Sample;

const LINES: usize = 1000;

fn parse(criterion: &mut Criterion) {
    let text = Sample::new(1).text(LINES);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut apps = Vec::new();
    let mut all = || {
        let parsed = lines.iter().filter(|line| {
            let record = AppsInstalled::parse(black_box(line), &mut apps);
            matches!(black_box(record), Ok(Some(_)))
        });
        assert_eq!(parsed.count(), LINES);
    };
    let mut group = criterion.benchmark_group("parse");
    group
        .throughput(Throughput::Bytes(text.len() as u64))
        .bench_function("bytes", |bench| bench.iter(&mut all));
    group
        .throughput(Throughput::Elements(LINES as u64))
        .bench_function("records", |bench| bench.iter(&mut all));
}

criterion_group!(benches, parse);
criterion_main!(benches);
