//! The dataflow: read and encode, exchange to the lanes' workers, write, exchange to the first worker, keep the books.
//!
//! The timestamp is the place of a chunk. Whoever holds a chunk holds its time: the worker that reads it until it is
//! encoded, the worker of a lane until it is acknowledged, the books until it is accounted. So the frontier at the end is
//! the oldest chunk that is not finished everywhere, and nothing else has to be tracked.

mod clerk;
mod read;
mod write;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use memc_core::Encode;
use memc_core::stages::{Books, Stages, Turns};
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::ahead::Ahead;
use crate::files::Files;
use crate::state::{Desk, State};

/// How long a worker sleeps before it looks whether the attempt still goes on.
const PARK: Duration = Duration::from_millis(20);

/// What the workers of one process share in an attempt.
pub(crate) struct Flow<E> {
    pub(crate) stages: Stages<E>,
    pub(crate) state: Arc<State>,
    /// The files of the attempt in their order; the first of them is number `first_file` of the load.
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) first_file: usize,
    pub(crate) files: Arc<dyn Files>,
    pub(crate) ahead: Ahead,
    /// For each lane its worker.
    pub(crate) owners: Vec<usize>,
    /// For each lane its turns and its desk, used where its worker is.
    pub(crate) lanes: Vec<(Turns, Desk)>,
    /// Taken by the first worker of all.
    pub(crate) books: Mutex<Option<Books>>,
}

impl<E: Encode + 'static> Flow<E> {
    /// Runs one worker until all is finished, or the attempt is aborted.
    pub(crate) fn work(self: &Arc<Self>, worker: &mut Worker) {
        let _stopping = StopOnPanic(&self.state);
        let (probe, reading) = self.build(worker);
        let mut seen = None;
        // The dataflow ends after the probe, when all workers know that all have finished.
        while worker.has_dataflows() && !self.state.is_aborted() {
            worker.step_or_park(Some(PARK));
            let oldest = probe.with_frontier(|frontier| frontier.first().copied());
            if oldest != seen {
                seen = oldest;
                reading.activate();
            }
        }
        worker.installed_dataflows().into_iter().for_each(|dataflow| worker.drop_dataflow(dataflow));
    }

    /// Builds the dataflow. Returns the probe at its end and what wakes the reading operator.
    fn build(self: &Arc<Self>, worker: &mut Worker) -> (Handle<u64>, Activator) {
        let is_first = worker.index() == 0;
        let books = if is_first { self.books.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
        worker.dataflow::<u64, _, _>(|scope| {
            let probe = Handle::new();
            let (loads, encoded, reading) = read::operator(scope, self, &probe);
            let acknowledged = write::operator(loads, self);
            let kept = clerk::operator(encoded.concat(acknowledged), self, books);
            kept.probe_with(&probe);
            (probe, reading)
        })
    }
}

/// The others must not wait for a worker that has panicked.
struct StopOnPanic<'a>(&'a State);

impl Drop for StopOnPanic<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.abort(memc_core::Error::Cancelled);
        }
    }
}
