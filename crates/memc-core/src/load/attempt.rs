//! One way through the inputs: puts readers, workers, connections and accounts together.

use std::sync::mpsc;

use rayon::iter::{ParallelBridge, ParallelIterator};

use crate::buffers::BufferPool;
use crate::encode::worker::{Shared, Worker};
use crate::load::Loader;
use crate::order::ledger::Ledger;
use crate::order::reorder::ReorderQueue;
use crate::read::backlog::Backlog;
use crate::read::reader::Chunks;
use crate::report::event::{Event, EventResult};
use crate::report::{RunReport, ServerReport};
use crate::send::lane::Lane;
use crate::{Encode, Error, Input};

/// Events that may wait for the caller before the load waits for it.
const MAX_WAITING_EVENTS: usize = 8;

/// What a pass works with, and what came of it.
#[derive(Debug)]
pub(crate) struct Pass<'a, E> {
    loader: &'a Loader<E>,
    /// How many inputs were finished before.
    first_index: usize,
    pub(crate) report: RunReport,
    pub(crate) error: Option<Error>,
}

impl<'a, E: Encode> Pass<'a, E> {
    pub(crate) fn new(loader: &'a Loader<E>, first_index: usize) -> Self {
        Self { loader, first_index, report: RunReport::default(), error: None }
    }

    /// Reads, encodes and accounts; `serve` takes the batches of one lane, on a thread of its own, and
    /// returns the server's index with its report.
    pub(crate) fn run<I: Iterator<Item = Input> + Send>(
        &mut self,
        backlog: &mut Backlog<I>,
        on_event: &mut (impl FnMut(Event) -> EventResult + Send),
        connections: Option<usize>,
        serve: impl Fn(Lane<'_>) -> (usize, ServerReport) + Sync,
    ) {
        let Loader { encoder, servers, options, stop, progress, .. } = self.loader;
        let lanes = connections.map_or(1, |connections| connections * servers.len());
        let turns: Vec<ReorderQueue> = (0..lanes).map(|_| ReorderQueue::default()).collect();
        let texts = BufferPool::new(options.chunk_bytes.saturating_mul(2));
        let batches = BufferPool::new(options.chunk_bytes.saturating_mul(2));
        let (events, received) = mpsc::sync_channel(MAX_WAITING_EVENTS);
        let ledger = Ledger::new(options, lanes, self.first_index, events, progress.clone());
        let shared = Shared {
            ledger: &ledger,
            turns: &turns,
            texts: &texts,
            batches: &batches,
            servers: servers.len(),
            connections,
            max_line_bytes: options.max_line_bytes,
            report_rejected: options.report_rejected,
        };

        let report = std::thread::scope(|scope| {
            let serving: Vec<_> = turns
                .iter()
                .enumerate()
                .map(|(index, turns)| {
                    let lane = Lane { index, turns, ledger: &ledger, spares: &batches };
                    let serve = &serve;
                    scope.spawn(move || {
                        let _stopping = OnDrop(|| stop_if_panicking(lane.ledger));
                        serve(lane)
                    })
                })
                .collect();
            let telling = scope.spawn(|| tell(received, on_event, &ledger));
            // Also when a worker panics, the threads must come to their end for the scope to be left.
            let closing = OnDrop(|| ledger.close_events());
            // The reader has a thread of its own, since inflating is most of the work and can be done by one only:
            // it goes on while the workers wait for a core. The ledger bounds how far it gets ahead of them.
            let (hand_on, chunks) = mpsc::channel();
            let mut reading = Chunks::new(backlog, &ledger, &texts, options, stop);
            let reader = scope.spawn(move || reading.all(|chunk| hand_on.send(chunk).is_ok()));
            {
                let _closing = OnDrop(|| {
                    turns.iter().for_each(ReorderQueue::close);
                    stop_if_panicking(&ledger);
                });
                let workers = || Worker::new(&shared, encoder.clone());
                chunks.into_iter().par_bridge().for_each_init(workers, Worker::work);
            }
            if let Err(panic) = reader.join() {
                std::panic::resume_unwind(panic);
            }
            let mut servers: Vec<_> = servers.iter().map(ServerReport::of).collect();
            for lane in serving {
                match lane.join() {
                    // In a dry run there may be no server.
                    Ok((server, report)) => {
                        if let Some(server) = servers.get_mut(server) {
                            server.merge(&report);
                        }
                    }
                    Err(panic) => std::panic::resume_unwind(panic),
                }
            }
            drop(closing);
            match telling.join() {
                Ok(report) => RunReport { servers, ..report },
                Err(panic) => std::panic::resume_unwind(panic),
            }
        });

        let (unfinished, error) = ledger.into_outcome();
        self.report = RunReport { unfinished: report.unfinished.or(unfinished), ..report };
        self.error = error;
    }
}

/// Passes the events on to the caller until there are no more or the caller fails; returns what it took note of.
fn tell(
    events: mpsc::Receiver<Event>,
    on_event: &mut impl FnMut(Event) -> EventResult,
    ledger: &Ledger,
) -> RunReport {
    let _stopping = OnDrop(|| stop_if_panicking(ledger));
    // The channel is gone before the ledger is asked, which may be waiting for room in it.
    let mut report = RunReport::default();
    let result = events.into_iter().try_for_each(|event| {
        let Event::InputFinished(file) = &event else { return on_event(event) };
        let file = file.clone();
        if let Err(error) = on_event(event) {
            report.unfinished = Some(file);
            return Err(error);
        }
        report.add(&file);
        ledger.confirm_input();
        Ok(())
    });
    if let Err(source) = result {
        ledger.abort(Error::Caller { source });
    }
    report
}

/// What a thread had in hand when it panicked is never finished: the others must not wait for it.
fn stop_if_panicking(ledger: &Ledger) {
    if std::thread::panicking() {
        ledger.abort(Error::Cancelled);
    }
}

/// Runs its closure when it is dropped.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}
