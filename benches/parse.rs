//! Lines to `AppsInstalled`: records and bytes of text a second. The line ends are found beforehand.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memc_core::apps::AppsInstalled;
use memc_testkit::Sample;

/// More than the branch predictor can memorize: 1,000 lines look a quarter faster than they are.
const LINES: usize = 10_000;

fn parse(criterion: &mut Criterion) {
    let text = Sample::new(1).text(LINES);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut apps = Vec::new();
    let mut group = criterion.benchmark_group("parse");
    group.throughput(Throughput::ElementsAndBytes { elements: LINES as u64, bytes: text.len() as u64 });
    group.bench_function("AppsInstalled", |bench| {
        bench.iter(|| {
            let parsed = lines.iter().filter(|line| {
                let record = AppsInstalled::parse(black_box(line), &mut apps);
                matches!(black_box(record), Ok(Some(_)))
            });
            assert_eq!(parsed.count(), LINES);
        });
    });
}

criterion_group!(benches, parse);
criterion_main!(benches);
