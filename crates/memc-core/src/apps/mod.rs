//! The apps log: its lines, its messages, and the encoder that makes one of the other.
//!
//! A line has five fields with tabs between them: device type, device id, lat, lon, app ids.
//!
//! - White space (space, `\t`, `\n`, `\r`, `\x0b`, `\x0c`) at both ends of a line, a coordinate or an app id does not
//!   count. A line of nothing else is skipped.
//! - Device type and id are any bytes, but not empty.
//! - A coordinate is a decimal float: sign, digits, point, exponent; or `nan`, `inf`, `infinity` in any case. There is no
//!   other check: what is out of the range of latitudes and longitudes is stored as it is, `nan` and `inf` as such, and
//!   a number too large for a double (`1e999`) as infinity.
//! - An app id is an optional sign and digits with the value of a `u32`: `+8`, `09` and `-0` are. A piece that is none
//!   is dropped, and the rest of the record is loaded: [`OUT_OF_RANGE`], [`NOT_AN_INTEGER`].
//!
//! [`COORDINATES`] and the other [`RejectReason`]s name the first of these rules that a line breaks.

mod app_ids;
mod parse;
mod serialize;
mod space;

pub use app_ids::{NOT_AN_INTEGER, OUT_OF_RANGE};
pub use parse::{AppsInstalled, COORDINATES};
/// The crate whose [`Message`](prost::Message) decodes a [`UserApps`].
pub use prost;
pub use serialize::{UserApps, serialize};

use crate::buffers::{self, LARGE_BYTES};
use crate::{Encode, Record, RejectReason};

/// The encoder of the apps log: [`AppsInstalled`] lines to [`UserApps`] messages, on the
/// server of their device type.
///
/// ```
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Encode, Record, RejectReason};
///
/// let mut encoder = AppsEncoder::new(["idfa", "gaid"]);
/// let mut record = Record::default();
/// assert_eq!(encoder.encode(b"gaid\te7e1\t67.5\t-22.8\t7942,x", &mut record), Ok(Some(1)));
/// assert_eq!((&record.key[..], record.dropped_total()), (&b"gaid:e7e1"[..], 1));
/// record.clear();
/// assert_eq!(encoder.encode(b"imei\te7e1\t67.5\t-22.8\t7942", &mut record), Err(RejectReason::NoServer));
/// ```
#[derive(Clone, Debug)]
pub struct AppsEncoder {
    device_types: Vec<Vec<u8>>,
    apps: Vec<u32>,
}

impl AppsEncoder {
    /// An encoder for records of these device types; the place of a type in the list is its server's index.
    pub fn new<T: Into<Vec<u8>>>(device_types: impl IntoIterator<Item = T>) -> Self {
        Self { device_types: device_types.into_iter().map(Into::into).collect(), apps: Vec::new() }
    }
}

impl Encode for AppsEncoder {
    fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, RejectReason> {
        let fields = match parse::Fields::of(line) {
            Ok(Some(fields)) => fields,
            Ok(None) => return Ok(None),
            Err(reason) => {
                if reason == RejectReason::FieldCount
                    && let Some(why) = parse::explain_field_count(line)
                {
                    record.explain(why);
                }
                return Err(reason);
            }
        };
        let server = self.device_types.iter().position(|name| name == fields.device_type);
        let server = server.ok_or(RejectReason::NoServer)?;
        serialize::put_key(fields.device_type, fields.device_id, &mut record.key);
        if fields.app_ids.len() > LARGE_BYTES {
            // An id takes no more bytes than its text, once a block is done.
            buffers::reserve(
                &mut record.value,
                fields.app_ids.len() + serialize::MAX_APP_LEN * app_ids::BLOCK_BYTES,
            );
        }
        for block in app_ids::blocks(fields.app_ids) {
            let (kept, dropped) = app_ids::parse_apps(block, &mut self.apps);
            serialize::put_apps(&self.apps[..kept], &mut record.value);
            if dropped > 0 {
                app_ids::dropped_app_ids(block).for_each(|(kind, piece)| record.drop_part(kind, piece));
            }
        }
        serialize::put_coordinates(fields.lat, fields.lon, &mut record.value);
        Ok(Some(server))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Both write the same bytes, whatever the length of the line.
    #[test]
    fn the_encoder_makes_what_parse_and_serialize_make() {
        let mut encoder = AppsEncoder::new(["idfa"]);
        for ids in [",", "1", "7942,x,-5,8519", &vec!["12345"; 100_000].join(",")] {
            let line = format!("idfa\tx\t1.5\t-nan\t{ids}");
            let mut record = Record::default();
            assert_eq!(encoder.encode(line.as_bytes(), &mut record), Ok(Some(0)));
            let (mut apps, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
            let parsed =
                AppsInstalled::parse(line.as_bytes(), &mut apps).ok().flatten().expect("a sound line");
            serialize(&parsed, &mut key, &mut value);
            assert!((&key, &value) == (&record.key, &record.value));
            assert_eq!(record.dropped_total(), u64::from(parsed.dropped_apps));
        }
    }
}
