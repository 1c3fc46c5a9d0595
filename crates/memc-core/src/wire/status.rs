//! How a server is, for an operator: its version, its uptime and its memory.

use std::io;
use std::time::Duration;

use crate::report::ServerStatus;
use crate::wire::connection::Connection;
use crate::wire::patience::Patience;
use crate::wire::protocol::{Manner, Protocol};
use crate::{Address, StopHandle};

impl Address {
    /// Connects as a load does, and asks the server how it is: a success means that a load could use the server,
    /// with its TLS, user and password, in this protocol or (`None`) in one that it finds out.
    ///
    /// `io_timeout` is for the connection, and for any wait for the server after that.
    ///
    /// # Errors
    ///
    /// The reason why a load could not use the server.
    pub fn status(&self, protocol: Option<Protocol>, io_timeout: Duration) -> io::Result<ServerStatus> {
        let patience = Patience::new(io_timeout, &StopHandle::default());
        let mut connection = Connection::open(self, &patience, protocol, None)?;
        let Manner { protocol, has_statistics } = connection.manner();
        let mut status = ServerStatus {
            version: connection.version().to_owned(),
            protocol,
            no_statistics: !has_statistics,
            ..ServerStatus::default()
        };
        if has_statistics {
            connection.stats_lines(|line| {
                status.line(line);
                Ok(())
            })?;
        }
        Ok(status)
    }
}

impl ServerStatus {
    /// Takes a line `STAT name value`.
    fn line(&mut self, line: &[u8]) {
        let text = String::from_utf8_lossy(line);
        let mut words = text.split_ascii_whitespace();
        let (Some("STAT"), Some(name), Some(value)) = (words.next(), words.next(), words.next()) else {
            return;
        };
        let number = value.parse().unwrap_or(0);
        match name {
            "uptime" => self.uptime = Duration::from_secs(number),
            "curr_items" => self.records = number,
            "bytes" => self.bytes_used = number,
            "limit_maxbytes" => self.memory_limit_bytes = Some(number).filter(|&limit| limit > 0),
            "evictions" | "slab_reassign_evictions_nomem" => {
                self.evictions = self.evictions.saturating_add(number);
            }
            _ => {}
        }
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
        let status = address.status(None, IO_TIMEOUT)?;
        assert!(status.version.starts_with("1."), "{status:?}");
        assert_eq!((status.protocol, status.no_statistics), (Protocol::Meta, false));
        assert_eq!((status.memory_limit_bytes, status.bytes_used, status.evictions), (Some(65 << 20), 0, 0));
        Ok(())
    }

    #[test]
    fn nobody_there_is_an_error() {
        let address: Address = "127.0.0.1:1".parse().expect("a sound address");
        let error = address.status(None, IO_TIMEOUT).map_err(|error| error.kind());
        assert_eq!(error, Err(io::ErrorKind::ConnectionRefused));
    }
}
