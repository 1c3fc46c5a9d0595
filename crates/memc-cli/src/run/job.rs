//! The work of a run: has memc-core load the logs of one round, and decides how it continues where a load stops.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use memc_cluster::Cluster;
use memc_core::apps::AppsEncoder;
use memc_core::{Error, Loader, Options, StopHandle};

use crate::args::{Args, OnBroken, routes};
use crate::inputs::find;
use crate::inputs::lock::FolderLocks;
use crate::inputs::log_file::{Changed, LogFile};
use crate::inputs::name::shown;
use crate::inputs::permissions;
use crate::inputs::quarantine::Quarantine;
use crate::inputs::version::Version;
use crate::output::messages;
use crate::output::rejects::{self, Rejects, ReopenHandle};
use crate::output::service::Service;
use crate::run::attempt::Attempt;
use crate::run::fault::Fault;
use crate::run::summary::Summary;
use crate::watch::live::Live;

/// What stays from one round to the next.
#[derive(Debug)]
pub(crate) struct Job<'a> {
    pub(crate) args: &'a Args,
    bar: &'a ProgressBar,
    pub(crate) loader: Loader<AppsEncoder>,
    /// Who loads, if it is more than this process with one file after the other.
    pub(crate) cluster: Option<Cluster>,
    rejects: Option<Rejects>,
    pub(crate) service: Service,
    quarantine: Option<Quarantine>,
    /// The log that was started and is not done: that it is processed has been logged.
    started: Option<String>,
}

/// How a round has ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    AllDone,
    /// This log of a follower was not complete after all, for this reason.
    Incomplete(Arc<LogFile>, String),
}

/// How a round continues after a load has stopped at a log.
enum Next {
    /// Not at all.
    Stop,
    /// A follower waits for the log, which is not complete for this reason.
    Wait(String),
    /// With this log again, which has changed.
    Again,
    /// With the log after this one, which was moved into quarantine.
    Skip,
}

impl<'a> Job<'a> {
    pub(crate) fn new(args: &'a Args, bar: &'a ProgressBar, live: &Live) -> Result<Self> {
        let (device_types, groups) = routes::unzip(&args.routes);
        let mut options = Options::default();
        options.connections = args.connections;
        options.io_timeout = args.timeout;
        options.retry_timeout = args.retry_for;
        options.protocol = args.protocol.fixed();
        options.ttl = args.ttl;
        options.report_rejected = args.rejects.is_some();
        options.threads = args.threads();
        let loader = Loader::new(AppsEncoder::new(device_types), groups, options);
        live.set_progress(loader.progress_handle());
        let quarantine = match &args.on_broken {
            // A dry run moves nothing.
            OnBroken::Quarantine(folder) if !args.dry && !args.is_helper() => {
                Some(Quarantine::open(folder).context("option --on-broken")?)
            }
            _ => None,
        };
        let rejects = if args.is_helper() { None } else { rejects::open(args.rejects.as_deref())? };
        let timeouts = args.timeout.saturating_add(args.retry_for);
        let service = Service::start(loader.progress_handle(), timeouts)?;
        Ok(Self { args, bar, loader, cluster: None, rejects, service, quarantine, started: None })
    }

    /// Asks for the file of rejected lines to be opened again when no log is in progress.
    pub(crate) fn rejects_handle(&self) -> Option<ReopenHandle> {
        self.rejects.as_ref().map(Rejects::reopen_handle)
    }

    /// Opens the file of rejected lines again if that was asked for. No log may be in progress.
    pub(crate) fn reopen_rejects(&mut self) {
        self.rejects.iter_mut().for_each(Rejects::reopen_if_asked);
    }

    /// Whoever asks the servers how they are, beside the load.
    pub(crate) fn checker(&self) -> Loader<AppsEncoder> {
        self.loader.clone()
    }

    /// The handle that stops the rounds.
    pub(crate) fn stop_handle(&self) -> StopHandle {
        self.loader.stop_handle()
    }

    /// Loads the files of the summary, in the folders that are locked for it. `expected` are the versions of a
    /// follower's files that seemed to be complete.
    pub(crate) fn load(
        &mut self,
        summary: &mut Summary,
        locks: &FolderLocks,
        expected: &[Version],
    ) -> Result<Outcome> {
        self.check(summary)?;
        let log = |(at, path): (usize, &PathBuf)| {
            Arc::new(LogFile::new(path, locks.folder(find::folder(path)), expected.get(at).copied()))
        };
        let logs = summary.files.iter().enumerate().map(log).collect();
        let outcome = self.load_all(logs, summary);
        log_end(self.args, summary, &outcome);
        outcome
    }

