//! The summary of a run, or of one round of a follower, gathered while it runs: the exit code and the report come
//! from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use memc_core::{Counts, InputReport, RunReport, ServerReport};

use crate::run::totals::Round;
use crate::watch::live::Live;

/// Everything was loaded, but a file had too many bad lines, a server has lost or evicted records since, or the log, the
/// report or the metrics could not be written.
pub(crate) const NOT_ALL_WELL: u8 = 3;

/// At most this many files of earlier rounds are kept by name, since they may have to be loaded again; a follower
/// runs for months.
const MAX_EARLIER: usize = 1000;

/// What a run has done so far.
#[derive(Debug)]
pub(crate) struct Summary {
    /// The process as a whole, and what it does now.
    pub(crate) live: Arc<Live>,
    pub(crate) started: Timestamp,
    /// Whether the folders were given to this run, as far as it needs them. Before that, the report and the
    /// metrics may be those of another one that is running.
    pub(crate) owns_folders: bool,
    /// The files that matched, in the order in which they are loaded.
    pub(crate) files: Vec<PathBuf>,
    /// The first of them: those that are done.
    pub(crate) done: Vec<InputReport>,
    /// Broken files that were moved into quarantine, where they are now; they are no longer among the files that matched.
    pub(crate) quarantined: Vec<PathBuf>,
    /// What a follower had done before this round: all, or the first and the last ones.
    earlier: Vec<PathBuf>,
    /// How many there are between that first and those last ones.
    unnamed: usize,
    /// How many of all that are done have lost their records on a server, by its address.
    pub(crate) lost: BTreeMap<String, usize>,
    pub(crate) run: RunReport,
    /// The exit code for the signal that stopped the run.
    pub(crate) signalled: Option<u8>,
    /// That of the first process, in another one.
    pub(crate) first_process: u8,
}

/// How a run has ended.
#[derive(Debug)]
pub(crate) struct End {
    pub(crate) at: Timestamp,
    pub(crate) exit_code: u8,
    pub(crate) error: Option<String>,
}

impl Summary {
    pub(crate) fn new() -> Self {
        let started = Timestamp::now();
        Self::of_round(started, Arc::new(Live::new(started)))
    }

    fn of_round(started: Timestamp, live: Arc<Live>) -> Self {
        Self {
            live,
            started,
            owns_folders: false,
            files: Vec::new(),
            done: Vec::new(),
            quarantined: Vec::new(),
            earlier: Vec::new(),
            unnamed: 0,
            lost: BTreeMap::new(),
            run: RunReport::default(),
            signalled: None,
            first_process: 0,
        }
    }

    /// Starts a follower's next round, with these files; what was done before can still be lost.
    pub(crate) fn begin_round(&mut self, files: Vec<PathBuf>) {
        let mut earlier = std::mem::take(&mut self.earlier);
        earlier.extend(self.files.drain(..self.done.len()));
        let excess = earlier.len().saturating_sub(MAX_EARLIER);
        if excess > 0 {
            earlier.drain(1..=excess);
        }
        let unnamed = self.unnamed + excess;
        self.live.lock().totals.begin_round();
        let round = Self::of_round(Timestamp::now(), Arc::clone(&self.live));
        *self = Self { files, earlier, unnamed, owns_folders: self.owns_folders, ..round };
    }

    /// From the start of the run to its end.
    pub(crate) fn duration(&self, end: &End) -> Duration {
        // The clock may have been set back.
        Duration::try_from(end.at.duration_since(self.started)).unwrap_or_default()
    }

    /// How many files are done, those of a follower's earlier rounds included.
    fn done_files(&self) -> usize {
        self.earlier.len() + self.unnamed + self.done.len()
    }

    /// The next file is done.
    pub(crate) fn file_done(&mut self, file: InputReport, max_error_rate: f64) {
        self.live.lock().end_file(&file, is_acceptable(&file.counts, max_error_rate));
        self.done.push(file);
    }

