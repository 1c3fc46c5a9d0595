//! The one numbered stream of chunks through all inputs, for the workers to share.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::buffers::{BufferPool, LARGE_BYTES, Reusable};
use crate::order::account::Account;
use crate::order::budget::{Budget, Bytes, CHUNK_BYTES, Share};
use crate::order::events::Events;
use crate::order::ledger::Ledger;
use crate::order::reorder::ReorderQueue;
use crate::read::backlog::Backlog;
use crate::read::chunk::{Chunk, Piece, Text};
use crate::read::feed::Feed;
use crate::read::input::{Decompressed, Input, Opened};
use crate::read::lines::{Cut, Cutter};
use crate::wire::batch::Batch;
use crate::{Error, Options, StopHandle};

/// What a reader works with beside the inputs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Surroundings<'a> {
    pub(crate) ledger: &'a Ledger,
    pub(crate) budget: &'a Arc<Budget>,
    pub(crate) events: &'a Events,
    pub(crate) queues: &'a [ReorderQueue],
    pub(crate) texts: &'a BufferPool<Text>,
    pub(crate) batches: &'a BufferPool<Batch>,
    pub(crate) options: &'a Options,
    pub(crate) stop: &'a StopHandle,
}

/// Opens, decompresses and cuts the inputs, one after the other, as far ahead as the budget allows.
///
/// It ends early when the load has stopped, or when an input cannot be read; the ledger knows which.
pub(crate) struct Chunks<'a, I> {
    inputs: &'a mut Backlog<I>,
    current: Option<Current<'a>>,
    with: Surroundings<'a>,
}

struct Current<'a> {
    name: String,
    cutter: Cutter<Box<dyn Read + Send + 'a>>,
    /// Read from the input so far, compressed if it is gzip.
    bytes_read: Arc<AtomicU64>,
    /// Whether it is read on a thread of its own.
    is_fed: bool,
}

impl<'a, I: Iterator<Item = Input>> Chunks<'a, I> {
    pub(crate) fn new(inputs: &'a mut Backlog<I>, with: Surroundings<'a>) -> Self {
        Self { inputs, current: None, with }
    }

    /// The next input, opened; `None` if there is none or it does not open.
    fn open_next(&mut self) -> Option<Current<'a>> {
        let input = self.inputs.next(self.with.events.inputs_confirmed())?;
        let name = input.name().to_owned();
        self.with.ledger.open_input(name.clone());
        let opened = match input.open() {
            Ok(opened) => opened,
            Err(source) => return self.give_up(Error::Read { file: name, source }),
        };
        self.start(name, opened).map_or_else(|error| self.give_up(error), Some)
    }

    fn start(
        &self,
        name: String,
        Opened { source, may_block, gzip_only }: Opened,
    ) -> Result<Current<'a>, Error> {
        let Surroundings { ledger, options, stop, .. } = self.with;
        let bytes_read = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes_read);
        let open = move || Decompressed::new(source, gzip_only, &counted);
        let text: Box<dyn Read + Send + 'a> = if may_block {
            let is_over = || stop.is_requested() || ledger.is_aborted();
            let feed = Feed::start(open, options.linger, is_over);
            Box::new(feed.map_err(|source| Error::Start { thread: "input", source })?)
        } else {
            match open() {
                Ok(plain) => Box::new(plain),
                Err(source) => return Err(Error::Read { file: name, source }),
            }
        };
        let cutter = Cutter::new(text, options.chunk_bytes, options.max_line_bytes);
        Ok(Current { name, cutter, bytes_read, is_fed: may_block })
    }

    /// Nothing after a broken input may be loaded, since nothing after it may be marked as done.
    fn give_up<T>(&self, error: Error) -> Option<T> {
        self.with.ledger.end_input(error);
        None
    }

    /// Whether a stop was asked for. What was read by then of an input with a thread of its own is still to come.
    fn is_stopped(&self) -> bool {
        self.with.stop.is_requested() && !self.current.as_ref().is_some_and(|current| current.is_fed)
    }
}

impl Surroundings<'_> {
    /// What a chunk takes until its batches are made: its text, and batches of about the same size. The record of a very
    /// long line takes as much once more.
    fn bytes(text_bytes: usize) -> Bytes {
        let times = if text_bytes > LARGE_BYTES { 2 } else { 1 };
        Bytes { present: CHUNK_BYTES + text_bytes, expected: text_bytes.saturating_mul(times) }
    }

    /// Takes a share of the budget. If that has to be waited for, no batch may wait for further ones meanwhile.
    fn reserve(&self, bytes: Bytes) -> Option<Share> {
        if self.budget.has_room(bytes) {
            return self.budget.reserve(bytes);
        }
        self.queues.iter().for_each(|queue| queue.hurry(true));
        let share = self.budget.reserve(bytes);
        self.queues.iter().for_each(|queue| queue.hurry(false));
        share
    }

    /// Frees spare buffers that would take more than the budget and two chunks, with what is in flight: the next chunks
    /// are mostly read and encoded into spare buffers.
    fn free_spares(&self) {
        let Self { budget, texts, batches, options, .. } = self;
        let allowed = options.max_bytes_in_flight + 2 * Self::bytes(options.chunk_bytes).total();
        let used = budget.used();
        // Batches that are expected will be spare ones, as far as there are.
        let spares = texts.spare_bytes() + batches.spare_bytes().saturating_sub(used.expected);
        let excess = (used.total() + spares).saturating_sub(allowed);
        batches.free(excess.saturating_sub(texts.free(excess)));
    }
}

impl<I: Iterator<Item = Input>> Iterator for Chunks<'_, I> {
    type Item = Chunk;

    fn next(&mut self) -> Option<Chunk> {
        if self.is_stopped() {
            return self.give_up(Error::Cancelled);
        }
        let Surroundings { ledger, texts, options, stop, .. } = self.with;
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.open_next()?,
        };
        let with = self.with;
        let mut share = with.reserve(Surroundings::bytes(options.chunk_bytes))?;
        with.free_spares();
        let mut text = texts.take();
        let piece = loop {
            let has_room = |text_bytes| {
                let has_room = share.grow(Surroundings::bytes(text_bytes));
                with.free_spares();
                has_room
            };
            match current.cutter.next_piece(&mut text, has_room) {
                Ok(Cut::Piece(piece)) => break Some(piece),
                Ok(Cut::End) => break None,
                Ok(Cut::NotYet) if ledger.is_aborted() => return None,
                Ok(Cut::NotYet) if stop.is_requested() => return self.give_up(Error::Cancelled),
                Ok(Cut::NotYet) => {}
                Err(source) => return self.give_up(Error::Read { file: current.name, source }),
            }
        };
        // The end of an input is a chunk of its own, without lines.
        if piece.is_none() {
            texts.give(std::mem::take(&mut text));
        }
        // The whole buffer counts, of which a small input uses but a little.
        share.set(match piece {
            Some(_) => Surroundings::bytes(text.bytes()),
            None => CHUNK_BYTES.into(),
        });
        let bytes_in = current.bytes_read.load(Ordering::Relaxed);
        let number = ledger.add_chunk(bytes_in, piece.is_none());
        if piece.is_some() {
            self.current = Some(current);
        }
        let ends_input = piece.is_none();
        Some(Chunk { number, piece: piece.unwrap_or(Piece::Lines), text, share, ends_input, bytes_in })
    }
}
