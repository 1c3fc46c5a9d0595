//! How a load is done, and how it is stopped.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// How a load is done. The defaults are right for most.
///
/// ```
/// use std::time::Duration;
///
/// use memc_core::Options;
///
/// let mut options = Options::default();
/// options.retry_for = Duration::from_secs(300);
/// options.keep_rejected = true;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Connections to each server. A key always takes the same one. Default: 1, which keeps one thread of a
    /// memcached busy.
    pub connections: u32,
    /// How long to wait for a connection, and for a connected server to take or send anything. Default: 5 s.
    pub timeout: Duration,
    /// How long to go on trying a server that does not acknowledge anything. Default: 30 s.
    pub retry_for: Duration,
    /// Plain text is handed to the workers in chunks of about this many bytes. Default: 2 MiB; smaller ones
    /// cost more context switches.
    pub chunk_bytes: usize,
    /// How many bytes the buffers of plain text may have that are read ahead of the last acknowledgment, which
    /// bounds the memory. A buffer counts as a whole, however short the file in it. Default: 32 MiB.
    pub max_bytes_in_flight: usize,
    /// Lines longer than this are rejected and take no more memory than this. Default: 16 MiB.
    pub max_line_bytes: usize,
    /// Whether to tell every rejected line, unchanged, with [`Event::LinesRejected`](crate::Event). The text
    /// of chunks is kept until that is told then. Default: no.
    pub keep_rejected: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 1,
            timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(30),
            chunk_bytes: 2 * 1024 * 1024,
            max_bytes_in_flight: 32 * 1024 * 1024,
            max_line_bytes: 16 * 1024 * 1024,
            keep_rejected: false,
        }
    }
}

/// Asks a running load, from another thread or a signal handler, to come to an end soon.
///
/// No new chunk is begun, those in flight are finished, and the load returns
/// [`Error::Requested`](crate::Error::Requested). A server that fails then is not tried again.
///
/// ```
/// use memc_core::{AppsEncoder, Error, Input, Loader, Options};
///
/// let loader = Loader::new(AppsEncoder::new(["idfa"]), Vec::new(), Options::default());
/// // Another thread would have it.
/// loader.stop_handle().request();
/// let stopped = loader.dry_run([Input::path("20170929000000.tsv.gz")], |_| (), |_| Ok(())).unwrap_err();
/// assert!(matches!(stopped.error, Error::Requested));
/// assert_eq!(stopped.report.files, 0);
/// ```
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it; there is no way back.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
