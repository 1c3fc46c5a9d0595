//! `--follow`: logs are loaded as they come, in order, and only when they are complete.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::{Memcached, Sample, gzip};
use rustix::process::Signal;

use crate::run::{Run, Running};
use crate::workdir::{Workdir, model};

/// No wait in these tests takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// Longer than a log is left alone before it is tried.
const PAUSE: Duration = Duration::from_millis(600);

/// Waits until the folder has just these files.
fn wait_for_files(work: &Workdir, files: &[&str]) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while work.files()? != files {
        ensure!(Instant::now() < until, "expected the files {files:?}, not {:?}", work.files()?);
        sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Ends a follower that is idle.
fn stop(work: &Workdir, running: Running) -> Result<Run> {
    running.signal(Signal::TERM)?;
    let signalled = Instant::now();
    let run = work.finish(running)?;
    run.exits(143)?;
    run.ensure(signalled.elapsed() < Duration::from_secs(5), "expected to end at once")?;
    run.ensure(run.log_of("E")?.is_empty(), "to be asked to stop is no error")?;
    Ok(run)
}

/// Moves a file into the folder, as one who writes it elsewhere first.
fn move_in(work: &Workdir, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
    let hidden = format!(".{name}.new");
    work.write(&hidden, bytes)?;
    Ok(fs::rename(work.path(&hidden), work.path(name))?)
}

/// Adds to a file.
fn append(path: &Path, bytes: &[u8]) -> Result<()> {
    Ok(File::options().append(true).create(true).open(path)?.write_all(bytes)?)
}

#[test]
fn files_are_loaded_within_a_second_as_they_come() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.3, 0.01);
    let texts: Vec<_> = (0..6).map(|_| sample.text(200)).collect();
    work.gzip("0.tsv.gz", &texts[0])?;
    let running = work.start(&["--follow", "--max-error-rate", "1"])?;
    wait_for_files(&work, &[".0.tsv.gz"])?;
    let mut times = Vec::new();
    let mut done = vec![".0.tsv.gz".to_owned()];
    for (number, text) in texts.iter().enumerate().skip(1) {
        let name = format!("{number}.tsv.gz");
        if number % 2 == 0 {
            move_in(&work, &name, gzip(text)?)?;
        } else {
            work.gzip(&name, text)?;
        }
        let there = Instant::now();
        done.push(format!(".{name}"));
        wait_for_files(&work, &done.iter().map(String::as_str).collect::<Vec<_>>())?;
        times.push(there.elapsed());
    }
    times.sort();
    // One or the other may fall in a moment when the machine does something else.
    ensure!(times[times.len() / 2] < Duration::from_secs(1), "{times:?}");
    let run = stop(&work, running)?;
    let told = run.log()?.iter().filter(|line| line.starts_with("I 1 of 1 files done: ")).count();
    run.ensure(told == 6, "expected a summary of each round")?;
    work.holds(&model(&texts))
}

#[test]
fn a_file_that_is_written_piece_by_piece_is_loaded_when_it_is_complete() -> Result<()> {
    let work = Workdir::new()?;
    let rejects = work.name("rejects");
    let mut running = work.start(&["--follow", "--rejects", &rejects])?;
    running.wait_for_log("started")?;
    let text = [b"few fields\n", &Sample::new(2).with(0.3, 0.0).text(3000)[..]].concat();
    let packed = gzip(&text)?;
    let path = work.path("1.tsv.gz");
    // Nothing; one byte; the header; the first half; all but the checksum and length; those one by one.
    append(&path, b"")?;
    let mut from = 0;
    let whole = packed.len();
    for to in [1, 10, whole / 2, whole - 8, whole - 7, whole - 1] {
        sleep(PAUSE);
        append(&path, &packed[from..to])?;
        from = to;
    }
    running.wait_for_log("1.tsv.gz: not complete (")?;
    sleep(PAUSE);
    work.write("later.tsv.gz", gzip(b"idfa\tlater\t1\t2\t3\n")?)?;
    sleep(PAUSE);
    ensure!(work.files()? == ["1.tsv.gz", "later.tsv.gz", "rejects"], "{:?}", work.files()?);
    append(&path, &packed[from..])?;
    wait_for_files(&work, &[".1.tsv.gz", ".later.tsv.gz", "rejects"])?;
    let run = stop(&work, running)?;
    let log = run.log()?;
    for (part, times) in [("Processing ", 2), ("not complete (", 1), ("rejected (fields)", 1)] {
        let told = log.iter().filter(|line| line.contains(part)).count();
        run.ensure(told == times, format!("expected '{part}' {times} times, not {told}"))?;
    }
    let lines = fs::read_to_string(&rejects)?;
    run.ensure(lines == format!("{}\t1\tfields\tfew fields\n", path.display()), &lines)?;
    work.holds(&model(&[&text[..], b"idfa\tlater\t1\t2\t3\n"]))
}

