//! Stretches of a deflate stream (RFC 1951): found, and inflated before the text in front of them is known.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Receiver;

use flate2::{Decompress, FlushDecompress, Status};

/// A match copies from this many bytes before it, at most.
pub(crate) const WINDOW_BYTES: usize = 32 * 1024;

/// Text is inflated in steps of this many bytes; between two of them it may be stopped, or learn its window.
const STEP_BYTES: usize = 128 * 1024;

/// A stretch that inflates to more than so many times its size is left to who needs no memory for all of it.
const MAX_EXPANSION: usize = 8;

/// What seems to be a block must give so much text without an error, counted with a window before it.
const TRIAL_BYTES: usize = WINDOW_BYTES + 16 * 1024;

/// A block without text, with fixed codes: not the last one (0), fixed (01), end of block (0000000).
const EMPTY_BLOCK: (u128, usize) = (0b010, 10);

/// The same as the last block of a stream.
const EMPTY_LAST_BLOCK: (u32, usize) = (0b011, 10);

/// A block without text whose bits are of an odd number: its fields, and how many bits they have.
const EMPTY_ODD_BLOCK: [(u128, usize); 9] = [
    (0b100, 3),           // not the last one, with codes of its own
    (0, 10),              // 257 codes for literals, 1 for distances
    (14, 4),              // the lengths of 18 codes for lengths, in the order 16, 17, 18, 0, 8, ... 1:
    (0b010 << 6, 9),      // 18 has 2 bits, so the code 11
    (0b010, 3),           // 0 has 2 bits: 10
    (0b001 << 39, 42),    // 1 has 1 bit: 0
    (127 << 2 | 0b11, 9), // 138 literals without a code
    (107 << 2 | 0b11, 9), // 118 more
    (0b0010, 4),          // 1 bit for the end of block, no code for the distance; end of block
];

/// A piece of a packed input.
#[derive(Debug)]
pub(crate) struct Segment {
    pub(crate) bytes: Vec<u8>,
    /// Nothing comes after it.
    pub(crate) is_last: bool,
    first_block: OnceLock<Option<usize>>,
}

impl Segment {
    pub(crate) fn new(bytes: Vec<u8>, is_last: bool) -> Self {
        Self { bytes, is_last, first_block: OnceLock::new() }
    }

    /// The bit at which the first block seems to begin in it; searched for once, by who asks first.
    fn first_block(&self) -> Option<usize> {
        *self.first_block.get_or_init(|| find_block(&self.bytes))
    }
}

/// What to inflate: from a beginning of a block in `segment` to the first block of `next`.
#[derive(Debug)]
pub(crate) struct Stretch<'a> {
    pub(crate) segment: &'a Segment,
    pub(crate) next: Option<&'a Segment>,
    /// The bit where it begins, if it is not the segment's first block.
    pub(crate) bit: Option<usize>,
    /// Where the text in front of it will come from.
    pub(crate) window: &'a Receiver<Vec<u8>>,
}

/// The text of a stretch, in which what is copied from the text in front of it may not be filled in.
#[derive(Debug)]
pub(crate) struct Inflated {
    /// The text in front of the stretch, or what stands in for it, then its own.
    text: Vec<u8>,
    own: usize,
    /// `text` with the other stand-in, up to where the window became known.
    twin: Vec<u8>,
    window: Vec<u8>,
    pub(crate) end: End,
}

/// What is at the end of a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// Another block, at this bit of the next segment.
    Block(usize),
    /// The end of the stream, so many bytes behind the beginning of the segment.
    Stream(usize),
}

