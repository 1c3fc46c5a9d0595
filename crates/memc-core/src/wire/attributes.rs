//! What memcached keeps with a value: the flags, and when the record expires.

/// The flags and the expiry of a record.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes {
    pub(crate) flags: u32,
    /// In seconds since 1970; 0 for never. Relative times would shift when a set is sent again.
    pub(crate) expiry: u32,
}

/// The last second that memcached's protocols can name as a time of expiry, since 1970: in January 2038.
pub(crate) const MAX_EXPIRY: u32 = i32::MAX.unsigned_abs();