#[test]
fn later_files_wait_for_one_that_is_not_complete() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(3).with(0.5, 0.0);
    let texts: Vec<_> = (0..4).map(|_| sample.text(1000)).collect();
    let packed = gzip(&texts[1])?;
    work.gzip("1.tsv.gz", &texts[0])?;
    work.write("2.tsv.gz", &packed[..packed.len() / 2])?;
    work.gzip("3.tsv.gz", &texts[2])?;
    let mut running = work.start(&["--follow"])?;
    running.wait_for_log("2.tsv.gz: not complete (")?;
    move_in(&work, "4.tsv.gz", gzip(&texts[3])?)?;
    sleep(2 * PAUSE);
    ensure!(
        work.files()? == [".1.tsv.gz", "2.tsv.gz", "3.tsv.gz", "4.tsv.gz"],
        "something was renamed out of order: {:?}",
        work.files()?
    );
    // Replaced by a whole one, not completed.
    move_in(&work, "2.tsv.gz", &packed)?;
    wait_for_files(&work, &[".1.tsv.gz", ".2.tsv.gz", ".3.tsv.gz", ".4.tsv.gz"])?;
    stop(&work, running)?;
    work.holds(&model(&texts))
}

#[test]
fn later_files_are_loaded_when_an_incomplete_one_is_taken_away() -> Result<()> {
    let work = Workdir::new()?;
    work.write("1.tsv.gz", b"")?;
    work.gzip("2.tsv.gz", b"idfa\tx\t1\t2\t3\n")?;
    let mut running = work.start(&["--follow"])?;
    running.wait_for_log("started")?;
    sleep(2 * PAUSE);
    ensure!(work.files()? == ["1.tsv.gz", "2.tsv.gz"], "an empty file is not complete");
    fs::remove_file(work.path("1.tsv.gz"))?;
    wait_for_files(&work, &[".2.tsv.gz"])?;
    stop(&work, running)?;
    work.holds(&model(&["idfa\tx\t1\t2\t3\n"]))
}

#[test]
fn a_file_that_changes_while_it_is_loaded_is_loaded_again() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    work.write("1.tsv", "imei\ta\t1\t2\t3\n")?;
    server.kill()?;
    let route = format!("imei={}", server.address());
    let mut running = work.start(&["--follow", "--pattern", &work.name("*.tsv"), "--route", &route])?;
    running.wait_for_log("Processing ")?;
    append(&work.path("1.tsv"), b"imei\tb\t1\t2\t3\n")?;
    server.restart()?;
    wait_for_files(&work, &[".1.tsv"])?;
    let run = stop(&work, running)?;
    run.logs(&[format!(
        "I {}: not complete (it has changed while it was loaded): it and all later files wait until it is",
        work.name("1.tsv")
    )])?;
    ensure!(server.stat("curr_items")? == 2, "both lines must be there");
    Ok(())
}

#[test]
fn a_broken_file_stops_the_follower_and_the_next_one_goes_on() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(4).with(0.3, 0.0);
    let texts: Vec<_> = (0..3).map(|_| sample.text(1000)).collect();
    work.gzip("1.tsv.gz", &texts[0])?;
    let running = work.start(&["--follow"])?;
    wait_for_files(&work, &[".1.tsv.gz"])?;
    let mut packed = gzip(&texts[1])?;
    let checksum = packed.len() - 8;
    packed[checksum] ^= 1;
    // Hidden until both are there.
    work.gzip(".3.new", &texts[2])?;
    move_in(&work, "2.tsv.gz", &packed)?;
    fs::rename(work.path(".3.new"), work.path("3.tsv.gz"))?;
    let run = work.finish(running)?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz", "3.tsv.gz"])?;
    run.fails_with(&[&format!("cannot read '{}': ", work.name("2.tsv.gz"))])?;

    work.gzip("2.tsv.gz", &texts[1])?;
    let running = work.start(&["--follow"])?;
    wait_for_files(&work, &[".1.tsv.gz", ".2.tsv.gz", ".3.tsv.gz"])?;
    stop(&work, running)?;
    work.holds(&model(&texts))
}

