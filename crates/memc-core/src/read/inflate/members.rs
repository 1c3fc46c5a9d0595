//! The text of all gzip members (RFC 1952) of an input: their headers, deflate streams and checksums.

use std::io::{self, BufRead, Read};

use flate2::Crc;
use flate2::bufread::GzDecoder;

use super::WINDOW_BYTES;
use super::ahead::Ahead;
use super::decoder::{Decoder, Stop};
use super::split::Split;
use super::stretch::End;
use crate::read::magic::GZIP_MAGIC;

#[cfg(test)]
mod tests;

/// Text is inflated in pieces of so many bytes, which are still in the processor's cache when they are taken.
const PIECE_BYTES: usize = 128 * 1024;

/// See the module's text.
pub(crate) struct Members<R> {
    /// Before the input, so that its threads are told to stop before they are waited for.
    next: Next,
    decoder: Decoder,
    /// Text up to `filled`, of which that from `at` on has not been taken; what is before it is copied from.
    text: Vec<u8>,
    at: usize,
    filled: usize,
    crc: Crc,
    input: Ahead<R>,
}

/// What comes next in the input.
enum Next {
    Header,
    /// Text of a large member, from several threads.
    Stretch(Box<Split>),
    Text,
    Trailer,
    End,
    /// Nothing, after an error.
    Broken,
}

impl<R: BufRead> Members<R> {
    pub(crate) fn new(input: Ahead<R>) -> Self {
        Self {
            next: Next::Header,
            decoder: Decoder::new(),
            text: Vec::new(),
            at: 0,
            filled: 0,
            crc: Crc::new(),
            input,
        }
    }

    /// Reads a member's header, or comes to the end.
    fn read_header(&mut self) -> io::Result<Next> {
        if !skip_zeros(&mut self.input)? {
            return Ok(Next::End);
        }
        // The reader of headers would take anything short for a header that is cut.
        let start = self.input.fill_buf()?;
        if !GZIP_MAGIC.starts_with(&start[..start.len().min(GZIP_MAGIC.len())]) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "neither a gzip member nor zeros after a member",
            ));
        }
        let may_be_split = self.input.begin_member();
        let mut header = GzDecoder::new(&mut self.input);
        if header.header().is_none() {
            return match header.read(&mut [0]) {
                Ok(_) => Err(io::ErrorKind::InvalidInput.into()),
                Err(error) => Err(error),
            };
        }
        self.crc.reset();
        (self.at, self.filled) = (0, 0);
        if may_be_split {
            return Ok(Next::Stretch(Box::new(Split::new(self.input.at() * 8))));
        }
        self.decoder.begin_at(0, &[]);
        Ok(Next::Text)
    }

    /// Puts the text of the next stretch into `text`; where there is none, the decoder goes on alone.
    fn read_stretch(&mut self, mut split: Box<Split>) -> Next {
        let Some(stretch) = split.next(&mut self.input) else {
            let bit = split.bit;
            // The header has ended, or a block begins, in the first segment, if there is one.
            self.decoder.begin_at(bit, self.input.segment(0).as_ref().map_or(&[], |first| &first.bytes));
            self.input.go_to(bit.div_ceil(8));
            self.text.clear();
            self.text.extend_from_slice(&split.window);
            self.filled = self.text.len();
            self.at = self.filled;
            return Next::Text;
        };
        self.crc.combine(&stretch.crc);
        self.at = stretch.from;
        self.filled = stretch.bytes.len();
        split.give_back(std::mem::replace(&mut self.text, stretch.bytes));
        match stretch.end {
            End::Block(_) => Next::Stretch(split),
            End::Stream(_) => Next::Trailer,
        }
    }

    /// Has the decoder put more into `text`.
    fn read_text(&mut self) -> io::Result<Next> {
        if self.text.len() < WINDOW_BYTES + PIECE_BYTES {
            self.text.resize(WINDOW_BYTES + PIECE_BYTES, 0);
        } else if self.filled == self.text.len() {
            self.text.copy_within(self.filled - WINDOW_BYTES.., 0);
            self.filled = WINDOW_BYTES;
        }
        self.at = self.filled;
        let packed = self.input.fill_buf()?;
        let (mut rest, is_end) = (packed, packed.is_empty());
        let (filled, stop) = self.decoder.decode(&mut rest, &mut self.text, self.filled);
        let read = packed.len() - rest.len();
        self.input.consume(read);
        self.crc.update(&self.text[self.filled..filled]);
        self.filled = filled;
        // What is there before an error is handed out first; the decoder comes to the same error again.
        match stop {
            Stop::End => Ok(Next::Trailer),
            Stop::Corrupt if self.at == filled => Err(corrupt("deflate stream")),
            Stop::Input if is_end && self.at == filled => Err(io::ErrorKind::UnexpectedEof.into()),
            _ => Ok(Next::Text),
        }
    }

    fn check_trailer(&mut self) -> io::Result<Next> {
        let mut trailer = [0; 8];
        let unused = self.decoder.take_unused(&mut trailer);
        self.input.read_exact(&mut trailer[unused..])?;
        if trailer[..] != [self.crc.sum().to_le_bytes(), self.crc.amount().to_le_bytes()].concat() {
            return Err(corrupt("gzip stream does not have a matching checksum"));
        }
        Ok(Next::Header)
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.filled && !buffer.is_empty() {
            self.next = match std::mem::replace(&mut self.next, Next::Broken) {
                Next::Header => self.read_header()?,
                Next::Stretch(split) => self.read_stretch(split),
                Next::Text => self.read_text()?,
                Next::Trailer => self.check_trailer()?,
                Next::End => {
                    self.next = Next::End;
                    return Ok(0);
                }
                Next::Broken => return Err(corrupt("gzip stream")),
            };
        }
        let length = (&self.text[self.at..self.filled]).read(buffer)?;
        self.at += length;
        Ok(length)
    }
}

fn corrupt(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, format!("corrupt {what}"))
}

/// Skips the padding that tapes and block devices leave behind a gzip member; false at the end.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = input.fill_buf()?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let more = zeros < bytes.len();
        input.consume(zeros);
        if more {
            return Ok(true);
        }
    }
}
