//! Serves one connection: takes batches in turn, writes them, waits for their acknowledgment, retries.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::order::ledger::Ledger;
use crate::order::tally::Tally;
use crate::report::ServerReport;
use crate::send::backoff::Backoff;
use crate::send::lane::Lane;
use crate::send::pool::Pooled;
use crate::send::server::Server;
use crate::wire::batch::Batch;
use crate::wire::connection::{Answer, Connection};
use crate::{Error, Options, RejectReason, StopHandle};

/// See the module's text.
///
/// Batches are written as they come in, without waiting for the acknowledgment of those before: the round
/// trip to a far server costs nothing, and the one connection keeps them in order. What is not
/// acknowledged stays in the window; when the connection breaks, all of that is sent again in order, so
/// the last set of each key is again the right one.
#[derive(Debug)]
pub(crate) struct Sender<'a> {
    server: &'a Server,
    address: String,
    lane: &'a Lane<'a>,
    ledger: &'a Ledger,
    retry_timeout: Duration,
    report_rejected: bool,
    stop: &'a StopHandle,
}

/// The state of a sender.
#[derive(Default)]
struct Window {
    /// Batches that are not acknowledged, the oldest first.
    batches: VecDeque<Batch>,
    /// How many of them have been written to the connection.
    written: usize,
    /// The chunk of the first one.
    number: u64,
    connection: Option<Pooled>,
    /// The connection before, from which the server may still read what was not acknowledged.
    failed: Option<Connection>,
    /// A time without any acknowledgment.
    failing: Option<Backoff>,
}

impl<'a> Sender<'a> {
    pub(crate) fn new(
        server: &'a Server,
        lane: &'a Lane<'a>,
        options: &Options,
        stop: &'a StopHandle,
    ) -> Self {
        let address = server.address();
        let Options { retry_timeout, report_rejected, .. } = *options;
        Self { server, address, lane, ledger: lane.ledger, retry_timeout, report_rejected, stop }
    }

    /// Works until the turns are closed, or the load stops, by this server's failure or another's.
    pub(crate) fn run(self) -> ServerReport {
        let mut report = ServerReport { address: self.address.clone(), ..ServerReport::default() };
        let mut window = Window::default();
        while self.refill(&mut window) && !self.ledger.is_aborted() {
            if let Err(error) = self.advance(&mut window, &mut report) {
                self.collect_acknowledged(&mut window, &mut report);
                // What was not acknowledged is written again, on a connection that owes no answers.
                window.give_up_connection();
                self.back_off(&mut window, error, &mut report);
            }
        }
        self.leave(&mut window);
        report
    }

    /// Ends the connection if anything on it is not acknowledged: what loads the same file again must not be
    /// overtaken by it.
    fn leave(&self, window: &mut Window) {
        if window.failing.is_some() {
            self.server.note_failing();
        }
        if window.written > 0 {
            window.give_up_connection();
        }
        // A server that fails when a stop is asked for has been waited for, and this loader sends nothing more.
        if let Some(connection) = window.failed.take()
            && !(window.failing.is_some() && self.stop.is_requested())
        {
            connection.retire();
        }
    }

    /// Takes what is there, and waits only if there is nothing else to do. False at the end.
    fn refill(&self, window: &mut Window) -> bool {
        if window.batches.is_empty() {
            window.batches.extend(self.lane.turns.take());
        }
        while let Some(batch) = self.lane.turns.try_take() {
            window.batches.push_back(batch);
        }
        !window.batches.is_empty()
    }

    /// Takes one step: finishes an empty batch, writes one that is not written, or waits for an answer.
    fn advance(&self, window: &mut Window, report: &mut ServerReport) -> io::Result<()> {
        if window.batches.front().is_some_and(Batch::is_empty) {
            self.finish(window, &[], report);
            return Ok(());
        }
        let connection = match &mut window.connection {
            Some(connection) => connection,
            none => {
                let connection = self.server.connect()?;
                // The server is there again, so it comes to the end of the old one.
                if let Some(failed) = window.failed.take() {
                    failed.retire();
                }
                none.insert(connection)
            }
        };
        let Ok(connection) = &mut **connection else { return Err(io::ErrorKind::NotConnected.into()) };
        if window.written == 0 && self.server.observe_identity(connection.first_stats()) {
            self.ledger.abort(Error::Restarted { address: self.address.clone() });
            return Ok(());
        }
        if let Some(batch) = window.batches.get(window.written) {
            if !batch.is_empty() {
                connection.send(batch.as_bytes(), batch.len())?;
            }
            window.written += 1;
            return Ok(());
        }
        let mut answers = connection.acknowledge()?;
        if !answers.is_empty() {
            answers = window.send_answered()?;
        }
        self.finish(window, &answers, report);
        Ok(())
    }

