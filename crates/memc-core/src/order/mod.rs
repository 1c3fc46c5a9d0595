//! Keeps order: what is complete, what is in flight, and the batches of a connection in the order of their chunks.

pub(crate) mod account;
pub(crate) mod budget;
pub(crate) mod events;
pub(crate) mod ledger;
pub(crate) mod reorder;
pub(crate) mod tally;
