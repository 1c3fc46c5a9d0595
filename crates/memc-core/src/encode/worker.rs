//! The parallel part: the lines of one chunk to a batch for each connection.

use crate::buffers::BufferPool;
use crate::order::ledger::Ledger;
use crate::order::reorder::ReorderQueue;
use crate::order::tally::Tally;
use crate::read::chunk::Chunk;
use crate::read::lines::{Piece, Text};
use crate::route::{self, Routes};
use crate::wire::batch::Batch;
use crate::{Encode, Record, RejectReason};

/// So much of a rejected line is quoted in the log.
const KEPT_OF_LINE: usize = 120;

/// What all workers share.
#[derive(Debug)]
pub(crate) struct Shared<'a> {
    pub(crate) ledger: &'a Ledger,
    /// The queue of each connection: those of the first server, then those of the second, …
    pub(crate) turns: &'a [ReorderQueue],
    pub(crate) texts: &'a BufferPool<Text>,
    pub(crate) batches: &'a BufferPool<Batch>,
    pub(crate) routes: &'a Routes,
    /// In a dry run all servers share one queue.
    pub(crate) is_dry: bool,
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
        let shared = self.shared;
        self.batches.resize_with(shared.turns.len(), || shared.batches.take());
        let mut tally = Tally::default();
        tally.counts.bytes_decompressed = chunk.text.as_bytes().len() as u64;
        match chunk.piece {
            Piece::Lines => self.encode_lines(chunk.text.as_bytes(), &mut tally),
            Piece::LongLine => {
                tally.counts.lines = 1;
                tally.reject(
                    0,
                    RejectReason::LineTooLong,
                    || quote(chunk.text.as_bytes()),
                    shared.report_rejected,
                );
            }
        }
        for (turns, mut batch) in shared.turns.iter().zip(self.batches.drain(..)) {
            batch.close();
            batch.ends_input = chunk.ends_input;
            turns.submit(chunk.number, batch);
        }
        if shared.report_rejected {
            // A server may still refuse some of the lines.
            tally.text = chunk.text.into_bytes();
        } else {
            shared.texts.give(chunk.text);
        }
        shared.ledger.report(chunk.number, tally);
    }

    fn encode_lines(&mut self, mut text: &[u8], tally: &mut Tally) {
        let mut number: u32 = 0;
        while !text.is_empty() {
            let end = memchr::memchr(b'\n', text).unwrap_or(text.len());
            let line = &text[..end];
            if let Err(reason) = self.encode_line(line, number, tally) {
                tally.reject(number, reason, || quote(line), self.shared.report_rejected);
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
        record.key.clear();
        record.value.clear();
        record.dropped = 0;
        let Some(server) = self.encoder.encode(line, record)? else { return Ok(()) };
        if server >= self.shared.routes.places() {
            return Err(RejectReason::NoServer);
        }
        if !route::is_key(&record.key) {
            return Err(RejectReason::InvalidKey);
        }
        let lane = if self.shared.is_dry { 0 } else { self.shared.routes.lane(server, &record.key) };
        self.batches[lane].push(server, number, &record.key, &record.value);
        tally.counts.dropped += u64::from(record.dropped);
        Ok(())
    }
}

fn quote(line: &[u8]) -> String {
    let more = if line.len() > KEPT_OF_LINE { "…" } else { "" };
    format!("'{}{more}'", line[..line.len().min(KEPT_OF_LINE)].escape_ascii())
}
