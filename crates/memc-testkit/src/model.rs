//! The contract of a line, written plainly: what a loader that takes one line after the other would leave.

use std::collections::{BTreeMap, HashMap};

use crate::DEVICE_TYPES;

/// The servers' contents and the counts after some files, all their lines taken in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// For each device type, what its server must hold.
    pub servers: BTreeMap<&'static str, HashMap<Vec<u8>, Vec<u8>>>,
    /// Records that are stored, those that are overwritten later included.
    pub loaded: u64,
    /// Rejected lines by reason.
    pub rejected: BTreeMap<&'static str, u64>,
    /// App ids left out.
    pub dropped: u64,
}

impl Model {
    /// The state after nothing.
    #[must_use]
    pub fn new() -> Self {
        Self { servers: DEVICE_TYPES.map(|name| (name, HashMap::new())).into(), ..Self::default() }
    }

    /// Takes the plain text of one more file.
    pub fn load(&mut self, text: &[u8]) {
        for record in records(text) {
            match record {
                Ok((server, key, value, dropped)) => {
                    self.servers.entry(server).or_default().insert(key, value);
                    self.loaded += 1;
                    self.dropped += dropped;
                }
                Err(reason) => *self.rejected.entry(reason).or_default() += 1,
            }
        }
    }

    /// What is stored under a key, on whichever server.
    #[must_use]
    pub fn value(&self, key: &[u8]) -> Option<&[u8]> {
        self.servers.values().find_map(|server| server.get(key)).map(Vec::as_slice)
    }
}

/// The server's device type, key, value and the number of app ids left out.
pub(crate) type Record = (&'static str, Vec<u8>, Vec<u8>, u64);

/// What each line of a text that is not blank gives: a record, or the reason why it is rejected.
pub(crate) fn records(text: &[u8]) -> impl Iterator<Item = Result<Record, &'static str>> {
    text.split(|&byte| byte == b'\n').map(strip).filter(|line| !line.is_empty()).map(record)
}

fn record(line: &[u8]) -> Result<Record, &'static str> {
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b'\t').collect();
    if fields.len() != 5 {
        return Err("field_count");
    }
    if fields[0].is_empty() || fields[1].is_empty() {
        return Err("empty_field");
    }
    let lat = float(strip(fields[2])).ok_or("coordinates")?;
    let lon = float(strip(fields[3])).ok_or("coordinates")?;
    let mut value = Vec::new();
    let mut dropped = 0;
    for piece in fields[4].split(|&byte| byte == b',') {
        match app_id(strip(piece)) {
            Some(app) => {
                value.push(0x08);
                varint(app, &mut value);
            }
            None => dropped += 1,
        }
    }
    value.push(0x11);
    value.extend(lat.to_bits().to_le_bytes());
    value.push(0x19);
    value.extend(lon.to_bits().to_le_bytes());
    let server = DEVICE_TYPES.into_iter().find(|name| name.as_bytes() == fields[0]).ok_or("no_server")?;
    let key = [fields[0], b":", fields[1]].concat();
    if key.len() > 250 || key.iter().any(|&byte| byte <= 32 || byte == 127) {
        return Err("invalid_key");
    }
    Ok((server, key, value, dropped))
}

fn strip(bytes: &[u8]) -> &[u8] {
    let space = |byte: &u8| b" \t\n\r\x0b\x0c".contains(byte);
    let start = bytes.iter().position(|byte| !space(byte)).unwrap_or(bytes.len());
    let end = bytes.iter().rposition(|byte| !space(byte)).map_or(start, |last| last + 1);
    &bytes[start..end]
}

fn split_sign(text: &str) -> (bool, &str) {
    match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    }
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn app_id(piece: &[u8]) -> Option<u32> {
    let (negative, digits) = split_sign(std::str::from_utf8(piece).ok()?);
    if digits.is_empty() || !is_digits(digits) {
        return None;
    }
    let significant = digits.trim_start_matches('0');
    if significant.is_empty() {
        return Some(0);
    }
    if negative { None } else { significant.parse().ok() }
}

fn float(field: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(field).ok()?;
    let (negative, unsigned) = split_sign(text);
    let lower = unsigned.to_ascii_lowercase();
    let sign = if negative { -1.0 } else { 1.0 };
    match lower.as_str() {
        "inf" | "infinity" => return Some(f64::INFINITY * sign),
        "nan" => return Some(f64::from_bits(0x7ff8_0000_0000_0000 | u64::from(negative) << 63)),
        _ => {}
    }
    let (number, exponent) = match lower.split_once('e') {
        Some((number, exponent)) => (number, Some(split_sign(exponent).1)),
        None => (lower.as_str(), None),
    };
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    let sound = is_digits(whole)
        && is_digits(fraction)
        && !(whole.is_empty() && fraction.is_empty())
        && exponent.is_none_or(|digits| !digits.is_empty() && is_digits(digits));
    if sound { text.parse().ok() } else { None }
}

fn varint(mut number: u32, out: &mut Vec<u8>) {
    while number >= 0x80 {
        out.push(number.to_le_bytes()[0] | 0x80);
        number >>= 7;
    }
    out.push(number.to_le_bytes()[0]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_by_hand() {
        let mut model = Model::new();
        model.load(b"idfa\tab\t1.0\t-2\t1,300,x\n\n  idfa\tab\t1e0 \t-2.\t+09\r\nidfa\tx\n");
        let mut value = vec![0x08, 9, 0x11];
        value.extend(1.0f64.to_le_bytes());
        value.push(0x19);
        value.extend((-2.0f64).to_le_bytes());
        assert_eq!(model.value(b"idfa:ab"), Some(&value[..]));
        assert_eq!((model.loaded, model.dropped), (2, 1));
        assert_eq!(model.rejected, BTreeMap::from([("field_count", 1)]));
    }
}
