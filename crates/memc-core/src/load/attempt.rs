//! One attempt over the inputs: starts the threads, puts reader, workers, lanes and accounts together, and ends them.

use std::sync::Arc;
use std::sync::mpsc;
use std::thread::{self, Scope, ScopedJoinHandle};
use std::time::Instant;

use rayon::ThreadPool;
use rayon::iter::{ParallelBridge, ParallelIterator};

use crate::encode::expiry::Expiry;
use crate::encode::worker::{Encoded, Shared, Worker};
use crate::order::account::Account;
use crate::order::budget::{Budget, CHUNK_BYTES};
use crate::order::events::Events;
use crate::order::ledger::{Ledger, Outcome};
use crate::order::reorder::ReorderQueue;
use crate::read::backlog::Backlog;
use crate::read::chunk::Chunk;
use crate::read::reader::{Chunks, Surroundings};
use crate::report::RunReport;
use crate::report::event::{Event, EventResult};
use crate::route::Routes;
use crate::send::lane::Lane;
use crate::{Encode, Error, Input, Options, ProgressHandle, StopHandle};

/// What an attempt works with.
#[derive(Debug)]
pub(crate) struct Settings<'a, E> {
    pub(crate) encoder: &'a E,
    pub(crate) options: &'a Options,
    pub(crate) stop: &'a StopHandle,
    pub(crate) progress: &'a ProgressHandle,
    pub(crate) expiry: Expiry,
    /// The index of the first input, and since when its time counts.
    pub(crate) first_input: (usize, Instant),
}

/// The end of an attempt.
#[derive(Debug)]
pub(crate) struct Attempt<T> {
    /// Without the servers' reports, and without a duration.
    pub(crate) report: RunReport,
    pub(crate) error: Option<Error>,
    /// When the last input was finished.
    pub(crate) last_end: Instant,
    /// What each lane thread has returned; nothing if one of the threads did not start.
    pub(crate) lanes: Vec<T>,
}

