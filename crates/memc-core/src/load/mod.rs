//! The loader: what a caller makes and runs.

mod attempt;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use scheduled_thread_pool::ScheduledThreadPool;

use crate::load::attempt::Pass;
use crate::order::tally::Tally;
use crate::read::backlog::Backlog;
use crate::report::event::{Event, EventResult};
use crate::report::{LoadError, RunReport, ServerReport};
use crate::route::Routes;
use crate::send::known::Known;
use crate::send::lane::Lane;
use crate::send::sender::Sender;
use crate::send::server::Server;
use crate::wire::batch::Stored;
use crate::{Address, Encode, Error, Input, Options, ProgressHandle, StopHandle};

/// A load starts a file again at most so many times in a row because a server was restarted; then it gives up.
const MAX_RESTARTS: u32 = 5;

/// The last answers of all servers are from within this time, or they are asked again.
const RECENT: Duration = Duration::from_millis(250);

/// They are asked again at most so often.
const MAX_ROUNDS: usize = 5;

/// A record as a dry run shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryRecord<'a> {
    /// The index that the encoder returned: that of an address given to [`Loader::new`].
    pub server: usize,
    /// Its key.
    pub key: &'a [u8],
    /// Its value.
    pub value: &'a [u8],
}

/// Loads inputs into servers: an [`Encode`] with the servers that its records go to.
///
/// The lines are encoded on the rayon thread pool that the caller is in, or the global one. A thread of its own
/// reads and inflates, one calls back, and one for each connection sends, which mostly waits.
///
/// The [crate's page](crate) has an example of [`load`](Self::load); see [`dry_run`](Self::dry_run) for a trial.
#[derive(Clone, Debug)]
pub struct Loader<E> {
    pub(crate) encoder: E,
    pub(crate) routes: Routes,
    /// Of each server, what is kept from one load to the next.
    known: Vec<Arc<Known>>,
    pub(crate) options: Options,
    pub(crate) stop: StopHandle,
    pub(crate) progress: ProgressHandle,
}

impl<E: Encode> Loader<E> {
    /// A loader; the place of an address in `servers` is the index that the encoder returns for it.
    ///
    /// Addresses may be equal, and are one server then: so are all with the same host and port (or path), as they are
    /// written. What is written in two ways, as `localhost` and `127.0.0.1`, counts as two servers, and the order of
    /// records with one key holds for each of them alone.
    #[expect(clippy::needless_pass_by_value, reason = "a loader owns what it is made of")]
    pub fn new(encoder: E, servers: Vec<Address>, options: Options) -> Self {
        let routes = Routes::new(&servers, options.connections as usize);
        Self {
            encoder,
            known: routes.servers().iter().map(|_| Arc::default()).collect(),
            routes,
            options,
            stop: StopHandle::default(),
            progress: ProgressHandle::default(),
        }
    }

    /// The handle that stops the loads of this loader.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The handle that tells how far this loader's load has come; a new load begins again from 0.
    #[must_use]
    pub fn progress_handle(&self) -> ProgressHandle {
        self.progress.clone()
    }

