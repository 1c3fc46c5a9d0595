//! One server as a load sees it: its pool, which process it is, whether it is away, and what it is asked at the end.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use scheduled_thread_pool::ScheduledThreadPool;

use crate::report::progress::ServerCounters;
use crate::report::{ServerCheck, ServerReport};
use crate::send::away::Away;
use crate::send::backoff::Backoff;
use crate::send::known::Known;
use crate::send::pool::{self, Pool, Pooled};
use crate::wire::connection::Connection;
use crate::wire::half_open;
use crate::wire::patience::Patience;
use crate::wire::peers::Sockets;
use crate::wire::protocol::{Manner, Protocol};
use crate::wire::stats::ServerStats;
use crate::{Address, Event, Options, StopHandle};

/// How long a connection that has just been closed may still be seen.
const ORPHAN_GRACE: Duration = Duration::from_millis(100);
const ORPHAN_CHECK: Duration = Duration::from_millis(10);

/// Connects to a server for its status alone.
pub(crate) fn check(address: &Address, options: &Options) -> ServerCheck {
    ServerCheck { address: address.to_string(), result: address.status(options.protocol, options.io_timeout) }
}

/// One server, for all of its connections.
#[derive(Debug)]
pub(crate) struct Server {
    address: Address,
    protocol: Option<Protocol>,
    pool: Option<Pool>,
    pub(crate) patience: Patience,
    pub(crate) known: Arc<Known>,
    pub(crate) away: Away,
    /// What those who watch the load see of it.
    pub(crate) counters: Arc<ServerCounters>,
    /// Records that it has stored in this load.
    stored: AtomicU64,
    /// Records that were sent to it in this load, each time that they were.
    sent: AtomicU64,
    /// Whether the attempt has ended while a connection to it failed.
    failing: AtomicBool,
    /// Whether no connection of an earlier process is left, as far as that can be seen.
    is_clear: AtomicBool,
    /// Whether a connection ended when the server was asked for that.
    was_silent: AtomicBool,
}

impl Server {
    pub(crate) fn new(
        address: &Address,
        known: &Arc<Known>,
        counters: Arc<ServerCounters>,
        options: &Options,
        stop: &StopHandle,
    ) -> Self {
        known.start_load();
        Self {
            address: address.clone(),
            protocol: options.protocol,
            pool: None,
            patience: Patience::new(options.io_timeout, stop),
            known: Arc::clone(known),
            away: Away::new(address.to_string(), options.retry_timeout),
            counters,
            stored: AtomicU64::new(0),
            sent: AtomicU64::new(0),
            failing: AtomicBool::new(false),
            is_clear: AtomicBool::new(false),
            was_silent: AtomicBool::new(false),
        }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Leaves the connections of the attempt before, some of which may be to a process that is gone.
    pub(crate) fn start_attempt(&mut self, options: &Options, threads: &Arc<ScheduledThreadPool>) {
        self.pool = Some(pool::pool(&self.address, &self.patience, &self.known, options, threads));
        self.failing = AtomicBool::new(false);
    }

    /// A connection, or the reason why there is none; nothing if the server was restarted.
    pub(crate) fn connect(&self) -> io::Result<Option<Pooled>> {
        let stored = self.stored.load(Ordering::Relaxed);
        let mut attempt =
            self.pool.as_ref().ok_or(io::ErrorKind::NotConnected)?.get().map_err(io::Error::other)?;
        let connection = match &mut *attempt {
            Ok(connection) => connection,
            // What has answered meta commands and does not any more is another process, of an older version.
            Err(error)
                if error.kind() == io::ErrorKind::Unsupported
                    && self.protocol.is_none()
                    && self.known.forget_manner() =>
            {
                self.known.forget_process();
                return Ok(None);
            }
            Err(error) => return Err(std::mem::replace(error, io::ErrorKind::NotConnected.into())),
        };
        let Some((stats, asked)) = connection.first_stats() else { return Ok(Some(attempt)) };
        if self.known.observe(&stats, asked, stored, self.sent.load(Ordering::Relaxed)) {
            self.known.forget_manner();
            return Ok(None);
        }
        if let Err(error) = self.check_orphans(connection) {
            if !matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::ResourceBusy) {
                // Something that closes the connection at that question is asked once more, then not again.
                self.is_clear.store(self.was_silent.swap(true, Ordering::Relaxed), Ordering::Relaxed);
            }
            return Err(error);
        }
        Ok(Some(attempt))
    }

