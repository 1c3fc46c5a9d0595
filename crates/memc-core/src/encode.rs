//! What turns a line into a record: the trait that other loaders implement, and the apps log's own.

use crate::{AppsInstalled, Reject, serialize};

/// The buffers for one record, reused from line to line.
///
/// To try an encoder, begin with `Record::default()`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Record {
    /// The key under which the record is stored; the loader checks it against memcached's rules.
    pub key: Vec<u8>,
    /// The bytes to store.
    pub value: Vec<u8>,
    /// Parts of the line that were left out though the record is loaded (app ids that are no number);
    /// they are only counted.
    pub dropped: u32,
}

/// Turns one line of a log into the record to store and the server to store it on.
///
/// Each worker thread gets a clone, so an encoder may keep buffers in itself. It must not run rayon work
/// of its own: while it waits for that, rayon may give its thread a later chunk, nested in this one, and
/// the line it holds then waits for all of the later ones.
///
/// ```
/// use memc_core::{Encode, Record, Reject};
///
/// /// `key=value` lines, all to the first server.
/// #[derive(Clone)]
/// struct Pairs;
///
/// impl Encode for Pairs {
///     fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, Reject> {
///         let at = line.iter().position(|&byte| byte == b'=').ok_or(Reject::Fields)?;
///         record.key.extend_from_slice(&line[..at]);
///         record.value.extend_from_slice(&line[at + 1..]);
///         Ok(Some(0))
///     }
/// }
/// ```
pub trait Encode: Clone + Send + Sync {
    /// Encodes `line`, which comes without its `\n` and is otherwise as it stands in the file.
    ///
    /// `record` comes empty. Returns the index of the server among those given to
    /// [`Loader::new`](crate::Loader::new), or `None` for a line that is skipped and not counted, such as a
    /// blank one.
    ///
    /// # Errors
    ///
    /// The reason why the line is rejected. A server index out of range is rejected as
    /// [`Reject::Type`], a key that memcached does not take as [`Reject::Key`].
    fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, Reject>;
}

/// The encoder of the apps log: [`AppsInstalled`] lines to [`UserApps`](crate::UserApps) messages, on the
/// server of their device type.
///
/// ```
/// use memc_core::{AppsEncoder, Encode, Record, Reject};
///
/// let mut encoder = AppsEncoder::new(["idfa", "gaid"]);
/// let mut record = Record::default();
/// assert_eq!(encoder.encode(b"gaid\te7e1\t67.5\t-22.8\t7942,x", &mut record), Ok(Some(1)));
/// assert_eq!((&record.key[..], record.dropped), (&b"gaid:e7e1"[..], 1));
/// assert_eq!(encoder.encode(b"imei\te7e1\t67.5\t-22.8\t7942", &mut record), Err(Reject::Type));
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
    fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, Reject> {
        let Some(parsed) = AppsInstalled::parse(line, &mut self.apps)? else { return Ok(None) };
        let server = self.device_types.iter().position(|name| name == parsed.device_type);
        let server = server.ok_or(Reject::Type)?;
        serialize(&parsed, &mut record.key, &mut record.value);
        record.dropped = parsed.dropped_apps;
        Ok(Some(server))
    }
}
