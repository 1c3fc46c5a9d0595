//! Speaks to memcached: addresses, sockets, connections, and the bytes of commands and answers.

pub(crate) mod address;
pub(crate) mod answers;
pub(crate) mod attributes;
pub(crate) mod batch;
pub(crate) mod bundle;
pub(crate) mod classic;
pub(crate) mod connection;
pub(crate) mod ending;
pub(crate) mod flight;
pub(crate) mod greeting;
pub(crate) mod half_open;
pub(crate) mod meta;
pub(crate) mod patience;
pub(crate) mod peers;
pub(crate) mod protocol;
pub(crate) mod questions;
pub(crate) mod stats;
pub(crate) mod status;
pub(crate) mod stream;
