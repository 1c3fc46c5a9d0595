//! The stages of a load one by one, for a loader that arranges them in its own way.
//!
//! [`Loader::load`] runs them in one process, one input after the other. memc-cluster stands on this module instead: it
//! reads several inputs at once, on many threads or machines, and still leaves what `load` leaves.
//!
//! | stage | see |
//! | --- | --- |
//! | an input to numbered chunks of lines | [`Stages::read`] |
//! | a chunk to one batch a lane | [`Encoder::encode`] |
//! | batches in their order to a server, until each is acknowledged | [`Turns`], [`Stages::serve`] |
//! | what is finished, and the report | [`Stages::attempts`], [`Books`] |
//!
//! A lane is one connection to a server. A record belongs to the lane of its key, so records of one key are in order
//! where the batches of each lane are.

use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::encode::expiry::Expiry;
use crate::encode::worker::{self, Shared, Worker};
use crate::load::attempt::{Attempt, OnDrop, deliver, join, start};
use crate::load::{DryRecord, Loader, dry_run, gather_bytes};
pub use crate::order::account::Account;
use crate::order::budget::{Budget, CHUNK_BYTES};
use crate::order::events::Events;
use crate::order::ledger::{Ledger, Outcome};
pub use crate::order::reorder::ReorderQueue as Turns;
pub use crate::order::tally::Tally;
use crate::read::backlog::Backlog;
pub use crate::read::chunk::Chunk;
use crate::read::reader::{Chunks, Surroundings};
use crate::send::lane::Lane;
use crate::send::pool;
use crate::send::sender::Sender;
use crate::send::server::Server;
pub use crate::wire::batch::Batch;
use crate::{
    Encode, Error, Event, EventResult, Input, LoadError, Options, ProgressHandle, RunReport, ServerReport,
};

/// How many chunks of an input may have been read and not encoded.
const CHUNKS_AHEAD: usize = 3;

/// The stages of one loader. Clones share their buffers.
#[derive(Clone, Debug)]
pub struct Stages<E> {
    loader: Loader<E>,
    shared: Arc<Shared>,
    is_dry: bool,
}

/// One thread's encoder and buffers.
#[derive(Debug)]
pub struct Encoder<E>(Worker<E>);

/// What becomes of a chunk.
#[derive(Debug)]
pub struct Encoded {
    /// Its place in its input, from 0.
    pub number: u64,
    /// Whether it is the last one of its input; it has no lines then.
    pub ends_input: bool,
    /// Bytes read from its input by its end, compressed if it is gzip.
    pub bytes_in: u64,
    /// One for each lane, some of them empty. Each has to be submitted, so that the lane knows where the input ends.
    pub batches: Vec<Batch>,
    /// What is known of its lines.
    pub tally: Tally,
    /// The bytes that batches and tally take.
    pub bytes: usize,
}

/// A lane that is served here.
#[derive(Clone, Copy, Debug)]
pub struct LocalLane<'a> {
    /// Its number.
    pub lane: usize,
    /// Its batches; they are numbered from 0.
    pub turns: &'a Turns,
    /// Takes its reports, in the order of the batches.
    pub account: &'a dyn Account,
}

/// How the lanes' work has ended, which says what the servers are asked then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// All is acknowledged: each server has to answer that it still is the process that it was.
    Done,
    /// Another attempt follows: they are not asked.
    StartsAgain,
    /// The load stops: they are asked once.
    Stopped,
}

/// How an attempt over the inputs has ended.
#[derive(Debug, Default)]
pub struct Ended {
    /// What stopped it.
    pub error: Option<Error>,
    /// The reports on the servers, in any order.
    pub servers: Vec<ServerReport>,
}

impl<E: Encode> Stages<E> {
    /// The stages of a load of this loader that started at `started`, from where the times of expiry count, or of a dry
    /// run: that has one lane for each group of servers.
    ///
    /// # Errors
    ///
    /// If the loader's options are invalid; nothing is done then.
    pub fn new(loader: &Loader<E>, is_dry: bool, started: SystemTime) -> Result<Self, LoadError> {
        loader.check_options().map_err(|error| loader.not_started(error))?;
        let routes = if is_dry { loader.routes.by_group() } else { loader.routes.clone() };
        let shared =
            Arc::new(Shared::new(&loader.options, &routes, Expiry::new(started, loader.options.ttl)));
        Ok(Self { loader: loader.clone(), shared, is_dry })
    }

    /// The options of the loader.
    #[must_use]
    pub fn options(&self) -> &Options {
        &self.loader.options
    }

    /// How far the loader is, and how its servers are doing.
    #[must_use]
    pub fn progress_handle(&self) -> ProgressHandle {
        self.loader.progress_handle()
    }

    /// Whether these are the stages of a dry run.
    #[must_use]
    pub fn is_dry(&self) -> bool {
        self.is_dry
    }

    /// How many lanes there are.
    #[must_use]
    pub fn lanes(&self) -> usize {
        self.shared.routes.lanes()
    }

