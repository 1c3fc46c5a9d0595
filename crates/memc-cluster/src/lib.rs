//! Loads several files at once, on many threads or machines, and leaves what memc-core leaves that loads one after the
//! other.
//!
//! The work is a [timely](https://docs.rs/timely) dataflow over the [stages](memc_core::stages) of memc-core. A file is
//! an epoch. Each worker reads and encodes its own files; batches go to the worker that owns their lane, which writes them
//! in the order of file and chunk and holds the epoch until all is acknowledged; the first worker keeps the books. Where
//! the frontier has passed a file, it and all before it are stored everywhere.
//!
//! Several processes meet by a [hosts file](Hosts). Each two of them have one connection, on which they shake hands
//! before anything else. Whatever happens to one of them, the others end with its number and the reason.

mod ahead;
mod attempt;
mod cluster;
mod error;
mod fault;
mod files;
mod flow;
mod hosts;
mod link;
mod message;
mod net;
mod parcel;
mod place;
mod state;

pub use ahead::Ahead;
pub use cluster::{Cluster, Membership};
pub use error::{ClusterError, PeerError};
pub use files::Files;
pub use hosts::Hosts;
