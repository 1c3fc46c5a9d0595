//! The loader: what a caller makes and runs.

mod attempt;
mod dry_run;
pub mod stages;

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::encode::expiry::Expiry;
use crate::load::attempt::{Attempt, Settings};
pub use crate::load::dry_run::DryRecord;
use crate::read::backlog::Backlog;
use crate::report::event::{Event, EventResult};
use crate::report::{LoadError, RunReport, ServerCheck, ServerReport};
use crate::route::Routes;
use crate::send::known::Known;
use crate::send::lane::Lane;
use crate::send::sender::Sender;
use crate::send::server::Server;
use crate::send::{pool, server};
use crate::{Encode, Error, Group, Input, Options, ProgressHandle, StopHandle};

/// At most this many times in a row a load starts again with an input because a server was restarted.
const MAX_RESTARTS: u32 = 5;

/// The last answers of all servers are from within this time, or they are asked again.
const RECENT: Duration = Duration::from_millis(250);

/// They are asked again at most this often.
const MAX_ROUNDS: usize = 5;

/// With at most as many lanes, a chunk mostly leaves enough for each.
const FEW_LANES: usize = 16;

/// Batches of this many bytes are worth a write of their own.
const WRITE_BYTES: usize = 256 * 1024;

/// How many bytes of batches each of `lanes` lanes waits for.
fn gather_bytes(lanes: usize, options: &Options) -> usize {
    if lanes <= FEW_LANES {
        return 0;
    }
    // All lanes gather half of what may be in flight: the other half is read, encoded and acknowledged.
    WRITE_BYTES.min(options.max_bytes_in_flight / (2 * lanes))
}

/// Loads inputs into servers: an [`Encode`] with the groups of servers that its records go to.
///
/// A load has threads of its own: a pool of [`Options::threads`] that encodes, one thread that reads and decompresses,
/// one that calls back, and one for each connection, which mostly waits; one more for each input that may keep its
/// reader waiting. No other work of the process waits for it.
///
/// The [crate's page](crate) has an example of [`load`](Self::load); see [`dry_run`](Self::dry_run) for a trial.
#[derive(Clone, Debug)]
pub struct Loader<E> {
    encoder: E,
    routes: Routes,
    /// Of each server, what is kept from one load to the next.
    known: Vec<Arc<Known>>,
    options: Options,
    pool: Option<Arc<ThreadPool>>,
    stop: StopHandle,
    progress: ProgressHandle,
}

impl<E: Encode> Loader<E> {
    /// A loader; the place of a group in `groups` is the index that the encoder returns for it. An
    /// [`Address`](crate::Address) is a group of one server.
    ///
    /// Groups may have servers in common, which then count once: so do all with the same host and port (or path), as they
    /// are written. What is written in two ways, as `localhost` and `127.0.0.1`, counts as two servers, and the order of
    /// records with one key holds for each of them alone.
    pub fn new(encoder: E, groups: impl IntoIterator<Item: Into<Group>>, options: Options) -> Self {
        let routes = Routes::new(groups.into_iter().map(Into::into), options.connections as usize);
        Self {
            encoder,
            progress: ProgressHandle::of(routes.servers()),
            known: routes.servers().iter().map(|_| Arc::default()).collect(),
            routes,
            options,
            pool: None,
            stop: StopHandle::default(),
        }
    }

    /// Has this pool encode, instead of one that each load starts: for many loaders in one process. A worker that waits
    /// for the next chunk keeps its thread, so other work of the pool waits while an input is slow.
    #[must_use]
    pub fn with_pool(self, pool: Arc<ThreadPool>) -> Self {
        Self { pool: Some(pool), ..self }
    }

