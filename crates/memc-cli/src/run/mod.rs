//! One run: the load of what is there, the events of it, its summary, and the signals that stop it.

pub(crate) mod attempt;
pub(crate) mod events;
pub(crate) mod fault;
pub(crate) mod job;
pub(crate) mod self_test;
pub(crate) mod signals;
pub(crate) mod summary;
