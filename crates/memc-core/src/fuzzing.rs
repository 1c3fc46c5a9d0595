//! Opens the crate's inner parts to the fuzz targets; it is compiled for them only.

use std::io::{self, Read};

use crate::Protocol;
use crate::buffers::Reusable;
use crate::read::chunk::{Piece, Text};
use crate::read::lines::{Cut, Cutter};
use crate::wire::answers::AnswerReader;

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
    let mut cutter = Cutter::new(input, piece_bytes.max(1), max_line_bytes.max(1));
    let mut text = Text::default();
    let mut pieces = Vec::new();
    while let Cut::Piece(piece) = cutter.next_piece(&mut text, |_| true)? {
        let capacity = text.bytes();
        assert!(capacity <= max_line_bytes + 3 * piece_bytes, "{capacity} bytes for a piece");
        pieces.push((piece == Piece::Lines, text.as_bytes().to_vec()));
    }
    Ok(pieces)
}

/// What an [`AnswerReader`] makes of a server's bytes.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Answers {
    /// The batches whose end came: how many answers, and the refusals, each with its place among them.
    pub closed: Vec<(usize, Vec<(usize, String)>)>,
    /// What ended it early.
    pub error: Option<String>,
}

/// Has an [`AnswerReader`] read these pieces as the answers to batches of these numbers of records.
pub fn answers<'a>(
    pieces: impl IntoIterator<Item = &'a [u8]>,
    batches: impl IntoIterator<Item = usize>,
    protocol: Protocol,
) -> Answers {
    let mut reader = AnswerReader::default();
    batches.into_iter().for_each(|records| reader.expect(records, protocol));
    let mut out = Answers::default();
    for piece in pieces {
        out.error = reader.push(piece).err().map(|error| error.to_string());
        while let Some(batch) = reader.next_closed() {
            out.closed.push((batch.count, batch.refusals.into_iter().map(|it| (it.at, it.text)).collect()));
        }
        if out.error.is_some() {
            break;
        }
    }
    out
}
