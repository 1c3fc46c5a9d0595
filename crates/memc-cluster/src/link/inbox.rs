//! The bytes of the dataflow that have come over a link and are not read yet, attempt after attempt.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What waits to be read. Its length is bounded by what the sender may have in flight.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Pieces with their attempts; `None` is the end of an attempt's bytes.
    waiting: VecDeque<(u32, Option<Vec<u8>>)>,
    /// The last attempt that is over here: nothing of it is wanted.
    over: u32,
}

/// What a read has come to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    Bytes(Vec<u8>),
    /// The other side has sent all.
    End,
    /// The attempt is over.
    Over,
}

impl Inbox {
    /// Leaves a piece. It may be of an attempt that has not started here yet.
    pub(crate) fn put(&self, attempt: u32, piece: Option<Vec<u8>>) {
        let mut state = self.lock();
        if attempt > state.over {
            state.waiting.push_back((attempt, piece));
            self.changed.notify_all();
        }
    }

    /// Waits for the next piece of an attempt.
    pub(crate) fn take(&self, attempt: u32) -> Piece {
        let mut state = self.lock();
        loop {
            if attempt <= state.over {
                return Piece::Over;
            }
            if state.waiting.front().is_some_and(|(it, _)| *it == attempt)
                && let Some((_, piece)) = state.waiting.pop_front()
            {
                return piece.map_or(Piece::End, Piece::Bytes);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// An attempt is over: nobody waits for its bytes any more, and none are kept.
    pub(crate) fn end(&self, attempt: u32) {
        let mut state = self.lock();
        state.over = attempt;
        state.waiting.retain(|(it, _)| *it > attempt);
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_attempt_reads_its_own() {
        let inbox = Inbox::default();
        inbox.put(1, Some(b"one".to_vec()));
        inbox.put(1, None);
        inbox.put(2, Some(b"two".to_vec()));
        assert_eq!((inbox.take(1), inbox.take(1)), (Piece::Bytes(b"one".to_vec()), Piece::End));
        std::thread::scope(|scope| {
            let early = scope.spawn(|| inbox.take(1));
            inbox.end(1);
            assert_eq!(early.join().ok(), Some(Piece::Over));
        });
        inbox.put(1, Some(b"late".to_vec()));
        assert_eq!(inbox.take(2), Piece::Bytes(b"two".to_vec()));
    }
}
