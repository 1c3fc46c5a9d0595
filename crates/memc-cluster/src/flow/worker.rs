//! One worker: builds its part of the dataflow and runs it.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use memc_core::Encode;
use timely::dataflow::operators::Concat;
use timely::dataflow::operators::probe::{Handle, Probe};
use timely::scheduling::Activator;
use timely::worker::Worker;

use crate::flow::shared::Flow;
use crate::flow::{clerk, read, write};
use crate::state::State;

/// How long a worker sleeps before it looks whether the attempt still goes on.
const PARK: Duration = Duration::from_millis(20);

/// Runs a worker until all is finished, or the attempt is aborted.
pub(crate) fn work<E: Encode + 'static>(flow: &Arc<Flow<E>>, worker: &mut Worker) {
    let _stopping = StopOnPanic(&flow.state);
    let (probe, reading) = build(flow, worker);
    let mut seen = None;
    // The dataflow ends after the probe, when all workers know that all have finished.
    while worker.has_dataflows() && !flow.state.is_aborted() {
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
fn build<E: Encode + 'static>(flow: &Arc<Flow<E>>, worker: &mut Worker) -> (Handle<u64>, Activator) {
    let is_first = worker.index() == 0;
    let books =
        if is_first { flow.books.lock().unwrap_or_else(PoisonError::into_inner).take() } else { None };
    worker.dataflow::<u64, _, _>(|scope| {
        let probe = Handle::new();
        let read::Reading { loads, notes, activator } = read::operator(scope, flow, &probe);
        let acknowledged = write::operator(loads, flow);
        let kept = clerk::operator(notes.concat(acknowledged), flow, books);
        kept.probe_with(&probe);
        (probe, activator)
    })
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
