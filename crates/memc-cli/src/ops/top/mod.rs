//! `memc-load top`: what the page of `--listen` shows, in a terminal, from its `/status.json`.

mod client;
mod draw;
mod seen;

use std::io::{self, IsTerminal};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, Receiver};
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
    // Also a panic leaves the terminal as it was.
    let terminal = ratatui::try_init().context("cannot draw on this terminal");
    let result = terminal.and_then(|mut terminal| show(&mut terminal, &mut seen, &answers, &stop));
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
        for answer in answers.try_iter() {
            seen.take(answer);
        }
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

fn is_end(key: KeyEvent) -> bool {
    let is_control_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    is_control_c || matches!(key.code, KeyCode::Char('q' | 'Q') | KeyCode::Esc)
}
