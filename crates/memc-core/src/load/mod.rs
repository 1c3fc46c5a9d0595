//! The loader: what a caller makes and runs.

mod attempt;
mod dry_run;

use std::io;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use rayon::{ThreadPool, ThreadPoolBuilder};

use crate::load::attempt::{Attempt, Settings};
pub use crate::load::dry_run::DryRecord;
use crate::read::backlog::Backlog;
use crate::report::event::{Event, EventResult};
use crate::report::{LoadError, RunReport, ServerCheck, ServerReport};
use crate::send::lane::Lane;
use crate::send::sender::Sender;
use crate::send::server::{Known, Server};
use crate::send::{pool, server};
use crate::{Address, Encode, Error, Input, Options, ProgressHandle, StopHandle};

/// At most this many times in a row a load starts again with an input because a server was restarted.
const MAX_RESTARTS: u32 = 5;

/// Loads inputs into servers: an [`Encode`] with the servers that its records go to.
///
/// A load has threads of its own: a pool of [`Options::threads`] that encodes, one thread that reads and decompresses,
/// one that calls back, and one for each connection, which mostly waits; one more for each input that may keep its
/// reader waiting. No other work of the process waits for it.
///
/// The [crate's page](crate) has an example of [`load`](Self::load); see [`dry_run`](Self::dry_run) for a trial.
#[derive(Clone, Debug)]
pub struct Loader<E> {
    encoder: E,
    servers: Vec<Address>,
    known: Vec<Known>,
    options: Options,
    pool: Option<Arc<ThreadPool>>,
    stop: StopHandle,
    progress: ProgressHandle,
}

