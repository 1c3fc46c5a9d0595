//! Deflate streams (RFC 1951): a decoder that stops anywhere, and the tables that make it fast.
//!
//! Each file uses only those below it: `decoder` (the states between two symbols), `fast` (the loop for most of the
//! input), `tables` (several symbols in one look), `code` (prefix codes), `bits` (the bit buffer).

mod bits;
mod code;
mod decoder;
mod fast;
mod tables;

pub(crate) use decoder::{Decoder, Status};

/// A match copies from at most this many bytes back.
pub(crate) const WINDOW_BYTES: usize = 32 * 1024;

#[cfg(test)]
mod tests;
