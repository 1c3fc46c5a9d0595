//! Minute files with the shape of the real ones.

use std::fmt::Write as _;
use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;

use crate::DEVICE_TYPES;

/// A generator of log lines: four device types alike, 32 hex digits of id, coordinates of twelve digits,
/// 1 to 100 app ids below 10,000. The same seed gives the same lines.
#[derive(Clone, Debug)]
pub struct Sample {
    state: u64,
    /// The share of lines, from 0 to 1, that repeat an id of an earlier line.
    duplicates: f64,
    /// The share of lines, from 0 to 1, that break a rule, in one of many ways.
    bad: f64,
    seen: Vec<(&'static str, String)>,
}

impl Sample {
    /// A generator of sound lines with ids of their own.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { state: seed, duplicates: 0.0, bad: 0.0, seen: Vec::new() }
    }

    /// The same with duplicate keys and bad lines. Ids of earlier texts are repeated, too.
    #[must_use]
    pub fn with(mut self, duplicates: f64, bad: f64) -> Self {
        (self.duplicates, self.bad) = (duplicates, bad);
        self
    }

    /// The text of `lines` more lines.
    pub fn text(&mut self, lines: usize) -> Vec<u8> {
        let mut out = String::with_capacity(lines * 315);
        for _ in 0..lines {
            self.line(&mut out);
        }
        out.into_bytes()
    }

    fn line(&mut self, out: &mut String) {
        let (device_type, id) = if !self.seen.is_empty() && self.chance(self.duplicates) {
            let at = self.below(self.seen.len());
            self.seen[at].clone()
        } else {
            let new = (DEVICE_TYPES[self.below(4)], format!("{:016x}{:016x}", self.next(), self.next()));
            if self.duplicates > 0.0 && self.seen.len() < 100_000 {
                self.seen.push(new.clone());
            }
            new
        };
        let (lat, lon) = (self.coordinate(180.0), self.coordinate(90.0));
        let mut apps = self.below(10_000).to_string();
        for _ in 0..self.below(100) {
            // Writing to a String cannot fail.
            let _ = write!(apps, ",{}", self.below(10_000));
        }
        let line = if self.chance(self.bad) {
            self.broken(device_type, &id, &lat, &lon, &apps)
        } else {
            format!("{device_type}\t{id}\t{lat}\t{lon}\t{apps}")
        };
        out.push_str(&line);
        out.push('\n');
    }

    fn broken(&mut self, device_type: &str, id: &str, lat: &str, lon: &str, apps: &str) -> String {
        match self.below(12) {
            0 => format!("{device_type}\t{id}\t{lat}\t{lon}"),
            1 => format!("{device_type}\t{id}\t{lat}\t{lon}\t{apps}\tmore"),
            2 => format!("\u{c}{device_type}\t\t{lat}\t{lon}\t{apps}"),
            3 => format!("imei\t{id}\t{lat}\t{lon}\t{apps}"),
            4 => format!("{device_type}\t{id}\tnorth\t{lon}\t{apps}"),
            5 => format!("{device_type}\t{id}\t{lat}\t\t{apps}"),
            6 => format!("{device_type}\t{id} x\t{lat}\t{lon}\t{apps}"),
            7 => format!("{device_type}\t{id}\u{0}\t{lat}\t{lon}\t{apps}"),
            8 => format!("{device_type}\t{}\t{lat}\t{lon}\t{apps}", "k".repeat(250)),
            9 => format!("{device_type}\t{id}\t{lat}\t{lon}\t{apps},x7,-1,4294967296, 4294967295,"),
            10 => format!("  {device_type}\t{id}\t 1e2 \t-.5\t 7 ,+8,09,-0\r"),
            _ => " \t \u{b}".to_owned(),
        }
    }

    fn coordinate(&mut self, bound: f64) -> String {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are asked for")]
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        format!("{:.10}", (unit * 2.0 - 1.0) * bound)
    }

    fn chance(&mut self, share: f64) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "53 bits are asked for")]
        let unit = (self.next() >> 11) as f64 / (1u64 << 53) as f64;
        unit < share
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// The next number of `SplitMix64`, a generator that any seed suits
    /// (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014).
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// The text as one gzip member.
///
/// # Errors
///
/// None in practice: it writes to memory.
pub fn gzip(text: &[u8]) -> io::Result<Vec<u8>> {
    let mut out = GzEncoder::new(Vec::new(), Compression::default());
    out.write_all(text)?;
    out.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A real file of 1.07 GB has 3,422,995 lines, so 312 bytes each.
    #[test]
    fn lines_are_as_long_as_real_ones() {
        const LINES: usize = 10_000;
        let text = String::from_utf8(Sample::new(1).text(LINES)).expect("ASCII");
        assert_eq!(text.lines().count(), LINES);
        assert!((305..320).contains(&(text.len() / LINES)), "{} bytes", text.len());
        let ids: Vec<&str> = text
            .lines()
            .filter_map(|line| line.rsplit('\t').next())
            .flat_map(|apps| apps.split(','))
            .collect();
        assert!((48..53).contains(&(ids.len() / LINES)), "{} app ids", ids.len());
        let of_four_digits = ids.iter().filter(|id| id.len() == 4).count();
        assert!((85..95).contains(&(of_four_digits * 100 / ids.len())), "{of_four_digits} of four digits");
    }
}
