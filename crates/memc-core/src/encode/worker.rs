//! The parallel part: the lines of one chunk to a batch for each connection.

use crate::buffers::{BufferPool, LARGE_BYTES, Reusable};
use crate::encode::expiry::Expiry;
use crate::encode::record::Record;
use crate::order::budget::CHUNK_BYTES;
use crate::order::ledger::Ledger;
use crate::order::reorder::ReorderQueue;
use crate::order::tally::Tally;
use crate::read::chunk::{Chunk, Piece, Text};
use crate::report::reject::{DroppedPart, QUOTED_REJECTS, RejectReason, quote};
use crate::route::{self, Routes};
use crate::wire::attributes::Attributes;
use crate::wire::batch::Batch;
use crate::{Encode, Error};

/// The most that a command takes beside its value, about, with that of the end of a batch.
const MAX_COMMAND_BYTES: usize = 2 * route::MAX_KEY_BYTES;

/// A record's buffer that has grown over this for an odd line is not kept.
const MAX_KEPT_VALUE_BYTES: usize = 1024 * 1024;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) ledger: &'a Ledger,
    /// The queue of each connection: those of the first server, then those of the second, …
    pub(crate) queues: &'a [ReorderQueue],
    pub(crate) texts: &'a BufferPool<Text>,
    pub(crate) batches: &'a BufferPool<Batch>,
    pub(crate) routes: &'a Routes,
    pub(crate) expiry: Expiry,
    pub(crate) max_line_bytes: usize,
    pub(crate) report_rejected: bool,
}

/// One thread's encoder and buffers.
#[derive(Debug)]
pub(crate) struct Worker<'a, E> {
    shared: &'a Shared<'a>,
    encoder: E,
    record: Record,
    /// One batch for each connection.
    batches: Vec<Batch>,
}

impl<'a, E: Encode> Worker<'a, E> {
    pub(crate) fn new(shared: &'a Shared<'a>, encoder: E) -> Self {
        Self { shared, encoder, record: Record::default(), batches: Vec::new() }
    }

    /// Encodes the lines of a chunk and leaves the batches to the connections.
    pub(crate) fn work(&mut self, chunk: Chunk) {
        let Chunk { number, piece, text, mut share, ends_input } = chunk;
        let shared = self.shared;
        self.take_batches(text.as_bytes().len());
        let mut tally = Tally::default();
        tally.counts.bytes_decompressed = text.as_bytes().len() as u64;
        match piece {
            Piece::Lines => self.encode_lines(text.as_bytes(), &mut tally),
            Piece::LongLine => {
                tally.counts.lines = 1;
                let quote = || (quote(text.as_bytes()), None);
                tally.reject(0, RejectReason::LineTooLong, quote, shared.report_rejected);
            }
        }
        if self.record.value.capacity() > MAX_KEPT_VALUE_BYTES {
            self.record = Record::default();
        }
        if shared.report_rejected {
            // A server may still refuse some of the lines.
            tally.text = text.into_bytes();
        } else {
            shared.texts.give(text);
        }
        let batches: usize = self.batches.iter().map(expected_bytes).sum();
        share.set((CHUNK_BYTES + batches + tally.kept_bytes()).into());
        for (queue, mut batch) in shared.queues.iter().zip(self.batches.drain(..)) {
            batch.close();
            batch.ends_input = ends_input;
            queue.submit(number, batch);
        }
        shared.ledger.report_encoded(number, tally, share);
    }

    /// Takes a batch for each connection. Records take about as many bytes as their lines, on all connections alike:
    /// with room for that, a batch does not grow to twice its size.
    fn take_batches(&mut self, text_bytes: usize) {
        let Shared { queues, batches, .. } = *self.shared;
        let expected_bytes = text_bytes.min(LARGE_BYTES) / queues.len();
        self.batches.resize_with(queues.len(), || {
            let mut batch = batches.take();
            batch.reserve(expected_bytes);
            batch
        });
    }

    fn encode_lines(&mut self, mut text: &[u8], tally: &mut Tally) {
        let mut number: u32 = 0;
        while !text.is_empty() {
            let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
            let line = &text[..end];
            if let Err(reason) = self.encode_line(line, number, tally) {
                let quote = || (quote(line), self.record.take_explanation());
                tally.reject(number, reason, quote, self.shared.report_rejected);
            }
            text = text.get(end + 1..).unwrap_or_default();
            number += 1;
        }
        tally.counts.lines = u64::from(number);
    }

    fn encode_line(&mut self, line: &[u8], number: u32, tally: &mut Tally) -> Result<(), RejectReason> {
        if line.len() > self.shared.max_line_bytes {
            return Err(RejectReason::LineTooLong);
        }
        let record = &mut self.record;
        record.clear();
        let Some(group) = self.encoder.encode(line, record)? else { return Ok(()) };
        if !route::is_key(&record.key) {
            return Err(RejectReason::InvalidKey);
        }
        let Some(lane) = self.shared.routes.lane(group, &record.key) else {
            let groups = self.shared.routes.groups();
            self.shared.ledger.abort(Error::GroupIndex { index: group, groups });
            return Ok(());
        };
        if record.value.len() > LARGE_BYTES {
            self.batches[lane].reserve(record.value.len() + MAX_COMMAND_BYTES);
        }
        let attributes = Attributes { flags: record.flags, expiry: self.shared.expiry.of(record.ttl) };
        self.batches[lane].push(number, &record.key, &record.value, attributes);
        if !record.dropped().is_empty() {
            note_dropped(record, number, tally);
        }
        Ok(())
    }
}

/// What a batch takes until it is acknowledged. A large one is mostly refused, and copied to learn which of its records.
fn expected_bytes(batch: &Batch) -> usize {
    let bytes = batch.bytes();
    if bytes > LARGE_BYTES { 2 * bytes } else { bytes }
}

/// Adds the parts that were left out of a record.
#[cold]
fn note_dropped(record: &Record, line: u32, tally: &mut Tally) {
    for &(kind, count) in record.dropped() {
        *tally.counts.dropped.entry(kind.into()).or_default() += count;
    }
    for (kind, part) in record.parts() {
        if tally.dropped_parts.iter().filter(|it| it.kind == kind).count() < QUOTED_REJECTS {
            tally.dropped_parts.push(DroppedPart { line: line.into(), kind: kind.into(), text: quote(part) });
        }
    }
}