    /// The server of a lane, and which of its connections it is, both from 0.
    #[must_use]
    pub fn of_lane(&self, lane: usize) -> (usize, usize) {
        self.shared.routes.of_lane(lane)
    }

    /// The turns of a lane. Where there are many lanes, batches wait a short time for others to be sent with.
    #[must_use]
    pub fn turns(&self) -> Turns {
        let lanes = if self.is_dry { 0 } else { self.lanes() };
        Turns::gathering(gather_bytes(lanes, &self.loader.options))
    }

    /// An encoder for one thread.
    #[must_use]
    pub fn encoder(&self) -> Encoder<E> {
        Encoder(Worker::new(&self.shared, self.loader.encoder.clone()))
    }

    /// Reads an input to its end, in chunks numbered from 0, a few ahead of those that are encoded; `on_chunk` returns
    /// false when it wants no more.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the input cannot be read to its end, [`Error::Cancelled`] if a stop is asked for.
    pub fn read(&self, input: Input, mut on_chunk: impl FnMut(Chunk) -> bool) -> Result<(), Error> {
        let mut options = self.loader.options.clone();
        options.max_bytes_in_flight = CHUNKS_AHEAD * 2 * options.chunk_bytes;
        let budget = Budget::new(options.max_bytes_in_flight);
        let events = Arc::new(Events::new(&budget));
        // Who keeps the books emits what there is to say of the input.
        events.discard();
        let ledger = Ledger::new(0, (0, Instant::now()), &budget, &events, &ProgressHandle::default());
        let mut backlog = Backlog::new(std::iter::once(input));
        let with = Surroundings {
            ledger: &ledger,
            budget: &budget,
            events: &events,
            queues: &[],
            texts: &self.shared.texts,
            batches: &self.shared.batches,
            options: &options,
            stop: &self.loader.stop,
        };
        for chunk in Chunks::new(&mut backlog, with) {
            let ends_input = chunk.ends_input;
            if !on_chunk(chunk) || ends_input {
                return Ok(());
            }
        }
        Err(ledger.outcome().error.unwrap_or(Error::Cancelled))
    }

