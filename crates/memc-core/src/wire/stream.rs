//! A socket to a server, TCP, TLS or Unix, that never blocks in read or write but in [`Stream::poll`].

use std::io::{self, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use openssl::ssl::{HandshakeError, SslConnector, SslMethod, SslStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

use crate::wire::peers::Ends;

/// The most that one TLS record holds; less than memcached reads at a time.
const MAX_TLS_RECORD_BYTES: usize = 8 * 1024;

/// A socket that is connected.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        prepare(&stream)?;
        Ok(Self::Tcp(stream))
    }

    /// Shakes hands, which may take as long as `timeout` in all, checking that the certificate is good and for `host`.
    pub(crate) fn tls(stream: TcpStream, host: &str, timeout: Duration) -> io::Result<Self> {
        prepare(&stream)?;
        let started = Instant::now();
        let mut handshake = SslConnector::builder(SslMethod::tls_client())?.build().connect(host, stream);
        loop {
            match handshake {
                Ok(stream) => return Ok(Self::Tls(Box::new(stream))),
                Err(HandshakeError::WouldBlock(unfinished)) => {
                    let writing = unfinished.error().code() == openssl::ssl::ErrorCode::WANT_WRITE;
                    let flags = if writing { PollFlags::OUT } else { PollFlags::IN };
                    let left = timeout.saturating_sub(started.elapsed());
                    if !poll_socket(unfinished.get_ref(), flags, left)? {
                        return Err(io::Error::new(
                            io::ErrorKind::TimedOut,
                            "no TLS with this server: it does not answer",
                        ));
                    }
                    handshake = unfinished.handshake();
                }
                Err(error) => {
                    let text = format!("no TLS with this server: {error}");
                    return Err(io::Error::new(io::ErrorKind::ConnectionAborted, text));
                }
            }
        }
    }

    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(stream))
    }

    /// How many bytes may be written at once, and then only up to the end of a command.
    ///
    /// When memcached (1.6.18) reads just the rest of a value, what follows in the same TLS record stays in its TLS
    /// library, where its event loop does not see it, and it may stop there until more comes. A record that ends
    /// with a command leaves nothing.
    pub(crate) fn max_write_bytes(&self) -> Option<usize> {
        matches!(self, Self::Tls(_)).then_some(MAX_TLS_RECORD_BYTES)
    }

    /// The two ends of the connection, unless it is a Unix socket.
    pub(crate) fn ends(&self) -> Option<Ends> {
        let socket = match self {
            Self::Tcp(stream) => stream,
            Self::Tls(stream) => stream.get_ref(),
            Self::Unix(_) => return None,
        };
        Some(Ends::new(socket.local_addr().ok()?, socket.peer_addr().ok()?))
    }

    /// Says that nothing follows.
    pub(crate) fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads what is on the socket, encrypted or not.
    pub(crate) fn read_raw(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.get_mut().read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Waits until one of `flags` holds; whether it does before `timeout`.
    pub(crate) fn poll(&self, flags: PollFlags, timeout: Duration) -> io::Result<bool> {
        if let Self::Tls(stream) = self
            && stream.ssl().pending() > 0
        {
            // Already taken from the socket, which therefore would not report it.
            return Ok(true);
        }
        self.poll_raw(flags, timeout)
    }

    /// As [`poll`](Self::poll), for [`read_raw`](Self::read_raw).
    pub(crate) fn poll_raw(&self, flags: PollFlags, timeout: Duration) -> io::Result<bool> {
        poll_socket(self, flags, timeout)
    }
}

fn poll_socket(socket: &impl AsFd, flags: PollFlags, timeout: Duration) -> io::Result<bool> {
    let timeout = Timespec::try_from(timeout)
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the timeout is too long"))?;
    loop {
        match poll(&mut [PollFd::new(socket, flags)], Some(&timeout)) {
            Ok(ready) => return Ok(ready > 0),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

fn prepare(stream: &TcpStream) -> io::Result<()> {
    // A batch ends with a few bytes that the server must see at once to answer.
    stream.set_nodelay(true)?;
    // When the connection is given up, or this process killed, the system must not go on sending what it has
    // buffered: old sets would come after newer ones. All is acknowledged before a connection is closed in
    // peace, so nothing is lost by it.
    sockopt::set_socket_linger(stream, Some(Duration::ZERO))?;
    stream.set_nonblocking(true)
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write(bytes),
            Self::Tls(stream) => stream.write(bytes),
            Self::Unix(stream) => stream.write(bytes),
        }
    }

    fn write_vectored(&mut self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.write_vectored(pieces),
            Self::Tls(stream) => stream.write_vectored(pieces),
            Self::Unix(stream) => stream.write_vectored(pieces),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.get_ref().as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}
