//! How far a running load has come, for whoever shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a load has come; reading it costs the load nothing.
///
/// It moves with every chunk that is finished, that is, acknowledged in all its records and all before it.
/// When a server was restarted it falls back to the end of the last finished file.
#[derive(Clone, Debug, Default)]
pub struct Progress(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes_in: AtomicU64,
    records: AtomicU64,
}

impl Progress {
    /// Bytes read from the inputs for finished chunks, packed ones if it is gzip.
    #[must_use]
    pub fn bytes_in(&self) -> u64 {
        self.0.bytes_in.load(Ordering::Relaxed)
    }

    /// Records that their server has acknowledged.
    #[must_use]
    pub fn records(&self) -> u64 {
        self.0.records.load(Ordering::Relaxed)
    }

    pub(crate) fn set(&self, bytes_in: u64, records: u64) {
        self.0.bytes_in.store(bytes_in, Ordering::Relaxed);
        self.0.records.store(records, Ordering::Relaxed);
    }

    /// A chunk more is finished.
    pub(crate) fn add(&self, bytes_in: u64, records: u64) {
        self.0.bytes_in.fetch_add(bytes_in, Ordering::Relaxed);
        self.0.records.fetch_add(records, Ordering::Relaxed);
    }
}
