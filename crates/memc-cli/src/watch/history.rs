//! Records a second over the last hour.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The time that one point stands for.
pub(crate) const INTERVAL: Duration = Duration::from_secs(2);

/// How many points are kept: an hour of them.
const POINTS: usize = 1800;

/// The current pace is that of this many points.
const RECENT: usize = 5;

/// A line that grows at its end and is cut at its start.
#[derive(Debug)]
pub(crate) struct History {
    points: VecDeque<u64>,
    /// Until when the line goes, and how many records there were by then.
    end: Instant,
    records: u64,
}

impl History {
    pub(crate) fn new(start: Instant) -> Self {
        Self { points: VecDeque::new(), end: start, records: 0 }
    }

    /// Notes how many records are acknowledged by now, in all.
    pub(crate) fn add(&mut self, now: Instant, records: u64) {
        let time = now.saturating_duration_since(self.end);
        let intervals = u32::try_from(time.as_nanos() / INTERVAL.as_nanos()).unwrap_or(u32::MAX);
        if intervals == 0 {
            return;
        }
        // A process that did not run for a while has several points to add.
        let new = records.saturating_sub(self.records);
        let pace = u128::from(new) * 1000 / time.as_millis().max(1);
        let count = usize::try_from(intervals).unwrap_or(POINTS).min(POINTS);
        self.points.extend(std::iter::repeat_n(u64::try_from(pace).unwrap_or(u64::MAX), count));
        self.points.drain(..self.points.len().saturating_sub(POINTS));
        (self.end, self.records) = (now, records);
    }

    /// The points, the oldest first.
    pub(crate) fn points(&self) -> impl Iterator<Item = u64> {
        self.points.iter().copied()
    }

    /// Records a second of the last ten seconds.
    pub(crate) fn now(&self) -> u64 {
        let recent = self.points.len().min(RECENT);
        let sum: u64 = self.points.iter().rev().take(recent).sum();
        sum / (recent.max(1) as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_a_point_each_interval_and_an_hour_of_them() {
        let start = Instant::now();
        let at = |seconds: u64| start + Duration::from_secs(seconds);
        let mut history = History::new(start);
        for (second, records) in [(1, 100), (2, 400), (3, 400), (4, 1000), (5, 1000), (6, 1000)] {
            history.add(at(second), records);
        }
        assert_eq!(history.points().collect::<Vec<_>>(), [200, 300, 0]);
        assert_eq!(history.now(), 166);
        // It did not run for a minute.
        history.add(at(66), 7000);
        assert_eq!((history.points().count(), history.points().last()), (33, Some(100)));
        history.add(at(86_400), 7000);
        assert_eq!((history.points().count(), history.now()), (POINTS, 0));
    }
}
