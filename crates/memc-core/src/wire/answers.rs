//! What a server answers: the answers to batches, each given to its batch, and the head of a value that is read.

use std::collections::VecDeque;
use std::io;

use crate::wire::protocol::Protocol;

/// No line of an answer is longer; a server that sends more without a line end is no memcached.
pub(crate) const MAX_LINE_BYTES: usize = 2048;

/// This much of an answer is kept for the log.
const QUOTED_BYTES: usize = 120;

/// What a server refuses for what the record is. Whatever else it answers with `SERVER_ERROR`, it fails: a proxy says
/// `SERVER_ERROR Connection refused`, for one, while a server behind it is away.
const REFUSALS: [&[u8]; 2] = [b"object too large for cache", b"out of memory storing object"];

/// The answers to a batch.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Answers {
    /// How many sets are answered: of quiet ones just those that are refused.
    pub(crate) count: usize,
    pub(crate) refusals: Vec<Refusal>,
}

/// A set that was refused: nothing is stored under its key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How many sets were answered before it, which is its place where all are.
    pub(crate) at: usize,
    /// The server's words.
    pub(crate) text: String,
}

/// Cuts what the server sends into answers and gives each to its batch. It does no I/O.
#[derive(Debug, Default)]
pub(crate) struct AnswerReader {
    /// An answer whose line end has not come yet.
    partial: Vec<u8>,
    batches: VecDeque<Awaited>,
    /// How many of the first of these have come to their end.
    closed: usize,
    /// How many sets are answered, of all batches.
    answered: u64,
}

/// A batch that was sent and whose answers have not been taken.
#[derive(Debug)]
struct Awaited {
    protocol: Protocol,
    records: usize,
    answers: Answers,
}

impl AnswerReader {
    /// A batch with this number of `records` is sent next. One of the classic protocol has at least one.
    pub(crate) fn expect(&mut self, records: usize, protocol: Protocol) {
        self.batches.push_back(Awaited { protocol, records, answers: Answers::default() });
    }

    /// Whether answers are still to come or to be taken.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.batches.is_empty()
    }

    /// How many sets are answered, of all batches.
    pub(crate) fn answered(&self) -> u64 {
        self.answered
    }

    /// The beginning of an answer whose line end has not come yet.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// The answers of the oldest batch, if its end has come.
    pub(crate) fn next_closed(&mut self) -> Option<Answers> {
        self.closed = self.closed.checked_sub(1)?;
        self.batches.pop_front().map(|batch| batch.answers)
    }

    /// Takes bytes as they arrive; whether a line ended in them.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> io::Result<bool> {
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
        if self.partial.len() > MAX_LINE_BYTES {
            return Err(unexpected(&self.partial));
        }
        Ok(start > 0)
    }

    fn answer(&mut self, line: &[u8]) -> io::Result<()> {
        if line.len() > MAX_LINE_BYTES {
            return Err(unexpected(line));
        }
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let batch = self.batches.get_mut(self.closed).ok_or_else(|| unexpected(line))?;
        let refusal = match (batch.protocol, line) {
            (Protocol::Meta, b"MN") => {
                self.closed += 1;
                return Ok(());
            }
            (Protocol::Meta, b"HD") | (Protocol::Classic, b"STORED") => None,
            (Protocol::Meta, b"ERROR") => return Err(no_meta()),
            (_, line) => Some(refusal(line)?),
        };
        let Answers { count, refusals } = &mut batch.answers;
        if *count == batch.records {
            return Err(unexpected(line));
        }
        refusals.extend(refusal.map(|text| Refusal { at: *count, text }));
        *count += 1;
        self.answered += 1;
        if batch.protocol == Protocol::Classic && *count == batch.records {
            self.closed += 1;
        }
        Ok(())
    }
}

/// The server's words for a set that it refuses; any other answer is an error.
fn refusal(line: &[u8]) -> io::Result<String> {
    let Some(text) = line.strip_prefix(b"SERVER_ERROR ") else { return Err(unexpected(line)) };
    let says = |words: &&[u8]| text.windows(words.len()).any(|part| part == *words);
    if REFUSALS.iter().any(says) { Ok(quote(line)) } else { Err(failing(line)) }
}

/// The first line of the answer to a read: how many bytes the value has, or `None` if there is no such key.
pub(crate) fn value_bytes(line: &[u8], protocol: Protocol) -> io::Result<Option<usize>> {
    let (none, head, length_at): (_, &[u8], _) = match protocol {
        Protocol::Meta => (&b"EN"[..], b"VA ", 0),
        Protocol::Classic => (&b"END"[..], b"VALUE ", 2),
    };
    if line == none {
        return Ok(None);
    }
    let length = || {
        let mut words = line.strip_prefix(head)?.split(|&byte| byte == b' ');
        str::from_utf8(words.nth(length_at)?).ok()?.parse().ok()
    };
    match length() {
        Some(bytes) => Ok(Some(bytes)),
        None if line.starts_with(b"SERVER_ERROR") => Err(failing(line)),
        None => Err(unexpected(line)),
    }
}

/// It does not know meta commands.
pub(crate) fn no_meta() -> io::Error {
    let text = "it answers 'ERROR' to a meta command: use the classic protocol, or memcached 1.6 or newer";
    io::Error::new(io::ErrorKind::Unsupported, text)
}

/// It cannot do what it is asked now; later it may.
pub(crate) fn failing(line: &[u8]) -> io::Error {
    io::Error::other(format!("it answers '{}'", quote(line)))
}

/// The server has closed the connection, having sent this since its last whole answer.
pub(crate) fn closed(sent: &[u8]) -> io::Error {
    let mut text = "the server closed the connection".to_owned();
    if !sent.is_empty() {
        text += &format!(" after it sent '{}'", quote(sent));
    }
    io::Error::new(io::ErrorKind::UnexpectedEof, text)
}

