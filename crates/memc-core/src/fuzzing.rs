//! Opens the crate's inner parts to the fuzz targets; it is compiled for them only.

use std::io::{self, Read};

use crate::buffers::Reusable;
use crate::read::lines::{Cutter, Piece, Text};
use crate::wire::connection::{Answer, AnswerReader};

/// The pieces into which [`Cutter`] cuts the input: true for whole lines, false for an overlong one.
///
/// # Errors
///
/// That of the input.
///
/// # Panics
///
/// When the pieces take more memory than the limits allow.
pub fn cut(input: impl Read, piece_bytes: usize, max_line_bytes: usize) -> io::Result<Vec<(bool, Vec<u8>)>> {
    let mut cutter = Cutter::new(input, piece_bytes, max_line_bytes);
    let mut text = Text::default();
    let mut pieces = Vec::new();
    while let Some(piece) = cutter.next_piece(&mut text)? {
        let capacity = text.capacity();
        assert!(capacity <= max_line_bytes + 3 * piece_bytes, "{capacity} bytes for a piece");
        pieces.push((piece == Piece::Lines, text.as_bytes().to_vec()));
    }
    Ok(pieces)
}

/// What an [`AnswerReader`] makes of a server's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The batches whose end came: each answer `None` for stored, or the server's refusal.
    pub closed: Vec<Vec<Option<String>>>,
    /// What ended it early.
    pub error: Option<String>,
}

/// Has an [`AnswerReader`] read these pieces as the answers to batches of so many records each.
pub fn answers<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    batches: impl IntoIterator<Item = usize>,
) -> Answers {
    let mut reader = AnswerReader::default();
    batches.into_iter().for_each(|records| reader.expect(records));
    let mut out = Answers::default();
    for piece in pieces {
        out.error = reader.push(piece).err().map(|error| error.to_string());
        while let Some(batch) = reader.next_closed() {
            out.closed.push(batch.into_iter().map(refusal).collect());
        }
        if out.error.is_some() {
            break;
        }
    }
    out
}

fn refusal(answer: Answer) -> Option<String> {
    match answer {
        Answer::Stored => None,
        Answer::Refused(text) => Some(text),
    }
}
