//! Signals: SIGINT and SIGTERM end the run, the second one at once; SIGHUP opens files again that were moved.

use std::sync::{Arc, OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// A second signal so soon after the first is the same request: `timeout` sends one to the process and one
/// to its group.
const SAME_REQUEST: Duration = Duration::from_millis(50);

/// What went wrong with the system's part of it.
const PROBLEM: &str = "cannot watch for signals";

/// SIGHUP, which no longer ends the process.
#[derive(Debug)]
pub(crate) struct Taken(Signals);

/// Takes SIGHUP over; it waits until it is watched for. The others end the process until then: what it opens may be a pipe
/// that nobody reads, for which it waits.
pub(crate) fn take() -> Result<Taken> {
    Signals::new([SIGHUP]).map(Taken).context(PROBLEM)
}

/// Watches for signals from its start to the end of the process.
#[derive(Debug)]
pub(crate) struct Watch {
    first: Arc<OnceLock<i32>>,
}

impl Watch {
    /// Has `stop` called with the name of the first SIGINT or SIGTERM, and `reopen` on each SIGHUP.
    pub(crate) fn start(
        Taken(mut signals): Taken,
        stop: impl FnOnce(&'static str) + Send + 'static,
        reopen: impl Fn() + Send + 'static,
    ) -> Result<Self> {
        [SIGINT, SIGTERM].iter().try_for_each(|&signal| signals.add_signal(signal)).context(PROBLEM)?;
        // What the signals ask for is done elsewhere, since it logs: the log may be a pipe that nobody reads, and the
        // next signal has to end the process also then.
        let (asked, requests) = mpsc::channel();
        let mut stop = Some(stop);
        let acting = move || {
            for signal in requests {
                match stop.take_if(|_| signal != SIGHUP) {
                    Some(stop) => stop(low_level::signal_name(signal).unwrap_or("a signal")),
                    None => reopen(),
                }
            }
        };
        let first = Arc::new(OnceLock::new());
        let received = Arc::clone(&first);
        let watching = move || {
            let mut at = None;
            for signal in signals.forever() {
                match signal {
                    // The other thread lives as long as this one.
                    SIGHUP => asked.send(signal).unwrap_or_default(),
                    _ if received.set(signal).is_ok() => {
                        at = Some(Instant::now());
                        asked.send(signal).unwrap_or_default();
                    }
                    _ if at.is_some_and(|at| at.elapsed() > SAME_REQUEST) => {
                        low_level::exit(exit_code(signal).into());
                    }
                    _ => {}
                }
            }
        };
        for (name, todo) in [
            ("signal actions", Box::new(acting) as Box<dyn FnOnce() + Send>),
            ("signals", Box::new(watching)),
        ] {
            let thread = thread::Builder::new().name(name.to_owned());
            thread.spawn(todo).context("cannot start the threads that watch for signals")?;
        }
        Ok(Self { first })
    }

    /// The exit code for the first SIGINT or SIGTERM, if one has come.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        self.first.get().copied().map(exit_code)
    }
}

/// Has a write over the limit on the size of files (`ulimit -f`) fail as on a full disk, instead of end the process.
pub(crate) fn survive_file_size_limit() {
    // Caught, the signal does nothing. That this fails is not to be expected, and no reason to load nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// What a shell reports of a process that a signal has ended.
fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
