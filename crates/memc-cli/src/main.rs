//! `memc-load`: finds the logs, has memc-core load them, renames each when it is done.

mod args;
mod files;
mod lock;
mod logger;
mod messages;
mod rejects;
mod self_test;
mod signals;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use log::LevelFilter;
use memc_core::{Address, AppsEncoder, Error, Event, Input, Loader, Options};

use crate::args::Args;
use crate::lock::FolderLocks;
use crate::rejects::Rejects;

/// Everything was loaded, but a file had too many bad lines, or a server has lost records since.
const NOT_ALL_WELL: u8 = 3;

fn main() -> ExitCode {
    let args = Args::from_command_line();
    let level = if args.dry { LevelFilter::Debug } else { LevelFilter::Info };
    let result = logger::start(args.log.as_deref(), level).and_then(|()| run(&args));
    result.unwrap_or_else(|error| {
        complain(&args, &error);
        ExitCode::FAILURE
    })
}

/// Tells why the run has failed.
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

/// The whole job; an error means that it stopped before its end.
fn run(args: &Args) -> Result<ExitCode> {
    log::info!("Memc loader started with options: {args}");
    if args.test {
        self_test::run().context("the self-check failed")?;
        log::info!("The self-check passed");
        return Ok(ExitCode::SUCCESS);
    }

    let mut locks = FolderLocks::default();
    let mut found = files::find(&args.pattern)?;
    // Another loader may have finished some of the files before it left the folder to this one.
    while !args.dry && locks.take(&found.logs)? {
        found = files::find(&args.pattern)?;
    }
    for path in &found.others {
        log::warn!("{}: no regular file, so no log: left alone", path.display());
    }
    let files = found.logs;
    if files.is_empty() {
        log::warn!("No file matches '{}': nothing to do", args.pattern);
        return Ok(ExitCode::SUCCESS);
    }

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

    let mut rejects = rejects::open(args.rejects.as_deref())?;
    let (mut all_well, mut done) = (true, 0);
    let on_event = |event: Event| {
        match event {
            Event::FileStarted(name) => log::info!("Processing {name}"),
            Event::FileFinished(file) => {
                all_well &= messages::file(&file, args.max_error_rate);
                rejects.as_mut().map_or(Ok(()), Rejects::log_done)?;
                if !args.dry {
                    files::mark_done(&files[file.index])?;
                }
                done += 1;
            }
            Event::LinesRejected { file, lines } => {
                rejects.as_mut().map_or(Ok(()), |rejects| rejects.add(&file, &lines))?;
            }
            Event::ServerRestarted { address } => {
                all_well &= messages::restarted(&address, &files[..done]);
                rejects.as_mut().map_or(Ok(()), Rejects::take_back)?;
            }
            _ => {}
        }
        Ok(())
    };
    let inputs: Vec<Input> = files.iter().map(|path: &PathBuf| Input::path(path)).collect();
    let result = if args.dry {
        loader.dry_run(inputs, |record| messages::dry_record(&record, &servers), on_event)
    } else {
        loader.load(inputs, on_event)
    };

    let (report, error) = match result {
        Ok(report) => (report, None),
        Err(stopped) => (*stopped.report, Some(stopped.error)),
    };
    if report.unfinished.is_some() {
        rejects.as_mut().map_or(Ok(()), Rejects::take_back)?;
    }
    all_well &= messages::run(&report, done, &files);
    let error = error.map(|error| messages::stopped(error, &args.routes));
    if let Some(code) = watch.exit_code() {
        if let Some(error) = error
            && !matches!(error.downcast_ref(), Some(Error::Requested))
        {
            complain(args, &error);
        }
        return Ok(ExitCode::from(code));
    }
    error.map_or(Ok(()), Err)?;
    Ok(if all_well { ExitCode::SUCCESS } else { ExitCode::from(NOT_ALL_WELL) })
}
