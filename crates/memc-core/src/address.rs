//! Server addresses: `host:port`, `[v6]:port` and `unix:/path`.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use crate::error::AddressError;
use crate::stream::Stream;

/// The address of one memcached server.
///
/// ```
/// use memc_core::Address;
///
/// for text in ["127.0.0.1:33013", "cache.example:11211", "[::1]:11211", "unix:/run/memcached.sock"] {
///     assert_eq!(text.parse::<Address>()?.to_string(), text);
/// }
/// assert!("no port".parse::<Address>().is_err());
/// # Ok::<(), memc_core::AddressError>(())
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Address(Kind);

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Kind {
    /// The host as it is given to name resolution, without brackets.
    Tcp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
}

impl Address {
    /// Opens a connection, trying each address that a host name stands for; `timeout` is for each attempt.
    pub(crate) fn connect(&self, timeout: Duration) -> io::Result<Stream> {
        match &self.0 {
            Kind::Unix(path) => Stream::unix(UnixStream::connect(path)?),
            Kind::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) => return Stream::tcp(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let wrong = |problem| AddressError { text: text.to_owned(), problem };
        if let Some(path) = text.strip_prefix("unix:") {
            if path.is_empty() {
                return Err(wrong("the path of the socket is missing"));
            }
            return Ok(Self(Kind::Unix(path.into())));
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(|| wrong("the port is missing"))?;
        let port = port.parse().ok().filter(|&port| port != 0);
        let port = port.ok_or_else(|| wrong("the port is not a number from 1 to 65535"))?;
        let host = match host.strip_prefix('[') {
            Some(v6) => v6.strip_suffix(']').ok_or_else(|| wrong("the closing bracket is missing"))?,
            None if host.contains(':') => return Err(wrong("an IPv6 address needs brackets")),
            None => host,
        };
        if host.is_empty() {
            return Err(wrong("the host is missing"));
        }
        Ok(Self(Kind::Tcp { host: host.to_owned(), port }))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Unix(path) => write!(out, "unix:{}", path.display()),
            Kind::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Kind::Tcp { host, port } => write!(out, "{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_are_wrong_say_why() {
        for (text, problem) in [
            ("", "the port is missing"),
            ("localhost", "the port is missing"),
            (":33013", "the host is missing"),
            ("[]:33013", "the host is missing"),
            ("localhost:", "the port is not a number from 1 to 65535"),
            ("localhost:0", "the port is not a number from 1 to 65535"),
            ("localhost:65536", "the port is not a number from 1 to 65535"),
            ("::1:33013", "an IPv6 address needs brackets"),
            ("[::1:33013", "the closing bracket is missing"),
            ("unix:", "the path of the socket is missing"),
        ] {
            let error = text.parse::<Address>().map_err(|error| error.to_string());
            let expected = format!(
                "'{text}' is not a server address: {problem} (give host:port, [v6]:port or unix:/path)"
            );
            assert_eq!(error, Err(expected));
        }
    }
}
