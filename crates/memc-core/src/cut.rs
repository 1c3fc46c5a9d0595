//! Cuts a stream of plain text into pieces of whole lines, in bounded memory.

use std::io::{self, Read};

use crate::recycle::Reuse;

/// So much of an overlong line is kept, for the log.
const KEPT_OF_LONG_LINE: usize = 256;

/// A piece of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole lines; only the last one of the input may lack its `\n`.
    Lines,
    /// The beginning of one line that is longer than the limit; the rest of it is skipped.
    LongLine,
}

/// A buffer of plain text: `filled` bytes of `bytes` count, the rest is room that needs no clearing.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    filled: usize,
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// Reads until `target` bytes are filled or the input ends; true at the end.
    fn fill(&mut self, input: &mut impl Read, target: usize) -> io::Result<bool> {
        if self.bytes.len() < target {
            self.bytes.reserve_exact(target - self.bytes.len());
            self.bytes.resize(target, 0);
        }
        while self.filled < target {
            match input.read(&mut self.bytes[self.filled..target]) {
                Ok(0) => return Ok(true),
                Ok(length) => self.filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl Reuse for Text {
    fn clear(&mut self) {
        self.filled = 0;
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Cuts one input into pieces of about `piece_bytes`, always at line ends.
#[derive(Debug)]
pub(crate) struct Cutter<R> {
    input: R,
    piece_bytes: usize,
    max_line_bytes: usize,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
    skipping: bool,
    ended: bool,
}

impl<R: Read> Cutter<R> {
    pub(crate) fn new(input: R, piece_bytes: usize, max_line_bytes: usize) -> Self {
        Self { input, piece_bytes, max_line_bytes, rest: Vec::new(), skipping: false, ended: false }
    }

    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// Fills `text` with the next piece, or returns `None` at the end of the input.
    pub(crate) fn next_piece(&mut self, text: &mut Text) -> io::Result<Option<Piece>> {
        text.filled = 0;
        if self.skipping {
            self.skip_line(text)?;
        }
        if text.bytes.len() < self.rest.len() {
            text.bytes.resize(self.rest.len(), 0);
        }
        text.bytes[..self.rest.len()].copy_from_slice(&self.rest);
        text.filled = self.rest.len();
        self.rest.clear();
        let mut target = self.piece_bytes.max(text.filled + 1);
        let mut searched = 0;
        while !self.ended {
            self.ended = text.fill(&mut self.input, target)?;
            if let Some(at) = memchr::memrchr(b'\n', &text.as_bytes()[searched..]) {
                if !self.ended {
                    self.rest.extend_from_slice(&text.as_bytes()[searched + at + 1..]);
                    text.filled = searched + at + 1;
                }
                break;
            }
            if text.filled > self.max_line_bytes {
                self.skipping = !self.ended;
                text.filled = KEPT_OF_LONG_LINE.min(text.filled);
                return Ok(Some(Piece::LongLine));
            }
            searched = text.filled;
            target = searched + self.piece_bytes;
        }
        Ok((text.filled > 0).then_some(Piece::Lines))
    }

    /// Reads and forgets until the line ends; what follows it goes to `rest`.
    fn skip_line(&mut self, scratch: &mut Text) -> io::Result<()> {
        while self.skipping && !self.ended {
            scratch.filled = 0;
            self.ended = scratch.fill(&mut self.input, self.piece_bytes)?;
            if let Some(at) = memchr::memchr(b'\n', scratch.as_bytes()) {
                self.rest.extend_from_slice(&scratch.as_bytes()[at + 1..]);
                self.skipping = false;
            }
        }
        self.skipping = false;
        scratch.filled = 0;
        Ok(())
    }
}
