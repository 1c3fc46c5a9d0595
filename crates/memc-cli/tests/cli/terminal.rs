//! What shows on a terminal: the progress at its bottom, whole log lines above.

use std::fs::File;
use std::io::Read;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use memc_testkit::{DEVICE_TYPES, Sample};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

use crate::run::messages;
use crate::workdir::Workdir;

/// No log line in these tests is as long.
const COLUMNS: usize = 600;

/// Runs a load with a terminal for standard error, and returns what it was sent and how the run ended.
fn on_a_terminal(work: &Workdir, terminal: &str, options: &[&str]) -> Result<(String, Option<i32>)> {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
    grantpt(&master)?;
    unlockpt(&master)?;
    let size = Winsize { ws_row: 24, ws_col: COLUMNS.try_into()?, ws_xpixel: 0, ws_ypixel: 0 };
    tcsetwinsize(&master, size)?;
    let path = ptsname(&master, Vec::new())?.into_string()?;
    let slave = File::options().read(true).write(true).open(path)?;
    let mut command = Command::new(env!("CARGO_BIN_EXE_memc-load"));
    command.env("TERM", terminal).args(["--pattern", &work.name("*.tsv.gz")]).args(options);
    for (name, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
        command.args([format!("--{name}"), server.address()]);
    }
    let mut process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(slave).spawn()?;
    // With the command goes the last writer but the process itself; after its end reading fails.
    drop(command);
    let mut sent = Vec::new();
    let reading = thread::spawn(move || {
        let _ = File::from(master).read_to_end(&mut sent);
        sent
    });
    let code = process.wait()?.code();
    let sent = reading.join().ok().context("a panic")?;
    Ok((String::from_utf8(sent)?, code))
}

/// What the screen shows when the terminal has done all that it was sent.
fn screen(sent: &str) -> Result<String> {
    let (mut lines, mut row, mut column) = (vec![vec![' '; COLUMNS]], 0, 0);
    let mut rest = sent;
    while let Some(next) = rest.chars().next() {
        rest = &rest[next.len_utf8()..];
        match next {
            '\n' => row += 1,
            '\r' => column = 0,
            '\u{1b}' => {
                let sequence = &rest[..3];
                rest = &rest[3..];
                match sequence {
                    "[1A" => row -= 1,
                    "[1B" => row += 1,
                    "[2K" => lines[row].fill(' '),
                    _ => bail!("unknown sequence '{sequence}'"),
                }
            }
            _ => {
                if column == COLUMNS {
                    (row, column) = (row + 1, 0);
                }
                lines.resize(lines.len().max(row + 1), vec![' '; COLUMNS]);
                lines[row][column] = next;
                column += 1;
            }
        }
    }
    let lines = lines.iter().map(|line| line.iter().collect::<String>().trim_end().to_owned() + "\n");
    Ok(lines.collect::<String>().trim_end_matches('\n').to_owned() + "\n")
}

fn files(work: &Workdir) -> Result<()> {
    let mut sample = Sample::new(1);
    for name in ["1.tsv.gz", "2.tsv.gz"] {
        let member = memc_testkit::gzip(&sample.text(2000))?;
        work.write(name, member.repeat(40))?;
    }
    Ok(())
}

#[test]
fn the_progress_is_shown_while_a_load_runs_and_leaves_only_the_log() -> Result<()> {
    let work = Workdir::new()?;
    files(&work)?;
    let (sent, code) = on_a_terminal(&work, "xterm", &[])?;
    ensure!(code == Some(0), "{sent}");
    for part in [&format!("{} (1 of 2)", work.name("1.tsv.gz")), "(2 of 2)", " records/s, ", " left", " of "]
    {
        ensure!(sent.contains(part), "no '{part}' in {}", sent.escape_debug());
    }
    let screen = screen(&sent)?;
    let log = messages(&screen).with_context(|| sent.escape_debug().to_string())?;
    ensure!(log.len() == 8, "{screen}");
    ensure!(log[7].starts_with("I 2 of 2 files done: 160000 records, 0 rejected, "), "{screen}");
    Ok(())
}

#[test]
fn with_a_log_file_there_is_only_the_progress() -> Result<()> {
    let work = Workdir::new()?;
    files(&work)?;
    let (sent, code) = on_a_terminal(&work, "xterm", &["--log", &work.name("log")])?;
    ensure!(code == Some(0) && sent.contains("(2 of 2)"), "{sent}");
    ensure!(screen(&sent)?.trim().is_empty(), "{}", sent.escape_debug());
    Ok(())
}

#[test]
fn nothing_but_the_log_is_shown_if_that_is_asked_for_or_the_terminal_can_do_no_more() -> Result<()> {
    for (terminal, options) in [
        ("xterm", &["--progress", "never"][..]),
        ("dumb", &[]),
        ("xterm", &["--dry", "--max-error-rate", "1"]),
    ] {
        let work = Workdir::new()?;
        work.gzip("1.tsv.gz", Sample::new(2).text(500))?;
        let (sent, code) = on_a_terminal(&work, terminal, options)?;
        ensure!(code == Some(0) && !sent.contains('\u{1b}'), "{}", sent.escape_debug());
        messages(&sent.replace("\r\n", "\n"))?;
    }
    Ok(())
}

/// It showed `0s left`.
#[test]
fn the_progress_names_the_server_that_is_waited_for() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "gaid\tx\t1\t2\t3\n")?;
    let mut dead = memc_testkit::Memcached::start(&[])?;
    dead.kill()?;
    let route = format!("imei={}", dead.address());
    work.gzip("2.tsv.gz", "imei\tx\t1\t2\t3\n")?;
    let (sent, code) = on_a_terminal(&work, "xterm", &["--route", &route, "--retry-for", "2s"])?;
    ensure!(code == Some(1), "{sent}");
    let waits =
        format!("{} (2 of 2): waiting for {} (--route imei=ADDR)", work.name("2.tsv.gz"), dead.address());
    for part in [waits.as_str(), " records/s, waiting"] {
        ensure!(sent.contains(part), "no '{part}' in {}", sent.escape_debug());
    }
    Ok(())
}
