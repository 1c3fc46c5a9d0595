//! Reports: counts of each input, each server and the run, and what is emitted meanwhile.

pub(crate) mod event;
pub(crate) mod progress;
pub(crate) mod reject;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::time::Duration;

use crate::report::reject::{DroppedPart, RejectReason, RejectedLine};
use crate::{Address, Error, Protocol};

/// What became of the lines of one input, or of several taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct Counts {
    /// Lines, blank ones included.
    pub lines: u64,
    /// Records that their server has acknowledged; in a dry run, that it would have been sent.
    pub loaded: u64,
    /// Lines that were not loaded, by reason.
    pub rejected: BTreeMap<RejectReason, u64>,
    /// Parts left out of records that were sent, though a server may have refused some of these, by the kind that
    /// the encoder gives them ([`Record::drop_part`](crate::Record::drop_part)).
    pub dropped: BTreeMap<Cow<'static, str>, u64>,
    /// Bytes of decompressed text, without what was skipped of overlong lines.
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

    /// Dropped parts of all kinds.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.values().sum()
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
    pub fn merge(&mut self, other: Self) {
        self.lines += other.lines;
        self.loaded += other.loaded;
        for (reason, count) in other.rejected {
            *self.rejected.entry(reason).or_default() += count;
        }
        for (kind, count) in other.dropped {
            *self.dropped.entry(kind).or_default() += count;
        }
        self.bytes_decompressed += other.bytes_decompressed;
        self.bytes_sent += other.bytes_sent;
    }
}

/// An input that is finished: every record acknowledged by its server or counted as rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct InputReport {
    /// Which of the inputs it is, from 0.
    pub index: usize,
    /// The input's name.
    pub name: String,
    /// What became of its lines.
    pub counts: Counts,
    /// Bytes read from the input, compressed if it is gzip.
    pub bytes_in: u64,
    /// From the last acknowledgment of the input before, or the start of the run, to its own: the times of all inputs
    /// add up to that of the run.
    pub duration: Duration,
    /// The first few rejected lines of each reason ([`QUOTED_REJECTS`](crate::QUOTED_REJECTS)), in the order of the
    /// input.
    pub rejected_lines: Vec<RejectedLine>,
    /// The first few dropped parts of each kind, as many and in the same order.
    pub dropped_parts: Vec<DroppedPart>,
}

/// What one server took in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ServerReport {
    /// Its address.
    pub address: String,
    /// Records that it acknowledged; in a dry run, that it would have been sent.
    pub records: u64,
    /// Batches that it acknowledged, each the records of one chunk for one connection; with more than 16 connections those
    /// of several chunks may be one.
    pub batches: u64,
    /// Whether it was another process at the end of the run: all that it acknowledged is lost.
    pub restarted: bool,
    /// Whether it could not be asked at the end of the run: if its process has ended, all that it acknowledged is lost.
    pub unreachable: bool,
    /// Whether it gives no statistics ([`Event::NoStatistics`](crate::Event::NoStatistics)), so that none of
    /// `restarted`, `unreachable` and `evictions` is known of it.
    #[cfg_attr(feature = "serde", serde(default))]
    pub no_statistics: bool,
    /// Records, of whatever origin, that the server evicted during the run.
    pub evictions: u64,
    /// Memory that its records took at the end of the run; `None` if it was not asked, or does not say.
    pub memory_used_bytes: Option<u64>,
    /// The server's memory limit; `None` if it was not asked, or does not say.
    pub memory_limit_bytes: Option<u64>,
    /// Records that were in flight on connections that ended, with something between the server and us
    /// ([`Event::RecordsReadBack`](crate::Event::RecordsReadBack)). Should it deliver any of them after the end of the
    /// run, they are older than what is stored.
    pub records_in_flight: u64,
    /// Reads of these records' keys.
    pub records_read_back: u64,
    /// How many of these reads found another value, which was set again.
    pub records_set_again: u64,
    /// How many of the records in flight were no longer read back, since there were too many: they may be stale.
    pub records_untracked: u64,
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
        self.restarted |= other.restarted;
        self.unreachable |= other.unreachable;
        self.no_statistics |= other.no_statistics;
        self.evictions += other.evictions;
        self.memory_used_bytes = other.memory_used_bytes.or(self.memory_used_bytes);
        self.memory_limit_bytes = self.memory_limit_bytes.or(other.memory_limit_bytes);
        self.records_in_flight += other.records_in_flight;
        self.records_read_back += other.records_read_back;
        self.records_set_again += other.records_set_again;
        self.records_untracked += other.records_untracked;
    }
}

