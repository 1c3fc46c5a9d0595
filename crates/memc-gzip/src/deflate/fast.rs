//! The loop that decodes most of a stream: while input and room last, it looks for the end of neither.

use super::bits::Bits;
use super::tables::{Distances, Runs};

/// A match is copied in pieces of this size, and the last one may reach beyond the match.
const COPY_BYTES: usize = 16;

/// Room that is enough for two literals and the longest match, copied in whole pieces.
const MIN_ROOM: usize = 2 + 258 + COPY_BYTES;

/// A match goes further back than there is output, or its distance has no code.
#[derive(Debug)]
pub(super) struct BadMatch;

/// Decodes into `output` from `*filled` on, up to where input or room run short, or a symbol needs a closer look: the
/// end of the block, a long code, an error.
///
/// It does nothing if input or room are short already.
pub(super) fn decode(
    (runs, distances): (&Runs, &Distances),
    bits: &mut Bits,
    input: &mut &[u8],
    output: &mut [u8],
    filled: &mut usize,
) -> Result<(), BadMatch> {
    let mut source = Source { bytes: input, at: 0, bits: *bits };
    let mut to = *filled;
    let mut result = Ok(());
    if source.can_refill() {
        source.refill();
    }
    // Each run is looked up before the next refill, so the processor does not wait for one to do the other. There
    // are bits enough: the longest match and its distance take 45 of them.
    let mut run = runs.at(source.bits.value);
    while source.can_refill() && to + MIN_ROOM <= output.len() {
        source.refill();
        let length = if run.is_other() {
            let Some((length, used)) = run.match_with_extra_bits(source.bits.value) else { break };
            source.bits.skip(used);
            length
        } else {
            output[to..to + 2].copy_from_slice(&run.literals());
            to += run.literal_count();
            source.bits.skip(run.bits());
            let Some(length) = run.match_length() else {
                run = runs.at(source.bits.value);
                continue;
            };
            length
        };
        let bits = source.bits.value;
        let Some(distance) = distances.at(bits) else {
            result = Err(BadMatch);
            break;
        };
        source.bits.skip(distance.bits());
        run = runs.at(source.bits.value);
        let distance = distance.of(bits);
        let Some(mut from) = to.checked_sub(distance) else {
            result = Err(BadMatch);
            break;
        };
        let end = to + length;
        // A match that overlaps itself repeats what is before it: each piece doubles what can be copied at once.
        let mut repeated = distance;
        while repeated < COPY_BYTES && to < end {
            output.copy_within(from..from + COPY_BYTES, to);
            to += repeated;
            repeated *= 2;
        }
        while to < end {
            output.copy_within(from..from + COPY_BYTES, to);
            from += COPY_BYTES;
            to += COPY_BYTES;
        }
        to = end;
    }
    *filled = to;
    let Bits { value, count } = source.bits;
    *bits = Bits { value: value & ((1 << count) - 1), count };
    *input = &source.bytes[source.at..];
    result
}

/// Copies a match byte by byte, since it may overlap itself; `*to` goes to `end`.
pub(super) fn copy_match(output: &mut [u8], to: &mut usize, end: usize, distance: usize) {
    for at in *to..end {
        output[at] = output[at - distance];
    }
    *to = end;
}

/// The input as values that stay in registers.
struct Source<'a> {
    bytes: &'a [u8],
    at: usize,
    bits: Bits,
}

impl Source<'_> {
    #[inline]
    fn can_refill(&self) -> bool {
        self.bytes.len() - self.at >= 8
    }

    /// Reads whole bytes up to at least 56 bits. The bits from `count` on are those of the input too, and are read
    /// again by the next refill.
    #[inline]
    fn refill(&mut self) {
        if let Some(word) = self.bytes[self.at..].first_chunk() {
            self.bits.value |= u64::from_le_bytes(*word) << self.bits.count;
            self.at += (63 - self.bits.count as usize) / 8;
            self.bits.count |= 56;
        }
    }
}
