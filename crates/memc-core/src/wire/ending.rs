//! A connection that is given up with records in flight, until the server has read all of it.

use std::io;
use std::time::{Duration, Instant};

use rustix::event::PollFlags;

use crate::wire::peers::Ends;
use crate::wire::stream::Stream;

/// A peer that keeps sending for longer than this after our FIN is no memcached.
const MAX_BYTES: usize = 4 * 1024 * 1024;

/// The state of a connection that was given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The other side may still be reading.
    Open,
    /// The other side has closed, reset it, or kept sending without end.
    Closed,
}

/// A connection on which we have said that nothing follows.
#[derive(Debug)]
pub(crate) struct Ending {
    stream: Stream,
    end: End,
    received: usize,
}

impl Ending {
    /// Says that nothing follows; what our system has buffered is still sent.
    pub(crate) fn begin(stream: Stream) -> Self {
        let end = if stream.shutdown_write().is_ok() { End::Open } else { End::Closed };
        Self { stream, end, received: 0 }
    }

    /// The two ends of the connection, unless it is a Unix socket.
    pub(crate) fn ends(&self) -> Option<Ends> {
        self.stream.ends()
    }

    /// Waits for the end, up to `timeout`.
    pub(crate) fn wait(&mut self, timeout: Duration) -> End {
        let started = Instant::now();
        let mut buffer = [0; 4096];
        while self.end == End::Open {
            match self.stream.read_raw(&mut buffer) {
                Ok(0) => self.end = End::Closed,
                Ok(length) => self.received += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let left = timeout.saturating_sub(started.elapsed());
                    if left.is_zero() {
                        break;
                    }
                    // What TLS has decrypted already is not wanted any more.
                    if self.stream.poll_raw(PollFlags::IN, left).is_err() {
                        self.end = End::Closed;
                    }
                }
                Err(_) => self.end = End::Closed,
            }
            if self.received > MAX_BYTES {
                self.end = End::Closed;
            }
            if started.elapsed() >= timeout {
                break;
            }
        }
        self.end
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    use openssl::ssl::{Ssl, SslContext, SslMethod, SslVersion};
    use rustix::time::{ClockId, clock_gettime};

    use super::*;

    /// How long the calling thread has used a processor.
    fn worked() -> Duration {
        clock_gettime(ClockId::ThreadCPUTime).try_into().expect("not negative")
    }

    fn pair() -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
        (client, listener.accept().expect("a connection").0)
    }

    #[test]
    fn the_end_comes_when_the_other_side_has_read_and_closed() {
        let (client, mut server) = pair();
        let mut stream = Stream::tcp(client).expect("a socket");
        stream.write_all(b"last words").expect("room");
        let mut ending = Ending::begin(stream);
        assert_eq!(ending.wait(Duration::from_millis(50)), End::Open);
        let mut words = String::new();
        server.read_to_string(&mut words).expect("an end");
        assert_eq!((words.as_str(), ending.wait(Duration::ZERO)), ("last words", End::Open));
        drop(server);
        assert_eq!(ending.wait(Duration::from_secs(10)), End::Closed);
    }

    #[test]
    fn a_server_that_talks_without_end_is_given_up() {
        let (client, mut server) = pair();
        let mut ending = Ending::begin(Stream::tcp(client).expect("a socket"));
        let talking = std::thread::spawn(move || while server.write_all(&[b'x'; 4096]).is_ok() {});
        assert_eq!(ending.wait(Duration::from_secs(20)), End::Closed);
        drop(ending);
        talking.join().expect("no panic");
    }

    #[test]
    fn waiting_with_decrypted_bytes_left_does_not_spin() {
        // Without certificates, which have no part in this.
        let mut context = SslContext::builder(SslMethod::tls()).expect("TLS");
        context.set_cipher_list("aNULL:@SECLEVEL=0").expect("ciphers");
        context.set_max_proto_version(Some(SslVersion::TLS1_2)).expect("a version");
        let context = context.build();
        let (client, server) = pair();
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
            let mut ending = Ending::begin(Stream::Tls(Box::new(client)));
            assert_eq!(ending.wait(Duration::from_millis(300)), End::Open);
            assert!(started.elapsed() >= Duration::from_millis(300), "the server has not closed");
            assert!(worked() - before < Duration::from_millis(100), "{:?}", worked() - before);
            drop(server);
        });
    }
}
