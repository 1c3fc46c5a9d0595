//! What the process does now and has done since its start, for whoever watches it.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memc_core::{InputReport, ProgressHandle, RoundTrips, ServerProgress, ServerStatus};

use crate::run::totals::Totals;
use crate::watch::history::History;

/// How many of the files that are done last are shown.
const RECENT_FILES: usize = 20;

/// The part that the latest round trips have in their moving average.
const LATEST: f64 = 0.3;

/// What the process does now and has done. The load changes it a few times a file; those who watch only read it.
#[derive(Debug)]
pub(crate) struct Live {
    now: Mutex<Now>,
    /// That of the loader, as soon as there is one.
    progress: OnceLock<ProgressHandle>,
}

/// The same, as long as nobody changes it.
#[derive(Debug)]
pub(crate) struct Now {
    pub(crate) totals: Totals,
    pub(crate) doing: Doing,
    /// The file in progress.
    pub(crate) file: Option<File>,
    /// Bytes of the files that the load at work has finished.
    load_bytes_in: u64,
    /// The files that are done last, the latest first.
    pub(crate) recent: VecDeque<(Timestamp, InputReport)>,
    /// What waits to be loaded, if that was looked at.
    pub(crate) backlog: Option<Backlog>,
    /// What is seen of the servers, by their addresses.
    servers: BTreeMap<String, Seen>,
    pub(crate) history: History,
    /// Whether samples are taken for those who watch.
    pub(crate) is_watched: bool,
}

/// What the process does.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) enum Doing {
    /// It has not got its folders yet.
    Starting,
    Loading,
    /// A follower has nothing to load.
    Waiting,
    /// This file is not complete, for this reason, and holds up all later ones since then.
    HeldUp {
        name: String,
        why: String,
        since: Instant,
    },
    /// It was asked to stop by this signal.
    Stopping(String),
}

/// The file in progress.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) name: String,
    /// Its place among the files of the round, from 1, and how many those are.
    pub(crate) number: usize,
    pub(crate) files: usize,
    /// Its size.
    pub(crate) bytes: u64,
    /// How far it is, in bytes of the file.
    pub(crate) bytes_in: u64,
    pub(crate) started: Instant,
    /// What the load had read before it.
    base: u64,
}

/// What is not done yet, the file in progress included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    /// When the one that was left alone for the longest time was written.
    pub(crate) oldest: Option<Timestamp>,
}

/// What is seen of a server by asking it now and then, and by its acknowledgments.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// Why it could not be asked the last time.
    pub(crate) unreachable: Option<String>,
    pub(crate) version: Option<String>,
    pub(crate) memory_used_bytes: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Records that it has evicted since it was asked for the first time.
    pub(crate) evictions: u64,
    /// What it said of that the last time.
    evictions_before: Option<u64>,
    /// Whether it answers no `stats`, as most proxies.
    pub(crate) no_statistics: bool,
    /// A moving average of the times of its acknowledgments, in seconds.
    pub(crate) round_trip_seconds: Option<f64>,
    round_trips: RoundTrips,
}

impl Live {
    /// A process that has done nothing yet.
    pub(crate) fn new(started: Timestamp) -> Self {
        let now = Now {
            totals: Totals::new(started),
            doing: Doing::Starting,
            file: None,
            load_bytes_in: 0,
            recent: VecDeque::new(),
            backlog: None,
            servers: BTreeMap::new(),
            history: History::new(Instant::now()),
            is_watched: false,
        };
        Self { now: Mutex::new(now), progress: OnceLock::new() }
    }

    /// The handle of the loader; only the first one counts, as there is only one.
    pub(crate) fn set_progress(&self, progress: ProgressHandle) {
        let _ = self.progress.set(progress);
    }

