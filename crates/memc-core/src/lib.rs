#![doc = include_str!("../README.md")]
//!
//! # Where to start
//!
//! | for | see |
//! | --- | --- |
//! | loading, and a trial without servers | [`Loader::load`], [`Loader::dry_run`] |
//! | where lines come from | [`Input::path`], [`Input::bytes`], [`Input::reopenable`], [`Input::reader`] |
//! | lines of your own | [`Encode`]; that of the apps log is [`apps::AppsEncoder`] |
//! | servers, passwords, TLS | [`Address`] |
//! | several servers for one type of record | [`Group`], [`Distribution`] |
//! | proxies and older servers | [`Options::protocol`], [`Event::NoStatistics`] |
//! | flags and expiry | [`Record::flags`], [`Record::ttl`], [`Options::ttl`] |
//! | threads, connections, patience, memory | [`Options`], [`Loader::with_pool`] |
//! | whether the servers are there | [`Loader::check`] |
//! | what is emitted meanwhile | [`Event`], [`ProgressHandle`], [`ServerProgress`] |
//! | the reports | [`RunReport`], [`InputReport`], [`RejectReason`] |
//! | the stages one by one, for memc-cluster | [`stages`] |
//! | what stops it | [`LoadError`], [`Error`], [`StopHandle`] |

#[cfg(feature = "apps")]
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

pub use encode::Encode;
pub use encode::record::Record;
pub use error::{AddressError, Error};
pub use load::{DryRecord, Loader, stages};
pub use options::Options;
pub use read::input::Input;
pub use report::event::{Event, EventResult};
pub use report::progress::{ProgressHandle, RoundTrips, ServerProgress};
pub use report::reject::{DroppedPart, QUOTED_REJECTS, RejectReason, RejectedLine, RejectedLines};
pub use report::{Counts, InputReport, LoadError, RunReport, ServerCheck, ServerReport, ServerStatus};
pub use route::choice::Choice;
pub use route::distribution::{Distribution, DistributionError};
pub use route::group::{Group, GroupError};
pub use route::server::GroupServer;
pub use stop::StopHandle;
pub use wire::address::Address;
pub use wire::protocol::Protocol;
