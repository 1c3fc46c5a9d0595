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
use crate::send::lane::Lane;
use crate::send::sender::Sender;
use crate::send::server::{Known, Server};
use crate::wire::batch::Stored;
use crate::{Address, Encode, Error, Input, Options, ProgressHandle, StopHandle};

/// So many times in a row a load begins a file anew because a server was restarted; then it gives up.
const MAX_RESTARTS: u32 = 5;

/// A record as a dry run shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DryRecord<'a> {
    /// The index of the server that would store it.
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
    pub(crate) servers: Vec<Address>,
    known: Vec<Known>,
    pub(crate) options: Options,
    pub(crate) stop: StopHandle,
    pub(crate) progress: ProgressHandle,
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
    /// again, tells [`Event::ServerRestarted`], and begins anew with the first file that is not finished. A
    /// restart since an earlier load of this loader is told in the same way.
    ///
    /// `on_event` is called in the order of the inputs, from a thread of its own; the load goes on
    /// meanwhile, so far as memory allows. It must not wait for work of the rayon pool that encodes. When it has been
    /// told of a finished file, that file and all before it are stored. ([`Event::ServerRestarted`] is told from
    /// the calling thread, between two ways through the inputs.)
    ///
    /// # Errors
    ///
    /// [`LoadError`] with an [`Error`] when an input cannot be read, a server does not acknowledge
    /// anything for [`Options::retry_timeout`], or `on_event` fails. The files that were finished by then are
    /// complete; of the others any part may be stored, and loading them again mends it.
    pub fn load(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, LoadError> {
        let connections = self.options.connections.max(1) as usize;
        let mut servers: Vec<Server> = self
            .servers
            .iter()
            .zip(&self.known)
            .map(|(address, known)| Server::new(address, known))
            .collect();
        // One thread for each connection, so that a server that hangs does not keep the pool from others.
        let threads = Arc::new(ScheduledThreadPool::new((servers.len() * connections).max(1)));
        self.run(inputs, on_event, |pass, backlog, on_event| {
            servers.iter_mut().for_each(|server| server.connect_anew(&self.options, &threads));
            let serve = |lane: Lane<'_>| {
                let server = lane.index / connections;
                let report = Sender::new(&servers[server], &lane, &self.options, &self.stop).run();
                (server, report)
            };
            pass.run(backlog, on_event, Some(connections), serve);
            // Asked once, at the end of the last pass: what was thrown away counts from the first connection.
            let retry_timeout = match &pass.error {
                None => self.options.retry_timeout,
                Some(Error::Restarted { .. }) => return,
                // A server that fails has held up the stop for as long as it may.
                Some(Error::Server { .. }) if self.stop.is_requested() => return,
                Some(_) => Duration::ZERO,
            };
            self.final_check(&servers, retry_timeout, &mut pass.report.servers);
        })
    }

    /// Asks all servers at once what became of them, one that has several places once.
    fn final_check(&self, servers: &[Server], retry_timeout: Duration, reports: &mut [ServerReport]) {
        std::thread::scope(|scope| {
            for (index, (server, report)) in servers.iter().zip(&mut *reports).enumerate() {
                if first_place(&self.servers, index) == index {
                    scope.spawn(move || server.final_check(retry_timeout, &self.stop, report));
                }
            }
        });
        for index in 0..reports.len() {
            let first = &reports[first_place(&self.servers, index)];
            let (gone, memory_limit_bytes) = (first.gone, first.memory_limit_bytes);
            // What was thrown away stays with the first place, or it would count twice.
            reports[index].gone = gone;
            reports[index].memory_limit_bytes = memory_limit_bytes;
        }
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
            servers: self.servers.iter().map(ServerReport::of).collect(),
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

/// The first index of the server at `index`, which may serve several.
fn first_place(servers: &[Address], index: usize) -> usize {
    servers.iter().position(|address| *address == servers[index]).unwrap_or(index)
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
