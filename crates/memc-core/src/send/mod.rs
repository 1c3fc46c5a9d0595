//! Sends: one thread a connection writes batches, waits for their acknowledgment, and retries.

pub(crate) mod backoff;
pub(crate) mod lane;
pub(crate) mod pool;
pub(crate) mod sender;
pub(crate) mod server;
