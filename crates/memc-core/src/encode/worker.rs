//! The parallel part: the lines of one chunk to a batch for each connection.

use std::hash::{DefaultHasher, Hasher};

use crate::buffers::BufferPool;
use crate::order::ledger::Ledger;
use crate::order::reorder::ReorderQueue;
use crate::order::tally::Tally;
use crate::read::chunk::Chunk;
use crate::read::lines::{Piece, Text};
use crate::wire::batch::Batch;
use crate::{Encode, Record, RejectReason};

/// The longest key, from memcached's
/// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt), section "Keys".
const MAX_KEY_BYTES: usize = 250;

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
    pub(crate) servers: usize,
    /// Connections to each server; `None` in a dry run, in which all servers share one queue.
    pub(crate) connections: Option<usize>,
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
        if server >= self.shared.servers {
            return Err(RejectReason::NoServer);
        }
        if !is_key(&record.key) {
            return Err(RejectReason::InvalidKey);
        }
        let lane = match self.shared.connections {
            None => 0,
            Some(1) => server,
            Some(connections) => server * connections + lane(&record.key, connections),
        };
        self.batches[lane].push(server, number, &record.key, &record.value);
        tally.counts.dropped += u64::from(record.dropped);
        Ok(())
    }
}

/// Which of a server's connections a key always takes, so that its records stay in order.
fn lane(key: &[u8], connections: usize) -> usize {
    let mut hasher = DefaultHasher::new();
    hasher.write(key);
    usize::try_from(hasher.finish() % connections as u64).unwrap_or(0)
}

/// Whether memcached takes it as a key, and as nothing but a key.
fn is_key(key: &[u8]) -> bool {
    // Without a way out of the loop, many bytes are looked at in one step.
    let bad = key.iter().fold(false, |bad, &byte| bad | (byte <= 32) | (byte == 127));
    !key.is_empty() && key.len() <= MAX_KEY_BYTES && !bad
}

fn quote(line: &[u8]) -> String {
    let more = if line.len() > KEPT_OF_LINE { "…" } else { "" };
    format!("'{}{more}'", line[..line.len().min(KEPT_OF_LINE)].escape_ascii())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_memcached_takes() {
        for (key, good) in [
            (&b"idfa:e7e1"[..], true),
            (&[b'k'; 250], true),
            (&[b'k'; 251], false),
            (b"", false),
            (b"a b", false),
            (b"a\rb", false),
            (b"a\nset x 0 0 1", false),
            (b"a\0", false),
            (b"a\x1f", false),
            (b"a\x7f", false),
            (b"\x80\xff", true),
        ] {
            assert_eq!(is_key(key), good, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_key_keeps_its_lane() {
        let lanes: Vec<_> = (0..100_u8).map(|byte| lane(&[byte], 3)).collect();
        let on_another_thread = std::thread::spawn(|| (0..100_u8).map(|byte| lane(&[byte], 3)).collect());
        assert_eq!(Some(&lanes), on_another_thread.join().ok().as_ref());
        assert!((0..3).all(|lane| lanes.iter().filter(|it| **it == lane).count() > 20), "{lanes:?}");
    }
}
