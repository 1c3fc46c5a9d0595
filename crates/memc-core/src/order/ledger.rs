//! Keeps account of chunks and inputs: what is acknowledged and what is finished, in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::order::account::Account;
use crate::order::budget::{Budget, Share};
use crate::order::events::Events;
use crate::order::tally::Tally;
use crate::report::InputReport;
use crate::report::event::Event;
use crate::report::reject::{QUOTED_REJECTS, RejectedLines};
use crate::{Error, ProgressHandle};

/// The one place that knows how far the load is. It is locked a few times a chunk, never for a line.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    aborted: AtomicBool,
    /// How many lanes have to acknowledge each chunk.
    lanes: usize,
    budget: Arc<Budget>,
    events: Arc<Events>,
    progress: ProgressHandle,
}

#[derive(Debug)]
struct State {
    /// The number of `chunks[0]`.
    first: u64,
    chunks: VecDeque<OpenChunk>,
    /// Inputs that have been opened and are not finished; the first is the one in progress.
    inputs: VecDeque<InputReport>,
    /// The index of the input that is opened next.
    next_index: usize,
    /// When the last input was finished, or the load started.
    last_end: Instant,
    /// Why nothing more is read.
    reading_ended: Option<Error>,
    /// Why what is in flight is not finished, either.
    stopped: Option<Error>,
}

/// A chunk that is not finished.
#[derive(Debug)]
struct OpenChunk {
    /// How many are still to report on it: its worker and the lanes.
    waiting_for: usize,
    tally: Tally,
    /// What it takes of the memory budget, once its worker has reported.
    share: Option<Share>,
    bytes_in: u64,
    ends_input: bool,
}

/// How an attempt has ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// The input in progress.
    pub(crate) unfinished: Option<InputReport>,
    pub(crate) error: Option<Error>,
    /// When the last input was finished, or what [`Ledger::new`] was given.
    pub(crate) last_end: Instant,
}

impl Ledger {
    /// The account of an attempt whose first input has this index, and whose time counts from `last_end`.
    pub(crate) fn new(
        lanes: usize,
        (next_index, last_end): (usize, Instant),
        budget: &Arc<Budget>,
        events: &Arc<Events>,
        progress: &ProgressHandle,
    ) -> Self {
        let state = State {
            first: 0,
            chunks: VecDeque::new(),
            inputs: VecDeque::new(),
            next_index,
            last_end,
            reading_ended: None,
            stopped: None,
        };
        Self {
            state: Mutex::new(state),
            aborted: AtomicBool::new(false),
            lanes,
            budget: Arc::clone(budget),
            events: Arc::clone(events),
            progress: progress.clone(),
        }
    }

    /// Notes that the next input is being read.
    pub(crate) fn open_input(&self, name: String) {
        let mut state = self.lock();
        let report = InputReport { index: state.next_index, name, ..InputReport::default() };
        state.next_index += 1;
        state.inputs.push_back(report);
        if state.inputs.len() == 1 {
            self.announce(&state);
        }
    }

    /// Adds a chunk and returns its number. With its end, `bytes_in` bytes of its input are read.
    pub(crate) fn add_chunk(&self, bytes_in: u64, ends_input: bool) -> u64 {
        let mut state = self.lock();
        let number = state.first + state.chunks.len() as u64;
        let waiting_for = 1 + self.lanes;
        state.chunks.push_back(OpenChunk {
            waiting_for,
            tally: Tally::default(),
            share: None,
            bytes_in,
            ends_input,
        });
        number
    }

    /// Takes the worker's report on chunk `number`, with what the chunk takes of the memory budget until it is
    /// finished.
    pub(crate) fn report_encoded(&self, number: u64, tally: Tally, share: Share) {
        self.add(number, tally, Some(share));
    }

    fn add(&self, number: u64, tally: Tally, share: Option<Share>) {
        let mut state = self.lock();
        let at = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        if let Some(chunk) = state.chunks.get_mut(at) {
            chunk.tally.merge(tally);
            chunk.share = chunk.share.take().or(share);
            chunk.waiting_for -= 1;
        }
        while state.chunks.front().is_some_and(|chunk| chunk.waiting_for == 0) {
            self.finish_chunk(&mut state);
        }
    }

