//! `memc-load`: finds the logs, has memc-core load them, renames each when it is done.

mod args;
mod follow;
mod inputs;
mod output;
mod run;

use std::process::ExitCode;
use std::sync::mpsc;

use anyhow::{Context, Result};
use indicatif::ProgressBar;
use jiff::Timestamp;
use log::LevelFilter;
use memc_core::Error;

use crate::args::{Args, manual};
use crate::inputs::find;
use crate::inputs::lock::FolderLocks;
use crate::inputs::own_outputs;
use crate::output::{messages, progress, replace};
use crate::run::job::Job;
use crate::run::summary::{End, NOT_ALL_WELL, Summary};
use crate::run::{self_test, signals};

fn main() -> ExitCode {
    let args = Args::from_command_line();
    if let Some(printed) = manual::print(&args) {
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Err(text) = own_outputs::check(&args.pattern, args.output_files(), args.on_broken.folder()) {
        args::exit_for_wrong_usage(text);
    }
    signals::survive_file_size_limit();
    let bar = progress::bar(&args);
    let level = if args.dry { LevelFilter::Debug } else { LevelFilter::Info };
    let mut summary = Summary::new();
    let result =
        output::log::start(args.log.as_deref(), level, &bar).and_then(|()| run(&args, &bar, &mut summary));
    end(&args, &summary, result)
}

/// The whole job; an error means that it stopped before its end.
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
    let pattern = &job.args.pattern;
    let mut locks = FolderLocks::default();
    let found = if job.args.dry { find::find(pattern)? } else { locks.find(pattern)? };
    summary.owns_folders = true;
    messages::others(&found.others);
    summary.files = found.logs;
    if summary.files.is_empty() {
        log::warn!("No file matches '{pattern}': nothing to do");
        return Ok(());
    }
    job.load(summary, &locks, &[]).map(drop)
}

/// Tells how the run has ended: in the log, in the files for other programs, by the exit code.
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
