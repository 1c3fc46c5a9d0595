//! Puts the parts of a load together: readers, workers, connections, accounts.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

use rayon::iter::{ParallelBridge, ParallelIterator};
use scheduled_thread_pool::ScheduledThreadPool;

use crate::batch::{Batch, Stored};
use crate::chunks::Chunks;
use crate::ledger::{Ledger, Tally};
use crate::pool::{self, Pool};
use crate::recycle::Spares;
use crate::report::{Event, RunReport, ServerReport, Stopped};
use crate::sender::Sender;
use crate::turns::Turns;
use crate::worker::{Shared, Worker};
use crate::{Address, Encode, Error, Input};

/// How a load is done. The defaults are right for most.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Options {
    /// Connections to each server. A key always takes the same one. Default: 1, which keeps one thread of a
    /// memcached busy.
    pub connections: u32,
    /// How long to wait for a connection, and for a connected server to take or send anything. Default: 5 s.
    pub timeout: Duration,
    /// How long to go on trying a server that does not acknowledge anything. Default: 30 s.
    pub retry_for: Duration,
    /// Plain text is handed to the workers in chunks of about this many bytes. Default: 1 MiB; smaller ones
    /// cost more context switches, larger ones do not help any more.
    pub chunk_bytes: usize,
    /// How many bytes of plain text may be read ahead of the last acknowledgment, which bounds the memory.
    /// Default: 16 MiB.
    pub max_bytes_in_flight: usize,
    /// Lines longer than this are rejected and take no more memory than this. Default: 16 MiB.
    pub max_line_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            connections: 1,
            timeout: Duration::from_secs(5),
            retry_for: Duration::from_secs(30),
            chunk_bytes: 1024 * 1024,
            max_bytes_in_flight: 16 * 1024 * 1024,
            max_line_bytes: 16 * 1024 * 1024,
        }
    }
}

/// What a caller's handling of an [`Event`] returns; an error stops the load.
pub type EventResult = Result<(), Box<dyn std::error::Error + Send + Sync>>;

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

/// Asks a running load, from another thread or a signal handler, to come to an end soon.
///
/// No new chunk is begun, those in flight are finished, and the load returns [`Error::Requested`]. A server
/// that fails then is not tried again.
#[derive(Clone, Debug, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Asks for it; there is no way back.
    pub fn request(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it has been asked for.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// Loads inputs into servers: an [`Encode`] with the servers that its records go to.
///
/// The work is done on the rayon thread pool that the caller is in, or the global one, plus one thread for
/// each connection, which mostly waits.
///
/// ```no_run
/// use memc_core::{AppsEncoder, Event, Input, Loader, Options};
///
/// let servers = vec!["127.0.0.1:33013".parse()?, "127.0.0.1:33014".parse()?];
/// let loader = Loader::new(AppsEncoder::new(["idfa", "gaid"]), servers, Options::default());
/// let report = loader.load([Input::path("/data/20170929000000.tsv.gz")], |event| {
///     if let Event::FileFinished(file) = event {
///         println!("{}: {} records", file.name, file.counts.loaded);
///     }
///     Ok(())
/// })?;
/// println!("{} records in {:?}", report.counts.loaded, report.duration);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Loader<E> {
    encoder: E,
    servers: Vec<Address>,
    options: Options,
    stop: Stop,
}

impl<E: Encode> Loader<E> {
    /// A loader; the place of an address in `servers` is the index that the encoder returns for it.
    pub fn new(encoder: E, servers: Vec<Address>, options: Options) -> Self {
        Self { encoder, servers, options, stop: Stop::default() }
    }

    /// The handle that stops the loads of this loader.
    #[must_use]
    pub fn stop_handle(&self) -> Stop {
        self.stop.clone()
    }

    /// Loads the inputs, as if line by line in the given order: of two records with one key, the later one
    /// stays.
    ///
    /// `on_event` is called in the order of the inputs, from a thread of its own; the load goes on
    /// meanwhile. When it has been told of a finished file, that file and all before it are stored.
    ///
    /// # Errors
    ///
    /// [`Stopped`] with an [`Error`] when an input cannot be read, a server does not acknowledge
    /// anything for [`Options::retry_for`], or `on_event` fails. The files that were finished by then are
    /// complete; of the others any part may be stored, and loading them again mends it.
    pub fn load(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, Stopped> {
        let connections = self.options.connections.max(1) as usize;
        let lanes = self.servers.len() * connections;
        // One thread for each connection, so that a server that hangs does not keep the pool from others.
        let threads = Arc::new(ScheduledThreadPool::new(lanes.max(1)));
        let pools: Vec<Pool> =
            self.servers.iter().map(|address| pool::pool(address, &self.options, &threads)).collect();
        let serve = |lane: usize, queue: &Queue<'_>| {
            let server = lane / connections;
            let Queue { turns, ledger, spares } = *queue;
            let retry_for = self.options.retry_for;
            let address = self.servers[server].to_string();
            let report =
                Sender { address, pool: &pools[server], turns, ledger, spares, retry_for, stop: &self.stop }
                    .run();
            (server, report)
        };
        self.run(inputs, on_event, Some(connections), serve)
    }