impl Stretch<'_> {
    /// `None` if it is broken or too large, if no block ends where the next stretch would begin, if it copies
    /// what is in front of all text, if its window does not come, or if `stop` is set.
    pub(crate) fn inflate(&self, buffer: Vec<u8>, stop: &AtomicBool) -> Option<Inflated> {
        let next_bit = match self.next {
            Some(next) if !next.is_last => Some(next.first_block()?),
            Some(next) => next.first_block(),
            None => None,
        };
        let bit = self.bit.or_else(|| self.segment.first_block())?;
        let body = &self.segment.bytes[bit.div_ceil(8)..];
        let more = match (self.next, next_bit) {
            (Some(next), Some(bit)) => &next.bytes[..bit / 8],
            (Some(next), None) => &next.bytes,
            (None, _) => &[],
        };
        let ending =
            self.next.zip(next_bit).map(|(next, bit)| ending_at(bit, &next.bytes)).unwrap_or_default();
        let max_text = MAX_EXPANSION * (WINDOW_BYTES + body.len() + more.len());

        let mut window = self.window.try_recv().ok();
        let lead = |window: &[u8]| lead(window, bit, &self.segment.bytes);
        let [lead, twin_lead] = match &window {
            Some(window) => [lead(window), Vec::new()],
            None => [lead(&stand_in(0)), lead(&stand_in(1))],
        };
        let mut strand = Strand::new([&lead, body, more, &ending], buffer);
        let mut twin = Strand::new([&twin_lead, body, more, &ending], Vec::new());
        let own = window.as_ref().map_or(WINDOW_BYTES, Vec::len);
        while !strand.ended {
            if stop.load(Ordering::Relaxed) || strand.text.len() > max_text {
                return None;
            }
            let target = strand.text.len() + STEP_BYTES;
            strand.run_to(target)?;
            if window.is_none() {
                twin.run_to(target)?;
                window = self.window.try_recv().ok();
                if let Some(window) = &window {
                    // From here on, one decoder is enough: it gets to know its true window.
                    let tail = tail(&strand.text, own, &twin.text, window)?;
                    strand.decoder.set_dictionary(&tail).ok()?;
                }
            }
        }

        let read = strand.bytes_read - lead.len();
        let end = match next_bit {
            Some(bit) if read == body.len() + more.len() + ending.len() => End::Block(bit),
            // What follows the stream's end are bits of ours.
            _ if read > body.len() + more.len() => return None,
            _ => End::Stream(bit.div_ceil(8) + read),
        };
        let window = window.or_else(|| self.window.recv().ok())?;
        Some(Inflated { text: strand.text, own, twin: twin.text, window, end })
    }
}

impl Inflated {
    /// The text in front of what follows, as far as that may copy from it.
    pub(crate) fn next_window(&self) -> Option<Vec<u8>> {
        tail(&self.text, self.own, &self.twin, &self.window)
    }

    /// The text, filled in, and the place where its own begins.
    pub(crate) fn complete(mut self) -> Option<(Vec<u8>, usize)> {
        let twin = self.twin.get(self.own..).unwrap_or_default();
        fill_in(&mut self.text[self.own..], twin, &self.window)?;
        Some((self.text, self.own))
    }
}

/// The end of the text, filled in; of what is in front of it, too, if it is short.
fn tail(text: &[u8], own: usize, twin: &[u8], window: &[u8]) -> Option<Vec<u8>> {
    let from = own.max(text.len().saturating_sub(WINDOW_BYTES));
    let mut tail = text[from..].to_vec();
    fill_in(&mut tail, twin.get(from..).unwrap_or_default(), window)?;
    let kept = window.len().min(WINDOW_BYTES - tail.len());
    Some([&window[window.len() - kept..], &tail].concat())
}

