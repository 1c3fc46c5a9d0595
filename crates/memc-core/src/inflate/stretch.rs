//! Stretches of a deflate stream, inflated before the text in front of them is known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use flate2::{Decompress, FlushDecompress, Status};

use super::WINDOW_BYTES;
use super::ahead::Segment;
use super::bits::{begin_at, ending_at, take_sign};
use super::window::{fill_in, stand_in, tail};

/// Text is inflated in steps of this many bytes; between two of them it may be stopped, or learn its window.
/// It is more than a window, so by then the stand-in is behind the decoder.
const STEP_BYTES: usize = 128 * 1024;

/// A stretch that inflates to more than so many times a segment is left to who needs no memory for all of it.
const MAX_EXPANSION: usize = 8;

/// What to inflate: from a beginning of a block in `segment` to the first block of `next`.
#[derive(Debug)]
pub(super) struct Stretch<'a> {
    pub(super) segment: &'a Segment,
    pub(super) next: Option<&'a Segment>,
    /// The bit where it begins, if it is not the segment's first block.
    pub(super) bit: Option<usize>,
    /// Where the text in front of it will come from.
    pub(super) window: &'a Receiver<Vec<u8>>,
}

/// The text of a stretch, in which what is copied from the text in front of it may not be filled in.
#[derive(Debug)]
pub(super) struct Inflated {
    text: Vec<u8>,
    /// `text` with the other stand-in, up to where the window became known.
    twin: Vec<u8>,
    window: Vec<u8>,
    pub(super) end: End,
}

/// What is at the end of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// Another block, at this bit of the next segment.
    Block(usize),
    /// The end of the stream, so many bytes behind the beginning of the segment.
    Stream(usize),
}

impl Stretch<'_> {
    /// `None` if it is broken or too large, if no block ends where the next stretch would begin, if it copies
    /// what is in front of all text, if its window does not come, or if `stop` is set.
    pub(super) fn inflate(&self, buffer: Vec<u8>, stop: &AtomicBool) -> Option<Inflated> {
        let next_bit = match self.next {
            Some(next) if !next.is_last => Some(next.first_block()?),
            Some(next) => next.first_block(),
            None => None,
        };
        let bit = self.bit.or_else(|| self.segment.first_block())?;
        let body = &self.segment.bytes[bit.div_ceil(8)..];
        let (more, ending) = match (self.next, next_bit) {
            (Some(next), Some(bit)) => (&next.bytes[..bit / 8], ending_at(bit, &next.bytes)),
            (Some(next), None) => (&next.bytes[..], Vec::new()),
            (None, _) => (&[][..], Vec::new()),
        };
        let bytes_before_ending = body.len() + more.len();
        let max_text = MAX_EXPANSION * (WINDOW_BYTES + self.segment.bytes.len());

        let strand = |window: &[u8], buffer| {
            let mut decoder = Decompress::new(false);
            begin_at(&mut decoder, window, bit, &self.segment.bytes)?;
            Some(Strand { decoder, input: [body, more, &ending], bytes_read: 0, text: buffer, ended: false })
        };
        let mut window = self.window.try_recv().ok();
        let (mut first, mut twin) = match &window {
            Some(window) => (strand(window, buffer)?, None),
            None => (strand(&stand_in(0), buffer)?, Some(strand(&stand_in(1), Vec::new())?)),
        };
        while !first.ended {
            if stop.load(Ordering::Relaxed) || first.text.len() > max_text {
                return None;
            }
            let target = first.text.len() + STEP_BYTES;
            first.run_to(target)?;
            if window.is_none()
                && let Some(twin) = &mut twin
            {
                twin.run_to(target)?;
                window = self.window.try_recv().ok();
                if let Some(window) = &window {
                    // From here on, one decoder is enough: it gets to know its true window.
                    first.decoder.set_dictionary(&tail(&first.text, &twin.text, window)?).ok()?;
                }
            }
        }

        let end = match next_bit {
            Some(bit) if first.bytes_read == bytes_before_ending + ending.len() => {
                take_sign(&mut first.text)?;
                End::Block(bit)
            }
            // It has ended in what is ours.
            _ if first.bytes_read > bytes_before_ending => return None,
            _ => End::Stream(bit.div_ceil(8) + first.bytes_read),
        };
        let window = window.or_else(|| self.window.recv().ok())?;
        let twin = twin.map(|twin| twin.text).unwrap_or_default();
        Some(Inflated { text: first.text, twin, window, end })
    }
}

