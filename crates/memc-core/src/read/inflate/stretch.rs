//! Stretches of a deflate stream, inflated before the text in front of them is known.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use super::WINDOW_BYTES;
use super::ahead::Segment;
use super::decoder::{Decoder, Stop};
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
    /// The stretch's own text begins behind the window it was inflated with.
    text: Vec<u8>,
    from: usize,
    /// That text with the other stand-in, if the window was not known in time.
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
        let max_text = MAX_EXPANSION * (WINDOW_BYTES + self.segment.bytes.len());

        let mut window = self.window.try_recv().ok();
        let (mut strand, mut twin) = match &window {
            Some(window) => (self.strand(bit, next_bit, window, buffer), None),
            None => (
                self.strand(bit, next_bit, &stand_in(0), buffer),
                Some(self.strand(bit, next_bit, &stand_in(1), Vec::new())),
            ),
        };
        let from = strand.filled;
        let end = loop {
            if stop.load(Ordering::Relaxed) || strand.filled > max_text {
                return None;
            }
            let target = strand.filled + STEP_BYTES;
            let end = strand.run_to(target)?;
            if let Some(other) = &mut twin {
                other.run_to(target)?;
                window = self.window.try_recv().ok();
                if let Some(window) = &window {
                    // From here on, one decoder is enough: all that it copies from is true.
                    fill_in(&mut strand.text[from..strand.filled], &other.text[from..], window)?;
                    twin = None;
                }
            }
            if let Some(end) = end {
                break end;
            }
        };
        let window = window.or_else(|| self.window.recv().ok())?;
        let twin = twin.map(|mut twin| twin.text.split_off(from)).unwrap_or_default();
        strand.text.truncate(strand.filled);
        Some(Inflated { text: strand.text, from, twin, window, end })
    }

    fn strand(&self, bit: usize, next_bit: Option<usize>, window: &[u8], mut text: Vec<u8>) -> Strand<'_> {
        text.clear();
        text.extend_from_slice(window);
        let mut decoder = Decoder::new();
        let here = decoder.begin_at(bit, &self.segment.bytes);
        let there = self.next.map_or(&[][..], |next| &next.bytes);
        let end = (self.segment.bytes.len() + there.len()) * 8;
        let next = next_bit.map(|bit| (self.segment.bytes.len() * 8 + bit, End::Block(bit)));
        Strand { decoder, input: [here, there], end, next, filled: text.len(), text }
    }
}

impl Inflated {
    /// The text in front of what follows, as far as that may copy from it.
    pub(super) fn next_window(&self) -> Option<Vec<u8>> {
        tail(&self.text[self.from..], &self.twin, &self.window)
    }

    /// The text, filled in, and where it begins.
    pub(super) fn complete(mut self) -> Option<(Vec<u8>, usize)> {
        fill_in(&mut self.text[self.from..], &self.twin, &self.window)?;
        Some((self.text, self.from))
    }
}

/// A decoder with its input and all of its text.
struct Strand<'a> {
    decoder: Decoder,
    /// What is left of the segment and the next one.
    input: [&'a [u8]; 2],
    /// The bit at which both have ended, from the beginning of the segment.
    end: usize,
    /// The same for that at which the next stretch begins.
    next: Option<(usize, End)>,
    text: Vec<u8>,
    filled: usize,
}

impl Strand<'_> {
    /// Goes on until there are `target` bytes of text, or to the end, which it returns; `None` if it cannot.
    fn run_to(&mut self, target: usize) -> Option<Option<End>> {
        self.text.resize(target, 0);
        loop {
            let [here, there] = &mut self.input;
            let input = if here.is_empty() { there } else { here };
            let (filled, stop) = self.decoder.decode(input, &mut self.text, self.filled);
            self.filled = filled;
            let unused_bits = (self.input[0].len() + self.input[1].len()) * 8 + self.decoder.unused_bits();
            let at = self.end - unused_bits;
            match stop {
                Stop::Room => return Some(None),
                Stop::Input if self.input[1].is_empty() => return None,
                Stop::Input => {}
                Stop::Block => match self.next {
                    Some((next, end)) if at == next => return Some(Some(end)),
                    Some((next, _)) if at > next => return None,
                    _ => {}
                },
                Stop::End => return Some(Some(End::Stream(at.div_ceil(8)))),
                Stop::Corrupt => return None,
            }
        }
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
            let (whole, from) = inflated.complete().ok_or("not whole")?;
            let whole = &whole[from..];
            let mut decoder = Decoder::new();
            let mut rest = [&window[..], &vec![0; text.len()]].concat();
            let (mut at, mut input) = (window.len(), decoder.begin_at(bit, there));
            loop {
                let (end, stop) = decoder.decode(&mut input, &mut rest, at);
                at = end;
                match stop {
                    Stop::Block => {}
                    Stop::End => break,
                    stop => return Err(format!("{stop:?}").into()),
                }
            }
            let rest = &rest[window.len()..at];
            assert!([whole, rest].concat() == text, "at bit {bit}");
            ends += 1;
        }
        // Half of the pieces are there, each with its block and an empty one behind it.
        assert!(ends >= text.len() / 1000 - 2, "{ends}");
        Ok(())
    }
}
