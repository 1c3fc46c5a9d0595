//! A parsed line to the key and the protobuf value that memcached stores.

use crate::AppsInstalled;

/// The message of `proto/appsinstalled.proto`, as prost compiles it.
#[allow(missing_docs, clippy::doc_markdown, reason = "generated; the schema holds the comments")]
mod schema {
    include!(concat!(env!("OUT_DIR"), "/appsinstalled.rs"));
}

pub use schema::UserApps;

/// Tag bytes of the three fields: field number and wire type (varint, 64-bit), as protobuf's
/// [encoding page](https://protobuf.dev/programming-guides/encoding/) has them.
const APPS_TAG: u8 = 1 << 3;
const LAT_TAG: u8 = 2 << 3 | 1;
const LON_TAG: u8 = 3 << 3 | 1;

/// A tag and a u32 as varint are six bytes at most.
const MAX_APP_LEN: usize = 6;
const COORDINATES_LEN: usize = 18;

/// Writes the key `type:id` and the value, a [`UserApps`] message, of one record; both buffers are
/// cleared first.
///
/// The bytes are those of `UserApps::encode`; a property test holds the two together. It is written by
/// hand because prost's encoder takes several times as long (`cargo bench --bench serialize`), most of it
/// in a capacity check for every byte.
///
/// ```
/// use memc_core::{AppsInstalled, UserApps, serialize};
/// use prost::Message;
///
/// let (mut apps, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
/// let record = AppsInstalled::parse(b"idfa\te7e1\t67.5\t-22.8\t7942,8519", &mut apps)?.unwrap();
/// serialize(&record, &mut key, &mut value);
/// assert_eq!(key, b"idfa:e7e1");
/// let message = UserApps::decode(&value[..]).unwrap();
/// assert_eq!(message, UserApps { apps: vec![7942, 8519], lat: Some(67.5), lon: Some(-22.8) });
/// # Ok::<(), memc_core::Reject>(())
/// ```
pub fn serialize(record: &AppsInstalled<'_>, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    key.clear();
    key.extend_from_slice(record.device_type);
    key.push(b':');
    key.extend_from_slice(record.device_id);

    // One length for the worst case and a cut at the end: no check of the capacity for every byte.
    value.clear();
    value.resize(record.apps.len() * MAX_APP_LEN + COORDINATES_LEN, 0);
    let mut end = 0;
    for &app in record.apps {
        let Some(room) = value[end..].first_chunk_mut() else { break };
        end += put_app(room, app);
    }
    value.truncate(end);
    value.push(LAT_TAG);
    value.extend_from_slice(&record.lat.to_le_bytes());
    value.push(LON_TAG);
    value.extend_from_slice(&record.lon.to_le_bytes());
}

/// Writes one app id with its tag and returns how many bytes of `room` it took.
#[inline]
fn put_app(room: &mut [u8; MAX_APP_LEN], app: u32) -> usize {
    room[0] = APPS_TAG;
    let mut rest = app;
    for (at, byte) in room.iter_mut().enumerate().skip(1) {
        let [low, ..] = rest.to_le_bytes();
        rest >>= 7;
        if rest == 0 {
            *byte = low;
            return at + 1;
        }
        *byte = low | 0x80;
    }
    MAX_APP_LEN
}
