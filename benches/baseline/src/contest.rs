//! Who is measured, and how: in turns, each on servers that have just been started.

use std::fs;
use std::process::Command;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use memc_testkit::{DEVICE_TYPES, Memcached};

use crate::logs::{Log, Logs};
use crate::setting::Setting;

/// The script of the old way.
const OLD_WAY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/loader.py");

/// Whoever brings the records of a log to the servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Contestant {
    /// Line by line, with a new client for each record.
    OldWay,
    /// memc-load, with this many threads.
    Load(usize),
    /// See [`Floor`](memc_testkit::Floor).
    Floor,
}

/// The outcome of one run of one contestant.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) contestant: Contestant,
    pub(crate) records_per_second: f64,
    /// The most memory that was resident; the floor's would say nothing.
    pub(crate) memory_mib: Option<f64>,
}

/// The logs and the servers that they are loaded into.
#[derive(Debug)]
pub(crate) struct Contest {
    logs: Logs,
    servers: [Memcached; 4],
}

impl Contest {
    /// Starts the servers.
    pub(crate) fn start(logs: Logs) -> Result<Self> {
        // Room for a log of the real size, so that no run meets a full server.
        let start = || Memcached::start(&["-m", "1024"]);
        Ok(Self { logs, servers: [start()?, start()?, start()?, start()?] })
    }

    /// Runs everyone once a round, in turns: memc-load with one thread, two, four and so on, up to twice as
    /// many as there are cores, and with as many as it has by default.
    pub(crate) fn measure(&mut self, setting: &Setting) -> Result<Vec<Run>> {
        let &Setting { cores, default_threads, rounds, .. } = setting;
        let mut threads: Vec<usize> = (0..).map(|power| 1 << power).take_while(|n| *n <= 2 * cores).collect();
        if !threads.contains(&default_threads) {
            threads.push(default_threads);
            threads.sort_unstable();
        }
        let loads = threads.into_iter().map(Contestant::Load);
        let mut turns: Vec<_> =
            [Contestant::OldWay].into_iter().chain(loads).chain([Contestant::Floor]).collect();
        let mut runs = Vec::new();
        for round in 1..=rounds {
            for &contestant in &turns {
                let run = self.run(contestant).with_context(|| format!("{contestant:?}"))?;
                eprintln!(
                    "Round {round} of {rounds}: {:.0} records/s: {contestant:?}",
                    run.records_per_second
                );
                runs.push(run);
            }
            // Back and forth, so that nobody always comes after the same one.
            turns.reverse();
        }
        Ok(runs)
    }

    /// One run on empty servers, which must hold everything after it.
    fn run(&mut self, contestant: Contestant) -> Result<Run> {
        for server in &mut self.servers {
            server.kill()?;
            server.restart()?;
        }
        let addresses = self.servers.each_ref().map(Memcached::address);
        let mut log = &self.logs.whole;
        let (seconds, memory_mib) = match contestant {
            Contestant::OldWay => {
                log = &self.logs.head;
                let (seconds, mib) = self.load(log, &addresses, &[OLD_WAY])?;
                (seconds, Some(mib))
            }
            Contestant::Load(threads) => {
                // Cargo puts both programs into one folder.
                let loader = std::env::current_exe()?.with_file_name("memc-load");
                let loader = loader.to_str().context("a path that is not UTF-8")?;
                let words = [loader, "--threads", &threads.to_string()];
                let (seconds, mib) = self.load(log, &addresses, &words)?;
                (seconds, Some(mib))
            }
            Contestant::Floor => {
                let started = Instant::now();
                self.logs.floor.both(&addresses)?;
                (started.elapsed().as_secs_f64(), None)
            }
        };
        let stored: u64 = self.servers.iter().map(|server| server.stat("cmd_set")).sum::<Result<_, _>>()?;
        ensure!(stored == log.records, "{stored} of {} records were stored", log.records);
        Ok(Run { contestant, records_per_second: log.records as f64 / seconds, memory_mib })
    }

    /// Has a program load a log; returns the seconds that it took and its memory in MiB.
    fn load(&self, log: &Log, addresses: &[String; 4], program: &[&str]) -> Result<(f64, f64)> {
        let memory = self.logs.folder.path().join("memory");
        // Started by this large process itself, the program would seem to have needed as much memory.
        let mut command = Command::new("time");
        command.args(["--format=%M", "--output"]).arg(&memory).args(program);
        command.arg("--pattern").arg(&log.path);
        for (device_type, address) in DEVICE_TYPES.iter().zip(addresses) {
            command.arg(format!("--{device_type}={address}"));
        }
        let started = Instant::now();
        let output = command.output().context("cannot run it with GNU time")?;
        let seconds = started.elapsed().as_secs_f64();
        let words = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{}\n{words}", output.status);
        let name = log.path.file_name().context("a file name")?.to_string_lossy();
        fs::rename(log.path.with_file_name(format!(".{name}")), &log.path).context("not marked as done")?;
        let kib: f64 = fs::read_to_string(memory)?.trim().parse().context("GNU time speaks otherwise")?;
        Ok((seconds, kib / 1024.0))
    }
}
