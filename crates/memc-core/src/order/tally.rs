//! What a worker, or a lane, has to report on one chunk.

use std::borrow::Cow;
use std::collections::BTreeMap;

use crate::buffers;
use crate::report::Counts;
use crate::report::reject::{DroppedPart, QUOTED_REJECTS, RejectReason, RejectedLine};

/// Counts and quotes of one chunk; its lines are counted from 0 here.
#[derive(Debug, Default)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct Tally {
    pub(crate) counts: Counts,
    /// The first rejected lines of each reason.
    pub(crate) quotes: Vec<RejectedLine>,
    /// The first dropped parts of each kind.
    pub(crate) dropped_parts: Vec<DroppedPart>,
    /// All rejected lines and the text that they are in, if they are to be emitted.
    pub(crate) places: BTreeMap<RejectReason, Vec<u32>>,
    #[cfg_attr(feature = "serde", serde(skip))]
    pub(crate) text: Vec<u8>,
}

impl Tally {
    /// Counts a rejected line, quotes it with an explanation if it is among the first of its reason, and keeps its
    /// place if `keep`.
    pub(crate) fn reject(
        &mut self,
        line: u32,
        reason: RejectReason,
        quote: impl FnOnce() -> (String, Option<Cow<'static, str>>),
        keep: bool,
    ) {
        let count = self.counts.rejected.entry(reason.clone()).or_default();
        *count += 1;
        if *count <= QUOTED_REJECTS as u64 {
            let (text, explanation) = quote();
            self.quotes.push(RejectedLine { line: line.into(), reason: reason.clone(), text, explanation });
        }
        if keep {
            self.places.entry(reason).or_default().push(line);
        }
    }

    /// The text that the rejected lines are in, which its serialized form leaves out.
    #[must_use]
    pub fn text(&self) -> &[u8] {
        &self.text
    }

    /// The same with this text.
    #[must_use]
    pub fn with_text(self, text: Vec<u8>) -> Self {
        Self { text, ..self }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.counts.merge(other.counts);
        self.quotes.extend(other.quotes);
        self.dropped_parts.extend(other.dropped_parts);
        for (reason, places) in other.places {
            self.places.entry(reason).or_default().extend(places);
        }
        if !other.text.is_empty() {
            self.text = other.text;
        }
    }

    /// The bytes of text and places.
    pub(crate) fn kept_bytes(&self) -> usize {
        let places = self.places.values().map(|places| places.capacity() * size_of::<u32>());
        buffers::resident_bytes(&self.text) + places.sum::<usize>()
    }
}
