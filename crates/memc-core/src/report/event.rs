//! What a load emits while it runs.

use std::time::Duration;

use crate::report::InputReport;
use crate::report::reject::RejectedLines;

/// What a caller's handling of an [`Event`] returns; an error stops the load.
pub type EventResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

/// Told while a load runs, in the order of the inputs.
///
/// ```
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Event, Input, Loader, Options};
///
/// let mut options = Options::default();
/// options.report_rejected = true;
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
///         Event::InputFinished(file) => assert_eq!(file.counts.error_rate(), 1.0),
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
    InputStarted(String),
    /// This file and all before it are finished: whatever marks it as done may be done now.
    InputFinished(InputReport),
    /// Lines of the file in work that were rejected, told if
    /// [`Options::report_rejected`](crate::Options::report_rejected) asks for it. A file that is begun anew
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
    /// A connection to this server broke, or could not be made, and it is tried again; emitted at once.
    ServerAway {
        /// The server's address.
        address: String,
        /// Why.
        reason: String,
        /// For how long it is tried before the load stops.
        retry_timeout: Duration,
    },
    /// This server is still away; emitted once a minute.
    ServerStillAway {
        /// The server's address.
        address: String,
        /// How long it has been away.
        away_for: Duration,
        /// For how long it is tried in all before the load stops.
        retry_timeout: Duration,
    },
    /// This server acknowledges records again.
    ServerBack {
        /// The server's address.
        address: String,
        /// How long it was away.
        away_for: Duration,
    },
    /// The end of a connection to this server could not be confirmed, so records that were in flight on it were
    /// read back.
    RecordsReadBack {
        /// The server's address.
        address: String,
        /// Records that were in flight.
        in_flight: u64,
        /// Records that were read back.
        read_back: u64,
        /// Records among these that were stale, and were set again.
        set_again: u64,
    },
}
