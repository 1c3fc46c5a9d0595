//! `memc-load`: finds the logs, has memc-core load them, renames each when it is done.

mod args;
mod follow;
mod inputs;
mod ops;
mod output;
mod run;

use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jiff::Timestamp;
use memc_core::Error;

use crate::args::{Args, man, variables};
use crate::inputs::lock::FolderLocks;
use crate::inputs::name::shown;
use crate::inputs::own_outputs;
use crate::output::{messages, progress, replace};
use crate::run::job::Job;
use crate::run::summary::{End, NOT_ALL_WELL, Summary};
use crate::run::{self_test, signals};

fn main() -> ExitCode {
    let args = Args::from_command_line();
    if let Some(printed) = man::print(&args) {
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Err(text) = own_outputs::check(args.source(), args.output_files(), args.on_broken.folder()) {
        args::exit_for_wrong_usage(text);
    }
    signals::survive_file_size_limit();
    let bar = progress::bar(&args);
    let log = output::log::start(args.log.as_deref(), args.log_level(), &bar);
    variables::warn_of_unknown(&args::command());
    if let Some(operation) = &args.command {
        return log.and_then(|()| ops::run(operation, &args)).map_or_else(
            |error| {
                complain(&args, &error);
                ExitCode::FAILURE
            },
            ExitCode::from,
        );
    }
    let mut summary = Summary::new();
    let result = log.and_then(|()| run(&args, &bar, &mut summary));
    end(&args, &summary, result)
}

/// A whole load, or the self-check; an error means that it stopped before its end.
fn run(args: &Args, bar: &ProgressBar, summary: &mut Summary) -> Result<()> {
    log::info!("Memc loader started with options: {args}");
    if args.inflate_threads.is_some() {
        messages::inflate_threads_ignored();
    }
    if args.test {
        self_test::run().context("the self-check failed")?;
        log::info!("The self-check passed");
        return Ok(());
    }
    replace::check(args)?;
    let mut job = Job::new(args, bar)?;
    let (bell, rung) = mpsc::sync_channel(1);
    let (stop, ring) = (job.stop_handle(), bell.clone());
    let watch = signals::Watch::start(move || {
        stop.request();
        // A bell that is ringing needs no more.
        let _ = ring.try_send(());
    })?;
    let result = match args.follow {
        true => follow::follow(&mut job, summary, bell, &rung),
        false => once(&mut job, summary),
    };
    summary.signalled = watch.exit_code();
    result
}

/// Loads what is there now.
fn once(job: &mut Job<'_>, summary: &mut Summary) -> Result<()> {
    let source = job.args.source();
    let mut locks = FolderLocks::default();
    let found = if job.args.dry { source.find()? } else { locks.find(source)? };
    summary.owns_folders = true;
    source.done().iter().for_each(|path| log::info!("{}: done already: passed over", shown(path)));
    messages::others(&found.others);
    summary.files = found.logs;
    if summary.files.is_empty() {
        log::warn!("{}", source.nothing());
        return Ok(());
    }
    job.load(summary, &locks, &[]).map(drop)
}

/// Reports how the run has ended: in the log, in the files for other programs, by the exit code.
fn end(args: &Args, summary: &Summary, result: Result<()>) -> ExitCode {
    let mut exit_code = summary.exit_code(result.is_err(), args.max_error_rate);
    // Each round of a follower has been written when it ended.
    let is_due = summary.owns_folders && !(args.follow && result.is_ok());
    let error = result.err();
    if let Some(error) = &error
        && !matches!(error.downcast_ref(), Some(Error::Cancelled))
    {
        complain(args, error);
    }
    let error = error.map(|error| format!("{error:#}"));
    let end = End { at: Timestamp::now(), exit_code, error };
    if is_due && let Err(error) = replace::write(args, summary, &end) {
        match exit_code {
            // The error that stopped the run is in the log already; often this one has the same reason.
            1 => log::warn!("{error:#}"),
            _ => complain(args, &error),
        }
        exit_code = if exit_code == 0 { NOT_ALL_WELL } else { exit_code };
    }
    ExitCode::from(exit_code)
}

/// Logs what has gone wrong.
fn complain(args: &Args, error: &anyhow::Error) {
    log::error!("{error:#}");
    if args.log.is_some() {
        // Who started it looks here; there may be no log file at all.
        #[expect(clippy::print_stderr, reason = "the last word of a program that fails")]
        {
            eprintln!("memc-load: {error:#}");
        }
    }
}
