//! `memc-load top`: what the page of `--listen` shows, in a terminal, from its `/status.json`.

mod client;
mod draw;
mod seen;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver, TryRecvError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyModifiers};
use ratatui::DefaultTerminal;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::ops::top::client::{Source, fetch};
use crate::ops::top::seen::Seen;
use crate::watch::status::Status;

/// How often the status is asked for.
const POLL: Duration = Duration::from_secs(1);

/// How soon a key or a signal is noticed at the latest.
const TICK: Duration = Duration::from_millis(100);

/// Shows the process that listens there, until a key or a signal ends it.
pub(super) fn run(url: &str) -> Result<()> {
    let source: Source = url.parse()?;
    if !io::stdout().is_terminal() {
        bail!("standard output is no terminal: read {source} instead");
    }
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGHUP, SIGINT, SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop)).context("cannot watch for signals")?;
    }
    let mut seen = Seen::new(source.to_string());
    let answers = ask(source)?;
    on_terminal(|terminal| show(terminal, &mut seen, &answers, &stop))
}

/// Lends the terminal, which is as it was afterwards, also after a panic of any thread.
fn on_terminal(work: impl FnOnce(&mut DefaultTerminal) -> Result<()>) -> Result<()> {
    // It sets a panic hook, too.
    let terminal = ratatui::try_init().context("cannot draw on this terminal");
    let result = terminal.and_then(|mut terminal| work(&mut terminal));
    ratatui::restore();
    result
}

/// Asks again and again, on a thread of its own, so that a process that does not answer holds up no key.
fn ask(source: Source) -> Result<Receiver<Result<Status>>> {
    let (sender, answers) = mpsc::sync_channel(1);
    let asking = move || {
        while sender.send(fetch(&source)).is_ok() {
            thread::sleep(POLL);
        }
    };
    thread::Builder::new().spawn(asking).context("cannot start a thread")?;
    Ok(answers)
}

fn show(
    terminal: &mut DefaultTerminal,
    seen: &mut Seen,
    answers: &Receiver<Result<Status>>,
    stop: &AtomicBool,
) -> Result<()> {
    while !stop.load(Ordering::Relaxed) {
        take_answers(seen, answers)?;
        terminal.draw(|frame| draw::draw(frame, seen)).context("cannot draw on this terminal")?;
        if event::poll(TICK).context("cannot read from this terminal")?
            && let Event::Key(key) = event::read().context("cannot read from this terminal")?
            && is_end(key)
        {
            break;
        }
    }
    Ok(())
}

/// Takes what has come. Nothing more can come once the thread that asks has panicked, and its panic has given the terminal
/// back, so it is an error.
fn take_answers(seen: &mut Seen, answers: &Receiver<Result<Status>>) -> Result<()> {
    loop {
        match answers.try_recv() {
            Ok(answer) => seen.take(answer),
            Err(TryRecvError::Empty) => return Ok(()),
            Err(TryRecvError::Disconnected) => bail!("the thread that asks for the status has ended"),
        }
    }
}

fn is_end(key: KeyEvent) -> bool {
    let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_control_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::fs::File;
    use std::io::Read;
    use std::process::Command;
    use std::time::Instant;

    use anyhow::ensure;
    use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
    use rustix::termios::{Winsize, tcgetattr, tcsetwinsize};

    use super::*;

    /// With this variable the test below is the process that panics.
    const PANICS: &str = "MEMC_LOAD_TEST_PANICS";

    #[test]
    fn a_panic_leaves_the_terminal_as_it_was() -> Result<()> {
        if env::var_os(PANICS).is_some() {
            return on_terminal(|_| panic!("in the middle"));
        }
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC)?;
        grantpt(&master)?;
        unlockpt(&master)?;
        tcsetwinsize(&master, Winsize { ws_row: 40, ws_col: 160, ws_xpixel: 0, ws_ypixel: 0 })?;
        let slave =
            File::options().read(true).write(true).open(ptsname(&master, Vec::new())?.into_string()?)?;
        let before = tcgetattr(&slave)?;
        let mut process = Command::new(env::current_exe()?)
            .args(["--exact", "ops::top::tests::a_panic_leaves_the_terminal_as_it_was", "--nocapture"])
            .env(PANICS, "1")
            .env("TERM", "xterm")
            .stdin(slave.try_clone()?)
            .stdout(slave.try_clone()?)
            .stderr(slave.try_clone()?)
            .spawn()?;
        let until = Instant::now() + Duration::from_secs(60);
        while process.try_wait()?.is_none() {
            if Instant::now() > until {
                process.kill()?;
            }
            thread::sleep(Duration::from_millis(5));
        }
        let after = tcgetattr(&slave)?;
        // What it wrote is read to the end once nobody holds the other side.
        drop(slave);
        let mut sent = Vec::new();
        let _ = File::from(master).read_to_end(&mut sent);
        let sent = String::from_utf8_lossy(&sent);
        // It entered the second screen, left it, and only then said why, where it can be read.
        let places = ["\u{1b}[?1049h", "\u{1b}[?1049l", "in the middle"].map(|part| sent.find(part));
        ensure!(places.iter().all(Option::is_some) && places.is_sorted(), "{}", sent.escape_debug());
        ensure!(
            (before.local_modes, before.input_modes, before.output_modes, before.control_modes)
                == (after.local_modes, after.input_modes, after.output_modes, after.control_modes),
            "the terminal is not as it was: {after:?}"
        );
        Ok(())
    }

    #[test]
    fn it_ends_when_no_status_can_come_any_more() {
        let (sender, answers) = mpsc::sync_channel(1);
        let mut seen = Seen::new("http://h/status.json".to_owned());
        assert!(sender.send(Err(anyhow::anyhow!("refused"))).is_ok());
        assert!(take_answers(&mut seen, &answers).is_ok());
        assert_eq!(seen.error.as_deref(), Some("refused"));
        drop(sender);
        assert!(take_answers(&mut seen, &answers).is_err());
    }
}
