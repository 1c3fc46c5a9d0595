//! What the service manager hears: ready, what is done, alive; and the files that it has reopened after a rotation.

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;

use crate::run::{Running, messages};
use crate::workdir::{Workdir, model};

/// No wait in these tests takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// A service manager that listens on its socket.
pub(crate) struct Manager {
    socket: UnixDatagram,
    pub(crate) path: String,
    heard: Vec<String>,
}

impl Manager {
    pub(crate) fn start(work: &Workdir) -> Result<Self> {
        let path = work.name("notify");
        let socket = UnixDatagram::bind(&path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(Self { socket, path, heard: Vec::new() })
    }

    /// Listens until it has heard this line, after what it heard before.
    pub(crate) fn hears(&mut self, line: &str) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let bytes =
                self.socket.recv(&mut buffer).with_context(|| format!("no '{line}' in {:?}", self.heard))?;
            self.heard.push(String::from_utf8(buffer[..bytes].to_vec())?.trim_end().to_owned());
            if self.heard.last().is_some_and(|heard| heard == line) {
                return Ok(());
            }
            ensure!(self.heard.len() < 10_000, "no '{line}' in {:?}", self.heard);
        }
    }
}

#[test]
fn a_service_manager_hears_what_the_follower_does() -> Result<()> {
    let work = Workdir::new()?;
    let mut manager = Manager::start(&work)?;
    let variables = [("NOTIFY_SOCKET", manager.path.as_str()), ("WATCHDOG_USEC", "100000")];
    let running = work.start_with(&["--follow"], &variables)?;
    manager.hears("READY=1")?;
    let waits = format!("STATUS=waiting for files that match '{}'", work.name("*.tsv.gz"));
    manager.hears(&waits)?;
    // Alive without anything to do.
    for _ in 0..3 {
        manager.hears("WATCHDOG=1")?;
    }
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    manager.hears(&format!("STATUS=loading {} (1 of 1)", work.name("1.tsv.gz")))?;
    manager.hears(&waits)?;
    work.write("2.tsv.gz", "")?;
    manager.hears(&format!("STATUS=waiting for {} to be complete", work.name("2.tsv.gz")))?;
    manager.hears("WATCHDOG=1")?;
    running.signal(Signal::TERM)?;
    manager.hears("STOPPING=1")?;
    work.finish(running)?.exits(143)?;
    ensure!(manager.heard[0] == "READY=1" || manager.heard[0] == "WATCHDOG=1", "{:?}", manager.heard);
    Ok(())
}

#[test]
fn a_follower_that_cannot_start_is_not_ready() -> Result<()> {
    let work = Workdir::new()?;
    let manager = Manager::start(&work)?;
    let folder = fs::File::open(work.path(""))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    let running = work.start_with(&["--follow"], &[("NOTIFY_SOCKET", &manager.path)])?;
    work.finish(running)?.exits(1)?;
    manager.socket.set_nonblocking(true)?;
    let mut buffer = [0; 4096];
    while let Ok(bytes) = manager.socket.recv(&mut buffer) {
        let heard = buffer[..bytes].escape_ascii().to_string();
        ensure!(!heard.contains("READY"), "{heard}");
    }
    Ok(())
}

/// Waits until the file has this in it.
fn wait_for(work: &Workdir, file: &str, part: &str) -> Result<String> {
    let until = Instant::now() + PATIENCE;
    loop {
        let text = fs::read_to_string(work.path(file)).unwrap_or_default();
        if text.contains(part) {
            return Ok(text);
        }
        ensure!(Instant::now() < until, "no '{part}' in {file}: {text}");
        sleep(Duration::from_millis(5));
    }
}

/// Starts a load with a log and rejected lines in files.
fn start(work: &Workdir, options: &[&str]) -> Result<Running> {
    let (log, rejects) = (work.name("log"), work.name("rejects"));
    work.start(&[options, &["--log", &log, "--rejects", &rejects, "--max-error-rate", "9"]].concat())
}

#[test]
fn sighup_reopens_the_files_of_a_follower() -> Result<()> {
    let work = Workdir::new()?;
    let running = start(&work, &["--follow"])?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\nfirst\n")?;
    wait_for(&work, "log", "I 1 of 1 files done")?;
    // Nothing has been moved yet.
    running.signal(Signal::HUP)?;
    wait_for(&work, "log", "SIGHUP")?;
    for name in ["log", "rejects"] {
        fs::rename(work.path(name), work.path(&format!("{name}.1")))?;
    }
    let moved = fs::read_to_string(work.path("log.1"))?;
    running.signal(Signal::HUP)?;
    wait_for(&work, "log", "SIGHUP")?;
    work.gzip("2.tsv.gz", "idfa\ty\t1\t2\t3\nsecond\n")?;
    let log = wait_for(&work, "log", "I 1 of 1 files done")?;
    running.signal(Signal::TERM)?;
    let run = work.finish(running)?;
    run.exits(143)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz", "log", "log.1", "rejects", "rejects.1"])?;
    ensure!(fs::read_to_string(work.path("log.1"))? == moved, "the moved log must be left alone");
    ensure!(messages(&log)?[0].starts_with("I SIGHUP: "), "{log}");
    for (file, line) in [("rejects.1", "first\n"), ("rejects", "second\n")] {
        let text = fs::read_to_string(work.path(file))?;
        ensure!(text.lines().count() == 1 && text.ends_with(line), "{file}: {text}");
    }
    work.holds(&model(&["idfa\tx\t1\t2\t3\n", "idfa\ty\t1\t2\t3\n"]))
}

/// The lines of the file in progress stay together: they may have to be taken back.
#[test]
fn sighup_reopens_the_files_of_a_plain_run() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = memc_testkit::Memcached::start(&[])?;
    server.kill()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\nfirst\nimei\ty\t1\t2\t3\n")?;
    work.gzip("2.tsv.gz", "second\n")?;
    let running = start(&work, &["--route", &format!("imei={}", server.address())])?;
    wait_for(&work, "log", "Processing ")?;
    for name in ["log", "rejects"] {
        fs::rename(work.path(name), work.path(&format!("{name}.1")))?;
    }
    running.signal(Signal::HUP)?;
    wait_for(&work, "log", "SIGHUP")?;
    server.restart()?;
    work.finish(running)?.exits(3)?;
    for (file, line) in [("rejects.1", "first\n"), ("rejects", "second\n")] {
        let text = fs::read_to_string(work.path(file))?;
        ensure!(text.lines().count() == 1 && text.ends_with(line), "{file}: {text}");
    }
    Ok(())
}

#[test]
fn sighup_does_not_end_a_run_without_such_files() -> Result<()> {
    let work = Workdir::new()?;
    let mut running = work.start(&["--follow"])?;
    running.wait_for_log("started")?;
    for _ in 0..3 {
        running.signal(Signal::HUP)?;
    }
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    running.wait_for_log("I 1 of 1 files done")?;
    running.signal(Signal::TERM)?;
    work.finish(running)?.exits(143)
}
