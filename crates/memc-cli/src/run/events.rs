//! What is done about each event of a load.

use std::slice;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context, Result};
use memc_core::{Event, InputReport};

use crate::args::Args;
use crate::inputs::log_file::LogFile;
use crate::output::messages;
use crate::output::progress::Shown;
use crate::output::rejects::Rejects;
use crate::output::replace;
use crate::run::servers;
use crate::run::summary::Summary;

/// Where events leave their mark.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    pub(crate) args: &'a Args,
    /// The logs that are not done, in their order.
    pub(crate) logs: slice::Iter<'a, Arc<LogFile>>,
    pub(crate) summary: &'a mut Summary,
    pub(crate) rejects: &'a mut Option<Rejects>,
    pub(crate) shown: Shown,
    /// The log of which it was logged before that it is processed.
    pub(crate) started: Option<String>,
    /// Why the dot of the last log that is done may not stay.
    pub(crate) unsynced: Option<anyhow::Error>,
}

impl Events<'_> {
    /// Handles one event; an error stops the load.
    pub(crate) fn handle(&mut self, event: Event) -> Result<()> {
        if let Some(error) = self.unsynced.take() {
            return Err(error);
        }
        match event {
            Event::InputStarted { name, .. } => {
                if self.started.as_ref() != Some(&name) {
                    log::info!("Processing {name}");
                }
                let (done, files) = (self.summary.done.len(), self.summary.files.len());
                self.shown.file(&name, done);
                // One that cannot be looked at will stop the load in its turn.
                let log = self.logs.as_slice().first().and_then(|log| log.path().metadata().ok());
                self.summary.live.lock().begin_file(&name, done + 1, files, log.map_or(0, |log| log.len()));
            }
            Event::InputFinished(file) => self.finish(file)?,
            Event::LinesRejected { name, lines, .. } => {
                self.rejects.as_mut().map_or(Ok(()), |rejects| rejects.add(&name, &lines))?;
            }
            Event::ServerRestarted { address } => {
                self.summary.lose(&address);
                messages::restarted(&address, self.summary);
                // It answers.
                self.server_is_away(&address, None);
                self.rejects.as_mut().map_or(Ok(()), Rejects::take_back)?;
            }
            Event::ServerAway { address, reason, retry_timeout } => {
                messages::away(&self.args.routes, &address, &reason, retry_timeout);
                self.server_is_away(&address, Some(reason));
            }
            Event::ServerStillAway { address, away_for, .. } => {
                messages::still_away(&self.args.routes, &address, away_for, self.args.retry_for);
                replace::write_metrics(self.args, &self.summary.live);
            }
            Event::ServerBack { address, away_for } => {
                messages::back(&self.args.routes, &address, away_for);
                self.server_is_away(&address, None);
            }
            Event::NoStatistics { address } => messages::no_statistics(&self.args.routes, &address),
            Event::RecordsReadBack { address, in_flight, read_back, set_again, untracked } => {
                messages::read_back(&self.args.routes, &address, in_flight, read_back, set_again, untracked);
            }
            _ => {}
        }
        Ok(())
    }

    /// Marks a log as done, of which all is stored.
    fn finish(&mut self, mut file: InputReport) -> Result<()> {
        let log = self.logs.next().context("a log was finished that does not belong to this load")?;
        // Before the dot, for they could not be written after it; and before the last look at the log, since a sync
        // takes a while.
        self.rejects.as_mut().map_or(Ok(()), Rejects::sync)?;
        let done = if self.args.dry { None } else { Some(log.mark_done()?) };
        self.rejects.iter_mut().for_each(Rejects::log_done);
        // Not before it is true.
        messages::file(&file, self.args.max_error_rate);
        if let Some(done) = done {
            done.replaced.iter().for_each(|older| messages::replaced(older));
            // It has its dot, so it counts as done; the load stops with the next event.
            self.unsynced = done.synced.err();
        }
        // They are in the log now; kept for all files they would only fill the memory.
        (file.rejected_lines, file.dropped_parts) = Default::default();
        file.index = self.summary.done.len();
        self.summary.file_done(file, self.args.max_error_rate);
        Ok(())
    }

    /// Shows that a server is waited for, for this reason, or no longer; the metrics are written for those who watch
    /// them meanwhile.
    fn server_is_away(&mut self, address: &str, reason: Option<String>) {
        self.shown.server(&servers::named(&self.args.routes, address), reason.is_some());
        let mut now = self.summary.live.lock();
        if reason.is_none() {
            now.server_is_back(address);
        }
        now.totals.server_mut(address).away = reason.map(|reason| (Instant::now(), reason));
        drop(now);
        replace::write_metrics(self.args, &self.summary.live);
    }

    /// The load has ended: what it leaves unfinished is taken back, and the bar goes.
    pub(crate) fn end(self, unfinished: bool) {
        drop(self.shown);
        self.summary.live.lock().end_load();
        if unfinished && let Some(Err(error)) = self.rejects.as_mut().map(Rejects::take_back) {
            log::warn!("{error:#}");
        }
    }
}
