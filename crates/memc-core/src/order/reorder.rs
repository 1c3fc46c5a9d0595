//! Hands the batches of one connection on in the order of their chunks, whichever was finished first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::wire::batch::Batch;
use crate::wire::bundle::Bundle;

/// A batch waits for others at most this long, about, and twice that at times.
const GATHER_TIME: Duration = Duration::from_millis(50);

/// The queue in which a batch waits for its turn. Workers submit and never wait here; the one thread that
/// serves the connection takes. The ledger bounds how many batches there can be.
///
/// Where a chunk leaves little for each connection, several batches are handed on together, since each time costs the
/// thread a wake-up, a write and an acknowledgment.
#[derive(Debug, Default)]
pub struct ReorderQueue {
    state: Mutex<State>,
    ready: Condvar,
    /// Batches are handed on when they have this many bytes together.
    gather_bytes: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The chunk whose turn it is: the number of `waiting[0]`.
    next: u64,
    waiting: VecDeque<Option<Batch>>,
    /// How many of the first ones are there, one after the other.
    in_turn: usize,
    /// The bytes of those that are in turn and not released.
    gathered_bytes: usize,
    /// How many of them may be taken.
    released: usize,
    hurry: bool,
    closed: bool,
}

impl ReorderQueue {
    /// One that hands on at once what has this many bytes together, and what is the end of an input.
    pub(crate) fn gathering(gather_bytes: usize) -> Self {
        Self { gather_bytes, ..Self::default() }
    }

    /// Leaves the batch of chunk `number`; each chunk leaves one, be it empty.
    pub fn submit(&self, number: u64, batch: Batch) {
        let mut state = self.lock();
        let at = usize::try_from(number - state.next).unwrap_or(usize::MAX);
        if state.waiting.len() <= at {
            state.waiting.resize_with(at + 1, || None);
        }
        state.waiting[at] = Some(batch);
        let mut ends_input = false;
        while let Some(Some(batch)) = state.waiting.get(state.in_turn) {
            ends_input |= batch.ends_input;
            let bytes = batch.as_bytes().len();
            state.gathered_bytes += bytes;
            state.in_turn += 1;
        }
        if state.gathered_bytes >= self.gather_bytes || ends_input || state.hurry {
            self.release(&mut state);
        }
    }

    /// The next batches, if they are to be taken already.
    pub(crate) fn try_take(&self) -> Option<Bundle> {
        self.lock().take_bundle(self.gather_bytes)
    }

    /// Waits for the next batches; `None` when there will be none.
    pub(crate) fn take(&self) -> Option<Bundle> {
        let mut state = self.lock();
        loop {
            let bundle = state.take_bundle(self.gather_bytes);
            if bundle.is_some() || state.closed {
                return bundle;
            }
            state = if self.gather_bytes == 0 {
                self.ready.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.ready.wait_timeout(state, GATHER_TIME);
                let (mut state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
                if timeout.timed_out() {
                    self.release(&mut state);
                }
                state
            };
        }
    }

    /// Hands on what is there, and from now on what comes at once, since the reader waits for its acknowledgment; or no
    /// longer.
    pub(crate) fn hurry(&self, hurry: bool) {
        let mut state = self.lock();
        state.hurry = hurry;
        if hurry {
            self.release(&mut state);
        }
    }

    /// Says that no batch will be submitted any more.
    pub fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_one();
    }

    /// All that is in turn may be taken.
    fn release(&self, state: &mut State) {
        if state.released == 0 && state.in_turn > 0 {
            self.ready.notify_one();
        }
        state.released = state.in_turn;
        state.gathered_bytes = 0;
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// As many batches as have `gather_bytes` together, if there are. The end of an input is one of its own: before it is
    /// reported, all before it must be acknowledged.
    fn take_bundle(&mut self, gather_bytes: usize) -> Option<Bundle> {
        let mut bundle = Bundle::new(self.take()?);
        while !bundle.ends_input()
            && bundle.bytes() < gather_bytes
            && self.next_in_turn().is_some_and(|batch| !batch.ends_input)
            && let Some(batch) = self.take()
        {
            bundle.push(batch);
        }
        Some(bundle)
    }

    fn next_in_turn(&self) -> Option<&Batch> {
        self.waiting.front()?.as_ref()
    }

    fn take(&mut self) -> Option<Batch> {
        if self.released == 0 && !self.closed {
            return None;
        }
        let batch = self.waiting.front_mut()?.take()?;
        self.waiting.pop_front();
        self.next += 1;
        self.in_turn -= 1;
        self.released = self.released.saturating_sub(1);
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

    fn line(bundle: Option<Bundle>) -> Option<u32> {
        bundle.and_then(|bundle| bundle.iter().next().map(|record| record.line))
    }

    fn lines(bundle: Option<Bundle>) -> Vec<u32> {
        bundle.map_or_else(Vec::new, |bundle| bundle.iter().map(|record| record.line).collect())
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
        assert_eq!([1, 2, 3].map(|_| lines(turns.take())), [[1], [2], [3]]);
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

    /// A queue that gathers two of these batches.
    fn gathering() -> ReorderQueue {
        ReorderQueue::gathering(batch(0).as_bytes().len() + 1)
    }

    #[test]
    fn batches_are_gathered() {
        let turns = gathering();
        turns.submit(0, batch(0));
        turns.submit(2, batch(2));
        assert_eq!(line(turns.try_take()), None);
        turns.submit(1, batch(1));
        assert_eq!([0, 1, 2].map(|_| lines(turns.try_take())), [vec![0, 1], vec![2], vec![]]);
        turns.submit(3, batch(3));
        assert_eq!(line(turns.try_take()), None, "from the start again");
        let mut end = Batch::default();
        end.ends_input = true;
        turns.submit(4, end);
        turns.submit(5, batch(5));
        assert_eq!(lines(turns.try_take()), [3]);
        assert!(turns.try_take().is_some_and(|end| end.ends_input() && end.is_empty()), "alone");
        turns.submit(6, batch(6));
        assert_eq!(lines(turns.try_take()), [5, 6]);
    }

    #[test]
    fn what_is_gathered_is_handed_on_when_the_reader_waits_and_after_a_while() {
        let turns = gathering();
        turns.submit(0, batch(0));
        turns.hurry(true);
        turns.submit(1, batch(1));
        turns.hurry(false);
        turns.submit(2, batch(2));
        assert_eq!([0, 1].map(|_| lines(turns.try_take())), [vec![0, 1], vec![]]);
        assert_eq!(line(turns.take()), Some(2), "it has waited");
        turns.submit(3, batch(3));
        turns.close();
        assert_eq!((line(turns.try_take()), line(turns.take())), (Some(3), None));
    }
}
