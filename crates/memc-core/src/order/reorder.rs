//! Hands the batches of one connection on in the order of their chunks, whichever was finished first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};

use crate::wire::batch::Batch;

/// The queue in which a batch waits for its turn. Workers submit and never wait here; the one thread that
/// serves the connection takes. The ledger bounds how many batches there can be.
#[derive(Debug, Default)]
pub struct ReorderQueue {
    state: Mutex<State>,
    ready: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The chunk whose turn it is: the number of `waiting[0]`.
    next: u64,
    waiting: VecDeque<Option<Batch>>,
    closed: bool,
}

impl ReorderQueue {
    /// Leaves the batch of chunk `number`; each chunk leaves one, be it empty.
    pub fn submit(&self, number: u64, batch: Batch) {
        let mut state = self.lock();
        let at = usize::try_from(number - state.next).unwrap_or(usize::MAX);
        if state.waiting.len() <= at {
            state.waiting.resize_with(at + 1, || None);
        }
        state.waiting[at] = Some(batch);
        if at == 0 {
            self.ready.notify_one();
        }
    }

    /// The next batch, if it is there already.
    pub(crate) fn try_take(&self) -> Option<Batch> {
        self.lock().take()
    }

    /// Waits for the next batch; `None` when there will be none.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        loop {
            let batch = state.take();
            if batch.is_some() || state.closed {
                return batch;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Says that no batch will be submitted any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing in here can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take(&mut self) -> Option<Batch> {
        let batch = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.next += 1;
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::attributes::Attributes;

    fn batch(line: u32) -> Batch {
        let mut batch = Batch::default();
        batch.push(line, b"k", b"", Attributes::default());
        batch
    }

    fn line(batch: Option<Batch>) -> Option<u32> {
        batch.and_then(|batch| batch.iter().next().map(|record| record.line))
    }

    #[test]
    fn batches_come_out_in_the_order_of_their_numbers() {
        let turns = ReorderQueue::default();
        turns.submit(2, batch(2));
        turns.submit(1, batch(1));
        assert_eq!(line(turns.try_take()), None);
        turns.submit(0, batch(0));
        assert_eq!(line(turns.take()), Some(0));
        turns.submit(3, batch(3));
        turns.close();
        assert_eq!([1, 2, 3].map(|_| line(turns.take())), [Some(1), Some(2), Some(3)]);
        assert_eq!(line(turns.take()), None);
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let turns = ReorderQueue::default();
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| (line(turns.take()), line(turns.take())));
            turns.submit(1, batch(1));
            turns.submit(0, batch(0));
            assert_eq!(taker.join().ok(), Some((Some(0), Some(1))));
        });
    }
}
