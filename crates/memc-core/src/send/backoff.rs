//! Pauses between attempts that fail.

use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// The first and the longest pause.
const MIN_PAUSE: Duration = Duration::from_millis(20);
const MAX_PAUSE: Duration = Duration::from_secs(1);

/// How long a pause may overlook that it is to end.
const END_CHECK: Duration = Duration::from_millis(100);

/// A time in which a server gave nothing but failures.
#[derive(Debug)]
pub(crate) struct Backoff {
    since: Instant,
    pauses: ExponentialBackoff,
    /// How many attempts were made after the first.
    pub(crate) retries: u64,
}

impl Backoff {
    /// Begins with the first failure.
    pub(crate) fn new() -> Self {
        let pauses = ExponentialBuilder::new()
            .with_min_delay(MIN_PAUSE)
            .with_max_delay(MAX_PAUSE)
            .without_max_times()
            .with_jitter()
            .build();
        Self { since: Instant::now(), pauses, retries: 0 }
    }

    /// From the first failure to now.
    pub(crate) fn elapsed(&self) -> Duration {
        self.since.elapsed()
    }

    /// Waits before the next attempt, but not beyond `most` in all, and only until `is_over`.
    pub(crate) fn pause(&mut self, most: Duration, is_over: impl Fn() -> bool) {
        self.retries += 1;
        let pause = self.pauses.next().unwrap_or(MAX_PAUSE).min(most.saturating_sub(self.elapsed()));
        let until = Instant::now() + pause;
        while let Some(left) = until.checked_duration_since(Instant::now())
            && !is_over()
        {
            std::thread::sleep(left.min(END_CHECK));
        }
    }
}
