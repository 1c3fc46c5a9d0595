//! Keeps order: which chunks and inputs are complete, and the batches of one connection in the order of their chunks.

pub(crate) mod ledger;
pub(crate) mod reorder;
pub(crate) mod tally;
