//! `--follow`: round after round, as logs appear and are complete.

pub(crate) mod incomplete;
pub(crate) mod late;
pub(crate) mod watcher;

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memc_core::StopHandle;

use crate::follow::incomplete::{Held, QUIET};
use crate::follow::late::Late;
use crate::follow::watcher::{Bell, Watcher};
use crate::inputs::find;
use crate::inputs::lock;
use crate::inputs::lock::FolderLocks;
use crate::inputs::name::shown;
use crate::inputs::version::Version;
use crate::output::messages;
use crate::output::replace;
use crate::run::job::{Job, Outcome};
use crate::run::summary::Summary;

/// So often all is looked at anew, whatever the watcher says: some file systems tell it nothing.
const RESCAN: Duration = Duration::from_secs(30);

/// So often a log that is not complete yet is looked at.
const POLL: Duration = Duration::from_millis(100);

/// Files that appear so close together are put in order before they are loaded.
const TOGETHER: Duration = Duration::from_millis(100);

/// Runs until it is asked to stop, or something stops a round. `bell` and `rung` are the two ends of what
/// wakes it.
pub(crate) fn follow(
    job: &mut Job<'_>,
    summary: &mut Summary,
    bell: Bell,
    rung: &Receiver<()>,
) -> Result<()> {
    let stop = &job.stop_handle();
    let mut lookout = Lookout::start(&job.args.pattern, bell)?;
    let mut late = Late::default();
    let mut held: Option<Held> = None;
    while !stop.is_requested() {
        // What rang until now is seen by the look that follows.
        while rung.try_recv().is_ok() {}
        let logs = lookout.logs()?;
        summary.owns_folders = true;
        late.log(&logs);
        held = logs.first().map(|log| known_of(log, held));
        let complete = complete_logs(&logs, held.as_ref())?;
        if complete.is_empty() {
            if let Some(held) = &mut held {
                held.log(logs.len() - 1, Instant::now());
            }
            wait(stop, rung, held.as_ref());
        } else {
            held = round(job, summary, &lookout.locks, &mut late, &logs, &complete, held)?;
        }
    }
    Ok(())
}

/// Finds the logs, and keeps their folders watched and locked.
#[derive(Debug)]
struct Lookout<'a> {
    pattern: &'a str,
    locks: FolderLocks,
    watcher: Watcher,
    /// What matches and is no log, as was told.
    others: Vec<PathBuf>,
}

impl<'a> Lookout<'a> {
    fn start(pattern: &'a str, bell: Bell) -> Result<Self> {
        lock::raise_limit();
        let watcher = Watcher::start(bell)?;
        Ok(Self { pattern, locks: FolderLocks::default(), watcher, others: Vec::new() })
    }

    /// What is there now, in order.
    fn logs(&mut self) -> Result<Vec<PathBuf>> {
        let folders = find::find_folders(self.pattern)?;
        folders.of_logs.iter().chain(&folders.above).for_each(|folder| self.watcher.watch(folder));
        self.locks.drop_removed();
        self.locks.take(folders.of_logs.iter().map(PathBuf::as_path))?;
        let found = self.locks.find(self.pattern)?;
        messages::others(found.others.iter().filter(|path| !self.others.contains(*path)));
        self.others = found.others;
        Ok(found.logs)
    }
}

/// All that is known of the first log, if it is still the one that was `held`.
fn known_of(log: &Path, held: Option<Held>) -> Held {
    held.filter(|held| held.path() == log).unwrap_or_else(|| Held::new(log))
}

/// The first logs, up to one that is not complete, each as it is now.
fn complete_logs(logs: &[PathBuf], first: Option<&Held>) -> Result<Vec<Version>> {
    let mut complete = Vec::new();
    for log in logs {
        let version = Version::of(log).with_context(|| format!("cannot look at '{}'", shown(log)))?;
        let may_be_complete = |version: &Version| match first.filter(|first| first.path() == log) {
            Some(first) => first.may_be_complete(version),
            None => version.may_be_complete(QUIET),
        };
        let Some(version) = version.filter(may_be_complete) else { break };
        complete.push(version);
    }
    Ok(complete)
}

/// Loads the first logs, which were `complete` in these versions; the one that was not after all, if any.
fn round(
    job: &mut Job<'_>,
    summary: &mut Summary,
    locks: &FolderLocks,
    late: &mut Late,
    logs: &[PathBuf],
    complete: &[Version],
    first: Option<Held>,
) -> Result<Option<Held>> {
    let started = Instant::now();
    summary.begin_round(logs[..complete.len()].to_vec());
    let outcome = job.load(summary, locks, complete)?;
    let done = summary.done.len();
    if let Some(last) = summary.files[..done].last() {
        late.done(last);
    }
    if done > 0 || !summary.quarantined.is_empty() {
        replace::write_round(job.args, summary);
    }
    // An end between two rounds is not that of the last one again.
    summary.begin_round(Vec::new());
    let Outcome::Incomplete(log, why) = outcome else { return Ok(None) };
    let mut incomplete = known_of(log.path(), first);
    // What took long is not done over and over while the log grows slowly.
    let took = started.elapsed() / u32::try_from(done + 1).unwrap_or(u32::MAX);
    if let Some(version) = log.expected() {
        incomplete.tried(version, took, why);
    }
    Ok(Some(incomplete))
}

/// Waits until something may have appeared, or the log that holds up the others may be complete.
fn wait(stop: &StopHandle, rung: &Receiver<()>, held: Option<&Held>) {
    let until = Instant::now() + RESCAN;
    while !stop.is_requested() {
        let left = until.saturating_duration_since(Instant::now());
        let patience = if held.is_some() { POLL.min(left) } else { left };
        if rung.recv_timeout(patience).is_ok() {
            return thread::sleep(TOGETHER);
        }
        let complete = |held: &Held| {
            Version::of(held.path()).is_ok_and(|version| version.is_some_and(|it| held.may_be_complete(&it)))
        };
        if left.is_zero() || held.is_some_and(complete) {
            return;
        }
    }
}
