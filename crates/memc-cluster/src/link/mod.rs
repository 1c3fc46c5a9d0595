//! A link: the one connection between two processes. It carries the dataflow's bytes, messages, and signs of life.
//!
//! timely is given [pipes](pipe::Pipe) over it, not the socket: a link that breaks is found out and reported here, and its
//! threads never meet an error, of which they know nothing better than to panic.

pub(crate) mod frame;
pub(crate) mod handshake;
pub(crate) mod inbox;
pub(crate) mod meet;
pub(crate) mod pipe;
pub(crate) mod pulse;

use std::io::{self, BufReader, ErrorKind};
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError, TryLockError};
use std::thread;
use std::time::{Duration, Instant};

use crate::error::PeerError;
use crate::link::frame::{Frame, Kind};
use crate::link::inbox::Inbox;
use crate::message::Message;

/// Read from the socket at once, at least.
const READ_BYTES: usize = 64 * 1024;

/// How often a link that ends looks whether the other side has closed it.
const CLOSE_CHECK: Duration = Duration::from_millis(5);

/// What comes from another process.
#[derive(Debug)]
pub(crate) enum Incoming {
    Message(usize, Message),
    /// The link has broken.
    Lost(PeerError),
}

/// The link to one process.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) process: usize,
    pub(crate) address: String,
    writer: Mutex<TcpStream>,
    pub(crate) inbox: Inbox,
    /// Whether nothing can be sent any more.
    broken: AtomicBool,
    /// Whether nothing comes any more.
    ended: AtomicBool,
}

impl Link {
    /// Starts the threads of a link on a connection that has been shaken hands on. The link counts as broken when
    /// nothing comes for `patience`.
    ///
    /// # Errors
    ///
    /// If a thread does not start, or the socket does not take its settings.
    pub(crate) fn start(
        process: usize,
        address: &str,
        socket: TcpStream,
        patience: Duration,
        incoming: Sender<Incoming>,
    ) -> io::Result<Arc<Self>> {
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(patience))?;
        socket.set_write_timeout(Some(patience))?;
        let reader = socket.try_clone()?;
        let link = Arc::new(Self {
            process,
            address: address.to_owned(),
            writer: Mutex::new(socket),
            inbox: Inbox::default(),
            broken: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        });
        let reading = Arc::clone(&link);
        let spawn = |name: &str| thread::Builder::new().name(format!("{name}-{process}"));
        spawn("link").spawn(move || reading.read(reader, patience, &incoming))?;
        let beating = Arc::clone(&link);
        spawn("beat").spawn(move || beating.beat(patience / pulse::BEATS))?;
        Ok(link)
    }

    /// Sends a frame. What cannot be sent is lost: the thread that reads will report why.
    pub(crate) fn send(&self, kind: Kind, attempt: u32, payload: &[u8]) {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        self.write(&mut writer, kind, attempt, payload);
    }

    pub(crate) fn send_message(&self, message: &Message) {
        self.send(Kind::Message, 0, &message.to_bytes());
    }

    fn write(&self, writer: &mut TcpStream, kind: Kind, attempt: u32, payload: &[u8]) {
        if self.broken.load(Ordering::Relaxed) {
            return;
        }
        if frame::write(writer, kind, attempt, payload).is_err() {
            self.broken.store(true, Ordering::Relaxed);
            // The thread that reads finds the end, if it has not yet.
            let _ = writer.shutdown(Shutdown::Both);
        }
    }

    /// Gives signs of life until the link is broken. While something else is being sent none is needed.
    fn beat(&self, interval: Duration) {
        while !self.broken.load(Ordering::Relaxed) && !self.ended.load(Ordering::Relaxed) {
            thread::sleep(interval);
            match self.writer.try_lock() {
                Ok(mut writer) => self.write(&mut writer, Kind::Beat, 0, &[]),
                Err(TryLockError::Poisoned(_)) => return,
                Err(TryLockError::WouldBlock) => {}
            }
        }
    }

    /// Reads to the end of the link, which it reports.
    fn read(&self, socket: TcpStream, patience: Duration, incoming: &Sender<Incoming>) {
        let mut socket = BufReader::with_capacity(READ_BYTES, socket);
        let problem = loop {
            match frame::read(&mut socket) {
                Ok(Frame { kind: Kind::Beat, .. }) => {}
                Ok(Frame { kind: Kind::Data, attempt, payload }) => self.inbox.put(attempt, Some(payload)),
                Ok(Frame { kind: Kind::DataEnd, attempt, .. }) => self.inbox.put(attempt, None),
                Ok(Frame { kind: Kind::Message, payload, .. }) => match Message::from_bytes(&payload) {
                    // A process that ends wants no more messages.
                    Some(message) => drop(incoming.send(Incoming::Message(self.process, message))),
                    None => break "sends what is no message".to_owned(),
                },
                Err(error) => break describe(&error, patience),
            }
        };
        self.broken.store(true, Ordering::Relaxed);
        self.ended.store(true, Ordering::Relaxed);
        let lost = PeerError { process: self.process, address: self.address.clone(), problem };
        let _ = incoming.send(Incoming::Lost(lost));
    }

    /// Sends nothing more, and waits a while until the other side has read all and closes its side, too: what is still on
    /// its way would be lost with a process that ends.
    pub(crate) fn end(&self, until: Instant) {
        {
            let writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
            let _ = writer.shutdown(Shutdown::Write);
            self.broken.store(true, Ordering::Relaxed);
        }
        while !self.ended.load(Ordering::Relaxed) && Instant::now() < until {
            thread::sleep(CLOSE_CHECK);
        }
    }
}

/// What a failed read says of the other process.
fn describe(error: &io::Error, patience: Duration) -> String {
    match error.kind() {
        ErrorKind::UnexpectedEof => frame::CLOSED.to_owned(),
        ErrorKind::WouldBlock | ErrorKind::TimedOut => format!(
            "no sign of life for {:.1} s: it hangs, or the network is broken; end it before the next run",
            patience.as_secs_f64()
        ),
        _ => format!("its connection is broken: {error}"),
    }
}
