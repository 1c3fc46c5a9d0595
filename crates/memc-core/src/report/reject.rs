//! Why a line is not loaded, what is left out of one that is, and how both are quoted.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt::{self, Write};

use crate::buffers;

/// How many rejected lines of each reason, and dropped parts of each kind, an [`InputReport`](crate::InputReport)
/// quotes.
pub const QUOTED_REJECTS: usize = 3;

/// At most this many bytes of a line are quoted.
const QUOTED_BYTES: usize = 120;

/// The reason for which one line is rejected; the rest of the input is loaded all the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(into = "String", from = "String"))]
#[non_exhaustive]
pub enum RejectReason {
    /// The line is longer than [`Options::max_line_bytes`](crate::Options::max_line_bytes).
    LineTooLong,
    /// The line does not have the number of fields that its format asks for.
    FieldCount,
    /// A field that must say something is empty.
    EmptyField,
    /// No server is configured for the type of the record.
    NoServer,
    /// The key is empty, longer than 250 bytes, or holds a control character or a space: memcached's
    /// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt) allows none of these.
    InvalidKey,
    /// The server refused the record, because of its size or for lack of memory.
    ServerRefused,
    /// A rule of an [`Encode`](crate::Encode), by a short name of its own in the style of the others'
    /// [names](RejectReason::name).
    Other(Cow<'static, str>),
}

/// The reasons whose names are fixed.
const NAMED: [(RejectReason, &str); 6] = [
    (RejectReason::LineTooLong, "line_too_long"),
    (RejectReason::FieldCount, "field_count"),
    (RejectReason::EmptyField, "empty_field"),
    (RejectReason::NoServer, "no_server"),
    (RejectReason::InvalidKey, "invalid_key"),
    (RejectReason::ServerRefused, "server_refused"),
];

impl RejectReason {
    /// The short name of the reason, one word, as it stands in logs and reports.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::LineTooLong => "line_too_long",
            Self::FieldCount => "field_count",
            Self::EmptyField => "empty_field",
            Self::NoServer => "no_server",
            Self::InvalidKey => "invalid_key",
            Self::ServerRefused => "server_refused",
            Self::Other(name) => name,
        }
    }
}

/// The reason of this name.
impl From<String> for RejectReason {
    fn from(name: String) -> Self {
        let named = NAMED.into_iter().find(|(_, it)| *it == name);
        named.map_or_else(|| Self::Other(name.into()), |(reason, _)| reason)
    }
}

