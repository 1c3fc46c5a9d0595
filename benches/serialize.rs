//! Parsed lines to key and value, by hand as memc-core does it and by prost: records and bytes written a
//! second.

use std::hint::black_box;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use memc_core::apps::{AppsInstalled, UserApps, serialize};
use memc_testkit::Sample;
use prost::Message;

/// More than the branch predictor can memorize: 1,000 lines look a quarter faster than they are.
const LINES: usize = 10_000;

fn serialized(criterion: &mut Criterion) {
    let text = Sample::new(1).text(LINES);
    let lines: Vec<&[u8]> = text.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
    let mut apps = vec![Vec::new(); LINES];
    let records: Vec<AppsInstalled<'_>> = lines
        .iter()
        .zip(&mut apps)
        .map(|(line, apps)| AppsInstalled::parse(line, apps).ok().flatten().expect("a sound line"))
        .collect();
    let mut message = UserApps::default();
    let mut by_prost = |record: &AppsInstalled<'_>, key: &mut Vec<u8>, value: &mut Vec<u8>| {
        key.clear();
        key.extend_from_slice(record.device_type);
        key.push(b':');
        key.extend_from_slice(record.device_id);
        message.apps.clear();
        message.apps.extend_from_slice(record.apps);
        (message.lat, message.lon) = (Some(record.lat), Some(record.lon));
        value.clear();
        // A Vec grows, so there is always room.
        let _ = message.encode(value);
    };

    let (mut key, mut value) = (Vec::new(), Vec::new());
    let mut bytes = 0;
    for record in &records {
        by_prost(record, &mut key, &mut value);
        bytes += key.len() + value.len();
    }
    let mut group = criterion.benchmark_group("serialize");
    group.throughput(Throughput::ElementsAndBytes { elements: LINES as u64, bytes: bytes as u64 });
    group.bench_function("by hand", |bench| {
        bench.iter(|| {
            let lengths = records.iter().map(|record| {
                serialize(black_box(record), &mut key, &mut value);
                black_box(&key).len() + black_box(&value).len()
            });
            assert_eq!(lengths.sum::<usize>(), bytes);
        });
    });
    group.bench_function("prost", |bench| {
        bench.iter(|| {
            let lengths = records.iter().map(|record| {
                by_prost(black_box(record), &mut key, &mut value);
                black_box(&key).len() + black_box(&value).len()
            });
            assert_eq!(lengths.sum::<usize>(), bytes);
        });
    });
}

criterion_group!(benches, serialized);
criterion_main!(benches);
