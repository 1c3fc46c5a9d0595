//! How much faster than flate2 this crate is on your files: `compare FILE.gz...`, built with `--release`.
//!
//! Each file is decompressed in memory by both in turns, eleven times, and each one comes first every other time. What
//! counts is CPU time, so other programs on the machine disturb little.

use std::error::Error;
use std::io::{BufReader, Read};
use std::time::Duration;

use flate2::bufread::MultiGzDecoder;
use memc_gzip::GzReader;
use rustix::time::{ClockId, clock_gettime};

const PAIRS: usize = 11;

#[expect(clippy::print_stdout, reason = "a program for the terminal")]
fn main() -> Result<(), Box<dyn Error>> {
    println!("  flate2 MB/s  memc-gzip MB/s  times as fast (lowest to highest)  file");
    for path in std::env::args().skip(1) {
        let compressed = std::fs::read(&path)?;
        let mut pairs = Vec::new();
        let mut bytes = 0;
        for round in 0..PAIRS {
            let mut times = [0.0; 2];
            for contestant in [round % 2, 1 - round % 2] {
                let input = BufReader::with_capacity(128 * 1024, &compressed[..]);
                (bytes, times[contestant]) = match contestant {
                    0 => timed(MultiGzDecoder::new(input))?,
                    _ => timed(GzReader::new(input))?,
                };
            }
            pairs.push(times);
        }
        let sorted = |of: fn(&[f64; 2]) -> f64| {
            let mut values: Vec<f64> = pairs.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values
        };
        let ratios = sorted(|[flate2, own]| flate2 / own);
        #[expect(clippy::cast_precision_loss, reason = "it is shown in whole megabytes")]
        let pace = |seconds: Vec<f64>| bytes as f64 / 1e6 / seconds[PAIRS / 2];
        println!(
            "{:13.0} {:15.0} {:9.2} ({:.2} to {:.2})              {path}",
            pace(sorted(|times| times[0])),
            pace(sorted(|times| times[1])),
            ratios[PAIRS / 2],
            ratios[0],
            ratios[PAIRS - 1],
        );
    }
    Ok(())
}

/// How many bytes come out of it, and the seconds of CPU time that takes.
fn timed(mut reader: impl Read) -> Result<(u64, f64), Box<dyn Error>> {
    let start = cpu_time()?;
    let mut buffer = vec![0; 128 * 1024];
    let mut bytes = 0;
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok((bytes, (cpu_time()? - start).as_secs_f64())),
            length => bytes += length as u64,
        }
    }
}

/// That of this thread.
fn cpu_time() -> Result<Duration, Box<dyn Error>> {
    Ok(clock_gettime(ClockId::ThreadCPUTime).try_into()?)
}
