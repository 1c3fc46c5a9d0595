//! The bytes of memcached's classic text commands: sets, each of them answered, and reads
//! ([protocol, "Storage commands"](https://docs.memcached.org/protocols/basic/)).

use crate::wire::attributes::Attributes;

/// Bytes of a set before its key.
pub(crate) const BEFORE_KEY: usize = SET.len();

const SET: &[u8] = b"set ";
const LINE_END: &[u8] = b"\r\n";

/// Appends a set. The key must have been checked: nothing is escaped here.
pub(crate) fn push_set(out: &mut Vec<u8>, key: &[u8], value: &[u8], attributes: Attributes) {
    out.extend_from_slice(SET);
    out.extend_from_slice(key);
    let length = u32::try_from(value.len()).unwrap_or(u32::MAX);
    for number in [attributes.flags, attributes.expiry, length] {
        out.push(b' ');
        out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    }
    out.extend_from_slice(LINE_END);
    out.extend_from_slice(value);
    out.extend_from_slice(LINE_END);
}

/// What [`push_set`] has written between key and value says.
pub(crate) fn attributes(between: &[u8]) -> Attributes {
    let text = std::str::from_utf8(between).unwrap_or_default();
    let mut numbers = text.split_ascii_whitespace().map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    Attributes { flags: next(), expiry: next() }
}

/// Appends the command that reads a value.
pub(crate) fn push_get(out: &mut Vec<u8>, key: &[u8]) {
    out.extend_from_slice(b"get ");
    out.extend_from_slice(key);
    out.extend_from_slice(LINE_END);
}
