//! `--follow`: round after round, as logs appear and are complete.

pub(crate) mod incomplete;
pub(crate) mod late;
pub(crate) mod watcher;

use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::args::Args;
use crate::follow::incomplete::{Held, QUIET};
use crate::follow::late::Late;
use crate::follow::watcher::{Bell, Watcher};
use crate::inputs::find;
use crate::inputs::lock;
use crate::inputs::lock::FolderLocks;
use crate::inputs::name::shown;
use crate::inputs::source::Source;
use crate::inputs::version::Version;
use crate::output::messages;
use crate::output::replace;
use crate::run::job::{Job, Outcome};
use crate::run::summary::Summary;
use crate::watch::live::Doing;

/// How often all is looked at again, whatever the watcher says: some file systems report nothing to it.
const RESCAN: Duration = Duration::from_secs(30);

/// How often a log that is not complete yet is looked at.
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
        job.reopen_rejects();
        let logs = lookout.logs()?;
        if !summary.owns_folders {
            started(job, summary, &logs, lookout.has_folder);
        }
        late.log(&logs);
        held = logs.first().map(|log| known_of(log, held));
        let complete = complete_logs(&logs, held.as_ref())?;
        if complete.is_empty() {
            let later = logs.len().saturating_sub(1);
            if let Some(held) = &mut held {
                held.log(later, Instant::now());
            }
            let doing = held.as_ref().map_or(Doing::Waiting, Held::doing);
            summary.live.lock().set_doing(doing);
            job.service.status(waits_for(job.args, held.as_ref()));
            wait(job, rung, held.as_mut(), later);
        } else {
            held = round(job, summary, &lookout.locks, &mut late, &logs, &complete, held)?;
        }
    }
    Ok(())
}

/// The folders are given to this process, with these logs in them.
fn started(job: &Job<'_>, summary: &mut Summary, logs: &[PathBuf], has_folder: bool) {
    summary.owns_folders = true;
    // A counter has to be there before its first increase for that to be seen.
    replace::write_metrics(job.args, &summary.live);
    job.service.ready();
    if logs.is_empty() {
        messages::waiting(&job.args.pattern, has_folder);
    }
}

/// What the follower does while no log can be loaded.
fn waits_for(args: &Args, held: Option<&Held>) -> String {
    match held {
        Some(held) => format!("waiting for {} to be complete", shown(held.path())),
        None => format!("waiting for files that match '{}'", args.pattern),
    }
}

/// Finds the logs, and keeps their folders watched and locked.
#[derive(Debug)]
struct Lookout<'a> {
    pattern: &'a str,
    locks: FolderLocks,
    watcher: Watcher,
    /// Whether there is a folder that logs could be in.
    has_folder: bool,
    /// What matches but is not a log, and was logged.
    others: Vec<PathBuf>,
}

impl<'a> Lookout<'a> {
    fn start(pattern: &'a str, bell: Bell) -> Result<Self> {
        lock::raise_limit();
        let watcher = Watcher::start(bell)?;
        Ok(Self { pattern, locks: FolderLocks::default(), watcher, has_folder: false, others: Vec::new() })
    }

    /// What is there now, in order.
    fn logs(&mut self) -> Result<Vec<PathBuf>> {
        let folders = find::find_folders(self.pattern)?;
        folders.of_logs.iter().chain(&folders.above).for_each(|folder| self.watcher.watch(folder));
        self.has_folder = !folders.of_logs.is_empty();
        self.locks.drop_removed();
        self.locks.take(folders.of_logs.iter().map(PathBuf::as_path))?;
        let found = self.locks.find(Source::Pattern(self.pattern))?;
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
    // An end between two rounds is not that of the last one.
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

/// Waits until something may have appeared, or the log that holds up this many `later` ones may be complete or is
/// certain not to be.
fn wait(job: &Job<'_>, rung: &Receiver<()>, mut held: Option<&mut Held>, later: usize) {
    let (stop, until) = (job.stop_handle(), Instant::now() + RESCAN);
    while !stop.is_requested() {
        job.service.sign_of_life();
        let left = until.saturating_duration_since(Instant::now());
        let patience = if held.is_some() { POLL.min(left) } else { left };
        if rung.recv_timeout(patience).is_ok() {
            return thread::sleep(TOGETHER);
        }
        let is_news = |held: &mut Held| {
            Version::of(held.path()).is_ok_and(|version| {
                version.is_some_and(|it| held.may_be_complete(&it) || held.log(later, Instant::now()))
            })
        };
        if left.is_zero() || held.as_deref_mut().is_some_and(is_news) {
            return;
        }
    }
}
