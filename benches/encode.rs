//! Lines to key, value and server, as a worker has it done: parse, look up the device type, serialize.
//! Records and bytes of text a second. The line ends are found beforehand, and nothing is put into a batch.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memc_core::apps::AppsEncoder;
use memc_core::{Encode, Record};
use memc_testkit::{DEVICE_TYPES, Sample};

/// More than the branch predictor can memorize: 1,000 lines look a quarter faster than they are.
const LINES: usize = 10_000;

fn encode(criterion: &mut Criterion) {
    let text = Sample::new(1).text(LINES);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut encoder = AppsEncoder::new(DEVICE_TYPES);
    let mut record = Record::default();
    let mut group = criterion.benchmark_group("encode");
    group.throughput(Throughput::ElementsAndBytes { elements: LINES as u64, bytes: text.len() as u64 });
    group.bench_function("AppsEncoder", |bench| {
        bench.iter(|| {
            let encoded = lines.iter().filter(|line| {
                record.key.clear();
                record.value.clear();
                let server = encoder.encode(black_box(line), &mut record);
                black_box(&record);
                matches!(server, Ok(Some(_)))
            });
            assert_eq!(encoded.count(), LINES);
        });
    });
}

criterion_group!(benches, encode);
criterion_main!(benches);
