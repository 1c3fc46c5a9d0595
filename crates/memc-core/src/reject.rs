//! Why a line is not loaded.

use std::fmt;

/// The reason for which one line is rejected; the rest of the file is loaded all the same.
///
/// The order of the variants is the order in which the rules of a line are checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Reject {
    /// The line is longer than [`Options::max_line_bytes`](crate::Options::max_line_bytes).
    Length,
    /// The line does not have the number of fields that its format asks for.
    Fields,
    /// A field that must say something is empty.
    Empty,
    /// A coordinate is not a decimal float.
    Coordinates,
    /// No server is configured for the type of the record.
    Type,
    /// The key is empty, longer than 250 bytes, or holds a control character or a space: memcached's
    /// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt) allows none of these.
    Key,
    /// The server refused the record, because of its size or for lack of memory.
    Server,
    /// A rule of another loader's [`Encode`](crate::Encode), by a short name of its own.
    Other(&'static str),
}

impl Reject {
    /// The short name of the reason, one word, as it stands in logs and reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Length => "length",
            Self::Fields => "fields",
            Self::Empty => "empty",
            Self::Coordinates => "coordinates",
            Self::Type => "type",
            Self::Key => "key",
            Self::Server => "server",
            Self::Other(name) => name,
        }
    }
}

impl fmt::Display for Reject {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

impl std::error::Error for Reject {}
