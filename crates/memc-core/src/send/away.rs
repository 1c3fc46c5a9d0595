//! Whether a server is away: one event for all of its connections at the first failure, each minute, and at the end.

use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Event;

/// How often an event says that the server still is away.
const REMINDER: Duration = Duration::from_secs(60);

/// How many connections to a server fail, and what was emitted of it.
#[derive(Debug)]
pub(crate) struct Away {
    address: String,
    retry_timeout: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    failing: usize,
    since: Option<Instant>,
    reminded: Option<Instant>,
}

impl Away {
    pub(crate) fn new(address: String, retry_timeout: Duration) -> Self {
        Self { address, retry_timeout, state: Mutex::default() }
    }

    /// A connection has started to fail.
    pub(crate) fn begin(&self, reason: &io::Error, emit: &dyn Fn(Event)) {
        let mut state = self.lock();
        state.failing += 1;
        if state.failing > 1 {
            return;
        }
        let now = Instant::now();
        (state.since, state.reminded) = (Some(now), Some(now));
        drop(state);
        let (address, reason) = (self.address.clone(), reason.to_string());
        emit(Event::ServerAway { address, reason, retry_timeout: self.retry_timeout });
    }

    /// To be called now and then while a connection fails.
    pub(crate) fn remind(&self, emit: &dyn Fn(Event)) {
        let mut state = self.lock();
        let (Some(since), Some(reminded)) = (state.since, state.reminded) else { return };
        if reminded.elapsed() < REMINDER {
            return;
        }
        state.reminded = Some(Instant::now());
        drop(state);
        emit(Event::ServerStillAway { address: self.address.clone(), away_for: since.elapsed() });
    }

    /// A connection that has failed gets on again.
    pub(crate) fn end(&self, emit: &dyn Fn(Event)) {
        let mut state = self.lock();
        state.failing = state.failing.saturating_sub(1);
        if state.failing > 0 {
            return;
        }
        let Some(since) = state.since.take() else { return };
        drop(state);
        emit(Event::ServerBack { address: self.address.clone(), away_for: since.elapsed() });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn several_connections_make_one_event() {
        let events = RefCell::new(Vec::new());
        let emit = |event| events.borrow_mut().push(event);
        let away = Away::new("there".to_owned(), Duration::from_secs(9));
        away.begin(&io::Error::other("refused"), &emit);
        away.begin(&io::Error::other("refused, too"), &emit);
        away.remind(&emit);
        away.end(&emit);
        away.lock().reminded = Instant::now().checked_sub(REMINDER);
        away.remind(&emit);
        away.remind(&emit);
        away.end(&emit);
        away.end(&emit);
        away.remind(&emit);
        let [
            Event::ServerAway { address, reason, retry_timeout },
            Event::ServerStillAway { .. },
            Event::ServerBack { away_for, .. },
        ] = &events.borrow()[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!((address.as_str(), reason.as_str(), retry_timeout.as_secs()), ("there", "refused", 9));
        assert!(*away_for < Duration::from_secs(9));
    }
}
