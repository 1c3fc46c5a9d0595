//! The white space of the apps log.

/// The white space that is stripped from lines, coordinates and app ids. (Rust's own
/// `is_ascii_whitespace` leaves out the vertical tab.)
pub(super) fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// `bytes` without the white space at both ends.
pub(super) fn strip(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}