    /// Finds out before anything is loaded whether what comes after it can be done.
    fn check(&self, summary: &Summary) -> Result<()> {
        if self.args.dry {
            return Ok(());
        }
        permissions::check(&summary.files)?;
        self.quarantine.as_ref().map_or(Ok(()), |it| it.check(&summary.files)).context("option --on-broken")
    }

    /// Loads the logs, which are the files of the summary, with another load after each that can be recovered from.
    fn load_all(&mut self, mut logs: VecDeque<Arc<LogFile>>, summary: &mut Summary) -> Result<Outcome> {
        let mut changed = None;
        while !logs.is_empty() {
            let done = summary.done.len();
            let error = self.attempt(logs.make_contiguous(), summary)?;
            logs.drain(..summary.done.len() - done);
            let Some(error) = error else { break };
            let (Some(log), Some(fault)) = (logs.front(), Fault::of(&error)) else {
                return Err(messages::stopped(error, &self.args.routes));
            };
            match self.recover(log, &fault, summary)? {
                Next::Stop => return Err(fault.explain(log.path(), error)),
                Next::Wait(why) => return Ok(Outcome::Incomplete(Arc::clone(log), why)),
                Next::Again if changed.as_deref() == Some(log.path()) => {
                    return Err(Fault::Changed.explain(log.path(), error));
                }
                Next::Again => {
                    messages::changed(log.path());
                    changed = Some(log.path().to_owned());
                }
                Next::Skip => drop(logs.pop_front()),
            }
        }
        Ok(Outcome::AllDone)
    }

    /// Loads up to the first error, if there is one.
    fn attempt(&mut self, logs: &[Arc<LogFile>], summary: &mut Summary) -> Result<Option<Error>> {
        let attempt = Attempt {
            args: self.args,
            bar: self.bar,
            service: &self.service,
            loader: &self.loader,
            cluster: self.cluster.as_mut(),
            rejects: &mut self.rejects,
            started: self.started.take(),
        };
        let error = attempt.run(logs, summary)?;
        if error.is_some() {
            self.started = summary.files.get(summary.done.len()).map(|log| shown(log).to_string());
        }
        Ok(error)
    }

    /// Does what can be done about the fault of the first log that is not done.
    fn recover(&self, log: &LogFile, fault: &Fault, summary: &mut Summary) -> Result<Next> {
        let reason = match fault {
            Fault::Changed => return Ok(self.after_change()),
            Fault::Missing(why) | Fault::Incomplete(why) if self.args.follow => {
                return Ok(Next::Wait(why.clone()));
            }
            Fault::Missing(_) => return Ok(Next::Stop),
            Fault::Incomplete(why) => format!("not complete: {why}"),
            Fault::Broken(why) => why.clone(),
        };
        let Some(quarantine) = &self.quarantine else { return Ok(Next::Stop) };
        match quarantine.take(log, &reason) {
            Ok(path) => {
                let stored = summary.set_aside(path.clone());
                messages::quarantined(log.path(), &path, &reason, stored);
                Ok(Next::Skip)
            }
            Err(error) if error.is::<Changed>() => Ok(self.after_change()),
            Err(error) => Err(error.context("option --on-broken")),
        }
    }

    fn after_change(&self) -> Next {
        if self.args.follow { Next::Wait(Changed.to_string()) } else { Next::Again }
    }
}

/// Logs how a round has ended.
fn log_end(args: &Args, summary: &mut Summary, outcome: &Result<Outcome>) {
    let is_cancelled =
        |error: &anyhow::Error| matches!(error.downcast_ref::<Error>(), Some(Error::Cancelled));
    messages::servers(summary, args, !matches!(outcome, Ok(Outcome::AllDone)));
    match outcome {
        Ok(Outcome::AllDone) => messages::run(summary, args.max_error_rate, false),
        Ok(Outcome::Incomplete(..)) => {
            // Its rejected lines are logged when it is complete.
            summary.run.unfinished = None;
            if !summary.done.is_empty() {
                messages::run(summary, args.max_error_rate, false);
            }
        }
        Err(error) => messages::run(summary, args.max_error_rate, !is_cancelled(error)),
    }
}
