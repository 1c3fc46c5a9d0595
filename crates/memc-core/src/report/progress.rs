//! How far a running load is, for whoever shows it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// How far a load is; reading it costs the load nothing.
///
/// It moves with every chunk that is finished, that is, acknowledged in all its records and all before it.
/// When a server was restarted it falls back to the end of the last finished file.
///
/// ```
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Address, Input, Loader, Options};
///
/// let server: Address = "127.0.0.1:33013".parse()?;
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], Options::default());
/// let progress = loader.progress_handle();
/// let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942\n";
/// loader.dry_run([Input::reader("sample", log)], |_| (), |_| Ok(()))?;
/// assert_eq!((progress.bytes_in(), progress.records()), (log.len() as u64, 1));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct ProgressHandle(Arc<Counters>);

#[derive(Debug, Default)]
struct Counters {
    bytes_in: AtomicU64,
    records: AtomicU64,
}

impl ProgressHandle {
    /// Bytes read from the inputs for finished chunks, compressed if the input is gzip.
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