impl Inflated {
    /// The text in front of what follows, as far as that may copy from it.
    pub(super) fn next_window(&self) -> Option<Vec<u8>> {
        tail(&self.text, &self.twin, &self.window)
    }

    /// The text, filled in.
    pub(super) fn complete(mut self) -> Option<Vec<u8>> {
        fill_in(&mut self.text, &self.twin, &self.window)?;
        Some(self.text)
    }
}

/// A decoder with its input and all of its text.
struct Strand<'a> {
    decoder: Decompress,
    input: [&'a [u8]; 3],
    bytes_read: usize,
    text: Vec<u8>,
    ended: bool,
}

impl Strand<'_> {
    /// Goes on until there are `target` bytes of text, or to the end; `None` if it cannot.
    fn run_to(&mut self, target: usize) -> Option<()> {
        let mut filled = self.text.len();
        self.text.resize(target, 0);
        while !self.ended && filled < target {
            let mut none: &[u8] = &[];
            let piece = self.input.iter_mut().find(|piece| !piece.is_empty()).unwrap_or(&mut none);
            let before = (self.decoder.total_in(), self.decoder.total_out());
            let room = &mut self.text[filled..];
            let status = self.decoder.decompress(piece, room, FlushDecompress::None).ok()?;
            let read = usize::try_from(self.decoder.total_in() - before.0).ok()?;
            let written = usize::try_from(self.decoder.total_out() - before.1).ok()?;
            *piece = &piece[read..];
            self.bytes_read += read;
            filled += written;
            self.ended = status == Status::StreamEnd;
            if !self.ended && read == 0 && written == 0 {
                return None;
            }
        }
        self.text.truncate(filled);
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io::Write;
    use std::sync::mpsc;

    use flate2::Compression;
    use flate2::write::DeflateEncoder;
    use memc_testkit::Sample;

    use super::*;

    #[test]
    fn a_stretch_ends_only_where_a_block_ends() -> Result<(), Box<dyn Error>> {
        let text = Sample::new(1).text(20);
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        for piece in text.chunks(1000) {
            packed.write_all(piece)?;
            packed.flush()?;
        }
        let packed = packed.finish()?;
        let (here, there) = packed.split_at(packed.len() / 2);
        let segment = Segment::new(here.to_vec(), false);
        let mut ends = 0;
        // The last block has two bytes and no end within.
        for bit in 0..=(there.len() - 2) * 8 {
            let next = Segment::with_first_block(there.to_vec(), bit);
            let (sender, window) = mpsc::channel();
            sender.send(Vec::new())?;
            let stretch = Stretch { segment: &segment, next: Some(&next), bit: Some(0), window: &window };
            let Some(inflated) = stretch.inflate(Vec::new(), &AtomicBool::new(false)) else { continue };
            assert_eq!(inflated.end, End::Block(bit));
            let window = inflated.next_window().ok_or("no window")?;
            let whole = inflated.complete().ok_or("not whole")?;
            let mut decoder = Decompress::new(false);
            begin_at(&mut decoder, &window, bit, there).ok_or("no beginning")?;
            let mut rest = Vec::with_capacity(text.len());
            decoder.decompress_vec(&there[bit.div_ceil(8)..], &mut rest, FlushDecompress::None)?;
            assert!([whole, rest].concat() == text, "at bit {bit}");
            ends += 1;
        }
        // Half of the pieces are there, each with its block and an empty one behind it.
        assert!(ends >= text.len() / 1000 - 2, "{ends}");
        Ok(())
    }
}
