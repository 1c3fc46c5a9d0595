//! Serves one connection: takes batches in turn, writes them, waits for their acknowledgment, retries.

use std::io;
use std::time::{Duration, Instant};

use crate::order::account::Account;
use crate::order::tally::Tally;
use crate::report::ServerReport;
use crate::send::backoff::Backoff;
use crate::send::known::Left;
use crate::send::lane::Lane;
use crate::send::pool::Pooled;
use crate::send::server::Server;
use crate::send::window::Window;
use crate::wire::answers::{Answers, Refusal};
use crate::wire::bundle::Bundle;
use crate::wire::connection::Connection;
use crate::wire::ending::End;
use crate::wire::protocol::Protocol;
use crate::{Error, Event, Options, RejectReason, StopHandle};

/// How long a wait may overlook that the load ends.
const END_CHECK: Duration = Duration::from_millis(50);

/// The thread of one connection.
///
/// Batches are written as they come in, without waiting for the acknowledgment of those before: the round
/// trip to a far server costs nothing, and the one connection keeps them in order. What is not
/// acknowledged stays in the window; when the connection breaks, all of that is sent again in order, so
/// the last set of each key is again the right one.
///
/// Nothing is sent again before the old connection has ended. Where something stands between us and the server, that
/// is not enough: then the records that were in flight are read back, and the end of an input is not reported before
/// all of them are found to be right.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    server: &'a Server,
    /// Which of the server's connections it is.
    index: usize,
    address: String,
    lane: &'a Lane<'a>,
    ledger: &'a dyn Account,
    options: &'a Options,
    stop: &'a StopHandle,
    connection: Option<Pooled>,
    window: Window,
    left: Left,
    report: ServerReport,
    /// What counts as in flight here for those who watch.
    bytes_in_flight: u64,
}

