//! `--on-broken quarantine=FOLDER`: broken files are set aside, and the others loaded.

use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::{Memcached, Sample, gzip};
use rustix::process::Signal;

use crate::run::skip;
use crate::workdir::{Workdir, model};

/// A folder with `bad` in it, and the option that names that.
fn workdir() -> Result<(Workdir, String)> {
    let work = Workdir::new()?;
    fs::create_dir(work.path("bad"))?;
    let option = format!("quarantine={}", work.name("bad"));
    Ok((work, option))
}

#[test]
fn broken_files_are_set_aside_with_their_reasons_and_the_others_are_loaded() -> Result<()> {
    let (work, option) = workdir()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts: Vec<_> = (0..3).map(|_| sample.text(1000)).collect();
    let mut flipped = gzip(&sample.text(20_000))?;
    let checksum = flipped.len() - 8;
    flipped[checksum] ^= 1;
    work.gzip("1.tsv.gz", &texts[0])?;
    work.write("2.tsv.gz", "plain text\n")?;
    work.gzip("3.tsv.gz", &texts[1])?;
    work.write("4.tsv.gz", b"")?;
    work.gzip("5.tsv.gz", &texts[2])?;
    work.write("6.tsv.gz", flipped)?;
    let report = work.name("report");
    let run =
        work.load(&["--on-broken", &option, "--report", &report, "--rejects", &work.name("rejects")])?;
    run.exits(3)?;
    run.leaves(&[
        ".1.tsv.gz",
        ".3.tsv.gz",
        ".5.tsv.gz",
        "bad/2.tsv.gz",
        "bad/2.tsv.gz.reason",
        "bad/4.tsv.gz",
        "bad/4.tsv.gz.reason",
        "bad/6.tsv.gz",
        "bad/6.tsv.gz.reason",
        "rejects",
        "report",
    ])?;
    let reason = |name: &str| fs::read_to_string(work.path(&format!("bad/{name}.reason")));
    ensure!(reason("2.tsv.gz")? == "not gzip but plain text\n");
    ensure!(reason("4.tsv.gz")? == "not complete: it is empty\n");
    ensure!(reason("6.tsv.gz")?.contains("checksum"));
    let moved = |name: &str, reason: &str, stored| {
        format!(
            "E {}: {reason}: moved to '{}'; {stored} of its records are stored and stay, all later files overtake it",
            work.name(name),
            work.name(&format!("bad/{name}"))
        )
    };
    run.logs(&[
        moved("2.tsv.gz", "not gzip but plain text", 0),
        moved("4.tsv.gz", "not complete: it is empty", 0),
        "W 3 broken files are in quarantine".to_owned(),
    ])?;
    let log = run.log()?;
    run.ensure(log.iter().any(|line| line.starts_with("I 3 of 3 files done: 3000 records, ")), "totals")?;
    let sixth = log.iter().find_map(|line| line.strip_prefix(&format!("E {}: ", work.name("6.tsv.gz"))));
    let stored =
        sixth.and_then(|line| line.split_once("; ")?.1.split_once(" of its records")?.0.parse().ok());
    run.ensure(stored.is_some_and(|stored: u64| stored > 0), "some of it is stored")?;
    let report: serde_json::Value = serde_json::from_slice(&fs::read(report)?)?;
    ensure!(
        report["records_loaded"] == 3000 && report["files"].as_array().map(Vec::len) == Some(3),
        "{report:#}"
    );
    let quarantined = ["2", "4", "6"].map(|number| work.name(&format!("bad/{number}.tsv.gz")));
    ensure!(report["files_quarantined"] == serde_json::json!(quarantined), "{report:#}");
    ensure!(report["exit_code"] == 3 && report["unfinished_file"].is_null(), "{report:#}");
    for text in &texts {
        for (device_type, expected) in model(&[text]).servers {
            let at = memc_testkit::DEVICE_TYPES.iter().position(|name| *name == device_type);
            let contents = work.servers()?[at.context("a device type")?].contents()?;
            ensure!(
                expected.keys().all(|key| contents.contains_key(key)),
                "a record of {device_type} is missing"
            );
        }
    }
    Ok(())
}