/// Reads, encodes and accounts. The routes say which lanes there are; each of `serve` takes the batches of some of them,
/// on a thread of its own. A batch waits for further ones of its lane until they have `gather_bytes` together, a short
/// time at most.
pub(crate) fn run<E, I, T, F>(
    settings: &Settings<'_, E>,
    pool: &ThreadPool,
    backlog: &mut Backlog<I>,
    on_event: &mut (impl FnMut(Event) -> EventResult + Send),
    routes: &Routes,
    gather_bytes: usize,
    serve: impl IntoIterator<Item = F>,
) -> Attempt<T>
where
    E: Encode,
    I: Iterator<Item = Input> + Send,
    T: Send,
    F: FnOnce(&[Lane<'_>]) -> T + Send,
{
    let Settings { encoder, options, stop, progress, expiry, first_input } = *settings;
    let lanes = routes.lanes();
    let queues: Vec<ReorderQueue> = (0..lanes).map(|_| ReorderQueue::gathering(gather_bytes)).collect();
    let shared = Arc::new(Shared::new(options, routes, expiry));
    let budget = Budget::new(options.max_bytes_in_flight);
    let events = Arc::new(Events::new(&budget));
    let ledger = Ledger::new(lanes, first_input, &budget, &events, progress);
    let lanes: Vec<Lane<'_>> =
        (queues.iter()).map(|turns| Lane { turns, ledger: &ledger, spares: &shared.batches }).collect();
    let reading = Surroundings {
        ledger: &ledger,
        budget: &budget,
        events: &events,
        queues: &queues,
        texts: &shared.texts,
        batches: &shared.batches,
        options,
        stop,
    };

    let result = thread::scope(|scope| {
        // Also when a thread does not start, or panics, the others must come to their end for the scope to be left.
        let closing = OnDrop(|| {
            queues.iter().for_each(ReorderQueue::close);
            events.close();
        });
        let delivering = start(scope, "event", || deliver(&events, on_event, &ledger))?;
        let (mut serving, lanes, ledger) = (Vec::new(), &lanes, &ledger);
        for serve in serve {
            serving.push(start(scope, "server connection", move || {
                let _stopping = OnDrop(|| stop_if_panicking(ledger));
                serve(lanes)
            })?);
        }
        // The reader has a thread of its own, since decompressing is most of the work and can be done by one only:
        // it goes on while the workers wait for a core. The budget bounds how far it gets ahead of them.
        let (hand_on, chunks) = mpsc::channel();
        let mut reading = Chunks::new(backlog, reading);
        let reader = start(scope, "reader", move || {
            let _stopping = OnDrop(|| stop_if_panicking(ledger));
            reading.all(|chunk| hand_on.send(chunk).is_ok())
        })?;
        {
            let _closing = OnDrop(|| {
                queues.iter().for_each(ReorderQueue::close);
                stop_if_panicking(ledger);
            });
            let workers = || Worker::new(&shared, encoder.clone());
            let work = |worker: &mut Worker<E>, chunk| work(worker, chunk, &queues, ledger);
            pool.install(|| chunks.into_iter().par_bridge().for_each_init(workers, work));
        }
        join(reader);
        let lanes: Vec<T> = serving.into_iter().map(join).collect();
        drop(closing);
        Ok((join(delivering), lanes))
    });

    let Outcome { unfinished, error, last_end } = ledger.outcome();
    match result {
        Ok((report, lanes)) => {
            let report = RunReport { unfinished: report.unfinished.or(unfinished), ..report };
            Attempt { report, error, last_end, lanes }
        }
        Err(error) => {
            Attempt { report: RunReport::default(), error: Some(error), last_end, lanes: Vec::new() }
        }
    }
}

/// Encodes the lines of a chunk and leaves the batches to the lanes.
fn work<E: Encode>(worker: &mut Worker<E>, chunk: Chunk, queues: &[ReorderQueue], ledger: &Ledger) {
    let Chunk { number, piece, text, mut share, ends_input, .. } = chunk;
    match worker.encode(piece, text, ends_input) {
        Ok(Encoded { batches, tally, bytes }) => {
            share.set((CHUNK_BYTES + bytes).into());
            queues.iter().zip(batches).for_each(|(queue, batch)| queue.submit(number, batch));
            ledger.report_encoded(number, tally, share);
        }
        Err(error) => ledger.abort(error),
    }
}

/// Starts a thread of the scope.
pub(crate) fn start<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    thread: &'static str,
    run: impl FnOnce() -> T + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, T>, Error> {
    thread::Builder::new().spawn_scoped(scope, run).map_err(|source| Error::Start { thread, source })
}

/// What a thread returns; its panic is passed on.
pub(crate) fn join<T>(thread: ScopedJoinHandle<'_, T>) -> T {
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Hands the events on to the caller until there are no more or the caller fails; returns the report of the inputs that
/// the caller knows to be finished.
pub(crate) fn deliver(
    events: &Events,
    on_event: &mut impl FnMut(Event) -> EventResult,
    ledger: &Ledger,
) -> RunReport {
    let _stopping = OnDrop(|| stop_if_panicking(ledger));
    let mut report = RunReport::default();
    // The share of an event is given back when the caller is done with it.
    while let Some((event, _share)) = events.next() {
        let finished = if let Event::InputFinished(input) = &event { Some(input.clone()) } else { None };
        match (on_event(event), finished) {
            (Ok(()), None) => {}
            (Ok(()), Some(input)) => {
                report.add(&input);
                events.confirm_input();
            }
            (Err(source), finished) => {
                report.unfinished = finished;
                events.discard();
                ledger.abort(Error::Caller { source });
            }
        }
    }
    report
}

/// What a thread was working on when it panicked is never finished: the others must not wait for it.
pub(crate) fn stop_if_panicking(ledger: &Ledger) {
    if thread::panicking() {
        ledger.abort(Error::Cancelled);
    }
}

/// Runs its closure when it is dropped.
pub(crate) struct OnDrop<F: Fn()>(pub(crate) F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