/// What [`Loader::check`](crate::Loader::check) has found out about one server.
#[derive(Debug)]
#[non_exhaustive]
pub struct ServerCheck {
    /// Its address.
    pub address: String,
    /// What it reports about itself, or why it cannot be used.
    pub result: io::Result<ServerStatus>,
}

/// What a server reports about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct ServerStatus {
    /// The version of memcached; empty if it does not say.
    pub version: String,
    /// The protocol that a load would speak to it.
    pub protocol: Protocol,
    /// Whether it gives no statistics: all but these three is unknown then.
    pub no_statistics: bool,
    /// Since its process was started.
    pub uptime: Duration,
    /// Records that it holds.
    pub records: u64,
    /// Memory that they take.
    pub bytes_used: u64,
    /// Its memory limit, if it says so.
    pub memory_limit_bytes: Option<u64>,
    /// Records that it has evicted since it was started.
    pub evictions: u64,
}

/// A whole run.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
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
    /// The input in progress when the run stopped early, or the one that the caller could not mark as done; its counts
    /// are of the part that was acknowledged.
    pub unfinished: Option<InputReport>,
    /// The servers, each once, in the order in which they were first given to [`Loader::new`](crate::Loader::new).
    pub servers: Vec<ServerReport>,
}

impl RunReport {
    /// Adds a finished input.
    pub(crate) fn add(&mut self, input: &InputReport) {
        self.inputs += 1;
        self.counts.merge(input.counts.clone());
        self.bytes_in += input.bytes_in;
    }

    /// Adds the report of a later load of the same loader, whose unfinished input takes the place of this one's.
    /// The default report is none: what is added to it is then the whole.
    pub fn merge(&mut self, other: Self) {
        self.inputs += other.inputs;
        self.counts.merge(other.counts);
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

/// A run that stopped early: why, and what it had done by then.
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

    fn counts(reasons: &[RejectReason]) -> Counts {
        let rejected = reasons.iter().map(|reason| (reason.clone(), 1)).collect();
        Counts { lines: 1, loaded: 200, rejected, bytes_decompressed: 4, bytes_sent: 5, ..Counts::default() }
    }

    #[test]
    fn error_rate_is_rejected_over_loaded() {
        assert_eq!(counts(&[]).error_rate(), 0.0);
        let mut counts = counts(&[RejectReason::InvalidKey, RejectReason::FieldCount]);
        assert_eq!(counts.error_rate(), 0.01);
        counts.loaded = 0;
        assert_eq!(counts.error_rate(), f64::INFINITY);
        assert_eq!(Counts::default().error_rate(), 0.0);
    }

    #[cfg(feature = "serde")]
    #[test]
    fn a_report_reads_back_as_it_was_written() -> serde_json::Result<()> {
        let rejected_line = RejectedLine {
            line: 3,
            reason: RejectReason::Other("mine".into()),
            text: "x".to_owned(),
            explanation: Some("why".into()),
        };
        let dropped_part = DroppedPart { line: 4, kind: "odd".into(), text: String::new() };
        let input = InputReport {
            name: "input".to_owned(),
            counts: counts(&[RejectReason::FieldCount, RejectReason::Other("mine".into())]),
            duration: Duration::from_millis(1500),
            rejected_lines: vec![rejected_line],
            dropped_parts: vec![dropped_part],
            ..InputReport::default()
        };
        let report = RunReport {
            unfinished: Some(input),
            servers: vec![ServerReport::default()],
            ..RunReport::default()
        };
        let json = serde_json::to_value(&report)?;
        let rejected = &json["unfinished"]["counts"]["rejected"];
        assert_eq!(
            *rejected,
            serde_json::json!({"field_count": 1, "mine": 1}),
            "by the names of the reasons"
        );
        assert_eq!(serde_json::from_value::<RunReport>(json)?, report);
        Ok(())
    }

    #[test]
    fn merge_adds_every_count() {
        let (mut one, mut two) = (
            counts(&[RejectReason::InvalidKey]),
            counts(&[RejectReason::InvalidKey, RejectReason::EmptyField]),
        );
        one.dropped = BTreeMap::from([("a".into(), 1)]);
        two.dropped = BTreeMap::from([("a".into(), 2), ("b".into(), 3)]);
        one.merge(two);
        assert_eq!((one.lines, one.loaded, one.bytes_decompressed, one.bytes_sent), (2, 400, 8, 10));
        assert_eq!(
            one.rejected,
            BTreeMap::from([(RejectReason::EmptyField, 1), (RejectReason::InvalidKey, 2)])
        );
        assert_eq!(one.dropped, BTreeMap::from([("a".into(), 3), ("b".into(), 3)]));
        assert_eq!((one.rejected_total(), one.dropped_total()), (3, 6));
    }
}
