//! One load of memc-core: from the logs that are not done to an error or the end.

use std::sync::Arc;

use anyhow::Result;
use indicatif::ProgressBar;
use memc_cluster::{Cluster, Files};
use memc_core::apps::AppsEncoder;
use memc_core::{DryRecord, Error, Event, Loader};

use crate::args::Args;
use crate::cluster::files::{self, Here};
use crate::inputs::log_file::{Changed, LogFile};
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
    /// Who loads, if it is more than this process with one file after the other.
    pub(crate) cluster: Option<&'a mut Cluster>,
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
        let on_record = |record: DryRecord<'_>| messages::dry_record(&record, &self.args.routes);
        let inputs = logs.iter().map(files::input).collect::<Vec<_>>();
        let paths = logs.iter().map(|log| log.path().to_owned()).collect::<Vec<_>>();
        let files: Arc<dyn Files> = Arc::new(Here(logs.to_vec()));
        let result = match (self.cluster, self.args.dry) {
            (None, false) => self.loader.load(inputs, on_event),
            (None, true) => self.loader.dry_run(inputs, on_record, on_event),
            (Some(cluster), false) => cluster.load(self.loader, &paths, &files, on_event),
            (Some(cluster), true) => cluster.dry_run(self.loader, &paths, &files, on_record, on_event),
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
