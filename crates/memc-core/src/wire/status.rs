//! How a server is, for an operator: its version, its uptime and its memory.

use std::io;
use std::time::Duration;

use crate::Address;
use crate::wire::connection::Connection;

/// What a server reports of itself. What it leaves out counts as 0, or as an empty version.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ServerStatus {
    /// The version of memcached.
    pub version: String,
    /// How long the process has been running, in whole seconds.
    pub uptime: Duration,
    /// Bytes of the items that it holds, their headers included.
    pub bytes_used: u64,
    /// Its memory limit (memcached's option `-m`), if it has one.
    pub memory_limit_bytes: Option<u64>,
    /// Valid items that it has evicted since its start.
    pub evictions: u64,
}

impl Address {
    /// Connects as a load does, and asks the server how it is: a success means that a load could use the server,
    /// with its TLS, user and password, and that it speaks the meta protocol.
    ///
    /// `io_timeout` is for the connection, and for any wait for the server after that.
    ///
    /// # Errors
    ///
    /// The reason why a load could not use the server.
    pub fn status(&self, io_timeout: Duration) -> io::Result<ServerStatus> {
        Connection::open(self, io_timeout)?.stats_answer().map(|answer| ServerStatus::parse(&answer))
    }
}

impl ServerStatus {
    fn parse(answer: &[u8]) -> Self {
        let mut status = Self::default();
        for line in String::from_utf8_lossy(answer).lines() {
            let mut words = line.split_ascii_whitespace();
            let (Some("STAT"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
                continue;
            };
            let number = value.parse().unwrap_or(0);
            match name {
                "version" => value.clone_into(&mut status.version),
                "uptime" => status.uptime = Duration::from_secs(number),
                "bytes" => status.bytes_used = number,
                "limit_maxbytes" => status.memory_limit_bytes = Some(number).filter(|&limit| limit > 0),
                "evictions" | "slab_reassign_evictions_nomem" => status.evictions += number,
                _ => {}
            }
        }
        status
    }
}

#[cfg(test)]
mod tests {
    use memc_testkit::Memcached;

    use super::*;

    const IO_TIMEOUT: Duration = Duration::from_secs(5);

    #[test]
    fn a_server_says_how_it_is() -> io::Result<()> {
        let server = Memcached::start(&["-m", "65"])?;
        let address: Address = server.address().parse().map_err(io::Error::other)?;
        let status = address.status(IO_TIMEOUT)?;
        assert!(status.version.starts_with("1."), "{status:?}");
        assert_eq!((status.memory_limit_bytes, status.bytes_used, status.evictions), (Some(65 << 20), 0, 0));
        Ok(())
    }

    #[test]
    fn nobody_there_is_an_error() {
        let address: Address = "127.0.0.1:1".parse().expect("a sound address");
        let error = address.status(IO_TIMEOUT).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::ConnectionRefused));
    }
}