    /// The handle that stops the loads of this loader.
    #[must_use]
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// The handle that reports how far this loader's load is; a new load starts from 0.
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
    /// [`Options::io_timeout`] (or a second, if that is longer) after the last sign of it is not noticed.
    ///
    /// What a process that has ended left unread in a server is waited for if it ran on this host and the server shows
    /// it (`stats conns`): not if it ran elsewhere, behind a proxy, or on a Unix socket. Wait then until the server has
    /// closed its connections.
    ///
    /// Each server is asked at the end whether it still is the process that it was. What happens to it after its answer,
    /// within some 250 ms before this returns, is not noticed.
    ///
    /// `on_event` is called in the order of the inputs, from a thread of its own; the load goes on
    /// meanwhile, as far as memory allows ([`Options::max_bytes_in_flight`]). When it has
    /// [`Event::InputFinished`], that input and all before it are stored. ([`Event::ServerRestarted`] and what is emitted
    /// at the end of the load come from other threads, one at a time.)
    ///
    /// # Errors
    ///
    /// [`LoadError`] with an [`Error`] when an input cannot be read, a server does not acknowledge
    /// anything for [`Options::retry_timeout`], `on_event` fails, or the load cannot start. The inputs that were
    /// finished by then are complete; of the others any part may be stored, and loading them again repairs it.
    ///
    /// # Panics
    ///
    /// A panic of the encoder, or of `on_event`, is passed on.
    pub fn load(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        let pool = self.prepare()?;
        // One thread for each connection, so that a server that hangs does not keep the pool from others.
        let threads = pool::start_threads(self.routes.lanes())
            .map_err(|source| self.not_started(Error::Start { thread: "connecting", source }))?;
        let addresses = self.routes.servers().iter().zip(&self.known).enumerate();
        let mut servers: Vec<Server> = addresses
            .map(|(at, (address, known))| {
                Server::new(address, known, self.progress.of_server(at), &self.options, &self.stop)
            })
            .collect();
        let result = self.run(inputs, on_event, |settings, backlog, on_event| {
            servers.iter_mut().for_each(|server| server.start_attempt(&self.options, &threads));
            let servers = &servers;
            let serve = (0..self.routes.lanes()).map(|lane| {
                let (server, connection) = self.routes.of_lane(lane);
                move |lanes: &[Lane<'_>]| {
                    Sender::new(&servers[server], connection, &lanes[lane], &self.options, &self.stop).run()
                }
            });
            let gather_bytes = gather_bytes(self.routes.lanes(), &self.options);
            let mut attempt =
                attempt::run(settings, &pool, backlog, on_event, &self.routes, gather_bytes, serve);
            let mut reports = self.empty_report().servers;
            for (lane, report) in attempt.lanes.iter().enumerate() {
                reports[self.routes.of_lane(lane).0].merge(report);
            }
            // Asked once, at the end of the last attempt: what was evicted counts from the first connection.
            let retry_timeout = match &attempt.error {
                None => Some(self.options.retry_timeout),
                Some(Error::Restarted { .. } | Error::Start { .. }) => None,
                Some(_) => Some(Duration::ZERO),
            };
            if let Some(retry_timeout) = retry_timeout
                && let Err(error) = self.final_check(servers, retry_timeout, on_event, &mut reports)
            {
                attempt.error.get_or_insert(error);
            }
            attempt.report.servers = reports;
            attempt
        });
        if result.is_ok() {
            self.known.iter().for_each(|known| known.end_load());
        }
        result
    }

    /// Asks all servers at the same time whether they still run, and again if it had to wait for one of them: so the
    /// last answers of all of them are of the same moment, right before the end.
    fn final_check(
        &self,
        servers: &[Server],
        retry_timeout: Duration,
        on_event: &mut (impl FnMut(Event) -> EventResult + Send),
        reports: &mut [ServerReport],
    ) -> Result<(), Error> {
        let caller = Mutex::new((on_event, None));
        let emit = |event| {
            let (on_event, failed) = &mut *caller.lock().unwrap_or_else(PoisonError::into_inner);
            if failed.is_none() {
                *failed = on_event(event).err();
            }
        };
        for _ in 0..MAX_ROUNDS {
            let started = Instant::now();
            thread::scope(|scope| {
                let answering = servers.iter().zip(&mut *reports).filter(|(_, report)| !report.unreachable);
                for (server, report) in answering {
                    let emit = &emit;
                    attempt::start(scope, "final check", move || {
                        server.final_check(retry_timeout, &self.stop, emit, report);
                    })?;
                }
                Ok(())
            })?;
            if started.elapsed() < RECENT || retry_timeout.is_zero() || self.stop.is_requested() {
                break;
            }
        }
        let (_, failed) = caller.into_inner().unwrap_or_else(PoisonError::into_inner);
        failed.map_or(Ok(()), |source| Err(Error::Caller { source }))
    }

    /// Connects to every server and asks it what it is, all at once. Nothing is stored.
    ///
    /// ```no_run
    /// use memc_core::apps::AppsEncoder;
    /// use memc_core::{Address, Loader, Options};
    ///
    /// let server: Address = "127.0.0.1:33013".parse()?;
    /// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], Options::default());
    /// for check in loader.check()? {
    ///     match check.result {
    ///         Ok(status) => println!("{}: memcached {}", check.address, status.version),
    ///         Err(error) => println!("{}: {error}", check.address),
    ///     }
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// If the options are invalid or a thread does not start. What a server fails with is in its own
    /// [`ServerCheck::result`], after at most twice [`Options::io_timeout`].
    pub fn check(&self) -> Result<Vec<ServerCheck>, Error> {
        self.check_options()?;
        thread::scope(|scope| {
            let check = |address| move || server::check(address, &self.options);
            let checks: Result<Vec<_>, _> = self
                .routes
                .servers()
                .iter()
                .map(|address| attempt::start(scope, "check", check(address)))
                .collect();
            Ok(checks?.into_iter().map(attempt::join).collect())
        })
    }

