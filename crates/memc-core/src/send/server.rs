//! One server as a run sees it: its pool, and which process it was when it was last met.

use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use scheduled_thread_pool::ScheduledThreadPool;

use crate::report::{ServerCheck, ServerReport};
use crate::send::backoff::Backoff;
use crate::send::pool::{self, Pool, Pooled};
use crate::wire::connection::Connection;
use crate::wire::stats::ServerStats;
use crate::{Address, Options, StopHandle};

/// What a server said of itself on the first connection to its process, or at the end of a run. A loader
/// keeps it from one run to the next, so that a restart between them is noticed.
pub(crate) type Known = Arc<Mutex<Option<ServerStats>>>;

/// Connects to a server for its status alone.
pub(crate) fn check(address: &Address, timeout: Duration) -> ServerCheck {
    let result = Connection::open(address, timeout).and_then(|mut connection| connection.status());
    ServerCheck { address: address.to_string(), result }
}

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Server {
    address: Address,
    pool: Option<Pool>,
    known: Known,
    /// Whether the pass has ended while a connection to it failed.
    failing: AtomicBool,
}

impl Server {
    pub(crate) fn new(address: &Address, known: &Known) -> Self {
        Self {
            address: address.clone(),
            pool: None,
            known: Arc::clone(known),
            failing: AtomicBool::new(false),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Leaves the connections of the pass before, some of which may be to a process that is gone.
    pub(crate) fn connect_anew(&mut self, options: &Options, threads: &Arc<ScheduledThreadPool>) {
        self.pool = Some(pool::pool(&self.address, options, threads));
        self.failing = AtomicBool::new(false);
    }

    /// A connection, or the reason why there is none.
    pub(crate) fn connect(&self) -> io::Result<Pooled> {
        let pool = self.pool.as_ref().ok_or(io::ErrorKind::NotConnected)?;
        let mut attempt = pool.get().map_err(io::Error::other)?;
        match &mut *attempt {
            Ok(_) => Ok(attempt),
            Err(error) => Err(std::mem::replace(error, io::ErrorKind::NotConnected.into())),
        }
    }

    /// Whether `stats` are of another process than the one that the run knew: then all it held is gone.
    pub(crate) fn observe_identity(&self, stats: &ServerStats) -> bool {
        let mut known = self.known();
        let restarted = known.as_ref().is_some_and(|known| known.process() != stats.process());
        if restarted || known.is_none() {
            *known = Some(*stats);
        }
        restarted
    }

    /// Notes that the pass ends while a connection to it fails.
    pub(crate) fn note_failing(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    /// Asks the server, if it was in use and does not fail anyway, whether it still is the same process and
    /// what that has thrown away since; again for `retry_timeout` if it does not answer, unless a stop is asked for.
    ///
    /// A server that cannot be asked may still be the same one; the next load will see. But where nobody
    /// listens there is no process, and what it held is gone.
    pub(crate) fn final_check(&self, retry_timeout: Duration, stop: &StopHandle, report: &mut ServerReport) {
        let Some(known) = *self.known() else { return };
        if self.failing.load(Ordering::Relaxed) {
            return;
        }
        let mut backoff = Backoff::new();
        let mut answer = self.stats();
        while answer.is_err() && backoff.elapsed() < retry_timeout && !stop.is_requested() {
            backoff.pause(retry_timeout, || stop.is_requested());
            answer = self.stats();
        }
        match answer {
            Ok(stats) if stats.process() == known.process() => {
                report.evictions = stats.evictions.saturating_sub(known.evictions);
                report.memory_limit_bytes = stats.memory_limit_bytes;
                *self.known() = Some(stats);
            }
            Err(error)
                if !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) => {}
            _ => {
                report.gone = true;
                // It is told now; the next run begins with whatever process is there.
                *self.known() = None;
            }
        }
    }

    /// What the server says of itself now. A pooled connection may have been closed in the meantime; then a
    /// new one is made, unless the server has been waited for.
    fn stats(&self) -> io::Result<ServerStats> {
        let ask = || match &mut *self.connect()? {
            Ok(connection) => connection.stats(),
            Err(_) => Err(io::ErrorKind::NotConnected.into()),
        };
        ask().or_else(|error| if error.kind() == io::ErrorKind::TimedOut { Err(error) } else { ask() })
    }

    fn known(&self) -> MutexGuard<'_, Option<ServerStats>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
