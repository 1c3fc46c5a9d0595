//! One run: the load of what is there, the events of it, its summary, the signals that stop it, and which panics are shown.

pub(crate) mod attempt;
pub(crate) mod events;
pub(crate) mod fault;
pub(crate) mod job;
pub(crate) mod panics;
pub(crate) mod self_test;
pub(crate) mod servers;
pub(crate) mod signals;
pub(crate) mod summary;
pub(crate) mod totals;
