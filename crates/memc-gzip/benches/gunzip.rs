//! Logs of each level of compression, decompressed by this crate and by flate2: bytes of output a second.
//!
//! The example `compare` does the same for any files, in pairs and by CPU time.

use std::io::{self, Read};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use flate2::Compression;
use flate2::bufread::{GzEncoder, MultiGzDecoder};
use memc_gzip::GzReader;
use memc_testkit::Sample;

const LINES: usize = 20_000;

fn gunzip(criterion: &mut Criterion) {
    let text = Sample::new(1).text(LINES);
    let bytes = text.len() as u64;
    for level in [1, 6, 9] {
        let mut compressed = Vec::new();
        GzEncoder::new(&text[..], Compression::new(level)).read_to_end(&mut compressed).expect("in memory");
        let mut group = criterion.benchmark_group(format!("gunzip/level {level}"));
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function("memc-gzip", |bench| {
            bench.iter(|| assert_eq!(drain(GzReader::new(&compressed[..])).expect("sound"), bytes));
        });
        group.bench_function("flate2", |bench| {
            bench.iter(|| assert_eq!(drain(MultiGzDecoder::new(&compressed[..])).expect("sound"), bytes));
        });
    }
}

fn drain(mut reader: impl Read) -> io::Result<u64> {
    io::copy(&mut reader, &mut io::sink())
}

criterion_group!(benches, gunzip);
criterion_main!(benches);
