//! The work of a run: has memc-core load the logs of one round, and gathers what comes of it.

use std::fmt;
use std::io::ErrorKind;

use anyhow::Result;
use indicatif::ProgressBar;
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Error, Event, Input, Loader, Options, StopHandle};

use crate::args::Args;
use crate::output::messages;
use crate::output::progress::Shown;
use crate::output::rejects::{self, Rejects};
use crate::run::events::Events;
use crate::run::summary::Summary;

/// What stays from one round to the next.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) args: &'a Args,
    bar: &'a ProgressBar,
    servers: Vec<Address>,
    loader: Loader<AppsEncoder>,
    rejects: Option<Rejects>,
    /// The log that was found to be incomplete: that it is in work has been told.
    incomplete: Option<String>,
}

/// How a round has ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    AllDone,
    /// The first log that is not done was not complete, for this reason. Only a follower has such.
    Incomplete(String),
}

impl<'a> Job<'a> {
    pub(crate) fn new(args: &'a Args, bar: &'a ProgressBar) -> Result<Self> {
        let (device_types, servers): (Vec<_>, Vec<Address>) =
            args.routes.iter().cloned().map(|route| (route.device_type, route.server)).unzip();
        let mut options = Options::default();
        options.connections = args.connections;
        if let Some(threads) = args.inflate_threads {
            options.inflate_threads = threads.into();
        }
        options.io_timeout = args.timeout;
        options.retry_timeout = args.retry_for;
        options.report_rejected = args.rejects.is_some();
        options.threads = args.threads();
        let loader = Loader::new(AppsEncoder::new(device_types), servers.clone(), options);
        let rejects = rejects::open(args.rejects.as_deref())?;
        Ok(Self { args, bar, servers, loader, rejects, incomplete: None })
    }

    /// The handle that stops the rounds.
    pub(crate) fn stop_handle(&self) -> StopHandle {
        self.loader.stop_handle()
    }

    /// Loads the files of the summary. A log of which `has_changed` says, by its place, that it is no longer
    /// what it was is not complete, and not marked as done.
    pub(crate) fn load(
        &mut self,
        summary: &mut Summary,
        has_changed: impl Fn(usize) -> bool + Sync,
    ) -> Result<Outcome> {
        let inputs: Vec<Input> = summary.files.iter().map(Input::path).collect();
        let shown = Shown::start(self.bar, self.loader.progress_handle(), &summary.files)?;
        let again = self.incomplete.take();
        let mut events = Events { args: self.args, summary, rejects: &mut self.rejects, shown, again };
        let on_event = |event: Event| {
            if matches!(&event, Event::InputFinished(file) if has_changed(file.index)) {
                return Err(Changed.into());
            }
            Ok(events.handle(event)?)
        };
        let result = if self.args.dry {
            self.loader.dry_run(inputs, |record| messages::dry_record(&record, &self.servers), on_event)
        } else {
            self.loader.load(inputs, on_event)
        };

        let (mut report, error) = match result {
            Ok(report) => (report, None),
            Err(stopped) => (*stopped.report, Some(stopped.error)),
        };
        events.end(error.is_some());
        let incomplete = error.as_ref().filter(|_| self.args.follow).and_then(incomplete);
        if incomplete.is_some() {
            self.incomplete = summary.files.get(summary.done.len()).map(|log| log.display().to_string());
            // Its lines are told when it is complete.
            report.unfinished = None;
        }
        summary.end(report);
        messages::servers(summary, error.is_some());
        if let Some(why) = incomplete {
            if !summary.done.is_empty() {
                messages::run(summary, false);
            }
            return Ok(Outcome::Incomplete(why));
        }
        let asked_to = matches!(error, Some(Error::Cancelled));
        messages::run(summary, error.is_some() && !asked_to);
        error.map_or(Ok(Outcome::AllDone), |error| Err(messages::stopped(error, &self.args.routes)))
    }
}

/// Why a log was not complete, if that was it: it is still being written, or was taken away meanwhile.
fn incomplete(error: &Error) -> Option<String> {
    match error {
        Error::Read { source, .. } if source.kind() == ErrorKind::UnexpectedEof => {
            Some("it ends early".to_owned())
        }
        Error::Read { source, .. } if source.kind() == ErrorKind::NotFound => Some(source.to_string()),
        Error::Caller { source } if source.is::<Changed>() => Some(source.to_string()),
        _ => None,
    }
}

/// A log that was not what it had been when its turn came.
#[derive(Debug)]
struct Changed;

impl fmt::Display for Changed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("it has changed while it was loaded")
    }
}

impl std::error::Error for Changed {}
