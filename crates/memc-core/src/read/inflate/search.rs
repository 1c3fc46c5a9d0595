//! Finds what can hardly be anything but the beginning of a block in the middle of a deflate stream.

use super::WINDOW_BYTES;
use super::decoder::{Decoder, Stop};

/// What seems to be a block must give so much text without an error.
const TRIAL_BYTES: usize = 16 * 1024;

/// So many blocks without an error are enough, too: hostile input could have a hundred thousand empty ones behind
/// each place that is tried.
const TRIAL_BLOCKS: usize = 32;

/// So many places of a segment are tried, twice as many as chance brings about: hostile input could make each
/// fourth byte worth a trial.
const MAX_TRIALS: usize = 8192;

/// The first bit at which a block with codes of its own seems to begin that is not the last one.
pub(super) fn find_block(bytes: &[u8]) -> Option<usize> {
    let mut decoder = Decoder::new();
    // The window is not known, and of no matter for the trial.
    let mut text = vec![0; WINDOW_BYTES + TRIAL_BYTES];
    let mut trials = 0;
    for (at, header) in bytes.windows(16).enumerate() {
        let header = u128::from_le_bytes(header.try_into().ok()?);
        // It begins with the bits 0, 0, 1.
        let mut places = !header & !(header >> 1) & (header >> 2) & 0xff;
        while places != 0 {
            let shift = places.trailing_zeros();
            places &= places - 1;
            let bit = at * 8 + shift as usize;
            if has_sound_lengths(header >> shift) {
                if is_sound(&mut decoder, bit, bytes, &mut text) {
                    return Some(bit);
                }
                trials += 1;
                if trials == MAX_TRIALS {
                    return None;
                }
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
fn is_sound(decoder: &mut Decoder, bit: usize, bytes: &[u8], text: &mut [u8]) -> bool {
    let mut rest = decoder.begin_at(bit, bytes);
    let mut at = WINDOW_BYTES;
    for _ in 0..TRIAL_BLOCKS {
        let (end, stop) = decoder.decode(&mut rest, text, at);
        match stop {
            Stop::Block => at = end,
            Stop::Corrupt => return false,
            Stop::Input | Stop::Room | Stop::End => return true,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use std::io;

    use flate2::Compression;
    use flate2::read::DeflateEncoder;
    use memc_testkit::Sample;

    use super::*;

    #[test]
    fn a_search_among_many_false_headers_comes_to_an_end() -> io::Result<()> {
        // It has sound lengths, but then repeats one that is not there.
        let false_header = (0b100_u32 | 1 << 17 | 1 << 20).to_le_bytes();
        let text = Sample::new(1).text(200);
        let mut block = Vec::new();
        io::copy(&mut DeflateEncoder::new(&text[..], Compression::default()), &mut block)?;
        for (headers, found) in [(0, true), (MAX_TRIALS / 2, true), (MAX_TRIALS * 2, false)] {
            let before = false_header.repeat(headers);
            let at = find_block(&[&before[..], &block].concat());
            assert_eq!(at, found.then_some(before.len() * 8), "{headers}");
        }
        Ok(())
    }

    #[test]
    fn a_trial_of_many_empty_blocks_comes_to_an_end() {
        // Its codes for lengths are those of 18 (some zeros) and 1, the length for the end and for a distance.
        let lengths = (0..18).map(|place| (u8::from(place == 2 || place == 17), 3));
        let header = [(0b100, 3), (0, 5), (0, 5), (14, 4)].into_iter().chain(lengths);
        let zeros = [(1, 1), (138 - 11, 7), (1, 1), (118 - 11, 7)];
        let block = header.chain(zeros).chain([(0, 1), (0, 1), (0, 1)]);
        let block: Vec<u8> =
            block.flat_map(|(value, bits)| (0..bits).map(move |bit| value >> bit & 1)).collect();
        // There is no block of type 3.
        let unsound = [1; 200];
        for (blocks, found) in [(TRIAL_BLOCKS, Some(0)), (TRIAL_BLOCKS - 1, None)] {
            let bits = [&block.repeat(blocks)[..], &unsound].concat();
            let byte = |bits: &[u8]| bits.iter().rfold(0, |byte, bit| byte << 1 | bit);
            let bytes: Vec<u8> = bits.chunks(8).map(byte).collect();
            assert_eq!(find_block(&bytes), found, "{blocks}");
        }
    }
}
