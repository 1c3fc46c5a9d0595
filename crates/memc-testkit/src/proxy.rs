//! A TCP proxy that breaks connections as its plan says.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use crate::acceptor::{Acceptor, Signs};
use crate::port::Port;

/// How often a thread that waits looks whether it must end.
const TICK: Duration = Duration::from_millis(2);

/// What a [`Proxy`] does to one connection.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Nothing: all bytes are passed on at once.
    Pass,
    /// Nothing listens for so long; it is no connection of its own, the next one has the next fault.
    Refuse(Duration),
    /// Cut when this many bytes of the client have been passed on. The client learns of it when the server
    /// is done with those bytes.
    CutSent(usize),
    /// Cut when this many bytes of the server have been passed on, as [`CutSent`](Self::CutSent) otherwise.
    CutAnswered(usize),
    /// When this many bytes of the client have been passed on, nothing more is, either way.
    StallSent(usize),
    /// When this many bytes of the server have been passed on, none of its bytes is any more; the client's
    /// still are.
    StallAnswered(usize),
    /// When this many bytes of the client have been passed on, the others arrive so much later, and after the
    /// client has closed the connection; not at all if it has reset it.
    Hold(usize, Duration),
    /// As [`Hold`](Self::Hold), but what has come before a reset arrives all the same, as it does once it is
    /// in the buffers of a busy server.
    Keep(usize, Duration),
    /// The server's bytes come one by one, with a pause before each.
    Slow(Duration),
    /// Every byte arrives so much later than it was sent, either way; a round trip takes twice that. Any
    /// number of bytes may be on their way.
    Delay(Duration),
    /// What the server says after this many bytes is replaced by these words, said once.
    Say(usize, Vec<u8>),
    /// What the server says after this many bytes is replaced by these words, again and again without end.
    Flood(usize, Vec<u8>),
}

/// A proxy on a free port of 127.0.0.1. Its threads end and its connections close when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    acceptor: Acceptor,
    shared: Arc<Shared>,
    /// Keeps the port while nobody listens.
    _port: Port,
}

#[derive(Debug, Default)]
struct Shared {
    target: String,
    signs: Arc<Signs>,
    sent: AtomicUsize,
    answered: AtomicUsize,
    /// Both ends of each connection, to be closed at the end.
    open: Mutex<Vec<TcpStream>>,
}

impl Proxy {
    /// Listens, and passes on to the `host:port` of `target`. The first connection has the first fault of
    /// the plan, the second one the second, and so on; those after its end have none.
    ///
    /// # Errors
    ///
    /// If there is no free port.
    pub fn start<P>(target: &str, plan: P) -> io::Result<Self>
    where
        P: IntoIterator<Item = Fault, IntoIter: Send + 'static>,
    {
        let port = Port::reserve()?;
        let address = port.address().into();
        let shared = Arc::new(Shared { target: target.to_owned(), ..Shared::default() });
        let mut plan = plan.into_iter().peekable();
        // A refusal at the start begins before anyone can connect.
        let listener = match plan.peek() {
            Some(Fault::Refuse(_)) => None,
            _ => Some(TcpListener::bind(address)?),
        };
        let of_thread = Arc::clone(&shared);
        let accept = move || of_thread.accept(address, listener, plan);
        Ok(Self { acceptor: Acceptor::start(address, &shared.signs, accept), shared, _port: port })
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

    /// How many bytes of the clients it has passed on.
    #[must_use]
    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::SeqCst)
    }

    /// How many bytes of the server it has passed on.
    #[must_use]
    pub fn answered(&self) -> usize {
        self.shared.answered.load(Ordering::SeqCst)
    }
}

impl Shared {
    /// Accepts until the stop, then closes everything and waits for the threads of the connections.
    fn accept(
        &self,
        address: SocketAddr,
        mut listener: Option<TcpListener>,
        plan: impl Iterator<Item = Fault>,
    ) {
        thread::scope(|scope| {
            for fault in plan.chain(std::iter::repeat(Fault::Pass)) {
                if let Fault::Refuse(time) = fault {
                    listener = None;
                    self.sleep(time);
                    continue;
                }
                while listener.is_none() && !self.signs.is_stopped() {
                    listener = TcpListener::bind(address).ok();
                    thread::sleep(TICK);
                }
                let client = listener.as_ref().and_then(|listener| listener.accept().ok());
                if self.signs.is_stopped() {
                    break;
                }
                self.signs.count();
                // An error is a connection that ends, and that is what it does.
                scope.spawn(move || client.map(|(client, _)| self.serve(&client, fault)));
            }
            self.open().drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
        });
    }

    fn serve(&self, client: &TcpStream, fault: Fault) -> io::Result<()> {
        let server = &TcpStream::connect(&self.target)?;
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        self.open().extend([client.try_clone()?, server.try_clone()?]);
        if self.signs.is_stopped() {
            return Ok(());
        }
        let mute = &AtomicBool::new(false);
        let flow = |from, to, passed| {
            let (limit, end, pace) = (usize::MAX, End::Cut, Pace::AtOnce);
            Flow { shared: self, from, to, passed, server, mute, limit, end, pace }
        };
        let mut up = flow(client, server, &self.sent);
        let mut down = flow(server, client, &self.answered);
        match fault {
            Fault::Pass | Fault::Refuse(_) => {}
            Fault::CutSent(limit) => up.limit = limit,
            Fault::CutAnswered(limit) => down.limit = limit,
            Fault::StallSent(limit) => (up.limit, up.end) = (limit, End::MuteBoth),
            Fault::StallAnswered(limit) => (down.limit, down.end) = (limit, End::Mute),
            Fault::Hold(limit, time) => (up.limit, up.end) = (limit, End::Hold(time)),
            Fault::Keep(limit, time) => (up.limit, up.end) = (limit, End::Keep(time)),
            Fault::Slow(pause) => down.pace = Pace::ByteByByte(pause),
            Fault::Delay(delay) => (up.pace, down.pace) = (Pace::Late(delay), Pace::Late(delay)),
            Fault::Say(limit, words) => (down.limit, down.end) = (limit, End::Say(words)),
            Fault::Flood(limit, words) => (down.limit, down.end) = (limit, End::Flood(words)),
        }
        thread::scope(|scope| {
            scope.spawn(|| up.run(Shutdown::Write));
            // memcached closes when it is done with a client that has closed.
            down.run(Shutdown::Both);
        });
        Ok(())
    }

