//! One connection to a server: batches go out, answers come in, both at the same time.
//!
//! While it writes it reads what has arrived, so the two sides can never block each other, however many
//! refusals the server sends.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::time::Duration;

use crate::wire::address::{Address, Credentials};
use crate::wire::batch::NOOP;
use crate::report::ServerStatus;
use crate::wire::stats::{self, ServerStats};
use crate::wire::stream::Stream;

/// No answer to a set is longer; a server that sends more without a line end is none.
const MAX_ANSWER_BYTES: usize = 2048;

/// No answer to another command is longer.
const MAX_ANSWER_TO_COMMAND_BYTES: usize = 64 * 1024;

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
    /// What the server said when the connection was made.
    first_stats: ServerStats,
    broken: bool,
}

impl Connection {
    /// Connects, says who we are if that is asked, learns which process is there, and makes sure that it speaks
    /// the meta protocol.
    pub(crate) fn open(address: &Address, timeout: Duration) -> io::Result<Self> {
        let stream = address.connect(timeout)?;
        let (answers, first_stats) = (AnswerReader::default(), ServerStats::default());
        let mut connection = Self { stream, timeout, answers, first_stats, broken: false };
        connection.first_stats = match (connection.stats(), address.credentials()) {
            // One that does not ask would store them as a record, for anybody to read.
            (Err(error), Some(credentials)) if error.kind() == io::ErrorKind::PermissionDenied => {
                connection.authenticate(credentials)?;
                connection.stats()?
            }
            (stats, _) => stats?,
        };
        connection.check()?;
        Ok(connection)
    }

    /// What the server said of itself when the connection was made.
    pub(crate) fn first_stats(&self) -> &ServerStats {
        &self.first_stats
    }

    /// What the server says of itself now; no batch may be under way.
    pub(crate) fn stats(&mut self) -> io::Result<ServerStats> {
        self.ask_stats().map(|answer| ServerStats::parse(&answer))
    }

    /// What the server says of itself now, for people; no batch may be under way.
    pub(crate) fn status(&mut self) -> io::Result<ServerStatus> {
        self.ask_stats().map(|answer| stats::parse_status(&answer))
    }

    fn ask_stats(&mut self) -> io::Result<Vec<u8>> {
        let answer = self.ask(b"stats\r\n").inspect_err(|_| self.broken = true)?;
        if answer.starts_with(b"CLIENT_ERROR unauth") {
            let text = "it asks for a user and a password: give user:password@host:port";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        if !answer.ends_with(b"END\r\n") {
            return Err(unexpected(answer.trim_ascii_end()));
        }
        Ok(answer)
    }

    /// Says who we are, in the way of the protocol page's "Authentication": a set whose key does not matter.
    fn authenticate(&mut self, credentials: &Credentials) -> io::Result<()> {
        let text = format!("{} {}", credentials.user, credentials.password);
        let answer = self.ask(format!("set auth 0 0 {}\r\n{text}\r\n", text.len()).as_bytes())?;
        if answer == b"STORED\r\n" {
            return Ok(());
        }
        if !answer.starts_with(b"CLIENT_ERROR auth") {
            return Err(unexpected(answer.trim_ascii_end()));
        }
        let text = format!("it does not accept user '{}' with the given password", credentials.user);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Sends a command of the plain protocol and returns its whole answer; no batch may be under way.
    fn ask(&mut self, command: &[u8]) -> io::Result<Vec<u8>> {
        self.write_all(command)?;
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while !is_complete(&answer)? {
            if answer.len() > MAX_ANSWER_TO_COMMAND_BYTES {
                return Err(unexpected(&answer));
            }
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err(closed()),
                Ok(length) => answer.extend_from_slice(&buffer[..length]),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.stream.wait(false, self.timeout)?;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(answer)
    }

    /// One round trip without effect.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        self.send(NOOP, 0)?;
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

    /// Ends it after an error; see [`Stream::retire`].
    pub(crate) fn retire(self) {
        self.stream.retire(self.timeout);
    }

    /// The answers to the oldest batch, if all of them have arrived already.
    pub(crate) fn next_acknowledged(&mut self) -> Option<Vec<Answer>> {
        self.answers.next_closed()
    }

    /// Whether it can't be used any more: after an error, or with answers still to come.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken || !self.answers.batches.is_empty()
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
                Ok(0) => return Err(closed()),
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
pub(crate) struct AnswerReader {
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
    pub(crate) fn expect(&mut self, records: usize) {
        self.batches.push_back(Awaited { records, answers: Vec::new(), closed: false });
    }

    /// The answers of the oldest batch, if its end has come.
    pub(crate) fn next_closed(&mut self) -> Option<Vec<Answer>> {
        self.batches.front().filter(|batch| batch.closed)?;
        self.batches.pop_front().map(|batch| batch.answers)
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
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
        if line.len() > MAX_ANSWER_BYTES {
            return Err(unexpected(line));
        }
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

/// Whether the answer to `stats`, or to a set, has come to its last line; an error if it is neither's.
fn is_complete(answer: &[u8]) -> io::Result<bool> {
    let Some(lines) = answer.strip_suffix(b"\r\n") else { return Ok(false) };
    let last = lines.rsplit(|&byte| byte == b'\n').next().unwrap_or_default();
    if last.starts_with(b"STAT ") {
        return Ok(false);
    }
    let ends = [&b"END"[..], b"STORED", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];
    if ends.iter().any(|end| last.starts_with(end)) { Ok(true) } else { Err(unexpected(last)) }
}

fn closed() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the server closed the connection")
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
        let mut reader = AnswerReader::default();
        reader.expect(1);
        let long = [b"SERVER_ERROR", &[b'x'; MAX_ANSWER_BYTES][..], b"\r\n"].concat();
        assert!(reader.push(&long).is_err(), "also when it comes in one piece, with an end");
    }
}
