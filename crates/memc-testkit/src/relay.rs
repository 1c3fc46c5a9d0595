//! A TCP proxy that ends both connections and holds what it has read: it keeps delivering when its client is gone.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::sockopt::set_socket_linger;

use crate::acceptor::{Acceptor, Signs};

/// How often a thread that waits looks whether it must end.
const TICK: Duration = Duration::from_millis(5);

/// How a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// In an orderly way, as `close` does.
    Fin,
    /// With a reset.
    Reset,
}

/// What a [`Relay`] does with one connection.
#[derive(Clone, Copy, Debug)]
pub struct Holding {
    /// How many bytes a second are delivered to the server.
    pub bytes_per_second: u32,
    /// How many bytes are delivered at once, at most.
    pub piece_bytes: usize,
    /// How much of what the client has sent is held, besides the buffers of its sockets.
    pub buffer_bytes: usize,
    /// When this many bytes of the client have been read, the client's side is closed in this way.
    pub leaves_client: Option<(usize, Close)>,
    /// Whether the client's side is closed as soon as the client closes, before all is delivered.
    pub is_hasty: bool,
    /// How the server's side is closed when all is delivered.
    pub leaves_server: Close,
}

/// A proxy on a free port of 127.0.0.1. Its threads end and its connections close when this is dropped.
#[derive(Debug)]
pub struct Relay {
    acceptor: Acceptor,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: String,
    signs: Arc<Signs>,
    /// Connections on which something may still be delivered.
    delivering: AtomicUsize,
}

/// What one connection holds.
#[derive(Debug, Default)]
struct Held {
    bytes: VecDeque<u8>,
    /// Whether the client will send no more.
    is_complete: bool,
}

#[derive(Debug, Default)]
struct Buffer {
    held: Mutex<Held>,
    changed: Condvar,
    /// Whether the client's side is closed.
    left: AtomicBool,
}

impl Relay {
    /// Listens, and passes on to the `host:port` of `target`; `plan` says what is done with each connection, counted
    /// from 0.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn start(target: &str, plan: impl Fn(usize) -> Holding + Send + 'static) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            target: target.to_owned(),
            signs: Arc::default(),
            delivering: AtomicUsize::new(0),
        });
        let of_thread = Arc::clone(&shared);
        let accept = move || of_thread.accept(&listener, plan);
        Ok(Self { acceptor: Acceptor::start(address, &shared.signs, accept), shared })
    }

    /// Its `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.acceptor.address()
    }

    /// How many connections it has accepted.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.acceptor.connections()
    }

    /// Waits until nothing is held any more of clients that are gone; whether that was before `timeout`.
    #[must_use]
    pub fn wait_until_delivered(&self, timeout: Duration) -> bool {
        let started = Instant::now();
        while self.shared.delivering.load(Ordering::SeqCst) > 0 {
            if started.elapsed() > timeout {
                return false;
            }
            thread::sleep(TICK);
        }
        true
    }
}

impl Shared {
    fn accept(&self, listener: &TcpListener, plan: impl Fn(usize) -> Holding) {
        thread::scope(|scope| {
            for client in listener.incoming() {
                if self.signs.is_stopped() {
                    break;
                }
                let holding = plan(self.signs.count());
                self.delivering.fetch_add(1, Ordering::SeqCst);
                scope.spawn(move || {
                    // An error is a connection that ends, and that is what it does.
                    let _ = client.and_then(|client| self.serve(client, holding));
                    self.delivering.fetch_sub(1, Ordering::SeqCst);
                });
            }
        });
    }

    fn serve(&self, client: TcpStream, holding: Holding) -> io::Result<()> {
        let server = TcpStream::connect(&self.target)?;
        for socket in [&client, &server] {
            socket.set_nodelay(true)?;
            socket.set_read_timeout(Some(TICK))?;
        }
        let buffer = &Buffer::default();
        // Each thread drops its handle, so that the last one closes the socket, with what was set for that.
        let client = Arc::new(client);
        let of_answers = Arc::clone(&client);
        thread::scope(|scope| {
            scope.spawn(move || {
                let _ = self.take(&client, holding, buffer);
                drop(client);
                buffer.lock().is_complete = true;
                buffer.changed.notify_all();
            });
            let server = &server;
            scope.spawn(move || {
                let _ = self.answer(server, &of_answers, buffer);
                // memcached closes when it is done with a client that has closed.
                buffer.left.store(true, Ordering::SeqCst);
            });
            self.deliver(server, holding, buffer)
        })
    }

