//! Where the log goes, what it says, and what reaches standard error besides.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use memc_testkit::Sample;
use serde_json::Value;

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
fn a_log_file_is_made_and_a_failure_is_written_to_standard_error_too() -> Result<()> {
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

/// What cron mails: the one line that says why somebody must look.
#[test]
fn losses_are_on_standard_error_too() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\nbad\n")?;
    work.gzip("2.tsv.gz", "idfa\tx\t1\t2\tx\n")?;
    let run = work.load(&["--log", &work.name("log")])?;
    run.exits(3)?;
    let expected = format!("memc-load: {}: High error rate (1 > 0.01). Failed load\n", work.name("1.tsv.gz"));
    run.ensure(run.stderr == expected, &expected)?;
    // The summary says that the load failed and the file is done, in one line.
    let log = fs::read_to_string(work.path("log"))?;
    let last = messages(&log)?.pop().map(str::to_owned).unwrap_or_default();
    let end = "; a high error rate in 1 of them (Failed load), which is done all the same";
    run.ensure(last.starts_with("I 2 of 2 files done: 2 records, 1 rejected, ") && last.ends_with(end), log)?;
    // Warnings alone are no reason for a mail.
    work.gzip("3.tsv.gz", "idfa\tx\t1\t2\tx\n")?;
    let run = work.load(&["--log", &work.name("log")])?;
    run.exits(0)?;
    run.ensure(run.stderr.is_empty(), "expected nothing on standard error")
}

#[test]
fn a_log_that_cannot_be_written_is_said_once_and_makes_it_no_success() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    let run = work.load(&["--log", "/dev/full"])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz"])?;
    let expected = "memc-load: cannot write to the log file '/dev/full': No space left on device (os error 28); \
                    lines of the log are missing\n";
    run.ensure(run.stderr == expected, expected)
}

/// It killed the process.
#[test]
fn a_limit_on_the_size_of_files_is_as_a_full_disk() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    work.write("log", [b'\n'; 1024])?;
    let servers = work.servers()?;
    let load = format!(
        "ulimit -f 1; exec {} --pattern '{}' --idfa {} --log '{}'",
        env!("CARGO_BIN_EXE_memc-load"),
        work.name("*.tsv.gz"),
        servers[0].address(),
        work.name("log")
    );
    // Its unit is 1024 bytes in bash, 512 in others.
    let output = Command::new("bash").args(["-c", &load]).output()?;
    let said = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(3), "{:?}: {said}", output.status);
    ensure!(said.contains("cannot write to the log file") && said.contains("File too large"), "{said}");
    ensure!(work.files()? == [".1.tsv.gz", "log"], "{:?}", work.files()?);
    Ok(())
}

#[test]
fn the_log_may_be_json() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n\"bad\"\n")?;
    let run = work.load(&["--log-format", "json", "--verbose"])?;
    run.exits(3)?;
    let lines = run.stderr.lines().map(serde_json::from_str).collect::<Result<Vec<Value>, _>>()?;
    let with = |part: &str| {
        let has = |line: &&Value| line["message"].as_str().is_some_and(|text| text.contains(part));
        lines.iter().find(has).cloned().with_context(|| format!("no '{part}' in {lines:#?}"))
    };
    let name = work.name("1.tsv.gz");
    let failed = with("Failed load")?;
    ensure!(failed["level"] == "error" && failed["file"] == name, "{failed}");
    let rejected = with("rejected (field_count)")?;
    ensure!(rejected["level"] == "warn" && rejected["file"] == name, "{rejected}");
    let address = work.servers()?[0].address();
    let server = with("1 records in 1 batches")?;
    ensure!(server["level"] == "debug" && server["server"] == address, "{server}");
    for line in &lines {
        let time = line["time"].as_str().context("a time")?;
        ensure!(time.parse::<jiff::Timestamp>().is_ok(), "{line}");
    }
    Ok(())
}

#[test]
fn a_quiet_log_has_warnings_and_errors_only() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\nbad\n")?;
    let run = work.load(&["-q"])?;
    run.exits(3)?;
    run.ensure(run.log_of("I")?.is_empty() && run.log_of("D")?.is_empty(), "expected no more")?;
    run.ensure(run.log_of("W")?.len() == 2 && run.log_of("E")?.len() == 1, "expected no less")
}
