//! One server as a run sees it: its pool, and which process it was when it was last met.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use scheduled_thread_pool::ScheduledThreadPool;

use crate::pool::{self, Pool, Pooled};
use crate::report::ServerReport;
use crate::stats::ServerStats;
use crate::{Address, Options};

/// What a server said of itself on the first connection to its process, or at the end of a run. A loader
/// keeps it from one run to the next, so that a restart between them is noticed.
pub(crate) type Known = Arc<Mutex<Option<ServerStats>>>;

/// See the module's text.
#[derive(Debug)]
pub(crate) struct Server {
    address: Address,
    pool: Option<Pool>,
    known: Known,
}

impl Server {
    pub(crate) fn new(address: &Address, known: &Known) -> Self {
        Self { address: address.clone(), pool: None, known: Arc::clone(known) }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Leaves the connections of the pass before, some of which may be to a process that is gone.
    pub(crate) fn connect_anew(&mut self, options: &Options, threads: &Arc<ScheduledThreadPool>) {
        self.pool = Some(pool::pool(&self.address, options, threads));
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
    pub(crate) fn is_restarted(&self, stats: &ServerStats) -> bool {
        let mut known = self.known();
        let restarted = known.as_ref().is_some_and(|known| known.process() != stats.process());
        if restarted || known.is_none() {
            *known = Some(*stats);
        }
        restarted
    }

    /// Asks the server, if it was in use, whether it still is the same and what it has thrown away since.
    pub(crate) fn report_memory(&self, report: &mut ServerReport) {
        let mut last = self.known();
        let Some(known) = *last else { return };
        // The pooled connection may have been closed in the meantime; a second one is new.
        match self.stats().or_else(|_| self.stats()) {
            Ok(stats) if stats.process() == known.process() => {
                report.thrown_away = stats.thrown_away.saturating_sub(known.thrown_away);
                report.memory_limit_bytes = stats.memory_limit_bytes;
                *last = Some(stats);
            }
            _ => {
                report.gone = true;
                // It is told now; the next run begins with whatever process is there.
                *last = None;
            }
        }
    }

    fn stats(&self) -> io::Result<ServerStats> {
        match &mut *self.connect()? {
            Ok(connection) => connection.stats(),
            Err(_) => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    fn known(&self) -> MutexGuard<'_, Option<ServerStats>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
