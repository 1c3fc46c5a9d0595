//! Lookup tables: [`Runs`] gives up to two literals and the length of a match in one look, [`Distances`] a distance.

use super::bits::low_bits;
use super::code::{
    Code, END_OF_BLOCK, FIRST_LENGTH, FIRST_LENGTH_WITH_EXTRA_BITS, base_distance, match_length,
};

/// The index of [`Runs`], in bits. Mostly these hold two literals and the length of a match.
const RUN_INDEX_BITS: u32 = 12;

/// The index of [`Distances`], in bits.
const DISTANCE_INDEX_BITS: u32 = 10;

/// Copies the entries of a table of `bits - 1` index bits so that `bits` bits are its index.
///
/// A table is filled from short codes to long ones: an entry stands at every index whose low bits are its code.
fn double<T: Copy>(table: &mut [T], bits: u32) {
    let (half, other) = table[..1 << bits].split_at_mut(1 << (bits - 1));
    other.copy_from_slice(half);
}

/// What [`RUN_INDEX_BITS`] bits of a block begin with: up to two literals, then perhaps the length of a match.
///
/// From the lowest bit: the number of bits used (5), the number of literals (2), whether there is a length (1), the
/// literals (2 × 8), the length less 3 (8). Three literals mark every other entry: one that holds the symbol of a
/// length with extra bits (from bit 16 on), or 0 for what the tables do not know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run(u32);

impl Run {
    /// A code longer than the index, the end of the block, or no code.
    const OTHER: Self = Self(3 << 5);

    fn with_literal(self, symbol: u16) -> Self {
        Self((self.0 + (1 << 5)) | u32::from(symbol) << (8 + 8 * self.literal_count()))
    }

    fn with_length(self, symbol: u16) -> Self {
        Self(self.0 | 1 << 7 | u32::from(symbol - FIRST_LENGTH) << 24)
    }

    fn with_extra_bits(symbol: u16) -> Self {
        Self(Self::OTHER.0 | u32::from(symbol) << 16)
    }

    fn with_bits(self, bits: u32) -> Self {
        Self(self.0 & !31 | bits)
    }

    #[inline]
    pub(super) fn is_other(self) -> bool {
        self.0 & Self::OTHER.0 == Self::OTHER.0
    }

    /// For entries that are `is_other`: the length of the match and the bits it uses, if it is a length with extra
    /// bits. `bits` are those that the index was taken from.
    #[inline]
    pub(super) fn match_with_extra_bits(self, bits: u64) -> Option<(usize, u32)> {
        let (length, extra) = match_length((self.0 >> 16) as u16, bits >> self.bits())?;
        Some((length, self.bits() + extra))
    }

    /// How many bits it uses.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 & 31
    }

    #[inline]
    pub(super) fn literal_count(self) -> usize {
        (self.0 >> 5 & 3) as usize
    }

    /// The literals, of which `literal_count` are valid.
    #[inline]
    pub(super) fn literals(self) -> [u8; 2] {
        let [_, first, second, _] = self.0.to_le_bytes();
        [first, second]
    }

    /// The length of the match after the literals.
    #[inline]
    pub(super) fn match_length(self) -> Option<usize> {
        (self.0 & 1 << 7 != 0).then_some((self.0 >> 24) as usize + 3)
    }
}

/// The run that each [`RUN_INDEX_BITS`] bits begin with.
///
/// These logs have a match for every five bytes, and a literal or two between some of them. One look a symbol would
/// be a step for each, and a branch that the processor cannot predict.
#[derive(Debug)]
pub(super) struct Runs {
    table: Box<[Run; 1 << RUN_INDEX_BITS]>,
    /// The runs of literals only, by the bits they use, with these bits: further symbols may be appended to them.
    open: [Vec<(usize, Run)>; RUN_INDEX_BITS as usize],
}

impl Runs {
    pub(super) fn new() -> Self {
        let mut open: [Vec<_>; RUN_INDEX_BITS as usize] = Default::default();
        open[0].push((0, Run(0)));
        Self { table: Box::new([Run::OTHER; 1 << RUN_INDEX_BITS]), open }
    }

    /// Builds the table for a code of literals and lengths.
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

    /// Adds the runs that consist of one of `before` bits and the symbol of this code; `bits` are used by both.
    fn add(&mut self, before: u32, code: usize, symbol: u16, bits: u32) {
        for at in 0..self.open[before as usize].len() {
            let (start, run) = self.open[before as usize][at];
            let run = match symbol {
                0..END_OF_BLOCK if run.literal_count() < 2 => run.with_literal(symbol).with_bits(bits),
                FIRST_LENGTH..FIRST_LENGTH_WITH_EXTRA_BITS => run.with_length(symbol).with_bits(bits),
                FIRST_LENGTH_WITH_EXTRA_BITS.. if before == 0 => Run::with_extra_bits(symbol).with_bits(bits),
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

/// A distance by its code. From the lowest bit: the bits of the code and its extra bits together (5), those of the
/// code alone (from bit 8 on), the base distance (from bit 16 on); 0 if the table does not know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Distance(u32);

impl Distance {
    const UNKNOWN: Self = Self(0);

    fn new(symbol: u16, code_bits: u32) -> Option<Self> {
        let (base, extra) = base_distance(symbol)?;
        Some(Self(base << 16 | code_bits << 8 | (code_bits + extra)))
    }

    /// How many bits it uses, extra bits included.
    #[inline]
    pub(super) fn bits(self) -> u32 {
        self.0 & 31
    }

    /// The distance in bytes; `bits` begin with its code.
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

    /// Builds the table from the lengths of the codes; `None` as in [`Code::set`].
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

    /// `None` if the bits do not begin with the code of a distance.
    #[inline]
    pub(super) fn at(&self, bits: u64) -> Option<Distance> {
        match self.table[low_bits(bits, DISTANCE_INDEX_BITS)] {
            Distance::UNKNOWN => self.of_long_code(bits),
            distance => Some(distance),
        }
    }

    #[cold]
    fn of_long_code(&self, bits: u64) -> Option<Distance> {
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
        // The end of the block, a literal and lengths, with and without extra bits; then literals.
        let symbols = [257, 97, 256, 98, 270, 260, 99, 100, 285, 101, 264, 265, 102, 103, 104, 105];
        for (symbol, length) in symbols.into_iter().zip((1..=15).chain([15])) {
            lengths[symbol] = length;
        }
        lengths
    }

    #[test]
    fn the_table_agrees_with_its_code() {
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
                    match run.match_with_extra_bits(bits) {
                        None => assert!(first == END_OF_BLOCK || first_bits > RUN_INDEX_BITS, "{bits:#b}"),
                        Some((length, used)) => {
                            let (expected, extra) =
                                match_length(first, bits >> first_bits).expect("a length");
                            assert_eq!((length, used), (expected, first_bits + extra), "{bits:#b}");
                            assert!(first >= FIRST_LENGTH_WITH_EXTRA_BITS);
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
}
