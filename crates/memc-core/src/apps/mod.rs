//! The apps log: its lines, its messages, and the encoder that makes one of the other.

mod parse;
mod serialize;

pub use parse::AppsInstalled;
pub use serialize::{UserApps, serialize};

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
/// assert_eq!((&record.key[..], record.dropped), (&b"gaid:e7e1"[..], 1));
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
        let Some(parsed) = AppsInstalled::parse(line, &mut self.apps)? else { return Ok(None) };
        let server = self.device_types.iter().position(|name| name == parsed.device_type);
        let server = server.ok_or(RejectReason::NoServer)?;
        serialize(&parsed, &mut record.key, &mut record.value);
        record.dropped = parsed.dropped_apps;
        Ok(Some(server))
    }
}
