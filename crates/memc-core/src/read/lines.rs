//! Cuts a stream of decompressed text into pieces of whole lines, in bounded memory.

use std::io::{self, Read};

use crate::buffers::Reusable as _;
use crate::read::chunk::{Piece, Text};

/// At most this much of an overlong line is kept, for the log.
const KEPT_OF_LONG_LINE: usize = 256;

/// What a [`Cutter`] has made of its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Cut {
    Piece(Piece),
    /// The input has nothing more for now, and no line has ended since the last piece.
    NotYet,
    End,
}

/// Cuts one input into pieces of about `piece_bytes`, always at line ends.
///
/// An input that has nothing more for now says so with [`WouldBlock`](io::ErrorKind::WouldBlock): then the lines
/// that have ended are a piece. So they are before any other error, which the next call returns.
#[derive(Debug)]
pub(crate) struct Cutter<R> {
    input: R,
    piece_bytes: usize,
    max_line_bytes: usize,
    /// The beginning of a line whose end has not been read yet.
    rest: Vec<u8>,
    skipping: bool,
    ended: bool,
    /// What the input failed with after the last piece.
    error: Option<io::Error>,
}

impl<R: Read> Cutter<R> {
    /// Both sizes are at least 1.
    pub(crate) fn new(input: R, piece_bytes: usize, max_line_bytes: usize) -> Self {
        Self {
            input,
            piece_bytes,
            max_line_bytes,
            rest: Vec::new(),
            skipping: false,
            ended: false,
            error: None,
        }
    }

    /// Fills `text` with the next piece. A line that is longer than a piece makes the text grow; `has_room` is asked
    /// first, with the bytes of the new size, and if it says no, the answer is [`Cut::NotYet`].
    pub(crate) fn next_piece(
        &mut self,
        text: &mut Text,
        mut has_room: impl FnMut(usize) -> bool,
    ) -> io::Result<Cut> {
        if let Some(error) = self.error.take() {
            return Err(error);
        }
        text.filled = 0;
        if self.skipping && !self.skip_line(text)? {
            return Ok(Cut::NotYet);
        }
        let mut target = self.piece_bytes.max(self.rest.len() + 1);
        if target > text.bytes().max(self.piece_bytes) && !has_room(target) {
            return Ok(Cut::NotYet);
        }
        text.lengthen(target)?;
        text.bytes[..self.rest.len()].copy_from_slice(&self.rest);
        text.filled = self.rest.len();
        self.rest.clear();
        let mut searched = 0;
        while !self.ended {
            let failed = match fill(&mut self.input, text, target) {
                Ok(ended) => {
                    self.ended = ended;
                    None
                }
                Err(error) => Some(error),
            };
            if let Some(at) = memchr::memrchr(b'\n', &text.as_bytes()[searched..]) {
                if !self.ended {
                    self.rest.extend_from_slice(&text.as_bytes()[searched + at + 1..]);
                    text.filled = searched + at + 1;
                }
                self.error = failed.filter(|error| error.kind() != io::ErrorKind::WouldBlock);
                break;
            }
            if text.filled > self.max_line_bytes {
                self.skipping = !self.ended;
                text.filled = KEPT_OF_LONG_LINE.min(text.filled);
                self.error = failed.filter(|error| error.kind() != io::ErrorKind::WouldBlock);
                return Ok(Cut::Piece(Piece::LongLine));
            }
            searched = text.filled;
            match failed {
                Some(error) if error.kind() != io::ErrorKind::WouldBlock => return Err(error),
                None => {
                    target = searched.saturating_add(self.piece_bytes);
                    if target <= text.bytes() || has_room(target) {
                        text.lengthen(target)?;
                        continue;
                    }
                }
                Some(_) => {}
            }
            self.rest.extend_from_slice(text.as_bytes());
            return Ok(Cut::NotYet);
        }
        Ok(if text.filled > 0 { Cut::Piece(Piece::Lines) } else { Cut::End })
    }

