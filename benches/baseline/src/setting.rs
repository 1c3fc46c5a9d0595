//! What figures were measured with.

use std::process::Command;
use std::thread::available_parallelism;

use anyhow::{Context, Result};

use crate::logs::Logs;

/// The machine, the logs and the number of rounds.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) cores: usize,
    /// The name that the processor gives itself.
    pub(crate) processor: String,
    /// The threads of memc-load as it comes: a core each, but for the one that inflates.
    pub(crate) default_threads: usize,
    /// Name and version of the servers.
    pub(crate) memcached: String,
    pub(crate) records: u64,
    /// What the old way gets of them.
    pub(crate) head_records: u64,
    pub(crate) rounds: u32,
}

impl Setting {
    /// Looks it all up.
    pub(crate) fn new(logs: &Logs, rounds: u32) -> Result<Self> {
        let version = Command::new("memcached").arg("--version").output().context("cannot run memcached")?;
        let cores = available_parallelism()?.get();
        let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").context("cannot read '/proc/cpuinfo'")?;
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        Ok(Self {
            cores,
            processor: processor.map_or("a processor without a name", |(_, name)| name).to_owned(),
            default_threads: (cores - 1).max(1),
            memcached: String::from_utf8(version.stdout)?.trim().to_owned(),
            records: logs.whole.records,
            head_records: logs.head.records,
            rounds,
        })
    }
}
