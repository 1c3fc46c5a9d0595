//! Where `--listen` listens: a TCP port, or a Unix socket.

use std::fmt;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::FileTypeExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use crate::inputs::name::shown;

/// How many clients may wait to be accepted.
const WAITING: i32 = 1024;

/// An address to listen on, as it is given.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum ListenAddress {
    Tcp(String),
    Unix(PathBuf),
}

/// A socket that listens.
#[derive(Debug)]
pub(crate) enum Listener {
    Tcp(TcpListener, SocketAddr),
    Unix(UnixListener, SocketFile),
}

/// The file of a Unix socket, which goes when this is dropped.
#[derive(Debug)]
pub(crate) struct SocketFile(PathBuf);

impl FromStr for ListenAddress {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        const HINT: &str = "give host:port, such as 127.0.0.1:9119, [v6]:port or unix:/path";
        if let Some(path) = text.strip_prefix("unix:") {
            return if path.starts_with('/') { Ok(Self::Unix(path.into())) } else { Err(HINT) };
        }
        match text.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && port.parse::<u16>().is_ok() => {
                let is_v6 = host.starts_with('[') && host.ends_with(']');
                if is_v6 || !host.contains(':') { Ok(Self::Tcp(text.to_owned())) } else { Err(HINT) }
            }
            _ => Err(HINT),
        }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => out.write_str(address),
            Self::Unix(path) => write!(out, "unix:{}", shown(path)),
        }
    }
}

impl ListenAddress {
    /// Listens there.
    ///
    /// # Errors
    ///
    /// If somebody else does so already, or it is no address of this machine.
    pub(crate) fn listen(&self) -> io::Result<Listener> {
        match self {
            Self::Tcp(address) => {
                let socket = TcpListener::bind(address)?;
                // More than the standard library lets wait, so that a flood does not keep others out.
                rustix::net::listen(&socket, WAITING)?;
                socket.set_nonblocking(true)?;
                let address = socket.local_addr()?;
                Ok(Listener::Tcp(socket, address))
            }
            Self::Unix(path) => {
                remove_if_left_over(path);
                let socket = UnixListener::bind(path)?;
                socket.set_nonblocking(true)?;
                Ok(Listener::Unix(socket, SocketFile(path.clone())))
            }
        }
    }
}

impl Listener {
    /// Whether other machines can reach it.
    pub(crate) fn is_public(&self) -> bool {
        matches!(self, Self::Tcp(_, address) if !address.ip().to_canonical().is_loopback())
    }
}

/// As a browser or `curl` takes it.
impl fmt::Display for Listener {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(_, address) => write!(out, "http://{address}/"),
            Self::Unix(_, SocketFile(path)) => write!(out, "unix:{}", shown(path)),
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        // Whoever starts next removes it otherwise.
        let _ = fs::remove_file(&self.0);
    }
}

/// A socket that nobody listens on was left by a process that was killed.
fn remove_if_left_over(path: &Path) {
    let is_socket = path.symlink_metadata().is_ok_and(|metadata| metadata.file_type().is_socket());
    let is_refused =
        || matches!(UnixStream::connect(path), Err(error) if error.kind() == ErrorKind::ConnectionRefused);
    if is_socket && is_refused() {
        // If it stays, listening fails and says so.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read() {
        for (text, sound) in [
            ("127.0.0.1:9119", true),
            ("[::1]:9119", true),
            ("localhost:0", true),
            ("unix:/run/memc-load/http", true),
            ("unix:relative", false),
            ("9119", false),
            (":9119", false),
            ("::1:9119", false),
            ("h:99999", false),
            ("h:", false),
            ("", false),
        ] {
            assert_eq!(
                text.parse::<ListenAddress>().ok().map(|it| it.to_string()),
                sound.then(|| text.to_owned())
            );
        }
    }

    #[test]
    fn only_loopback_is_not_public() -> io::Result<()> {
        for (text, public) in [("127.0.0.1:0", false), ("0.0.0.0:0", true)] {
            let listener = text.parse::<ListenAddress>().map_err(io::Error::other)?.listen()?;
            assert_eq!(listener.is_public(), public, "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_socket_that_is_taken_is_an_error_and_one_that_was_left_is_not() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path)?);
        let address = ListenAddress::Unix(path.clone());
        let listener = address.listen()?;
        assert_eq!(address.listen().err().map(|error| error.kind()), Some(ErrorKind::AddrInUse));
        drop(listener);
        assert!(!path.exists());
        fs::write(&path, "a file")?;
        assert!(address.listen().is_err() && path.is_file());
        Ok(())
    }
}
