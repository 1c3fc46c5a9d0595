//! A socket to a server, TCP, TLS or Unix, that never blocks in read or write but in [`Stream::wait`].

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use openssl::ssl::{SslConnector, SslMethod, SslStream};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::sockopt;

/// The most that one TLS record holds; less than memcached reads at a time.
const MAX_TLS_RECORD_BYTES: usize = 8 * 1024;

/// See the module's text.
#[derive(Debug)]
pub(crate) enum Stream {
    Tcp(TcpStream),
    Tls(Box<SslStream<TcpStream>>),
    Unix(UnixStream),
}

impl Stream {
    pub(crate) fn tcp(stream: TcpStream) -> io::Result<Self> {
        prepare(&stream)?;
        stream.set_nonblocking(true)?;
        Ok(Self::Tcp(stream))
    }

    /// Shakes hands, checking that the certificate is good and for `host`.
    pub(crate) fn tls(stream: TcpStream, host: &str, timeout: Duration) -> io::Result<Self> {
        prepare(&stream)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        let connector = SslConnector::builder(SslMethod::tls_client())?.build();
        let stream = connector.connect(host, stream).map_err(|error| {
            let text = format!("no TLS with this server: {error}");
            io::Error::new(io::ErrorKind::ConnectionAborted, text)
        })?;
        stream.get_ref().set_nonblocking(true)?;
        Ok(Self::Tls(Box::new(stream)))
    }

    pub(crate) fn unix(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        Ok(Self::Unix(stream))
    }

    /// Ends a connection that has failed, so that no set which is still under way on it comes after those on
    /// the next connection: tells the server that nothing follows, and waits, up to `timeout`, until it has
    /// read everything and closes its side. After that what is left on this side is thrown away.
    pub(crate) fn retire(mut self, timeout: Duration) {
        let until = Instant::now() + timeout;
        let mut buffer = [0; 4096];
        if self.shutdown_write().is_err() {
            return;
        }
        loop {
            match self.read_raw(&mut buffer) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = until.saturating_duration_since(Instant::now());
                    // Not `wait`: what TLS has decrypted already is not wanted any more.
                    if left.is_zero() || self.poll(PollFlags::IN, left).is_err() {
                        return;
                    }
                }
                Err(_) => return,
            }
            if Instant::now() >= until {
                return;
            }
        }
    }

    fn shutdown_write(&self) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => stream.shutdown(Shutdown::Write),
            Self::Tls(stream) => stream.get_ref().shutdown(Shutdown::Write),
            Self::Unix(stream) => stream.shutdown(Shutdown::Write),
        }
    }

    /// Reads what is on the socket, encrypted or not.
    fn read_raw(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(stream) => stream.read(buffer),
            Self::Tls(stream) => stream.get_mut().read(buffer),
            Self::Unix(stream) => stream.read(buffer),
        }
    }

    /// Waits until there is something to read or, if `writing`, room to write.
    ///
    /// `TimedOut` after `timeout` without either.
    pub(crate) fn wait(&self, writing: bool, timeout: Duration) -> io::Result<()> {
        if let Self::Tls(stream) = self
            && stream.ssl().pending() > 0
        {
            // Already taken from the socket, which therefore would not tell of it.
            return Ok(());
        }
        self.poll(if writing { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }, timeout)
    }

    /// Waits for the socket itself.
    fn poll(&self, flags: PollFlags, timeout: Duration) -> io::Result<()> {
        let timeout = Timespec::try_from(timeout)
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "the timeout is too long"))?;
        loop {
            match poll(&mut [PollFd::new(self, flags)], Some(&timeout)) {
                Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not answer")),
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
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
    Ok(())
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
            Self::Tls(stream) => stream.write(&bytes[..whole_commands(bytes)]),
            Self::Unix(stream) => stream.write(bytes),
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

/// How many bytes to write as one TLS record: whole commands, as far as they fit.
///
/// When memcached (1.6.18) reads just the rest of a value, what follows in the same record stays in its TLS
/// library, where its event loop does not see it, and it may stop there until more comes. A record that ends
/// with a command leaves nothing. A value that happens to contain the beginning of a command only makes a
/// record shorter.
fn whole_commands(bytes: &[u8]) -> usize {
    let most = bytes.len().min(MAX_TLS_RECORD_BYTES);
    if most == bytes.len() {
        return most;
    }
    memchr::memmem::rfind(&bytes[..most], b"\r\nms ").map_or(most, |at| at + 2)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use openssl::ssl::{Ssl, SslContext, SslVersion};
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// How long the calling thread has been at work.
    fn worked() -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().expect("not negative")
    }

    #[test]
    fn retiring_with_decrypted_bytes_left_does_not_spin() {
        // Without certificates, which have no part in this.
        let mut context = SslContext::builder(SslMethod::tls()).expect("TLS");
        context.set_cipher_list("aNULL:@SECLEVEL=0").expect("ciphers");
        context.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("a version");
        let context = context.build();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        let server = listener.accept().expect("a connection").0;
        std::thread::scope(|scope| {
            let accepted = scope.spawn(|| {
                let mut server = Ssl::new(&context).expect("TLS").accept(server).expect("a handshake");
                server.write_all(&[b'x'; 100]).expect("room");
                server
            });
            let mut client = Ssl::new(&context).expect("TLS").connect(client).expect("a handshake");
            client.read_exact(&mut [0]).expect("one of many bytes");
            assert_eq!(client.ssl().pending(), 99);
            client.get_ref().set_nonblocking(true).expect("a socket");
            let server = accepted.join().expect("no panic");
            let (started, before) = (Instant::now(), worked());
            Stream::Tls(Box::new(client)).retire(Duration::from_millis(300));
            assert!(started.elapsed() >= Duration::from_millis(300), "the server has not closed");
            assert!(worked() - before < Duration::from_millis(100), "{:?}", worked() - before);
            drop(server);
        });
    }

    #[test]
    fn tls_records_hold_whole_commands() {
        let command = b"ms key 5 q\r\nvalue\r\n";
        let bytes = command.repeat(1000);
        let length = whole_commands(&bytes);
        assert_eq!(length, MAX_TLS_RECORD_BYTES / command.len() * command.len());
        assert_eq!(whole_commands(&bytes[..100]), 100);
        let large = [b"ms key 20000 q\r\n", &[b'x'; 20_000][..], b"\r\n"].concat();
        assert_eq!(whole_commands(&large), MAX_TLS_RECORD_BYTES);
    }
}
