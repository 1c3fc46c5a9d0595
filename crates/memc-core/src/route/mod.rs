//! Which server a record goes to.

pub(crate) mod buckets;
pub(crate) mod distribution;
pub(crate) mod group;
pub(crate) mod hash;
#[cfg(test)]
mod known_answers;
pub(crate) mod rendezvous;
pub(crate) mod ring;
pub(crate) mod server;
