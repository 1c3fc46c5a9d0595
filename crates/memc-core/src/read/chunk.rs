//! Chunks: numbered pieces of the decompressed inputs, each with its share of the memory budget.

use std::io;

use crate::buffers::{self, Reusable};
use crate::order::budget::Share;

/// A piece of an input, on its way to a worker.
#[derive(Debug)]
pub struct Chunk {
    /// Its place in the stream, from 0, through all inputs.
    pub(crate) number: u64,
    pub(crate) piece: Piece,
    pub(crate) text: Text,
    /// Whether it is the last one of its input; it has no lines then.
    pub(crate) ends_input: bool,
    /// Read from its input by its end, in bytes, compressed if it is gzip.
    pub(crate) bytes_in: u64,
    /// What it takes of the memory that may be in flight: its text, and the batches to come.
    pub(crate) share: Share,
}

/// What a chunk's text is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole lines; only the last one of the input may lack its `\n`.
    Lines,
    /// The beginning of one line that is longer than the limit; the rest of it is skipped.
    LongLine,
}

/// A buffer of text: `filled` bytes of `bytes` count, the rest is room that needs no clearing.
#[derive(Debug, Default)]
pub(crate) struct Text {
    pub(crate) bytes: Vec<u8>,
    pub(crate) filled: usize,
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// The text alone, without much room behind it.
    pub(crate) fn into_bytes(self) -> Vec<u8> {
        buffers::shrink(self.bytes, self.filled)
    }

    /// Makes the buffer at least this long.
    ///
    /// # Errors
    ///
    /// If there is no memory for it.
    pub(crate) fn lengthen(&mut self, bytes: usize) -> io::Result<()> {
        let length = self.bytes.len();
        if length < bytes {
            buffers::try_reserve(&mut self.bytes, bytes - length)?;
            self.bytes.resize(bytes, 0);
        }
        Ok(())
    }
}

impl Reusable for Text {
    fn clear(&mut self) {
        self.filled = 0;
    }

    fn bytes(&self) -> usize {
        self.bytes.len()
    }
}
