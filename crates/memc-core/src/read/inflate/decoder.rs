//! A deflate decoder (RFC 1951) that stops anywhere: where the input ends, the room, a block or the stream.

use super::codes::{Code, Distances, END_OF_BLOCK, MAX_CODE_BITS, Runs, low_bits, match_length};

/// A header has room for so many lengths of codes: 288 and 32 in a block with fixed codes.
const MAX_LENGTHS: usize = 320;

/// The order in which the lengths of the codes for lengths come.
const LENGTH_ORDER: [usize; 19] = [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Matches are copied in pieces of so many bytes, the last one with more than belongs to it.
const COPY_BYTES: usize = 16;

/// With so much room, two literals and the longest match need no look at where it ends.
const FAST_ROOM: usize = 2 + 258 + COPY_BYTES;

/// Why a decoder has stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stop {
    /// The input is used up.
    Input,
    /// There is no room for more text.
    Room,
    /// A block has ended and another one follows.
    Block,
    /// The stream has ended.
    End,
    /// What comes is no deflate; it stays so.
    Corrupt,
}

/// What comes next in the stream.
#[derive(Clone, Copy, Debug)]
enum Next {
    Block,
    StoredLength,
    Stored(usize),
    Counts,
    /// The length of a code for lengths; so many have been there.
    LengthLength(usize),
    /// The length of a code; so many have been there.
    Length(usize),
    Symbol,
    /// The rest of a match.
    Match {
        length: usize,
        distance: usize,
    },
    End,
    Corrupt,
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Decoder {
    next: Next,
    is_last_block: bool,
    /// Bits of the input that are read and not used yet, the first one lowest.
    bits: u64,
    bit_count: u32,
    /// How many codes the block has for lengths of codes, for literals and lengths, and for distances.
    counts: [usize; 3],
    lengths: [u8; MAX_LENGTHS],
    length_code: Code,
    /// Whether the codes below are the fixed ones, as in the blocks of small pieces, one after the other.
    has_fixed_codes: bool,
    code: Code,
    runs: Runs,
    distances: Distances,
}

impl Decoder {
    pub(crate) fn new() -> Self {
        Self {
            next: Next::Block,
            is_last_block: false,
            bits: 0,
            bit_count: 0,
            counts: [0; 3],
            lengths: [0; MAX_LENGTHS],
            length_code: Code::new(),
            has_fixed_codes: false,
            code: Code::new(),
            runs: Runs::new(),
            distances: Distances::new(),
        }
    }