    /// Moves the first chunk's tally to its input, and finishes the input if it was its last.
    fn finish_chunk(&self, state: &mut State) {
        let (Some(chunk), Some(input)) = (state.chunks.pop_front(), state.inputs.front_mut()) else { return };
        state.first += 1;
        self.progress.add(chunk.bytes_in - input.bytes_in, chunk.tally.counts.loaded);
        input.bytes_in = chunk.bytes_in;
        if let Some(lines) = add_tally(input, chunk.tally) {
            self.events.emit(Event::LinesRejected { index: input.index, name: input.name.clone(), lines });
        }
        if chunk.ends_input
            && let Some(mut report) = state.inputs.pop_front()
        {
            let now = Instant::now();
            report.duration = now - state.last_end;
            state.last_end = now;
            self.events.emit(Event::InputFinished(report));
            self.announce(state);
        }
    }

    /// Emits which input is in progress now.
    fn announce(&self, state: &State) {
        if let Some(input) = state.inputs.front() {
            self.events.emit(Event::InputStarted { index: input.index, name: input.name.clone() });
        }
    }

    /// Notes why nothing more is read. What is in flight may still be finished.
    pub(crate) fn end_input(&self, error: Error) {
        self.lock().reading_ended = Some(error);
    }

    /// How the attempt has ended: with which input in progress, and why.
    ///
    /// Why not even what was in flight could be finished explains more than why nothing more was read.
    pub(crate) fn outcome(&self) -> Outcome {
        let mut state = self.lock();
        let unfinished = state.inputs.pop_front().map(|mut report| {
            report.duration = state.last_end.elapsed();
            report
        });
        let error = state.stopped.take().or(state.reading_ended.take());
        Outcome { unfinished, error, last_end: state.last_end }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change, so a poisoned lock still guards sound data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account for Ledger {
    fn report(&self, number: u64, tally: Tally) {
        self.add(number, tally, None);
    }

    fn abort(&self, error: Error) {
        let mut state = self.lock();
        // A restart is the one error after which a load can go on, and it must not go unnoticed, unless the caller
        // has had enough.
        let restarted = matches!(error, Error::Restarted { .. });
        if state.stopped.is_none() || restarted && !matches!(state.stopped, Some(Error::Caller { .. })) {
            state.stopped = Some(error);
        }
        self.aborted.store(true, Ordering::Relaxed);
        self.budget.close();
    }

    fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    fn emit(&self, event: Event) {
        self.events.emit(event);
    }
}

/// Adds a chunk's tally to the report of its input, and returns its rejected lines if they are to be emitted.
fn add_tally(report: &mut InputReport, mut tally: Tally) -> Option<RejectedLines> {
    let first_line = report.counts.lines + 1;
    tally.quotes.sort_by_key(|quote| quote.line);
    for mut quote in tally.quotes {
        if report.rejected_lines.iter().filter(|it| it.reason == quote.reason).count() < QUOTED_REJECTS {
            quote.line += first_line;
            report.rejected_lines.push(quote);
        }
    }
    for mut part in tally.dropped_parts {
        if report.dropped_parts.iter().filter(|it| it.kind == part.kind).count() < QUOTED_REJECTS {
            part.line += first_line;
            report.dropped_parts.push(part);
        }
    }
    report.counts.merge(tally.counts);
    (!tally.places.is_empty()).then(|| RejectedLines::new(first_line, tally.text, tally.places))
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::{Counts, RejectReason};

    fn ledger(lanes: usize) -> Ledger {
        let budget = Budget::new(1 << 20);
        let events = Arc::new(Events::new(&budget));
        Ledger::new(lanes, (0, Instant::now()), &budget, &events, &ProgressHandle::default())
    }

    /// What was emitted since the last call.
    fn emitted(ledger: &Ledger) -> Vec<Event> {
        // A last event, or the queue would be waited for.
        ledger.events.emit(Event::ServerRestarted { address: String::new() });
        let next = || ledger.events.next().map(|(event, _)| event);
        std::iter::from_fn(next).take_while(|event| !matches!(event, Event::ServerRestarted { .. })).collect()
    }

    fn started(index: usize, name: &str) -> Event {
        Event::InputStarted { index, name: name.to_owned() }
    }

    fn tally(lines: u64, loaded: u64) -> Tally {
        Tally { counts: Counts { lines, loaded, ..Counts::default() }, ..Tally::default() }
    }

    #[test]
    fn inputs_finish_in_order_though_chunks_do_not() {
        let ledger = ledger(1);
        let progress = &ledger.progress;
        ledger.open_input("a".to_owned());
        assert_eq!(ledger.add_chunk(5, true), 0);
        ledger.open_input("b".to_owned());
        assert_eq!(ledger.add_chunk(6, false), 1);
        assert_eq!(ledger.add_chunk(7, true), 2);
        for number in [2, 1, 0] {
            ledger.report(number, tally(3, 2));
        }
        let mut rejecting = tally(0, 0);
        rejecting.reject(1, RejectReason::ServerRefused, || ("no".to_owned(), None), false);
        ledger.report(2, rejecting);
        ledger.report(1, tally(0, 0));
        assert_eq!(emitted(&ledger), [started(0, "a")]);
        assert_eq!((progress.bytes_in(), progress.records()), (0, 0));
        ledger.report(0, tally(0, 0));
        assert_eq!((progress.bytes_in(), progress.records()), (12, 6));
        let events = emitted(&ledger);
        let [Event::InputFinished(a), b_started, Event::InputFinished(b)] = &events[..] else {
            panic!("{events:?}");
        };
        assert_eq!((a.index, a.name.as_str(), a.counts.loaded, a.bytes_in), (0, "a", 2, 5));
        assert_eq!(*b_started, started(1, "b"));
        assert_eq!((b.index, b.name.as_str(), b.counts.loaded, b.bytes_in), (1, "b", 4, 7));
        assert_eq!(b.rejected_lines[0].line, 5, "three lines of the chunk before, and from 1");
        let outcome = ledger.outcome();
        assert!(outcome.unfinished.is_none() && outcome.error.is_none());
    }

    /// The second input is read while the first one is still sent.
    #[test]
    fn the_time_of_an_input_counts_from_the_end_of_the_one_before() {
        let pause = Duration::from_millis(20);
        let ledger = ledger(0);
        for name in ["a", "b"] {
            ledger.open_input(name.to_owned());
            ledger.add_chunk(1, true);
        }
        for number in 0..2 {
            std::thread::sleep(pause);
            ledger.report(number, Tally::default());
        }
        let durations: Vec<_> = emitted(&ledger)
            .into_iter()
            .filter_map(
                |event| if let Event::InputFinished(report) = event { Some(report.duration) } else { None },
            )
            .collect();
        let elapsed = ledger.outcome().last_end.elapsed() + durations.iter().sum::<Duration>();
        assert!(durations.iter().all(|duration| *duration >= pause), "{durations:?}");
        assert!(durations[1] < 2 * pause || elapsed > 4 * pause, "{durations:?} of {elapsed:?}");
    }

    #[test]
    fn a_chunk_takes_memory_until_it_is_finished() {
        let ledger = ledger(1);
        let budget = Arc::clone(&ledger.budget);
        ledger.open_input("a".to_owned());
        emitted(&ledger);
        for number in 0..2 {
            ledger.add_chunk(1, false);
            ledger.report_encoded(number, Tally::default(), budget.take(10));
        }
        ledger.report(1, Tally::default());
        assert_eq!(budget.used().total(), 20, "the first one is not acknowledged");
        ledger.report(0, Tally::default());
        assert_eq!(budget.used().total(), 0);
    }

    #[test]
    fn only_the_first_rejected_lines_of_a_reason_are_quoted() {
        let ledger = ledger(0);
        ledger.open_input("a".to_owned());
        for number in 0..2 {
            ledger.add_chunk(0, false);
            let mut tally = tally(10, 0);
            for line in 0..2 {
                tally.reject(line, RejectReason::InvalidKey, Default::default, false);
            }
            ledger.report(number, tally);
        }
        let report = ledger.outcome().unfinished.unwrap_or_default();
        assert_eq!(report.rejected_lines.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 2, 11]);
        assert_eq!(report.counts.rejected[&RejectReason::InvalidKey], 4);
    }

    /// A follower kept waiting for a cut file, though the one before it could not be finished.
    #[test]
    fn why_nothing_is_finished_explains_more_than_why_nothing_is_read() {
        let stopped = |errors: [Error; 2]| {
            let ledger = ledger(0);
            let [first, second] = errors;
            ledger.end_input(Error::Read {
                file: "second".to_owned(),
                source: io::ErrorKind::UnexpectedEof.into(),
            });
            ledger.abort(first);
            ledger.abort(second);
            ledger.outcome().error.map(|error| error.to_string())
        };
        let restarted = || Error::Restarted { address: "there".to_owned() };
        let caller = || Error::Caller { source: "enough".into() };
        let server = || Error::Server {
            address: "here".to_owned(),
            retries: 0,
            elapsed: Duration::ZERO,
            source: io::ErrorKind::TimedOut.into(),
        };
        for (errors, expected) in [
            ([server(), caller()], server()),
            ([server(), restarted()], restarted()),
            ([caller(), restarted()], caller()),
            ([restarted(), caller()], restarted()),
        ] {
            assert_eq!(stopped(errors), Some(expected.to_string()));
        }
    }
}
