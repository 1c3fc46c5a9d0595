//! The prefix codes of a deflate block (RFC 1951, section 3.2), and tables that tell several symbols at once.

/// No code of deflate is longer.
pub(super) const MAX_CODE_BITS: u32 = 15;

/// So many bits are looked up at once in [`Runs`]: most often two literals and a match are in them.
const RUN_INDEX_BITS: u32 = 12;

/// So many bits are looked up at once in [`Distances`].
const DISTANCE_INDEX_BITS: u32 = 10;

/// The symbol that ends a block. Those before it are literals, those behind it lengths of matches.
pub(super) const END_OF_BLOCK: u16 = 256;

/// The least length of each symbol behind [`END_OF_BLOCK`], and how many bits behind the symbol are added to it.
const LENGTHS: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_BITS: [u32; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// The first symbol of a length, and of one with bits behind it.
const FIRST_LENGTH: u16 = END_OF_BLOCK + 1;
const FIRST_LONG_LENGTH: u16 = 265;

/// The least distance of each symbol, and how many bits behind it are added.
const DISTANCES: [u32; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_BITS: [u32; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// The lowest bits as a number.
#[expect(clippy::cast_possible_truncation, reason = "only indexes and lengths of a few bits are asked for")]
#[inline]
pub(super) fn low_bits(bits: u64, count: u32) -> usize {
    (bits & ((1 << count) - 1)) as usize
}

/// The length of a match from its symbol and the bits behind that, and how many of these belong to it; `None` if
/// the symbol stands for none.
pub(super) fn match_length(symbol: u16, bits: u64) -> Option<(usize, u32)> {
    let index = usize::from(symbol.checked_sub(FIRST_LENGTH)?);
    let (base, extra) = (*LENGTHS.get(index)?, LENGTH_BITS[index]);
    Some((usize::from(base) + low_bits(bits, extra), extra))
}

/// A prefix code: how many codes there are of each length, and their symbols in the order of the codes.
#[derive(Clone, Debug)]
pub(super) struct Code {
    counts: [u16; MAX_CODE_BITS as usize + 1],
    symbols: [u16; 288],
}

impl Code {
    pub(super) fn new() -> Self {
        Self { counts: [0; MAX_CODE_BITS as usize + 1], symbols: [0; 288] }
    }

    /// Makes it the code in which each symbol has the length at its place, or is not there if that is 0.
    ///
    /// `None` if there are more codes than such lengths allow, or less; less are good only where there is just
    /// one, of one bit, or none at all, as zlib has it.
    pub(super) fn set(&mut self, lengths: &[u8]) -> Option<()> {
        self.counts = [0; MAX_CODE_BITS as usize + 1];
        for &length in lengths {
            self.counts[usize::from(length)] += 1;
        }
        self.counts[0] = 0;
        let mut left = 1;
        let mut starts = [0; MAX_CODE_BITS as usize + 2];
        for (bits, &count) in self.counts.iter().enumerate().skip(1) {
            left = (2 * left) - i32::from(count);
            if left < 0 {
                return None;
            }
            starts[bits + 1] = starts[bits] + usize::from(count);
        }
        if left > 0 && self.counts[2..].iter().any(|&count| count > 0) {
            return None;
        }
        for (symbol, &length) in (0..).zip(lengths).filter(|(_, length)| **length > 0) {
            let start = &mut starts[usize::from(length)];
            self.symbols[*start] = symbol;
            *start += 1;
        }
        Some(())
    }

    /// The symbol at the lowest of the bits, and how many of them are its code; `None` if they are no code.
    ///
    /// The tables are faster; this tells one symbol only, and one of any length.
    pub(super) fn symbol(&self, mut bits: u64) -> Option<(u16, u32)> {
        // The codes of a length are numbers that follow each other, and the first of them follows the last one
        // that is a bit shorter, times two.
        let (mut code, mut first, mut index) = (0, 0, 0);
        for (length, &count) in (0..).zip(&self.counts) {
            let count = usize::from(count);
            if code < first + count {
                return Some((self.symbols[index + code - first], length));
            }
            index += count;
            first = (first + count) << 1;
            code = code << 1 | low_bits(bits, 1);
            bits >>= 1;
        }
        None
    }

    /// Each symbol of this length, with its code as it stands in the stream: the first bit is the lowest one.
    fn of_length(&self, bits: u32) -> impl Iterator<Item = (u16, usize)> {
        let (mut first, mut index) = (0, 0);
        for &count in &self.counts[..bits as usize] {
            index += usize::from(count);
            first = (first + usize::from(count)) << 1;
        }
        let symbols = &self.symbols[index..index + usize::from(self.counts[bits as usize])];
        symbols.iter().zip(first..).map(move |(&symbol, code)| (symbol, reversed(code, bits)))
    }
}

/// A number with its lowest bits in the opposite order.
fn reversed(code: usize, bits: u32) -> usize {
    code.reverse_bits() >> (usize::BITS - bits)
}

/// A table in which each entry stands at every index that ends with its bits.
///
/// Made from short entries to long ones: to go from one length to the next, all there is is there twice.
fn double<T: Copy>(table: &mut [T], bits: u32) {
    let (half, other) = table[..1 << bits].split_at_mut(1 << (bits - 1));
    other.copy_from_slice(half);
}

/// What [`RUN_INDEX_BITS`] bits of a block begin with: up to two literals, and then the length of a match.
///
/// From the lowest bit: how many bits it has (5), how many literals (2), whether there is a length (1), the
/// literals (2 × 8), the length less 3 (8). Where the number of literals would be 3 it is anything else: the
/// symbol of a longer length (from the 16th bit on), or 0 for what is to be looked at more closely.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(u32);

impl Run {
    /// A longer code, the end of the block, or no code.
    const OTHER: Self = Self(3 << 5);

    fn with_literal(self, symbol: u16) -> Self {
        Self((self.0 + (1 << 5)) | u32::from(symbol) << (8 + 8 * self.literal_count()))
    }

    fn with_length(self, symbol: u16) -> Self {
        Self(self.0 | 1 << 7 | u32::from(symbol - FIRST_LENGTH) << 24)
    }

    fn long(symbol: u16) -> Self {
        Self(Self::OTHER.0 | u32::from(symbol) << 16)
    }

    fn with_bits(self, bits: u32) -> Self {
        Self(self.0 & !31 | bits)
    }

    #[inline]
    pub(super) fn is_other(self) -> bool {
        self.0 & Self::OTHER.0 == Self::OTHER.0
    }

    /// A match of a longer length, and the number of its bits; for `is_other` ones.
    #[inline]
    pub(super) fn long_match(self, bits: u64) -> Option<(usize, u32)> {
        let (length, extra) = match_length((self.0 >> 16) as u16, bits >> self.bits())?;
        Some((length, self.bits() + extra))
    }

    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 & 31
    }

    #[inline]
    pub(super) fn literal_count(self) -> usize {
        (self.0 >> 5 & 3) as usize
    }

    /// The literals, and what is no matter behind them.
    #[inline]
    pub(super) fn literals(self) -> [u8; 2] {
        let [_, first, second, _] = self.0.to_le_bytes();
        [first, second]
    }

    /// The length of the match behind the literals.
    #[inline]
    pub(super) fn match_length(self) -> Option<usize> {
        (self.0 & 1 << 7 != 0).then_some((self.0 >> 24) as usize + 3)
    }
}

/// The run that each [`RUN_INDEX_BITS`] bits begin with.
///
/// A log has a match for every five bytes, and a literal or two between some of them. To look them up one by one
/// would be a step, and a guess of the processor what comes next, for each.
#[derive(Debug)]
pub(super) struct Runs {
    table: Box<[Run; 1 << RUN_INDEX_BITS]>,
    /// By their number of bits, the runs of literals behind which there may be more, with their bits.
    open: [Vec<(usize, Run)>; RUN_INDEX_BITS as usize],
}

impl Runs {
    pub(super) fn new() -> Self {
        let mut open: [Vec<_>; RUN_INDEX_BITS as usize] = Default::default();
        open[0].push((0, Run(0)));
        Self { table: Box::new([Run::OTHER; 1 << RUN_INDEX_BITS]), open }
    }

    pub(super) fn set(&mut self, code: &Code) {
        self.table[..2].fill(Run::OTHER);
        self.open[1..].iter_mut().for_each(Vec::clear);
        for bits in 1..=RUN_INDEX_BITS {
            double(&mut *self.table, bits);
            for code_bits in 1..=bits {
                for (symbol, code) in code.of_length(code_bits) {
                    self.add(bits - code_bits, code, symbol, bits);
                }
            }
        }
    }

    /// Adds the runs that are one of `before` bits, and then the symbol of this code; `bits` together.
    fn add(&mut self, before: u32, code: usize, symbol: u16, bits: u32) {
        for at in 0..self.open[before as usize].len() {
            let (start, run) = self.open[before as usize][at];
            let run = match symbol {
                0..END_OF_BLOCK if run.literal_count() < 2 => run.with_literal(symbol).with_bits(bits),
                FIRST_LENGTH..FIRST_LONG_LENGTH => run.with_length(symbol).with_bits(bits),
                FIRST_LONG_LENGTH.. if before == 0 => Run::long(symbol).with_bits(bits),
                END_OF_BLOCK if before == 0 => Run::OTHER,
                _ => continue,
            };
            let index = start | code << before;
            self.table[index] = run;
            if symbol < END_OF_BLOCK && bits < RUN_INDEX_BITS {
                self.open[bits as usize].push((index, run));
            }
        }
    }

    #[inline]
    pub(super) fn at(&self, bits: u64) -> Run {
        self.table[low_bits(bits, RUN_INDEX_BITS)]
    }
}

/// A distance by its code: the number of bits with those behind the code (5), that of the code alone (from the
/// 8th on), the least distance (from the 16th on); 0 if it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance(u32);

impl Distance {
    const UNKNOWN: Self = Self(0);

    fn new(symbol: u16, code_bits: u32) -> Option<Self> {
        let index = usize::from(symbol);
        let (base, extra) = (*DISTANCES.get(index)?, DISTANCE_BITS[index]);
        Some(Self(base << 16 | code_bits << 8 | (code_bits + extra)))
    }

    /// How many bits it takes, its code and those behind.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 & 31
    }

    /// The distance in bytes, from the bits that begin with its code.
    #[inline]
    pub(super) fn of(self, bits: u64) -> usize {
        (self.0 >> 16) as usize + (low_bits(bits, self.bits()) >> (self.0 >> 8 & 15))
    }
}

/// The distance that each [`DISTANCE_INDEX_BITS`] bits begin with.
#[derive(Debug)]
pub(super) struct Distances {
    table: Box<[Distance; 1 << DISTANCE_INDEX_BITS]>,
    code: Code,
}

impl Distances {
    pub(super) fn new() -> Self {
        Self { table: Box::new([Distance::UNKNOWN; 1 << DISTANCE_INDEX_BITS]), code: Code::new() }
    }

    /// See [`Code::set`].
    pub(super) fn set(&mut self, lengths: &[u8]) -> Option<()> {
        self.code.set(lengths)?;
        self.table[..2].fill(Distance::UNKNOWN);
        for bits in 1..=DISTANCE_INDEX_BITS {
            double(&mut *self.table, bits);
            for (symbol, code) in self.code.of_length(bits) {
                self.table[code] = Distance::new(symbol, bits).unwrap_or(Distance::UNKNOWN);
            }
        }
        Some(())
    }

    /// `None` if the bits do not begin with a code of a distance.
    #[inline]
    pub(super) fn at(&self, bits: u64) -> Option<Distance> {
        match self.table[low_bits(bits, DISTANCE_INDEX_BITS)] {
            Distance::UNKNOWN => self.long(bits),
            distance => Some(distance),
        }
    }

    #[cold]
    fn long(&self, bits: u64) -> Option<Distance> {
        let (symbol, code_bits) = self.code.symbol(bits)?;
        Distance::new(symbol, code_bits)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Codes of one to fifteen bits.
    fn long_code() -> Vec<u8> {
        let mut lengths = vec![0; 286];
        // The end of the block, a literal and lengths, with and without bits behind; then literals.
        let symbols = [257, 97, 256, 98, 270, 260, 99, 100, 285, 101, 264, 265, 102, 103, 104, 105];
        for (symbol, length) in symbols.into_iter().zip((1..=15).chain([15])) {
            lengths[symbol] = length;
        }
        lengths
    }

    #[test]
    fn a_table_tells_what_its_code_tells() {
        let few = [&[0; 97][..], &[2, 2, 3], &[0; 156], &[3], &[2]].concat();
        for lengths in [few, long_code()] {
            let mut code = Code::new();
            code.set(&lengths).expect("a complete code");
            let mut runs = Runs::new();
            runs.set(&code);
            for bits in 0..1 << RUN_INDEX_BITS {
                let run = runs.at(bits);
                let (first, first_bits) = code.symbol(bits).expect("complete");
                if run.is_other() {
                    match run.long_match(bits) {
                        None => assert!(first == END_OF_BLOCK || first_bits > RUN_INDEX_BITS, "{bits:#b}"),
                        Some((length, used)) => {
                            let (expected, extra) =
                                match_length(first, bits >> first_bits).expect("a length");
                            assert_eq!((length, used), (expected, first_bits + extra), "{bits:#b}");
                            assert!(first >= FIRST_LONG_LENGTH);
                        }
                    }
                    continue;
                }
                let mut used = 0;
                for literal in &run.literals()[..run.literal_count()] {
                    let (symbol, symbol_bits) = code.symbol(bits >> used).expect("complete");
                    assert_eq!(symbol, u16::from(*literal), "{bits:#b}");
                    used += symbol_bits;
                }
                if let Some(length) = run.match_length() {
                    let (symbol, symbol_bits) = code.symbol(bits >> used).expect("complete");
                    assert_eq!(match_length(symbol, 0), Some((length, 0)), "{bits:#b}");
                    used += symbol_bits;
                }
                assert!(used == run.bits() && used > 0 && used <= RUN_INDEX_BITS, "{bits:#b}");
            }
        }
    }

    #[test]
    fn a_code_is_complete_or_of_one_bit() {
        for (lengths, is_good) in [
            (&[1, 1][..], true),
            (&[1, 2, 2], true),
            (&[], true),
            (&[0, 0], true),
            (&[0, 1], true),
            (&[2], false),
            (&[1, 2], false),
            (&[1, 1, 1], false),
            (&[2, 2, 2, 2, 2], false),
            (&[1, 15, 15], false),
        ] {
            assert_eq!(Code::new().set(lengths).is_some(), is_good, "{lengths:?}");
        }
    }
}
