//! What a process has done since its start, round by round: all that its metrics show.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memc_core::{Counts, InputReport, ServerReport};

/// Up to how many seconds, included, each count of the durations of files goes.
pub(crate) const FILE_SECONDS: [f64; 12] =
    [0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0];

/// Figures over the life of the process, which only go up, and those of its last round.
#[derive(Clone, Debug)]
pub(crate) struct Totals {
    /// When the process started.
    pub(crate) started: Timestamp,
    /// Rounds by their exit code.
    pub(crate) rounds: BTreeMap<u8, u64>,
    /// Files that are done.
    pub(crate) files: u64,
    /// Broken files that were moved into quarantine.
    pub(crate) files_quarantined: u64,
    /// Files that are done and had as many rejected lines as makes a load fail.
    pub(crate) files_over_error_rate: u64,
    /// How long the files that are done took, by [`FILE_SECONDS`]; the last count is of all longer ones.
    pub(crate) file_durations: [u64; FILE_SECONDS.len() + 1],
    /// The same added up.
    pub(crate) file_duration: Duration,
    /// The counts of the files that are done.
    pub(crate) counts: Counts,
    /// Bytes read from them.
    pub(crate) bytes_in: u64,
    /// The servers, by their addresses.
    servers: BTreeMap<String, ServerTotals>,
    /// The last round that has ended.
    pub(crate) last_round: Round,
}

/// Figures of one server.
#[derive(Clone, Debug, Default)]
pub(crate) struct ServerTotals {
    /// Records that it evicted during the rounds.
    pub(crate) evictions: u64,
    /// How many times it was found to be another process, or none.
    pub(crate) restarts: u64,
    /// Files that were done and whose records it has lost.
    pub(crate) files_lost: u64,
    /// Files that were done when it last lost its records: they are lost once.
    files_before_loss: u64,
    /// Records in flight on connections whose end could not be confirmed.
    pub(crate) records_in_flight: u64,
    /// Those of them that were read back.
    pub(crate) records_read_back: u64,
    /// Those of them that were stale and set again.
    pub(crate) records_set_again: u64,
    /// The memory that its records take, and its limit, as it reported them at the end of the last load.
    pub(crate) memory_used_bytes: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
    /// Since when, and why, the load waits for it, or has stopped because of it.
    pub(crate) away: Option<(Instant, String)>,
    /// Whether its restarts and evictions cannot be noticed, as the last load found.
    pub(crate) has_no_statistics: bool,
}

/// A round that has ended: a plain run, or the files that a follower loaded together.
#[derive(Clone, Debug)]
pub(crate) struct Round {
    pub(crate) started: Timestamp,
    pub(crate) ended: Timestamp,
    pub(crate) exit_code: u8,
    pub(crate) files_found: usize,
    pub(crate) files_done: usize,
    pub(crate) records_loaded: u64,
    pub(crate) lines_rejected: u64,
}

impl Totals {
    /// A process that has done nothing yet. Its last round ended with nothing when it started, so that the age of the
    /// last round grows from there.
    pub(crate) fn new(started: Timestamp) -> Self {
        let last_round = Round {
            started,
            ended: started,
            exit_code: 0,
            files_found: 0,
            files_done: 0,
            records_loaded: 0,
            lines_rejected: 0,
        };
        Self {
            started,
            rounds: BTreeMap::new(),
            files: 0,
            files_quarantined: 0,
            files_over_error_rate: 0,
            file_durations: [0; FILE_SECONDS.len() + 1],
            file_duration: Duration::ZERO,
            counts: Counts::default(),
            bytes_in: 0,
            servers: BTreeMap::new(),
            last_round,
        }
    }

    /// The figures of a server; zeros before anything is known of it.
    pub(crate) fn server(&self, address: &str) -> ServerTotals {
        self.servers.get(address).cloned().unwrap_or_default()
    }

    /// The same, to be changed.
    pub(crate) fn server_mut(&mut self, address: &str) -> &mut ServerTotals {
        self.servers.entry(address.to_owned()).or_default()
    }

    /// A round starts: no server is known to be away.
    pub(crate) fn begin_round(&mut self) {
        self.servers.values_mut().for_each(|server| server.away = None);
    }

    /// Adds a file that is done.
    pub(crate) fn add_file(&mut self, file: &InputReport, is_acceptable: bool) {
        self.files += 1;
        self.files_over_error_rate += u64::from(!is_acceptable);
        let seconds = file.duration.as_secs_f64();
        self.file_durations[FILE_SECONDS.partition_point(|bound| *bound < seconds)] += 1;
        self.file_duration += file.duration;
        self.bytes_in += file.bytes_in;
        self.counts.merge(file.counts.clone());
    }

    /// Adds what a load reports of a server.
    pub(crate) fn add_server(&mut self, report: &ServerReport) {
        let server = self.server_mut(&report.address);
        server.evictions += report.evictions;
        server.records_in_flight += report.records_in_flight;
        server.records_read_back += report.records_read_back;
        server.records_set_again += report.records_set_again;
        server.memory_used_bytes = report.memory_used_bytes.or(server.memory_used_bytes);
        server.memory_limit_bytes = report.memory_limit_bytes.or(server.memory_limit_bytes);
        if report.unreachable {
            let reason = || (Instant::now(), "it cannot be asked any more".to_owned());
            server.away.get_or_insert_with(reason);
        }
        server.has_no_statistics = report.no_statistics;
    }

    /// A server has lost its records of the first `files` files that were done, if there are any.
    pub(crate) fn add_loss(&mut self, address: &str, files: usize) {
        let files = files as u64;
        let server = self.server_mut(address);
        server.restarts += 1;
        server.files_lost += files.saturating_sub(server.files_before_loss);
        server.files_before_loss = files;
    }

    /// Adds a round that has ended.
    pub(crate) fn add_round(&mut self, round: Round) {
        *self.rounds.entry(round.exit_code).or_default() += 1;
        self.last_round = round;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_lost_once() {
        let mut totals = Totals::new(Timestamp::UNIX_EPOCH);
        for (files, lost) in [(0, 0), (3, 3), (3, 3), (5, 5)] {
            totals.add_loss("server", files);
            assert_eq!(totals.server("server").files_lost, lost);
        }
        assert_eq!((totals.server("server").restarts, totals.server("another").restarts), (4, 0));
    }
}