/// It went on waiting for the incomplete one, and told nothing.
#[test]
fn a_failure_in_front_of_an_incomplete_file_stops_the_follower() -> Result<()> {
    let work = Workdir::new()?;
    work.write(".1.tsv.gz/in the way", "")?;
    work.gzip("1.tsv.gz", Sample::new(1).text(20_000))?;
    let packed = gzip(&Sample::new(2).text(200))?;
    work.write("2.tsv.gz", &packed[..packed.len() / 2])?;
    sleep(PAUSE);
    let running = work.start(&["--follow"])?;
    work.finish(running)?.fails_with(&["cannot rename", &work.name("1.tsv.gz")])
}

#[test]
fn folders_may_come_later() -> Result<()> {
    let work = Workdir::new()?;
    let running = work.start(&["--follow", "--pattern", &work.name("not/yet/*/*.tsv.gz")])?;
    let mut sample = Sample::new(5).with(0.3, 0.0);
    let texts = [sample.text(300), sample.text(300)];
    sleep(PAUSE);
    work.gzip("not/yet/a/1.tsv.gz", &texts[0])?;
    wait_for_files(&work, &["not/yet/a/.1.tsv.gz"])?;
    work.gzip("not/yet/b/2.tsv.gz", &texts[1])?;
    wait_for_files(&work, &["not/yet/a/.1.tsv.gz", "not/yet/b/.2.tsv.gz"])?;
    stop(&work, running)?;
    work.holds(&model(&texts))
}

#[test]
fn a_folder_is_given_to_one_follower_even_when_it_is_empty() -> Result<()> {
    let work = Workdir::new()?;
    work.write("folder/.done", "")?;
    let pattern = work.name("folder/*.tsv.gz");
    let running = work.start(&["--follow", "--pattern", &pattern])?;
    let until = Instant::now() + PATIENCE;
    // A look at an empty folder leaves no trace but the lock.
    while rustix::fs::flock(
        File::open(work.path("folder"))?,
        rustix::fs::FlockOperation::NonBlockingLockExclusive,
    )
    .is_ok()
    {
        ensure!(Instant::now() < until, "the folder is not locked");
        sleep(Duration::from_millis(5));
    }
    let run = work.load(&["--follow", "--pattern", &pattern])?;
    run.exits(1)?;
    run.fails_with(&["cannot lock '", "another memc-load is loading it"])?;
    // A plain run takes notice of the lock when there is something to load.
    work.load(&["--pattern", &pattern])?.exits(0)?;
    work.write("folder/1.tsv.gz", b"")?;
    let run = work.load(&["--pattern", &pattern])?;
    run.exits(1)?;
    run.fails_with(&["cannot lock '", "another memc-load is loading it"])?;
    stop(&work, running)?;
    Ok(())
}

#[test]
fn a_server_that_is_restarted_between_two_rounds_is_told() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    let route = format!("imei={}", server.address());
    let running = work.start(&["--follow", "--route", &route])?;
    work.gzip("1.tsv.gz", "imei\ta\t1\t2\t3\n")?;
    wait_for_files(&work, &[".1.tsv.gz"])?;
    sleep(PAUSE);
    server.kill()?;
    server.restart()?;
    work.gzip("2.tsv.gz", "imei\tb\t1\t2\t3\n")?;
    wait_for_files(&work, &[".1.tsv.gz", ".2.tsv.gz"])?;
    running.signal(Signal::INT)?;
    let run = work.finish(running)?;
    run.exits(130)?;
    run.fails_with(&[&format!("{}: lost its records of {}: ", server.address(), work.name("1.tsv.gz"))])?;

    // Who takes the dot off gets it loaded again.
    let mut running = work.start(&["--follow", "--route", &route])?;
    fs::rename(work.path(".1.tsv.gz"), work.path("1.tsv.gz"))?;
    running.wait_for_log("1.tsv.gz: 1 records")?;
    wait_for_files(&work, &[".1.tsv.gz", ".2.tsv.gz"])?;
    stop(&work, running)?;
    ensure!(server.stat("curr_items")? == 2, "both must be there");
    Ok(())
}

