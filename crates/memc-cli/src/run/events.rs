//! What is done about each thing that the loader tells while it works.

use anyhow::Result;
use memc_core::Event;

use crate::args::Args;
use crate::inputs::find;
use crate::output::messages;
use crate::output::progress::Shown;
use crate::output::rejects::Rejects;
use crate::run::summary::Summary;

/// Where events leave their mark.
#[derive(Debug)]
pub(crate) struct Events<'a> {
    pub(crate) args: &'a Args,
    pub(crate) summary: &'a mut Summary,
    pub(crate) rejects: &'a mut Option<Rejects>,
    pub(crate) shown: Shown,
    /// The log of which was told before that it is in work.
    pub(crate) again: Option<String>,
}

impl Events<'_> {
    /// Handles one event; an error stops the load.
    pub(crate) fn handle(&mut self, event: Event) -> Result<()> {
        match event {
            Event::InputStarted { name, .. } => {
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
                (file.rejected_lines, file.dropped_parts) = Default::default();
                self.summary.done.push(file);
            }
            Event::LinesRejected { name, lines, .. } => {
                self.rejects.as_mut().map_or(Ok(()), |rejects| rejects.add(&name, &lines))?;
            }
            Event::ServerRestarted { address } => {
                self.summary.lose(&address);
                messages::restarted(&address, self.summary);
                self.rejects.as_mut().map_or(Ok(()), Rejects::take_back)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The load has ended: what it leaves unfinished is taken back, and the bar goes.
    pub(crate) fn end(self, unfinished: bool) {
        drop(self.shown);
        if unfinished && let Some(Err(error)) = self.rejects.as_mut().map(Rejects::take_back) {
            log::warn!("{error:#}");
        }
    }
}
