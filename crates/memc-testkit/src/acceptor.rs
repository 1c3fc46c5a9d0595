//! The thread that accepts the connections of a proxy, and ends with it.

use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};

/// What the threads of a proxy share with its owner.
#[derive(Debug, Default)]
pub(crate) struct Signs {
    stop: AtomicBool,
    connections: AtomicUsize,
}

impl Signs {
    pub(crate) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// Counts a connection; returns how many there were before.
    pub(crate) fn count(&self) -> usize {
        self.connections.fetch_add(1, Ordering::SeqCst)
    }
}

/// The thread, which is stopped and waited for when this is dropped.
#[derive(Debug)]
pub(crate) struct Acceptor {
    address: SocketAddr,
    signs: Arc<Signs>,
    thread: Option<JoinHandle<()>>,
}

impl Acceptor {
    /// Has a thread of its own accept at this address, until the signs say that it is stopped.
    pub(crate) fn start(
        address: SocketAddr,
        signs: &Arc<Signs>,
        accept: impl FnOnce() + Send + 'static,
    ) -> Self {
        Self { address, signs: Arc::clone(signs), thread: Some(thread::spawn(accept)) }
    }

    /// Its `host:port`.
    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// How many connections were accepted.
    pub(crate) fn connections(&self) -> usize {
        self.signs.connections.load(Ordering::SeqCst)
    }
}

impl Drop for Acceptor {
    fn drop(&mut self) {
        self.signs.stop.store(true, Ordering::SeqCst);
        // Wakes the thread; when it does not listen, it wakes by itself.
        let _ = TcpStream::connect(self.address);
        // A panic of it has been printed; the test that it disturbs fails by itself.
        let _ = self.thread.take().map(JoinHandle::join);
    }
}
