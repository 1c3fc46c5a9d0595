//! One load of memc-core: from the logs that are not done to an error or the end.

use std::sync::Arc;

use anyhow::Result;
use indicatif::ProgressBar;
use memc_core::apps::AppsEncoder;
use memc_core::{Error, Event, Input, Loader};

use crate::args::Args;
use crate::inputs::log_file::{Changed, LogFile};
use crate::inputs::name::shown;
use crate::output::messages;
use crate::output::progress::Shown;
use crate::output::rejects::Rejects;
use crate::output::service::Service;
use crate::run::events::Events;
use crate::run::summary::Summary;

/// What a load is made with.
#[derive(Debug)]
pub(crate) struct Attempt<'a> {
    pub(crate) args: &'a Args,
    pub(crate) bar: &'a ProgressBar,
    pub(crate) service: &'a Service,
    pub(crate) loader: &'a Loader<AppsEncoder>,
    pub(crate) rejects: &'a mut Option<Rejects>,
    /// The name of the log that an earlier load has started.
    pub(crate) started: Option<String>,
}

impl Attempt<'_> {
    /// Loads these logs, which are the files of the summary that are not done, and adds to the summary what was
    /// done; what stopped it, if something did.
    pub(crate) fn run(self, logs: &[Arc<LogFile>], summary: &mut Summary) -> Result<Option<Error>> {
        summary.live.lock().begin_load();
        let left = &summary.files[summary.done.len()..];
        let (handle, total) = (self.loader.progress_handle(), summary.files.len());
        let progress = Shown::start(self.bar, self.service, handle, left, total)?;
        let mut events = Events {
            args: self.args,
            logs: logs.iter(),
            summary,
            rejects: self.rejects,
            shown: progress,
            started: self.started,
            unsynced: None,
        };
        let on_event = |event: Event| {
            events.handle(event).map_err(|error| match error.downcast::<Changed>() {
                Ok(changed) => changed.into(),
                Err(error) => error.into(),
            })
        };
        let inputs: Vec<_> = logs.iter().map(input).collect();
        let result = if self.args.dry {
            self.loader.dry_run(inputs, |record| messages::dry_record(&record, &self.args.routes), on_event)
        } else {
            self.loader.load(inputs, on_event)
        };

        let (report, error) = match result {
            Ok(report) => {
                (report, events.unsynced.take().map(|error| Error::Caller { source: error.into() }))
            }
            Err(stopped) => (*stopped.report, Some(stopped.error)),
        };
        events.end(error.is_some());
        summary.end_load(report);
        Ok(error)
    }
}

/// The log as an input. Plain text is only taken under names without `.gz`.
fn input(log: &Arc<LogFile>) -> Input {
    let opened = Arc::clone(log);
    let input = Input::file(shown(log.path()).to_string(), move || opened.open());
    match log.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        true => input.require_gzip(),
        false => input,
    }
}
