//! Whole loads of generated files: what the servers hold, what the log says, what the files are called.

use anyhow::{Result, ensure};
use memc_testkit::{Model, Sample};

use crate::workdir::{Workdir, model};

const DONE: [&str; 3] = [".20170929000000.tsv.gz", ".20170929000100.tsv.gz", ".20170929000200.tsv.gz"];

/// A folder with three files of `lines` generated lines, one generator for all of them, and their texts.
fn three_files(mut sample: Sample, lines: usize) -> Result<(Workdir, Vec<Vec<u8>>)> {
    let work = Workdir::new()?;
    let texts: Vec<_> = DONE.iter().map(|_| sample.text(lines)).collect();
    for (name, text) in DONE.iter().zip(&texts) {
        work.gzip(&name[1..], text)?;
    }
    Ok((work, texts))
}

fn rejected(model: &Model) -> u64 {
    model.rejected.values().sum()
}

#[expect(clippy::cast_precision_loss, reason = "small counts")]
fn error_rate(model: &Model) -> f64 {
    rejected(model) as f64 / model.loaded as f64
}

/// Loads three files with duplicates and bad lines and checks that it was as if line by line. They have some
/// ten chunks of 2 MiB, so that eight threads have something to do.
fn loads_as_if_line_by_line(options: &[&str]) -> Result<()> {
    let (work, texts) = three_files(Sample::new(1).with(0.3, 0.05), 20_000)?;
    let run = work.load(options)?;
    run.exits(3)?;
    run.leaves(&DONE)?;
    let expected = model(&texts);
    work.holds(&expected)?;
    let totals =
        format!("3 of 3 files done: {} records, {} rejected, ", expected.loaded, rejected(&expected));
    run.ensure(run.log()?.last().is_some_and(|line| line[2..].starts_with(&totals)), totals)
}

#[test]
fn one_thread_loads_as_if_line_by_line() -> Result<()> {
    loads_as_if_line_by_line(&["--threads", "1"])
}

#[test]
fn two_threads_load_as_if_line_by_line() -> Result<()> {
    loads_as_if_line_by_line(&["--threads", "2"])
}

#[test]
fn eight_threads_load_as_if_line_by_line() -> Result<()> {
    loads_as_if_line_by_line(&["--threads", "8"])
}

#[test]
fn several_connections_load_as_if_line_by_line() -> Result<()> {
    loads_as_if_line_by_line(&["--threads", "8", "--connections", "3"])
}

#[test]
fn a_higher_limit_accepts_a_higher_error_rate() -> Result<()> {
    let (work, texts) = three_files(Sample::new(2).with(0.0, 0.05), 2500)?;
    let run = work.load(&["--max-error-rate", "0.5"])?;
    run.exits(0)?;
    run.leaves(&DONE)?;
    let rates = texts.iter().map(|text| error_rate(&model(&[text])));
    let lines: Vec<_> =
        rates.map(|rate| format!("I Acceptable error rate ({rate}). Successful load")).collect();
    run.logs(&lines)
}

#[test]
fn a_high_error_rate_is_an_error_but_the_files_are_done() -> Result<()> {
    let (work, texts) = three_files(Sample::new(3).with(0.0, 0.05), 2500)?;
    let run = work.load(&[])?;
    run.exits(3)?;
    run.leaves(&DONE)?;
    let rates = texts.iter().map(|text| error_rate(&model(&[text])));
    let lines: Vec<_> = rates.map(|rate| format!("High error rate ({rate} > 0.01). Failed load")).collect();
    run.ensure(run.log_of("E")? == lines, format!("expected the errors {lines:?}"))
}

#[test]
fn one_file_over_the_error_rate_shows_in_the_exit_code() -> Result<()> {
    let work = Workdir::new()?;
    let good = Sample::new(4).text(200);
    let limit = [&good[..], b"x\nx\n"].concat();
    work.gzip("1.tsv.gz", &limit)?;
    work.gzip("2.tsv.gz", &good)?;
    let run = work.load(&[])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz"])?;
    run.logs(&[
        "E High error rate (0.01 > 0.01). Failed load",
        "I Acceptable error rate (0). Successful load",
    ])?;
    work.holds(&model(&[good]))
}

#[test]
fn a_done_file_of_that_name_is_replaced_with_a_warning() -> Result<()> {
    let work = Workdir::new()?;
    work.write(".1.tsv.gz", b"older")?;
    work.gzip("1.tsv.gz", Sample::new(6).text(10))?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    run.logs(&[format!("W {}: existed already and was replaced", work.name(".1.tsv.gz"))])
}

#[test]
fn good_files_are_loaded_and_logged() -> Result<()> {
    let (work, texts) = three_files(Sample::new(5), 2500)?;
    let run = work.load(&["--threads", "2"])?;
    run.exits(0)?;
    run.leaves(&DONE)?;
    work.holds(&model(&texts))?;

    let log = run.log()?;
    run.ensure(log.len() == 11, "expected a line, three for each file, and the last one")?;
    let first = format!("I Memc loader started with options: pattern={} dry=false", work.name("*.tsv.gz"));
    run.ensure(log[0].starts_with(&first), &first)?;
    for (lines, name) in log[1..].chunks(3).zip(DONE) {
        let path = work.name(&name[1..]);
        run.ensure(lines[0] == format!("I Processing {path}"), "the start of a file")?;
        run.ensure(lines[1].starts_with(&format!("I {path}: 2500 records, 0 rejected, ")), "its counts")?;
        run.ensure(lines[2] == "I Acceptable error rate (0). Successful load", "its error rate")?;
    }
    let pace = log[10].strip_prefix("I 3 of 3 files done: 7500 records, 0 rejected, ");
    let numbers: Option<Vec<f64>> = pace
        .and_then(|pace| pace.strip_suffix(" records/s"))
        .map(|pace| pace.split(" s, ").filter_map(|number| number.parse().ok()).collect());
    run.ensure(numbers.is_some_and(|numbers| numbers.len() == 2), "the last line has seconds and a pace")
}

#[test]
fn records_expire_after_the_given_time() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    work.load(&["--ttl", "40days"])?.exits(0)?;
    let contents = work.servers()?[0].contents()?;
    let ttls: Vec<_> = contents.values().map(|item| item.ttl).collect();
    let expected = 40 * 24 * 60 * 60;
    // The clock of a memcached moves once a second, in a phase of its own: it may be a few seconds behind.
    ensure!(matches!(ttls[..], [ttl] if (expected - 60..=expected + 5).contains(&ttl)), "{ttls:?}");
    Ok(())
}