    /// Loads the inputs, as if line by line in the given order: of two records with one key, the later one
    /// stays.
    ///
    /// A server that is restarted meanwhile has lost what it held. The load notices that when it connects
    /// again, emits [`Event::ServerRestarted`], and starts again with the first input that is not finished. A
    /// restart since an earlier load of this loader is reported in the same way.
    ///
    /// When a connection breaks, nothing newer is sent before it has ended. Where a proxy stands between loader and
    /// server, which may deliver late what was in flight, those records are read back before the end of their input is
    /// reported, and set again if they are stale ([`Event::RecordsReadBack`]). What the proxy delivers later than
    /// [`Options::io_timeout`], and a second, after the last sign of it is not noticed. What a process that has ended
    /// left unread in a server is waited for if it ran on this host and the server shows it (`stats conns`): not if it
    /// ran elsewhere, behind a proxy, or on a Unix socket. Wait then until the server has closed its connections.
    ///
    /// Each server is asked at the end whether it still is the process that it was. What happens to it after its answer,
    /// within some 250 ms before this returns, is not noticed.
    ///
    /// `on_event` is called in the order of the inputs, from a thread of its own; the load goes on
    /// meanwhile, so far as memory allows. It must not wait for work of the rayon pool that encodes. When it has
    /// [`Event::InputFinished`], that input and all before it are stored. ([`Event::ServerRestarted`] and what is emitted
    /// at the end of the load come from other threads, one at a time.)
    ///
    /// # Errors
    ///
    /// [`LoadError`] with an [`Error`] when an input cannot be read, a server does not acknowledge
    /// anything for [`Options::retry_timeout`], or `on_event` fails. The inputs that were finished by then
    /// are complete; of the others any part may be stored, and loading them again repairs it.
    pub fn load(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        let addresses = self.routes.servers().iter().zip(&self.known);
        let mut servers: Vec<Server> = addresses
            .map(|(address, known)| Server::new(address, known, &self.options, &self.stop))
            .collect();
        // One thread for each connection, so that a server that hangs does not keep the pool from others.
        let threads = Arc::new(ScheduledThreadPool::new(self.routes.lanes().max(1)));
        let result = self.run(inputs, on_event, |pass, backlog, on_event| {
            servers.iter_mut().for_each(|server| server.start_attempt(&self.options, &threads));
            let serve = |lane: Lane<'_>| {
                let (server, connection) = self.routes.of_lane(lane.index);
                let report =
                    Sender::new(&servers[server], connection, &lane, &self.options, &self.stop).run();
                (server, report)
            };
            pass.run(backlog, on_event, Some(self.routes.lanes()), serve);
            // Asked once, at the end of the last attempt: what was evicted counts from the first connection.
            let retry_timeout = match &pass.error {
                None => self.options.retry_timeout,
                Some(Error::Restarted { .. }) => return,
                Some(_) => Duration::ZERO,
            };
            let failed = self.final_check(&servers, retry_timeout, on_event, &mut pass.report.servers);
            pass.error = pass.error.take().or(failed);
        });
        if result.is_ok() {
            self.known.iter().for_each(|known| known.end_load());
        }
        result
    }

    /// Asks all servers at the same time what became of them, and again if one of them had to be waited for: so the
    /// last answers of all of them are of the same moment, right before the end. Returns the caller's error.
    fn final_check(
        &self,
        servers: &[Server],
        retry_timeout: Duration,
        on_event: &mut (impl FnMut(Event) -> EventResult + Send),
        reports: &mut [ServerReport],
    ) -> Option<Error> {
        let caller = Mutex::new((on_event, None));
        let emit = |event| {
            let (on_event, failed) = &mut *caller.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.is_none() {
                *failed = on_event(event).err();
            }
        };
        for _ in 0..MAX_ROUNDS {
            let started = Instant::now();
            std::thread::scope(|scope| {
                let answering = servers.iter().zip(&mut *reports).filter(|(_, report)| !report.unreachable);
                for (server, report) in answering {
                    scope.spawn(|| server.final_check(retry_timeout, &self.stop, &emit, report));
                }
            });
            if started.elapsed() < RECENT || retry_timeout.is_zero() || self.stop.is_requested() {
                break;
            }
        }
        let (_, failed) = caller.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map(|source| Error::Caller { source })
    }

    /// Does everything but storing: connects to nothing and shows each record in the order of the input.
    ///
    /// ```
    /// use memc_core::apps::AppsEncoder;
    /// use memc_core::{Input, Loader, Options};
    ///
    /// let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942,8519\nidfa\tbad line\n";
    /// let servers = vec!["127.0.0.1:33013".parse()?];
    /// let loader = Loader::new(AppsEncoder::new(["idfa"]), servers, Options::default());
    /// let report = loader.dry_run(
    ///     [Input::reader("sample", log)],
    ///     |record| assert_eq!(record.key, b"idfa:e7e1"),
    ///     |_event| Ok(()),
    /// )?;
    /// assert_eq!((report.counts.loaded, report.counts.rejected_total()), (1, 1));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), but for the servers.
    pub fn dry_run(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_record: impl FnMut(DryRecord<'_>) + Send,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        // The one lane of a dry run is served once; the lock only tells the compiler so.
        let on_record = Mutex::new(on_record);
        self.run(inputs, on_event, |pass, backlog, on_event| {
            pass.run(backlog, on_event, None, |lane| {
                show(&lane, &mut *on_record.lock().unwrap_or_else(PoisonError::into_inner));
                (0, ServerReport::default())
            });
        })
    }

    /// Goes through the inputs; again through those that are not finished, as long as servers restart.
    fn run<I: Iterator<Item = Input> + Send, F: FnMut(Event) -> EventResult + Send>(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter = I>,
        mut on_event: F,
        mut go: impl FnMut(&mut Pass<'_, E>, &mut Backlog<I>, &mut F),
    ) -> Result<RunReport, LoadError> {
        let started = Instant::now();
        let mut backlog = Backlog::new(inputs.into_iter());
        let mut report = RunReport {
            servers: self.routes.servers().iter().map(ServerReport::of).collect(),
            ..RunReport::default()
        };
        let mut restarts = 0;
        let error = loop {
            self.progress.set(report.bytes_in, report.counts.loaded);
            let mut pass = Pass::new(self, report.inputs);
            go(&mut pass, &mut backlog, &mut on_event);
            restarts = if pass.report.inputs > 0 { 1 } else { restarts + 1 };
            backlog.start_again(pass.report.inputs);
            report.merge(pass.report);
            match pass.error {
                Some(Error::Restarted { address }) if restarts <= MAX_RESTARTS => {
                    if let Err(source) = on_event(Event::ServerRestarted { address }) {
                        break Some(Error::Caller { source });
                    }
                }
                error => break error,
            }
        };
        report.duration = started.elapsed();
        match error {
            None => Ok(report),
            Some(error) => Err(LoadError { error, report: Box::new(report) }),
        }
    }
}

/// The dry run's end of a lane: every record is shown, then counts as acknowledged.
fn show(lane: &Lane<'_>, on_record: &mut impl FnMut(DryRecord<'_>)) {
    let mut number = 0;
    while let Some(batch) = lane.turns.take() {
        let mut tally = Tally::default();
        for Stored { server, key, value, .. } in batch.iter() {
            on_record(DryRecord { server, key, value });
            tally.counts.loaded += 1;
        }
        lane.ledger.report(number, tally);
        number += 1;
        lane.spares.give(batch);
    }
}
