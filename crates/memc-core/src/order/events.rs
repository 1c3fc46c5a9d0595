//! The queue of events, between the threads that emit them and the one that hands them to the caller.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use crate::order::budget::{Budget, Share};
use crate::report::event::Event;

/// Events in the order in which they were emitted. Emitting never blocks: what waits for the caller takes its share
/// of the memory budget, which holds the reader back.
#[derive(Debug)]
pub(crate) struct Events {
    state: Mutex<State>,
    ready: Condvar,
    budget: Arc<Budget>,
    /// How many inputs are finished and the caller knows.
    confirmed: AtomicUsize,
}

#[derive(Debug, Default)]
struct State {
    waiting: VecDeque<(Event, Share)>,
    closed: bool,
}

impl Events {
    pub(crate) fn new(budget: &Arc<Budget>) -> Self {
        Self {
            state: Mutex::default(),
            ready: Condvar::new(),
            budget: Arc::clone(budget),
            confirmed: AtomicUsize::new(0),
        }
    }

    /// Leaves an event for the caller.
    pub(crate) fn emit(&self, event: Event) {
        let share = self.budget.take(event.bytes());
        let mut state = self.lock();
        if !state.closed {
            state.waiting.push_back((event, share));
            self.ready.notify_one();
        }
    }

    /// Waits for the next event; `None` when there will be none. Its share goes with it until the caller is done.
    pub(crate) fn next(&self) -> Option<(Event, Share)> {
        let mut state = self.lock();
        loop {
            let next = state.waiting.pop_front();
            if next.is_some() || state.closed {
                return next;
            }
            state = self.ready.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more events will be emitted; those that wait are still to be handed on.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.ready.notify_all();
    }

    /// The caller takes no more events: none is kept from now on.
    pub(crate) fn discard(&self) {
        let mut state = self.lock();
        state.closed = true;
        state.waiting.clear();
    }

    /// Notes that the caller knows of one more finished input.
    pub(crate) fn confirm_input(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many finished inputs the caller knows of.
    pub(crate) fn inputs_confirmed(&self) -> usize {
        self.confirmed.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here can panic half way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(index: usize) -> Event {
        Event::InputStarted { index, name: "name".to_owned() }
    }

    #[test]
    fn events_come_in_order_and_take_memory_until_they_are_handled() {
        let budget = Budget::new(1 << 20);
        let events = Events::new(&budget);
        (0..2).for_each(|index| events.emit(event(index)));
        let both = budget.used().total();
        assert!(both > 2 * size_of::<Event>(), "{both}");
        let first = events.next();
        assert_eq!(first.as_ref().map(|(it, _)| it), Some(&event(0)));
        assert_eq!(budget.used().total(), both, "it is not handled yet");
        drop(first);
        assert_eq!(budget.used().total(), both / 2);
        events.close();
        assert_eq!(events.next().map(|(it, _)| it), Some(event(1)));
        assert!(events.next().is_none());
        events.emit(event(2));
        assert!(events.next().is_none() && budget.used().total() == 0);
    }

    #[test]
    fn a_caller_that_has_failed_gets_nothing_more() {
        let budget = Budget::new(1 << 20);
        let events = Events::new(&budget);
        events.emit(event(0));
        events.discard();
        assert!(events.next().is_none() && budget.used().total() == 0);
    }
}
