//! Prefix codes (RFC 1951, section 3.2.2), and what the symbols for lengths and distances stand for (3.2.5).

use super::bits::low_bits;

/// The longest code of any alphabet, in bits.
pub(super) const MAX_CODE_BITS: u32 = 15;

/// The symbol that ends a block. Smaller ones are literals, larger ones lengths of matches.
pub(super) const END_OF_BLOCK: u16 = 256;

/// The first symbol that is a length, and the first one that is followed by extra bits.
pub(super) const FIRST_LENGTH: u16 = END_OF_BLOCK + 1;
pub(super) const FIRST_LENGTH_WITH_EXTRA_BITS: u16 = 265;

/// The base length of each symbol from [`FIRST_LENGTH`] on, and how many extra bits are added to it.
const LENGTHS: [u16; 29] = [
    3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 19, 23, 27, 31, 35, 43, 51, 59, 67, 83, 99, 115, 131, 163, 195,
    227, 258,
];
const LENGTH_EXTRA_BITS: [u32; 29] =
    [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 0];

/// The base distance of each symbol, and how many extra bits are added to it.
const DISTANCES: [u32; 30] = [
    1, 2, 3, 4, 5, 7, 9, 13, 17, 25, 33, 49, 65, 97, 129, 193, 257, 385, 513, 769, 1025, 1537, 2049, 3073,
    4097, 6145, 8193, 12289, 16385, 24577,
];
const DISTANCE_EXTRA_BITS: [u32; 30] =
    [0, 0, 0, 0, 1, 1, 2, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 7, 8, 8, 9, 9, 10, 10, 11, 11, 12, 12, 13, 13];

/// The length of a match from its symbol and the bits after it, and how many of these are extra bits; `None` if
/// the symbol is no length.
pub(super) fn match_length(symbol: u16, bits: u64) -> Option<(usize, u32)> {
    let index = usize::from(symbol.checked_sub(FIRST_LENGTH)?);
    let (base, extra) = (*LENGTHS.get(index)?, LENGTH_EXTRA_BITS[index]);
    Some((usize::from(base) + low_bits(bits, extra), extra))
}

/// The base distance of a symbol and the number of its extra bits; `None` if the symbol is no distance.
pub(super) fn base_distance(symbol: u16) -> Option<(u32, u32)> {
    let index = usize::from(symbol);
    Some((*DISTANCES.get(index)?, DISTANCE_EXTRA_BITS[index]))
}

/// A prefix code: the number of codes of each length, and the symbols in the order of their codes.
#[derive(Clone, Debug)]
pub(super) struct Code {
    counts: [u16; MAX_CODE_BITS as usize + 1],
    symbols: [u16; 288],
}

impl Code {
    pub(super) fn new() -> Self {
        Self { counts: [0; MAX_CODE_BITS as usize + 1], symbols: [0; 288] }
    }

    /// Builds the code in which symbol `i` has `lengths[i]` bits, or none where that is 0.
    ///
    /// `None` if the lengths allow fewer codes than there are, or more. As in zlib, a code may be incomplete only
    /// if it has no symbol at all, or a single one of one bit.
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

    /// The symbol whose code the bits begin with, and the length of that code; `None` if there is none.
    ///
    /// It takes one symbol, bit by bit; the tables are faster, but do not know the longest codes.
    pub(super) fn symbol(&self, mut bits: u64) -> Option<(u16, u32)> {
        // The codes of one length are consecutive numbers, and the first of them is twice the number after the
        // last code that is one bit shorter.
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

    /// Each symbol whose code has `bits` bits, with the code as the stream has it: the first bit is the lowest.
    pub(super) fn of_length(&self, bits: u32) -> impl Iterator<Item = (u16, usize)> {
        let (mut first, mut index) = (0, 0);
        for &count in &self.counts[..bits as usize] {
            index += usize::from(count);
            first = (first + usize::from(count)) << 1;
        }
        let symbols = &self.symbols[index..index + usize::from(self.counts[bits as usize])];
        symbols.iter().zip(first..).map(move |(&symbol, code)| (symbol, reversed(code, bits)))
    }
}

/// The lowest `bits` bits of a number in the opposite order.
fn reversed(code: usize, bits: u32) -> usize {
    code.reverse_bits() >> (usize::BITS - bits)
}

#[cfg(test)]
mod tests {
    use super::*;

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
