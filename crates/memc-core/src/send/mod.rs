//! Sends: one thread a connection writes batches, waits for their acknowledgment, and retries.

pub(crate) mod away;
pub(crate) mod backoff;
pub(crate) mod known;
pub(crate) mod lane;
pub(crate) mod pool;
pub(crate) mod readback;
pub(crate) mod sender;
pub(crate) mod server;
pub(crate) mod window;
