//! SIGINT and SIGTERM: the first one asks the run to come to its end, a second one ends the process at once.

use std::sync::{Arc, OnceLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use signal_hook::consts::{SIGINT, SIGTERM, SIGXFSZ};
use signal_hook::iterator::Signals;
use signal_hook::low_level;

/// A second signal so soon after the first is the same request: `timeout` sends one to the process and one
/// to its group.
const SAME_REQUEST: Duration = Duration::from_millis(50);

/// Watches for signals from its start to the end of the process.
#[derive(Debug)]
pub(crate) struct Watch {
    first: Arc<OnceLock<i32>>,
}

impl Watch {
    /// Takes SIGINT and SIGTERM over; the first of them has `stop` called.
    pub(crate) fn start(stop: impl FnOnce() + Send + 'static) -> Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM]).context("cannot watch for signals")?;
        let first = Arc::new(OnceLock::new());
        let received = Arc::clone(&first);
        let watching = move || {
            let mut stop = Some(stop);
            let mut at = None;
            for signal in signals.forever() {
                if received.set(signal).is_ok() {
                    at = Some(Instant::now());
                    let stop = stop.take();
                    // The log may be a pipe that nobody reads; the next signal has to end the process also then.
                    thread::spawn(move || announce(signal, stop));
                } else if at.is_some_and(|at| at.elapsed() > SAME_REQUEST) {
                    low_level::exit(exit_code(signal).into());
                }
            }
        };
        thread::Builder::new().spawn(watching).context("cannot start the thread that watches for signals")?;
        Ok(Self { first })
    }

    /// The exit code for the first signal, if one has come.
    pub(crate) fn exit_code(&self) -> Option<u8> {
        self.first.get().copied().map(exit_code)
    }
}

/// Has a write over the limit on the size of files (`ulimit -f`) fail as on a full disk, instead of end the process.
pub(crate) fn survive_file_size_limit() {
    // Caught, the signal does nothing. That this fails is not to be expected, and no reason to load nothing.
    let _ = signal_hook::flag::register(SIGXFSZ, Arc::default());
}

/// The log tells of the signal before it can tell of the end.
fn announce(signal: i32, stop: Option<impl FnOnce()>) {
    let name = low_level::signal_name(signal).unwrap_or("a signal");
    log::warn!("{name}: finishing what is in flight; again to end at once");
    stop.into_iter().for_each(|stop| stop());
}

/// What a shell reports of a process that a signal has ended.
fn exit_code(signal: i32) -> u8 {
    u8::try_from(128 + signal).unwrap_or(u8::MAX)
}
