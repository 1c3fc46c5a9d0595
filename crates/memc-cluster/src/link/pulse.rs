//! Whether this process has itself been still for so long that others may have given it up.
//!
//! What it would send to servers after that might overtake what a new run sends.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// How many signs of life a process gives in the time after which others give it up.
pub(crate) const BEATS: u32 = 8;

/// A thread that runs all the time, unless the process does not.
#[derive(Debug)]
pub(crate) struct Pulse {
    last: Mutex<Instant>,
    most: Duration,
    has_stopped: AtomicBool,
}

impl Pulse {
    /// Starts it. Three quarters of `patience` are too long: the last sign of life may have been given an eighth before.
    ///
    /// # Errors
    ///
    /// If the thread does not start.
    pub(crate) fn start(patience: Duration) -> io::Result<Arc<Self>> {
        let most = patience * 3 / 4;
        let pulse =
            Arc::new(Self { last: Mutex::new(Instant::now()), most, has_stopped: AtomicBool::new(false) });
        let beating = Arc::downgrade(&pulse);
        thread::Builder::new().name("pulse".to_owned()).spawn(move || {
            while let Some(pulse) = beating.upgrade() {
                // What was missed is noted before it can no longer be seen.
                pulse.is_still();
                *pulse.last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                drop(pulse);
                thread::sleep(patience / BEATS);
            }
        })?;
        Ok(pulse)
    }

    /// Whether the process was still for too long, now or ever.
    pub(crate) fn is_still(&self) -> bool {
        let last = *self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() > self.most {
            self.has_stopped.store(true, Ordering::Relaxed);
        }
        self.has_stopped.load(Ordering::Relaxed)
    }
}
