//! The one numbered stream of chunks through all inputs, for the workers to share.

use std::io;

use crate::buffers::{BufferPool, Reusable};
use crate::order::ledger::Ledger;
use crate::read::backlog::Backlog;
use crate::read::chunk::Chunk;
use crate::read::input::{Input, Plain};
use crate::read::lines::{Cutter, Piece, Text};
use crate::{Error, Options, StopHandle};

/// Opens, inflates and cuts the inputs, one after the other, so far ahead as the ledger allows.
///
/// It ends early when the load has stopped, or when an input cannot be read; the ledger knows which.
pub(crate) struct Chunks<'a, I> {
    inputs: &'a mut Backlog<I>,
    current: Option<Current>,
    ledger: &'a Ledger,
    texts: &'a BufferPool<Text>,
    options: &'a Options,
    stop: &'a StopHandle,
}

struct Current {
    name: String,
    cutter: Cutter<Plain>,
}

impl<'a, I: Iterator<Item = Input>> Chunks<'a, I> {
    pub(crate) fn new(
        inputs: &'a mut Backlog<I>,
        ledger: &'a Ledger,
        texts: &'a BufferPool<Text>,
        options: &'a Options,
        stop: &'a StopHandle,
    ) -> Self {
        Self { inputs, current: None, ledger, texts, options, stop }
    }

    /// The next input, opened; `None` if there is none or it does not open.
    fn open_next(&mut self) -> Option<Current> {
        let input = self.inputs.next(self.ledger.inputs_confirmed())?;
        let name = input.name().to_owned();
        self.ledger.open_input(name.clone());
        match input.open() {
            Ok(plain) => {
                let cutter = Cutter::new(plain, self.options.chunk_bytes, self.options.max_line_bytes);
                Some(Current { name, cutter })
            }
            Err(source) => self.give_up(name, source),
        }
    }

    /// Nothing after a broken input may be loaded, since nothing after it may be marked as done.
    fn give_up<T>(&mut self, file: String, source: io::Error) -> Option<T> {
        self.ledger.end_input(Error::Read { file, source });
        None
    }
}

impl<I: Iterator<Item = Input>> Iterator for Chunks<'_, I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.stop.is_requested() {
            self.ledger.end_input(Error::Cancelled);
            return None;
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.open_next()?,
        };
        let mut text = self.texts.take();
        let piece = match current.cutter.next_piece(&mut text) {
            Ok(piece) => piece,
            Err(source) => return self.give_up(current.name, source),
        };
        // The end of a file is a chunk of its own, without lines.
        if piece.is_none() {
            self.texts.give(std::mem::take(&mut text));
        }
        // The whole buffer counts, of which a small file uses but a little.
        let number =
            self.ledger.admit(text.capacity(), current.cutter.input().bytes_read(), piece.is_none())?;
        if piece.is_some() {
            self.current = Some(current);
        }
        Some(Chunk { number, piece: piece.unwrap_or(Piece::Lines), text })
    }
}
