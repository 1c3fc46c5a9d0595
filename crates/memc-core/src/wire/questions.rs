//! What a server is asked between batches: what it is, which connections it has, what it holds under a key.

use std::io::{self, IoSlice};
use std::time::{Duration, Instant};

use crate::wire::answers::{self, MAX_LINE_BYTES, closed, no_meta, unexpected};
use crate::wire::connection::{Connection, read};
use crate::wire::peers::{Peer, PeersReader};
use crate::wire::protocol::Protocol;
use crate::wire::stats::{ServerStats, StatsReader};
use crate::wire::{classic, meta};

/// No answer to `stats` or `stats conns` has more bytes: some 40,000 connections.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// A value that is read back has to come at least this fast, once `io_timeout` is over.
const MIN_VALUE_BYTES_PER_SECOND: usize = 1024;

/// The whole of such an answer may take this many times as long as one line of it.
const MAX_ANSWER_TIMEOUTS: u32 = 4;

impl Connection {
    /// What the server reports about itself now; no batch may be in progress.
    pub(crate) fn stats(&mut self) -> io::Result<ServerStats> {
        let mut reader = StatsReader::default();
        self.stats_lines(|line| reader.line(line))?;
        reader.finish().inspect_err(|_| self.broken = true)
    }

    /// Has each line of the answer to `stats` taken: `STAT name value`.
    pub(crate) fn stats_lines(&mut self, take: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let end = self.ask(b"stats\r\n", take)?;
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

    /// One round trip without effect.
    pub(crate) fn check(&mut self) -> io::Result<()> {
        match self.manner.protocol {
            Protocol::Meta => self.speaks_meta()?.then_some(()).ok_or_else(no_meta),
            Protocol::Classic => self.ask_version().map(drop),
        }
    }

    /// Whether it answers meta commands.
    pub(super) fn speaks_meta(&mut self) -> io::Result<bool> {
        let answer = self.ask(meta::NOOP, |line| Err(unexpected(line)))?;
        match &answer[..] {
            b"MN" => Ok(true),
            b"ERROR" => Ok(false),
            _ => {
                self.broken = true;
                Err(unexpected(&answer))
            }
        }
    }

    /// The answer to `version`.
    pub(super) fn ask_version(&mut self) -> io::Result<Vec<u8>> {
        self.ask(b"version\r\n", |line| Err(unexpected(line)))
    }

    /// Sends a command, has each `STAT` line of its answer taken, and returns the line that
    /// ends it; no batch may be under way.
    pub(super) fn ask(
        &mut self,
        command: &[u8],
        take: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Vec<u8>> {
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
                const ENDS: [&[u8]; 8] = [
                    b"END",
                    b"STORED",
                    b"RESET",
                    b"MN",
                    b"VERSION ",
                    b"ERROR",
                    b"CLIENT_ERROR",
                    b"SERVER_ERROR",
                ];
                let ends = ENDS.iter().any(|end| line.starts_with(end));
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
        let protocol = self.manner.protocol;
        let mut commands = Vec::new();
        for (key, _) in records {
            match protocol {
                Protocol::Meta => meta::push_get(&mut commands, key),
                Protocol::Classic => classic::push_get(&mut commands, key),
            }
        }
        let result = self.write_question(&commands).and_then(|()| {
            records.iter().enumerate().try_for_each(|(at, (_, value))| {
                let Some(bytes) = answers::value_bytes(&self.line()?, protocol)? else {
                    different(at, false);
                    return Ok(());
                };
                let is_same = self.is_value(bytes, value)?;
                if protocol == Protocol::Classic {
                    let end = self.line()?;
                    if end != b"END" {
                        return Err(unexpected(&end));
                    }
                }
                if !is_same {
                    different(at, true);
                }
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

    /// Writes commands whose answers go to the inbox.
    fn write_question(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        self.moved = Instant::now();
        while !bytes.is_empty() {
            match self.write(&[IoSlice::new(bytes)])? {
                Some(length) => bytes = &bytes[length..],
                None => self.patience.wait(&self.stream, true, self.moved)?,
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
