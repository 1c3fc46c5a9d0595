//! Keeps account of chunks and files: what is in flight, what is acknowledged, what is finished, in order.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Instant;

use crate::order::tally::Tally;
use crate::report::InputReport;
use crate::report::event::Event;
use crate::report::reject::{QUOTED_REJECTS, RejectedLine, RejectedLines};
use crate::{Error, Options, ProgressHandle};

/// The one place that knows how far the load has come. It is locked a few times a chunk, never for a line.
#[derive(Debug)]
pub(crate) struct Ledger {
    state: Mutex<State>,
    /// Told when a chunk is finished or the load stops.
    room: Condvar,
    aborted: AtomicBool,
    /// How many files the caller has taken note of.
    confirmed: AtomicUsize,
    /// Bytes of text buffers that may be in flight before the reader has to wait.
    max_bytes: usize,
    /// How many connections have to acknowledge each chunk.
    connections: usize,
}

#[derive(Debug, Default)]
struct State {
    /// The number of `chunks[0]`.
    first: u64,
    chunks: VecDeque<Chunk>,
    bytes_in_flight: usize,
    /// Files that have been opened and are not finished; the first is the one in work.
    files: VecDeque<OpenInput>,
    /// The index of the input that is opened next.
    next_index: usize,
    events: Option<mpsc::SyncSender<Event>>,
    progress: ProgressHandle,
    /// Why nothing more is read.
    reading_ended: Option<Error>,
    /// Why what is in flight is not finished, either.
    stopped: Option<Error>,
}

/// A chunk that is not finished.
#[derive(Debug)]
struct Chunk {
    bytes: usize,
    /// How many are still to report on it: its worker and the connections.
    waiting_for: usize,
    tally: Tally,
    bytes_in: u64,
    ends_input: bool,
}

#[derive(Debug)]
struct OpenInput {
    report: InputReport,
    opened_at: Instant,
}

impl Ledger {
    /// The account of a pass whose first input has this index.
    pub(crate) fn new(
        options: &Options,
        connections: usize,
        first_index: usize,
        events: mpsc::SyncSender<Event>,
        progress: ProgressHandle,
    ) -> Self {
        let state = State { events: Some(events), progress, next_index: first_index, ..State::default() };
        Self {
            state: Mutex::new(state),
            room: Condvar::new(),
            aborted: AtomicBool::new(false),
            confirmed: AtomicUsize::new(0),
            max_bytes: options.max_bytes_in_flight,
            connections,
        }
    }

    /// Says that the next input is being read.
    pub(crate) fn open_input(&self, name: String) {
        let mut state = self.lock();
        let report = InputReport { index: state.next_index, name, ..InputReport::default() };
        state.next_index += 1;
        state.files.push_back(OpenInput { report, opened_at: Instant::now() });
        if state.files.len() == 1 {
            state.announce();
        }
    }

