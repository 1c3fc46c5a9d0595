//! What a load emits while it runs.

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
/// use memc_core::{Event, Input, Loader, Options};
///
/// let mut options = Options::default();
/// options.report_rejected = true;
/// let servers = vec!["127.0.0.1:33013".parse()?];
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), servers, options);
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
}

impl Event {
    /// About the memory that it takes while it waits for the caller.
    pub(crate) fn bytes(&self) -> usize {
        size_of::<Self>()
            + match self {
                Self::InputStarted { name, .. } => name.len(),
                Self::InputFinished(report) => {
                    report.name.len() + (report.rejected_lines.len() + report.dropped_parts.len()) * QUOTE_BYTES
                }
                Self::LinesRejected { name, lines, .. } => name.len() + lines.bytes(),
                Self::ServerRestarted { address } => address.len(),
            }
    }
}
