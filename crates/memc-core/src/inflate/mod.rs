//! Gzip members (RFC 1952) as plain text; large ones are inflated by several threads.
//!
//! One thread inflates at a fixed pace, however many cores there are. Two things keep more of them from one
//! deflate stream: it says nowhere where its blocks begin, and a block copies from the 32 KiB of text in front
//! of it, its *window*. So the packed input is read ahead in segments ([`ahead`]), each given to a thread:
//!
//! - **It guesses where a block begins.** It looks for the first bit in its segment that can hardly be anything
//!   else ([`search`]), and inflates from there up to the first block of the next segment: a stretch ([`stretch`]).
//! - **It uses two stand-ins for the window** ([`window`]). It inflates twice, with windows that differ in each
//!   byte: so the bytes that come from the window are those that differ in the two texts, and the pair tells from
//!   which place. When the thread in front has its text, it hands on the true window: from then on one decoder is
//!   enough, and the bytes before are filled in. (One stand-in and a mark for unknown bytes would need a decoder
//!   of our own; waiting until no copy of a copy is left would never end, in logs the commas alone never do.)
//! - **The guess is verified from the front** ([`bits`]). The decoder of the stretch in front is given, at the bit
//!   where a block is thought to begin, a block of ours in its place: one that holds a sign of random bytes. Only
//!   at the end of a block does a decoder take it for a block, and hand the sign out as the last text.
//!
//! The first stretch begins where the header ends; so when each has ended where the next one begins, all of them
//! are right. What cannot be verified, is broken, or would need much memory is not handed out: a plain decoder
//! goes on from the last verified bit, for the rest of the member, and has the errors ([`member`]). The checksum
//! is checked either way.
//!
//! It costs up to three times the CPU time, and some MiB for each thread: worth it where cores are idle.

mod ahead;
mod bits;
mod member;
mod search;
mod stretch;
mod threads;
mod window;

pub(crate) use ahead::Ahead;
pub(crate) use member::Member;

/// Packed bytes in a segment. Larger ones take more memory; in smaller ones the search for a block counts.
pub(crate) const SEGMENT_BYTES: usize = 1024 * 1024;

/// A match copies from this many bytes before it, at most.
const WINDOW_BYTES: usize = 32 * 1024;
