//! What the process does and whether it is alive, for those who watch it; the service manager is notified of it.

use std::fmt::Display;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memc_core::ProgressHandle;
use sd_notify::NotifyState;

/// A load may make no progress for at least this long: a slow server takes a while for a batch.
const MIN_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What a load may take on top of the times that its options set.
const MARGIN: Duration = Duration::from_secs(60);

/// What is reported to the service manager, systemd or one that does as it does, if there is one. Clones are of the same
/// reporter.
#[derive(Clone, Debug)]
pub(crate) struct Service(Arc<Reporter>);

#[derive(Debug)]
struct Reporter {
    /// Whether there is a service manager.
    is_managed: bool,
    progress: ProgressHandle,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug)]
struct State {
    /// What the process does.
    status: String,
    /// Whether the service manager does not know that yet.
    is_new: bool,
    life: Life,
}

/// Distinguishes a process that works, or waits for a known cause, from one that hangs.
#[derive(Debug)]
struct Life {
    last_sign: Instant,
    /// How far the load had come then.
    progress: (u64, u64),
    /// Without a sign of life for longer than this the process hangs.
    patience: Duration,
}

impl Service {
    /// Starts to report if the process was started by a service manager. `timeouts` is how long a load may wait for a
    /// server by its options.
    pub(crate) fn start(progress: ProgressHandle, timeouts: Duration) -> Result<Self> {
        let is_managed = std::env::var_os("NOTIFY_SOCKET").is_some();
        let patience = MIN_PATIENCE.max(timeouts.saturating_add(MARGIN));
        let life = Life { last_sign: Instant::now(), progress: (0, 0), patience };
        let state = Mutex::new(State { status: String::new(), is_new: false, life });
        let reporter = Arc::new(Reporter { is_managed, progress, state, changed: Condvar::new() });
        if !is_managed {
            return Ok(Self(reporter));
        }
        let own = Arc::clone(&reporter);
        let thread = thread::Builder::new().name("service manager".to_owned());
        // A thread of its own, as a service manager that does not read must not hold up the load.
        thread.spawn(move || own.report()).context("cannot start the thread that notifies systemd")?;
        Ok(Self(reporter))
    }

    /// The process has started well.
    pub(crate) fn ready(&self) {
        if self.0.is_managed {
            notify(&NotifyState::Ready);
        }
    }

    /// The process is about to end.
    pub(crate) fn stopping(&self) {
        if self.0.is_managed {
            notify(&NotifyState::Stopping);
        }
    }

    /// What the process does now. It is a sign of life.
    pub(crate) fn status(&self, text: impl Display) {
        let (text, mut state) = (text.to_string(), self.0.lock());
        state.life.last_sign = Instant::now();
        // In the protocol a line end is the end of the status.
        let text = text.replace(char::is_control, "?");
        if state.status != text {
            state.status = text;
            state.is_new = true;
            self.0.changed.notify_one();
        }
    }

    /// What it does, in words.
    pub(crate) fn text(&self) -> String {
        self.0.lock().status.clone()
    }

    /// Whether it works, or waits for what it knows.
    pub(crate) fn is_alive(&self) -> bool {
        self.0.lock().life.is_alive(self.0.progress(), Instant::now())
    }

    /// Something that happens regularly has happened, or a wait is known to be in order.
    pub(crate) fn sign_of_life(&self) {
        self.0.lock().life.last_sign = Instant::now();
    }

    /// The last sign of life was that long before.
    #[cfg(test)]
    pub(crate) fn age(&self, time: Duration) {
        let life = &mut self.0.lock().life;
        life.last_sign = life.last_sign.checked_sub(time).unwrap_or(life.last_sign);
    }
}

impl Reporter {
    /// Reports until the process ends.
    fn report(&self) {
        let watchdog = sd_notify::watchdog_enabled();
        // Two in the time in which one is expected.
        let interval = watchdog.map_or(MIN_PATIENCE, |timeout| timeout / 2);
        let mut next = Instant::now();
        loop {
            let mut state = self.lock();
            let now = Instant::now();
            if watchdog.is_some() && now >= next {
                next = now + interval;
                if state.life.is_alive(self.progress(), now) {
                    drop(state);
                    notify(&NotifyState::Watchdog);
                    state = self.lock();
                }
            }
            if std::mem::take(&mut state.is_new) {
                let status = state.status.clone();
                drop(state);
                notify(&NotifyState::Status(&status));
                continue;
            }
            let left =
                if watchdog.is_some() { next.saturating_duration_since(Instant::now()) } else { interval };
            drop(self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// How far the load is.
    fn progress(&self) -> (u64, u64) {
        (self.progress.bytes_in(), self.progress.records())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Life {
    /// Whether there was a sign of life not too long before `now`; progress is one.
    fn is_alive(&mut self, progress: (u64, u64), now: Instant) -> bool {
        if self.progress != progress {
            (self.progress, self.last_sign) = (progress, now);
        }
        now.saturating_duration_since(self.last_sign) <= self.patience
    }
}

/// A service manager that is gone needs no notice.
fn notify(state: &NotifyState<'_>) {
    let _ = sd_notify::notify(std::slice::from_ref(state));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_without_a_sign_of_life_hangs() {
        let start = Instant::now();
        let minute = |number: u32| start + number * Duration::from_secs(60);
        let mut life = Life { last_sign: start, progress: (0, 0), patience: MIN_PATIENCE };
        assert!(life.is_alive((0, 0), minute(5)));
        assert!(!life.is_alive((0, 0), minute(6)));
        assert!(life.is_alive((1, 0), minute(7)), "progress is a sign of life");
        assert!(life.is_alive((1, 0), minute(12)));
        assert!(!life.is_alive((1, 0), minute(13)));
        life.last_sign = minute(14);
        assert!(life.is_alive((1, 0), minute(15)));
    }
}
