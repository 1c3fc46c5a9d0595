//! What a load tells its caller: counts of each file, each server and the run.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::{Address, Error, Reject};

/// How many rejected lines of each reason a [`FileReport`] quotes.
pub const QUOTED_REJECTS: usize = 3;

/// What became of the lines of one file, or of several taken together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Counts {
    /// Lines, blank ones included.
    pub lines: u64,
    /// Records that their server has acknowledged; in a dry run, that it would have been sent.
    pub loaded: u64,
    /// Lines that were not loaded, by reason.
    pub rejected: BTreeMap<Reject, u64>,
    /// App ids (or whatever an encoder calls [`dropped`](crate::Record::dropped)) left out of records that
    /// were sent, though a server may have refused some of these.
    pub dropped: u64,
    /// Bytes of plain text, without what was skipped of overlong lines.
    pub bytes_plain: u64,
    /// Bytes of commands for the servers, each counted once.
    pub bytes_out: u64,
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
        self.bytes_plain += other.bytes_plain;
        self.bytes_out += other.bytes_out;
    }

    pub(crate) fn reject(&mut self, reason: Reject) {
        *self.rejected.entry(reason).or_default() += 1;
    }
}

/// A rejected line as a log quotes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedLine {
    /// Its number in the file, from 1.
    pub line: u64,
    /// Why it was rejected.
    pub reason: Reject,
    /// The beginning of the line with what is not printable ASCII escaped; for a refusal of the server,
    /// its answer and the key.
    pub text: String,
}

/// Rejected lines as they stand in their file, all those of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLines {
    /// The number of the first line of `text`.
    first_line: u64,
    /// The chunk's text, of which the lines are a part: a few bytes for each line keep even a file of nothing
    /// but rejects small.
    text: Vec<u8>,
    /// Where they are, counted in lines from 0, in ascending order.
    places: BTreeMap<Reject, Vec<u32>>,
}

impl RejectedLines {
    pub(crate) fn new(first_line: u64, text: Vec<u8>, mut places: BTreeMap<Reject, Vec<u32>>) -> Self {
        places.values_mut().for_each(|places| places.sort_unstable());
        Self { first_line, text, places }
    }

    /// The lines in the order of the file: the number of each, from 1, why it was rejected, and its bytes without
    /// the `\n`; of a line that is too long just the beginning.
    pub fn lines(&self) -> impl Iterator<Item = (u64, Reject, &[u8])> {
        let mut places: Vec<_> = self.places.iter().map(|(reason, places)| (*reason, &places[..])).collect();
        (0..).zip(self.text.split(|&byte| byte == b'\n')).filter_map(move |(at, line)| {
            let (reason, rest) = places.iter_mut().find(|(_, rest)| rest.first() == Some(&at))?;
            *rest = &rest[1..];
            Some((self.first_line + u64::from(at), *reason, line))
        })
    }
}

/// A file that is finished: every record acknowledged by its server or counted as rejected.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct FileReport {
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
    /// The first few rejected lines of each reason ([`QUOTED_REJECTS`]), in the order of the file.
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
    pub thrown_away: u64,
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
        self.thrown_away += other.thrown_away;
        self.memory_limit_bytes = self.memory_limit_bytes.max(other.memory_limit_bytes);
    }
}

/// A whole run.
#[derive(Debug, Default)]
#[non_exhaustive]
pub struct RunReport {
    /// How many files were finished.
    pub files: usize,
    /// Their counts, added up.
    pub counts: Counts,
    /// Bytes read from the finished files.
    pub bytes_in: u64,
    /// The whole run.
    pub duration: Duration,
    /// The file in work when the run stopped early, or the one that the caller could not mark as done; its counts
    /// are of the part that was acknowledged.
    pub unfinished: Option<FileReport>,
    /// The servers, in the order of their indices.
    pub servers: Vec<ServerReport>,
}

impl RunReport {
    /// Adds a finished file.
    pub(crate) fn add(&mut self, file: &FileReport) {
        self.files += 1;
        self.counts.merge(&file.counts);
        self.bytes_in += file.bytes_in;
    }

