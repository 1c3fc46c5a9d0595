//! Gzip members (RFC 1952) as plain text, by one thread or, large ones, by several.
//!
//! The decoder is our own ([`decoder`], [`codes`]). Inflating is the largest part of what a loader does for a record,
//! and these logs are short matches with a literal now and then: it looks up two literals and a match at once,
//! where zlib and its kin look up each. flate2 reads the headers and checks the text.
//!
//! One thread inflates at a fixed pace, however many cores there are. Two things keep more of them from one
//! deflate stream: it says nowhere where its blocks begin, and a block copies from the 32 KiB of text in front
//! of it, its *window*. So the packed input is read ahead in segments ([`ahead`]), each given to a thread:
//!
//! - **It guesses where a block begins.** It looks for the first bit in its segment that can hardly be anything
//!   else ([`search`]), and inflates from there up to the first block of the next segment: a stretch ([`stretch`]).
//! - **It uses two stand-ins for the window** ([`window`]). It inflates twice, with windows that differ in each
//!   byte: so the bytes that come from the window are those that differ in the two texts, and the pair tells from
//!   which place. When the thread in front has its text, it hands on the true window: then the bytes before are
//!   filled in, and one decoder is enough. (Waiting until no copy of a copy is left would never end: in logs the
//!   commas alone never do.)
//! - **The guess is verified from the front.** A stretch counts only if one of its blocks ends at the very bit
//!   where the next one begins.
//!
//! The first stretch begins where the header ends; so when each has ended where the next one begins, all of them
//! are right ([`split`]). What cannot be verified, is broken, or would need much memory is not handed out: one
//! decoder goes on from the last verified bit, for the rest of the member, and has the errors ([`members`]). The
//! checksum is checked either way.
//!
//! It costs up to three times the CPU time, and some MiB for each thread: worth it where cores are idle.

mod ahead;
mod codes;
mod decoder;
mod members;
mod search;
mod split;
mod stretch;
mod threads;
mod window;

pub(crate) use ahead::Ahead;
#[cfg(fuzzing)]
pub(crate) use decoder::{Decoder, Stop};
pub(crate) use members::Members;

/// Packed bytes in a segment. Larger ones take more memory; in smaller ones the search for a block counts.
pub(crate) const SEGMENT_BYTES: usize = 1024 * 1024;

/// A match copies from this many bytes before it, at most.
const WINDOW_BYTES: usize = 32 * 1024;
