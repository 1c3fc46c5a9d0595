//! Loads several files at once, on many threads or machines, and leaves what memc-core leaves that loads one after the
//! other.
//!
//! The work is a [timely](https://docs.rs/timely) dataflow over the [stages](memc_core::stages) of memc-core. A file is
//! an epoch. Each worker reads and encodes its own files; batches go to the worker that owns their lane, which writes them
//! in the order of file and chunk and holds the epoch until all is acknowledged; the first worker keeps the books. Where
//! the frontier has passed a file, it and all before it are stored everywhere.

mod attempt;
mod cluster;
mod fault;
mod files;
mod flow;
mod parcel;
mod place;
mod state;

pub use cluster::{Ahead, Cluster};
pub use files::Files;
