//! How the processes meet: each listens on its address of the hosts file, connects to those before it, and is connected
//! to by those after it.

use std::io::{self, ErrorKind, Read};
use std::net::{Shutdown, TcpListener, TcpStream, ToSocketAddrs};
use std::thread;
use std::time::{Duration, Instant};

use memc_core::StopHandle;

use crate::error::{ClusterError, PeerError};
use crate::hosts::Hosts;
use crate::link::frame::{self, CLOSED, Frame, Kind};
use crate::link::handshake::{Hello, Refused, shake};
use crate::message::Message;

/// How often it is tried again, or looked whether somebody has come.
const RETRY: Duration = Duration::from_millis(20);

/// How long somebody who connects and says nothing keeps others waiting.
const STRANGER: Duration = Duration::from_secs(1);

/// How long a process that leaves waits for each of those that it has met to close the connection too.
const LEAVE: Duration = Duration::from_millis(200);

/// It reads no more than this of what they have sent.
const MAX_LEFT_BYTES: u64 = 1024 * 1024;

/// The first bytes of a connection, in which the reason of one that leaves is found.
const PEEK_BYTES: usize = 8 * 1024;

/// What processes meet with.
pub(crate) struct Meeting<'a> {
    pub(crate) hosts: &'a Hosts,
    pub(crate) own: Hello,
    pub(crate) secret: &'a [u8],
    /// For how long they wait for each other.
    pub(crate) timeout: Duration,
    pub(crate) stop: &'a StopHandle,
}

