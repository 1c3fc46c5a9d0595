//! The bit buffer: input that has been read in bytes and is used in bits.

/// Bits that are read and not used yet. The next one is the lowest; those from `count` on are zero, except within
/// [`fast`](super::fast).
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Bits {
    pub(super) value: u64,
    pub(super) count: u32,
}

impl Bits {
    /// Drops the next `count` bits, which must be there.
    #[inline]
    pub(super) fn skip(&mut self, count: u32) {
        self.value >>= count;
        self.count -= count;
    }

    /// Drops the bits up to the next whole byte of the input.
    pub(super) fn align(&mut self) {
        self.skip(self.count % 8);
    }

    /// Reads bytes while a whole one fits: afterwards at least 56 bits are there, unless `input` is used up.
    pub(super) fn fill(&mut self, input: &mut &[u8]) {
        while self.count < 56
            && let Some(byte) = input.split_off_first()
        {
            self.value |= u64::from(*byte) << self.count;
            self.count += 8;
        }
    }
}

/// The lowest `count` bits as a number.
#[expect(clippy::cast_possible_truncation, reason = "callers ask for indexes and lengths of a few bits")]
#[inline]
pub(super) fn low_bits(bits: u64, count: u32) -> usize {
    (bits & ((1 << count) - 1)) as usize
}