    fn sleep(&self, time: Duration) {
        let until = Instant::now() + time;
        while !self.signs.is_stopped() && Instant::now() < until {
            thread::sleep(TICK);
        }
    }

    fn open(&self) -> std::sync::MutexGuard<'_, Vec<TcpStream>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One direction of a connection.
struct Flow<'a> {
    shared: &'a Shared,
    from: &'a TcpStream,
    to: &'a TcpStream,
    passed: &'a AtomicUsize,
    server: &'a TcpStream,
    /// Whether no direction passes on anything any more.
    mute: &'a AtomicBool,
    /// After this many bytes comes the end.
    limit: usize,
    end: End,
    pace: Pace,
}

/// See [`Fault`].
enum End {
    Cut,
    Mute,
    MuteBoth,
    Hold(Duration),
    Keep(Duration),
    Say(Vec<u8>),
    Flood(Vec<u8>),
}

/// See [`Fault`].
enum Pace {
    AtOnce,
    ByteByByte(Duration),
    Late(Duration),
}

impl Flow<'_> {
    /// Passes bytes on until there are no more, then closes; an error closes both ends.
    fn run(&self, how: Shutdown) {
        let done = match self.pace {
            Pace::AtOnce => self.pass(|bytes| self.write(bytes)),
            Pace::ByteByByte(pause) => self.pass(|bytes| {
                bytes.iter().try_for_each(|&byte| {
                    thread::sleep(pause);
                    self.write(&[byte])
                })
            }),
            Pace::Late(delay) => self.pass_late(delay),
        };
        // The other side may have closed it already.
        let _ = match done {
            Ok(()) => self.to.shutdown(how),
            Err(_) => self.from.shutdown(Shutdown::Both).and(self.to.shutdown(Shutdown::Both)),
        };
    }

    fn pass_late(&self, delay: Duration) -> io::Result<()> {
        thread::scope(|scope| {
            let (queue, late) = mpsc::channel::<(Instant, Vec<u8>)>();
            let writer = scope.spawn(move || {
                late.iter().try_for_each(|(due, bytes)| {
                    thread::sleep(due.saturating_duration_since(Instant::now()));
                    self.write(&bytes)
                })
            });
            let due = || Instant::now() + delay;
            self.pass(|bytes| queue.send((due(), bytes.to_owned())).map_err(io::Error::other))?;
            drop(queue);
            writer.join().unwrap_or_else(|_| Err(io::ErrorKind::Other.into()))
        })
    }

    fn pass(&self, mut pass_on: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        let mut buffer = [0; 16 * 1024];
        let mut left = self.limit;
        while left > 0 {
            let length = buffer.len().min(left);
            let length = (&mut &*self.from).read(&mut buffer[..length])?;
            if length == 0 {
                return Ok(());
            }
            pass_on(&buffer[..length])?;
            left -= length;
        }
        match &self.end {
            End::Cut => {
                self.mute.store(true, Ordering::SeqCst);
                self.server.shutdown(Shutdown::Write)?;
            }
            End::MuteBoth => self.mute.store(true, Ordering::SeqCst),
            End::Mute => {}
            End::Hold(time) => {
                let mut held = Vec::new();
                let until = Instant::now() + *time;
                (&mut &*self.from).read_to_end(&mut held)?;
                self.shared.sleep(until.saturating_duration_since(Instant::now()));
                // A reset that comes after an orderly close takes back what is still on its way.
                if let Some(reset) = self.from.take_error()? {
                    return Err(reset);
                }
                return self.write(&held);
            }
            End::Keep(time) => {
                let mut kept = Vec::new();
                // A reset is an end like any other here.
                let _ = (&mut &*self.from).read_to_end(&mut kept);
                self.shared.sleep(*time);
                return self.write(&kept);
            }
            // Not before the server would have said something.
            End::Say(_) | End::Flood(_) if (&mut &*self.from).read(&mut buffer)? == 0 => return Ok(()),
            End::Say(words) => self.write(words)?,
            // Many at a time, or the writing alone takes seconds until the other side has had enough.
            End::Flood(words) => {
                let many = words.repeat(buffer.len().div_ceil(words.len().max(1)));
                loop {
                    self.write(&many)?;
                }
            }
        }
        io::copy(&mut &*self.from, &mut io::sink()).map(drop)
    }

    fn write(&self, bytes: &[u8]) -> io::Result<()> {
        if self.mute.load(Ordering::SeqCst) {
            return Ok(());
        }
        self.passed.fetch_add(bytes.len(), Ordering::SeqCst);
        let written = (&mut &*self.to).write_all(bytes);
        if self.mute.load(Ordering::SeqCst) { Ok(()) } else { written }
    }
}
