//! The rules of a line of the apps log: bytes in, an [`AppsInstalled`] or a [`RejectReason`] out, no I/O.

use std::borrow::Cow;

use crate::RejectReason;

/// A coordinate is not a decimal float.
pub const COORDINATES: RejectReason = RejectReason::Other(Cow::Borrowed("coordinates"));

/// The kind of a dropped app id that is an integer, but no `u32`.
pub const OUT_OF_RANGE: &str = "out_of_range";

/// The kind of a dropped app id that is no integer; it may be empty.
pub const NOT_AN_INTEGER: &str = "not_an_integer";

/// The longest app ids field that is parsed at once.
pub(super) const BLOCK_BYTES: usize = 64 * 1024;

/// One line of the apps log, borrowed from its bytes and from the caller's reused app ids.
///
/// ```
/// use memc_core::apps::AppsInstalled;
///
/// let mut apps = Vec::new();
/// let line = b"idfa\te7e1a50c\t67.7835424444\t-22.8044005471\t7942,8519,x\n";
/// let record = AppsInstalled::parse(line, &mut apps)?.expect("not a blank line");
/// assert_eq!(record.device_type, b"idfa");
/// assert_eq!(record.apps, [7942, 8519]);
/// assert_eq!(record.dropped_apps, 1);
/// # Ok::<(), memc_core::RejectReason>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AppsInstalled<'a> {
    /// The kind of device id, which decides on the server: `idfa`, `gaid`, …
    pub device_type: &'a [u8],
    /// The device id; any bytes but tabs, so whether it can be part of a key is not known yet.
    pub device_id: &'a [u8],
    /// Latitude as logged, in degrees; not checked for its range, may be infinite or NaN.
    pub lat: f64,
    /// Longitude as logged, like `lat`.
    pub lon: f64,
    /// The app ids that are valid, in the order of the line.
    pub apps: &'a [u32],
    /// How many pieces of the app ids field are no u32 and were left out.
    pub dropped_apps: u32,
}

impl<'a> AppsInstalled<'a> {
    /// Parses one line, with or without its line end; `apps` is where the app ids are kept, and what it held
    /// before is lost.
    ///
    /// White space around the line (space, `\t`, `\n`, `\r`, `\x0b`, `\x0c`) does not count. `None` is a
    /// line that is blank but for it.
    ///
    /// # Errors
    ///
    /// The first rule that the line breaks, in this order: exactly five fields ([`RejectReason::FieldCount`]), type
    /// and id not empty ([`RejectReason::EmptyField`]), decimal floats as lat and lon ([`COORDINATES`]).
    pub fn parse(line: &'a [u8], apps: &'a mut Vec<u32>) -> Result<Option<Self>, RejectReason> {
        let Some(fields) = Fields::of(line)? else { return Ok(None) };
        let Fields { device_type, device_id, lat, lon, app_ids } = fields;
        let (kept, dropped_apps) = parse_apps(app_ids, apps);
        Ok(Some(Self { device_type, device_id, lat, lon, apps: &apps[..kept], dropped_apps }))
    }
}

/// A line whose app ids are still text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fields<'a> {
    pub(super) device_type: &'a [u8],
    pub(super) device_id: &'a [u8],
    pub(super) lat: f64,
    pub(super) lon: f64,
    pub(super) app_ids: &'a [u8],
}

impl<'a> Fields<'a> {
    /// See [`AppsInstalled::parse`].
    #[inline]
    pub(super) fn of(line: &'a [u8]) -> Result<Option<Self>, RejectReason> {
        let line = strip(line);
        if line.is_empty() {
            return Ok(None);
        }
        let [device_type, device_id, lat, lon, app_ids] = split(line).ok_or(RejectReason::FieldCount)?;
        if device_type.is_empty() || device_id.is_empty() {
            return Err(RejectReason::EmptyField);
        }
        let lat = coordinate(lat).ok_or(COORDINATES)?;
        let lon = coordinate(lon).ok_or(COORDINATES)?;
        Ok(Some(Self { device_type, device_id, lat, lon, app_ids }))
    }
}

