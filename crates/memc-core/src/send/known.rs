//! What a loader knows of a server from one attempt, and one load, to the next.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::send::backoff::Backoff;
use crate::send::readback::Suspects;
use crate::wire::ending::Ending;
use crate::wire::peers::Ends;
use crate::wire::protocol::Manner;
use crate::wire::stats::ServerStats;

/// What a loader knows of a server.
#[derive(Debug, Default)]
pub(crate) struct Known {
    /// How it is spoken to, in this load or until it is another process.
    manner: Mutex<Option<Manner>>,
    /// Whether it was reported that it gives no statistics.
    is_reported: AtomicBool,
    process: Mutex<Option<Process>>,
    /// What each of its connections has left.
    lanes: Mutex<Vec<Left>>,
}

/// The process that was met last.
#[derive(Clone, Copy, Debug)]
struct Process {
    stats: ServerStats,
    /// When these were seen: what was asked before says nothing of an order between the two.
    seen: Instant,
    /// How many records had been sent by then, those that were sent again included: its counters may have all of them,
    /// acknowledged or not.
    sent: u64,
    evictions_before: u64,
}

/// What one connection leaves to that of the next attempt.
#[derive(Debug, Default)]
pub(crate) struct Left {
    /// The connection before, from which the server may still read what was not acknowledged.
    pub(crate) ending: Option<Ending>,
    /// Those that have ended, as far as we can see.
    pub(crate) ended: Vec<Ends>,
    /// The records that were in flight on them.
    pub(crate) suspects: Suspects,
    /// A time without any acknowledgment.
    pub(crate) failing: Option<Backoff>,
}

impl Known {
    /// Whether `stats`, asked when `stored` records had been acknowledged, are of another process than the one
    /// that was known: then all it held is lost. `sent_now` is how many records have been sent by now.
    pub(crate) fn observe(&self, stats: &ServerStats, asked: Instant, stored: u64, sent_now: u64) -> bool {
        let mut process = lock(&self.process);
        let now = Process {
            stats: *stats,
            seen: Instant::now(),
            sent: sent_now,
            evictions_before: stats.evictions,
        };
        match &mut *process {
            Some(known) if known.seen > asked => false,
            Some(known) if !stats.is_other_process(&known.stats, stored.saturating_sub(known.sent)) => {
                *known = Process { evictions_before: known.evictions_before, ..now };
                false
            }
            known => known.replace(now).is_some(),
        }
    }

    /// How the server is spoken to, once that is found out.
    pub(crate) fn manner(&self) -> Option<Manner> {
        *lock(&self.manner)
    }

    /// A connection has found this out; returns what holds for all of them.
    pub(crate) fn settle_manner(&self, manner: Manner) -> Manner {
        *lock(&self.manner).get_or_insert(manner)
    }

    /// It is found out again on the next connection; whether it was known.
    pub(crate) fn forget_manner(&self) -> bool {
        lock(&self.manner).take().is_some()
    }

    /// Whether it is news that the server gives no statistics.
    pub(crate) fn note_no_statistics(&self) -> bool {
        !self.is_reported.swap(true, Ordering::Relaxed)
    }

    /// Whether a process is known at all.
    pub(crate) fn is_met(&self) -> bool {
        lock(&self.process).is_some()
    }

    /// How many items were evicted since this was asked last, or since the process was met.
    pub(crate) fn take_evictions(&self) -> u64 {
        lock(&self.process).as_mut().map_or(0, |process| {
            let before = std::mem::replace(&mut process.evictions_before, process.stats.evictions);
            process.stats.evictions.saturating_sub(before)
        })
    }

    /// The memory that the server uses for records, and its limit, as far as it says.
    pub(crate) fn memory_bytes(&self) -> (Option<u64>, Option<u64>) {
        let process = lock(&self.process);
        let stats = process.as_ref().map(|process| &process.stats);
        (stats.and_then(|it| it.memory_used_bytes), stats.and_then(|it| it.memory_limit_bytes))
    }

    /// The next load starts with whatever process is there.
    pub(crate) fn forget_process(&self) {
        *lock(&self.process) = None;
    }

    /// A load starts: a time of failures does not last from one to the next, and something else may be there now.
    pub(crate) fn start_load(&self) {
        self.forget_manner();
        lock(&self.lanes).iter_mut().for_each(|left| left.failing = None);
    }

    /// A load has finished all of its inputs.
    pub(crate) fn end_load(&self) {
        lock(&self.lanes).clear();
    }

    /// What the attempt before has left.
    pub(crate) fn take_left(&self, connection: usize) -> Left {
        lock(&self.lanes).get_mut(connection).map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn leave(&self, connection: usize, left: Left) {
        let mut lanes = lock(&self.lanes);
        if lanes.len() <= connection {
            lanes.resize_with(connection + 1, Left::default);
        }
        lanes[connection] = left;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds it panics half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::stats::StatsReader;

    fn stats(total_items: u64) -> ServerStats {
        let mut reader = StatsReader::default();
        let text = format!(
            "STAT pid 1\nSTAT uptime 2\nSTAT time 3\nSTAT evictions 0\nSTAT total_items {total_items}\n\
            STAT cmd_set {total_items}"
        );
        text.lines().for_each(|line| reader.line(line.as_bytes()).expect("a line of stats"));
        reader.finish().expect("all that is needed")
    }

    /// A second connection is made while the first one has records in flight, to a server that has just started.
    #[test]
    fn records_that_were_in_flight_are_not_missing_later() {
        let known = Known::default();
        let observe = |total, stored, sent| known.observe(&stats(total), Instant::now(), stored, sent);
        assert!(!observe(0, 0, 0));
        assert!(!observe(1000, 600, 1000), "400 are stored and not acknowledged");
        assert!(!observe(1001, 1001, 1001));
        assert!(!observe(1500, 1500, 1500));
        assert!(observe(1550, 1600, 1600), "50 that were sent since are not there");
    }
}
