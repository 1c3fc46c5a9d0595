//! What is done about each event of a load.

use anyhow::Result;
use memc_core::Event;

use crate::args::Args;
use crate::inputs::find;
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
    pub(crate) summary: &'a mut Summary,
    pub(crate) rejects: &'a mut Option<Rejects>,
    pub(crate) shown: Shown,
    /// The log of which was logged before that it is in progress.
    pub(crate) again: Option<String>,
}

impl Events<'_> {
    /// Handles one event; an error stops the load.
    pub(crate) fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::InputStarted(name) => {
                if self.again.as_ref() != Some(&name) {
                    log::info!("Processing {name}");
                }
                self.shown.file(&name, self.summary.done.len());
            }
            Event::InputFinished(mut file) => {
                self.rejects.as_mut().map_or(Ok(()), Rejects::log_done)?;
                let replaced = match self.args.dry {
                    true => None,
                    false => find::mark_done(&self.summary.files[file.index])?,
                };
                // Not before it is true.
                messages::file(&file, self.args.max_error_rate);
                replaced.iter().for_each(|older| messages::replaced(older));
                // They are in the log now; kept for all files they would only fill the memory.
                file.rejected_lines = Vec::new();
                self.summary.file_done(file);
            }
            Event::LinesRejected { file, lines } => {
                self.rejects.as_mut().map_or(Ok(()), |rejects| rejects.add(&file, &lines))?;
            }
            Event::ServerRestarted { address } => {
                self.summary.lose(&address);
                messages::restarted(&address, self.summary);
                // It answers.
                self.server_is_away(&address, false);
                self.rejects.as_mut().map_or(Ok(()), Rejects::take_back)?;
            }
            Event::ServerAway { address, reason, retry_timeout } => {
                messages::away(&self.args.routes, &address, &reason, retry_timeout);
                self.server_is_away(&address, true);
            }
            Event::ServerStillAway { address, away_for, .. } => {
                messages::still_away(&self.args.routes, &address, away_for, self.args.retry_for);
                self.server_is_away(&address, true);
            }
            Event::ServerBack { address, away_for } => {
                messages::back(&self.args.routes, &address, away_for);
                self.server_is_away(&address, false);
            }
            Event::RecordsReadBack { address, in_flight, read_back, set_again } => {
                messages::read_back(&self.args.routes, &address, in_flight, read_back, set_again);
                self.summary.totals.add_read_back(&address, in_flight, read_back, set_again);
            }
            _ => {}
        }
        Ok(())
    }

    /// Shows that a server is waited for, or no longer; the metrics are written for the sake of those who watch them
    /// meanwhile.
    fn server_is_away(&mut self, address: &str, is_away: bool) {
        self.shown.server(&servers::named(&self.args.routes, address), is_away);
        self.summary.totals.server_mut(address).is_away = is_away;
        replace::write_metrics(self.args, &self.summary.totals);
    }

    /// The load has ended: what it leaves unfinished is taken back, and the bar goes.
    pub(crate) fn end(self, unfinished: bool) {
        drop(self.shown);
        if unfinished && let Some(Err(error)) = self.rejects.as_mut().map(Rejects::take_back) {
            log::warn!("{error:#}");
        }
    }
}