    /// Takes what the client sends, until it closes or its side is to be closed.
    fn take(&self, client: &TcpStream, holding: Holding, buffer: &Buffer) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        let mut taken = 0;
        while !self.signs.is_stopped() && !buffer.left.load(Ordering::SeqCst) {
            let limit = holding.leaves_client.map_or(usize::MAX, |(limit, _)| limit);
            let length = match (&mut &*client)
                .read(&mut bytes[..holding.buffer_bytes.min(16 * 1024).min(limit - taken)])
            {
                Err(error) if is_timeout(&error) => continue,
                read => read?,
            };
            if length == 0 && taken < limit {
                if holding.is_hasty {
                    buffer.left.store(true, Ordering::SeqCst);
                }
                return Ok(());
            }
            taken += length;
            let mut held = buffer.lock();
            while held.bytes.len() + length > holding.buffer_bytes && !self.signs.is_stopped() {
                held = buffer.changed.wait_timeout(held, TICK).unwrap_or_else(PoisonError::into_inner).0;
            }
            held.bytes.extend(&bytes[..length]);
            drop(held);
            buffer.changed.notify_all();
            if let Some((limit, close)) = holding.leaves_client
                && taken >= limit
            {
                if close == Close::Reset {
                    set_socket_linger(client, Some(Duration::ZERO))?;
                } else {
                    client.shutdown(Shutdown::Write)?;
                }
                buffer.left.store(true, Ordering::SeqCst);
                return Ok(());
            }
        }
        Ok(())
    }

    /// Passes the server's answers on while the client is there; after that they are dropped.
    fn answer(&self, mut server: &TcpStream, client: &Arc<TcpStream>, buffer: &Buffer) -> io::Result<()> {
        let mut bytes = [0; 16 * 1024];
        while !self.signs.is_stopped() && !buffer.left.load(Ordering::SeqCst) {
            let length = match server.read(&mut bytes) {
                Err(error) if is_timeout(&error) => continue,
                read => read?,
            };
            if length == 0 {
                return Ok(());
            }
            (&mut &**client).write_all(&bytes[..length])?;
        }
        Ok(())
    }

    /// Delivers at its pace until all is.
    fn deliver(&self, mut server: &TcpStream, holding: Holding, buffer: &Buffer) -> io::Result<()> {
        let mut due = Instant::now();
        loop {
            let mut held = buffer.lock();
            while held.bytes.is_empty() && !held.is_complete && !self.signs.is_stopped() {
                held = buffer.changed.wait_timeout(held, TICK).unwrap_or_else(PoisonError::into_inner).0;
                due = due.max(Instant::now());
            }
            if held.bytes.is_empty() || self.signs.is_stopped() {
                break;
            }
            let length = holding.piece_bytes.min(held.bytes.len());
            let piece: Vec<u8> = held.bytes.drain(..length).collect();
            drop(held);
            buffer.changed.notify_all();
            thread::sleep(due.saturating_duration_since(Instant::now()));
            server.write_all(&piece)?;
            let length = u32::try_from(length).unwrap_or(u32::MAX);
            due += Duration::from_secs(1) * length / holding.bytes_per_second.max(1);
        }
        if holding.leaves_server == Close::Reset && buffer.left.load(Ordering::SeqCst) {
            // Not before the server can have read it.
            thread::sleep(10 * TICK);
            return set_socket_linger(server, Some(Duration::ZERO)).map_err(Into::into);
        }
        server.shutdown(Shutdown::Write)?;
        // What the server answers goes to the client, or nowhere.
        let mut bytes = [0; 4096];
        while !self.signs.is_stopped() && buffer.left.load(Ordering::SeqCst) {
            match server.read(&mut bytes) {
                Err(error) if is_timeout(&error) => {}
                Ok(0) | Err(_) => break,
                Ok(_) => {}
            }
        }
        Ok(())
    }
}

impl Buffer {
    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted)
}
