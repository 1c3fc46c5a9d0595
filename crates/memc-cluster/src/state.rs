//! What all threads of one process share in an attempt: whether it goes on, and the desks that the lanes report to.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use memc_core::stages::{Account, Books, Tally};
use memc_core::{Error, Event};
use timely::scheduling::activate::SyncActivator;

/// The state of one attempt in one process.
pub(crate) struct State {
    aborted: AtomicBool,
    error: Mutex<Option<Error>>,
    /// The account of the load, in the first process.
    books: Option<Books>,
    on_event: Box<dyn Fn(Event) + Send + Sync>,
    /// Asked now and then: whether the attempt may not go on, for a reason from outside.
    check: Box<dyn Fn() -> Option<Error> + Send + Sync>,
}

impl fmt::Debug for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("State").field("aborted", &self.aborted).field("error", &self.error).finish()
    }
}

impl State {
    pub(crate) fn new(
        books: Option<Books>,
        on_event: impl Fn(Event) + Send + Sync + 'static,
        check: impl Fn() -> Option<Error> + Send + Sync + 'static,
    ) -> Self {
        Self {
            aborted: AtomicBool::new(false),
            error: Mutex::new(None),
            books,
            on_event: Box::new(on_event),
            check: Box::new(check),
        }
    }

    /// Ends the attempt in this process, for the first reason that is given; a restart must not go unnoticed.
    pub(crate) fn abort(&self, error: Error) {
        let mut first = lock(&self.error);
        if first.is_none() || matches!(error, Error::Restarted { .. }) {
            *first = Some(error);
        }
        self.aborted.store(true, Ordering::Relaxed);
    }

    /// Whether it has ended, also for a reason from outside. Lanes ask before each batch that they send.
    pub(crate) fn is_aborted(&self) -> bool {
        if self.aborted.load(Ordering::Relaxed) || self.books.as_ref().is_some_and(Account::is_aborted) {
            return true;
        }
        match (self.check)() {
            Some(error) => {
                self.abort(error);
                true
            }
            None => false,
        }
    }

    /// Why it was ended here, if it was.
    pub(crate) fn error(&self) -> MutexGuard<'_, Option<Error>> {
        lock(&self.error)
    }

    /// The same, taken.
    pub(crate) fn take_error(&self) -> Option<Error> {
        lock(&self.error).take()
    }

    pub(crate) fn emit(&self, event: Event) {
        (self.on_event)(event);
    }
}

/// Where the thread of a lane leaves its reports for the worker that owns the lane.
#[derive(Debug)]
pub(crate) struct Desk {
    state: std::sync::Arc<State>,
    reports: Mutex<Vec<Tally>>,
    /// Wakes the worker.
    activator: OnceLock<SyncActivator>,
}

impl Desk {
    pub(crate) fn new(state: &std::sync::Arc<State>) -> Self {
        Self { state: state.clone(), reports: Mutex::default(), activator: OnceLock::new() }
    }

    /// Has this activator called for each report.
    pub(crate) fn wake(&self, activator: SyncActivator) {
        // There is one worker.
        let _ = self.activator.set(activator);
    }

    /// The reports since the last call, in the order of the batches.
    pub(crate) fn take(&self) -> Vec<Tally> {
        std::mem::take(&mut *lock(&self.reports))
    }
}

impl Account for Desk {
    fn report(&self, _: u64, tally: Tally) {
        lock(&self.reports).push(tally);
        if let Some(activator) = self.activator.get() {
            // A worker that is gone needs no report.
            let _ = activator.activate();
        }
    }

    fn abort(&self, error: Error) {
        self.state.abort(error);
    }

    fn is_aborted(&self) -> bool {
        self.state.is_aborted()
    }

    fn emit(&self, event: Event) {
        self.state.emit(event);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that holds it panics half way through a change.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
