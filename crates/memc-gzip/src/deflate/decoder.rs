//! The decoder: what comes next in the stream, from block to block and symbol to symbol.

use super::bits::{Bits, low_bits};
use super::code::{Code, END_OF_BLOCK, MAX_CODE_BITS, match_length};
use super::fast::{self, BadMatch};
use super::tables::{Distances, Runs};

/// The most lengths of codes that a block has: 288 and 32 with fixed codes.
const MAX_LENGTHS: usize = 320;

/// The order in which a block gives the lengths of the codes for lengths.
pub(super) const LENGTH_ORDER: [usize; 19] =
    [16, 17, 18, 0, 8, 7, 9, 6, 10, 5, 11, 4, 12, 3, 13, 2, 14, 1, 15];

/// Why [`Decoder::decode`] returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    /// The input is used up.
    NeedsInput,
    /// The output is full.
    NeedsRoom,
    /// The stream has ended.
    End,
    /// The input is not deflate; so says every further call.
    Corrupt,
}

/// What comes next in the stream.
#[derive(Clone, Copy, Debug)]
enum Next {
    Block,
    StoredLength,
    /// So many bytes of a stored block.
    Stored(usize),
    Counts,
    /// The length of a code for lengths, after so many of them.
    LengthLength(usize),
    /// The length of a code, after so many of them.
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

/// A decoder for one deflate stream after the other, which keeps its place wherever it stops.
#[derive(Debug)]
pub(crate) struct Decoder {
    next: Next,
    is_last_block: bool,
    bits: Bits,
    /// How many codes the block has for lengths of codes, for literals and lengths, and for distances.
    counts: [usize; 3],
    lengths: [u8; MAX_LENGTHS],
    length_code: Code,
    /// Whether the codes below are the fixed ones: small inputs have one such block after the other.
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
            bits: Bits::default(),
            counts: [0; 3],
            lengths: [0; MAX_LENGTHS],
            length_code: Code::new(),
            has_fixed_codes: false,
            code: Code::new(),
            runs: Runs::new(),
            distances: Distances::new(),
        }
    }

    /// Starts with a new stream.
    pub(crate) fn reset(&mut self) {
        self.next = Next::Block;
        self.bits = Bits::default();
    }

    /// After the end of a stream: moves the bytes that were read beyond it to `bytes` and returns how many they are.
    pub(crate) fn take_unused(&mut self, bytes: &mut [u8; 8]) -> usize {
        self.bits.align();
        *bytes = self.bits.value.to_le_bytes();
        let count = self.bits.count as usize / 8;
        self.bits = Bits::default();
        count
    }

    /// Decodes `input` into `output` from `filled` on; returns where the output ends, and why there.
    ///
    /// `input` is moved on past what was read. Matches are copied from `output[..filled]`: it must hold the last
    /// 32 KiB of what this stream has been decoded to, or all of it, and nothing else. Bytes after the returned end
    /// may be overwritten. One byte of input or room is enough to get on.
    pub(crate) fn decode(
        &mut self,
        input: &mut &[u8],
        output: &mut [u8],
        mut filled: usize,
    ) -> (usize, Status) {
        loop {
            match self.step(input, output, &mut filled) {
                Ok(next) => self.next = next,
                Err(status) => {
                    if status == Status::Corrupt {
                        self.next = Next::Corrupt;
                    }
                    return (filled, status);
                }
            }
        }
    }

    /// Decodes what comes next, and returns what comes then.
    fn step(&mut self, input: &mut &[u8], output: &mut [u8], filled: &mut usize) -> Result<Next, Status> {
        match self.next {
            Next::Block => {
                let header = self.take(3, input)?;
                self.is_last_block = header & 1 == 1;
                match header >> 1 {
                    0 => {
                        self.bits.align();
                        Ok(Next::StoredLength)
                    }
                    1 if self.has_fixed_codes => Ok(Next::Symbol),
                    1 => self.set_fixed_codes(),
                    2 => Ok(Next::Counts),
                    _ => Err(Status::Corrupt),
                }
            }
            Next::StoredLength => {
                let length = self.take(32, input)?;
                let (length, inverted) = (length & 0xffff, length >> 16);
                if length ^ inverted == 0xffff { Ok(Next::Stored(length)) } else { Err(Status::Corrupt) }
            }
            Next::Stored(0) => Ok(self.after_block()),
            Next::Stored(left) => {
                let room =
                    output.get_mut(*filled..).filter(|room| !room.is_empty()).ok_or(Status::NeedsRoom)?;
                if self.bits.count > 0 {
                    room[0] = self.bits.value.to_le_bytes()[0];
                    self.bits.skip(8);
                    *filled += 1;
                    return Ok(Next::Stored(left - 1));
                }
                let length = left.min(room.len()).min(input.len());
                let bytes = input.split_off(..length).filter(|bytes| !bytes.is_empty());
                room[..length].copy_from_slice(bytes.ok_or(Status::NeedsInput)?);
                *filled += length;
                Ok(Next::Stored(left - length))
            }
            Next::Counts => {
                let counts = self.take(14, input)?;
                self.counts = [(counts >> 10) + 4, (counts & 31) + 257, (counts >> 5 & 31) + 1];
                self.lengths = [0; MAX_LENGTHS];
                // There are 286 symbols for literals and lengths, and 30 for distances.
                if self.counts[1] > 286 || self.counts[2] > 30 {
                    return Err(Status::Corrupt);
                }
                Ok(Next::LengthLength(0))
            }
            Next::LengthLength(count) if count == self.counts[0] => {
                self.length_code.set(&self.lengths[..LENGTH_ORDER.len()]).ok_or(Status::Corrupt)?;
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
                let tables = (&self.runs, &self.distances);
                fast::decode(tables, &mut self.bits, input, output, filled)
                    .map_err(|BadMatch| Status::Corrupt)?;
                self.decode_symbol(input, output, filled)
            }
            Next::Match { length, distance } => {
                let end = output.len().min(*filled + length);
                let left = length - (end - *filled);
                fast::copy_match(output, filled, end, distance);
                if left == 0 {
                    return Ok(Next::Symbol);
                }
                self.next = Next::Match { length: left, distance };
                Err(Status::NeedsRoom)
            }
            Next::End => Err(Status::End),
            Next::Corrupt => Err(Status::Corrupt),
        }
    }

    fn after_block(&self) -> Next {
        if self.is_last_block { Next::End } else { Next::Block }
    }

    /// Reads the length of the next code after `count` of them, or of the next few.
    fn read_length(&mut self, count: usize, input: &mut &[u8]) -> Result<Next, Status> {
        self.bits.fill(input);
        let (symbol, bits) = self.length_code.symbol(self.bits.value).ok_or_else(|| self.no_code(0))?;
        let (length, least, extra) = match symbol {
            0..16 => (u8::try_from(symbol).unwrap_or_default(), 1, 0),
            // The length before, again.
            16 => (count.checked_sub(1).map_or(u8::MAX, |before| self.lengths[before]), 3, 2),
            17 => (0, 3, 3),
            _ => (0, 11, 7),
        };
        self.need(bits + extra)?;
        self.bits.skip(bits);
        let end = count + least + self.take(extra, input)?;
        if length == u8::MAX || end > self.counts[1] + self.counts[2] {
            return Err(Status::Corrupt);
        }
        self.lengths[count..end].fill(length);
        Ok(Next::Length(end))
    }

    fn set_fixed_codes(&mut self) -> Result<Next, Status> {
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

    fn set_codes(&mut self) -> Result<Next, Status> {
        self.has_fixed_codes = false;
        let (code, distances) = self.lengths[..self.counts[1] + self.counts[2]].split_at(self.counts[1]);
        if code[usize::from(END_OF_BLOCK)] == 0 {
            return Err(Status::Corrupt);
        }
        self.code.set(code).ok_or(Status::Corrupt)?;
        self.runs.set(&self.code);
        self.distances.set(distances).ok_or(Status::Corrupt)?;
        Ok(Next::Symbol)
    }

    /// Decodes one symbol and, of a match, its distance.
    fn decode_symbol(
        &mut self,
        input: &mut &[u8],
        output: &mut [u8],
        filled: &mut usize,
    ) -> Result<Next, Status> {
        if *filled == output.len() {
            return Err(Status::NeedsRoom);
        }
        self.bits.fill(input);
        let (symbol, bits) = self.code.symbol(self.bits.value).ok_or_else(|| self.no_code(0))?;
        self.need(bits)?;
        if symbol <= END_OF_BLOCK {
            self.bits.skip(bits);
            let Ok(literal) = u8::try_from(symbol) else { return Ok(self.after_block()) };
            output[*filled] = literal;
            *filled += 1;
            return Ok(Next::Symbol);
        }
        let (length, extra) = match_length(symbol, self.bits.value >> bits).ok_or(Status::Corrupt)?;
        let bits = bits + extra;
        let distance = self.distances.at(self.bits.value >> bits).ok_or_else(|| self.no_code(bits))?;
        self.need(bits + distance.bits())?;
        self.bits.skip(bits);
        let bytes = distance.of(self.bits.value);
        self.bits.skip(distance.bits());
        if bytes > *filled { Err(Status::Corrupt) } else { Ok(Next::Match { length, distance: bytes }) }
    }

    /// Why no code was found after `bits` bits: too few are there for the longest one, or there is none.
    fn no_code(&self, bits: u32) -> Status {
        if self.bits.count < bits + MAX_CODE_BITS { Status::NeedsInput } else { Status::Corrupt }
    }

    fn need(&self, bits: u32) -> Result<(), Status> {
        if self.bits.count < bits { Err(Status::NeedsInput) } else { Ok(()) }
    }

    /// The next bits as a number.
    fn take(&mut self, count: u32, input: &mut &[u8]) -> Result<usize, Status> {
        self.bits.fill(input);
        self.need(count)?;
        let bits = low_bits(self.bits.value, count);
        self.bits.skip(count);
        Ok(bits)
    }
}