/// Whether the thread goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Done,
    /// The load ends, for a reason that the ledger knows.
    Aborted,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(
        server: &'a Server,
        index: usize,
        lane: &'a Lane<'a>,
        options: &'a Options,
        stop: &'a StopHandle,
    ) -> Self {
        let address = server.address();
        Self {
            server,
            index,
            report: ServerReport { address: address.clone(), ..ServerReport::default() },
            address,
            lane,
            ledger: lane.ledger,
            options,
            stop,
            connection: None,
            window: Window::default(),
            left: server.known.take_left(index),
            bytes_in_flight: 0,
        }
    }

    /// Works until the turns are closed, or the load stops, by this server's failure or another's.
    pub(crate) fn run(mut self) -> ServerReport {
        while self.window.refill(self.lane.turns) && !self.ledger.is_aborted() {
            if let Err(error) = self.advance() {
                self.collect_acknowledged();
                // What was not acknowledged is written again, on a connection that owes no answers.
                self.give_up_connection();
                self.show_in_flight(0);
                self.back_off(error);
            }
            self.show_in_flight(self.window.written_bytes());
        }
        self.leave();
        self.show_in_flight(0);
        self.report
    }

    /// Has those who watch see how many bytes are in flight here.
    fn show_in_flight(&mut self, bytes: u64) {
        let before = std::mem::replace(&mut self.bytes_in_flight, bytes);
        self.server.counters.change_bytes_in_flight(before, bytes);
    }

    /// Takes one step: finishes an empty bundle, writes one that is not written, or waits for an answer.
    fn advance(&mut self) -> io::Result<()> {
        if self.window.first().is_some_and(Bundle::is_empty) {
            let is_end = self.window.first().is_some_and(Bundle::ends_input);
            if !is_end || self.settle()? == Step::Done {
                self.finish(&Answers::default());
            }
            return Ok(());
        }
        // Connecting may have taken a while.
        if self.connect()? == Step::Aborted || self.ledger.is_aborted() {
            return Ok(());
        }
        let connection = open(&mut self.connection)?;
        if let Some(bundle) = self.window.next_to_write(!self.left.suspects.is_empty()) {
            if !bundle.is_empty() {
                let spares = self.lane.spares;
                bundle.translate(connection.manner().protocol, spares);
                self.server.note_sent(bundle.len());
                connection.send(bundle.batches())?;
            }
            self.window.note_written();
            return Ok(());
        }
        let mut answers = connection.acknowledge()?;
        if !answers.refusals.is_empty() && connection.manner().protocol == Protocol::Meta {
            answers = self.ask_for_answers()?;
        }
        let was_sent_again = self.window.is_sent_again();
        self.finish(&answers);
        if !was_sent_again && self.window.is_sent_again() && self.window.written() == 0 {
            self.left.suspects.read_back(open(&mut self.connection)?)?;
        }
        Ok(())
    }

    /// Makes a connection if there is none, once the old one has ended.
    fn connect(&mut self) -> io::Result<Step> {
        if self.connection.is_some() {
            return Ok(Step::Done);
        }
        if self.wait_for_end()? == Step::Aborted {
            return Ok(Step::Aborted);
        }
        let Some(mut pooled) = self.server.connect()? else {
            self.ledger.abort(Error::Restarted { address: self.address.clone() });
            return Ok(Step::Aborted);
        };
        if pooled.as_ref().is_ok_and(|connection| !connection.manner().has_statistics) {
            self.report.no_statistics = true;
            if self.server.known.note_no_statistics() {
                self.ledger.emit(Event::NoStatistics { address: self.address.clone() });
            }
        }
        if !self.left.ended.is_empty()
            && let Ok(connection) = &mut *pooled
        {
            self.prove_end(connection)?;
        }
        self.connection = Some(pooled);
        Ok(Step::Done)
    }

    /// Waits until the server has read what the connection before has left, or until it has failed for too long.
    fn wait_for_end(&mut self) -> io::Result<Step> {
        let server = self.server;
        let ledger = self.ledger;
        while let Some(ending) = &mut self.left.ending {
            if ending.wait(END_CHECK) == End::Closed {
                self.left.ended.extend(ending.ends());
                self.left.ending = None;
                self.left.suspects.connection_ended(self.options.io_timeout);
                break;
            }
            let text =
                "an earlier connection has not ended: what it holds would be stored after newer records";
            let error = || io::Error::new(io::ErrorKind::TimedOut, text);
            let emit = |event| ledger.emit(event);
            let failing = self.left.failing.get_or_insert_with(|| {
                server.away.begin(&error(), &emit);
                Backoff::new()
            });
            server.away.remind(&emit);
            if ledger.is_aborted() {
                return Ok(Step::Aborted);
            }
            if failing.elapsed() >= self.options.retry_timeout || self.stop.is_requested() {
                return Err(error());
            }
        }
        Ok(Step::Done)
    }

    /// Without a proxy in between, the server itself shows that the old connections are gone.
    fn prove_end(&mut self, connection: &mut Connection) -> io::Result<()> {
        if !connection.manner().has_statistics {
            self.left.ended.clear();
            return Ok(());
        }
        let peers = match connection.peers() {
            Ok(peers) => peers,
            Err(error) if error.kind() == io::ErrorKind::TimedOut => return Err(error),
            // It does not answer that question.
            Err(error) => {
                self.left.ended.clear();
                return Err(error);
            }
        };
        if connection.ends().is_some_and(|ends| ends.is_direct(&peers)) {
            if self.left.ended.iter().any(|ends| ends.is_direct(&peers)) {
                let text = "it has not read all of an earlier connection";
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, text));
            }
            self.left.suspects.clear();
        }
        self.left.ended.clear();
        Ok(())
    }

    /// Finishes what was acknowledged before the connection failed, so that a connection that fails often
    /// still gets on.
    fn collect_acknowledged(&mut self) {
        while self.window.written() > 0 {
            let acknowledged = match self.window.first() {
                Some(bundle) if bundle.is_empty() => !bundle.ends_input() || self.left.suspects.is_empty(),
                Some(_) => open(&mut self.connection).is_ok_and(|it| {
                    it.next_acknowledged().is_some_and(|answers| answers.refusals.is_empty())
                }),
                None => false,
            };
            if !acknowledged {
                break;
            }
            self.finish(&Answers::default());
        }
    }

    /// Sends the first bundle, of quiet meta sets, again, asking for an answer to each of its sets, to learn which are refused.
    ///
    /// Those behind it may be stored already, so they are to be written again after it.
    fn ask_for_answers(&mut self) -> io::Result<Answers> {
        let connection = open(&mut self.connection)?;
        // From here on the answers that arrive are not those that the window waits for.
        for _ in 0..self.window.write_all_again() {
            connection.acknowledge()?;
        }
        let Some(first) = self.window.first() else { return Ok(Answers::default()) };
        self.server.note_sent(first.len());
        connection.send(&[first.non_quiet()])?;
        let answers = connection.acknowledge()?;
        if answers.count != first.len() {
            let text = format!("{} answers to {} sets", answers.count, first.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(answers)
    }

    /// The first bundle is acknowledged: reports on its batches and frees their buffers.
    fn finish(&mut self, answers: &Answers) {
        let round_trip = self.window.round_trip();
        let mut refusals = answers.refusals.iter().peekable();
        let (mut records, mut loaded) = (0, 0);
        for (number, batch) in self.window.finish() {
            let mut tally = Tally::default();
            tally.counts.bytes_sent = batch.as_bytes().len() as u64;
            if !answers.refusals.is_empty() || !self.left.suspects.is_empty() {
                for (at, record) in (records..).zip(batch.iter()) {
                    let refusal = refusals.next_if(|refusal| refusal.at == at);
                    if let Some(Refusal { text, .. }) = refusal {
                        let quote =
                            || (format!("{text}: {} of {}", record.key.escape_ascii(), self.address), None);
                        tally.reject(
                            record.line,
                            RejectReason::ServerRefused,
                            quote,
                            self.options.report_rejected,
                        );
                    }
                    self.left.suspects.hold(&record, refusal.is_some());
                }
            }
            tally.counts.loaded = batch.len() as u64 - tally.counts.rejected_total();
            records += batch.len();
            loaded += tally.counts.loaded;
            self.server.note_stored(tally.counts.loaded);
            self.ledger.report(number, tally);
            self.lane.spares.give(batch);
        }
        self.report.records += loaded;
        self.report.batches += u64::from(records > 0);
        self.server.counters.add_batch(loaded, round_trip.filter(|_| records > 0));
        if self.left.failing.take().is_some() {
            self.server.away.end(&|event| self.ledger.emit(event));
        }
    }

    /// At the end of an input: reads the suspect records back until all are right and nothing can come late any more.
    fn settle(&mut self) -> io::Result<Step> {
        if self.left.suspects.is_empty() || self.left.suspects.are_just_checked() {
            return Ok(Step::Done);
        }
        let mut backoff = Backoff::new();
        loop {
            if self.connect()? == Step::Aborted {
                return Ok(Step::Aborted);
            }
            // The connection may be a new one, with nothing in transit.
            let is_right =
                self.left.suspects.is_empty() || self.left.suspects.read_back(open(&mut self.connection)?)?;
            if is_right && self.left.suspects.is_settled() {
                self.report_read_back();
                return Ok(Step::Done);
            }
            if !is_right && backoff.elapsed() > self.options.retry_timeout.max(2 * self.options.io_timeout) {
                let text =
                    "records that were in flight are overwritten again and again after they were read back";
                self.abort(&backoff, io::Error::other(text));
                return Ok(Step::Aborted);
            }
            backoff.pause(Duration::MAX, || self.ledger.is_aborted() || self.stop.is_requested());
            if self.stop.is_requested() {
                self.ledger.abort(Error::Cancelled);
            }
            if self.ledger.is_aborted() {
                return Ok(Step::Aborted);
            }
        }
    }

    fn report_read_back(&mut self) {
        let counts = self.left.suspects.take_counts();
        self.report.records_in_flight += counts.in_flight;
        self.report.records_read_back += counts.read_back;
        self.report.records_set_again += counts.set_again;
        self.report.records_untracked += counts.untracked;
        let is_news = counts.in_flight > 0 || counts.set_again > 0;
        if counts.untracked > 0 || counts.read_back > 0 && is_news {
            self.ledger.emit(Event::RecordsReadBack {
                address: self.address.clone(),
                in_flight: counts.in_flight,
                read_back: counts.read_back,
                set_again: counts.set_again,
                untracked: counts.untracked,
            });
        }
    }

    /// What is in flight on the connection may still reach the server; a connection without that goes back to the pool.
    fn give_up_connection(&mut self) {
        let Some(mut pooled) = self.connection.take() else { return };
        if !pooled.as_ref().is_ok_and(Connection::is_broken) {
            return;
        }
        if let Ok(connection) = std::mem::replace(&mut *pooled, Err(io::ErrorKind::NotConnected.into())) {
            self.left.ending = Some(connection.end());
            self.left.suspects.add(self.window.lose_connection(), self.options.max_bytes_in_flight);
        }
    }

    /// Pauses before the next attempt, or stops the load when there was enough of them.
    fn back_off(&mut self, error: io::Error) {
        let ledger = self.ledger;
        let emit = |event| ledger.emit(event);
        if self.stop.is_requested() {
            // It is not tried any longer, so nobody waits for it.
            self.left.failing.get_or_insert_with(Backoff::new);
            ledger.abort(Error::Cancelled);
            return;
        }
        let failing = self.left.failing.get_or_insert_with(|| {
            self.server.away.begin(&error, &emit);
            Backoff::new()
        });
        let hopeless = matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied);
        if failing.elapsed() >= self.options.retry_timeout || hopeless {
            if let Some(failing) = &self.left.failing {
                self.abort(failing, error);
            }
            return;
        }
        failing.pause(self.options.retry_timeout, || {
            self.server.away.remind(&emit);
            ledger.is_aborted() || self.stop.is_requested()
        });
        self.report.retries += 1;
        self.server.counters.add_retry();
    }

    fn abort(&self, failing: &Backoff, source: io::Error) {
        let (address, retries, elapsed) = (self.address.clone(), failing.retries, failing.elapsed());
        self.ledger.abort(Error::Server { address, retries, elapsed, source });
    }

    /// Ends the connection if anything on it is not acknowledged: what loads the same input again must not be
    /// overtaken by it. If it does not end soon, the next attempt waits for it.
    fn leave(&mut self) {
        if self.left.failing.is_some() {
            self.server.note_failing();
        }
        self.give_up_connection();
        let started = Instant::now();
        while let Some(ending) = &mut self.left.ending {
            let left = self.server.patience.left(started);
            if ending.wait(left.min(END_CHECK)) == End::Closed {
                self.left.ended.extend(ending.ends());
                self.left.ending = None;
                self.left.suspects.connection_ended(self.options.io_timeout);
            } else if left.is_zero() {
                break;
            }
        }
        // Once more, though the ends of the inputs are reported: nothing newer follows.
        if let Ok(connection) = open(&mut self.connection)
            && !self.left.suspects.is_empty()
            && !self.left.suspects.are_just_checked()
        {
            // If it fails, it was right at the end of the last input.
            let _ = self.left.suspects.read_back(connection);
        }
        self.report_read_back();
        self.left.suspects.forget_values();
        self.server.known.leave(self.index, std::mem::take(&mut self.left));
    }
}

/// The connection, which has been made.
fn open(connection: &mut Option<Pooled>) -> io::Result<&mut Connection> {
    match connection.as_deref_mut() {
        Some(Ok(connection)) => Ok(connection),
        _ => Err(io::ErrorKind::NotConnected.into()),
    }
}
