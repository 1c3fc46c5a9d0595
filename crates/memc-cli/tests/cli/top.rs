//! `memc-load top` on a terminal: what it shows, and that the terminal is as it was, whatever ends it.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Termios, Winsize, tcgetattr, tcsetwinsize};

use crate::run::ended;
use crate::watched::Watched;
use crate::workdir::Workdir;

const PATIENCE: Duration = Duration::from_secs(60);

/// What leaves the second screen, and what shows the cursor again.
const LEAVE: [&str; 2] = ["\u{1b}[?1049l", "\u{1b}[?25h"];

/// `top` on a terminal of its own.
struct Top {
    process: Child,
    master: File,
    slave: File,
    before: Termios,
    sent: Arc<Mutex<Vec<u8>>>,
}

/// The text without what moves the cursor, and without spaces: where one is already it is not drawn.
fn letters(sent: &str) -> String {
    let mut parts = sent.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    let text = parts.fold(first, |text, part| {
        text + part.trim_start_matches(|it: char| !it.is_alphabetic()).get(1..).unwrap_or("")
    });
    text.replace(' ', "")
}

fn resize(master: impl AsFd, columns: u16) -> Result<()> {
    Ok(tcsetwinsize(master, Winsize { ws_row: 40, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 })?)
}

/// Both sides of a terminal.
fn terminal() -> Result<(File, File)> {
    // A process that had the side of the emulator, too, would keep its terminal alive.
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    resize(&master, 160)?;
    let path = ptsname(&master, Vec::new())?.into_string()?;
    Ok((File::from(master), File::options().read(true).write(true).open(path)?))
}

/// `top` on this terminal.
fn command(url: &str, slave: &File) -> Result<Command> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memc-load"));
    command.args(["top", url]).env("TERM", "xterm");
    command.stdin(slave.try_clone()?).stdout(slave.try_clone()?);
    Ok(command)
}

impl Top {
    fn start(url: &str) -> Result<Self> {
        let (master, slave) = terminal()?;
        let before = tcgetattr(&slave)?;
        let process = command(url, &slave)?.stderr(slave.try_clone()?).spawn()?;
        let sent = Arc::new(Mutex::new(Vec::new()));
        let (mut reading, into) = (master.try_clone()?, Arc::clone(&sent));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = reading.read(&mut buffer) {
                into.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(&buffer[..length]);
            }
        });
        Ok(Self { process, master, slave, before, sent })
    }

    fn sent(&self) -> String {
        String::from_utf8_lossy(&self.sent.lock().unwrap_or_else(PoisonError::into_inner)).into_owned()
    }

    /// Waits until it has drawn this.
    fn shows(&self, part: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        for turn in 0.. {
            if letters(&self.sent()).contains(&letters(part)) {
                break;
            }
            ensure!(Instant::now() < until, "no '{part}' in {}", self.sent().escape_debug());
            // Only what has changed is drawn, unless the size has.
            resize(&self.master, 160 + turn / 30 % 2)?;
            thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    /// Waits for its end, and checks that the terminal is as it was.
    fn end(mut self) -> Result<ExitStatus> {
        let Some(status) = ended(&mut self.process, PATIENCE)? else {
            bail!("it does not end: {}", self.sent().escape_debug());
        };
        let until = Instant::now() + PATIENCE;
        while !LEAVE.iter().all(|part| self.sent().contains(part)) {
            ensure!(Instant::now() < until, "the screen stays: {}", self.sent().escape_debug());
            thread::sleep(Duration::from_millis(5));
        }
        let (before, after) = (&self.before, tcgetattr(&self.slave)?);
        ensure!(
            (before.local_modes, before.input_modes, before.output_modes, before.control_modes)
                == (after.local_modes, after.input_modes, after.output_modes, after.control_modes),
            "the terminal is not as it was: {after:?}"
        );
        Ok(status)
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_load_is_watched_in_the_terminal_which_is_left_as_it_was() -> Result<()> {
    let work = Workdir::new()?;
    let watched = Watched::start(&work, &["--follow"])?;
    let url = format!("http://{}/", watched.address);
    for end in ["q", "\u{3}", "\u{1b}"] {
        let mut top = Top::start(&url)?;
        top.shows("waiting for files that match")?;
        if end == "q" {
            work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\nbad\n")?;
            top.shows("field_count")?;
            top.shows("High error rate")?;
        }
        top.master.write_all(end.as_bytes())?;
        ensure!(top.end()?.success(), "it ended with {end:?}");
    }
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let top = Top::start(&url)?;
        top.shows("waiting for files that match")?;
        kill_process(Pid::from_child(&top.process), signal)?;
        ensure!(top.end()?.success(), "{signal:?}");
    }
    // The process that is watched ends: what was seen last stays, and says so.
    let mut top = Top::start(&format!("{}", watched.address))?;
    top.shows("waiting for files that match")?;
    watched.stop(&work)?;
    top.shows("lost contact")?;
    top.master.write_all(b"q")?;
    top.end()?;
    Ok(())
}

#[test]
fn top_ends_with_its_terminal_also_while_it_waits_for_a_key() -> Result<()> {
    // It draws first, and waits for a key a moment later.
    for pause in [0, 20, 250].map(Duration::from_millis) {
        let (mut master, slave) = terminal()?;
        let mut process = command("127.0.0.1:1", &slave)?.stderr(Stdio::piped()).spawn()?;
        drop(slave);
        let (mut sent, mut buffer) = (Vec::new(), [0; 4096]);
        while !String::from_utf8_lossy(&sent).contains("ends") {
            let length = master.read(&mut buffer)?;
            sent.extend_from_slice(&buffer[..length]);
        }
        thread::sleep(pause);
        // It is not the terminal of its session, so it gets no SIGHUP.
        drop(master);
        let status = ended(&mut process, PATIENCE)?;
        let _ = process.kill();
        let status = status.with_context(|| format!("it does not end after {pause:?}"))?;
        let mut text = String::new();
        process.stderr.take().context("its standard error")?.read_to_string(&mut text)?;
        ensure!(status.code() == Some(1) && text.contains("this terminal"), "{pause:?}: {status}: {text}");
    }
    Ok(())
}

#[test]
fn top_says_that_nobody_listens_and_that_it_needs_a_terminal() -> Result<()> {
    let mut top = Top::start("127.0.0.1:1")?;
    top.shows("no contact")?;
    top.master.write_all(b"q")?;
    top.end()?;
    let work = Workdir::new()?;
    let run = work.run(&["top", "127.0.0.1:1"])?;
    run.fails_with(&["standard output is no terminal: read http://127.0.0.1:1/status.json instead"])?;
    run.exits(1)?;
    let wrong = Command::new(env!("CARGO_BIN_EXE_memc-load"))
        .args(["top", "https://host"])
        .stdin(Stdio::null())
        .output()
        .context("it starts")?;
    let text = String::from_utf8(wrong.stderr)?;
    ensure!(wrong.status.code() == Some(1) && text.contains("give the URL of the page"), "{text}");
    Ok(())
}
