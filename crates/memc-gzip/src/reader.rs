//! [`GzReader`]: headers, deflate streams and trailers of all gzip members (RFC 1952) of an input.

use std::fmt;
use std::io::{self, BufRead, ErrorKind, Read};

use flate2::Crc;
use flate2::bufread::GzDecoder;

use crate::deflate::{Decoder, Status, WINDOW_BYTES};

#[cfg(test)]
mod tests;

/// The two bytes that every gzip member starts with (RFC 1952, section 2.3.1).
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The input is decompressed in pieces of this size, which the processor's cache still holds when they are read.
const PIECE_BYTES: usize = 128 * 1024;

/// Decompresses gzip: all members, one after the other, and zero padding after the last.
///
/// It reads its input to the end. Bytes after a member that are neither zero nor a member are an error, as is an input
/// that ends within a member; what can be decompressed before an error is handed out first. After an error every
/// further read fails.
///
/// It takes about 230 KiB, whatever the input. Reads that are interrupted ([`ErrorKind::Interrupted`]) are done again.
/// An input that does not block ([`ErrorKind::WouldBlock`]) is not supported: this is an error like any other.
///
/// # Errors
///
/// A read fails with an error of these kinds, as in flate2:
///
/// - [`ErrorKind::UnexpectedEof`]: the input ends within a member.
/// - [`ErrorKind::InvalidInput`]: the header, the deflate stream or the checksum of a member is wrong.
/// - any other: the input's own error.
pub struct GzReader<R> {
    input: R,
    next: Next,
    decoder: Decoder,
    crc: Crc,
    /// The decompressed bytes up to `filled`. Those from `at` on have not been read; those before are what matches
    /// copy from.
    output: Vec<u8>,
    at: usize,
    filled: usize,
}

/// What comes next in the input.
#[derive(Clone, Copy, Debug)]
enum Next {
    Header,
    Deflate,
    Trailer,
    End,
    /// Nothing, after an error.
    Failed,
}

impl<R: BufRead> GzReader<R> {
    /// Decompresses `input`, of which nothing is read yet. An input without a byte is one without a member.
    pub fn new(input: R) -> Self {
        Self {
            input,
            next: Next::Header,
            decoder: Decoder::new(),
            crc: Crc::new(),
            output: Vec::new(),
            at: 0,
            filled: 0,
        }
    }

    fn read_header(&mut self) -> io::Result<Next> {
        if !skip_zeros(&mut self.input)? {
            return Ok(Next::End);
        }
        // The reader of headers would take anything short for a header that is cut.
        let start = fill(&mut self.input)?;
        if !GZIP_MAGIC.starts_with(&start[..start.len().min(GZIP_MAGIC.len())]) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                "neither a gzip member nor zeros after a member",
            ));
        }
        let mut header = GzDecoder::new(&mut self.input);
        if header.header().is_none() {
            return Err(header.read(&mut [0]).err().unwrap_or_else(|| ErrorKind::InvalidInput.into()));
        }
        self.crc.reset();
        self.decoder.reset();
        (self.at, self.filled) = (0, 0);
        Ok(Next::Deflate)
    }

    /// Decodes more into `output`, of which all has been read.
    fn read_deflate(&mut self) -> io::Result<Next> {
        if self.output.is_empty() {
            self.output.resize(WINDOW_BYTES + PIECE_BYTES, 0);
        } else if self.filled == self.output.len() {
            self.output.copy_within(self.filled - WINDOW_BYTES.., 0);
            self.filled = WINDOW_BYTES;
        }
        self.at = self.filled;
        let compressed = fill(&mut self.input)?;
        let mut rest = compressed;
        let (filled, status) = self.decoder.decode(&mut rest, &mut self.output, self.filled);
        let (is_at_end, used) = (compressed.is_empty(), compressed.len() - rest.len());
        self.input.consume(used);
        self.crc.update(&self.output[self.filled..filled]);
        self.filled = filled;
        // Output before an error is handed out first; then the decoder returns the same status again.
        match status {
            Status::End => Ok(Next::Trailer),
            Status::Corrupt if self.at == filled => Err(corrupt("deflate stream")),
            Status::NeedsInput if is_at_end && self.at == filled => Err(ErrorKind::UnexpectedEof.into()),
            _ => Ok(Next::Deflate),
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

impl<R> GzReader<R> {
    /// The input. At the end it has been read to its end; before that, what was read ahead of the decompressed bytes
    /// is lost.
    pub fn into_inner(self) -> R {
        self.input
    }
}

impl<R: BufRead> Read for GzReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.at == self.filled && !buffer.is_empty() {
            self.next = match std::mem::replace(&mut self.next, Next::Failed) {
                Next::Header => self.read_header()?,
                Next::Deflate => self.read_deflate()?,
                Next::Trailer => self.check_trailer()?,
                Next::End => {
                    self.next = Next::End;
                    return Ok(0);
                }
                Next::Failed => return Err(corrupt("gzip stream")),
            };
        }
        let length = (&self.output[self.at..self.filled]).read(buffer)?;
        self.at += length;
        Ok(length)
    }
}

impl<R: fmt::Debug> fmt::Debug for GzReader<R> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("GzReader")
            .field("input", &self.input)
            .field("next", &self.next)
            .finish_non_exhaustive()
    }
}

fn corrupt(what: &str) -> io::Error {
    io::Error::new(ErrorKind::InvalidInput, format!("corrupt {what}"))
}

/// Fills the buffer of the input, again if that is interrupted; empty at the end.
fn fill(input: &mut impl BufRead) -> io::Result<&[u8]> {
    let is_at_end = loop {
        match input.fill_buf() {
            Ok(bytes) => break bytes.is_empty(),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    };
    // Another call at the end would read again.
    if is_at_end { Ok(&[]) } else { input.fill_buf() }
}

/// Skips the padding that tapes and block devices leave after a member; false at the end of the input.
fn skip_zeros(input: &mut impl BufRead) -> io::Result<bool> {
    loop {
        let bytes = fill(input)?;
        if bytes.is_empty() {
            return Ok(false);
        }
        let zeros = bytes.iter().take_while(|&&byte| byte == 0).count();
        let is_followed = zeros < bytes.len();
        input.consume(zeros);
        if is_followed {
            return Ok(true);
        }
    }
}
