//! Figures in words: the table for the README.

use std::fmt::Write as _;

use crate::contest::Contestant;
use crate::figures::{Figures, Spread};
use crate::setting::Setting;

/// A sentence with the setting, and the table.
pub(crate) fn markdown(setting: &Setting, figures: &[Figures]) -> String {
    let Setting { cores, processor, memcached, records, head_records, rounds, .. } = setting;
    let mut out = format!(
        "{cores} cores of {processor}, shared with the four servers ({memcached}); a log of {} records, of which the old way \
         gets the first {};\nmedians of {rounds} rounds in turns (lowest to highest), fresh servers for each \
         run.\n\n\
         | | records a second | time a record, floor = 1 | speed, old way = 1 | memory |\n\
         | --- | --- | --- | --- | --- |\n",
        exact(*records),
        exact(*head_records),
    );
    for row in figures {
        let memory = row.memory_mib.map_or_else(|| "–".to_owned(), |mib| format!("{} MiB", mib.ceil()));
        // Writing to a String cannot fail.
        let _ = writeln!(
            out,
            "| {} | {} | {} | {} | {memory} |",
            name(row.contestant, setting),
            spread(row.records_per_second),
            spread(row.floors),
            spread(row.speedup),
        );
    }
    out
}

/// What the reader knows a contestant by.
fn name(contestant: Contestant, setting: &Setting) -> String {
    match contestant {
        Contestant::OldWay => "the old way: Python, a new client for each record".to_owned(),
        Contestant::Load(threads) if threads == setting.default_threads => "**memc-load**".to_owned(),
        Contestant::Load(threads) => format!("memc-load `--threads {threads}`"),
        Contestant::Floor => "the floor: inflating, and sending ready-made commands".to_owned(),
    }
}

fn spread(Spread { median, lowest, highest }: Spread) -> String {
    // So it is for what is compared with itself.
    if lowest == highest {
        return rounded(median);
    }
    format!("{} ({} to {})", rounded(median), rounded(lowest), rounded(highest))
}

/// The first three digits of a figure that is not negative; the others would be noise.
pub(crate) fn rounded(figure: f64) -> String {
    // The power of ten of the first digit.
    let digits = figure.log10().floor().max(0.0);
    if digits < 2.0 {
        return format!("{figure:.*}", if digits < 1.0 { 2 } else { 1 });
    }
    let unit = 10f64.powf(digits - 2.0);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "far below 2^64")]
    exact(((figure / unit).round() * unit).round() as u64)
}

/// A number with commas between the thousands.
pub(crate) fn exact(number: u64) -> String {
    match number / 1000 {
        0 => number.to_string(),
        thousands => format!("{},{:03}", exact(thousands), number % 1000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_have_three_digits() {
        let cases = [
            (0.0, "0.00"),
            (0.999, "1.00"),
            (1.2649, "1.26"),
            (10.26, "10.3"),
            (264.4, "264"),
            (999.6, "1,000"),
            (2712.3, "2,710"),
            (712_345.0, "712,000"),
            (1_004_999.0, "1,000,000"),
        ];
        for (figure, expected) in cases {
            assert_eq!(rounded(figure), expected);
        }
        assert_eq!([exact(0), exact(999), exact(3_422_995)], ["0", "999", "3,422,995"]);
    }
}
