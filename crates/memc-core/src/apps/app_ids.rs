//! The last field of a line: its app ids, and what is wrong with those that are dropped.

use crate::apps::space::strip;

/// The kind of a dropped app id that is an integer, but no `u32`.
pub const OUT_OF_RANGE: &str = "out_of_range";

/// The kind of a dropped app id that is no integer; it may be empty.
pub const NOT_AN_INTEGER: &str = "not_an_integer";

/// The longest app ids field that is parsed at once.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// Puts the valid app ids of the field to the front of `apps`, making it longer if need be; returns how many
/// they are and how many pieces were dropped.
pub(super) fn parse_apps(mut field: &[u8], apps: &mut Vec<u32>) -> (usize, u32) {
    // Room for the most pieces there can be, once: a count in a register is faster than a push.
    let most = field.len() / 2 + 1;
    if apps.len() < most {
        apps.resize(most, 0);
    }
    let (mut kept, mut dropped) = (0, 0);
    loop {
        // Most ids have four digits, most others three. That these are cases of their own lets the processor
        // run ahead to the next piece before it knows the length of this one.
        if let Some(bytes) = field.first_chunk() {
            let word = u64::from_le_bytes(*bytes);
            if let Some(app) = four_digits_and_comma(word) {
                apps[kept] = app;
                kept += 1;
                field = &field[5..];
                continue;
            }
            if let Some(app) = four_digits_and_comma(word << 8 | u64::from(b'0')) {
                apps[kept] = app;
                kept += 1;
                field = &field[4..];
                continue;
            }
        }
        let (app, length) = any_app_id(field);
        match app {
            Some(app) => {
                apps[kept] = app;
                kept += 1;
            }
            None => dropped += 1,
        }
        match field.get(length + 1..) {
            Some(rest) => field = rest,
            None => return (kept, dropped),
        }
    }
}

/// The pieces of the app ids field that are dropped, each with what is wrong with it.
pub(super) fn dropped_app_ids(field: &[u8]) -> impl Iterator<Item = (&'static str, &[u8])> {
    field.split(|&byte| byte == b',').filter(|piece| app_id(piece).is_none()).map(|piece| {
        let digits = match strip(piece) {
            [b'-' | b'+', digits @ ..] => digits,
            digits => digits,
        };
        let is_integer = !digits.is_empty() && digits.iter().all(u8::is_ascii_digit);
        (if is_integer { OUT_OF_RANGE } else { NOT_AN_INTEGER }, piece)
    })
}

/// The app ids field in blocks of whole pieces, each at most `BLOCK_BYTES` long if its pieces allow it: the memory for
/// the app ids of a very long line stays small.
pub(super) fn blocks(field: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(field);
    std::iter::from_fn(move || {
        let field = rest.take()?;
        if field.len() <= BLOCK_BYTES {
            return Some(field);
        }
        let comma = memchr::memrchr(b',', &field[..BLOCK_BYTES])
            .or_else(|| memchr::memchr(b',', &field[BLOCK_BYTES..]).map(|at| BLOCK_BYTES + at));
        let Some(comma) = comma else { return Some(field) };
        rest = Some(&field[comma + 1..]);
        Some(&field[..comma])
    })
}

/// The first piece of the field as an app id, if it is one, and the length of the piece.
fn any_app_id(field: &[u8]) -> (Option<u32>, usize) {
    let mut app = 0;
    for (at, byte) in field.iter().enumerate().take(9) {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            if at > 0 && *byte == b',' {
                return (Some(app), at);
            }
            break;
        }
        app = app * 10 + digit;
    }
    let length = memchr::memchr(b',', field).unwrap_or(field.len());
    (app_id(&field[..length]), length)
}

/// The app id that the text in `word` begins with, if it is four digits and a comma; all five bytes at a time.
fn four_digits_and_comma(word: u64) -> Option<u32> {
    // Now each of the four low bytes must be at most 9, and the fifth 0.
    let digits = word ^ u64::from_le_bytes(*b"0000,\0\0\0");
    // The highest bit of each byte that is larger. A carry can only spoil bytes behind the first of these.
    let larger = digits.wrapping_add(0x7f_7676_7676) | digits;
    if larger & 0x80_8080_8080 != 0 {
        return None;
    }
    // The first digit is in the lowest byte. Both multiplications add what is in one place to ten, or a
    // hundred, times what is in the place below: digits to numbers of two digits, and those to the id.
    let digits = digits & 0xffff_ffff;
    let pairs = ((digits * (10 << 8 | 1)) >> 8) & 0x00ff_00ff;
    let app = ((pairs * (100 << 16 | 1)) >> 16) & 0xffff;
    u32::try_from(app).ok()
}