impl Meeting<'_> {
    /// Meets all others: for each process its connection, but none for this one.
    pub(crate) fn meet(&self) -> Result<Vec<Option<TcpStream>>, ClusterError> {
        let mut met: Vec<Option<TcpStream>> = (0..self.hosts.len()).map(|_| None).collect();
        match self.meet_all(&mut met) {
            Ok(()) => Ok(met),
            Err(error) => {
                self.leave(&met, &error);
                Err(error)
            }
        }
    }

    fn meet_all(&self, sockets: &mut [Option<TcpStream>]) -> Result<(), ClusterError> {
        let until = Instant::now() + self.timeout;
        let process = self.own.process;
        let listener = self.listen(until)?;
        for other in 0..process {
            sockets[other] = Some(self.connect(other, until, sockets)?);
        }
        while let Some(missing) = (process + 1..sockets.len()).find(|&other| sockets[other].is_none()) {
            match listener.accept() {
                Ok((socket, _)) => {
                    if let Some((other, socket)) = self.welcome(socket, until)? {
                        sockets[other] = Some(socket);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.go_on(sockets)?;
                    if Instant::now() > until {
                        let problem = format!("has not connected within {:.1} s", self.timeout.as_secs_f64());
                        return Err(self.peer(missing, problem));
                    }
                    thread::sleep(RETRY);
                }
                Err(source) => return Err(ClusterError::System { source }),
            }
        }
        Ok(())
    }

    /// Tells those that it has met why it leaves: they would blame it.
    fn leave(&self, met: &[Option<TcpStream>], error: &ClusterError) {
        let error = match error {
            ClusterError::Peer(error) => error.clone(),
            error => {
                let process = self.own.process;
                PeerError {
                    process,
                    address: self.address(process),
                    problem: format!("has stopped: {error}"),
                }
            }
        };
        let message = Message::Failed(error).to_bytes();
        for mut socket in met.iter().flatten() {
            // A peer that cannot be reached finds out by itself.
            let _ = frame::write(&mut socket, Kind::Message, 0, &message);
            let _ = socket.shutdown(Shutdown::Write);
            // What is not read here would take the message with it.
            let _ = socket.set_read_timeout(Some(LEAVE));
            let _ = io::copy(&mut socket.take(MAX_LEFT_BYTES), &mut io::sink());
        }
    }

    /// Listens on the address of the hosts file and on no other.
    fn listen(&self, until: Instant) -> Result<TcpListener, ClusterError> {
        let address = self.address(self.own.process);
        loop {
            let error = match TcpListener::bind(&address) {
                Ok(listener) => match listener.set_nonblocking(true) {
                    Ok(()) => return Ok(listener),
                    Err(error) => error,
                },
                Err(error) => error,
            };
            // The name may not be known yet: that of a pod is made while it starts.
            let is_final = matches!(
                error.kind(),
                ErrorKind::AddrInUse | ErrorKind::AddrNotAvailable | ErrorKind::PermissionDenied
            );
            self.go_on(&[])?;
            if is_final || Instant::now() > until {
                return Err(ClusterError::Listen { process: self.own.process, address, source: error });
            }
            thread::sleep(RETRY);
        }
    }

    fn connect(
        &self,
        other: usize,
        until: Instant,
        met: &[Option<TcpStream>],
    ) -> Result<TcpStream, ClusterError> {
        let address = self.address(other);
        loop {
            let error = match self.try_connect(&address, until) {
                Ok(socket) => match shake(&socket, &self.own, self.secret, until) {
                    Ok(hello) if hello.process == other => return Ok(socket),
                    Ok(hello) => {
                        let problem = format!(
                            "is process {} by its own option: --process is wrong there",
                            hello.process
                        );
                        return Err(self.peer(other, problem));
                    }
                    Err(Refused::Peer(_, problem)) => return Err(self.peer(other, problem)),
                    // It may be about to end, or be no memc-load yet.
                    Err(Refused::Stranger(error)) => error,
                },
                Err(error) => error,
            };
            self.go_on(met)?;
            if Instant::now() + RETRY > until {
                let timeout = self.timeout.as_secs_f64();
                return Err(self.peer(other, format!("cannot be reached within {timeout:.1} s: {error}")));
            }
            thread::sleep(RETRY);
        }
    }

    fn try_connect(&self, address: &str, until: Instant) -> io::Result<TcpStream> {
        let mut last = io::Error::new(ErrorKind::NotFound, "its name has no address");
        for address in address.to_socket_addrs()? {
            let left = until.saturating_duration_since(Instant::now()).max(RETRY);
            match TcpStream::connect_timeout(&address, left) {
                Ok(socket) => return Ok(socket),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// Finds out who has connected; nobody, if it is a stranger, who is let go.
    fn welcome(&self, socket: TcpStream, until: Instant) -> Result<Option<(usize, TcpStream)>, ClusterError> {
        if socket.set_nonblocking(false).is_err() {
            return Ok(None);
        }
        match shake(&socket, &self.own, self.secret, until.min(Instant::now() + STRANGER)) {
            Ok(hello) if hello.process > self.own.process && hello.process < self.hosts.len() => {
                Ok(Some((hello.process, socket)))
            }
            Ok(hello) => {
                let problem = "has connected here, which it should not: --process is wrong there or here";
                Err(self.peer(hello.process, problem.to_owned()))
            }
            Err(Refused::Peer(process, problem)) => {
                // Who does not know the secret may claim any number.
                Err(self.peer(process.unwrap_or(usize::MAX), problem))
            }
            Err(Refused::Stranger(_)) => Ok(None),
        }
    }

    /// Whether it may wait on: no stop is asked for, and those that it has met are still there.
    fn go_on(&self, met: &[Option<TcpStream>]) -> Result<(), ClusterError> {
        if self.stop.is_requested() {
            return Err(ClusterError::Cancelled);
        }
        for (process, socket) in met.iter().enumerate() {
            match socket.as_ref().map(left).transpose() {
                Ok(None | Some(Left::No)) => {}
                Ok(Some(Left::Because(error))) if error.process == self.own.process => {
                    return Err(self.peer(process, format!("has given this process up: {}", error.problem)));
                }
                Ok(Some(Left::Because(error))) => return Err(error.into()),
                Err(_) => return Err(self.peer(process, CLOSED.to_owned())),
            }
        }
        Ok(())
    }

    fn address(&self, process: usize) -> String {
        self.hosts.address(process).unwrap_or("an address that is not in the hosts file").to_owned()
    }

    fn peer(&self, process: usize, problem: String) -> ClusterError {
        PeerError { process, address: self.address(process), problem }.into()
    }
}

/// Whether another process has left.
enum Left {
    No,
    Because(PeerError),
}

/// Looks at what has come from another process without reading it; an error if it has closed the connection.
fn left(socket: &TcpStream) -> io::Result<Left> {
    let mut bytes = vec![0; PEEK_BYTES];
    socket.set_nonblocking(true)?;
    let peeked = socket.peek(&mut bytes);
    socket.set_nonblocking(false)?;
    let length = match peeked {
        Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
        Ok(length) => length,
        Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Left::No),
        Err(error) => return Err(error),
    };
    let mut rest = &bytes[..length];
    // It may be at work already, and what it sends is not whole yet.
    while let Ok(Frame { kind, payload, .. }) = frame::read(&mut rest) {
        if let Some(Message::Failed(error)) = Message::from_bytes(&payload).filter(|_| kind == Kind::Message)
        {
            return Ok(Left::Because(error));
        }
    }
    Ok(Left::No)
}
