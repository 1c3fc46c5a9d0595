//! `--follow`: round after round, as logs appear and are complete.

use std::path::PathBuf;
use std::sync::mpsc::Receiver;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use memc_core::Stop;

use crate::held::{Held, QUIET, Version};
use crate::job::{Job, Outcome};
use crate::lock::FolderLocks;
use crate::summary::Summary;
use crate::watcher::{Bell, Watcher};
use crate::{files, messages, outputs};

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
    let (pattern, stop) = (&job.args.pattern, &job.stop_handle());
    let mut locks = FolderLocks::default();
    let mut watcher = Watcher::start(bell)?;
    let mut others = Vec::new();
    let mut held: Option<Held> = None;
    while !stop.is_requested() {
        // What rang until now is seen by the look that follows.
        while rung.try_recv().is_ok() {}
        let folders = files::find_folders(pattern)?;
        folders.of_logs.iter().chain(&folders.above).for_each(|folder| watcher.watch(folder));
        locks.take(folders.of_logs.iter().map(PathBuf::as_path))?;
        let found = locks.find(pattern)?;
        summary.owns_folders = true;
        messages::others(found.others.iter().filter(|path| !others.contains(*path)));
        others = found.others;

        let logs = found.logs;
        let Some(first) = logs.first() else {
            held = None;
            wait(stop, rung, None);
            continue;
        };
        // All that is known of the first log, if it is still the one that holds up the others.
        let mut first = held.take().filter(|held| held.path() == first).unwrap_or_else(|| Held::new(first));
        let complete = complete_logs(&logs, &first)?;
        if complete.is_empty() {
            first.tell(logs.len() - 1, Instant::now());
            wait(stop, rung, Some(&first));
            held = Some(first);
            continue;
        }

        let last = summary.done_paths().last().copied();
        if let Some(last) = last.filter(|last| logs[0].file_name() < last.file_name()) {
            messages::late(&logs[0], last);
        }
        let started = Instant::now();
        summary.begin_round(logs[..complete.len()].to_vec());
        let has_changed = |at: usize| Version::of(&logs[at]).ok().flatten() != Some(complete[at]);
        let outcome = job.load(summary, has_changed)?;
        let done = summary.done.len();
        if done > 0 {
            outputs::write_round(job.args, summary);
        }
        // An end between two rounds is not that of the last one again.
        summary.begin_round(Vec::new());
        if let Outcome::Incomplete(why) = outcome {
            let mut incomplete = if done == 0 { first } else { Held::new(&logs[done]) };
            // What took long is not done over and over while the log grows slowly.
            let took = started.elapsed() / u32::try_from(done + 1).unwrap_or(u32::MAX);
            incomplete.tried(complete[done], took, why);
            held = Some(incomplete);
        }
    }
    Ok(())
}

/// The first logs, up to one that is not complete, each as it is now.
fn complete_logs(logs: &[PathBuf], first: &Held) -> Result<Vec<Version>> {
    let mut complete = Vec::new();
    for log in logs {
        let version = Version::of(log).with_context(|| format!("cannot look at '{}'", log.display()))?;
        let may_be_complete = |version: &Version| match complete.is_empty() {
            true => first.may_be_complete(version),
            false => version.may_be_complete(QUIET),
        };
        let Some(version) = version.filter(may_be_complete) else { break };
        complete.push(version);
    }
    Ok(complete)
}

/// Waits until something may have appeared, or the log that holds up the others may be complete.
fn wait(stop: &Stop, rung: &Receiver<()>, held: Option<&Held>) {
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