/// Why a line that shows five fields does not have them.
#[cold]
pub(super) fn explain_field_count(line: &[u8]) -> Option<&'static str> {
    let count = |line: &[u8]| memchr::memchr_iter(b'\t', line).count() + 1;
    let is_stripped = |byte: &u8| is_space(*byte);
    let from = line.iter().position(|byte| !is_space(*byte))?;
    let to = line.len() - line.iter().rev().take_while(|byte| is_stripped(byte)).count();
    if count(&line[from..to]) >= 5 {
        None
    } else if count(&line[from..]) == 5 {
        Some("the last field is empty: a tab at the end of a line is stripped like other white space")
    } else if count(&line[..to]) == 5 {
        Some("the first field is empty: a tab at the start of a line is stripped like other white space")
    } else {
        None
    }
}

/// The white space that is stripped from lines, coordinates and app ids. (Rust's own
/// `is_ascii_whitespace` leaves out the vertical tab.)
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

/// `bytes` without the white space at both ends.
fn strip(mut bytes: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = bytes
        && is_space(*first)
    {
        bytes = rest;
    }
    while let [rest @ .., last] = bytes
        && is_space(*last)
    {
        bytes = rest;
    }
    bytes
}

/// The five tab-separated fields of a line, or `None` if there are more or less.
fn split(line: &[u8]) -> Option<[&[u8]; 5]> {
    let mut tabs = memchr::memchr_iter(b'\t', line);
    let (a, b, c, d) = (tabs.next()?, tabs.next()?, tabs.next()?, tabs.next()?);
    if tabs.next().is_some() {
        return None;
    }
    Some([&line[..a], &line[a + 1..b], &line[b + 1..c], &line[c + 1..d], &line[d + 1..]])
}