    /// How the servers are doing in the load; none before there is a loader.
    pub(crate) fn servers(&self) -> Vec<ServerProgress> {
        self.progress.get().map(ProgressHandle::servers).unwrap_or_default()
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, Now> {
        // Nothing that holds it panics half way through a change.
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The file in progress, as far as it is now.
    pub(crate) fn file(&self) -> Option<File> {
        let mut file = self.lock().file.clone()?;
        let bytes_in = self.progress.get().map_or(0, ProgressHandle::bytes_in);
        file.bytes_in = bytes_in.saturating_sub(file.base).min(file.bytes);
        Some(file)
    }

    /// Adds a point to the history when one is due, and what the servers have acknowledged since the last time.
    pub(crate) fn sample(&self, now: Instant) {
        let servers = self.servers();
        let mut state = self.lock();
        state.is_watched = true;
        state.history.add(now, servers.iter().map(|server| server.records).sum());
        for server in servers {
            state.server_mut(&server.address).add_round_trips(server.round_trips);
        }
    }
}

impl Now {
    /// What is seen of a server; nothing before it was asked.
    pub(crate) fn server(&self, address: &str) -> Seen {
        self.servers.get(address).cloned().unwrap_or_default()
    }

    fn server_mut(&mut self, address: &str) -> &mut Seen {
        self.servers.entry(address.to_owned()).or_default()
    }

    /// Does this from now on, unless it is about to stop.
    pub(crate) fn set_doing(&mut self, doing: Doing) {
        if !matches!(self.doing, Doing::Stopping(_)) {
            self.doing = doing;
        }
    }

    /// A load starts, with no file in progress.
    pub(crate) fn begin_load(&mut self) {
        self.set_doing(Doing::Loading);
        (self.file, self.load_bytes_in) = (None, 0);
    }

    /// A file of the load is in progress.
    pub(crate) fn begin_file(&mut self, name: &str, number: usize, files: usize, bytes: u64) {
        let (started, base) = (Instant::now(), self.load_bytes_in);
        self.file = Some(File { name: name.to_owned(), number, files, bytes, bytes_in: 0, started, base });
    }

    /// The file in progress is done.
    pub(crate) fn end_file(&mut self, file: &InputReport, is_acceptable: bool) {
        self.totals.add_file(file, is_acceptable);
        self.load_bytes_in += file.bytes_in;
        self.file = None;
        self.recent.truncate(RECENT_FILES - 1);
        self.recent.push_front((Timestamp::now(), file.clone()));
    }

    /// The load has ended, whatever it leaves unfinished.
    pub(crate) fn end_load(&mut self) {
        self.file = None;
    }

    /// A server answers a load again, so what it was asked before says nothing any more.
    pub(crate) fn server_is_back(&mut self, address: &str) {
        self.server_mut(address).unreachable = None;
    }

    /// A server was asked how it is.
    pub(crate) fn add_check(&mut self, address: &str, result: io::Result<ServerStatus>) {
        let seen = self.server_mut(address);
        match result {
            Ok(status) => {
                seen.unreachable = None;
                seen.no_statistics = status.no_statistics;
                seen.memory_used_bytes = (!status.no_statistics).then_some(status.bytes_used);
                seen.memory_limit_bytes = status.memory_limit_bytes;
                seen.version = Some(status.version);
                // One that was restarted counts from 0 again.
                let before = seen.evictions_before.replace(status.evictions).unwrap_or(status.evictions);
                seen.evictions += status.evictions.checked_sub(before).unwrap_or(status.evictions);
            }
            Err(error) => seen.unreachable = Some(error.to_string()),
        }
    }
}

impl Seen {
    fn add_round_trips(&mut self, round_trips: RoundTrips) {
        let count = |it: &RoundTrips| it.counts().iter().sum::<u64>();
        let new = count(&round_trips).saturating_sub(count(&self.round_trips));
        let time = round_trips.total().saturating_sub(self.round_trips.total());
        if let Some(new) = u32::try_from(new).ok().filter(|&new| new > 0) {
            let latest = (time / new).as_secs_f64();
            let average = self.round_trip_seconds.unwrap_or(latest);
            self.round_trip_seconds = Some(average + LATEST * (latest - average));
        }
        self.round_trips = round_trips;
    }
}

impl Backlog {
    /// How long ago the oldest one was written; 0 if there is none.
    pub(crate) fn oldest_seconds(&self) -> f64 {
        // The clock may have been set back.
        self.oldest.map_or(0.0, |oldest| Timestamp::now().duration_since(oldest).as_secs_f64().max(0.0))
    }
}

impl Doing {
    /// For how long what it waits for has held up all else.
    pub(crate) fn held_up_for(&self) -> Option<Duration> {
        if let Self::HeldUp { since, .. } = self { Some(since.elapsed()) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evictions_count_from_the_first_look_and_over_restarts() {
        let live = Live::new(Timestamp::UNIX_EPOCH);
        let mut evictions = Vec::new();
        for count in [7, 7, 9, 2, 5] {
            let mut status = ServerStatus::default();
            status.evictions = count;
            let mut now = live.lock();
            now.add_check("h:1", Ok(status));
            evictions.push(now.server("h:1").evictions);
        }
        assert_eq!(evictions, [0, 0, 2, 4, 7]);
        assert!(live.lock().server("h:2").version.is_none());
    }

    #[test]
    fn a_process_that_stops_does_nothing_else_any_more() {
        let live = Live::new(Timestamp::UNIX_EPOCH);
        let mut now = live.lock();
        now.begin_load();
        assert_eq!(now.doing, Doing::Loading);
        now.doing = Doing::Stopping("SIGTERM".to_owned());
        now.set_doing(Doing::Waiting);
        assert_eq!(now.doing, Doing::Stopping("SIGTERM".to_owned()));
    }

    #[test]
    fn no_more_files_are_kept_than_are_shown() {
        let live = Live::new(Timestamp::UNIX_EPOCH);
        let mut now = live.lock();
        for index in 0..100 {
            now.begin_file("f", 1, 1, 10);
            let mut report = InputReport::default();
            report.index = index;
            now.end_file(&report, index % 2 == 0);
        }
        let shown: Vec<_> = now.recent.iter().map(|(_, file)| file.index).collect();
        assert_eq!((shown.len(), shown[0]), (RECENT_FILES, 99));
        assert_eq!((now.totals.files, now.totals.files_over_error_rate), (100, 50));
    }
}
