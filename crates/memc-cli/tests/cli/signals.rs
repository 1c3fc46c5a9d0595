//! SIGINT and SIGTERM: the run comes to a good end soon, and the next one goes on from there.

use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt;
use std::time::{Duration, Instant};

use anyhow::Result;
use memc_testkit::Sample;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;

use crate::workdir::{Workdir, model};

/// Longer than the loader takes two signals for one.
const PAUSE: Duration = Duration::from_millis(200);

/// The log line on a first signal.
fn announced(signal: &str) -> String {
    format!("W {signal}: finishing what is in flight; again to end at once")
}

/// A small file, one of 40 MB that takes a while, a small one: stopped in the second, then finished.
fn stops_and_goes_on(signal: Signal, name: &str, code: i32) -> Result<()> {
    const MEMBERS: usize = 40;
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts = [sample.text(500), sample.text(3000).repeat(MEMBERS), sample.text(500)];
    let member = memc_testkit::gzip(&texts[1][..texts[1].len() / MEMBERS])?;
    work.gzip("1.tsv.gz", &texts[0])?;
    work.write("2.tsv.gz", member.repeat(MEMBERS))?;
    work.gzip("3.tsv.gz", &texts[2])?;

    let mut running = work.start(&[])?;
    running.wait_for_log("Processing ")?;
    running.wait_for_log(&work.name("2.tsv.gz"))?;
    running.signal(signal)?;
    let signalled = Instant::now();
    let run = work.finish(running)?;
    run.exits(code)?;
    run.ensure(signalled.elapsed() < Duration::from_secs(5), "expected to end within seconds")?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz", "3.tsv.gz"])?;
    run.logs(&[announced(name)])?;
    run.ensure(run.log_of("E")?.is_empty(), "to be asked to stop is no error")?;
    let last = run.log()?.pop();
    run.ensure(last.is_some_and(|line| line.starts_with("I 1 of 3 files done: 500 records, ")), "totals")?;

    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz", ".3.tsv.gz"])?;
    work.holds(&model(&texts))
}

#[test]
fn sigterm_stops_a_run_and_the_next_finishes_it() -> Result<()> {
    stops_and_goes_on(Signal::TERM, "SIGTERM", 143)
}

#[test]
fn sigint_stops_a_run_and_the_next_finishes_it() -> Result<()> {
    stops_and_goes_on(Signal::INT, "SIGINT", 130)
}

/// A folder with two files, and a server that accepts connections and then says nothing; only the second
/// file has records for it.
fn with_a_server_that_hangs() -> Result<(Workdir, TcpListener, String)> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    work.gzip("2.tsv.gz", Sample::new(2).text(2000))?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    Ok((work, silent, address))
}

#[test]
fn a_server_that_hangs_does_not_hold_a_run_that_is_to_stop() -> Result<()> {
    let (work, _silent, address) = with_a_server_that_hangs()?;
    let mut running = work.start(&["--dvid", &address])?;
    running.wait_for_log(&format!("Processing {}", work.name("2.tsv.gz")))?;
    running.signal(Signal::TERM)?;
    let signalled = Instant::now();
    let run = work.finish(running)?;
    run.exits(143)?;
    run.ensure(signalled.elapsed() < Duration::from_secs(8), "expected to end after one timeout")?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz"])?;
    run.logs(&[announced("SIGTERM")])?;
    let last = run.log()?.into_iter().rfind(|line| line.starts_with("I "));
    run.ensure(last.is_some_and(|line| line.starts_with("I 1 of 2 files done: 1 records, ")), "totals")?;

    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz"])
}

#[test]
fn a_second_signal_of_either_kind_ends_the_process_at_once() -> Result<()> {
    for (first, second, code) in
        [(Signal::TERM, Signal::TERM, 143), (Signal::INT, Signal::INT, 130), (Signal::TERM, Signal::INT, 130)]
    {
        let (work, _silent, address) = with_a_server_that_hangs()?;
        let mut running = work.start(&["--dvid", &address, "--timeout", "60s"])?;
        running.wait_for_log(&format!("Processing {}", work.name("2.tsv.gz")))?;
        running.signal(first)?;
        running.wait_for_log("finishing what is in flight")?;
        std::thread::sleep(PAUSE);
        running.signal(second)?;
        let signalled = Instant::now();
        let run = work.finish(running)?;
        run.exits(code)?;
        run.ensure(signalled.elapsed() < Duration::from_secs(10), "expected to end at once")?;
        run.leaves(&[".1.tsv.gz", "2.tsv.gz"])?;
    }
    Ok(())
}

#[test]
fn two_signals_at_the_same_time_are_one() -> Result<()> {
    let (work, _silent, address) = with_a_server_that_hangs()?;
    let mut running = work.start(&["--dvid", &address, "--timeout", "1s"])?;
    running.wait_for_log(&format!("Processing {}", work.name("2.tsv.gz")))?;
    running.signal(Signal::TERM)?;
    running.signal(Signal::INT)?;
    let run = work.finish(running)?;
    let summary = run.log()?.iter().any(|line| line.starts_with("I 1 of 2 files done: "));
    run.ensure(summary, "expected a good end")?;
    run.ensure(matches!(run.status().code(), Some(130 | 143)), "expected the exit code of a signal")?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz"])
}

/// To open a pipe takes until somebody reads it.
#[test]
fn a_run_that_waits_for_the_reader_of_a_pipe_can_be_ended() -> Result<()> {
    for option in ["--log", "--rejects"] {
        let work = Workdir::new()?;
        work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
        mknodat(CWD, work.path("pipe"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
        let running = work.start(&[option, &work.name("pipe")])?;
        // It says nothing before it waits: a signal that comes earlier still ends it.
        std::thread::sleep(PAUSE);
        running.signal(Signal::TERM)?;
        let signalled = Instant::now();
        let run = work.finish(running)?;
        run.ensure(run.status().signal() == Some(15), "expected an end by the signal")?;
        run.ensure(signalled.elapsed() < Duration::from_secs(5), "expected to end at once")?;
        run.leaves(&["1.tsv.gz", "pipe"])?;
    }
    Ok(())
}
