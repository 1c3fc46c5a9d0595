//! How a load is done.

use std::time::Duration;

use crate::{Error, Protocol};

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
    /// Threads that encode, in a pool of the load's own. Default: the cores less one, which reads and decompresses, but
    /// at least 1. Ignored with [`Loader::with_pool`](crate::Loader::with_pool).
    pub threads: usize,
    /// Connections to each server. A key always takes the same one. Default: 1, which keeps one thread of a
    /// memcached busy.
    pub connections: u32,
    /// The protocol to speak. Default: `None`, the one that each server turns out to speak when it is first connected to
    /// in a load. One that says it is memcached 1.6 or newer and answers a meta command is spoken to in
    /// [`Protocol::Meta`], any other one in [`Protocol::Classic`]: a proxy, an older memcached. What is found out holds
    /// for the load, or until the server is found to be another process.
    ///
    /// In the classic protocol at most 128 KiB are in flight on a connection, since a proxy holds that in its memory. A
    /// failure that such a proxy reports of a server behind it (`SERVER_ERROR` with other words than memcached's for a
    /// record that is too large or finds no memory) is retried as a broken connection is.
    pub protocol: Option<Protocol>,
    /// How long to wait for a connection, and for a connected server to take or send anything. Default: 5 s.
    pub io_timeout: Duration,
    /// How long to retry a server that does not acknowledge anything. Default: 30 s.
    pub retry_timeout: Duration,
    /// When records expire that have no [`Record::ttl`](crate::Record::ttl) of their own, from the start of the load in
    /// which they are stored; see there. Default: never.
    pub ttl: Option<Duration>,
    /// Lines are handed to the workers in chunks of about this many bytes. Default: 2 MiB; smaller ones
    /// cost more context switches.
    pub chunk_bytes: usize,
    /// Lines of an input that comes slowly are handed to the workers after this time, though they are no chunk yet. It
    /// counts for what may keep a reader waiting: all inputs but regular files and bytes in memory. Default: 100 ms.
    pub linger: Duration,
    /// How many bytes may be in flight: those of chunks until they are encoded, then of their batches until they are
    /// acknowledged, and of rejected lines and other events until the caller has handled them. What comes next waits
    /// for room, except when nothing else is in flight: a line of 16 MiB takes up to 48 while it is encoded. Spare
    /// buffers take up to four chunks more. Default: 40 MiB, with which a process takes at most 64 MiB.
    pub max_bytes_in_flight: usize,
    /// Lines longer than this are rejected and take no more memory than this. Default: 16 MiB.
    pub max_line_bytes: usize,
    /// Whether to emit every rejected line, unchanged, with [`Event::LinesRejected`](crate::Event). The text
    /// of chunks is kept until they are acknowledged then. Default: no.
    pub report_rejected: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            threads: cores().saturating_sub(1).max(1),
            connections: 1,
            protocol: None,
            io_timeout: Duration::from_secs(5),
            retry_timeout: Duration::from_secs(30),
            ttl: None,
            chunk_bytes: 2 * 1024 * 1024,
            linger: Duration::from_millis(100),
            max_bytes_in_flight: 40 * 1024 * 1024,
            max_line_bytes: 16 * 1024 * 1024,
            report_rejected: false,
        }
    }
}

impl Options {
    /// Finds the first option that no load can work with.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let must_not_be_0 = [
            ("threads", self.threads == 0),
            ("connections", self.connections == 0),
            ("io_timeout", self.io_timeout.is_zero()),
            ("ttl", self.ttl == Some(Duration::ZERO)),
            ("chunk_bytes", self.chunk_bytes == 0),
            ("max_bytes_in_flight", self.max_bytes_in_flight == 0),
            ("max_line_bytes", self.max_line_bytes == 0),
        ];
        match must_not_be_0.into_iter().find(|(_, is_0)| *is_0) {
            Some((option, _)) => Err(Error::InvalidOptions { option, problem: "it must not be 0" }),
            None => Ok(()),
        }
    }
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_option_of_0_is_named() {
        type Change = fn(&mut Options);
        let changes: [(&str, Change); 7] = [
            ("threads", |it| it.threads = 0),
            ("connections", |it| it.connections = 0),
            ("io_timeout", |it| it.io_timeout = Duration::ZERO),
            ("ttl", |it| it.ttl = Some(Duration::ZERO)),
            ("chunk_bytes", |it| it.chunk_bytes = 0),
            ("max_bytes_in_flight", |it| it.max_bytes_in_flight = 0),
            ("max_line_bytes", |it| it.max_line_bytes = 0),
        ];
        assert!(Options::default().check().is_ok());
        for (name, change) in changes {
            let mut options = Options::default();
            change(&mut options);
            let error = options.check().err().map(|error| error.to_string());
            assert_eq!(error, Some(format!("invalid option {name}: it must not be 0")));
        }
    }
}
