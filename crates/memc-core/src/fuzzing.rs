//! Opens the crate's inner parts to the fuzz targets; it is compiled for them only.

use std::io::{self, Cursor, Read};
use std::sync::Arc;

use crate::buffers::Reusable;
use crate::read::inflate::{Decoder, Stop};
use crate::read::input::Plain;
use crate::read::chunk::{Piece, Text};
use crate::read::lines::{Cut, Cutter};
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

/// The text of an input, up to its end or an error, by so many threads in segments of so many bytes.
pub fn inflate(bytes: Vec<u8>, threads: usize, segment_bytes: usize) -> (Vec<u8>, Option<io::ErrorKind>) {
    let mut text = Vec::new();
    let result = Plain::new(Box::new(Cursor::new(bytes)), &Arc::default(), threads, segment_bytes)
        .and_then(|mut plain| plain.read_to_end(&mut text));
    (text, result.err().map(|error| error.kind()))
}

/// What the decoder makes of a deflate stream.
#[derive(Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The text up to the end, the error, or the limit.
    pub text: Vec<u8>,
    /// How much of the input the stream has, if it has ended.
    pub stream_bytes: Option<usize>,
    /// Whether it is no deflate; neither that nor ended, it is cut.
    pub is_corrupt: bool,
}

/// Has the decoder read a stream in pieces of so many bytes, up to so much text.
pub fn decode(packed: &[u8], piece_bytes: usize, max_text_bytes: usize) -> Decoded {
    let mut decoder = Decoder::new();
    let mut text = vec![0; max_text_bytes];
    let (mut at, mut read) = (0, 0);
    let mut pieces = packed.chunks(piece_bytes);
    let mut input: &[u8] = &[];
    let stop = loop {
        let before = input.len();
        let (end, stop) = decoder.decode(&mut input, &mut text, at);
        (at, read) = (end, read + before - input.len());
        match (stop, pieces.len()) {
            (Stop::Block, _) => {}
            (Stop::Input, 1..) => input = pieces.next().unwrap_or_default(),
            _ => break stop,
        }
    };
    text.truncate(at);
    let unused = decoder.take_unused(&mut [0; 8]);
    let stream_bytes = (stop == Stop::End).then_some(read - unused);
    Decoded { text, stream_bytes, is_corrupt: stop == Stop::Corrupt }
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
