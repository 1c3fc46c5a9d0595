//! Encodes: what turns a line into a record, which other loaders implement, and the threads that call it.

pub(crate) mod expiry;
pub(crate) mod record;
pub(crate) mod worker;

use crate::RejectReason;
use crate::encode::record::Record;

/// Turns one line of a log into the record to store and the group of servers to store it on.
///
/// Each worker thread gets a clone, so an encoder may keep buffers in itself. It must not run rayon work
/// of its own: while it waits for that, rayon may give its thread a later chunk, nested in this one, and
/// the line it holds then waits for all of the later ones.
///
/// ```
/// use memc_core::{Encode, Record, RejectReason};
///
/// /// `key=value` lines, all to the first group.
/// #[derive(Clone)]
/// struct Pairs;
///
/// impl Encode for Pairs {
///     fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, RejectReason> {
///         let at = line.iter().position(|&byte| byte == b'=').ok_or(RejectReason::FieldCount)?;
///         record.key.extend_from_slice(&line[..at]);
///         record.value.extend_from_slice(&line[at + 1..]);
///         Ok(Some(0))
///     }
/// }
/// ```
pub trait Encode: Clone + Send + Sync {
    /// Encodes `line`, which comes without its `\n` and is otherwise as it stands in the input.
    ///
    /// `record` comes empty. Returns the index of a [`Group`](crate::Group) among those given to
    /// [`Loader::new`](crate::Loader::new), one of whose servers then stores the record, or `None` for a line that is
    /// skipped and not counted, such as a blank one. An index out of range stops the load with
    /// [`Error::GroupIndex`](crate::Error::GroupIndex).
    ///
    /// # Errors
    ///
    /// The reason why the line is rejected. A key that memcached does not take is rejected as
    /// [`RejectReason::InvalidKey`].
    fn encode(&mut self, line: &[u8], record: &mut Record) -> Result<Option<usize>, RejectReason>;
}
