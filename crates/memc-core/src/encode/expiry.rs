//! When records expire: times from the start of a load, as seconds since 1970.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::wire::attributes::MAX_EXPIRY;

/// The times of one load, the same ones however often a record is sent.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Expiry {
    /// When the load started, since 1970.
    started: Duration,
    /// For records that have no time of their own, in seconds since 1970; 0 for never.
    default: u32,
}

impl Expiry {
    /// Of a load that starts at `now`, whose records expire after `ttl` if they do not say otherwise.
    pub(crate) fn new(now: SystemTime, ttl: Option<Duration>) -> Self {
        let started = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        let mut expiry = Self { started, default: 0 };
        expiry.default = ttl.map_or(0, |ttl| expiry.after(ttl));
        expiry
    }

    /// For a record with this time of its own, if it has one: seconds since 1970, or 0 for never.
    pub(crate) fn of(&self, ttl: Option<Duration>) -> u32 {
        ttl.map_or(self.default, |ttl| self.after(ttl))
    }

    /// Whole seconds, so that a record stays for at least `ttl`.
    fn after(&self, ttl: Duration) -> u32 {
        let at = self.started.saturating_add(ttl);
        let seconds = at.as_secs().saturating_add(u64::from(at.subsec_nanos() > 0));
        u32::try_from(seconds).unwrap_or(MAX_EXPIRY).clamp(1, MAX_EXPIRY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_absolute_and_rounded_up() {
        let now = UNIX_EPOCH + Duration::from_millis(1_700_000_000_500);
        let seconds = Duration::from_secs;
        let none = Expiry::new(now, None);
        assert_eq!([none.of(None), none.of(Some(seconds(10)))], [0, 1_700_000_011]);
        assert_eq!(none.of(Some(Duration::ZERO)), 1_700_000_001, "never is another thing than at once");
        let month = Expiry::new(now, Some(seconds(31 * 24 * 3600)));
        assert_eq!([month.of(None), month.of(Some(seconds(1)))], [1_702_678_401, 1_700_000_002]);
        assert_eq!(none.of(Some(Duration::MAX)), MAX_EXPIRY, "as late as can be said");
    }
}
