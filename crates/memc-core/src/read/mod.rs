//! Reads: opens the inputs, decompresses them, and cuts them into numbered chunks of whole lines.

pub(crate) mod backlog;
pub(crate) mod chunk;
pub(crate) mod input;
pub(crate) mod lines;
pub(crate) mod magic;
pub(crate) mod reader;