pub(crate) fn unexpected(line: &[u8]) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("unexpected answer '{}'", quote(line)))
}

fn quote(line: &[u8]) -> String {
    line[..line.len().min(QUOTED_BYTES)].escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    use Protocol::{Classic, Meta};

    fn refused(at: usize, text: &str) -> Refusal {
        Refusal { at, text: text.to_owned() }
    }

    /// The answers to batches of 3, 2 and (if it has an end of its own) no records, cut anywhere.
    fn assert_read(protocol: Protocol, answers: &[u8], expected: &[(usize, Vec<Refusal>)]) {
        for cut in 0..=answers.len() {
            let mut reader = AnswerReader::default();
            for records in [3, 2, 0].into_iter().filter(|&records| protocol == Meta || records > 0) {
                reader.expect(records, protocol);
            }
            reader.push(&answers[..cut]).expect("sound answers");
            reader.push(&answers[cut..]).expect("sound answers");
            for (count, refusals) in expected {
                let answers = reader.next_closed().expect("it has come to its end");
                assert_eq!((answers.count, &answers.refusals), (*count, refusals));
            }
            assert_eq!(reader.next_closed(), None);
            assert_eq!((reader.is_waiting(), reader.answered() > 0), (false, true));
        }
    }

    #[test]
    fn answers_find_their_batch_however_they_are_cut() {
        let text = "SERVER_ERROR object too large for cache";
        let answers = format!("{text}\r\nMN\r\nHD\r\nHD\r\nMN\r\nMN\r\n");
        let expected = [(1, vec![refused(0, text)]), (2, vec![]), (0, vec![])];
        assert_read(Meta, answers.as_bytes(), &expected);
        let answers =
            format!("STORED\r\n{text}\r\nSTORED\r\nSTORED\r\nSERVER_ERROR out of memory storing object\r\n");
        let last = refused(1, "SERVER_ERROR out of memory storing object");
        assert_read(Classic, answers.as_bytes(), &[(3, vec![refused(1, text)]), (2, vec![last])]);
    }

    #[test]
    fn garbage_is_an_error() {
        let no_meta =
            "it answers 'ERROR' to a meta command: use the classic protocol, or memcached 1.6 or newer";
        for (protocol, garbage, error) in [
            (Meta, &b"VALUE x 0 1\r\n"[..], "unexpected answer 'VALUE x 0 1'"),
            (Meta, b"MN\r\nMN\r\n", "unexpected answer 'MN'"),
            (Meta, b"HD\r\nHD\r\n", "unexpected answer 'HD'"),
            (Meta, b"STORED\r\n", "unexpected answer 'STORED'"),
            (Meta, b"\xff\x00\n", "unexpected answer '\\xff\\x00'"),
            (Meta, b"ERROR\r\n", no_meta),
            (Meta, b"SERVER_ERROR backend failure\r\n", "it answers 'SERVER_ERROR backend failure'"),
            (Classic, b"STORED\r\nSTORED\r\n", "unexpected answer 'STORED'"),
            (Classic, b"HD\r\n", "unexpected answer 'HD'"),
            (Classic, b"NOT_STORED\r\n", "unexpected answer 'NOT_STORED'"),
            (Classic, b"ERROR\r\n", "unexpected answer 'ERROR'"),
            (Classic, b"CLIENT_ERROR bad data chunk\r\n", "unexpected answer 'CLIENT_ERROR bad data chunk'"),
            (Classic, b"SERVER_ERROR\r\n", "unexpected answer 'SERVER_ERROR'"),
            (Classic, b"SERVER_ERROR Host is down\r\n", "it answers 'SERVER_ERROR Host is down'"),
        ] {
            let mut reader = AnswerReader::default();
            reader.expect(1, protocol);
            assert_eq!(reader.push(garbage).map_err(|error| error.to_string()), Err(error.to_owned()));
        }
        for protocol in [Meta, Classic] {
            let reader = || {
                let mut reader = AnswerReader::default();
                reader.expect(1, protocol);
                reader
            };
            let mut one = reader();
            assert!(one.push(&[b'x'; MAX_LINE_BYTES]).is_ok());
            assert!(one.push(b"x").is_err(), "an answer without end is given up");
            let long = [b"SERVER_ERROR", &[b'x'; MAX_LINE_BYTES][..], b"\r\n"].concat();
            assert!(reader().push(&long).is_err(), "also when it comes in one piece, with an end");
        }
    }

    #[test]
    fn a_value_has_a_length_or_is_not_there() {
        let bytes = |line: &[u8], protocol| value_bytes(line, protocol).map_err(|error| error.to_string());
        for (protocol, line, expected) in [
            (Meta, "EN", None),
            (Meta, "VA 0", Some(0)),
            (Meta, "VA 17 ", Some(17)),
            (Classic, "END", None),
            (Classic, "VALUE key 5 17", Some(17)),
            (Classic, "VALUE key 5 17 99", Some(17)),
        ] {
            assert_eq!(bytes(line.as_bytes(), protocol), Ok(expected), "{line}");
        }
        for line in ["VA ", "VA x", "HD", "", "VA -1", "VALUE key 0", "VALUE 1 2", "STORED"] {
            for protocol in [Meta, Classic] {
                assert_eq!(bytes(line.as_bytes(), protocol), Err(format!("unexpected answer '{line}'")));
            }
        }
        let failed = Err("it answers 'SERVER_ERROR Connection timed out'".to_owned());
        assert_eq!(bytes(b"SERVER_ERROR Connection timed out", Classic), failed);
    }
}
