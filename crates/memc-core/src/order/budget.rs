//! The memory budget of a load: what is in flight takes shares of it, and the reader waits for room.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

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
    used: usize,
    /// The part of it for which there is no memory yet.
    promised: usize,
    closed: bool,
}

impl Budget {
    pub(crate) fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self { state: Mutex::default(), room: Condvar::new(), max_bytes })
    }

    /// Waits until `bytes` more may be in flight; `None` if the load stops. However many they are, they may when
    /// nothing else is.
    pub(crate) fn reserve(self: &Arc<Self>, bytes: usize) -> Option<Share> {
        let mut share = self.take(0);
        share.grow(bytes).then_some(share)
    }

    /// Takes `bytes` that are in flight already, without waiting: what comes later waits for them.
    pub(crate) fn take(self: &Arc<Self>, bytes: usize) -> Share {
        self.lock().used += bytes;
        Share { budget: Arc::clone(self), bytes, promised: 0 }
    }

    /// Bytes in flight.
    pub(crate) fn used(&self) -> usize {
        self.lock().used
    }

    /// The part of the bytes in flight for which there is no memory yet.
    pub(crate) fn promised(&self) -> usize {
        self.lock().promised
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
    bytes: usize,
    promised: usize,
}

impl Share {
    /// Makes it `bytes` large, without waiting; for all of them there is memory.
    pub(crate) fn set(&mut self, bytes: usize) {
        self.set_with(bytes, 0);
    }

    /// Makes it `bytes` large, without waiting; for those that are `promised` there is no memory yet.
    pub(crate) fn set_with(&mut self, bytes: usize, promised: usize) {
        let mut state = self.budget.lock();
        state.promised = state.promised - self.promised + promised;
        self.promised = promised;
        state.used = state.used - self.bytes + bytes;
        if bytes < self.bytes {
            self.budget.room.notify_all();
        }
        self.bytes = bytes;
    }

    /// Waits until it may be `bytes` large; false if the load stops. It may when it is the only one.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let budget = &self.budget;
        let mut state = budget.lock();
        let others = |state: &State| state.used - self.bytes;
        while !state.closed && others(&state) > 0 && others(&state) + bytes > budget.max_bytes {
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
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_share_waits_for_room_but_a_large_one_alone_passes() {
        let budget = Budget::new(100);
        let mut large = budget.reserve(1000).expect("it is alone");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.reserve(50).is_some());
            std::thread::sleep(Duration::from_millis(20));
            large.set(51);
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            large.set(50);
            assert_eq!(waiting.join().ok(), Some(true));
        });
        assert!(large.grow(1000), "it is alone again");
        let taken = budget.take(7);
        assert_eq!(budget.used(), 1007);
        drop((large, taken));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn what_is_promised_is_a_part_of_a_share() {
        let budget = Budget::new(100);
        let mut share = budget.take(10);
        share.set_with(30, 20);
        assert_eq!((budget.used(), budget.promised()), (30, 20));
        share.set(25);
        assert_eq!((budget.used(), budget.promised()), (25, 0));
        share.set_with(30, 20);
        drop(share);
        assert_eq!((budget.used(), budget.promised()), (0, 0));
    }

    #[test]
    fn a_stop_ends_the_wait() {
        let budget = Budget::new(100);
        let mut held = budget.reserve(60).expect("there is room");
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| budget.reserve(50).is_none());
            std::thread::sleep(Duration::from_millis(20));
            budget.close();
            assert_eq!(waiting.join().ok(), Some(true));
        });
        assert!(!held.grow(1000));
        assert_eq!(budget.used(), 60, "what is in flight is so until it is given back");
    }
}
