//! Deflate (RFC 1951) bit by bit: a decoder that begins at any bit, and an end that tells whether a block ends there.

use std::hash::{BuildHasher, RandomState};
use std::sync::LazyLock;

use flate2::{Decompress, FlushDecompress};

/// A block without text, with fixed codes, as its bits and their number: not the last one (0), fixed (01), end
/// of block (0000000).
const EMPTY_BLOCK: (u128, usize) = (0b010, 10);

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

/// The length of the sign, and its complement, as a stored block has them.
const SIGN_LENGTH: [u8; 4] = [15, 0, !15, !0];

/// Random, so that no input can hold or foresee it.
static SIGN: LazyLock<[u8; 15]> = LazyLock::new(|| {
    let random = [0, 1].map(|part| RandomState::new().hash_one(part).to_le_bytes());
    std::array::from_fn(|at| random.as_flattened()[at])
});

/// Makes the decoder begin at bit `bit` of `bytes`, behind the text `window`. The byte that it is to be given
/// next is the first one that begins behind that bit.
pub(super) fn begin_at(decoder: &mut Decompress, window: &[u8], bit: usize, bytes: &[u8]) -> Option<()> {
    decoder.reset(false);
    if !window.is_empty() {
        decoder.set_dictionary(window).ok()?;
    }
    let lead = lead(bit, bytes);
    decoder.decompress(&lead, &mut [], FlushDecompress::None).ok()?;
    (decoder.total_in() == lead.len() as u64).then_some(())
}

/// Blocks without text, so that bit `bit` comes at its place in a byte, then the rest of that byte.
fn lead(bit: usize, bytes: &[u8]) -> Vec<u8> {
    let shift = bit % 8;
    let (mut bits, mut count) = (0, 0);
    let mut push = |(field, width): (u128, usize)| {
        bits |= field << count;
        count += width;
        count % 8
    };
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
    bits.to_le_bytes()[..count / 8].to_vec()
}

/// What a decoder is given last, in place of the byte of `bytes` with bit `bit`: the bits before that one, then
/// a last block with the sign, stored.
///
/// A decoder that comes to this bit at the end of a block is at its end when all is read, and the sign is the
/// last of its text. One that is in the middle of anything else takes these bits for something else. It could
/// put out the sign only as stored bytes, since any code makes other bytes of random ones; and with the ones
/// between the block's header and its length, no later bit and no earlier one begins a stored block of that
/// length; unless it [may be padding](may_be_padding). A longer stored block would put out the length as well
/// ([`take_sign`]).
pub(super) fn ending_at(bit: usize, bytes: &[u8]) -> Vec<u8> {
    let shift = bit % 8;
    let before = u16::from(bytes[bit / 8]) & ((1 << shift) - 1);
    // The last one (1), stored (00), and ones to the end of the byte, which a decoder skips.
    let bits = before | 0b1111_1111_1111_1001 << shift;
    [&bits.to_le_bytes()[..(shift + 3).div_ceil(8)], &SIGN_LENGTH, &*SIGN].concat()
}

/// Whether the bit may be in the padding between the header of a stored block and its length: there the sign would
/// come out, though no block begins at the bit. Encoders pad with zeros, so only hostile input has one that is
/// found; yet a block in three is passed over for it.
pub(super) fn may_be_padding(bit: usize, bytes: &[u8]) -> bool {
    let (at, shift) = (bit / 8, bit % 8);
    // From the last two bits of a byte on, the length is in the byte after the next, where no padding ends.
    let last_before = at.checked_sub(1).map_or(0, |before| bytes[before] >> 7);
    let bits = u16::from(last_before) | u16::from(bytes[at]) << 1;
    shift < 6 && !bits & !(bits >> 1) & ((1 << shift) - 1) != 0
}

/// Takes the sign off the end of a text; `None` if it is not there, or may be part of a longer stored block.
pub(super) fn take_sign(text: &mut Vec<u8>) -> Option<()> {
    let length = text.strip_suffix(&*SIGN).filter(|text| !text.ends_with(&SIGN_LENGTH))?.len();
    text.truncate(length);
    Some(())
}

#[cfg(test)]
mod tests {
    use flate2::Status;

    use super::*;

    /// Whether a decoder that begins at this bit ends with the sign when all is read.
    fn finds_sign(bit: usize, bytes: &[u8]) -> bool {
        let mut decoder = Decompress::new(false);
        if begin_at(&mut decoder, &[0; 300], bit, bytes).is_none() {
            return false;
        }
        let body = &bytes[bit.div_ceil(8)..];
        let lead_bytes = decoder.total_in();
        let mut text = Vec::with_capacity(100_000);
        let status = decoder.decompress_vec(body, &mut text, FlushDecompress::None);
        matches!(status, Ok(Status::StreamEnd))
            && decoder.total_in() - lead_bytes == body.len() as u64
            && take_sign(&mut text).is_some()
    }

    #[test]
    fn a_decoder_finds_the_sign_only_where_its_block_begins() {
        for place in 8..16 {
            // With a beginning before the place, a decoder comes there in the middle of a header or a block.
            for before in (0..=u16::MAX).step_by(61) {
                let before = before.to_le_bytes();
                let bytes = [&before[..1], &ending_at(place, &before)].concat();
                assert!(finds_sign(place, &bytes), "{place} {before:?}");
                for bit in 0..place {
                    let is_empty_block = place - bit == 10
                        && u128::from(u16::from_le_bytes(before) >> bit & 0x3ff) == EMPTY_BLOCK.0;
                    let may_find = is_empty_block || may_be_padding(place, &bytes);
                    assert!(may_find || !finds_sign(bit, &bytes), "{place} {before:?} {bit}");
                }
                for bit in place + 1..bytes.len() * 8 {
                    assert!(before[1] > 0 || !finds_sign(bit, &bytes), "{place} {before:?} {bit}");
                }
            }
        }
    }

    #[test]
    fn a_stored_block_that_goes_on_does_not_find_the_sign() {
        for place in 0..8 {
            let ending = ending_at(place, &[0]);
            let length = u16::try_from(ending.len()).unwrap_or_default();
            let block = [&[1][..], &length.to_le_bytes(), &(!length).to_le_bytes(), &ending].concat();
            assert!(!finds_sign(0, &block), "{place}");
        }
    }
}
