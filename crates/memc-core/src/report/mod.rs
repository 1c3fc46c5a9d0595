//! Reports: counts of each input, each server and the run, and what is emitted meanwhile.

pub(crate) mod event;
pub(crate) mod progress;
pub(crate) mod reject;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::report::reject::RejectedLine;
use crate::{Address, Error, RejectReason};

/// What became of the lines of one file, or of several taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Lines, blank ones included.
    pub lines: u64,
    /// Records that their server has acknowledged; in a dry run, that it would have been sent.
    pub loaded: u64,
    /// Lines that were not loaded, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// App ids (or whatever an encoder calls [`dropped`](crate::Record::dropped)) left out of records that
    /// were sent, though a server may have refused some of these.
    pub dropped: u64,
    /// Bytes of plain text, without what was skipped of overlong lines.
    pub bytes_decompressed: u64,
    /// Bytes of commands for the servers, each counted once.
    pub bytes_sent: u64,
}

impl Counts {
    /// Rejected lines of all reasons.
    #[must_use]
    pub fn rejected_total(&self) -> u64 {
        self.rejected.values().sum()
    }

    /// Rejected lines for each loaded one: 0 when nothing was rejected, infinite when nothing was loaded
    /// but something rejected.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no more than 53 bits of a count")]
    pub fn error_rate(&self) -> f64 {
        match self.rejected_total() {
            0 => 0.0,
            rejected => rejected as f64 / self.loaded as f64,
        }
    }

    /// Adds another part's counts to these.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.lines += other.lines;
        self.loaded += other.loaded;
        for (&reason, count) in &other.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
        self.dropped += other.dropped;
        self.bytes_decompressed += other.bytes_decompressed;
        self.bytes_sent += other.bytes_sent;
    }

    pub(crate) fn reject(&mut self, reason: RejectReason) {
        *self.rejected.entry(reason).or_default() += 1;
    }
}

/// A file that is finished: every record acknowledged by its server or counted as rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct InputReport {
    /// Which of the inputs it is, from 0.
    pub index: usize,
    /// The input's name.
    pub name: String,
    /// What became of its lines.
    pub counts: Counts,
    /// Bytes read from the input, packed ones if it is gzip.
    pub bytes_in: u64,
    /// From the opening of the file to its last acknowledgment.
    pub duration: Duration,
    /// The first few rejected lines of each reason ([`QUOTED_REJECTS`](crate::QUOTED_REJECTS)), in the order of the file.
    pub rejected_lines: Vec<RejectedLine>,
}

/// What one server took in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerReport {
    /// Its address.
    pub address: String,
    /// Records that it acknowledged.
    pub records: u64,
    /// Batches that it acknowledged, each the records of one chunk for one connection.
    pub batches: u64,
    /// Whether it was another process at the end of the run, or none: all that it acknowledged is lost.
    pub gone: bool,
    /// Records, of whatever origin, that the server removed during the run to make room, without a word.
    pub evictions: u64,
    /// The server's memory limit; 0 if it was not asked.
    pub memory_limit_bytes: u64,
    /// How many times a connection that broke, or could not be made, was tried again.
    pub retries: u64,
}

impl ServerReport {
    pub(crate) fn of(address: &Address) -> Self {
        Self { address: address.to_string(), ..Self::default() }
    }

    /// Adds what another connection to the same server took in.
    pub(crate) fn merge(&mut self, other: &Self) {
        self.records += other.records;
        self.batches += other.batches;
        self.retries += other.retries;
        self.gone |= other.gone;
        self.evictions += other.evictions;
        self.memory_limit_bytes = self.memory_limit_bytes.max(other.memory_limit_bytes);
    }
}

/// A whole run.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RunReport {
    /// How many inputs were finished.
    pub inputs: usize,
    /// Their counts, added up.
    pub counts: Counts,
    /// Bytes read from the finished inputs.
    pub bytes_in: u64,
    /// The whole run.
    pub duration: Duration,
    /// The file in work when the run stopped early, or the one that the caller could not mark as done; its counts
    /// are of the part that was acknowledged.
    pub unfinished: Option<InputReport>,
    /// The servers, in the order of their indices.
    pub servers: Vec<ServerReport>,
}

impl RunReport {
    /// Adds a finished file.
    pub(crate) fn add(&mut self, file: &InputReport) {
        self.inputs += 1;
        self.counts.merge(&file.counts);
        self.bytes_in += file.bytes_in;
    }

    /// Adds the report of a later load of the same loader, whose unfinished input takes the place of this one's.
    /// The default report is none: what is added to it is then the whole.
    pub fn merge(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.counts.merge(&other.counts);
        self.bytes_in += other.bytes_in;
        self.duration += other.duration;
        self.unfinished = other.unfinished;
        if self.servers.is_empty() {
            self.servers = other.servers;
            return;
        }
        for (server, other) in self.servers.iter_mut().zip(&other.servers) {
            server.merge(other);
        }
    }
}

/// A run that stopped early: why, and how far it came.
#[derive(Debug)]
#[non_exhaustive]
pub struct LoadError {
    /// What stopped it.
    pub error: Error,
    /// What had been done by then. All inputs it counts are finished.
    pub report: Box<RunReport>,
}

/// It reads as the error in it does.
impl fmt::Display for LoadError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(out)
    }
}

impl std::error::Error for LoadError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_rate_is_rejected_over_loaded() {
        let mut counts = Counts { loaded: 200, ..Counts::default() };
        assert_eq!(counts.error_rate(), 0.0);
        counts.reject(RejectReason::InvalidKey);
        counts.reject(RejectReason::FieldCount);
        assert_eq!(counts.error_rate(), 0.01);
        counts.loaded = 0;
        assert_eq!(counts.error_rate(), f64::INFINITY);
        assert_eq!(Counts::default().error_rate(), 0.0);
    }

    #[test]
    fn merge_adds_every_count() {
        let mut one = Counts {
            lines: 1,
            loaded: 2,
            dropped: 3,
            bytes_decompressed: 4,
            bytes_sent: 5,
            ..Counts::default()
        };
        one.reject(RejectReason::InvalidKey);
        let mut two = one.clone();
        two.reject(RejectReason::EmptyField);
        one.merge(&two);
        assert_eq!(
            (one.lines, one.loaded, one.dropped, one.bytes_decompressed, one.bytes_sent),
            (2, 4, 6, 8, 10)
        );
        assert_eq!(
            one.rejected,
            BTreeMap::from([(RejectReason::EmptyField, 1), (RejectReason::InvalidKey, 2)])
        );
    }
}
