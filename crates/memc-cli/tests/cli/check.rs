//! `memc-load check`: servers, folders and files, a line each.

use std::fs::File;

use anyhow::Result;
use memc_testkit::{Memcached, Sample};
use rustix::fs::{FlockOperation, flock};

use crate::run::Run;
use crate::workdir::Workdir;

/// Checks that the line which starts so has all these parts.
fn line_has(run: &Run, start: &str, parts: &[&str]) -> Result<()> {
    let line = run.stdout.lines().find(|line| line.starts_with(start));
    let sound = line.is_some_and(|line| parts.iter().all(|part| line.contains(part)));
    run.ensure(sound, format!("expected a line '{start}…' with {parts:?} in it"))
}

#[test]
fn all_is_well_and_nothing_is_touched() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("b/2.tsv.gz", Sample::new(1).text(10))?;
    work.gzip("a/3.tsv.gz", Sample::new(2).text(10))?;
    work.write("a/.1.tsv.gz", memc_testkit::gzip(&Sample::new(3).text(100))?)?;
    std::fs::create_dir(work.path("a/4.tsv.gz"))?;
    let pattern = work.name("*/*.tsv.gz");
    for arguments in [["check", "--pattern", &pattern], ["--pattern", &pattern, "check"]] {
        let run = work.with_servers(&arguments)?;
        run.ensure(run.status().success() && run.stderr.is_empty(), "expected success")?;
        run.ensure(run.stdout.lines().all(|line| line.starts_with("ok   ")), "expected all to be well")?;
        for (server, name) in work.servers()?.iter().zip(memc_testkit::DEVICE_TYPES) {
            let parts = ["memcached 1.", ", up ", "0 B of 64.00 MiB used, 0 evictions"];
            let estimate = format!("; the records of {} take about ", work.name("a/.1.tsv.gz"));
            let parts = [&parts[..], &[&estimate, ", which fits"]].concat();
            line_has(&run, &format!("ok   server {} ({name}): ", server.address()), &parts)?;
        }
        for folder in ["a", "b"] {
            line_has(&run, &format!("ok   folder {}: ", work.name(folder)), &["readable, writable, free"])?;
        }
        let files = run.stdout.lines().filter_map(|line| line.strip_prefix("ok   file "));
        let files: Vec<_> = files.filter_map(|line| line.split(": ").next()).collect();
        let expected = ["b/2.tsv.gz", "a/3.tsv.gz", "a/4.tsv.gz"].map(|name| work.name(name));
        run.ensure(files == expected, format!("expected the files {expected:?}"))?;
    }
    work.holds_nothing()
}

#[test]
fn a_server_that_is_away_or_locked_or_full_is_reported() -> Result<()> {
    let work = Workdir::new()?;
    work.write("auth", "ann:secret\n")?;
    let locked = Memcached::start(&["-Y", &work.name("auth")])?;
    let small = Memcached::start(&["-m", "2"])?;
    work.gzip("1.tsv.gz", Sample::new(1).text(20_000))?;
    let pattern = work.name("*.tsv.gz");
    let (locked, small) = (locked.address(), small.address());
    let run = work.with_servers(&["check", "--pattern", &pattern])?;
    run.ensure(run.status().success(), "they have room for all of it")?;
    let route = format!("imei={small}");
    let options =
        ["--timeout", "2s", "--idfa", &locked, "--gaid", "127.0.0.1:1", "--adid", &small, "--dvid", &small];
    let run = work.run(&[&options[..], &["--route", &route, "check", "--pattern", &pattern]].concat())?;
    run.ensure(run.status().code() == Some(1), "expected exit code 1")?;
    line_has(
        &run,
        &format!("FAIL server {locked} (idfa): "),
        &["a load cannot use it", "it asks for a user"],
    )?;
    line_has(&run, "FAIL server 127.0.0.1:1 (gaid): ", &["Connection refused"])?;
    let full = ["would fill it if all keys are new: it needs memcached -m "];
    line_has(&run, &format!("ok   server {small} (adid, dvid, imei): "), &full)?;
    let with_password = format!("ann:secret@{locked}");
    let run =
        work.with_servers(&["check", "--pattern", &pattern, "--route", &format!("imei={with_password}")])?;
    run.ensure(run.status().success(), "with the password all is well")?;
    line_has(&run, &format!("ok   server ann@{locked} (imei): "), &["memcached 1."])
}

#[test]
fn the_estimate_is_near_what_a_load_takes() -> Result<()> {
    let work = Workdir::new()?;
    // More than the sample, so that the rest is estimated.
    work.gzip("1.tsv.gz", Sample::new(1).text(20_000))?;
    let pattern = work.name("*.tsv.gz");
    let run = work.with_servers(&["check", "--pattern", &pattern])?;
    let line = run.stdout.lines().next().unwrap_or_default();
    let about =
        line.split("take about ").nth(1).and_then(|rest| rest.split(" MiB").next()?.parse::<f64>().ok());
    work.load(&[])?.exits(0)?;
    #[expect(clippy::cast_precision_loss, reason = "a few MiB")]
    let taken = work.servers()?[0].stat("bytes")? as f64 / f64::from(1 << 20);
    let sound = about.is_some_and(|about| (0.9..1.4).contains(&(about / taken)));
    run.ensure(sound, format!("expected about {taken} MiB, found {about:?}"))
}

#[test]
fn a_folder_that_is_locked_or_missing_and_a_missing_file_are_reported() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("in/1.tsv.gz", Sample::new(1).text(10))?;
    let folder = File::open(work.path("in"))?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    let run = work.with_servers(&["check", "--pattern", &work.name("in/*.tsv.gz")])?;
    run.ensure(run.status().code() == Some(1), "expected exit code 1")?;
    line_has(&run, &format!("FAIL folder {}: ", work.name("in")), &["another memc-load is loading it"])?;
    drop(folder);
    for (arguments, start, part) in [
        (
            ["check", "--pattern", &work.name("no/*.tsv.gz")],
            format!("FAIL folder {}: ", work.name("no")),
            "it cannot be read",
        ),
        (
            ["check", "--", &work.name("2.tsv.gz")],
            "FAIL files to load: ".to_owned(),
            "2.tsv.gz': No such file",
        ),
    ] {
        let run = work.with_servers(&arguments)?;
        run.ensure(run.status().code() == Some(1), "expected exit code 1")?;
        line_has(&run, &start, &[part])?;
    }
    let run = work.with_servers(&["check", "--pattern", &work.name("in/*.csv")])?;
    run.ensure(run.status().success(), "no file is no fault")?;
    line_has(&run, &format!("ok   No file matches '{}'", work.name("in/*.csv")), &[])
}
