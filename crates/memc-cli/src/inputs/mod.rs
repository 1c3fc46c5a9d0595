//! The input files: which there are, how one is marked as done, and who may load them.

pub(crate) mod find;
pub(crate) mod lock;
pub(crate) mod source;
