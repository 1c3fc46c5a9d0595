//! How a load is stopped from outside.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

/// Asks a running load, from another thread or a signal handler, to come to an end soon.
///
/// No new chunk is started, those in flight are finished, and the load returns
/// [`Error::Cancelled`](crate::Error::Cancelled). A server that fails then is not tried again, and none is waited
/// for longer than [`Options::io_timeout`](crate::Options::io_timeout). An input that keeps its reader waiting is waited
/// for no longer, and the lines that have come are loaded.
///
/// ```
/// use memc_core::apps::AppsEncoder;
/// use memc_core::{Address, Error, Input, Loader, Options};
///
/// let server: Address = "127.0.0.1:33013".parse()?;
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], Options::default());
/// // Another thread would have it.
/// loader.stop_handle().request();
/// let stopped = loader.dry_run([Input::path("20170929000000.tsv.gz")], |_| (), |_| Ok(())).unwrap_err();
/// assert!(matches!(stopped.error, Error::Cancelled));
/// assert_eq!(stopped.report.inputs, 0);
/// # Ok::<(), memc_core::AddressError>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<Request>);

#[derive(Debug, Default)]
struct Request {
    /// All that a signal handler may touch.
    requested: AtomicBool,
    /// When a thread of the load first saw it.
    seen: OnceLock<Instant>,
}

impl StopHandle {
    /// Asks for it; there is no way back.
    pub fn request(&self) {
        self.0.requested.store(true, Ordering::Relaxed);
    }

    /// Whether it has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.requested.load(Ordering::Relaxed)
    }

    /// How long ago the load noticed the request; `None` without one.
    pub(crate) fn requested_for(&self) -> Option<Duration> {
        self.is_requested().then(|| self.0.seen.get_or_init(Instant::now).elapsed())
    }
}
