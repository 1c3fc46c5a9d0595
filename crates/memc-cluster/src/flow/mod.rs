//! The dataflow: read and encode, exchange to the lanes' workers, write, exchange to the first worker, keep the books.
//!
//! The timestamp is the place of a chunk. Whoever holds a chunk holds its time: the worker that reads it until it is
//! encoded, the worker of a lane until it is acknowledged, the books until it is accounted. So the frontier at the end is
//! the oldest chunk that is not finished everywhere, and nothing else has to be tracked.

mod clerk;
mod read;
pub(crate) mod shared;
pub(crate) mod worker;
mod write;
