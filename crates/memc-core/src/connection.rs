//! One connection to a server: batches go out, answers come in, both at the same time.
//!
//! While it writes it reads what has arrived, so the two sides can never block each other, however many
//! refusals the server sends.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::Address;
use crate::batch::CLOSE;
use crate::stream::Stream;

/// No answer to a set is longer; a server that sends more without a line end is none.
const MAX_ANSWER_BYTES: usize = 2048;

/// So much of an answer is kept for the log.
const KEPT_OF_ANSWER: usize = 120;

/// What the server says to one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored,
    /// It is not stored, and the server's words for that.
    Refused(String),
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    /// How long to wait when nothing moves.
    timeout: Duration,
    answers: AnswerReader,
    broken: bool,
}

impl Connection {
    /// Connects and makes sure that the server speaks the meta protocol.
    pub(crate) fn open(address: &Address, timeout: Duration) -> io::Result<Self> {
        let stream = address.connect(timeout)?;
        let mut connection = Self { stream, timeout, answers: AnswerReader::default(), broken: false };
        connection.check()?;
        Ok(connection)
    }

    /// One round trip without effect.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.send(CLOSE, 0)?;
        self.acknowledge().map(drop)
    }

    /// Writes the commands of `records` sets, closed by the no-op.
    pub(crate) fn send(&mut self, commands: &[u8], records: usize) -> io::Result<()> {
        self.answers.expect(records);
        let result = self.write_all(commands);
        self.broken |= result.is_err();
        result
    }

    /// Waits for the end of the oldest batch that was sent, and returns the answers to it: of quiet sets
    /// just the refusals, of others one a record.
    pub(crate) fn acknowledge(&mut self) -> io::Result<Vec<Answer>> {
        let result = self.read_batch();
        self.broken |= result.is_err();
        result
    }

    /// Whether an error has left it in a state in which it can't be used any more.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    fn write_all(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            match self.stream.write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => bytes = &bytes[length..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.read_available()?;
                    self.stream.wait(true, self.timeout)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn read_batch(&mut self) -> io::Result<Vec<Answer>> {
        loop {
            if let Some(answers) = self.answers.next_closed() {
                return Ok(answers);
            }
            self.stream.wait(false, self.timeout)?;
            self.read_available()?;
        }
    }

    /// Reads what has arrived, without waiting.
    fn read_available(&mut self) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    let text = "the server closed the connection";
                    return Err(io::Error::new(io::ErrorKind::UnexpectedEof, text));
                }
                Ok(length) => {
                    self.answers.push(&buffer[..length])?;
                    if length < buffer.len() {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }
}

/// Cuts what the server sends into answers and gives each to its batch. It does no I/O.
#[derive(Debug, Default)]
struct AnswerReader {
    /// An answer whose line end has not come yet.
    partial: Vec<u8>,
    batches: VecDeque<Awaited>,
}

/// A batch that was sent and whose answers have not been taken.
#[derive(Debug)]
struct Awaited {
    records: usize,
    answers: Vec<Answer>,
    closed: bool,
}

impl AnswerReader {
    fn expect(&mut self, records: usize) {
        self.batches.push_back(Awaited { records, answers: Vec::new(), closed: false });
    }

    /// The answers of the oldest batch, if its end has come.
    fn next_closed(&mut self) -> Option<Vec<Answer>> {
        self.batches.front().filter(|batch| batch.closed)?;
        self.batches.pop_front().map(|batch| batch.answers)
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut start = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            if self.partial.is_empty() {
                self.answer(&bytes[start..end])?;
            } else {
                self.partial.extend_from_slice(&bytes[start..end]);
                let line = std::mem::take(&mut self.partial);
                self.answer(&line)?;
            }
            start = end + 1;
        }
        self.partial.extend_from_slice(&bytes[start..]);
        if self.partial.len() > MAX_ANSWER_BYTES {
            return Err(unexpected(&self.partial));
        }
        Ok(())
    }

    fn answer(&mut self, line: &[u8]) -> io::Result<()> {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let batch = self.batches.iter_mut().find(|batch| !batch.closed).ok_or_else(|| unexpected(line))?;
        let answer = match line {
            b"MN" => {
                batch.closed = true;
                return Ok(());
            }
            b"HD" => Answer::Stored,
            b"ERROR" => {
                let text = "it answers 'ERROR' to a meta command: memcached 1.6 or newer is needed";
                return Err(io::Error::new(io::ErrorKind::Unsupported, text));
            }
            line if line.starts_with(b"SERVER_ERROR") => Answer::Refused(quote(line)),
            line => return Err(unexpected(line)),
        };
        if batch.answers.len() == batch.records {
            return Err(unexpected(line));
        }
        batch.answers.push(answer);
        Ok(())
    }
}

fn unexpected(line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer '{}'", quote(line)))
}

fn quote(line: &[u8]) -> String {
    line[..line.len().min(KEPT_OF_ANSWER)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWERS: &[u8] = b"SERVER_ERROR object too large for cache\r\nMN\r\nHD\r\nHD\r\nMN\r\nMN\r\n";

    #[test]
    fn answers_find_their_batch_however_they_are_cut() {
        for cut in 0..=ANSWERS.len() {
            let mut reader = AnswerReader::default();
            for records in [3, 2, 0] {
                reader.expect(records);
            }
            reader.push(&ANSWERS[..cut]).expect("sound answers");
            reader.push(&ANSWERS[cut..]).expect("sound answers");
            let refused = Answer::Refused("SERVER_ERROR object too large for cache".to_owned());
            assert_eq!(reader.next_closed(), Some(vec![refused]));
            assert_eq!(reader.next_closed(), Some(vec![Answer::Stored, Answer::Stored]));
            assert_eq!(reader.next_closed(), Some(vec![]));
            assert_eq!(reader.next_closed(), None);
        }
    }

    #[test]
    fn garbage_is_an_error() {
        for (garbage, error) in [
            (&b"VALUE x 0 1\r\n"[..], "unexpected answer 'VALUE x 0 1'"),
            (b"MN\r\nMN\r\n", "unexpected answer 'MN'"),
            (b"HD\r\nHD\r\n", "unexpected answer 'HD'"),
            (b"\xff\x00\n", "unexpected answer '\\xff\\x00'"),
            (b"ERROR\r\n", "it answers 'ERROR' to a meta command: memcached 1.6 or newer is needed"),
        ] {
            let mut reader = AnswerReader::default();
            reader.expect(1);
            assert_eq!(reader.push(garbage).map_err(|error| error.to_string()), Err(error.to_owned()));
        }
        let mut reader = AnswerReader::default();
        reader.expect(1);
        assert!(reader.push(&[b'x'; MAX_ANSWER_BYTES]).is_ok());
        assert!(reader.push(b"x").is_err(), "an answer without end is given up");
    }
}