    /// Reads and forgets until the line ends; what follows it goes to `rest`. False if it has not ended yet.
    fn skip_line(&mut self, scratch: &mut Text) -> io::Result<bool> {
        scratch.lengthen(self.piece_bytes)?;
        while self.skipping && !self.ended {
            scratch.filled = 0;
            let filled = fill(&mut self.input, scratch, self.piece_bytes);
            if let Some(at) = memchr::memchr(b'\n', scratch.as_bytes()) {
                self.rest.extend_from_slice(&scratch.as_bytes()[at + 1..]);
                self.skipping = false;
            }
            match filled {
                Ok(ended) => self.ended = ended,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        self.skipping &= !self.ended;
        Ok(!self.skipping)
    }
}

/// Reads until `target` bytes of `text` are filled or the input ends; true at the end.
fn fill(input: &mut impl Read, text: &mut Text, target: usize) -> io::Result<bool> {
    while text.filled < target {
        match input.read(&mut text.bytes[text.filled..target]) {
            Ok(0) => return Ok(true),
            Ok(length) => text.filled += length,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

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
        while let Cut::Piece(piece) = cutter.next_piece(&mut text, |_| true)? {
            assert!(!text.as_bytes().is_empty(), "an empty piece");
            out.push((piece, text.as_bytes().to_vec()));
        }
        assert_eq!(cutter.next_piece(&mut text, |_| true)?, Cut::End, "the end stays the end");
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
            for piece_bytes in 1..=input.len() + 2 {
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
    fn overlong_lines_are_found_whatever_the_cut() -> io::Result<()> {
        for input in INPUTS {
            for max_line_bytes in 1..12 {
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
        assert_eq!(cutter.next_piece(&mut text, |_| true)?, Cut::Piece(Piece::LongLine));
        assert_eq!(text.as_bytes(), [b'x'; KEPT_OF_LONG_LINE]);
        assert_eq!(cutter.next_piece(&mut text, |_| true)?, Cut::Piece(Piece::Lines));
        assert_eq!(text.as_bytes(), b"next\n");
        assert!(text.bytes() < (1 << 20) + 3 * 4096, "{}", text.bytes());
        Ok(())
    }

    /// Gives the pieces, with an error of this kind after each.
    struct Halting(VecDeque<&'static [u8]>, io::ErrorKind, bool);

    impl Read for Halting {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            self.2 = !self.2;
            if self.2 {
                self.0.pop_front().map_or(Ok(0), |mut piece| piece.read(buffer))
            } else {
                Err(self.1.into())
            }
        }
    }

    /// What a cutter makes of the pieces, call by call: the text of a piece, or what else it says.
    fn cuts(pieces: &[&'static [u8]], kind: io::ErrorKind) -> Vec<String> {
        let mut cutter = Cutter::new(Halting(pieces.iter().copied().collect(), kind, false), 100, 20);
        let mut text = Text::default();
        let mut next = || match cutter.next_piece(&mut text, |_| true) {
            Ok(Cut::Piece(_)) => String::from_utf8_lossy(text.as_bytes()).into_owned(),
            Ok(other) => format!("{other:?}"),
            Err(error) => format!("{:?}", error.kind()),
        };
        let mut cuts = Vec::new();
        while cuts.last().is_none_or(|last| last != "End" && *last != format!("{kind:?}")) {
            cuts.push(next());
        }
        cuts
    }

    #[test]
    fn what_has_come_of_a_slow_input_is_handed_on_at_line_ends() {
        let pieces: [&[u8]; 6] = [b"one\ntw", b"o", b"o\n", b"three", b"", b"lost"];
        assert_eq!(
            cuts(&pieces, io::ErrorKind::WouldBlock),
            ["one\n", "NotYet", "twoo\n", "NotYet", "three", "End"]
        );
        let long: [&[u8]; 5] = [&[b'x'; 15], &[b'x'; 15], b"xx", b"x\nnext\nno", b" end"];
        assert_eq!(
            cuts(&long, io::ErrorKind::WouldBlock),
            ["NotYet", &"x".repeat(30), "NotYet", "next\n", "no end", "End"]
        );
    }

    #[test]
    fn lines_before_an_error_come_first() {
        assert_eq!(cuts(&[b"one\ntwo\nth"], io::ErrorKind::Other), ["one\ntwo\n", "Other"]);
        assert_eq!(cuts(&[b"th"], io::ErrorKind::Other), ["Other"]);
    }

    #[test]
    fn a_text_grows_only_where_there_is_room() -> io::Result<()> {
        let line = [&[b'x'; 30][..], b"\n"].concat();
        let mut cutter = Cutter::new(&line[..], 8, 100);
        let mut text = Text::default();
        let mut asked = Vec::new();
        let mut refuse = |bytes| {
            asked.push(bytes);
            false
        };
        for _ in 0..2 {
            assert_eq!(cutter.next_piece(&mut text, &mut refuse)?, Cut::NotYet);
        }
        assert_eq!(asked, [16, 9], "nothing is read that is lost");
        assert_eq!(cutter.next_piece(&mut text, |_| true)?, Cut::Piece(Piece::Lines));
        assert_eq!(text.as_bytes(), line);
        Ok(())
    }
}
