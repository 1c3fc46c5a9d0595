//! Opens the decoder to the fuzz target `deflate`; it is compiled for that only.

use crate::deflate::{Decoder, Status};

/// What the decoder makes of a deflate stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The output up to the end, the error, or the limit.
    pub output: Vec<u8>,
    /// How many bytes of the input belong to the stream, if it has ended.
    pub stream_bytes: Option<usize>,
    /// Whether it is no deflate; neither corrupt nor ended, it is cut off.
    pub is_corrupt: bool,
}

/// Decodes a stream that comes in pieces of `piece_bytes`, up to `max_output_bytes`.
#[must_use]
pub fn decode(compressed: &[u8], piece_bytes: usize, max_output_bytes: usize) -> Decoded {
    let mut decoder = Decoder::new();
    let mut output = vec![0; max_output_bytes];
    let (mut filled, mut read) = (0, 0);
    let mut pieces = compressed.chunks(piece_bytes);
    let mut input: &[u8] = &[];
    let status = loop {
        let before = input.len();
        let (end, status) = decoder.decode(&mut input, &mut output, filled);
        (filled, read) = (end, read + before - input.len());
        match status {
            Status::NeedsInput if pieces.len() > 0 => input = pieces.next().unwrap_or_default(),
            _ => break status,
        }
    };
    output.truncate(filled);
    let unused = decoder.take_unused(&mut [0; 8]);
    let stream_bytes = (status == Status::End).then_some(read - unused);
    Decoded { output, stream_bytes, is_corrupt: status == Status::Corrupt }
}