    /// Forgets everything, and begins with the block at this bit of the input; returns what is left to read.
    pub(super) fn begin_at<'a>(&mut self, bit: usize, input: &'a [u8]) -> &'a [u8] {
        self.next = Next::Block;
        (self.bits, self.bit_count) = (0, 0);
        let mut input = &input[bit / 8..];
        let bits_before = u32::try_from(bit % 8).unwrap_or_default();
        if bits_before > 0
            && let Some(byte) = input.split_off_first()
        {
            (self.bits, self.bit_count) = (u64::from(*byte), 8);
            self.use_bits(bits_before);
        }
        input
    }

    /// How many bits are read and not used.
    pub(super) fn unused_bits(&self) -> usize {
        self.bit_count as usize
    }

    /// Moves the bytes that are read and not used to `bytes`, behind the end of a stream; returns how many.
    pub(crate) fn take_unused(&mut self, bytes: &mut [u8; 8]) -> usize {
        self.use_bits(self.bit_count % 8);
        let count = self.unused_bits() / 8;
        *bytes = self.bits.to_le_bytes();
        self.use_bits(self.bit_count);
        count
    }

    /// Goes on with `input`, of which it takes off what it has read, and puts the text into `text` from `at` on;
    /// returns where it ends, and why.
    ///
    /// Matches are copied from the text before `at`, which must be there, 32 KiB of it or all. What is behind the
    /// end that it returns may be overwritten. Input or room for a single byte is enough to get on.
    pub(crate) fn decode(&mut self, input: &mut &[u8], text: &mut [u8], mut at: usize) -> (usize, Stop) {
        loop {
            match self.step(input, text, &mut at) {
                Ok(next) => self.next = next,
                Err(Stop::Corrupt) => self.next = Next::Corrupt,
                Err(stop) => return (at, stop),
            }
            match self.next {
                Next::Block => return (at, Stop::Block),
                Next::End => return (at, Stop::End),
                Next::Corrupt => return (at, Stop::Corrupt),
                _ => {}
            }
        }
    }

    /// Does what comes next, and returns what comes then.
    fn step(&mut self, input: &mut &[u8], text: &mut [u8], at: &mut usize) -> Result<Next, Stop> {
        match self.next {
            Next::Block => {
                let header = self.take(3, input)?;
                self.is_last_block = header & 1 == 1;
                match header >> 1 {
                    0 => {
                        self.use_bits(self.bit_count % 8);
                        Ok(Next::StoredLength)
                    }
                    1 if self.has_fixed_codes => Ok(Next::Symbol),
                    1 => self.set_fixed_codes(),
                    2 => Ok(Next::Counts),
                    _ => Err(Stop::Corrupt),
                }
            }
            Next::StoredLength => {
                let length = self.take(32, input)?;
                let (length, inverted) = (length & 0xffff, length >> 16);
                if length ^ inverted == 0xffff { Ok(Next::Stored(length)) } else { Err(Stop::Corrupt) }
            }
            Next::Stored(0) => Ok(self.behind_block()),
            Next::Stored(left) => {
                let room = text.get_mut(*at..).filter(|room| !room.is_empty()).ok_or(Stop::Room)?;
                if self.bit_count > 0 {
                    room[0] = self.bits.to_le_bytes()[0];
                    self.use_bits(8);
                    *at += 1;
                    return Ok(Next::Stored(left - 1));
                }
                let length = left.min(room.len()).min(input.len());
                let bytes = input.split_off(..length).filter(|bytes| !bytes.is_empty()).ok_or(Stop::Input)?;
                room[..length].copy_from_slice(bytes);
                *at += length;
                Ok(Next::Stored(left - length))
            }
            Next::Counts => {
                let counts = self.take(14, input)?;
                self.counts = [(counts >> 10) + 4, (counts & 31) + 257, (counts >> 5 & 31) + 1];
                self.lengths = [0; MAX_LENGTHS];
                // There are 286 symbols for literals and lengths, and 30 for distances.
                if self.counts[1] > 286 || self.counts[2] > 30 {
                    return Err(Stop::Corrupt);
                }
                Ok(Next::LengthLength(0))
            }
            Next::LengthLength(count) if count == self.counts[0] => {
                self.length_code.set(&self.lengths[..LENGTH_ORDER.len()]).ok_or(Stop::Corrupt)?;
                Ok(Next::Length(0))
            }
            Next::LengthLength(count) => {
                let length = self.take(3, input)?;
                self.lengths[LENGTH_ORDER[count]] = u8::try_from(length).unwrap_or_default();
                Ok(Next::LengthLength(count + 1))
            }
            Next::Length(count) if count == self.counts[1] + self.counts[2] => self.set_codes(),
            Next::Length(count) => self.read_length(count, input),
            Next::Symbol => {
                self.decode_fast(input, text, at)?;
                self.decode_symbol(input, text, at)
            }
            Next::Match { length, distance } => {
                let end = text.len().min(*at + length);
                let left = length - (end - *at);
                copy_byte_by_byte(text, at, end, distance);
                if left == 0 {
                    return Ok(Next::Symbol);
                }
                self.next = Next::Match { length: left, distance };
                Err(Stop::Room)
            }
            Next::End => Err(Stop::End),
            Next::Corrupt => Err(Stop::Corrupt),
        }
    }

    fn behind_block(&self) -> Next {
        if self.is_last_block { Next::End } else { Next::Block }
    }

    /// The length of the next code, after `count` of them, or of the next few.
    fn read_length(&mut self, count: usize, input: &mut &[u8]) -> Result<Next, Stop> {
        self.read(input);
        let (symbol, bits) = self.length_code.symbol(self.bits).ok_or_else(|| self.no_code(0))?;
        let (length, least, extra) = match symbol {
            0..16 => (u8::try_from(symbol).unwrap_or_default(), 1, 0),
            // As the one before.
            16 => (count.checked_sub(1).map_or(u8::MAX, |before| self.lengths[before]), 3, 2),
            17 => (0, 3, 3),
            _ => (0, 11, 7),
        };
        self.need(bits + extra)?;
        self.use_bits(bits);
        let end = count + least + self.take(extra, input)?;
        if length == u8::MAX || end > self.counts[1] + self.counts[2] {
            return Err(Stop::Corrupt);
        }
        self.lengths[count..end].fill(length);
        Ok(Next::Length(end))
    }

    fn set_fixed_codes(&mut self) -> Result<Next, Stop> {
        self.counts = [0, 288, 32];
        self.lengths[..144].fill(8);
        self.lengths[144..256].fill(9);
        self.lengths[256..280].fill(7);
        self.lengths[280..288].fill(8);
        self.lengths[288..].fill(5);
        let next = self.set_codes()?;
        self.has_fixed_codes = true;
        Ok(next)
    }

    fn set_codes(&mut self) -> Result<Next, Stop> {
        self.has_fixed_codes = false;
        let (code, distances) = self.lengths[..self.counts[1] + self.counts[2]].split_at(self.counts[1]);
        if code[usize::from(END_OF_BLOCK)] == 0 {
            return Err(Stop::Corrupt);
        }
        self.code.set(code).ok_or(Stop::Corrupt)?;
        self.runs.set(&self.code);
        self.distances.set(distances).ok_or(Stop::Corrupt)?;
        Ok(Next::Symbol)
    }

    /// Decodes as long as there is input and room enough to look at neither, up to what needs a closer look.
    fn decode_fast(&mut self, input: &mut &[u8], text: &mut [u8], at: &mut usize) -> Result<(), Stop> {
        let (runs, distances) = (&self.runs, &self.distances);
        let mut source = Source { bytes: input, at: 0, bits: self.bits, bit_count: self.bit_count };
        let mut to = *at;
        let mut result = Ok(());
        if source.has_enough() {
            source.refill();
        }
        // The next run is looked up before more bits are read, so the processor need not wait for one to do the
        // other. There are bits enough: a long length and its distance take 45 of 64 at most.
        let mut run = runs.at(source.bits);
        while source.has_enough() && to + FAST_ROOM <= text.len() {
            source.refill();
            let length = if run.is_other() {
                let Some((length, bits)) = run.long_match(source.bits) else { break };
                source.use_bits(bits);
                length
            } else {
                text[to..to + 2].copy_from_slice(&run.literals());
                to += run.literal_count();
                source.use_bits(run.bits());
                let Some(length) = run.match_length() else {
                    run = runs.at(source.bits);
                    continue;
                };
                length
            };
            let bits = source.bits;
            let Some(distance) = distances.at(bits) else {
                result = Err(Stop::Corrupt);
                break;
            };
            source.use_bits(distance.bits());
            run = runs.at(source.bits);
            let distance = distance.of(bits);
            let Some(mut from) = to.checked_sub(distance) else {
                result = Err(Stop::Corrupt);
                break;
            };
            let end = to + length;
            if distance < COPY_BYTES {
                copy_byte_by_byte(text, &mut to, end, distance);
                continue;
            }
            while to < end {
                text.copy_within(from..from + COPY_BYTES, to);
                from += COPY_BYTES;
                to += COPY_BYTES;
            }
            to = end;
        }
        *at = to;
        self.bits = source.bits & ((1 << source.bit_count) - 1);
        self.bit_count = source.bit_count;
        *input = &source.bytes[source.at..];
        result
    }

    /// Decodes one symbol; of a match, also its distance.
    fn decode_symbol(&mut self, input: &mut &[u8], text: &mut [u8], at: &mut usize) -> Result<Next, Stop> {
        if *at == text.len() {
            return Err(Stop::Room);
        }
        self.read(input);
        let (symbol, bits) = self.code.symbol(self.bits).ok_or_else(|| self.no_code(0))?;
        self.need(bits)?;
        if symbol <= END_OF_BLOCK {
            self.use_bits(bits);
            let Ok(literal) = u8::try_from(symbol) else { return Ok(self.behind_block()) };
            text[*at] = literal;
            *at += 1;
            return Ok(Next::Symbol);
        }
        let (length, extra) = match_length(symbol, self.bits >> bits).ok_or(Stop::Corrupt)?;
        let bits = bits + extra;
        let distance = self.distances.at(self.bits >> bits).ok_or_else(|| self.no_code(bits))?;
        self.need(bits + distance.bits())?;
        self.use_bits(bits);
        let bytes = distance.of(self.bits);
        self.use_bits(distance.bits());
        if bytes > *at { Err(Stop::Corrupt) } else { Ok(Next::Match { length, distance: bytes }) }
    }

    /// Why there is no code behind so many bits: with the longest one, there are not enough, or it is not there.
    fn no_code(&self, bits: u32) -> Stop {
        if self.bit_count < bits + MAX_CODE_BITS { Stop::Input } else { Stop::Corrupt }
    }

    fn need(&self, bits: u32) -> Result<(), Stop> {
        if self.bit_count < bits { Err(Stop::Input) } else { Ok(()) }
    }

    /// The next bits as a number.
    fn take(&mut self, count: u32, input: &mut &[u8]) -> Result<usize, Stop> {
        self.read(input);
        self.need(count)?;
        let bits = low_bits(self.bits, count);
        self.use_bits(count);
        Ok(bits)
    }

    fn use_bits(&mut self, count: u32) {
        self.bits >>= count;
        self.bit_count -= count;
    }

    /// Reads bytes as long as there is room for their bits: then there are 56 or more, if there is input enough.
    fn read(&mut self, input: &mut &[u8]) {
        while self.bit_count < 56
            && let Some(byte) = input.split_off_first()
        {
            self.bits |= u64::from(*byte) << self.bit_count;
            self.bit_count += 8;
        }
    }
}

/// The input of the fast decoder, as values that stay in registers.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    bits: u64,
    bit_count: u32,
}

impl Source<'_> {
    /// Whether it can be refilled.
    #[inline]
    fn has_enough(&self) -> bool {
        self.bytes.len() - self.at >= 8
    }

    /// Reads up to 56 bits or more. All 64 are true then: those from `bit_count` on are bits to come, read again.
    #[inline]
    fn refill(&mut self) {
        if let Some(word) = self.bytes[self.at..].first_chunk() {
            self.bits |= u64::from_le_bytes(*word) << self.bit_count;
            self.at += (63 - self.bit_count as usize) / 8;
            self.bit_count |= 56;
        }
    }

    #[inline]
    fn use_bits(&mut self, count: u32) {
        self.bits >>= count;
        self.bit_count -= count;
    }
}

/// Copies a match that may repeat itself; `from` and `to` are in `text`.
fn copy_byte_by_byte(text: &mut [u8], to: &mut usize, end: usize, distance: usize) {
    for at in *to..end {
        text[at] = text[at - distance];
    }
    *to = end;
}

#[cfg(test)]
mod tests;