    /// Waits until a chunk of `bytes` may be in flight and returns its number, or `None` if the load has
    /// stopped. A chunk may always pass when no other is in flight, however large.
    pub(crate) fn admit(&self, bytes: usize, bytes_in: u64, ends_input: bool) -> Option<u64> {
        let mut state = self.lock();
        while !state.chunks.is_empty() && state.bytes_in_flight + bytes > self.max_bytes && !self.is_aborted()
        {
            state = self.room.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
        if self.is_aborted() {
            return None;
        }
        let number = state.first + state.chunks.len() as u64;
        state.bytes_in_flight += bytes;
        let waiting_for = 1 + self.connections;
        state.chunks.push_back(Chunk { bytes, waiting_for, tally: Tally::default(), bytes_in, ends_input });
        Some(number)
    }

    /// Takes the report of a worker or a connection on chunk `number`, and finishes what it completes.
    pub(crate) fn report(&self, number: u64, tally: Tally) {
        let mut state = self.lock();
        let at = usize::try_from(number - state.first).unwrap_or(usize::MAX);
        if let Some(chunk) = state.chunks.get_mut(at) {
            chunk.tally.merge(tally);
            chunk.waiting_for -= 1;
        }
        while state.chunks.front().is_some_and(|chunk| chunk.waiting_for == 0) {
            state.finish_chunk();
            self.room.notify_all();
        }
    }

    /// Notes why nothing more is read. What is in flight may still be finished.
    pub(crate) fn end_input(&self, error: Error) {
        self.lock().reading_ended = Some(error);
    }

    /// Ends the load at once, for the first reason that is given: nothing more is read or sent.
    pub(crate) fn abort(&self, error: Error) {
        let mut state = self.lock();
        // A restart is the one error after which a load can go on, and it must not go unnoticed, unless the caller
        // has had enough.
        let restarted = matches!(error, Error::Restarted { .. });
        if state.stopped.is_none() || restarted && !matches!(state.stopped, Some(Error::Caller { .. })) {
            state.stopped = Some(error);
        }
        self.aborted.store(true, Ordering::Relaxed);
        self.room.notify_all();
    }

    pub(crate) fn is_aborted(&self) -> bool {
        self.aborted.load(Ordering::Relaxed)
    }

    /// No more events will come: ends the loop of whoever receives them.
    pub(crate) fn close_events(&self) {
        self.lock().events = None;
    }

    /// Notes that the caller has taken note of one more finished file.
    pub(crate) fn confirm_input(&self) {
        self.confirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// How many finished files the caller has taken note of.
    pub(crate) fn inputs_confirmed(&self) -> usize {
        self.confirmed.load(Ordering::Relaxed)
    }

    /// How the load has ended: with this file in work, for this reason.
    ///
    /// Why not even what was in flight could be finished tells more than why nothing more was read.
    pub(crate) fn into_outcome(self) -> (Option<InputReport>, Option<Error>) {
        let mut state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let unfinished = state.files.pop_front().map(OpenInput::into_report);
        (unfinished, state.stopped.or(state.reading_ended))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing in here panics half way through a change, so a poisoned lock still guards sound data.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Moves the first chunk's tally to its file, and the file to the finished ones if it was its last.
    fn finish_chunk(&mut self) {
        let (Some(chunk), Some(file)) = (self.chunks.pop_front(), self.files.front_mut()) else { return };
        self.first += 1;
        self.bytes_in_flight -= chunk.bytes;
        self.progress.add(chunk.bytes_in - file.report.bytes_in, chunk.tally.counts.loaded);
        if let Some(lines) = file.add(chunk.tally, chunk.bytes_in) {
            let file = file.report.name.clone();
            self.send(Event::LinesRejected { file, lines });
        }
        if !chunk.ends_input {
            return;
        }
        if let Some(report) = self.files.pop_front().map(OpenInput::into_report) {
            self.send(Event::InputFinished(report));
            self.announce();
        }
    }

    /// Tells which file is in work now.
    fn announce(&self) {
        if let Some(file) = self.files.front() {
            self.send(Event::InputStarted(file.report.name.clone()));
        }
    }

    fn send(&self, event: Event) {
        if let Some(events) = &self.events {
            // The receiver is only gone when the load is being stopped.
            let _ = events.send(event);
        }
    }
}

impl OpenInput {
    /// Adds a chunk's tally, and returns its rejected lines if they are to be told.
    fn add(&mut self, mut tally: Tally, bytes_in: u64) -> Option<RejectedLines> {
        let report = &mut self.report;
        let first_line = report.counts.lines + 1;
        tally.quotes.sort_by_key(|quote| quote.line);
        for quote in tally.quotes {
            let quoted = report.rejected_lines.iter().filter(|it| it.reason == quote.reason).count();
            if quoted < QUOTED_REJECTS {
                report.rejected_lines.push(RejectedLine { line: first_line + quote.line, ..quote });
            }
        }
        report.counts.merge(&tally.counts);
        report.bytes_in = bytes_in;
        (!tally.places.is_empty()).then(|| RejectedLines::new(first_line, tally.text, tally.places))
    }

    fn into_report(self) -> InputReport {
        InputReport { duration: self.opened_at.elapsed(), ..self.report }
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::time::Duration;

    use super::*;
    use crate::{Counts, RejectReason};

    fn ledger(max_bytes_in_flight: usize, connections: usize, events: mpsc::SyncSender<Event>) -> Ledger {
        let options = Options { max_bytes_in_flight, ..Options::default() };
        Ledger::new(&options, connections, 0, events, ProgressHandle::default())
    }

    fn tally(lines: u64, loaded: u64) -> Tally {
        Tally { counts: Counts { lines, loaded, ..Counts::default() }, ..Tally::default() }
    }

    #[test]
    fn files_finish_in_order_though_chunks_do_not() {
        let (events, received) = mpsc::sync_channel(9);
        let ledger = ledger(1000, 1, events);
        let progress = ledger.lock().progress.clone();
        ledger.open_input("a".to_owned());
        assert_eq!(ledger.admit(10, 5, true), Some(0));
        ledger.open_input("b".to_owned());
        assert_eq!(ledger.admit(10, 6, false), Some(1));
        assert_eq!(ledger.admit(0, 7, true), Some(2));
        for number in [2, 1, 0] {
            ledger.report(number, tally(3, 2));
        }
        let mut rejecting = tally(0, 0);
        rejecting.reject(1, RejectReason::ServerRefused, || "no".to_owned(), false);
        ledger.report(2, rejecting);
        ledger.report(1, tally(0, 0));
        assert_eq!(received.try_iter().collect::<Vec<_>>(), [Event::InputStarted("a".to_owned())]);
        assert_eq!((progress.bytes_in(), progress.records()), (0, 0));
        ledger.report(0, tally(0, 0));
        assert_eq!((progress.bytes_in(), progress.records()), (12, 6));
        let events: Vec<_> = received.try_iter().collect();
        let [Event::InputFinished(a), Event::InputStarted(b_name), Event::InputFinished(b)] = &events[..]
        else {
            panic!("{events:?}");
        };
        assert_eq!((a.index, a.name.as_str(), a.counts.loaded, a.bytes_in), (0, "a", 2, 5));
        assert_eq!((b.index, b_name.as_str(), b.counts.loaded, b.bytes_in), (1, "b", 4, 7));
        assert_eq!(b.rejected_lines[0].line, 5, "three lines of the chunk before, and from 1");
        let (unfinished, error) = ledger.into_outcome();
        assert!(unfinished.is_none() && error.is_none());
    }

    #[test]
    fn a_chunk_waits_for_room_but_a_large_one_alone_passes() {
        let ledger = ledger(100, 0, mpsc::sync_channel(9).0);
        ledger.open_input("a".to_owned());
        assert_eq!(ledger.admit(1000, 0, false), Some(0));
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| ledger.admit(1, 0, false));
            std::thread::sleep(Duration::from_millis(20));
            assert!(!waiting.is_finished());
            ledger.report(0, Tally::default());
            assert_eq!(waiting.join().ok(), Some(Some(1)));
        });
    }

    #[test]
    fn only_the_first_rejected_lines_of_a_reason_are_quoted() {
        let ledger = ledger(100, 0, mpsc::sync_channel(9).0);
        ledger.open_input("a".to_owned());
        for number in 0..2 {
            ledger.admit(1, 0, false);
            let mut tally = tally(10, 0);
            for line in 0..2 {
                tally.reject(line, RejectReason::InvalidKey, String::new, false);
            }
            ledger.report(number, tally);
        }
        let (unfinished, _) = ledger.into_outcome();
        let report = unfinished.unwrap_or_default();
        assert_eq!(report.rejected_lines.iter().map(|it| it.line).collect::<Vec<_>>(), [1, 2, 11]);
        assert_eq!(report.counts.rejected[&RejectReason::InvalidKey], 4);
    }

    /// A follower went on waiting for a cut file, though the one before it could not be finished.
    #[test]
    fn why_nothing_is_finished_tells_more_than_why_nothing_is_read() {
        let stopped = |errors: [Error; 2]| {
            let ledger = ledger(100, 0, mpsc::sync_channel(9).0);
            let [first, second] = errors;
            ledger.end_input(Error::Read {
                file: "second".to_owned(),
                source: io::ErrorKind::UnexpectedEof.into(),
            });
            ledger.abort(first);
            ledger.abort(second);
            ledger.into_outcome().1.map(|error| error.to_string())
        };
        let restarted = || Error::Restarted { address: "there".to_owned() };
        let caller = || Error::Caller { source: "enough".into() };
        let server = || Error::Server {
            address: "here".to_owned(),
            retries: 0,
            elapsed: Duration::ZERO,
            source: io::ErrorKind::TimedOut.into(),
        };
        for (errors, told) in [
            ([server(), caller()], server()),
            ([server(), restarted()], restarted()),
            ([caller(), restarted()], caller()),
            ([restarted(), caller()], restarted()),
        ] {
            assert_eq!(stopped(errors), Some(told.to_string()));
        }
    }
}