    /// A server has lost what it held of the files that are done, if there are any.
    pub(crate) fn lose(&mut self, address: &str) {
        let done = self.done_files();
        self.live.lock().totals.add_loss(address, done);
        if done > 0 {
            self.lost.insert(address.to_owned(), done);
        }
    }

    /// How many files a server has lost its records of, and their paths. Of very many that a follower has
    /// done these are the first and the last ones.
    pub(crate) fn lost_on(&self, address: &str) -> (usize, Vec<&Path>) {
        let lost = self.lost.get(address).copied().unwrap_or(0);
        let done = self.earlier.iter().chain(&self.files[..self.done.len()]);
        (lost, done.take(lost.saturating_sub(self.unnamed)).map(PathBuf::as_path).collect())
    }

    /// Adds what the loader reports at the end of a load.
    pub(crate) fn end_load(&mut self, run: RunReport) {
        for server in &run.servers {
            self.live.lock().totals.add_server(server);
            if is_lost(server) {
                self.lose(&server.address);
            }
        }
        self.run.merge(run);
    }

    /// The first file that is not done was moved into quarantine, to `path`; how many of its records are stored.
    pub(crate) fn set_aside(&mut self, path: PathBuf) -> u64 {
        self.files.remove(self.done.len());
        self.quarantined.push(path);
        self.live.lock().totals.files_quarantined += 1;
        self.run.unfinished.take().map_or(0, |file| file.counts.loaded)
    }

    /// Adds the run, or the round, that has ended so to the totals of the process.
    pub(crate) fn end_round(&mut self, end: &End) {
        self.live.lock().totals.add_round(Round {
            started: self.started,
            ended: end.at,
            exit_code: end.exit_code,
            files_found: self.files.len(),
            files_done: self.done.len(),
            records_loaded: self.run.counts.loaded,
            lines_rejected: self.run.counts.rejected_total(),
        });
    }

    /// The exit code of a run that has `failed` or not.
    pub(crate) fn exit_code(&self, failed: bool, max_error_rate: f64) -> u8 {
        let all_well = self.done.iter().all(|file| is_acceptable(&file.counts, max_error_rate))
            && self.lost.is_empty()
            && self.quarantined.is_empty()
            && self
                .run
                .servers
                .iter()
                .all(|server| server.evictions == 0 && server.records_untracked == 0 && !is_lost(server));
        match self.signalled {
            Some(code) => code,
            None if failed => 1,
            None if all_well => self.first_process,
            None => NOT_ALL_WELL,
        }
    }
}

/// Whether a server was another process at the end of a load, or may be none: all that it acknowledged is lost.
fn is_lost(server: &ServerReport) -> bool {
    server.restarted || server.unreachable
}

/// Whether a file with these counts is a success.
pub(crate) fn is_acceptable(counts: &Counts, max_error_rate: f64) -> bool {
    counts.rejected_total() == 0 || counts.error_rate() < max_error_rate
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_follower_keeps_the_first_and_the_last_names_of_what_it_has_done() {
        let mut summary = Summary::new();
        let path = |round: usize| PathBuf::from(round.to_string());
        let rounds = 3 * MAX_EARLIER;
        for round in 0..rounds {
            summary.begin_round(vec![path(round), path(rounds)]);
            summary.done.push(InputReport::default());
        }
        summary.lose("server");
        summary.done.push(InputReport::default());
        let (lost, names) = summary.lost_on("server");
        assert_eq!((lost, names.len()), (rounds, MAX_EARLIER + 1), "those of this round come on top");
        assert_eq!(names[..2], [path(0), path(rounds - MAX_EARLIER)]);
        assert_eq!(names.last(), Some(&path(rounds - 1).as_path()), "what was done later is not lost");
        assert_eq!(summary.lost_on("another"), (0, Vec::new()));
    }
}
