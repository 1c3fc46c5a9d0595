//! The memory of a run stays within its promise, however slow the servers are.

use std::fs;
use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::{Memcached, Sample};

use crate::run::Running;
use crate::workdir::Workdir;

/// What docs and help promise.
const MAX_BYTES: u64 = 64 << 20;

/// Passes on at this many bytes a second what clients send to the server; its threads end with the process.
fn slow(server: &Memcached, bytes_a_second: u32) -> Result<String> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (address, target) = (listener.local_addr()?.to_string(), server.address());
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            let Ok(server) = TcpStream::connect(&target) else { continue };
            let (Ok(from), Ok(to)) = (server.try_clone(), client.try_clone()) else { continue };
            thread::spawn(move || pass_on(client, server, Some(bytes_a_second)));
            thread::spawn(move || pass_on(from, to, None));
        }
    });
    Ok(address)
}

fn pass_on(mut from: TcpStream, mut to: TcpStream, bytes_a_second: Option<u32>) -> io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let length = from.read(&mut buffer)?;
        if length == 0 {
            return to.shutdown(Shutdown::Write);
        }
        to.write_all(&buffer[..length])?;
        if let Some(bytes_a_second) = bytes_a_second {
            thread::sleep(Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX) / bytes_a_second);
        }
    }
}

/// The most memory that the run had at once, watched until it ends or has not grown for some seconds.
fn peak(running: &mut Running) -> Result<u64> {
    const QUIET: Duration = Duration::from_secs(5);
    let until = Instant::now() + Duration::from_secs(50);
    let (mut peak, mut grown) = (0, Instant::now());
    while grown.elapsed() < QUIET && Instant::now() < until && running.is_running()? {
        let Ok(status) = fs::read_to_string(format!("/proc/{}/status", running.id())) else { break };
        // It is not there for a process that ends just now.
        if let Some(line) = status.lines().find_map(|line| line.strip_prefix("VmHWM:")) {
            let kib: u64 = line.trim().strip_suffix(" kB").context("a size")?.parse()?;
            if kib << 10 > peak {
                (peak, grown) = (kib << 10, Instant::now());
            }
        }
        thread::sleep(Duration::from_millis(20));
    }
    Ok(peak)
}

/// Checks the peak of a run against servers that take so many bytes a second; it must be over what was read at least,
/// or nothing was waiting.
fn assert_bounded(work: &Workdir, bytes_a_second: u32, at_least: u64, options: &[&str]) -> Result<()> {
    let addresses =
        work.servers()?.iter().map(|server| slow(server, bytes_a_second)).collect::<Result<Vec<_>>>()?;
    let names = memc_testkit::DEVICE_TYPES.map(|name| format!("--{name}"));
    let servers = names.iter().zip(&addresses).flat_map(|(name, address)| [name.as_str(), address]);
    let arguments: Vec<_> = servers.chain(options.iter().copied()).collect();
    let mut running = work.start(&arguments)?;
    let peak = peak(&mut running)?;
    running.kill()?;
    ensure!((at_least..=MAX_BYTES).contains(&peak), "{} MiB", peak >> 20);
    Ok(())
}

#[test]
fn slow_servers_do_not_fill_the_memory() -> Result<()> {
    let work = Workdir::new()?;
    work.write("1.tsv.gz", memc_testkit::gzip(&Sample::new(1).text(300_000))?)?;
    for (options, at_least) in [(&[][..], 30 << 20), (&["--rejects", &work.name("rejects"), "--threads", "4"], 30 << 20)] {
        assert_bounded(&work, 200_000, at_least, options)?;
    }
    Ok(())
}

#[test]
fn long_lines_do_not_fill_the_memory_with_rejects_or_without() -> Result<()> {
    const LONG: usize = (16 << 20) - 100;
    let work = Workdir::new()?;
    let mut text = Vec::new();
    for number in 0..4 {
        // One that is rejected, and one that only its server refuses.
        text.extend(std::iter::repeat_n(b'x', LONG));
        text.extend(format!("\nidfa\tlong{number}\t1\t2\t").bytes());
        text.extend(b"7942,".repeat(LONG / 5));
        text.extend(b"1\n");
        text.extend(Sample::new(number).text(5000));
    }
    work.write("1.tsv.gz", memc_testkit::gzip(&text)?)?;
    for options in [&[][..], &["--rejects", &work.name("rejects"), "--threads", "4"]] {
        assert_bounded(&work, 20_000_000, 30 << 20, options)?;
    }
    Ok(())
}