/// Replaces what differs between the twins by what is at its place in `window`; `None` if no text is there.
fn fill_in(text: &mut [u8], twin: &[u8], window: &[u8]) -> Option<()> {
    let common = text.len().min(twin.len());
    let (text, twin) = (&mut text[..common], &twin[..common]);
    let missing = WINDOW_BYTES - window.len();
    let whole = [&vec![0; missing], window].concat();
    let too_far = |(byte, twin): (&u8, &u8)| byte != twin && place(*byte, *twin) < missing;
    if missing > 0 && text.iter().zip(twin).any(too_far) {
        return None;
    }
    // Most bytes are alike, so eight of them are looked at together.
    let (words, rest) = text.as_chunks_mut::<8>();
    let (twin_words, twin_rest) = twin.as_chunks::<8>();
    for (bytes, twins) in words.iter_mut().zip(twin_words) {
        let mut differences = u64::from_le_bytes(*bytes) ^ u64::from_le_bytes(*twins);
        while differences != 0 {
            let at = differences.trailing_zeros() as usize / 8;
            bytes[at] = whole[place(bytes[at], twins[at])];
            differences &= !(0xff << (at * 8));
        }
    }
    for (byte, twin) in rest.iter_mut().zip(twin_rest).filter(|(byte, twin)| byte != twin) {
        *byte = whole[place(*byte, *twin)];
    }
    Some(())
}

/// One of the two windows that stand in for one that is not known. They differ in every byte, and each pair
/// of bytes is there once; so exactly those bytes of the text are copied from the window that differ in the
/// two texts, and they tell from where.
fn stand_in(number: usize) -> Vec<u8> {
    let byte = |place: usize| {
        let [low, high, ..] = place.to_le_bytes();
        if number == 0 { low } else { low.wrapping_add(high + 1) }
    };
    (0..WINDOW_BYTES).map(byte).collect()
}

/// The place in the window at which the two stand-ins have these bytes.
fn place(byte: u8, twin: u8) -> usize {
    usize::from(u16::from_le_bytes([byte, twin.wrapping_sub(byte).wrapping_sub(1)])) % WINDOW_BYTES
}

/// What a decoder is given before the bytes that follow bit `bit` of `bytes`: a stored block with the text in
/// front of them, which it puts out as text of its own, then blocks without text, so that the bit comes at
/// its place in a byte, and the rest of that byte.
pub(crate) fn lead(window: &[u8], bit: usize, bytes: &[u8]) -> Vec<u8> {
    let mut lead = Vec::with_capacity(window.len() + 32);
    if let Ok(length @ 1..) = u16::try_from(window.len()) {
        lead.push(0);
        lead.extend(length.to_le_bytes());
        lead.extend((!length).to_le_bytes());
        lead.extend(window);
    }
    let (mut bits, mut count) = (0, 0);
    let mut push = |(field, width): (u128, usize)| {
        bits |= field << count;
        count += width;
        count % 8
    };
    let shift = bit % 8;
    let mut at = 0;
    if shift % 2 == 1 {
        at = EMPTY_ODD_BLOCK.map(&mut push)[EMPTY_ODD_BLOCK.len() - 1];
    }
    while at != shift {
        at = push(EMPTY_BLOCK);
    }
    if shift > 0 {
        push((u128::from(bytes[bit / 8] >> shift), 8 - shift));
    }
    lead.extend(&bits.to_le_bytes()[..count / 8]);
    lead
}

/// What a decoder is given last, in place of the byte of `bytes` with bit `bit`: its bits before that one,
/// then an empty last block.
///
/// If a block ends there, the decoder is at its end exactly when all is read. In the middle of a block, it
/// takes these bits for something else: with the end of that block among them, what is left of them is the
/// beginning of another block but not a whole last one, so it would have to read on. Only in the stream's own
/// last block it may come to an end, if by chance what seemed to begin there was none; then the CRC is wrong.
fn ending_at(bit: usize, bytes: &[u8]) -> Vec<u8> {
    let shift = bit % 8;
    let bits = u32::from(bytes[bit / 8]) & ((1 << shift) - 1) | EMPTY_LAST_BLOCK.0 << shift;
    bits.to_le_bytes()[..(shift + EMPTY_LAST_BLOCK.1).div_ceil(8)].to_vec()
}

/// A decoder with its input and all of its text.
struct Strand<'a> {
    decoder: Decompress,
    input: [&'a [u8]; 4],
    bytes_read: usize,
    text: Vec<u8>,
    ended: bool,
}

