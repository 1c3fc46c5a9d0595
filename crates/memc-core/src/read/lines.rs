//! Cuts a stream of plain text into pieces of whole lines, in bounded memory.

use std::io::{self, Read};

use crate::buffers::Reusable;

/// So much of an overlong line is kept, for the log.
const KEPT_OF_LONG_LINE: usize = 256;

/// A piece of an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole lines; only the last one of the input may lack its `\n`.
    Lines,
    /// The beginning of one line that is longer than the limit; the rest of it is skipped.
    LongLine,
}

/// A buffer of plain text: `filled` bytes of `bytes` count, the rest is room that needs no clearing.
#[derive(Debug, Default)]
pub(crate) struct Text {
    bytes: Vec<u8>,
    filled: usize,
}

impl Text {
    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.filled]
    }

    /// The text alone, without the room behind it.
    pub(crate) fn into_bytes(mut self) -> Vec<u8> {
        self.bytes.truncate(self.filled);
        self.bytes
    }

    /// Reads until `target` bytes are filled or the input ends; true at the end.
    fn fill(&mut self, input: &mut impl Read, target: usize) -> io::Result<bool> {
        if self.bytes.len() < target {
            self.bytes.reserve_exact(target - self.bytes.len());
            self.bytes.resize(target, 0);
        }
        while self.filled < target {
            match input.read(&mut self.bytes[self.filled..target]) {
                Ok(0) => return Ok(true),
                Ok(length) => self.filled += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(false)
    }
}

impl Reusable for Text {
    fn clear(&mut self) {
        self.filled = 0;
    }

    fn capacity(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Cuts one input into pieces of about `piece_bytes`, always at line ends.
#[derive(Debug)]
pub(crate) struct Cutter<R> {
    input: R,
    piece_bytes: usize,
    max_line_bytes: usize,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
    skipping: bool,
    ended: bool,
}

impl<R: Read> Cutter<R> {
    pub(crate) fn new(input: R, piece_bytes: usize, max_line_bytes: usize) -> Self {
        // Pieces of nothing would never come to an end.
        let piece_bytes = piece_bytes.max(1);
        Self { input, piece_bytes, max_line_bytes, rest: Vec::new(), skipping: false, ended: false }
    }

    pub(crate) fn input(&self) -> &R {
        &self.input
    }

    /// Fills `text` with the next piece, or returns `None` at the end of the input.
    pub(crate) fn next_piece(&mut self, text: &mut Text) -> io::Result<Option<Piece>> {
        text.filled = 0;
        if self.skipping {
            self.skip_line(text)?;
        }
        if text.bytes.len() < self.rest.len() {
            text.bytes.resize(self.rest.len(), 0);
        }
        text.bytes[..self.rest.len()].copy_from_slice(&self.rest);
        text.filled = self.rest.len();
        self.rest.clear();
        let mut target = self.piece_bytes.max(text.filled + 1);
        let mut searched = 0;
        while !self.ended {
            self.ended = text.fill(&mut self.input, target)?;
            if let Some(at) = memchr::memrchr(b'\n', &text.as_bytes()[searched..]) {
                if !self.ended {
                    self.rest.extend_from_slice(&text.as_bytes()[searched + at + 1..]);
                    text.filled = searched + at + 1;
                }
                break;
            }
            if text.filled > self.max_line_bytes {
                self.skipping = !self.ended;
                text.filled = KEPT_OF_LONG_LINE.min(text.filled);
                return Ok(Some(Piece::LongLine));
            }
            searched = text.filled;
            target = searched.saturating_add(self.piece_bytes);
        }
        Ok((text.filled > 0).then_some(Piece::Lines))
    }

    /// Reads and forgets until the line ends; what follows it goes to `rest`.
    fn skip_line(&mut self, scratch: &mut Text) -> io::Result<()> {
        while self.skipping && !self.ended {
            scratch.filled = 0;
            self.ended = scratch.fill(&mut self.input, self.piece_bytes)?;
            if let Some(at) = memchr::memchr(b'\n', scratch.as_bytes()) {
                self.rest.extend_from_slice(&scratch.as_bytes()[at + 1..]);
                self.skipping = false;
            }
        }
        self.skipping = false;
        scratch.filled = 0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads one byte at a time where it says so, and is interrupted in between.
    struct Drip<'a>(&'a [u8], bool);

    impl Read for Drip<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.1 = !self.1;
            if self.1 {
                return Err(io::ErrorKind::Interrupted.into());
            }
            let length = 1.min(buffer.len());
            self.0.read(&mut buffer[..length])
        }
    }

    fn pieces(
        input: impl Read,
        piece_bytes: usize,
        max_line_bytes: usize,
    ) -> io::Result<Vec<(Piece, Vec<u8>)>> {
        let mut cutter = Cutter::new(input, piece_bytes, max_line_bytes);
        let mut text = Text::default();
        let mut out = Vec::new();
        while let Some(piece) = cutter.next_piece(&mut text)? {
            assert!(!text.as_bytes().is_empty(), "an empty piece");
            out.push((piece, text.as_bytes().to_vec()));
        }
        assert_eq!(cutter.next_piece(&mut text)?, None, "the end stays the end");
        Ok(out)
    }

    const INPUTS: [&[u8]; 10] = [
        b"",
        b"\n",
        b"\n\n\n",
        b"one",
        b"one\n",
        b"one\ntwo",
        b"one\r\ntwo\r\n",
        b"a\n\nlonger line\nb\nno end",
        b"a line over many pieces, which are as small as a single byte here\nshort\n",
        b"\nx\n\n",
    ];

    #[test]
    fn any_cut_gives_the_same_lines() -> io::Result<()> {
        for input in INPUTS {
            for piece_bytes in 0..=input.len() + 2 {
                for pieces in
                    [pieces(input, piece_bytes, 1000)?, pieces(Drip(input, false), piece_bytes, 1000)?]
                {
                    let (last, before) = match pieces.split_last() {
                        Some(split) => split,
                        None => (&(Piece::Lines, Vec::new()), &[][..]),
                    };
                    assert!(before.iter().all(|(_, text)| text.ends_with(b"\n")), "{pieces:?}");
                    assert_eq!(last.1.ends_with(b"\n"), input.ends_with(b"\n"));
                    assert!(pieces.iter().all(|(piece, _)| *piece == Piece::Lines));
                    let joined: Vec<u8> = pieces.iter().flat_map(|(_, text)| text.clone()).collect();
                    assert_eq!(joined, input);
                }
            }
        }
        Ok(())
    }

    /// The lines with the overlong ones as `None`: what a worker makes of the pieces, which checks the
    /// length of each line again.
    fn lines(pieces: &[(Piece, Vec<u8>)], max_line_bytes: usize) -> Vec<Option<Vec<u8>>> {
        let mut out = Vec::new();
        for (piece, text) in pieces {
            match piece {
                Piece::LongLine => out.push(None),
                Piece::Lines => {
                    let text = text.strip_suffix(b"\n").unwrap_or(text);
                    let short = |line: &[u8]| (line.len() <= max_line_bytes).then(|| line.to_vec());
                    out.extend(text.split(|&byte| byte == b'\n').map(short));
                }
            }
        }
        out
    }

    #[test]
    fn overlong_lines_are_told_whatever_the_cut() -> io::Result<()> {
        for input in INPUTS {
            for max_line_bytes in 0..12 {
                let whole = lines(&pieces(input, 1000, 1000)?, max_line_bytes);
                for piece_bytes in 1..=input.len() + 2 {
                    let pieces = pieces(input, piece_bytes, max_line_bytes)?;
                    assert_eq!(
                        lines(&pieces, max_line_bytes),
                        whole,
                        "{piece_bytes} {max_line_bytes} {pieces:?}"
                    );
                }
            }
        }
        Ok(())
    }

    #[test]
    fn a_line_without_end_takes_no_memory() -> io::Result<()> {
        let mut cutter = Cutter::new(io::repeat(b'x').take(20 << 20).chain(&b"\nnext\n"[..]), 4096, 1 << 20);
        let mut text = Text::default();
        assert_eq!(cutter.next_piece(&mut text)?, Some(Piece::LongLine));
        assert_eq!(text.as_bytes(), [b'x'; KEPT_OF_LONG_LINE]);
        assert_eq!(cutter.next_piece(&mut text)?, Some(Piece::Lines));
        assert_eq!(text.as_bytes(), b"next\n");
        assert!(text.capacity() < (1 << 20) + 3 * 4096, "{}", text.capacity());
        Ok(())
    }

    #[test]
    fn a_read_error_is_passed_on() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::ErrorKind::PermissionDenied.into())
            }
        }
        let kind = pieces((&b"good\n"[..]).chain(Broken), 100, 100).map_err(|error| error.kind());
        assert_eq!(kind, Err(io::ErrorKind::PermissionDenied));
    }
}