/// A decimal float: sign, digits, point and exponent, or `nan`, `inf`, `infinity` in any case.
///
/// This is just what the crate takes, which rounds as correctly as `f64::from_str` and takes half the time. A number
/// whose exponent is out of the range of a double becomes infinite or 0.
fn coordinate(field: &[u8]) -> Option<f64> {
    fast_float2::parse(strip(field)).ok()
}

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
    // The highest bit of each byte that is larger. A carry can only corrupt bytes after the first of these.
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
    use proptest::prelude::*;

    fn parsed(line: &[u8]) -> Result<Option<(Vec<u32>, u32)>, RejectReason> {
        let mut apps = vec![1, 2, 3];
        AppsInstalled::parse(line, &mut apps).map(|it| it.map(|it| (it.apps.to_vec(), it.dropped_apps)))
    }

    #[test]
    fn lines_and_the_first_rule_that_they_break() {
        let one = Ok(Some((vec![1], 0)));
        for (line, expected) in [
            (&b"idfa\tx\t1\t2\t1"[..], one.clone()),
            (b"idfa\tx\t1\t2\t1\n", one.clone()),
            (b"idfa\tx\t1\t2\t1\r\n", one.clone()),
            (b" \x0b\x0cidfa\tx\t1\t2\t1 \t\n", one.clone()),
            (b"no such type\tx y\t1\t2\t1", one.clone()),
            (b"\xff\tx\xfe\t1\t2\t1", one),
            (b"", Ok(None)),
            (b"\n", Ok(None)),
            (b" \t\x0b\x0c\r\n", Ok(None)),
            (b"idfa", Err(RejectReason::FieldCount)),
            (b"idfa\tx\t1\t2", Err(RejectReason::FieldCount)),
            (b"idfa\tx\t1\t2\t", Err(RejectReason::FieldCount)),
            (b"\tx\t1\t2\t1", Err(RejectReason::FieldCount)),
            (b"idfa\tx\t1\t2\t1\t", Ok(Some((vec![1], 0)))),
            (b"idfa\tx\t1\t2\t1\tmore", Err(RejectReason::FieldCount)),
            (b"idfa\t\tnorth\t2\t1", Err(RejectReason::EmptyField)),
            (b"idfa\t\t1\t2\t1", Err(RejectReason::EmptyField)),
            (b"idfa\tx\tnorth\t2\t1", Err(COORDINATES)),
            (b"idfa\tx\t1\t\t1", Err(COORDINATES)),
        ] {
            assert_eq!(parsed(line), expected, "{}", line.escape_ascii());
        }
    }

    #[test]
    fn an_empty_type_cannot_be_seen_but_an_empty_id_can() {
        // A tab in front is white space, which is stripped, so the next field becomes the type.
        assert_eq!(parsed(b"\x0b\tx\t1\t2\t1\t5"), Ok(Some((vec![5], 0))));
        assert_eq!(parsed(b"x\t\t1\t2\t1"), Err(RejectReason::EmptyField));
    }

    #[test]
    fn coordinates() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("67.7835424444", 67.783_542_444_4),
            ("+1", 1.0),
            ("1.", 1.0),
            (".5", 0.5),
            ("-.5e1", -5.0),
            ("1E+2", 100.0),
            ("1e-2", 0.01),
            (" \t1\r", 1.0),
            ("1e999", f64::INFINITY),
            ("-1e999", f64::NEG_INFINITY),
            ("1e-999", 0.0),
            ("INF", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
            ("NaN", f64::NAN),
            ("-nan", -f64::NAN),
        ] {
            assert_eq!(coordinate(text.as_bytes()).map(f64::to_bits), Some(value.to_bits()), "{text}");
        }
        for text in [
            "", " ", ".", "+", "-", "e5", "1e", "1e+", "+-1", "1_0", "1 0", "0x10", "1,5", "infinit", "nano",
            "1f", "١",
        ] {
            assert_eq!(coordinate(text.as_bytes()), None, "{text}");
        }
        assert_eq!(coordinate(b"1\xff"), None);
        assert_eq!(coordinate(b"1\x00"), None);
    }

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
    fn a_line_that_shows_five_fields_says_why_it_has_not() {
        for (line, word) in [
            (&b"idfa\tx\t1\t2\t"[..], Some("last")),
            (b"idfa\tx\t1\t2\t \r\n", Some("last")),
            (b"\tx\t1\t2\t1", Some("first")),
            (b"idfa\tx\t1\t2", None),
            (b"idfa\tx\t1\t2\t1\tmore", None),
            (b"  ", None),
        ] {
            let why = explain_field_count(line);
            assert_eq!(why.is_some(), word.is_some(), "{}", line.escape_ascii());
            assert!(why.unwrap_or_default().contains(word.unwrap_or_default()), "{why:?}");
        }
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

    proptest! {
        #[test]
        fn what_is_written_is_read(
            device_type in "[a-z]{1,8}",
            device_id in "[!-~]{1,40}",
            lat in any::<f64>(),
            lon in any::<f64>(),
            ids in prop::collection::vec(any::<u32>(), 1..200),
        ) {
            let list = ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
            let line = format!("{device_type}\t{device_id}\t{lat:?}\t{lon:e}\t{list}\n");
            let mut apps = Vec::new();
            let record = AppsInstalled::parse(line.as_bytes(), &mut apps);
            let record = record.ok().flatten().expect("a sound line");
            prop_assert_eq!(record.device_type, device_type.as_bytes());
            prop_assert_eq!(record.device_id, device_id.as_bytes());
            prop_assert_eq!((record.lat.to_bits(), record.lon.to_bits()), (lat.to_bits(), lon.to_bits()));
            prop_assert_eq!(record.apps, &ids[..]);
            prop_assert_eq!(record.dropped_apps, 0);
        }
    }
}
