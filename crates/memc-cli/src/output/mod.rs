//! What a run writes: the log, the progress bar, the rejected lines, the report and the metrics.

pub(crate) mod log;
pub(crate) mod messages;
pub(crate) mod metrics;
pub(crate) mod progress;
pub(crate) mod rejects;
pub(crate) mod replace;
pub(crate) mod report;
