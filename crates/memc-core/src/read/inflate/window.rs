//! The two stand-ins for a window that is not known, and the text that comes true when it is.

use super::WINDOW_BYTES;

/// The window of what follows the text: the end of it, filled in, and of what is in front of it if it is short.
pub(super) fn tail(text: &[u8], twin: &[u8], window: &[u8]) -> Option<Vec<u8>> {
    let from = text.len().saturating_sub(WINDOW_BYTES);
    let mut tail = text[from..].to_vec();
    fill_in(&mut tail, twin.get(from..).unwrap_or_default(), window)?;
    let kept = window.len().min(WINDOW_BYTES - tail.len());
    Some([&window[window.len() - kept..], &tail].concat())
}

/// Replaces what differs between the twins by what is at its place in `window`; `None` if no text is there.
pub(super) fn fill_in(text: &mut [u8], twin: &[u8], window: &[u8]) -> Option<()> {
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
pub(super) fn stand_in(number: usize) -> Vec<u8> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stand_ins_tell_every_place() {
        let [one, other] = [stand_in(0), stand_in(1)];
        for at in 0..WINDOW_BYTES {
            assert!(one[at] != other[at] && place(one[at], other[at]) == at, "{at}");
        }
    }

    #[test]
    fn a_copy_from_in_front_of_all_text_is_not_filled_in() {
        let [one, other] = [stand_in(0), stand_in(1)];
        let window = b"window";
        for (from, filled) in [(WINDOW_BYTES - 6, Some(&b"wind"[..])), (WINDOW_BYTES - 7, None)] {
            let mut text = one[from..from + 4].to_vec();
            let result = fill_in(&mut text, &other[from..from + 4], window);
            assert_eq!(result.map(|()| &text[..]), filled);
        }
    }
}