    /// Fails while the server has connections of processes of this host that have ended: what these had sent would be
    /// stored after newer records.
    fn check_orphans(&self, connection: &mut Connection) -> io::Result<()> {
        let Some(ends) = connection.ends() else { return Ok(()) };
        let (mut started, mut is_reset) = (Instant::now(), false);
        while !self.is_clear.load(Ordering::Relaxed) {
            let peers = connection.peers()?;
            // Looked at after the server was asked, so that a new connection is not taken for an old one.
            let asked = Instant::now();
            let orphans = ends.orphans(&peers, || Sockets::after(asked));
            if orphans.is_empty() {
                self.is_clear.store(true, Ordering::Relaxed);
            } else if started.elapsed() <= ORPHAN_GRACE {
                std::thread::sleep(ORPHAN_CHECK);
            } else if !std::mem::replace(&mut is_reset, true) {
                half_open::reset(&orphans, ends.server);
                started = Instant::now();
            } else {
                let text = format!(
                    "it still has {} connections of processes of this host that have ended: what they sent would be \
                    stored after newer records",
                    orphans.len()
                );
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
        }
        Ok(())
    }

    /// More records are sent to it next.
    pub(crate) fn note_sent(&self, records: usize) {
        self.sent.fetch_add(records as u64, Ordering::Relaxed);
    }

    /// It has stored more records.
    pub(crate) fn note_stored(&self, records: u64) {
        self.stored.fetch_add(records, Ordering::Relaxed);
    }

    /// The attempt ends while a connection to it fails.
    pub(crate) fn note_failing(&self) {
        self.failing.store(true, Ordering::Relaxed);
    }

    /// Asks the server, if it was in use and does not fail anyway, whether it still is the same process and
    /// what that has evicted since; again for `retry_timeout` if it does not answer, unless a stop is asked for.
    ///
    /// A server that cannot be asked may still be the same one; the next load will see. But where nobody
    /// listens there is no process, and what it held is gone.
    pub(crate) fn final_check(
        &self,
        retry_timeout: Duration,
        stop: &StopHandle,
        emit: &dyn Fn(Event),
        report: &mut ServerReport,
    ) {
        let is_silent = matches!(self.known.manner(), Some(Manner { has_statistics: false, .. }));
        if is_silent || !self.known.is_met() || self.failing.load(Ordering::Relaxed) {
            return;
        }
        let mut backoff = Backoff::new();
        let mut is_away = false;
        let answer = loop {
            let stored = self.stored.load(Ordering::Relaxed);
            let asked = Instant::now();
            let error = match self.stats() {
                Ok(stats) => {
                    let sent = self.sent.load(Ordering::Relaxed);
                    break Ok(self.known.observe(&stats, asked, stored, sent));
                }
                Err(error) => error,
            };
            if backoff.elapsed() >= retry_timeout || stop.is_requested() {
                break Err(error);
            }
            if !std::mem::replace(&mut is_away, true) {
                self.away.begin(&error, emit);
            }
            backoff.pause(retry_timeout, || {
                self.away.remind(emit);
                stop.is_requested()
            });
        };
        match answer {
            Ok(is_other) => {
                report.restarted |= is_other;
                report.evictions += self.known.take_evictions();
                (report.memory_used_bytes, report.memory_limit_bytes) = self.known.memory_bytes();
                if is_away {
                    self.away.end(emit);
                }
            }
            Err(error) => {
                // After a stop it was not waited for, which says nothing.
                report.unreachable = !stop.is_requested();
                if matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound) {
                    // It is reported now; the next load starts with whatever process is there.
                    report.unreachable = true;
                    self.known.forget_process();
                }
            }
        }
    }

    /// What the server reports about itself now. A pooled connection may have been closed in the meantime; then a
    /// new one is made, unless the server has been waited for.
    fn stats(&self) -> io::Result<ServerStats> {
        let ask = || {
            let pool = self.pool.as_ref().ok_or(io::ErrorKind::NotConnected)?;
            match &mut *pool.get().map_err(io::Error::other)? {
                Ok(connection) => connection.stats(),
                Err(error) => Err(std::mem::replace(error, io::ErrorKind::NotConnected.into())),
            }
        };
        ask().or_else(|error| if error.kind() == io::ErrorKind::TimedOut { Err(error) } else { ask() })
    }
}