    /// Finishes what was acknowledged before the connection failed, so that a connection that fails often
    /// still gets on.
    fn collect_acknowledged(&self, window: &mut Window, report: &mut ServerReport) {
        while window.written > 0 {
            let acknowledged = match window.batches.front() {
                Some(batch) if batch.is_empty() => true,
                Some(_) => window.next_acknowledged(),
                None => false,
            };
            if !acknowledged {
                break;
            }
            self.finish(window, &[], report);
        }
    }

    /// The first batch is acknowledged: reports on it and frees its buffer.
    fn finish(&self, window: &mut Window, answers: &[Answer], report: &mut ServerReport) {
        let Some(batch) = window.batches.pop_front() else { return };
        let mut tally = Tally::default();
        tally.counts.bytes_sent = batch.as_bytes().len() as u64;
        for (record, answer) in batch.iter().zip(answers) {
            if let Answer::Refused(text) = answer {
                let quote = || (format!("{text}: {} of {}", record.key.escape_ascii(), self.address), None);
                tally.reject(record.line, RejectReason::ServerRefused, quote, self.report_rejected);
            }
        }
        let records = batch.len() as u64 - tally.counts.rejected_total();
        tally.counts.loaded = records;
        report.records += records;
        report.batches += u64::from(!batch.is_empty());
        self.ledger.report(window.number, tally);
        window.number += 1;
        window.written = window.written.saturating_sub(1);
        window.failing = None;
        self.lane.spares.give(batch);
    }

    /// Pauses before the next attempt, or stops the load when there was enough of them.
    fn back_off(&self, window: &mut Window, error: io::Error, report: &mut ServerReport) {
        let failing = window.failing.get_or_insert_with(Backoff::new);
        let elapsed = failing.elapsed();
        let hopeless = matches!(error.kind(), io::ErrorKind::Unsupported | io::ErrorKind::PermissionDenied);
        if elapsed >= self.retry_timeout || hopeless || self.stop.is_requested() {
            let address = self.address.clone();
            self.ledger.abort(Error::Server { address, retries: failing.retries, elapsed, source: error });
            return;
        }
        failing.pause(self.retry_timeout, || self.ledger.is_aborted() || self.stop.is_requested());
        report.retries += 1;
    }
}

impl Window {
    /// Whether the acknowledgment of the first batch, without a refusal, has arrived already.
    fn next_acknowledged(&mut self) -> bool {
        let Some(Ok(connection)) = self.connection.as_deref_mut() else { return false };
        connection.next_acknowledged().is_some_and(|answers| answers.is_empty())
    }

    fn give_up_connection(&mut self) {
        if let Some(mut pooled) = self.connection.take()
            && let Ok(connection) = std::mem::replace(&mut *pooled, Err(io::ErrorKind::NotConnected.into()))
        {
            self.failed = Some(connection);
        }
        self.written = 0;
    }

    /// Sends the first batch again, asking for an answer to each of its sets, to learn which are refused.
    ///
    /// The batches behind it may be stored already, so they are to be written again after it.
    fn send_answered(&mut self) -> io::Result<Vec<Answer>> {
        let (Some(Ok(connection)), Some(first)) = (self.connection.as_deref_mut(), self.batches.front())
        else {
            return Ok(Vec::new());
        };
        // From here on the answers that arrive are not those that the window waits for.
        let written = std::mem::take(&mut self.written);
        for _ in self.batches.range(1..written).filter(|batch| !batch.is_empty()) {
            connection.acknowledge()?;
        }
        connection.send(&first.non_quiet_commands(), first.len())?;
        let answers = connection.acknowledge()?;
        if answers.len() != first.len() {
            let text = format!("{} answers to {} sets", answers.len(), first.len());
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        }
        Ok(answers)
    }
}
