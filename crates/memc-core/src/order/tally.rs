//! What a worker, or a connection, has to report on one chunk.

use std::collections::BTreeMap;

use crate::Counts;
use crate::report::reject::{QUOTED_REJECTS, RejectReason, RejectedLine};

/// What a worker, or a connection, has to report on one chunk.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) counts: Counts,
    /// The first of each reason; lines are counted from 0 in the chunk here.
    pub(crate) quotes: Vec<RejectedLine>,
    /// All of them and the text that they are in, if they are to be told.
    pub(crate) places: BTreeMap<RejectReason, Vec<u32>>,
    pub(crate) text: Vec<u8>,
}

impl Tally {
    /// Counts a rejected line, quotes it if it is among the first of its reason, and keeps its place if `keep`.
    pub(crate) fn reject(
        &mut self,
        line: u32,
        reason: RejectReason,
        text: impl FnOnce() -> String,
        keep: bool,
    ) {
        self.counts.reject(reason);
        if self.counts.rejected[&reason] <= QUOTED_REJECTS as u64 {
            self.quotes.push(RejectedLine { line: u64::from(line), reason, text: text() });
        }
        if keep {
            self.places.entry(reason).or_default().push(line);
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.counts.merge(&other.counts);
        self.quotes.extend(other.quotes);
        for (reason, places) in other.places {
            self.places.entry(reason).or_default().extend(places);
        }
        if !other.text.is_empty() {
            self.text = other.text;
        }
    }
}
