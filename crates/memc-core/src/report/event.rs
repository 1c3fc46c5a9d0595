//! What a load emits while it runs.

use std::time::Duration;

use crate::report::InputReport;
use crate::report::reject::RejectedLines;

/// The most that a quoted line or part takes, about.
const QUOTE_BYTES: usize = 256;

/// What a caller's handling of an [`Event`] returns; an error stops the load.
pub type EventResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Emitted while a load runs, in the order of the inputs. Where an event is of one input, `index` is its place among
/// the inputs, from 0.
///
/// ```
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Address, Event, Input, Loader, Options};
///
/// let mut options = Options::default();
/// options.report_rejected = true;
/// let server: Address = "127.0.0.1:33013".parse()?;
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], options);
/// let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942\nidfa\tbad line\n";
/// loader.dry_run([Input::bytes("sample", log)], |_| (), |event| {
///     match event {
///         Event::LinesRejected { lines, .. } => {
///             for (number, reason, line) in lines.lines() {
///                 assert_eq!((number, reason.name(), line), (2, "field_count", &b"idfa\tbad line"[..]));
///             }
///         }
///         // Here it would be marked as done.
///         Event::InputFinished(input) => assert_eq!(input.counts.error_rate(), 1.0),
///         _ => {}
///     }
///     Ok(())
/// })?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub enum Event {
    /// All inputs before this one are finished and it is in progress.
    InputStarted {
        /// Which of the inputs it is.
        index: usize,
        /// The input's name.
        name: String,
    },
    /// This input and all before it are finished: whatever marks it as done may be done now.
    InputFinished(InputReport),
    /// Lines of the input in progress that were rejected, emitted if
    /// [`Options::report_rejected`](crate::Options::report_rejected) asks for it. An input that is loaded again
    /// has them emitted again.
    LinesRejected {
        /// Which of the inputs it is.
        index: usize,
        /// The input's name.
        name: String,
        /// The lines.
        lines: RejectedLines,
    },
    /// This server was restarted: what it had acknowledged is lost. The input in progress is loaded again from its
    /// start; the inputs that were finished before are not.
    ServerRestarted {
        /// The server's address.
        address: String,
    },
    /// This server does not answer `stats` as memcached does; it is a proxy, for one. It is not noticed when it, or a
    /// server behind it, is restarted or evicts records: what was acknowledged before may be lost then. Emitted once for
    /// a loader.
    NoStatistics {
        /// The server's address.
        address: String,
    },
    /// This server cannot be reached, does not answer, or broke a connection: it is tried again from now on. One
    /// event for all connections to it, also when it is asked at the end of the load.
    ServerAway {
        /// The server's address.
        address: String,
        /// What went wrong.
        reason: String,
        /// For how long it is tried ([`Options::retry_timeout`](crate::Options::retry_timeout)).
        retry_timeout: Duration,
    },
    /// This server still is away; once a minute.
    ServerStillAway {
        /// The server's address.
        address: String,
        /// Since the first failure.
        away_for: Duration,
    },
    /// This server, which was away, has acknowledged something again.
    ServerBack {
        /// The server's address.
        address: String,
        /// From the first failure to now.
        away_for: Duration,
    },
    /// A connection to this server ended with records in flight, and a proxy in between may have
    /// delivered them late: their keys were read back, and set again where an older value was found.
    RecordsReadBack {
        /// The server's address.
        address: String,
        /// Records that were in flight on connections that ended.
        in_flight: u64,
        /// Reads of their keys, each as often as it was read.
        read_back: u64,
        /// How many of these were not as they had to be, and were set again.
        set_again: u64,
        /// Records that are no longer read back, since too many were in flight on later connections
        /// ([`Options::max_bytes_in_flight`](crate::Options::max_bytes_in_flight)): they may be stale.
        untracked: u64,
    },
}

impl Event {
    /// About the memory that it takes while it waits for the caller.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::InputStarted { name, .. } => name.len(),
                Self::InputFinished(report) => {
                    report.name.len()
                        + (report.rejected_lines.len() + report.dropped_parts.len()) * QUOTE_BYTES
                }
                Self::LinesRejected { name, lines, .. } => name.len() + lines.bytes(),
                Self::ServerAway { address, reason, .. } => address.len() + reason.len(),
                Self::ServerRestarted { address }
                | Self::NoStatistics { address }
                | Self::ServerStillAway { address, .. }
                | Self::ServerBack { address, .. }
                | Self::RecordsReadBack { address, .. } => address.len(),
            }
    }
}
