//! One connection to a server: batches go out, answers come in, both at the same time.
//!
//! While it writes it reads what has arrived, so the two sides can never block each other, however many
//! refusals the server sends.

use std::io::{self, IoSlice, Read, Write};
use std::time::Instant;

use crate::wire::answers::{AnswerReader, Answers, closed};
use crate::wire::batch::Batch;
use crate::wire::ending::Ending;
use crate::wire::flight::{Flight, PIECE_BYTES};
use crate::wire::patience::Patience;
use crate::wire::peers::Ends;
use crate::wire::protocol::{Manner, Protocol};
use crate::wire::stats::ServerStats;
use crate::wire::stream::Stream;

/// A connected server.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(super) stream: Stream,
    pub(super) patience: Patience,
    pub(super) manner: Manner,
    pub(super) version: String,
    answers: AnswerReader,
    /// What is in flight, where each set is answered.
    flight: Flight,
    /// What has arrived of answers that are no batch's, from `inbox_at` on.
    pub(super) inbox: Vec<u8>,
    pub(super) inbox_at: usize,
    pub(super) first_stats: Option<(ServerStats, Instant)>,
    pub(super) broken: bool,
    /// When something last moved: bytes were taken, a whole line arrived, or a wait began.
    pub(super) moved: Instant,
}

impl Connection {
    /// On a socket that was just connected, to a server that nothing is known of.
    pub(super) fn new(stream: Stream, patience: &Patience) -> Self {
        Self {
            stream,
            patience: patience.clone(),
            manner: Manner::default(),
            version: String::new(),
            answers: AnswerReader::default(),
            flight: Flight::default(),
            inbox: Vec::new(),
            inbox_at: 0,
            first_stats: None,
            broken: false,
            moved: Instant::now(),
        }
    }

    /// How the server is spoken to.
    pub(crate) fn manner(&self) -> Manner {
        self.manner
    }

    /// The server's version, as it has said it.
    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// What the server said of itself when the connection was made, and when that was asked, if it says anything.
    pub(crate) fn first_stats(&self) -> Option<(ServerStats, Instant)> {
        self.first_stats
    }

    /// The two ends of the connection, unless it is a Unix socket.
    pub(crate) fn ends(&self) -> Option<Ends> {
        self.stream.ends()
    }

    /// Writes batches of one protocol, of which the last one is closed: they are acknowledged together.
    pub(crate) fn send(&mut self, batches: &[Batch]) -> io::Result<()> {
        let Some(last) = batches.last() else { return Ok(()) };
        self.answers.expect(batches.iter().map(Batch::len).sum(), last.protocol());
        self.moved = Instant::now();
        let result = if last.protocol() == Protocol::Meta && self.stream.max_write_bytes().is_none() {
            self.write_at_once(batches)
        } else {
            batches.iter().try_for_each(|batch| self.write_in_pieces(batch))
        };
        self.broken |= result.is_err();
        result
    }

    /// Waits for the end of the oldest batches that were sent, and returns the answers to it: of quiet sets
    /// just the refusals, of others one a record.
    pub(crate) fn acknowledge(&mut self) -> io::Result<Answers> {
        let result = self.read_batch();
        self.broken |= result.is_err();
        result
    }

    /// Gives it up with records in flight.
    pub(crate) fn end(self) -> Ending {
        Ending::begin(self.stream)
    }

    /// The answers to the oldest batches that were sent together, if all of them have arrived already.
    pub(crate) fn next_acknowledged(&mut self) -> Option<Answers> {
        self.answers.next_closed()
    }

    /// Whether it can't be used any more: after an error, or with answers still to come.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken || self.answers.is_waiting()
    }

    /// With as few writes as possible.
    fn write_at_once(&mut self, batches: &[Batch]) -> io::Result<()> {
        let mut slices: Vec<_> = batches.iter().map(|batch| IoSlice::new(batch.as_bytes())).collect();
        let mut slices = &mut slices[..];
        // Those without a byte do not count as something to write.
        IoSlice::advance_slices(&mut slices, 0);
        while !slices.is_empty() {
            match self.write(slices)? {
                Some(length) => IoSlice::advance_slices(&mut slices, length),
                None => self.read_or_wait_for_room()?,
            }
        }
        Ok(())
    }

    /// No more at once than the stream or the protocol allows.
    fn write_in_pieces(&mut self, batch: &Batch) -> io::Result<()> {
        let bytes = batch.as_bytes();
        let is_answered = batch.protocol() == Protocol::Classic;
        let most = [self.stream.max_write_bytes(), is_answered.then_some(PIECE_BYTES)];
        let most = most.into_iter().flatten().min().unwrap_or(bytes.len());
        let mut start = 0;
        while start < bytes.len() {
            let end = match bytes.len() - start > most {
                true => batch.command_end(start, most).unwrap_or(start + most),
                false => bytes.len(),
            };
            if is_answered {
                self.wait_for_room(end - start)?;
                self.flight.add(batch.sets_within(start, end), end - start);
            }
            self.write_piece(&bytes[start..end])?;
            start = end;
        }
        Ok(())
    }

    /// Waits for answers until `bytes` more may be in flight.
    fn wait_for_room(&mut self, bytes: usize) -> io::Result<()> {
        while !self.flight.has_room(bytes, self.answers.answered()) {
            self.patience.wait(&self.stream, false, self.moved)?;
            self.read_available()?;
        }
        Ok(())
    }

    fn write_piece(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.write(&[IoSlice::new(bytes)])? {
                Some(length) => bytes = &bytes[length..],
                None => self.read_or_wait_for_room()?,
            }
        }
        Ok(())
    }

    fn read_or_wait_for_room(&mut self) -> io::Result<()> {
        self.read_available()?;
        self.patience.wait(&self.stream, true, self.moved)
    }

    /// How many bytes are taken at once; `None` if there is no room.
    pub(super) fn write(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.write_vectored(pieces) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => {
                    self.moved = Instant::now();
                    return Ok(Some(length));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn read_batch(&mut self) -> io::Result<Answers> {
        self.moved = Instant::now();
        loop {
            if let Some(answers) = self.answers.next_closed() {
                return Ok(answers);
            }
            self.patience.wait(&self.stream, false, self.moved)?;
            self.read_available()?;
        }
    }

    /// Reads what has arrived for the batches, without waiting.
    fn read_available(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        while let Some(length) = read(&mut self.stream, &mut buffer)? {
            if length == 0 {
                return Err(closed(self.answers.partial()));
            }
            if self.answers.push(&buffer[..length])? {
                self.moved = Instant::now();
            }
            if length < buffer.len() {
                break;
            }
        }
        Ok(())
    }
}

/// Reads what is there; `None` if nothing is.
pub(super) fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
