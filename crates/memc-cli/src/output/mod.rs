//! What a run writes: the log, the progress, the rejected lines, the report, the metrics, notes for systemd.

pub(crate) mod log;
pub(crate) mod messages;
pub(crate) mod metrics;
pub(crate) mod progress;
pub(crate) mod rejects;
pub(crate) mod replace;
pub(crate) mod report;
pub(crate) mod service;
