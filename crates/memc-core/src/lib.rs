#![doc = include_str!("../README.md")]
//!
//! # Where to begin
//!
//! | for | see |
//! | --- | --- |
//! | loading, and a trial without servers | [`Loader::load`], [`Loader::dry_run`] |
//! | where lines come from | [`Input::path`], [`Input::reader`] |
//! | lines of your own | [`Encode`]; that of the apps log is [`apps::AppsEncoder`] |
//! | servers, passwords, TLS | [`Address`] |
//! | several servers for one type of record | [`Group`], [`Distribution`] |
//! | connections, patience, memory | [`Options`] |
//! | what is told meanwhile | [`Event`], [`ProgressHandle`] |
//! | what it came to | [`RunReport`], [`InputReport`], [`RejectReason`] |
//! | what stops it | [`LoadError`], [`Error`], [`StopHandle`] |

pub mod apps;
mod buffers;
mod encode;
mod error;
#[cfg(fuzzing)]
#[doc(hidden)]
pub mod fuzzing;
mod load;
mod options;
mod order;
mod read;
mod report;
mod route;
mod send;
mod stop;
mod wire;

pub use encode::{Encode, Record};
pub use error::{AddressError, Error};
pub use load::{DryRecord, Loader};
pub use options::Options;
pub use read::input::Input;
pub use report::event::{Event, EventResult};
pub use report::progress::ProgressHandle;
pub use report::reject::{QUOTED_REJECTS, RejectReason, RejectedLine, RejectedLines};
pub use report::{Counts, InputReport, LoadError, RunReport, ServerReport};
pub use route::distribution::{Distribution, DistributionError};
pub use route::group::{Group, GroupError};
pub use route::server::GroupServer;
pub use stop::StopHandle;
pub use wire::address::Address;
