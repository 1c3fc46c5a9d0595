//! The protocols of memcached that a load can speak, and what is found out of a server before it speaks one.

/// The protocol in which records are sent to a server.
///
/// All is acknowledged in either: no record counts as stored before its server has said so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize))]
#[cfg_attr(feature = "serde", serde(rename_all = "snake_case"))]
pub enum Protocol {
    /// Meta commands, which memcached has from 1.6 on. The server answers once for each batch, and for each record
    /// that it refuses.
    #[default]
    Meta,
    /// The classic text protocol, which proxies and older servers speak. The server answers for each record.
    Classic,
}

/// How a server is spoken to. It stays so for a load, whatever stands behind the address later.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    pub(crate) protocol: Protocol,
    /// Whether it answers `stats` as memcached does. What does not, a proxy, may restart or evict unnoticed.
    pub(crate) has_statistics: bool,
}
