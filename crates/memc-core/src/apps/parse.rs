//! The rules of a line of the apps log: bytes in, an [`AppsInstalled`] or a [`RejectReason`] out, no I/O.

use std::borrow::Cow;

use crate::RejectReason;
use crate::apps::app_ids::parse_apps;
use crate::apps::space::{is_space, strip};

/// A coordinate is not a decimal float.
pub const COORDINATES: RejectReason = RejectReason::Other(Cow::Borrowed("coordinates"));

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