    /// Adds what a further way through the inputs came to.
    pub(crate) fn merge(&mut self, other: Self) {
        self.files += other.files;
        self.counts.merge(&other.counts);
        self.bytes_in += other.bytes_in;
        self.unfinished = other.unfinished;
        for (server, other) in self.servers.iter_mut().zip(&other.servers) {
            server.merge(other);
        }
    }
}

/// A run that stopped early: why, and how far it came.
#[derive(Debug)]
#[non_exhaustive]
pub struct Stopped {
    /// What stopped it.
    pub error: Error,
    /// What had been done by then. All files it counts are finished.
    pub report: Box<RunReport>,
}

/// It reads as the error in it does.
impl fmt::Display for Stopped {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(out)
    }
}

impl std::error::Error for Stopped {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.error.source()
    }
}

/// Told while a load runs, in the order of the inputs.
///
/// ```
/// use memc_core::{AppsEncoder, Event, Input, Loader, Options};
///
/// let mut options = Options::default();
/// options.keep_rejected = true;
/// let servers = vec!["127.0.0.1:33013".parse()?];
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), servers, options);
/// let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942\nidfa\tbad line\n";
/// loader.dry_run([Input::reader("sample", log)], |_| (), |event| {
///     match event {
///         Event::LinesRejected { lines, .. } => {
///             for (number, reason, line) in lines.lines() {
///                 assert_eq!((number, reason.name(), line), (2, "fields", &b"idfa\tbad line"[..]));
///             }
///         }
///         // Here it would be marked as done.
///         Event::FileFinished(file) => assert_eq!(file.counts.error_rate(), 1.0),
///         _ => {}
///     }
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// All files before this one are finished and it is in work; its name.
    FileStarted(String),
    /// This file and all before it are finished: whatever marks it as done may be done now.
    FileFinished(FileReport),
    /// Lines of the file in work that were rejected, told if
    /// [`Options::keep_rejected`](crate::Options::keep_rejected) asks for it. A file that is begun anew
    /// tells them again.
    LinesRejected {
        /// The input's name.
        file: String,
        /// The lines.
        lines: RejectedLines,
    },
    /// This server was restarted: what it had acknowledged is lost. The file in work is begun anew; the
    /// files that were finished before are not.
    ServerRestarted {
        /// The server's address.
        address: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn error_rate_is_rejected_over_loaded() {
        let mut counts = Counts { loaded: 200, ..Counts::default() };
        assert_eq!(counts.error_rate(), 0.0);
        counts.reject(Reject::Key);
        counts.reject(Reject::Fields);
        assert_eq!(counts.error_rate(), 0.01);
        counts.loaded = 0;
        assert_eq!(counts.error_rate(), f64::INFINITY);
        assert_eq!(Counts::default().error_rate(), 0.0);
    }

    #[test]
    fn rejected_lines_come_in_the_order_of_the_file() {
        let places = BTreeMap::from([(Reject::Key, vec![4, 1]), (Reject::Fields, vec![2])]);
        let lines = RejectedLines::new(11, b"zero\none\n\nthree\nfour\n".to_vec(), places);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(
            lines,
            [(12, Reject::Key, &b"one"[..]), (13, Reject::Fields, b""), (15, Reject::Key, b"four")]
        );
    }

    #[test]
    fn merge_adds_every_count() {
        let mut one =
            Counts { lines: 1, loaded: 2, dropped: 3, bytes_plain: 4, bytes_out: 5, ..Counts::default() };
        one.reject(Reject::Key);
        let mut two = one.clone();
        two.reject(Reject::Empty);
        one.merge(&two);
        assert_eq!((one.lines, one.loaded, one.dropped, one.bytes_plain, one.bytes_out), (2, 4, 6, 8, 10));
        assert_eq!(one.rejected, BTreeMap::from([(Reject::Empty, 1), (Reject::Key, 2)]));
    }
}
