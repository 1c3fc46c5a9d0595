//! How a load is done, and how it is stopped.

use std::time::Duration;

/// How a load is done. The defaults are right for most.
///
/// ```
/// use std::time::Duration;
///
/// use memc_core::Options;
///
/// let mut options = Options::default();
/// options.retry_timeout = Duration::from_secs(300);
/// options.report_rejected = true;
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Connections to each server. A key always takes the same one. Default: 1, which keeps one thread of a
    /// memcached busy.
    pub connections: u32,
    /// How long to wait for a connection, and for a connected server to take or send anything. Default: 5 s.
    pub io_timeout: Duration,
    /// How long to go on trying a server that does not acknowledge anything. Default: 30 s.
    pub retry_timeout: Duration,
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
    pub report_rejected: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 1,
            io_timeout: Duration::from_secs(5),
            retry_timeout: Duration::from_secs(30),
            chunk_bytes: 2 * 1024 * 1024,
            max_bytes_in_flight: 32 * 1024 * 1024,
            max_line_bytes: 16 * 1024 * 1024,
            report_rejected: false,
        }
    }
}
