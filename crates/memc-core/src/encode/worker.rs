//! The parallel part: the lines of one chunk to a batch for each connection.

use std::sync::Arc;

use crate::buffers::{BufferPool, LARGE_BYTES, Reusable};
use crate::encode::expiry::Expiry;
use crate::encode::record::Record;
use crate::order::tally::Tally;
use crate::read::chunk::{Piece, Text};
use crate::report::reject::{DroppedPart, QUOTED_REJECTS, RejectReason, quote};
use crate::route::{self, Routes};
use crate::wire::attributes::Attributes;
use crate::wire::batch::Batch;
use crate::{Encode, Error, Options};

/// The most that a command takes beside its value, about, with that of the end of a batch.
const MAX_COMMAND_BYTES: usize = 2 * route::MAX_KEY_BYTES;

/// A record's buffer that has grown over this for an odd line is not kept.
const MAX_KEPT_VALUE_BYTES: usize = 1024 * 1024;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) texts: BufferPool<Text>,
    pub(crate) batches: BufferPool<Batch>,
    pub(crate) routes: Routes,
    pub(crate) expiry: Expiry,
    pub(crate) max_line_bytes: usize,
    pub(crate) report_rejected: bool,
}

impl Shared {
    pub(crate) fn new(options: &Options, routes: &Routes, expiry: Expiry) -> Self {
        Self {
            texts: BufferPool::new(options.chunk_bytes.saturating_mul(2)),
            batches: BufferPool::new(options.chunk_bytes.saturating_mul(2)),
            routes: routes.clone(),
            expiry,
            max_line_bytes: options.max_line_bytes,
            report_rejected: options.report_rejected,
        }
    }
}

/// One thread's encoder and buffers.
#[derive(Debug)]
pub(crate) struct Worker<E> {
    shared: Arc<Shared>,
    encoder: E,
    record: Record,
    /// One batch for each connection.
    batches: Vec<Batch>,
    /// Why the load cannot go on.
    error: Option<Error>,
}

/// What becomes of a chunk.
#[derive(Debug)]
pub(crate) struct Encoded {
    /// A batch for each connection: for those of the first server, then for those of the second, …
    pub(crate) batches: Vec<Batch>,
    pub(crate) tally: Tally,
    /// What they take until they are acknowledged.
    pub(crate) bytes: usize,
}

impl<E: Encode> Worker<E> {
    pub(crate) fn new(shared: &Arc<Shared>, encoder: E) -> Self {
        let shared = Arc::clone(shared);
        Self { shared, encoder, record: Record::default(), batches: Vec::new(), error: None }
    }

    /// Encodes the lines of a chunk.
    ///
    /// # Errors
    ///
    /// If the encoder returns an index that does not exist.
    pub(crate) fn encode(&mut self, piece: Piece, text: Text, ends_input: bool) -> Result<Encoded, Error> {
        let report_rejected = self.shared.report_rejected;
        self.take_batches(text.as_bytes().len());
        let mut tally = Tally::default();
        tally.counts.bytes_decompressed = text.as_bytes().len() as u64;
        match piece {
            Piece::Lines => self.encode_lines(text.as_bytes(), &mut tally),
            Piece::LongLine => {
                tally.counts.lines = 1;
                let quote = || (quote(text.as_bytes()), None);
                tally.reject(0, RejectReason::LineTooLong, quote, report_rejected);
            }
        }
        if self.record.value.capacity() > MAX_KEPT_VALUE_BYTES {
            self.record = Record::default();
        }
        if report_rejected {
            // A server may still refuse some of the lines.
            tally.text = text.into_bytes();
        } else {
            self.shared.texts.give(text);
        }
        let bytes = self.batches.iter().map(expected_bytes).sum::<usize>() + tally.kept_bytes();
        for batch in &mut self.batches {
            batch.close();
            batch.ends_input = ends_input;
        }
        match self.error.take() {
            Some(error) => Err(error),
            None => Ok(Encoded { batches: std::mem::take(&mut self.batches), tally, bytes }),
        }
    }

    /// Takes a batch for each connection. Records take about as many bytes as their lines, on all connections alike:
    /// with room for that, a batch does not grow to twice its size.
    fn take_batches(&mut self, text_bytes: usize) {
        let shared = &self.shared;
        let lanes = shared.routes.lanes();
        let expected_bytes = text_bytes.min(LARGE_BYTES) / lanes;
        self.batches.resize_with(lanes, || {
            let mut batch = shared.batches.take();
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
            self.error = Some(Error::GroupIndex { index: group, groups });
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
