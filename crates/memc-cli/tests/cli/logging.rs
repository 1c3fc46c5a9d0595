//! Where the log goes.

use std::fs;

use anyhow::Result;
use memc_testkit::Sample;

use crate::run::messages;
use crate::workdir::{Workdir, model};

#[test]
fn the_log_is_appended_to_a_file() -> Result<()> {
    for option in ["--log", "-l"] {
        let work = Workdir::new()?;
        let text = Sample::new(1).text(100);
        work.gzip("1.tsv.gz", &text)?;
        let before = "[2017.09.29 12:39:52] I before\n";
        work.write("log", before)?;
        let run = work.load(&[option, &work.name("log")])?;
        run.exits(0)?;
        run.ensure(run.stderr.is_empty(), "expected nothing on standard error")?;
        run.leaves(&[".1.tsv.gz", "log"])?;
        let log = fs::read_to_string(work.path("log"))?;
        let lines = messages(&log)?;
        run.ensure(log.starts_with(before) && lines.len() == 6, &log)?;
        run.ensure(lines[1].starts_with("I Memc loader started with options: "), &log)?;
        run.ensure(lines[2] == format!("I Processing {}", work.name("1.tsv.gz")), &log)?;
        run.ensure(lines[5].starts_with("I 1 of 1 files done: 100 records, 0 rejected, "), &log)?;
        work.holds(&model(&[text]))?;
    }
    Ok(())
}

#[test]
fn a_log_file_is_made_and_a_failure_is_told_on_standard_error_too() -> Result<()> {
    let work = Workdir::new()?;
    work.write("1.tsv.gz", b"\x1f\x8b but no gzip")?;
    let run = work.load(&["--log", &work.name("log")])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz", "log"])?;
    let log = fs::read_to_string(work.path("log"))?;
    let wrong = format!("cannot read '{}'", work.name("1.tsv.gz"));
    let errors = messages(&log)?.into_iter().filter(|line| line.starts_with(&format!("E {wrong}"))).count();
    run.ensure(errors == 1, format!("expected one error in {log}"))?;
    run.ensure(run.stderr.starts_with("memc-load: ") && run.stderr.contains(&wrong), "expected it said")
}

#[test]
fn a_log_file_that_cannot_be_opened_is_an_error() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(2).text(10))?;
    let log = work.name("nowhere/log");
    let run = work.load(&["--log", &log])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz"])?;
    run.ensure(
        run.stderr.lines().count() == 1
            && run.stderr.starts_with(&format!("memc-load: cannot open the log file '{log}': ")),
        "expected one line that says so",
    )?;
    work.holds_nothing()
}
