//! A parsed line to the key and the protobuf value that memcached stores.

use crate::apps::AppsInstalled;

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
pub(super) const MAX_APP_LEN: usize = 6;
const COORDINATES_LEN: usize = 18;

/// Writes the key `type:id` and the value, a [`UserApps`] message, of one record; both buffers are
/// cleared first.
///
/// The bytes are those of `UserApps::encode`; a property test holds the two together. It is written by
/// hand because prost's encoder takes 1.8 times as long (`cargo bench --bench serialize`).
///
/// ```
/// use memc_core::apps::prost::Message;
/// use memc_core::apps::{AppsInstalled, UserApps, serialize};
///
/// let (mut apps, mut key, mut value) = (Vec::new(), Vec::new(), Vec::new());
/// let record = AppsInstalled::parse(b"idfa\te7e1\t67.5\t-22.8\t7942,8519", &mut apps)?.unwrap();
/// serialize(&record, &mut key, &mut value);
/// assert_eq!(key, b"idfa:e7e1");
/// let message = UserApps::decode(&value[..]).unwrap();
/// assert_eq!(message, UserApps { apps: vec![7942, 8519], lat: Some(67.5), lon: Some(-22.8) });
/// # Ok::<(), memc_core::RejectReason>(())
/// ```
pub fn serialize(record: &AppsInstalled<'_>, key: &mut Vec<u8>, value: &mut Vec<u8>) {
    key.clear();
    value.clear();
    put_key(record.device_type, record.device_id, key);
    put_apps(record.apps, value);
    put_coordinates(record.lat, record.lon, value);
}

/// Adds the key of a line.
#[inline]
pub(super) fn put_key(device_type: &[u8], device_id: &[u8], key: &mut Vec<u8>) {
    key.extend_from_slice(device_type);
    key.push(b':');
    key.extend_from_slice(device_id);
}

/// Adds app ids to a value; there is room for the coordinates behind them.
#[inline]
pub(super) fn put_apps(apps: &[u32], value: &mut Vec<u8>) {
    // One length for the worst case and a cut at the end: no check of the capacity for every byte.
    let mut end = value.len();
    value.resize(end + apps.len() * MAX_APP_LEN + COORDINATES_LEN, 0);
    for &app in apps {
        let Some(room) = value[end..].first_chunk_mut() else { break };
        end += put_app(room, app);
    }
    value.truncate(end);
}

/// Ends a value with the coordinates.
#[inline]
pub(super) fn put_coordinates(lat: f64, lon: f64, value: &mut Vec<u8>) {
    value.push(LAT_TAG);
    value.extend_from_slice(&lat.to_le_bytes());
    value.push(LON_TAG);
    value.extend_from_slice(&lon.to_le_bytes());
}

/// Writes one app id with its tag and returns how many bytes of `room` it took.
#[inline]
fn put_app(room: &mut [u8; MAX_APP_LEN], app: u32) -> usize {
    // Most ids take two bytes, which are written at once.
    if (0x80..0x4000).contains(&app) {
        let bytes = u32::from(APPS_TAG) | (app & 0x7f | 0x80) << 8 | (app >> 7) << 16;
        room[..4].copy_from_slice(&bytes.to_le_bytes());
        return 3;
    }
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    proptest! {
        #[test]
        fn the_bytes_are_those_of_prost(
            apps in prop::collection::vec(prop_oneof![any::<u32>(), 0..20_000_u32, (0..32_u32).prop_map(|bit| 1 << bit)], 0..200),
            lat in any::<f64>(),
            lon in any::<f64>(),
        ) {
            let record = AppsInstalled { device_type: b"idfa", device_id: b"x", lat, lon, apps: &apps, dropped_apps: 0 };
            let (mut key, mut value) = (b"old".to_vec(), b"old".to_vec());
            serialize(&record, &mut key, &mut value);
            let message = UserApps { apps: apps.clone(), lat: Some(lat), lon: Some(lon) };
            prop_assert_eq!(value, message.encode_to_vec());
            prop_assert_eq!(key, b"idfa:x");
        }
    }

    #[test]
    fn a_value_byte_by_byte() {
        let apps = [1, 300, u32::MAX];
        let record = AppsInstalled {
            device_type: b"t",
            device_id: b"i",
            lat: 1.0,
            lon: -2.0,
            apps: &apps,
            dropped_apps: 0,
        };
        let (mut key, mut value) = (Vec::new(), Vec::new());
        serialize(&record, &mut key, &mut value);
        let expected =
            b"\x08\x01\x08\xac\x02\x08\xff\xff\xff\xff\x0f\x11\0\0\0\0\0\0\xf0\x3f\x19\0\0\0\0\0\0\0\xc0";
        assert_eq!(value, expected);
    }
}
