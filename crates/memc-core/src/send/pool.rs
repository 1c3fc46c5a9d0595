//! The r2d2 pool of one server's record connections.

use std::io;
use std::panic::catch_unwind;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use r2d2_memcache::r2d2;
use scheduled_thread_pool::ScheduledThreadPool;

use crate::send::known::Known;
use crate::wire::connection::Connection;
use crate::wire::patience::Patience;
use crate::wire::protocol::Protocol;
use crate::{Address, Options};

/// How long the pool waits for an attempt. It must never give up first, since its error says nothing of the
/// server; an attempt comes to an end by itself.
const FOREVER: Duration = Duration::from_secs(100 * 365 * 24 * 60 * 60);

/// A thread that has ended may count for a moment more.
const SPARE_THREADS: usize = 3;

/// A connection as the pool hands it out: made, or the reason why it could not be.
///
/// A failed attempt counts as a connection here, a broken one. So the error reaches the caller at once and
/// whole, and the pauses between attempts are the caller's; the pool's own way is to retry unseen and to
/// turn the error into text.
pub(crate) type Attempt = io::Result<Connection>;

pub(crate) type Pool = r2d2::Pool<Manager>;
pub(crate) type Pooled = r2d2::PooledConnection<Manager>;

/// Opens record connections for the pool.
#[derive(Debug)]
pub(crate) struct Manager {
    address: Address,
    patience: Patience,
    protocol: Option<Protocol>,
    known: Arc<Known>,
}

impl Manager {
    /// A connection that speaks as the other ones of the server do.
    fn open(&self) -> Attempt {
        let open = |manner| Connection::open(&self.address, &self.patience, self.protocol, manner);
        let connection = open(self.known.manner())?;
        // Two that find it out at the same time may do so with different outcomes, where one is disturbed.
        let manner = self.known.settle_manner(connection.manner());
        if manner == connection.manner() { Ok(connection) } else { open(Some(manner)) }
    }
}

impl r2d2::ManageConnection for Manager {
    type Connection = Attempt;
    type Error = io::Error;

    fn connect(&self) -> io::Result<Attempt> {
        Ok(self.open())
    }

    fn is_valid(&self, attempt: &mut Attempt) -> io::Result<()> {
        match attempt {
            Ok(connection) => connection.check(),
            Err(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn has_broken(&self, attempt: &mut Attempt) -> bool {
        attempt.as_ref().map_or(true, Connection::is_broken)
    }
}

/// The threads that open connections, of all pools together.
///
/// # Errors
///
/// If they cannot be started.
pub(crate) fn start_threads(count: usize) -> io::Result<Arc<ScheduledThreadPool>> {
    // The crate panics where a thread does not start, and the message of that would be all that a user sees. So it is
    // tried with more threads than it starts.
    try_threads(count + SPARE_THREADS)?;
    catch_unwind(|| Arc::new(ScheduledThreadPool::new(count)))
        .map_err(|_| io::Error::other("the threads of the connection pool did not start"))
}

/// Starts as many threads at once, and waits for their end.
fn try_threads(count: usize) -> io::Result<()> {
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        for _ in 0..count {
            thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()))?;
        }
        Ok(())
    })
}

/// A pool of connections to `address`; nothing is connected before the first one is asked for.
pub(crate) fn pool(
    address: &Address,
    patience: &Patience,
    known: &Arc<Known>,
    options: &Options,
    threads: &Arc<ScheduledThreadPool>,
) -> Pool {
    let manager = Manager {
        address: address.clone(),
        patience: patience.clone(),
        protocol: options.protocol,
        known: Arc::clone(known),
    };
    r2d2::Pool::builder()
        .max_size(options.connections)
        .min_idle(Some(0))
        .max_lifetime(None)
        .idle_timeout(None)
        .connection_timeout(FOREVER)
        // Each connection is in use from its first batch to the last: a round trip at check-out proves nothing.
        .test_on_check_out(false)
        // The error comes to the caller with `get`, who logs it.
        .error_handler(Box::new(r2d2::NopErrorHandler))
        .thread_pool(Arc::clone(threads))
        .build_unchecked(manager)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StopHandle;

    #[test]
    fn a_long_timeout_is_not_cut_short_by_the_pool() {
        let address = "127.0.0.1:1".parse().expect("an address");
        let patience = Patience::new(Duration::from_secs(365 * 24 * 60 * 60), &StopHandle::default());
        let threads = Arc::new(ScheduledThreadPool::new(1));
        let pool = pool(&address, &patience, &Arc::default(), &Options::default(), &threads);
        assert!(pool.connection_timeout() > patience.io_timeout);
        let attempt = pool.get().expect("an attempt, though a failed one");
        assert_eq!(attempt.as_ref().err().map(io::Error::kind), Some(io::ErrorKind::ConnectionRefused));
    }
}
