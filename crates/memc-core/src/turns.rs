//! Hands the batches of one connection on in the order of their chunks, whoever made them first.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Duration;

use crate::batch::Batch;

/// How many chunks' batches a connection takes at once, if there are as many connections.
const BURST: u64 = 4;

/// How long a batch may wait for its burst to be complete, when chunks come slowly.
const MAX_WAIT: Duration = Duration::from_millis(10);

/// The queue in which a batch waits for its turn. Workers submit and never wait here; the one thread that
/// serves the connection takes. The ledger bounds how many batches there can be.
///
/// The taker is not woken for every batch but for bursts of a few chunks, and each connection at another
/// chunk. So a server that shares its cores with others works longer at a time, with its own data in the
/// cache, and the others meanwhile do not compete with it.
#[derive(Debug)]
pub(crate) struct Turns {
    state: Mutex<State>,
    ready: Condvar,
    /// A burst ends with each chunk whose number leaves `phase` when divided by `period`.
    phase: u64,
    period: u64,
}

#[derive(Debug, Default)]
struct State {
    /// The chunk whose turn it is: the number of `waiting[0]`.
    next: u64,
    waiting: VecDeque<Option<Batch>>,
    /// Whether a burst is complete and not all of what is there has been taken.
    burst: bool,
    closed: bool,
}

impl Turns {
    /// The queue of connection `index` among `connections`.
    pub(crate) fn new(index: usize, connections: usize) -> Self {
        let period = BURST.min(connections as u64).max(1);
        Self { state: Mutex::default(), ready: Condvar::new(), phase: index as u64 % period, period }
    }

    /// Leaves the batch of chunk `number`; each chunk leaves one, be it empty.
    pub(crate) fn submit(&self, number: u64, batch: Batch) {
        let mut state = self.lock();
        let at = usize::try_from(number - state.next).unwrap_or(usize::MAX);
        if state.waiting.len() <= at {
            state.waiting.resize_with(at + 1, || None);
        }
        state.waiting[at] = Some(batch);
        if number % self.period == self.phase {
            state.burst = true;
            self.ready.notify_one();
        }
    }

    /// The next batch, if it is there already.
    pub(crate) fn try_take(&self) -> Option<Batch> {
        self.lock().take()
    }

    /// Waits for the next batch, and for others to come with it; `None` when there will be none.
    pub(crate) fn take(&self) -> Option<Batch> {
        let mut state = self.lock();
        let mut waited = false;
        loop {
            if (state.burst || waited || state.closed)
                && let Some(batch) = state.take()
            {
                return Some(batch);
            }
            if state.closed {
                return None;
            }
            let woken = self.ready.wait_timeout(state, MAX_WAIT).unwrap_or_else(PoisonError::into_inner);
            (state, waited) = (woken.0, woken.1.timed_out());
        }
    }

    /// Says that no batch will be submitted any more.
    pub(crate) fn close(&self) {
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
        self.burst &= self.waiting.front().is_some_and(Option::is_some);
        Some(batch)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn batch(line: u32) -> Batch {
        let mut batch = Batch::default();
        batch.push(0, line, b"k", b"");
        batch
    }

    fn line(batch: Option<Batch>) -> Option<u32> {
        batch.and_then(|batch| batch.iter().next().map(|record| record.line))
    }

    #[test]
    fn batches_come_out_in_the_order_of_their_numbers() {
        let turns = Turns::new(0, 1);
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
    fn a_burst_ends_at_another_chunk_for_each_connection() {
        let bursts = |index, connections| {
            let turns = Turns::new(index, connections);
            let is_burst = |number| {
                turns.submit(number, Batch::default());
                std::mem::take(&mut turns.lock().burst)
            };
            (0..8).filter(|&number| is_burst(number)).collect::<Vec<_>>()
        };
        assert_eq!(bursts(0, 1), [0, 1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(bursts(1, 2), [1, 3, 5, 7]);
        assert_eq!(bursts(2, 4), [2, 6]);
        assert_eq!(bursts(7, 12), [3, 7]);
    }

    #[test]
    fn all_that_is_there_is_taken_without_waiting() {
        let turns = Turns::new(0, 1);
        (0..1000).for_each(|number| turns.submit(number, Batch::default()));
        let started = Instant::now();
        (0..1000).for_each(|_| assert!(turns.take().is_some()));
        assert!(started.elapsed() < 100 * MAX_WAIT, "{:?}", started.elapsed());
        turns.submit(1000, Batch::default());
        assert!(turns.lock().burst && turns.try_take().is_some() && !turns.lock().burst);
    }

    #[test]
    fn a_batch_without_a_burst_is_taken_after_a_while() {
        let turns = Turns::new(3, 4);
        turns.submit(0, batch(0));
        assert_eq!(line(turns.take()), Some(0));
    }

    #[test]
    fn a_waiting_taker_is_woken() {
        let turns = Turns::new(0, 1);
        std::thread::scope(|scope| {
            let taker = scope.spawn(|| (line(turns.take()), line(turns.take())));
            turns.submit(1, batch(1));
            turns.submit(0, batch(0));
            assert_eq!(taker.join().ok(), Some((Some(0), Some(1))));
        });
    }
}
