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

/// What the README promises.
const MAX_BYTES: u64 = 64 << 20;

/// Passes on at this many bytes a second what clients send to the server; its threads end with the process.
pub(crate) fn slow(server: &Memcached, bytes_a_second: u32) -> Result<String> {
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
            thread::sleep(
                Duration::from_secs(1) * u32::try_from(length).unwrap_or(u32::MAX) / bytes_a_second,
            );
        }
    }
}

/// The most memory that the run had at once, watched until it ends or has not grown for some seconds.
fn peak(running: &mut Running) -> Result<u64> {
    const QUIET: Duration = Duration::from_secs(3);
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

/// Checks the peak of a run over a log of this text against servers that take this many bytes a second. It must be over
/// what was read ahead, or nothing was waiting.
fn assert_bounded(text: &[u8], bytes_a_second: u32, options: &[&str]) -> Result<()> {
    const AT_LEAST: u64 = 30 << 20;
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", text)?;
    let rejects = work.name("rejects");
    let options = options.iter().map(|&option| if option == "REJECTS" { &rejects } else { option });
    let addresses =
        work.servers()?.iter().map(|server| slow(server, bytes_a_second)).collect::<Result<Vec<_>>>()?;
    let names = memc_testkit::DEVICE_TYPES.map(|name| format!("--{name}"));
    let servers = names.iter().zip(&addresses).flat_map(|(name, address)| [name.as_str(), address]);
    let mut running = work.start(&servers.chain(options).collect::<Vec<_>>())?;
    let peak = peak(&mut running)?;
    running.kill()?;
    ensure!((AT_LEAST..=MAX_BYTES).contains(&peak), "{} MiB", peak >> 20);
    Ok(())
}

#[test]
fn slow_servers_do_not_fill_the_memory() -> Result<()> {
    let text = Sample::new(1).text(150_000);
    assert_bounded(&text, 200_000, &[])?;
    assert_bounded(&text, 200_000, &["--rejects", "REJECTS", "--threads", "4"])
}

#[test]
fn long_lines_do_not_fill_the_memory_with_rejects_or_without() -> Result<()> {
    const LONG: usize = (16 << 20) - 100;
    let mut text = Vec::new();
    for number in 0..3 {
        // One that is rejected, and one that only its server refuses.
        text.extend(std::iter::repeat_n(b'x', LONG));
        text.extend(format!("\nidfa\tlong{number}\t1\t2\t").bytes());
        text.extend(b"7942,".repeat(LONG / 5));
        text.extend(b"1\n");
        text.extend(Sample::new(number).text(5000));
    }
    assert_bounded(&text, 20_000_000, &[])?;
    assert_bounded(&text, 20_000_000, &["--rejects", "REJECTS", "--threads", "4"])
}
