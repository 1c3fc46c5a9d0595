//! Fills memcached servers from logs, in parallel, as if line by line.
//!
//! A [`Loader`] takes [`Input`]s (gzip or plain text), cuts them into chunks of lines, has an [`Encode`]
//! turn every line into a key and a value on the threads of rayon, and stores them over pooled connections
//! with pipelined quiet meta sets. However many threads work: of two lines with one key the later one
//! stays, and a file is reported as finished only when every record of it was acknowledged by its server
//! or rejected for a reason that is counted.
//!
//! [`AppsEncoder`] is the encoder of the log of installed apps; implement [`Encode`] for your own.
//!
//! ```
//! use memc_core::{AppsEncoder, Input, Loader, Options};
//!
//! let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942,8519\nidfa\tbad line\n";
//! let loader = Loader::new(AppsEncoder::new(["idfa"]), vec!["127.0.0.1:33013".parse()?], Options::default());
//! // `load` would store them; a dry run only shows them.
//! let report = loader.dry_run(
//!     [Input::reader("sample", log)],
//!     |record| assert_eq!(record.key, b"idfa:e7e1"),
//!     |_event| Ok(()),
//! )?;
//! assert_eq!((report.counts.loaded, report.counts.rejected_total()), (1, 1));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod address;
mod batch;
mod chunks;
mod connection;
mod cut;
mod encode;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod input;
mod ledger;
mod load;
mod options;
mod parse;
mod pass;
mod pool;
mod progress;
mod recycle;
mod reject;
mod report;
mod sender;
mod serialize;
mod server;
mod stats;
mod stream;
mod turns;
mod worker;

pub use address::Address;
pub use encode::{AppsEncoder, Encode, Record};
pub use error::{AddressError, Error};
pub use input::Input;
pub use load::{DryRecord, EventResult, Loader};
pub use options::{Options, Stop};
pub use parse::AppsInstalled;
pub use progress::Progress;
pub use reject::Reject;
pub use report::{Counts, Event, FileReport, QUOTED_REJECTS, RejectedLine, RunReport, ServerReport, Stopped};
pub use serialize::{UserApps, serialize};
