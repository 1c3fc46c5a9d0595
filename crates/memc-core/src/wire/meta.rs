//! The bytes of memcached's meta commands: sets that are quiet or answered, reads, and the no-op that closes a batch.
//!
//! The server answers a quiet set only when it refuses it, and the no-op when all before it is done
//! ([protocol, "Meta Commands"](https://docs.memcached.org/protocols/meta/)).

use crate::wire::attributes::Attributes;

/// Closes a batch; the server answers `MN` when everything before it is done.
pub(crate) const NOOP: &[u8] = b"mn\r\n";

/// Bytes of a set before its key.
pub(crate) const BEFORE_KEY: usize = SET.len();

/// Bytes of a set after its value.
pub(crate) const AFTER_VALUE: usize = LINE_END.len();

const SET: &[u8] = b"ms ";
const LINE_END: &[u8] = b"\r\n";

/// Whether a set is answered also when all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answers {
    /// Only a refusal is answered.
    Refusals,
    All,
}

/// Appends a set. The key must have been checked: nothing is escaped here.
pub(crate) fn push_set(
    out: &mut Vec<u8>,
    key: &[u8],
    value: &[u8],
    attributes: Attributes,
    answers: Answers,
) {
    out.extend_from_slice(SET);
    out.extend_from_slice(key);
    out.push(b' ');
    out.extend_from_slice(itoa::Buffer::new().format(value.len()).as_bytes());
    if attributes != Attributes::default() {
        push_attributes(out, attributes);
    }
    let end: &[u8] = match answers {
        Answers::Refusals => b" q\r\n",
        Answers::All => LINE_END,
    };
    out.extend_from_slice(end);
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END);
}

/// Apart, since most loads have none.
#[cold]
fn push_attributes(out: &mut Vec<u8>, Attributes { flags, expiry }: Attributes) {
    for (token, number) in [(b" F", flags), (b" T", expiry)] {
        if number > 0 {
            out.extend_from_slice(token);
            out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }
}

/// What [`push_set`] has written between key and value says.
pub(crate) fn attributes(between: &[u8]) -> Attributes {
    let mut attributes = Attributes::default();
    for token in between.split(u8::is_ascii_whitespace) {
        let number = || std::str::from_utf8(&token[1..]).ok()?.parse().ok();
        match token.first() {
            Some(b'F') => attributes.flags = number().unwrap_or(0),
            Some(b'T') => attributes.expiry = number().unwrap_or(0),
            _ => {}
        }
    }
    attributes
}

/// Appends the command that reads a value.
pub(crate) fn push_get(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"mg ");
    out.extend_from_slice(key);
    out.extend_from_slice(b" v\r\n");
}