    /// Serves these lanes until all of their turns are closed, then asks their servers whether they still are the
    /// processes that they were. Returns the servers' reports.
    ///
    /// # Errors
    ///
    /// If a thread does not start; the turns are closed then.
    ///
    /// # Panics
    ///
    /// A panic of one of its threads is passed on.
    pub fn serve(
        &self,
        lanes: &[LocalLane<'_>],
        end: impl FnOnce() -> End,
        emit: &(dyn Fn(Event) + Sync),
    ) -> Result<Vec<ServerReport>, Error> {
        let Loader { known, options, stop, .. } = &self.loader;
        let closing = OnDrop(|| lanes.iter().for_each(|lane| lane.turns.close()));
        let threads = pool::start_threads(lanes.len().max(1))
            .map_err(|source| Error::Start { thread: "connecting", source })?;
        let mut owned: Vec<usize> = lanes.iter().map(|it| self.of_lane(it.lane).0).collect();
        owned.sort_unstable();
        owned.dedup();
        let addresses = owned.iter().map(|&server| &self.shared.routes.servers()[server]);
        let mut reports: Vec<_> = addresses.clone().map(ServerReport::of).collect();
        let mut servers: Vec<_> = addresses
            .zip(&owned)
            .map(|(address, &at)| {
                let counters = self.loader.progress.of_server(at);
                Server::new(address, &known[at], counters, options, stop)
            })
            .collect();
        servers.iter_mut().for_each(|server| server.start_attempt(options, &threads));

        let served: Result<Vec<(usize, ServerReport)>, Error> = thread::scope(|scope| {
            let mut serving = Vec::new();
            for &LocalLane { lane, turns, account } in lanes {
                let (server, connection) = self.of_lane(lane);
                let at = owned.partition_point(|&it| it < server);
                let (server, spares) = (&servers[at], &self.shared.batches);
                let serve = move || {
                    let lane = Lane { turns, ledger: account, spares };
                    (at, Sender::new(server, connection, &lane, options, stop).run())
                };
                match start(scope, "server connection", serve) {
                    Ok(thread) => serving.push(thread),
                    Err(error) => {
                        account.abort(error);
                        lanes.iter().for_each(|lane| lane.turns.close());
                        break;
                    }
                }
            }
            Ok(serving.into_iter().map(join).collect())
        });
        drop(closing);
        for (at, report) in served? {
            reports[at].merge(&report);
        }
        let end = end();
        let retry_timeout = match end {
            End::Done => options.retry_timeout,
            End::StartsAgain => return Ok(reports),
            End::Stopped => Duration::ZERO,
        };
        let on_event = &mut |event| {
            emit(event);
            Ok(())
        };
        self.loader.final_check(&servers, retry_timeout, on_event, &mut reports)?;
        if end == End::Done {
            owned.iter().for_each(|&server| known[server].end_load());
        }
        Ok(reports)
    }

    /// Shows every record of the lanes of a dry run, which are all of them, until their turns are closed. Returns what
    /// servers would have been sent.
    #[must_use]
    pub fn show(
        &self,
        lanes: &[LocalLane<'_>],
        mut on_record: impl FnMut(DryRecord<'_>),
    ) -> Vec<ServerReport> {
        let spares = &self.shared.batches;
        let lanes: Vec<_> =
            lanes.iter().map(|it| Lane { turns: it.turns, ledger: it.account, spares }).collect();
        let records = dry_run::show(&lanes, &self.loader.routes, &mut on_record);
        self.loader.dry_servers(&records)
    }

    /// Keeps the books of a load: makes attempts over its inputs, another one with those that are not finished as long
    /// as servers restart, and hands events on to the caller.
    ///
    /// # Errors
    ///
    /// What stopped an attempt, as [`Loader::load`] has it.
    ///
    /// # Panics
    ///
    /// A panic of `attempt` or `on_event` is passed on.
    pub fn attempts(
        &self,
        on_event: impl FnMut(Event) -> EventResult + Send,
        mut attempt: impl FnMut(&Books) -> Ended,
    ) -> Result<RunReport, LoadError> {
        self.loader.run(std::iter::empty(), on_event, |settings, _, on_event| {
            let budget = Budget::new(settings.options.max_bytes_in_flight);
            let events = Arc::new(Events::new(&budget));
            let (lanes, first) = (self.lanes(), settings.first_input);
            let ledger = Arc::new(Ledger::new(lanes, first, &budget, &events, settings.progress));
            let books = Books { ledger, budget, first_input: first.0 };
            let result = thread::scope(|scope| {
                let closing = OnDrop(|| events.close());
                let delivering = start(scope, "event", || deliver(&events, on_event, &books.ledger))?;
                let ended = attempt(&books);
                drop(closing);
                Ok((join(delivering), ended))
            });
            let (report, Ended { error, servers }) = match result {
                Ok(ended) => ended,
                Err(error) => (RunReport::default(), Ended { error: Some(error), servers: Vec::new() }),
            };
            if let Some(error) = error {
                books.abort(error);
            }
            let Outcome { unfinished, error, last_end } = books.ledger.outcome();
            let mut all = self.loader.empty_report().servers;
            for server in servers {
                all.iter_mut().filter(|it| it.address == server.address).for_each(|it| it.merge(&server));
            }
            let unfinished = report.unfinished.or(unfinished);
            let report = RunReport { unfinished, servers: all, ..report };
            Attempt::<()> { report, error, last_end, lanes: Vec::new() }
        })
    }
}

impl<E: Encode> Encoder<E> {
    /// Encodes the lines of a chunk.
    ///
    /// # Errors
    ///
    /// If the encoder returns an index that does not exist.
    pub fn encode(&mut self, chunk: Chunk) -> Result<Encoded, Error> {
        let Chunk { number, piece, text, share: _share, ends_input, bytes_in } = chunk;
        let worker::Encoded { batches, tally, bytes } = self.0.encode(piece, text, ends_input)?;
        Ok(Encoded { number, ends_input, bytes_in, batches, tally, bytes: bytes + CHUNK_BYTES })
    }
}

/// The account of an attempt: knows which inputs are finished and emits events. Clones are of the same one.
#[derive(Clone, Debug)]
pub struct Books {
    ledger: Arc<Ledger>,
    budget: Arc<Budget>,
    first_input: usize,
}

impl Books {
    /// The index of the first input of the attempt.
    #[must_use]
    pub fn first_input(&self) -> usize {
        self.first_input
    }

    /// The next input begins; all chunks of the one before have been added.
    pub fn open_input(&self, name: String) {
        self.ledger.open_input(name);
    }

    /// Adds the next chunk of the input that was opened last, and returns its number for the reports, which counts
    /// through all inputs. With its end, `bytes_in` bytes of its input are read.
    #[must_use]
    pub fn add_chunk(&self, bytes_in: u64, ends_input: bool) -> u64 {
        self.ledger.add_chunk(bytes_in, ends_input)
    }

    /// Takes the encoder's report on a chunk. The lanes' reports on it go to [`Account::report`].
    pub fn report_encoded(&self, number: u64, tally: Tally) {
        let share = self.budget.take(CHUNK_BYTES + tally.kept_bytes());
        self.ledger.report_encoded(number, tally, share);
    }

    /// Bytes of reports and events that are kept until chunks are finished and the caller has handled events.
    #[must_use]
    pub fn bytes_kept(&self) -> usize {
        self.budget.used().total()
    }
}

impl Account for Books {
    fn report(&self, number: u64, tally: Tally) {
        self.ledger.report(number, tally);
    }

    fn abort(&self, error: Error) {
        self.ledger.abort(error);
    }

    fn is_aborted(&self) -> bool {
        self.ledger.is_aborted()
    }

    fn emit(&self, event: Event) {
        self.ledger.emit(event);
    }
}
