//! The memory budget of a load: what is in flight takes shares of it, and the reader waits for room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What a chunk or an event takes beside its buffers, about: its places in queues and accounts.
pub(crate) const CHUNK_BYTES: usize = 1024;

/// Bytes that may be in flight, and those that are.
#[derive(Debug)]
pub(crate) struct Budget {
    state: Mutex<State>,
    /// Notified when there may be room, or the load stops.
    room: Condvar,
    max_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    used: Bytes,
    closed: bool,
}

/// Bytes in flight.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes {
    /// What is there.
    pub(crate) present: usize,
    /// What is still to be made of it: batches.
    pub(crate) expected: usize,
}

impl Bytes {
    pub(crate) fn total(self) -> usize {
        self.present + self.expected
    }
}

impl std::ops::Add for Bytes {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { present: self.present + other.present, expected: self.expected + other.expected }
    }
}

impl std::ops::Sub for Bytes {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { present: self.present - other.present, expected: self.expected - other.expected }
    }
}

/// They are all there.
impl From<usize> for Bytes {
    fn from(present: usize) -> Self {
        Self { present, expected: 0 }
    }
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room: Condvar::new(), max_bytes })
    }

    /// Waits until `bytes` more may be in flight; `None` if the load stops. However many they are, they may when
    /// nothing else is.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: Bytes) -> Option<Share> {
        let mut share = self.take(0);
        share.grow(bytes).then_some(share)
    }

    /// Takes `bytes` that are in flight already, without waiting: what comes later waits for them.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Share {
        let mut share = Share { budget: Arc::clone(self), bytes: Bytes::default() };
        share.set(bytes.into());
        share
    }

    /// Waits up to `timeout`; whether `bytes` more may be in flight then, or the load stops.
    pub(crate) fn wait_for_room(&self, bytes: Bytes, timeout: Duration) -> bool {
        let is_full = |state: &mut State| {
            let used = state.used;
            !state.closed && used.total() > 0 && (used + bytes).total() > self.max_bytes
        };
        let waited = self.room.wait_timeout_while(self.lock(), timeout, is_full);
        let (_state, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        !waited.timed_out()
    }

    /// All bytes in flight.
    pub(crate) fn used(&self) -> Bytes {
        self.lock().used
    }

    /// Ends every wait for room, since the load stops.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.room.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A part of the budget, given back when it is dropped.
#[derive(Debug)]
pub(crate) struct Share {
    budget: Arc<Budget>,
    bytes: Bytes,
}

impl Share {
    /// Makes it `bytes` large, without waiting.
    pub(crate) fn set(&mut self, bytes: Bytes) {
        let mut state = self.budget.lock();
        state.used = state.used - self.bytes + bytes;
        if bytes.total() < self.bytes.total() {
            self.budget.room.notify_all();
        }
        self.bytes = bytes;
    }

    /// Waits until it may be `bytes` large; false if the load stops. It may when it is the only one.
    pub(crate) fn grow(&mut self, bytes: Bytes) -> bool {
        let budget = &self.budget;
        let mut state = budget.lock();
        let others = |state: &State| state.used - self.bytes;
        let fits = |others: Bytes| others.total() == 0 || (others + bytes).total() <= budget.max_bytes;
        while !state.closed && !fits(others(&state)) {
            state = budget.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if state.closed {
            return false;
        }
        state.used = others(&state) + bytes;
        self.bytes = bytes;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.set(Bytes::default());
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_share_waits_for_room_but_a_large_one_alone_passes() {
        let budget = Budget::new(100);
        let expected = Bytes { present: 500, expected: 500 };
        let mut large = budget.reserve(expected).expect("it is alone");
        assert_eq!(budget.used(), expected);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.reserve(50.into()).is_some());
            std::thread::sleep(Duration::from_millis(20));
            large.set(51.into());
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            large.set(50.into());
            assert_eq!(waiting.join().ok(), Some(true));
        });
        assert!(large.grow(1000.into()), "it is alone again");
        let taken = budget.take(7);
        assert_eq!(budget.used().total(), 1007);
        drop((large, taken));
        assert_eq!(budget.used().total(), 0);
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(60.into()).expect("there is room");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.reserve(50.into()).is_none());
            std::thread::sleep(Duration::from_millis(20));
            budget.close();
            assert_eq!(waiting.join().ok(), Some(true));
        });
        assert!(!held.grow(1000.into()));
        assert_eq!(budget.used().total(), 60, "what is in flight is so until it is given back");
    }
}
