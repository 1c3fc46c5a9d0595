//! What a server answers: the answers to batches, each given to its batch, and the head of a value that is read.

use std::collections::VecDeque;
use std::io;

/// No line of an answer is longer; a server that sends more without a line end is no memcached.
pub(crate) const MAX_LINE_BYTES: usize = 2048;

/// This much of an answer is kept for the log.
const QUOTED_BYTES: usize = 120;

/// What the server says to one set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    Stored,
    /// It is not stored, and the server's words for that.
    Refused(String),
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

    /// Whether answers are still to come or to be taken.
    pub(crate) fn is_waiting(&self) -> bool {
        !self.batches.is_empty()
    }

    /// The beginning of an answer whose line end has not come yet.
    pub(crate) fn partial(&self) -> &[u8] {
        &self.partial
    }

    /// The answers of the oldest batch, if its end has come.
    pub(crate) fn next_closed(&mut self) -> Option<Vec<Answer>> {
        self.batches.front().filter(|batch| batch.closed)?;
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

/// The first line of the answer to a read: how many bytes the value has, or `None` if there is no such key.
pub(crate) fn value_bytes(line: &[u8]) -> io::Result<Option<usize>> {
    if line == b"EN" {
        return Ok(None);
    }
    let bytes =
        line.strip_prefix(b"VA ").and_then(|bytes| std::str::from_utf8(bytes).ok()?.trim_end().parse().ok());
    bytes.map(Some).ok_or_else(|| unexpected(line))
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
        assert!(reader.push(&[b'x'; MAX_LINE_BYTES]).is_ok());
        assert!(reader.push(b"x").is_err(), "an answer without end is given up");
        let mut reader = AnswerReader::default();
        reader.expect(1);
        let long = [b"SERVER_ERROR", &[b'x'; MAX_LINE_BYTES][..], b"\r\n"].concat();
        assert!(reader.push(&long).is_err(), "also when it comes in one piece, with an end");
    }

    #[test]
    fn a_value_has_a_length_or_is_not_there() {
        let bytes = |line: &[u8]| value_bytes(line).map_err(|error| error.to_string());
        assert_eq!([bytes(b"EN"), bytes(b"VA 0"), bytes(b"VA 17 ")], [Ok(None), Ok(Some(0)), Ok(Some(17))]);
        for line in [&b"VA "[..], b"VA x", b"HD", b"", b"VA -1"] {
            assert_eq!(bytes(line), Err(format!("unexpected answer '{}'", line.escape_ascii())));
        }
    }
}
