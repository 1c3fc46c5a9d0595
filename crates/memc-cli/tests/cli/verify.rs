//! `memc-load verify`: what the servers hold against what the files say.

use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::{DEVICE_TYPES, Sample};

use crate::workdir::Workdir;

/// One command of the classic protocol, and its answer.
fn send(server: &str, command: &[u8]) -> Result<String> {
    let mut socket = TcpStream::connect(server)?;
    socket.write_all(command)?;
    let mut answer = [0; 64];
    let length = socket.read(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer[..length]).into_owned())
}

#[test]
fn what_was_loaded_is_the_same_and_what_differs_or_is_missing_is_counted() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(7).with(0.3, 0.05);
    let mut texts = Vec::new();
    for name in ["1.tsv.gz", "2.tsv.gz", "3.tsv.gz"] {
        let mut text = sample.text(3000);
        // Keys that are not UTF-8, and one that is in all files.
        text.extend_from_slice(b"idfa\tk\xff\t1\t2\t3\ngaid\tall\t1\t2\t3");
        text.extend_from_slice(name.as_bytes());
        work.gzip(name, &text)?;
        texts.push(text);
    }
    work.load(&[])?.exits(3)?;
    // Done or not, in any order, and one of them twice.
    fs::rename(work.path(".3.tsv.gz"), work.path("3.tsv.gz"))?;
    let names = ["3.tsv.gz", ".1.tsv.gz", ".2.tsv.gz", ".1.tsv.gz"].map(|name| work.name(name));
    let verify: Vec<&str> = ["verify"].into_iter().chain(names.iter().map(String::as_str)).collect();
    let expected = crate::workdir::model(&texts);
    let keys: usize = DEVICE_TYPES.iter().map(|name| expected.servers[name].len()).sum();
    let run = work.with_servers(&verify)?;
    run.shows(0, &[format!("{keys} keys: {keys} same, 0 different, 0 missing")])?;
    let rejected: u64 = expected.rejected.values().sum();
    run.logs(&[format!("I {rejected} lines skipped: a load rejects them too")])?;

    // Of a file alone its own records count: the key in all of them differs, and some of the others.
    let run = work.with_servers(&["verify", &names[1]])?;
    run.ensure(
        run.stdout.contains(" different, 0 missing") && !run.stdout.contains(" 0 different"),
        "stale",
    )?;
    run.ensure(run.status().code() == Some(3), "exit code 3")?;

    let servers = work.servers()?;
    let address = servers[1].address();
    ensure!(send(&address, b"set gaid:all 0 0 1\r\nx\r\n")? == "STORED\r\n");
    ensure!(send(&servers[0].address(), b"delete idfa:k\xff\r\n")? == "DELETED\r\n");
    let run = work.with_servers(&verify)?;
    run.shows(3, &[format!("{keys} keys: {} same, 1 different, 1 missing", keys - 2)])?;
    run.logs(&[
        format!("W {address} - gaid:all: different"),
        format!("W {} - idfa:k\\xff: missing", servers[0].address()),
    ])
}

#[test]
fn what_cannot_be_compared_is_an_error() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    let whole = fs::read(work.path("1.tsv.gz"))?;
    work.write("2.tsv.gz", &whole[..whole.len() - 4])?;
    for (file, message) in [("2.tsv.gz", "cannot read '"), ("none.tsv.gz", "cannot read '")] {
        let run = work.with_servers(&["verify", &work.name("1.tsv.gz"), &work.name(file)])?;
        run.shows(1, &[""; 0])?;
        run.fails_with(&[message, file])?;
    }
    let file = work.name("1.tsv.gz");
    let run = work.run(&["verify", "--timeout", "100ms", "--idfa", "127.0.0.1:1", &file])?;
    run.shows(1, &[""; 0])?;
    run.fails_with(&["cannot read from 127.0.0.1:1"])?;
    // Nothing is marked as done, and no temporary file is left.
    run.leaves(&["1.tsv.gz", "2.tsv.gz"])?;
    work.run(&["verify", "--idfa", "127.0.0.1:1", "--gaid", "unix:/none", &work.name("none.tsv.gz")])?
        .shows(1, &[""; 0])
}

#[test]
fn memory_is_bounded_however_many_keys_there_are() -> Result<()> {
    const RECORDS: usize = 400_000;
    let work = Workdir::new()?;
    let mut text = String::new();
    for record in 0..RECORDS {
        let device_type = DEVICE_TYPES[record % 4];
        writeln!(text, "{device_type}\t{record:032x}\t1\t2\t{record}")?;
    }
    work.write("1.tsv", &text)?;
    work.load(&["--pattern", &work.name("*.tsv")])?.exits(0)?;
    let mut verify = Command::new(env!("CARGO_BIN_EXE_memc-load"));
    for (name, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
        verify.args([format!("--{name}"), server.address()]);
    }
    let mut process =
        verify.arg("verify").arg(work.path(".1.tsv")).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
    let status = format!("/proc/{}/status", process.id());
    let until = Instant::now() + Duration::from_secs(120);
    // It only grows, so the last look before the end is as good as one at the end.
    let mut peak_kib = 0;
    let code = loop {
        if let Some(status) = process.try_wait()? {
            break status.code();
        }
        let text = fs::read_to_string(&status).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
        if let Some(kib) = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok()) {
            peak_kib = kib;
        }
        if Instant::now() >= until {
            process.kill()?;
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    let mut shown = String::new();
    process.stdout.take().context("a pipe")?.read_to_string(&mut shown)?;
    ensure!(code == Some(0), "{code:?}: {shown}");
    ensure!(shown == format!("{RECORDS} keys: {RECORDS} same, 0 different, 0 missing\n"), "{shown}");
    ensure!(peak_kib > 1024 && peak_kib < 64 * 1024, "{peak_kib} KiB at the most");
    Ok(())
}