impl<'a> Strand<'a> {
    fn new(input: [&'a [u8]; 4], text: Vec<u8>) -> Self {
        Self { decoder: Decompress::new(false), input, bytes_read: 0, text, ended: false }
    }

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

/// The first bit at which a block with codes of its own seems to begin that is not the last one.
fn find_block(bytes: &[u8]) -> Option<usize> {
    let mut decoder = Decompress::new(false);
    for (at, header) in bytes.windows(16).enumerate() {
        let header = u128::from_le_bytes(header.try_into().ok()?);
        // It begins with the bits 0, 0, 1.
        let mut places = !header & !(header >> 1) & (header >> 2) & 0xff;
        while places != 0 {
            let shift = places.trailing_zeros();
            places &= places - 1;
            let bit = at * 8 + shift as usize;
            if has_sound_lengths(header >> shift) && is_sound(&mut decoder, bit, bytes) {
                return Some(bit);
            }
        }
    }
    None
}

/// Whether a header has counts within the bounds, and a complete code for its lengths.
fn has_sound_lengths(header: u128) -> bool {
    let field = |from: usize, width: usize| (header >> from) & ((1 << width) - 1);
    if field(3, 5) > 29 || field(8, 5) > 29 {
        return false;
    }
    let mut lengths = header >> 17 & ((1 << (3 * (field(13, 4) + 4))) - 1);
    let mut codes = 0;
    while lengths != 0 {
        codes += [0, 64, 32, 16, 8, 4, 2, 1][(lengths & 7) as usize];
        lengths >>= 3;
    }
    codes == 128
}

/// Whether a decoder takes what begins at this bit for a block, and what comes then for text.
///
/// Chance makes a sound header at one bit of some 10^9, and then the text of it soon ends in something unsound.
fn is_sound(decoder: &mut Decompress, bit: usize, bytes: &[u8]) -> bool {
    // With no room for text, it reads only the header; that is quick, and needs no window.
    [0, TRIAL_BYTES].into_iter().all(|room| {
        decoder.reset(false);
        let lead = lead(if room == 0 { &[] } else { &[0; WINDOW_BYTES] }, bit, bytes);
        let mut text = vec![0; room];
        let text_of_lead = room.min(WINDOW_BYTES);
        decoder.decompress(&lead, &mut text[..text_of_lead], FlushDecompress::None).is_ok()
            && decoder
                .decompress(&bytes[bit.div_ceil(8)..], &mut text[text_of_lead..], FlushDecompress::None)
                .is_ok()
    })
}

#[cfg(test)]
mod tests {
    use std::error::Error;
    use std::io::{Read, Write};
    use std::sync::mpsc;

    use flate2::Compression;
    use flate2::read::DeflateDecoder;
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
            let next = Segment::new(there.to_vec(), false);
            next.first_block.get_or_init(|| Some(bit));
            let (sender, window) = mpsc::channel();
            sender.send(Vec::new())?;
            let stretch = Stretch { segment: &segment, next: Some(&next), bit: Some(0), window: &window };
            let Some(inflated) = stretch.inflate(Vec::new(), &AtomicBool::new(false)) else { continue };
            assert_eq!(inflated.end, End::Block(bit));
            let window = inflated.next_window().ok_or("no window")?;
            let (whole, _) = inflated.complete().ok_or("not whole")?;
            let rest = [&lead(&window, bit, there), &there[bit.div_ceil(8)..]].concat();
            let mut rest_text = Vec::new();
            DeflateDecoder::new(&rest[..]).read_to_end(&mut rest_text)?;
            assert!([&whole, &rest_text[window.len()..]].concat() == text, "at bit {bit}");
            ends += 1;
        }
        // Half of the pieces are there, each with its block and an empty one behind it.
        assert!(ends >= text.len() / 1000 - 2, "{ends}");
        Ok(())
    }

    #[test]
    fn the_stand_ins_tell_every_place() {
        let [one, other] = [stand_in(0), stand_in(1)];
        for at in 0..WINDOW_BYTES {
            assert!(one[at] != other[at] && place(one[at], other[at]) == at, "{at}");
        }
    }
}
