//! `memc-load`: finds the logs, has memc-core load them, renames each when it is done.

mod args;
mod events;
mod files;
mod lock;
mod logger;
mod manual;
mod messages;
mod metrics;
mod outputs;
mod progress;
mod rejects;
mod report;
mod self_test;
mod signals;
mod summary;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jiff::Timestamp;
use log::LevelFilter;
use memc_core::{Address, AppsEncoder, Error, Input, Loader, Options};

use crate::args::Args;
use crate::events::Events;
use crate::lock::FolderLocks;
use crate::progress::Shown;
use crate::summary::{End, NOT_ALL_WELL, Summary};

fn main() -> ExitCode {
    let args = Args::from_command_line();
    if let Some(printed) = manual::print(&args) {
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    let bar = progress::bar(&args);
    let level = if args.dry { LevelFilter::Debug } else { LevelFilter::Info };
    let mut summary = Summary::new();
    let result =
        logger::start(args.log.as_deref(), level, &bar).and_then(|()| run(&args, &bar, &mut summary));
    end(&args, &summary, result)
}

/// The whole job; an error means that it stopped before its end.
fn run(args: &Args, bar: &ProgressBar, summary: &mut Summary) -> Result<()> {
    log::info!("Memc loader started with options: {args}");
    if args.test {
        self_test::run().context("the self-check failed")?;
        log::info!("The self-check passed");
        return Ok(());
    }
    outputs::check(args)?;
    let mut locks = FolderLocks::default();
    summary.files = find(args, &mut locks)?;
    if summary.files.is_empty() {
        log::warn!("No file matches '{}': nothing to do", args.pattern);
        return Ok(());
    }
    load(args, bar, summary)
}

/// The logs to load, in folders that are locked for this process.
fn find(args: &Args, locks: &mut FolderLocks) -> Result<Vec<PathBuf>> {
    let mut found = files::find(&args.pattern)?;
    // Another loader may have finished some of the files before it left the folder to this one.
    while !args.dry && locks.take(&found.logs)? {
        found = files::find(&args.pattern)?;
    }
    for path in &found.others {
        log::warn!("{}: not a regular file, so not a log: left alone", path.display());
    }
    Ok(found.logs)
}

/// Loads the files of the summary, and gathers there what comes of it.
fn load(args: &Args, bar: &ProgressBar, summary: &mut Summary) -> Result<()> {
    let (device_types, servers): (Vec<_>, Vec<Address>) =
        args.routes.iter().cloned().map(|route| (route.device_type, route.server)).unzip();
    let mut options = Options::default();
    options.connections = args.connections;
    options.timeout = args.timeout;
    options.retry_for = args.retry_for;
    options.keep_rejected = args.rejects.is_some();
    let pool = rayon::ThreadPoolBuilder::new().num_threads(args.threads());
    pool.build_global().context("cannot start the threads")?;
    let loader = Loader::new(AppsEncoder::new(device_types), servers.clone(), options);
    let watch = signals::Watch::start(loader.stop_handle())?;

    let inputs: Vec<Input> = summary.files.iter().map(Input::path).collect();
    let rejects = rejects::open(args.rejects.as_deref())?;
    let shown = Shown::start(bar, loader.progress_handle(), &summary.files)?;
    let mut events = Events { args, summary, rejects, shown };
    let on_event = |event| Ok(events.handle(event)?);
    let result = if args.dry {
        loader.dry_run(inputs, |record| messages::dry_record(&record, &servers), on_event)
    } else {
        loader.load(inputs, on_event)
    };

    let (report, error) = match result {
        Ok(report) => (report, None),
        Err(stopped) => (*stopped.report, Some(stopped.error)),
    };
    events.end(report.unfinished.is_some());
    summary.end(report);
    summary.signalled = watch.exit_code();
    let asked_to = matches!(error, Some(Error::Requested));
    messages::run(summary, error.is_some() && !asked_to);
    error.map_or(Ok(()), |error| Err(messages::stopped(error, &args.routes)))
}

/// Tells how the run has ended: in the log, in the files for other programs, by the exit code.
fn end(args: &Args, summary: &Summary, result: Result<()>) -> ExitCode {
    let mut exit_code = summary.exit_code(result.is_err(), args.max_error_rate);
    let error = result.err();
    if let Some(error) = &error
        && !matches!(error.downcast_ref(), Some(Error::Requested))
    {
        complain(args, error);
    }
    let error = error.map(|error| format!("{error:#}"));
    let end = End { at: Timestamp::now(), exit_code, error };
    if let Err(error) = outputs::write(args, summary, &end) {
        match exit_code {
            // It has been told why; often it is for the same reason.
            1 => log::warn!("{error:#}"),
            _ => complain(args, &error),
        }
        exit_code = if exit_code == 0 { NOT_ALL_WELL } else { exit_code };
    }
    ExitCode::from(exit_code)
}

/// Tells what has gone wrong.
fn complain(args: &Args, error: &anyhow::Error) {
    log::error!("{error:#}");
    if args.log.is_some() {
        // Who started it looks here; the log file may not even exist.
        #[expect(clippy::print_stderr, reason = "the last word of a program that fails")]
        {
            eprintln!("memc-load: {error:#}");
        }
    }
}
