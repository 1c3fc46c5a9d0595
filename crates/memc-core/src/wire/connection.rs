//! One connection to a server: batches go out, answers come in, both at the same time.
//!
//! While it writes it reads what has arrived, so the two sides can never block each other, however many
//! refusals the server sends.

use std::io::{self, Read, Write};
use std::time::{Duration, Instant};

use crate::wire::address::{Address, Credentials};
use crate::wire::answers::{self, Answer, AnswerReader, MAX_LINE_BYTES, closed, unexpected};
use crate::wire::batch::Batch;
use crate::wire::ending::Ending;
use crate::wire::meta;
use crate::wire::patience::Patience;
use crate::wire::peers::{Ends, Peer, PeersReader};
use crate::wire::stats::{ServerStats, StatsReader};
use crate::wire::stream::Stream;

/// No answer to `stats` or `stats conns` has more bytes: some 40,000 connections.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A value that is read back has to come at least this fast, once `io_timeout` is over.
const MIN_VALUE_BYTES_PER_SECOND: usize = 1024;

/// The whole of such an answer may take this many times as long as one line of it.
const MAX_ANSWER_TIMEOUTS: u32 = 4;

/// A connected server that speaks the meta protocol.
#[derive(Debug)]
pub(crate) struct Connection {
    stream: Stream,
    patience: Patience,
    answers: AnswerReader,
    /// What has arrived of answers that are no batch's, from `inbox_at` on.
    inbox: Vec<u8>,
    inbox_at: usize,
    /// What the server said when the connection was made, and when that was asked.
    first_stats: (ServerStats, Instant),
    broken: bool,
    /// When something last moved: bytes were taken, a whole line arrived, or a wait began.
    moved: Instant,
}

impl Connection {
    /// Connects, logs in if asked to, identifies the process, and makes sure that it speaks
    /// the meta protocol.
    pub(crate) fn open(address: &Address, patience: &Patience) -> io::Result<Self> {
        let mut connection = Self {
            stream: address.connect(patience)?,
            patience: patience.clone(),
            answers: AnswerReader::default(),
            inbox: Vec::new(),
            inbox_at: 0,
            first_stats: (ServerStats::default(), Instant::now()),
            broken: false,
            moved: Instant::now(),
        };
        let asked = Instant::now();
        let stats = match (connection.stats(), address.credentials()) {
            // One that does not ask would store them as a record, for anybody to read.
            (Err(error), Some(credentials)) if error.kind() == io::ErrorKind::PermissionDenied => {
                connection.authenticate(credentials)?;
                connection.stats()?
            }
            (stats, _) => stats?,
        };
        connection.first_stats = (stats, asked);
        connection.check()?;
        Ok(connection)
    }

    /// What the server said of itself when the connection was made, and when that was asked.
    pub(crate) fn first_stats(&self) -> (ServerStats, Instant) {
        self.first_stats
    }

    /// The two ends of the connection, unless it is a Unix socket.
    pub(crate) fn ends(&self) -> Option<Ends> {
        self.stream.ends()
    }

    /// What the server reports about itself now; no batch may be in progress.
    pub(crate) fn stats(&mut self) -> io::Result<ServerStats> {
        let mut reader = StatsReader::default();
        self.stats_lines(|line| reader.line(line))?;
        reader.finish().inspect_err(|_| self.broken = true)
    }

    /// Has each line of the answer to `stats` taken: `STAT name value`.
    pub(crate) fn stats_lines(&mut self, take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let end = self.ask(b"stats\r\n", take)?;
        if end.starts_with(b"CLIENT_ERROR unauth") {
            let text = "it asks for a user and a password: give user:password@host:port";
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
        }
        if end != b"END" {
            self.broken = true;
            return Err(unexpected(&end));
        }
        Ok(())
    }

    /// Which connections the server has now, as far as it says; no batch may be under way.
    pub(crate) fn peers(&mut self) -> io::Result<Vec<Peer>> {
        let mut reader = PeersReader::default();
        self.ask(b"stats conns\r\n", |line| {
            reader.line(line);
            Ok(())
        })?;
        Ok(reader.finish())
    }

    /// Logs in, in the way of the protocol page's "Authentication": a set whose key does not matter.
    fn authenticate(&mut self, credentials: &Credentials) -> io::Result<()> {
        let text = format!("{} {}", credentials.user, credentials.password);
        let command = format!("set auth 0 0 {}\r\n{text}\r\n", text.len());
        let answer = self.ask(command.as_bytes(), |line| Err(unexpected(line)))?;
        if answer == b"STORED" {
            return Ok(());
        }
        if !answer.starts_with(b"CLIENT_ERROR auth") {
            return Err(unexpected(&answer));
        }
        let text = format!("it does not accept user '{}' with the given password", credentials.user);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }

    /// Sends a command of the classic protocol, has each `STAT` line of its answer taken, and returns the line that
    /// ends it; no batch may be under way.
    fn ask(&mut self, command: &[u8], take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<Vec<u8>> {
        let result = self.ask_lines(command, take);
        self.broken |= result.is_err();
        result
    }

    fn ask_lines(
        &mut self,
        command: &[u8],
        mut take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
        self.write_question(command)?;
        let started = Instant::now();
        let mut bytes = 0;
        loop {
            let line = self.line()?;
            bytes += line.len();
            if !line.starts_with(b"STAT ") {
                let ends = [&b"END"[..], b"STORED", b"RESET", b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR"];
                let ends = ends.iter().any(|end| line.starts_with(end));
                return if ends { Ok(line) } else { Err(unexpected(&line)) };
            }
            take(&line)?;
            if bytes > MAX_ANSWER_BYTES {
                return Err(unexpected(&line));
            }
            if started.elapsed() > self.patience.io_timeout.saturating_mul(MAX_ANSWER_TIMEOUTS) {
                return Err(io::Error::new(io::ErrorKind::TimedOut, "the server's answer does not end"));
            }
        }
    }

    /// Reads these keys back, and calls `different` for each whose value is another one than is given with it: with
    /// its place and whether there is a value at all. No batch may be in progress, and the commands must fit into
    /// the buffers of a socket: some hundred keys.
    pub(crate) fn compare(
        &mut self,
        records: &[(&[u8], &[u8])],
        mut different: impl FnMut(usize, bool),
    ) -> io::Result<()> {
        let mut commands = Vec::new();
        records.iter().for_each(|(key, _)| meta::push_get(&mut commands, key));
        let result = self.write_question(&commands).and_then(|()| {
            records.iter().enumerate().try_for_each(|(at, (_, value))| {
                let is_there = match answers::value_bytes(&self.line()?)? {
                    None => false,
                    Some(bytes) if self.is_value(bytes, value)? => return Ok(()),
                    Some(_) => true,
                };
                different(at, is_there);
                Ok(())
            })
        });
        self.broken |= result.is_err();
        result
    }

    /// Takes a value of this length with its line end; whether it is the expected one.
    fn is_value(&mut self, bytes: usize, expected: &[u8]) -> io::Result<bool> {
        let mut left = bytes;
        let mut same = bytes == expected.len();
        let started = Instant::now();
        let allowed = Duration::from_secs((bytes / MIN_VALUE_BYTES_PER_SECOND) as u64);
        let allowed = allowed.saturating_add(self.patience.io_timeout);
        while left > 0 {
            if started.elapsed() > allowed {
                let text = "the server does not send its value to the end in time";
                return Err(io::Error::new(io::ErrorKind::TimedOut, text));
            }
            if self.inbox_at == self.inbox.len() {
                self.fill_inbox()?;
                self.moved = Instant::now();
            }
            let part = &self.inbox[self.inbox_at..];
            let part = &part[..part.len().min(left)];
            same = same && expected[bytes - left..].starts_with(part);
            self.inbox_at += part.len();
            left -= part.len();
        }
        let end = self.line()?;
        if end.is_empty() { Ok(same) } else { Err(unexpected(&end)) }
    }

    /// One round trip without effect.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        let mut nothing = Batch::default();
        nothing.close();
        self.send(&nothing)?;
        self.acknowledge().map(drop)
    }

    /// Writes a closed batch.
    pub(crate) fn send(&mut self, batch: &Batch) -> io::Result<()> {
        self.answers.expect(batch.len());
        let result = self.write_batch(batch);
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

    /// Gives it up with records in flight.
    pub(crate) fn end(self) -> Ending {
        Ending::begin(self.stream)
    }

    /// The answers to the oldest batch, if all of them have arrived already.
    pub(crate) fn next_acknowledged(&mut self) -> Option<Vec<Answer>> {
        self.answers.next_closed()
    }

    /// Whether it can't be used any more: after an error, or with answers still to come.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken || self.answers.is_waiting()
    }

    fn write_batch(&mut self, batch: &Batch) -> io::Result<()> {
        let bytes = batch.as_bytes();
        let most = self.stream.max_write_bytes().unwrap_or(bytes.len());
        self.moved = Instant::now();
        let mut start = 0;
        while start < bytes.len() {
            let end = match bytes.len() - start > most {
                true => batch.command_end(start, most).unwrap_or(start + most),
                false => bytes.len(),
            };
            match self.write(&bytes[start..end])? {
                Some(length) => start += length,
                None => {
                    self.read_available()?;
                    self.patience.wait(&self.stream, true, self.moved)?;
                }
            }
        }
        Ok(())
    }

    /// Writes commands whose answers go to the inbox.
    fn write_question(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.moved = Instant::now();
        while !bytes.is_empty() {
            match self.write(bytes)? {
                Some(length) => bytes = &bytes[length..],
                None => self.patience.wait(&self.stream, true, self.moved)?,
            }
        }
        Ok(())
    }

    /// How many bytes are taken at once; `None` if there is no room.
    fn write(&mut self, bytes: &[u8]) -> io::Result<Option<usize>> {
        loop {
            match self.stream.write(bytes) {
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

    fn read_batch(&mut self) -> io::Result<Vec<Answer>> {
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

    /// Waits for the next line of the inbox and takes it, without its end.
    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut seen = 0;
        loop {
            let unread = &self.inbox[self.inbox_at..];
            if let Some(end) = memchr::memchr(b'\n', &unread[seen..]).map(|at| seen + at) {
                let line = &unread[..end];
                let line = line.strip_suffix(b"\r").unwrap_or(line).to_vec();
                self.inbox_at += end + 1;
                self.moved = Instant::now();
                return Ok(line);
            }
            seen = unread.len();
            if seen > MAX_LINE_BYTES {
                return Err(unexpected(unread));
            }
            self.fill_inbox()?;
        }
    }

    /// Waits until more has arrived.
    fn fill_inbox(&mut self) -> io::Result<()> {
        self.inbox.drain(..self.inbox_at);
        self.inbox_at = 0;
        let mut buffer = [0; 4096];
        loop {
            match read(&mut self.stream, &mut buffer)? {
                Some(0) => return Err(closed(&self.inbox)),
                Some(length) => {
                    self.inbox.extend_from_slice(&buffer[..length]);
                    return Ok(());
                }
                None => self.patience.wait(&self.stream, false, self.moved)?,
            }
        }
    }
}

/// Reads what is there; `None` if nothing is.
fn read(stream: &mut Stream, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    loop {
        match stream.read(buffer) {
            Ok(length) => return Ok(Some(length)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(None),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}
