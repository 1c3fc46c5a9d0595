//! A chunk: a numbered piece of an input.

use crate::read::lines::{Piece, Text};

/// A piece of an input, on its way to a worker.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Its place in the stream, from 0, through all inputs.
    pub(crate) number: u64,
    pub(crate) piece: Piece,
    pub(crate) text: Text,
}
