#![doc = include_str!("../README.md")]
//!
//! # Where to begin
//!
//! | for | see |
//! | --- | --- |
//! | loading, and a trial without servers | [`Loader::load`], [`Loader::dry_run`] |
//! | where lines come from | [`Input::path`], [`Input::reader`] |
//! | lines of your own | [`Encode`]; that of the apps log is [`AppsEncoder`] |
//! | servers, passwords, TLS | [`Address`] |
//! | connections, patience, memory | [`Options`] |
//! | what is told meanwhile | [`Event`], [`Progress`] |
//! | what it came to | [`RunReport`], [`FileReport`], [`Reject`] |
//! | what stops it | [`Stopped`], [`Error`], [`Stop`] |

mod address;
mod backoff;
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
pub use report::{
    Counts, Event, FileReport, QUOTED_REJECTS, RejectedLine, RejectedLines, RunReport, ServerReport, Stopped,
};
pub use serialize::{UserApps, serialize};