    /// Does everything but storing: connects to nothing and shows each record in the order of the input.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load), but for the servers.
    pub fn dry_run(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_record: impl FnMut(DryRecord<'_>) + Send,
        on_event: impl FnMut(Event) -> EventResult + Send,
    ) -> Result<RunReport, Stopped> {
        // The one queue of a dry run is served once; the lock only tells the compiler so.
        let on_record = Mutex::new(on_record);
        self.run(inputs, on_event, None, |_, queue| {
            show(queue, &mut *on_record.lock().unwrap_or_else(PoisonError::into_inner));
            (0, ServerReport::default())
        })
    }

    /// Reads, encodes and accounts; `serve` is what takes the batches of one lane, on a thread of its own.
    fn run(
        &self,
        inputs: impl IntoIterator<Item = Input, IntoIter: Send>,
        on_event: impl FnMut(Event) -> EventResult + Send,
        connections: Option<usize>,
        serve: impl Fn(usize, &Queue<'_>) -> (usize, ServerReport) + Sync,
    ) -> Result<RunReport, Stopped> {
        let started = Instant::now();
        let options = &self.options;
        let lanes = connections.map_or(1, |connections| connections * self.servers.len());
        let turns: Vec<Turns> = (0..lanes).map(|lane| Turns::new(lane, lanes)).collect();
        let texts = Spares::new(2 * options.chunk_bytes);
        let batches = Spares::new(2 * options.chunk_bytes);
        let (events, received) = mpsc::channel();
        let ledger = Ledger::new(options.max_bytes_in_flight, lanes, events);
        let shared = Shared {
            ledger: &ledger,
            turns: &turns,
            texts: &texts,
            batches: &batches,
            servers: self.servers.len(),
            connections,
            max_line_bytes: options.max_line_bytes,
        };

        let servers = std::thread::scope(|scope| {
            let serving: Vec<_> = turns
                .iter()
                .enumerate()
                .map(|(lane, turns)| {
                    let queue = Queue { turns, ledger: &ledger, spares: &batches };
                    let serve = &serve;
                    scope.spawn(move || serve(lane, &queue))
                })
                .collect();
            scope.spawn(|| tell(received, on_event, &ledger));
            // Also when a worker panics, the threads must come to their end for the scope to be left.
            let _closing = OnDrop(|| ledger.close_events());
            {
                let _closing = OnDrop(|| turns.iter().for_each(Turns::close));
                Chunks::new(inputs.into_iter(), &ledger, &texts, options, &self.stop)
                    .par_bridge()
                    .for_each_init(|| Worker::new(&shared, self.encoder.clone()), Worker::work);
            }
            let mut servers: Vec<_> = self.servers.iter().map(ServerReport::of).collect();
            for lane in serving {
                match lane.join() {
                    Ok((server, report)) => servers[server].merge(&report),
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            servers
        });

        let (finished, unfinished, error) = ledger.into_outcome();
        let report = RunReport {
            files: finished.files,
            counts: finished.counts,
            bytes_in: finished.bytes_in,
            duration: started.elapsed(),
            unfinished,
            servers,
        };
        match error {
            None => Ok(report),
            Some(error) => Err(Stopped { error, report: Box::new(report) }),
        }
    }
}

/// What the thread of one lane works with.
struct Queue<'a> {
    turns: &'a Turns,
    ledger: &'a Ledger,
    spares: &'a Spares<Batch>,
}

/// Passes the events on to the caller until there are no more or the caller fails.
fn tell(events: mpsc::Receiver<Event>, mut on_event: impl FnMut(Event) -> EventResult, ledger: &Ledger) {
    for event in events {
        if let Err(source) = on_event(event) {
            ledger.stop(Error::Caller { source });
            break;
        }
    }
}

/// The dry run's end of a lane: every record is shown, then counts as acknowledged.
fn show(queue: &Queue<'_>, on_record: &mut impl FnMut(DryRecord<'_>)) {
    let mut number = 0;
    while let Some(batch) = queue.turns.take() {
        let mut tally = Tally::default();
        for Stored { server, key, value, .. } in batch.iter() {
            on_record(DryRecord { server, key, value });
            tally.counts.loaded += 1;
        }
        queue.ledger.report(number, tally);
        number += 1;
        queue.spares.give(batch);
    }
}

/// Runs its closure when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
