//! A load from its start to its exit code: of what is there now, or of what comes, until it is stopped.

use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, mpsc};

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jiff::{Timestamp, Zoned};
use memc_cluster::Cluster;

use crate::args::{self, Args, variables};
use crate::cluster;
use crate::follow;
use crate::follow::watcher::Bell;
use crate::inputs::lock::FolderLocks;
use crate::inputs::name::shown;
use crate::output::log::Log;
use crate::output::rejects::ReopenHandle;
use crate::output::{self, messages, progress, replace};
use crate::run::job::Job;
use crate::run::self_test;
use crate::run::signals::{self, Taken};
use crate::run::summary::{End, NOT_ALL_WELL, Summary};
use crate::watch::listener::Listener;
use crate::watch::live::{Doing, Live};
use crate::watch::{self, watched::Watched};

/// Does what the arguments ask for, and reports how it has ended.
pub(crate) fn run(args: &Args) -> ExitCode {
    let listener = args.listen.as_ref().filter(|_| !args.test).map(|address| {
        let failed = |error| {
            args::exit_for_wrong_usage(format!("option --listen: cannot listen on '{address}': {error}"))
        };
        address.listen().unwrap_or_else(failed)
    });
    let signals = signals::take();
    let bar = progress::bar(args);
    let mut summary = Summary::new();
    let mut cluster = None;
    let (log, result) = match Log::start(args, &bar) {
        Ok(log) => {
            variables::warn_of_unknown(&args::command());
            (
                Some(log.clone()),
                signals
                    .and_then(|signals| go(args, &bar, &log, listener, signals, &mut summary, &mut cluster)),
            )
        }
        Err(error) => (None, Err(error)),
    };
    end(args, log.as_ref(), &mut summary, result, cluster)
}

/// From the first line of the log on; an error means that it stopped before its end. In the first process of a cluster the
/// others wait for what comes of it.
fn go(
    args: &Args,
    bar: &ProgressBar,
    log: &Log,
    listener: Option<Listener>,
    signals: Taken,
    summary: &mut Summary,
    cluster: &mut Option<Cluster>,
) -> Result<()> {
    log::info!("Memc loader started with options: {args} (times in UTC{})", Zoned::now().strftime("%:z"));
    if args.inflate_threads.is_some() {
        messages::inflate_threads_ignored();
    }
    if args.test {
        self_test::run().context("the self-check failed")?;
        log::info!("The self-check passed");
        return Ok(());
    }
    if !args.is_helper() {
        replace::check(args)?;
    }
    let mut job = Job::new(args, bar, &summary.live)?;
    let (bell, rung) = mpsc::sync_channel(1);
    let signalled = handle_signals(signals, &job, log, &summary.live, &bell)?;
    // It goes with the end of the run.
    let _socket_file = match listener {
        Some(listener) => {
            messages::listening(&listener);
            let (live, service, log) = (Arc::clone(&summary.live), job.service.clone(), log.clone());
            watch::start(listener, Watched { args: args.clone(), live, service, log }, job.checker())?
        }
        None => None,
    };
    let result = work(&mut job, summary, bell, &rung);
    *cluster = job.cluster.take();
    summary.signalled = signalled.exit_code();
    job.service.stopping();
    result
}

/// Does the work, alone or with other workers and processes.
fn work(job: &mut Job<'_>, summary: &mut Summary, bell: Bell, rung: &Receiver<()>) -> Result<()> {
    job.cluster = cluster::start(job.args, &job.stop_handle())?;
    if job.args.is_helper()
        && let Some(cluster) = job.cluster.take()
    {
        summary.first_process = cluster::help(job, cluster)?;
        return Ok(());
    }
    match job.args.follow {
        true => follow::follow(job, summary, bell, rung),
        false => once(job, summary),
    }
}

/// Has signals stop the job, and open its files again.
fn handle_signals(
    signals: Taken,
    job: &Job<'_>,
    log: &Log,
    live: &Arc<Live>,
    bell: &Bell,
) -> Result<signals::Watch> {
    let (stop, service, live, ring) =
        (job.stop_handle(), job.service.clone(), Arc::clone(live), bell.clone());
    let stop = move |signal: &str| {
        // The log names the signal before it names the end.
        log::warn!("{signal}: finishing what is in flight; again to end at once");
        service.status(format_args!("finishing what is in flight ({signal})"));
        live.lock().set_doing(Doing::Stopping(signal.to_owned()));
        stop.request();
        // A bell that is ringing needs no more.
        let _ = ring.try_send(());
    };
    let (log, rejects, ring) = (log.clone(), job.rejects_handle(), bell.clone());
    let reopen = move || {
        rejects.iter().for_each(ReopenHandle::request);
        let _ = ring.try_send(());
        match log.reopen() {
            Ok(true) => log::info!("SIGHUP: the log continues here"),
            Ok(false) => {}
            Err(error) => log::error!("SIGHUP: {error:#}; the log stays where it was"),
        }
    };
    signals::Watch::start(signals, stop, reopen)
}

/// Loads what is there now.
fn once(job: &mut Job<'_>, summary: &mut Summary) -> Result<()> {
    let source = job.args.source();
    let mut locks = FolderLocks::default();
    let found = if job.args.dry { source.find()? } else { locks.find(source)? };
    summary.owns_folders = true;
    job.service.ready();
    source.done().iter().for_each(|path| log::info!("{}: already done: skipped", shown(path)));
    messages::others(&found.others);
    summary.files = found.logs;
    if summary.files.is_empty() {
        log::warn!("{}", source.nothing());
        return Ok(());
    }
    job.load(summary, &locks, &[]).map(drop)
}

/// Reports how the run has ended: in the log, in the files for other programs, to the other processes, by the exit code.
fn end(
    args: &Args,
    log: Option<&Log>,
    summary: &mut Summary,
    result: Result<()>,
    cluster: Option<Cluster>,
) -> ExitCode {
    let mut exit_code = summary.exit_code(result.is_err(), args.max_error_rate);
    if exit_code == 0 && log.is_some_and(Log::has_failed) {
        exit_code = NOT_ALL_WELL;
    }
    // Each round of a follower has been written when it ended.
    let is_due = summary.owns_folders && !(args.follow && result.is_ok());
    let error = result.err();
    if let Some(error) = &error
        && !cluster::is_cancelled(error)
    {
        output::log::fail(args, error);
    }
    let text = error.as_ref().map(|error| format!("{error:#}"));
    let end = End { at: Timestamp::now(), exit_code, error: text };
    if is_due && let Err(error) = replace::write(args, summary, &end) {
        match exit_code {
            // The reason is in the log already, and often it is the same.
            1 => log::warn!("{error:#}"),
            0 | NOT_ALL_WELL => {
                log::error!("{error:#}");
                exit_code = NOT_ALL_WELL;
            }
            _ => output::log::fail(args, &error),
        }
    }
    if exit_code == NOT_ALL_WELL
        && let Some(text) = log.and_then(Log::unseen_complaint)
    {
        output::log::complain(text);
    }
    if let Some(cluster) = cluster {
        cluster::end(cluster, exit_code, summary.signalled.is_some(), error.as_ref());
    }
    ExitCode::from(exit_code)
}
