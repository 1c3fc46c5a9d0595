//! Why a line is not loaded.

use std::collections::BTreeMap;
use std::fmt;

/// How many rejected lines of each reason a [`InputReport`](crate::InputReport) quotes.
pub const QUOTED_REJECTS: usize = 3;

/// The reason for which one line is rejected; the rest of the file is loaded all the same.
///
/// The order of the variants is the order in which the rules of a line are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum RejectReason {
    /// The line is longer than [`Options::max_line_bytes`](crate::Options::max_line_bytes).
    LineTooLong,
    /// The line does not have the number of fields that its format asks for.
    FieldCount,
    /// A field that must say something is empty.
    EmptyField,
    /// A coordinate is not a decimal float.
    Coordinates,
    /// No server is configured for the type of the record.
    NoServer,
    /// The key is empty, longer than 250 bytes, or holds a control character or a space: memcached's
    /// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt) allows none of these.
    InvalidKey,
    /// The server refused the record, because of its size or for lack of memory.
    ServerRefused,
    /// A rule of another loader's [`Encode`](crate::Encode), by a short name of its own.
    Other(&'static str),
}

impl RejectReason {
    /// The short name of the reason, one word, as it stands in logs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::LineTooLong => "length",
            Self::FieldCount => "fields",
            Self::EmptyField => "empty",
            Self::Coordinates => "coordinates",
            Self::NoServer => "type",
            Self::InvalidKey => "key",
            Self::ServerRefused => "server",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for RejectReason {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl std::error::Error for RejectReason {}

/// A rejected line as a log quotes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct RejectedLine {
    /// Its number in the file, from 1.
    pub line: u64,
    /// Why it was rejected.
    pub reason: RejectReason,
    /// The beginning of the line with what is not printable ASCII escaped; for a refusal of the server,
    /// its answer and the key.
    pub text: String,
}

/// Rejected lines as they stand in their file, all those of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RejectedLines {
    /// The number of the first line of `text`.
    first_line: u64,
    /// The chunk's text, of which the lines are a part: a few bytes for each line keep even a file of nothing
    /// but rejects small.
    text: Vec<u8>,
    /// Where they are, counted in lines from 0, in ascending order.
    places: BTreeMap<RejectReason, Vec<u32>>,
}

impl RejectedLines {
    pub(crate) fn new(first_line: u64, text: Vec<u8>, mut places: BTreeMap<RejectReason, Vec<u32>>) -> Self {
        places.values_mut().for_each(|places| places.sort_unstable());
        Self { first_line, text, places }
    }

    /// The lines in the order of the file: the number of each, from 1, why it was rejected, and its bytes without
    /// the `\n`; of a line that is too long just the beginning.
    pub fn lines(&self) -> impl Iterator<Item = (u64, RejectReason, &[u8])> {
        let mut places: Vec<_> = self.places.iter().map(|(reason, places)| (*reason, &places[..])).collect();
        (0..).zip(self.text.split(|&byte| byte == b'\n')).filter_map(move |(at, line)| {
            let (reason, rest) = places.iter_mut().find(|(_, rest)| rest.first() == Some(&at))?;
            *rest = &rest[1..];
            Some((self.first_line + u64::from(at), *reason, line))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_lines_come_in_the_order_of_the_file() {
        let places =
            BTreeMap::from([(RejectReason::InvalidKey, vec![4, 1]), (RejectReason::FieldCount, vec![2])]);
        let lines = RejectedLines::new(11, b"zero\none\n\nthree\nfour\n".to_vec(), places);
        let lines: Vec<_> = lines.lines().collect();
        assert_eq!(
            lines,
            [
                (12, RejectReason::InvalidKey, &b"one"[..]),
                (13, RejectReason::FieldCount, b""),
                (15, RejectReason::InvalidKey, b"four")
            ]
        );
    }
}