impl<E: Encode> Loader<E> {
    /// A loader; the place of an address in `servers` is the index that the encoder returns for it.
    pub fn new(encoder: E, servers: Vec<Address>, options: Options) -> Self {
        let mut known: Vec<Known> = Vec::with_capacity(servers.len());
        for index in 0..servers.len() {
            // What is known of a server is shared by all of its places, so that a restart is seen once.
            let first = known.get(first_place(&servers, index)).cloned();
            known.push(first.unwrap_or_default());
        }
        Self {
            encoder,
            servers,
            known,
            options,
            pool: None,
            stop: StopHandle::default(),
            progress: ProgressHandle::default(),
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
    /// restart since an earlier load of this loader is noticed in the same way.
    ///
    /// `on_event` is called in the order of the inputs, from a thread of its own; the load goes on
    /// meanwhile, as far as memory allows ([`Options::max_bytes_in_flight`]). When it has got the event of a finished
    /// input, that input and all before it are stored. ([`Event::ServerRestarted`] comes from the calling thread,
    /// between two attempts over the inputs.)
    ///
    /// # Errors
    ///
    /// [`LoadError`] with an [`Error`] when an input cannot be read, a server does not acknowledge
    /// anything for [`Options::retry_timeout`], `on_event` fails, or the load cannot start. The inputs that were
    /// finished by then are complete; of the others any part may be stored, and loading them again repairs it.
    ///
    /// # Panics
    ///
    /// With the panic of the encoder, or of `on_event`.
    pub fn load(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        let pool = self.prepare()?;
        let connections = self.options.connections as usize;
        let lanes = self.servers.len() * connections;
        // One thread for each connection, so that a server that hangs does not keep the pool from others.
        let threads = pool::start_threads(lanes)
            .map_err(|source| self.not_started(Error::Start { thread: "connecting", source }))?;
        let mut servers: Vec<Server> = self
            .servers
            .iter()
            .zip(&self.known)
            .map(|(address, known)| Server::new(address, known))
            .collect();
        self.run(&pool, inputs, on_event, |settings, backlog, on_event| {
            servers.iter_mut().for_each(|server| server.connect_anew(&self.options, &threads));
            let servers = &servers;
            let serve = (0..lanes).map(|lane| {
                move |lanes: &[Lane<'_>]| {
                    Sender::new(&servers[lane / connections], &lanes[lane], &self.options, &self.stop).run()
                }
            });
            let mut attempt = attempt::run(settings, backlog, on_event, (lanes, connections), serve);
            let mut reports: Vec<_> = self.servers.iter().map(ServerReport::of).collect();
            for (lane, report) in attempt.lanes.iter().enumerate() {
                reports[lane / connections].merge(report);
            }
            // Asked once, at the end of the last attempt: evictions count from the first connection.
            let retry_timeout = match &attempt.error {
                None => Some(self.options.retry_timeout),
                Some(Error::Restarted { .. } | Error::Start { .. }) => None,
                // A server that fails has held up the stop for as long as it may.
                Some(Error::Server { .. }) if self.stop.is_requested() => None,
                Some(_) => Some(Duration::ZERO),
            };
            if let Some(retry_timeout) = retry_timeout
                && let Err(error) = self.final_check(servers, retry_timeout, &mut reports)
            {
                attempt.error.get_or_insert(error);
            }
            attempt.report.servers = reports;
            attempt
        })
    }

    /// Asks all servers at once what became of them, one that has several places once.
    fn final_check(
        &self,
        servers: &[Server],
        retry_timeout: Duration,
        reports: &mut [ServerReport],
    ) -> Result<(), Error> {
        thread::scope(|scope| {
            for (index, (server, report)) in servers.iter().zip(&mut *reports).enumerate() {
                if first_place(&self.servers, index) == index {
                    attempt::start(scope, "final check", move || {
                        server.final_check(retry_timeout, &self.stop, report);
                    })?;
                }
            }
            Ok(())
        })?;
        for index in 0..reports.len() {
            let first = &reports[first_place(&self.servers, index)];
            let (gone, memory_limit_bytes) = (first.gone, first.memory_limit_bytes);
            // What was thrown away stays with the first place, or it would count twice.
            reports[index].gone = gone;
            reports[index].memory_limit_bytes = memory_limit_bytes;
        }
        Ok(())
    }

    /// Connects to every server and asks it what it is, all at once; one with several places in the list is asked once
    /// for each. Nothing is stored.
    ///
    /// ```no_run
    /// use memc_core::apps::AppsEncoder;
    /// use memc_core::{Loader, Options};
    ///
    /// let servers = vec!["127.0.0.1:33013".parse()?];
    /// let loader = Loader::new(AppsEncoder::new(["idfa"]), servers, Options::default());
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
            let check = |address| move || server::check(address, self.options.io_timeout);
            let checks: Result<Vec<_>, _> =
                self.servers.iter().map(|address| attempt::start(scope, "check", check(address))).collect();
            Ok(checks?.into_iter().map(attempt::join).collect())
        })
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
        let servers = self.servers.len();
        self.run(&pool, inputs, on_event, |settings, backlog, on_event| {
            let show = |lanes: &[Lane<'_>]| dry_run::show(lanes, &mut on_record);
            attempt::run(settings, backlog, on_event, (servers, 1), [show])
        })
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
        if self.servers.is_empty() {
            return Err(Error::InvalidOptions { option: "servers", problem: "there must be at least one" });
        }
        self.options.check()
    }

    /// The end of a load that could not start.
    fn not_started(&self, error: Error) -> LoadError {
        LoadError { error, report: Box::new(self.empty_report()) }
    }

    fn empty_report(&self) -> RunReport {
        RunReport { servers: self.servers.iter().map(ServerReport::of).collect(), ..RunReport::default() }
    }

    /// Makes attempts over the inputs: another one with those that are not finished, as long as servers restart.
    fn run<I: Iterator<Item = Input> + Send, F: FnMut(Event) -> EventResult + Send, T>(
        &self,
        pool: &ThreadPool,
        inputs: impl IntoIterator<Item = Input, IntoIter = I>,
        mut on_event: F,
        mut attempt: impl FnMut(&Settings<'_, E>, &mut Backlog<I>, &mut F) -> Attempt<T>,
    ) -> Result<RunReport, LoadError> {
        let started = Instant::now();
        let mut backlog = Backlog::new(inputs.into_iter());
        let mut report = self.empty_report();
        let (mut restarts, mut last_end) = (0, started);
        let error = loop {
            self.progress.set(report.bytes_in, report.counts.loaded);
            let settings = Settings {
                encoder: &self.encoder,
                options: &self.options,
                pool,
                stop: &self.stop,
                progress: &self.progress,
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

/// The first index of the server at `index`, which may serve several.
fn first_place(servers: &[Address], index: usize) -> usize {
    servers.iter().position(|address| *address == servers[index]).unwrap_or(index)
}