#[test]
fn a_name_that_is_taken_gets_a_number() -> Result<()> {
    let (work, option) = workdir()?;
    for name in ["a/1.tsv.gz", "b/1.tsv.gz", "c/1.tsv.gz"] {
        work.write(name, name)?;
    }
    let run = work.load(&["--pattern", &work.name("[abc]/*.gz"), "--on-broken", &option])?;
    run.exits(3)?;
    run.leaves(&[
        "bad/1.tsv.gz",
        "bad/1.tsv.gz.2",
        "bad/1.tsv.gz.2.reason",
        "bad/1.tsv.gz.3",
        "bad/1.tsv.gz.3.reason",
        "bad/1.tsv.gz.reason",
    ])?;
    ensure!(fs::read_to_string(work.path("bad/1.tsv.gz.3"))? == "c/1.tsv.gz");
    Ok(())
}

#[test]
fn a_follower_sets_broken_files_aside_and_waits_for_incomplete_ones() -> Result<()> {
    let (work, option) = workdir()?;
    work.write("1.tsv.gz", "plain text\n")?;
    work.gzip("2.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let packed = gzip(b"idfa\tb\t1\t2\t3\n")?;
    work.write("3.tsv.gz", &packed[..packed.len() - 1])?;
    let mut running = work.start(&["--follow", "--on-broken", &option])?;
    running.wait_for_log("3.tsv.gz: not complete (it ends inside a gzip member)")?;
    let expected = [".2.tsv.gz", "3.tsv.gz", "bad/1.tsv.gz", "bad/1.tsv.gz.reason"];
    ensure!(work.files()? == expected, "{:?}", work.files()?);
    File::options().append(true).open(work.path("3.tsv.gz"))?.write_all(&packed[packed.len() - 1..])?;
    let until = Instant::now() + Duration::from_secs(30);
    while !work.path(".3.tsv.gz").exists() {
        ensure!(Instant::now() < until, "it is not loaded");
        std::thread::sleep(Duration::from_millis(5));
    }
    running.signal(Signal::TERM)?;
    let run = work.finish(running)?;
    run.exits(143)?;
    work.holds(&model(&["idfa\ta\t1\t2\t3\nidfa\tb\t1\t2\t3\n"]))
}

#[test]
fn what_is_no_fault_of_the_file_sets_nothing_aside() -> Result<()> {
    let (work, option) = workdir()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let run = work.load(&["--on-broken", &option, "--idfa", &dead.address(), "--retry-for", "0s"])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz"])?;
    work.write("1.tsv.gz", "plain text\n")?;
    let run = work.load(&["--on-broken", &option, "--dry"])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz"])
}

#[test]
fn a_folder_that_does_not_do_stops_the_run_before_the_load() -> Result<()> {
    let (work, _) = workdir()?;
    work.gzip("1.tsv.gz", Sample::new(2).text(10))?;
    work.write("file", b"")?;
    for folder in ["missing", "file"] {
        let run = work.load(&["--on-broken", &format!("quarantine={}", work.name(folder))])?;
        run.exits(1)?;
        run.fails_with(&[&format!("option --on-broken: cannot put files into '{}': ", work.name(folder))])?;
    }
    let pattern = work.name("*/*.gz");
    let option = format!("quarantine={}", work.name("bad"));
    let run = work.load(&["--pattern", &pattern, "--on-broken", &option])?;
    run.exits(2)?;
    run.ensure(run.stderr.contains(&option) && run.stderr.contains(&pattern), "expected both options")?;
    let Ok(elsewhere) = tempfile::tempdir_in("/dev/shm") else { return skip("there is no /dev/shm") };
    let run = work.load(&["--on-broken", &format!("quarantine={}", elsewhere.path().display())])?;
    run.exits(1)?;
    run.fails_with(&["option --on-broken: ", "is not on the file system of"])?;
    run.leaves(&["1.tsv.gz", "file"])?;
    work.holds_nothing()
}
