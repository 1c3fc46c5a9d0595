//! Memory stays bounded, whatever the pace of the servers.

use std::fs;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use memc_testkit::{Close, DEVICE_TYPES, Holding, Relay, Sample};
use rustix::process::Signal;

use crate::workdir::Workdir;

/// The bound, for any load with the default options.
const MAX_KIB: u64 = 64 * 1024;

/// How long the load is looked at: all that may be in flight is long before that.
const TIME: Duration = Duration::from_secs(4);

/// The most that a process has had in memory at once.
fn peak_kib(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("no VmHWM")?;
    Ok(line.trim().strip_suffix(" kB").context("no unit")?.parse()?)
}

#[test]
fn servers_that_are_slow_hold_the_reader_back() -> Result<()> {
    let work = Workdir::new()?;
    // Every tenth line is rejected, and kept for the file of rejects.
    let text = Sample::new(1).with(0.0, 0.1).text(20_000).repeat(50);
    work.write("1.tsv", text)?;
    let slow = Holding {
        bytes_per_second: 2_000_000,
        piece_bytes: 16_384,
        buffer_bytes: 64_000,
        leaves_client: None,
        is_hasty: false,
        leaves_server: Close::Fin,
    };
    let mut relays = Vec::new();
    let mut options = vec!["--pattern".to_owned(), work.name("*.tsv")];
    options.extend(["--rejects".to_owned(), work.name("rejects")]);
    for (name, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
        let relay = Relay::start(&server.address(), move |_| slow)?;
        options.extend([format!("--{name}"), relay.address()]);
        relays.push(relay);
    }
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut running = work.start(&options)?;
    running.wait_for_log("Processing")?;
    sleep(TIME);
    let peak = peak_kib(running.id())?;
    running.signal(Signal::KILL)?;
    let run = work.finish(running)?;
    run.ensure(peak > MAX_KIB / 4 && peak < MAX_KIB, format!("{peak} KiB at the most"))?;
    run.leaves(&["1.tsv", "rejects"])
}