/// The name of the reason.
impl From<RejectReason> for String {
    fn from(reason: RejectReason) -> Self {
        reason.name().to_owned()
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
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct RejectedLine {
    /// Its number in the input, from 1.
    pub line: u64,
    /// Why it was rejected.
    pub reason: RejectReason,
    /// The beginning of the line, with escapes for what is not printable UTF-8; of a line that the server refused, its
    /// answer and the key.
    pub text: String,
    /// What the reason does not say by itself.
    pub explanation: Option<Cow<'static, str>>,
}

/// A part that was left out of a record, as a log quotes it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[non_exhaustive]
pub struct DroppedPart {
    /// The number of its line in the input, from 1.
    pub line: u64,
    /// What was wrong with it, by the name that the encoder gives it.
    pub kind: Cow<'static, str>,
    /// Its beginning, with escapes for what is not printable UTF-8.
    pub text: String,
}

/// Rejected lines as they stand in their input, all those of one chunk.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
pub struct RejectedLines {
    /// The number of the first line of the chunk.
    first_line: u64,
    /// The lines, one after the other.
    text: Vec<u8>,
    /// Where they are in the chunk, counted in lines from 0, in ascending order. With a few bytes for each line even an
    /// input of nothing but short rejects stays small.
    places: BTreeMap<RejectReason, Vec<u32>>,
}

impl RejectedLines {
    /// Takes the lines at these places out of the text of a chunk.
    pub(crate) fn new(
        first_line: u64,
        mut text: Vec<u8>,
        mut places: BTreeMap<RejectReason, Vec<u32>>,
    ) -> Self {
        places.values_mut().for_each(|places| places.sort_unstable());
        let mut rest: Vec<_> = places.values().map(|places| &places[..]).collect();
        // In place, since a line may be as long as the text.
        let (mut start, mut kept) = (0, 0);
        for at in 0.. {
            let Some(line) = text.get(start..).filter(|rest| !rest.is_empty()) else { break };
            let end = start + memchr::memchr(b'\n', line).map_or(line.len(), |at| at + 1);
            if let Some(rest) = rest.iter_mut().find(|rest| rest.first() == Some(&at)) {
                *rest = &rest[1..];
                text.copy_within(start..end, kept);
                kept += end - start;
            }
            start = end;
        }
        Self { first_line, text: buffers::shrink(text, kept), places }
    }

    /// The lines in the order of the input: the number of each, from 1, why it was rejected, and its bytes without
    /// the `\n`; of a line that is too long just the beginning.
    pub fn lines(&self) -> impl Iterator<Item = (u64, &RejectReason, &[u8])> {
        let mut rest: Vec<_> = self.places.iter().map(|(reason, places)| (reason, &places[..])).collect();
        self.text.split_inclusive(|&byte| byte == b'\n').filter_map(move |line| {
            let next = rest
                .iter_mut()
                .filter(|(_, places)| !places.is_empty())
                .min_by_key(|(_, places)| places[0])?;
            let (reason, [place, places @ ..]) = *next else { return None };
            next.1 = places;
            Some((self.first_line + u64::from(*place), reason, line.strip_suffix(b"\n").unwrap_or(line)))
        })
    }

    /// The memory that it takes.
    pub(crate) fn bytes(&self) -> usize {
        let places = self.places.values().map(|places| places.capacity() * size_of::<u32>());
        buffers::resident_bytes(&self.text) + places.sum::<usize>()
    }
}

/// The beginning of a line, with escapes for what is not printable UTF-8.
pub(crate) fn quote(line: &[u8]) -> String {
    let mut quoted = String::new();
    let beginning = &line[..line.len().min(QUOTED_BYTES)];
    for chunk in beginning.utf8_chunks() {
        for char in chunk.valid().chars() {
            if is_printable(char) {
                quoted.push(char);
            } else {
                quoted.extend(char.escape_default());
            }
        }
        // Not what the cut has left of a character.
        let is_cut =
            chunk.invalid().as_ptr_range().end == beginning.as_ptr_range().end && line.len() > QUOTED_BYTES;
        if !is_cut {
            // Writing to a string cannot fail.
            let _ = write!(quoted, "{}", chunk.invalid().escape_ascii());
        }
    }
    if line.len() > QUOTED_BYTES {
        quoted.push('…');
    }
    quoted
}

/// Whether a terminal shows it as what it is: no control, no separator of lines, nothing that changes the direction of
/// the text or that cannot be seen.
fn is_printable(char: char) -> bool {
    !char.is_control()
        && !matches!(char, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejected_lines_come_in_the_order_of_the_input() {
        let places =
            BTreeMap::from([(RejectReason::InvalidKey, vec![4, 1]), (RejectReason::FieldCount, vec![2])]);
        let lines = RejectedLines::new(11, b"zero\none\n\nthree\nfour\n".to_vec(), places.clone());
        let expected = [
            (12, &RejectReason::InvalidKey, &b"one"[..]),
            (13, &RejectReason::FieldCount, b""),
            (15, &RejectReason::InvalidKey, b"four"),
        ];
        assert_eq!(lines.lines().collect::<Vec<_>>(), expected);
        assert_eq!(lines.text, b"one\n\nfour\n", "nothing else is kept");
        let without_end = RejectedLines::new(11, b"zero\none\n\nthree\nfour".to_vec(), places);
        assert_eq!(without_end.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_reason_is_known_by_its_name() {
        for (reason, name) in NAMED {
            assert_eq!(reason.name(), name);
            assert_eq!(RejectReason::from(name.to_owned()), reason);
        }
        assert_eq!(RejectReason::from("mine".to_owned()), RejectReason::Other("mine".into()));
    }

    #[test]
    fn what_is_not_printable_is_escaped_and_nothing_else() {
        for (line, quoted) in [
            (&b"it's \"so\" \\ here"[..], r#"it's "so" \ here"#),
            ("é 日本 e\u{301}".as_bytes(), "é 日本 e\u{301}"),
            (b"a\tb\r\x00\x1b[1m", r"a\tb\r\u{0}\u{1b}[1m"),
            ("\u{202e}evil\u{2028}".as_bytes(), r"\u{202e}evil\u{2028}"),
            (b"\xff\xfe-\xc3", r"\xff\xfe-\xc3"),
        ] {
            assert_eq!(quote(line), quoted, "{}", line.escape_ascii());
        }
        let long = format!("{}é and more", "x".repeat(QUOTED_BYTES - 1));
        assert_eq!(quote(long.as_bytes()), format!("{}…", "x".repeat(QUOTED_BYTES - 1)));
        assert_eq!(quote(&long.as_bytes()[..QUOTED_BYTES + 1]), format!("{}…", "x".repeat(QUOTED_BYTES - 1)));
    }
}