    /// Does everything but storing: connects to nothing and shows each record in the order of the input.
    ///
    /// ```
    /// use memc_core::apps::AppsEncoder;
    /// use memc_core::{Address, Input, Loader, Options};
    ///
    /// let log: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942,8519\nidfa\tbad line\n";
    /// let server: Address = "127.0.0.1:33013".parse()?;
    /// let loader = Loader::new(AppsEncoder::new(["idfa"]), [server], Options::default());
    /// let report = loader.dry_run(
    ///     [Input::bytes("sample", log)],
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
    ///
    /// # Panics
    ///
    /// With the panic of the encoder, of `on_record` or of `on_event`.
    pub fn dry_run(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        mut on_record: impl FnMut(DryRecord<'_>) + Send,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        let pool = self.prepare()?;
        self.run(inputs, on_event, |settings, backlog, on_event| {
            let show = |lanes: &[Lane<'_>]| dry_run::show(lanes, &self.routes, &mut on_record);
            let routes = self.routes.by_group();
            let mut attempt = attempt::run(settings, &pool, backlog, on_event, &routes, 0, [show]);
            let records: Vec<u64> = attempt.lanes.iter().flatten().copied().collect();
            attempt.report.servers = self.dry_servers(&records);
            attempt
        })
    }

    /// The reports on servers that would have been sent these numbers of records.
    fn dry_servers(&self, records: &[u64]) -> Vec<ServerReport> {
        let mut servers = self.empty_report().servers;
        servers.iter_mut().zip(records).for_each(|(server, records)| server.records = *records);
        servers
    }

    /// Checks the options and starts the pool that encodes, if none was given.
    fn prepare(&self) -> Result<Arc<ThreadPool>, LoadError> {
        self.check_options().map_err(|error| self.not_started(error))?;
        if let Some(pool) = &self.pool {
            return Ok(Arc::clone(pool));
        }
        let pool = ThreadPoolBuilder::new()
            .num_threads(self.options.threads)
            .thread_name(|index| format!("encode-{index}"))
            .build()
            .map_err(|error| Error::Start { thread: "encoding", source: io::Error::other(error) });
        pool.map(Arc::new).map_err(|error| self.not_started(error))
    }

    fn check_options(&self) -> Result<(), Error> {
        if self.routes.groups() == 0 {
            return Err(Error::InvalidOptions { option: "groups", problem: "there must be at least one" });
        }
        self.options.check()
    }

    /// The end of a load that could not start.
    fn not_started(&self, error: Error) -> LoadError {
        LoadError { error, report: Box::new(self.empty_report()) }
    }

    fn empty_report(&self) -> RunReport {
        RunReport {
            servers: self.routes.servers().iter().map(ServerReport::of).collect(),
            ..RunReport::default()
        }
    }

    /// Makes attempts over the inputs: another one with those that are not finished, as long as servers restart.
    fn run<I: Iterator<Item = Input> + Send, F: FnMut(Event) -> EventResult + Send, T>(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter = I>,
        mut on_event: F,
        mut attempt: impl FnMut(&Settings<'_, E>, &mut Backlog<I>, &mut F) -> Attempt<T>,
    ) -> Result<RunReport, LoadError> {
        let started = Instant::now();
        let expiry = Expiry::new(SystemTime::now(), self.options.ttl);
        let mut backlog = Backlog::new(inputs.into_iter());
        let mut report = self.empty_report();
        let (mut restarts, mut last_end) = (0, started);
        let error = loop {
            self.progress.set(report.bytes_in, report.counts.loaded);
            let settings = Settings {
                encoder: &self.encoder,
                options: &self.options,
                stop: &self.stop,
                progress: &self.progress,
                expiry,
                first_input: (report.inputs, last_end),
            };
            let ended = attempt(&settings, &mut backlog, &mut on_event);
            last_end = ended.last_end;
            let finished = ended.report.inputs;
            restarts = if finished > 0 { 1 } else { restarts + 1 };
            report.merge(ended.report);
            let address = match ended.error {
                Some(Error::Restarted { address }) if restarts <= MAX_RESTARTS => address,
                error => break error,
            };
            let first = backlog.start_again(finished, &address);
            let spent = first.and_then(|input| Some((input.name().to_owned(), input.spent()?)));
            if let Err(source) = on_event(Event::ServerRestarted { address }) {
                break Some(Error::Caller { source });
            }
            if let Some((file, source)) = spent {
                break Some(Error::Read { file, source });
            }
        };
        report.duration = started.elapsed();
        match error {
            None => Ok(report),
            Some(error) => Err(LoadError { error, report: Box::new(report) }),
        }
    }
}