/// One piece of the app ids field as a u32: stripped, an optional sign, digits.
fn app_id(piece: &[u8]) -> Option<u32> {
    let piece = strip(piece);
    let (negative, digits) = match piece {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    if digits.is_empty() {
        return None;
    }
    let mut value: u32 = 0;
    for byte in digits {
        let digit = u32::from(byte.wrapping_sub(b'0'));
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(digit)?;
    }
    (!negative || value == 0).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_digits_at_once() {
        let word = |bytes: &[u8]| bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes));
        for app in 0..10_000 {
            let word = word(format!("{app:04},1,2").as_bytes());
            assert_eq!(four_digits_and_comma(word), Some(app));
        }
        for at in 0..5 {
            for byte in 0..=255 {
                let mut field = *b"9999,999";
                field[at] = byte;
                let sound = if at == 4 { byte == b',' } else { byte.is_ascii_digit() };
                assert_eq!(four_digits_and_comma(word(&field)).is_some(), sound, "{}", field.escape_ascii());
            }
        }
    }

    #[test]
    fn app_ids() {
        for (text, apps, dropped) in [
            ("1", &[1][..], 0),
            ("7942,8519,4232", &[7942, 8519, 4232], 0),
            ("0,4294967295", &[0, 4_294_967_295], 0),
            ("+8,09,-0,+0,-000", &[8, 9, 0, 0, 0], 0),
            (" 7 ,\x0b8\x0c,\t9", &[7, 8, 9], 0),
            ("000000000000000000000000000000012", &[12], 0),
            ("999999999,1000000000", &[999_999_999, 1_000_000_000], 0),
            ("4294967296,-1,1e3,1.0,x,0x1,1_0,١", &[], 8),
            ("99999999999999999999", &[], 1),
            ("1 2,3", &[3], 1),
            ("+ 1,--1,+-1,+,-", &[], 5),
            ("", &[], 1),
            (",", &[], 2),
            ("1,,2,", &[1, 2], 2),
            ("123,4567,89,1,234,5678,999,1000,1", &[123, 4567, 89, 1, 234, 5678, 999, 1000, 1], 0),
            ("1234567,12345678,123456789,1", &[1_234_567, 12_345_678, 123_456_789, 1], 0),
        ] {
            let mut kept = Vec::new();
            let counts = parse_apps(text.as_bytes(), &mut kept);
            assert_eq!((counts, &kept[..counts.0]), ((apps.len(), dropped), apps), "{text}");
        }
    }

    #[test]
    fn dropped_app_ids_say_what_is_wrong() {
        for (piece, kind) in [
            ("4294967296", Some(OUT_OF_RANGE)),
            ("-1", Some(OUT_OF_RANGE)),
            (" +99999999999999999999 ", Some(OUT_OF_RANGE)),
            ("", Some(NOT_AN_INTEGER)),
            ("-", Some(NOT_AN_INTEGER)),
            ("1.5", Some(NOT_AN_INTEGER)),
            ("1e3", Some(NOT_AN_INTEGER)),
            ("4294967295", None),
            ("-0", None),
        ] {
            let found: Vec<_> = dropped_app_ids(piece.as_bytes()).collect();
            assert_eq!(
                found,
                kind.map(|kind| (kind, piece.as_bytes())).into_iter().collect::<Vec<_>>(),
                "{piece}"
            );
        }
        let found: Vec<_> = dropped_app_ids(b"1,x,2,-3,").map(|(_, piece)| piece).collect();
        assert_eq!(found, [&b"x"[..], b"-3", b""]);
    }

    #[test]
    fn a_long_field_is_parsed_in_blocks_with_the_same_pieces() {
        let long_piece = "0".repeat(2 * BLOCK_BYTES) + "7";
        let ids: Vec<String> = (0..50_000).map(|id: u32| (id * 7919).to_string()).collect();
        for field in
            [ids.join(","), ids.join(",") + ",", format!("{},{long_piece},5", ids.join(",")), long_piece]
        {
            let mut apps = Vec::new();
            let (kept, dropped) = parse_apps(field.as_bytes(), &mut apps);
            let (mut in_blocks, mut dropped_in_blocks, mut count) = (Vec::new(), 0, 0);
            for block in blocks(field.as_bytes()) {
                let mut apps = Vec::new();
                let (kept, dropped) = parse_apps(block, &mut apps);
                in_blocks.extend_from_slice(&apps[..kept]);
                (dropped_in_blocks, count) = (dropped_in_blocks + dropped, count + 1);
            }
            assert_eq!((&in_blocks[..], dropped_in_blocks), (&apps[..kept], dropped));
            assert!(count > 4 || kept == 1, "{count} blocks");
        }
    }
}
