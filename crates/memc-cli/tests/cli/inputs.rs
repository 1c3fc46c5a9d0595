//! Which files are taken, and what may be in them.

use anyhow::Result;
use memc_testkit::{Sample, gzip};

use crate::workdir::{Workdir, model};

const ACCEPTABLE: &str = "I Acceptable error rate (0). Successful load";

#[test]
fn files_with_a_leading_dot_are_left_alone() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(1);
    let (done, new) = (sample.text(10), sample.text(10));
    work.gzip(".1.tsv.gz", done)?;
    work.gzip("2.tsv.gz", &new)?;
    work.gzip("other.tsv", b"not matched")?;
    for pattern in ["*.tsv.gz", "?*.tsv.gz", "[.0-9]*.tsv.gz"] {
        let run = work.load(&["--pattern", &work.name(pattern)])?;
        run.exits(0)?;
        run.leaves(&[".1.tsv.gz", ".2.tsv.gz", "other.tsv"])?;
    }
    work.holds(&model(&[new]))
}

#[test]
fn no_matching_file_is_a_warning() -> Result<()> {
    let work = Workdir::new()?;
    work.write(".1.tsv.gz", b"done")?;
    // The servers of the defaults need not run: there is nothing for them.
    let run = work.run(&["--pattern", &work.name("*.tsv.gz")])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    run.logs(&[format!("W No file matches '{}': nothing to do", work.name("*.tsv.gz"))])
}

#[test]
fn files_without_records_are_done() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", b"")?;
    work.write("2.tsv", b"")?;
    work.gzip("3.tsv.gz", b"\n \r\n\t\n\n")?;
    let run = work.load(&["--pattern", &work.name("*.tsv*")])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv", ".3.tsv.gz"])?;
    let acceptable = run.log()?.iter().filter(|line| **line == ACCEPTABLE).count();
    run.ensure(acceptable == 3, "expected three acceptable files")?;
    work.holds_nothing()
}

#[test]
fn a_file_with_only_bad_lines_is_done_with_a_high_error_rate() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", b"bad\nworse\n")?;
    let run = work.load(&["--max-error-rate", "1000"])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz"])?;
    run.logs(&["E High error rate (inf > 1000). Failed load"])?;
    work.holds_nothing()
}

/// Loads one file of this name with these bytes, which stand for this text.
fn loads_as(name: &str, bytes: &[u8], text: &[u8]) -> Result<()> {
    let work = Workdir::new()?;
    work.write(name, bytes)?;
    let run = work.load(&["--pattern", &work.name("*.tsv*"), "--max-error-rate", "0.5"])?;
    run.exits(0)?;
    run.leaves(&[&format!(".{name}")])?;
    let expected = model(&[text]);
    let counts = format!("1 of 1 files done: {} records, ", expected.loaded);
    run.ensure(run.log()?.last().is_some_and(|line| line[2..].starts_with(&counts)), counts)?;
    work.holds(&expected)
}

fn loads(bytes: &[u8], text: &[u8]) -> Result<()> {
    loads_as("1.tsv.gz", bytes, text)
}

#[test]
fn plain_text_is_loaded_under_names_without_gz() -> Result<()> {
    let text = Sample::new(2).with(0.3, 0.05).text(2000);
    loads_as("1.tsv", &text, &text)
}

#[test]
fn a_single_byte_is_plain_text_under_names_without_gz() -> Result<()> {
    loads_as("1.tsv", b"\n", b"")
}

#[test]
fn gzip_is_loaded_under_any_name() -> Result<()> {
    let text = Sample::new(9).text(500);
    loads_as("1.tsv", &gzip(&text)?, &text)
}

#[test]
fn gzip_may_have_several_members_with_lines_across_them() -> Result<()> {
    let text = Sample::new(3).with(0.3, 0.0).text(2000);
    let (first, rest) = text.split_at(text.len() / 3);
    let (second, third) = rest.split_at(rest.len() / 2);
    loads(&[gzip(first)?, gzip(second)?, gzip(b"")?, gzip(third)?].concat(), &text)
}

#[test]
fn gzip_may_end_in_zeros() -> Result<()> {
    let text = Sample::new(4).text(500);
    loads(&[gzip(&text)?, vec![0; 200_000]].concat(), &text)
}

#[test]
fn the_last_line_needs_no_end() -> Result<()> {
    let text = Sample::new(5).text(3);
    let text = text.trim_ascii_end();
    loads(&gzip(text)?, text)
}

#[test]
fn lines_may_end_as_on_windows() -> Result<()> {
    let text = String::from_utf8(Sample::new(6).text(50))?.replace('\n', "\r\n");
    loads(&gzip(text.as_bytes())?, text.as_bytes())
}

#[test]
fn bytes_need_not_be_utf_8() -> Result<()> {
    let text = b"gaid\t\xff\xfe\x80\t1\t2\t3\ngaid\t\xc3\xa9\t1\t2\t4,\xff,5\n";
    assert_eq!(model(&[text]).loaded, 2);
    loads(&gzip(text)?, text)
}

#[test]
fn a_second_run_has_nothing_to_do() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(8).text(10))?;
    work.load(&[])?.exits(0)?;
    let sets = || work.servers()?.iter().map(|server| Ok(server.stat("cmd_set")?)).sum::<Result<u64>>();
    let before = sets()?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    run.ensure(before == 10 && sets()? == before, "expected no sets")
}