#[test]
fn a_file_that_comes_after_its_time_is_told() -> Result<()> {
    let work = Workdir::new()?;
    let running = work.start(&["--follow"])?;
    work.gzip("2.tsv.gz", "idfa\tx\t1\t2\t2\n")?;
    wait_for_files(&work, &[".2.tsv.gz"])?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t1\n")?;
    wait_for_files(&work, &[".1.tsv.gz", ".2.tsv.gz"])?;
    let run = stop(&work, running)?;
    let (late, last) = (work.name("1.tsv.gz"), work.name("2.tsv.gz"));
    run.logs(&[format!(
        "W {late}: came after {last} was done: where both have a key, the older record stays"
    )])
}

#[test]
fn every_file_that_comes_after_any_later_one_is_told_once() -> Result<()> {
    let work = Workdir::new()?;
    fs::create_dir(work.path("a"))?;
    let running = work.start(&["--follow", "--pattern", &work.name("[ab]/*.tsv.gz")])?;
    let mut done = Vec::new();
    let mut come = |names: &[&str]| {
        for name in names {
            work.gzip(&format!(".new/{name}"), "idfa\tx\t1\t2\t3\n")?;
        }
        for name in names {
            let (folder, file) = name.split_once('/').context("a folder")?;
            fs::create_dir_all(work.path(folder))?;
            fs::rename(work.path(&format!(".new/{name}")), work.path(name))?;
            done.push(format!("{folder}/.{file}"));
        }
        done.sort();
        wait_for_files(&work, &done.iter().map(String::as_str).collect::<Vec<_>>())
    };
    come(&["b/3.tsv.gz"])?;
    come(&["a/0.tsv.gz"])?;
    // The one before came late itself. The second of these does not.
    come(&["a/2.tsv.gz", "b/4.tsv.gz"])?;
    // Of equal names the folder decides.
    come(&["a/1.tsv.gz", "a/4.tsv.gz", "b/2.tsv.gz"])?;
    // Held back as not complete, looked at often.
    work.write("a/3.tsv.gz", b"")?;
    sleep(2 * PAUSE);
    come(&["a/3.tsv.gz"])?;
    let run = stop(&work, running)?;
    let told: Vec<_> = run.log_of("W")?.into_iter().filter(|line| line.contains(": came after ")).collect();
    let mut told: Vec<_> = told.iter().filter_map(|line| line.split(" was done").next()).collect();
    told.sort_unstable();
    let late = |log, latest| format!("{}: came after {}", work.name(log), work.name(latest));
    let expected = [
        late("a/0.tsv.gz", "b/3.tsv.gz"),
        late("a/1.tsv.gz", "b/4.tsv.gz"),
        late("a/2.tsv.gz", "b/3.tsv.gz"),
        late("a/3.tsv.gz", "b/4.tsv.gz"),
        late("a/4.tsv.gz", "b/4.tsv.gz"),
        late("b/2.tsv.gz", "b/4.tsv.gz"),
    ];
    run.ensure(told == expected, format!("expected {expected:#?}"))
}

#[test]
fn what_is_no_log_is_told_once() -> Result<()> {
    let work = Workdir::new()?;
    fs::create_dir(work.path("folder.tsv.gz"))?;
    let running = work.start(&["--follow"])?;
    for name in ["1.tsv.gz", "2.tsv.gz"] {
        work.gzip(name, "idfa\tx\t1\t2\t2\n")?;
        let done = work.path(&format!(".{name}"));
        let until = Instant::now() + PATIENCE;
        while !done.exists() {
            ensure!(Instant::now() < until, "{name} is not done");
            sleep(Duration::from_millis(5));
        }
    }
    let run = stop(&work, running)?;
    run.logs(&[format!("W {}: not a regular file, so not a log: left alone", work.name("folder.tsv.gz"))])
}

#[test]
fn a_server_that_stays_away_stops_the_follower() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    server.kill()?;
    let route = format!("imei={}", server.address());
    let running = work.start(&["--follow", "--retry-for", "500ms", "--route", &route])?;
    work.gzip("1.tsv.gz", "imei\ta\t1\t2\t3\n")?;
    let run = work.finish(running)?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz"])?;
    run.fails_with(&["--route imei=ADDR", &server.address()])
}

#[test]
fn a_dry_run_cannot_follow() -> Result<()> {
    let work = Workdir::new()?;
    let run = work.load(&["--follow", "--dry"])?;
    run.exits(2)?;
    run.stderr.contains("cannot be used with").then_some(()).context("told why")
}
