//! Servers that lose records on their own: logged, with exit code 3.

use anyhow::{Result, ensure};
use memc_testkit::{Fault, Memcached, Proxy};

use crate::workdir::Workdir;

/// Lines for a device type whose server the test owns.
fn text(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("imei\t{id}\t1\t2\t3\n")).collect()
}

#[test]
fn a_server_that_is_restarted_is_logged_with_the_files_that_it_lost() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    for file in 0..12 {
        work.gzip(&format!("{file:02}.tsv.gz"), text(file * 40_000..(file + 1) * 40_000))?;
    }
    let route = format!("imei={}", server.address());
    let mut running = work.start(&["--route", &route])?;
    running.wait_for_log("00.tsv.gz: 40000 records")?;
    server.kill()?;
    server.restart()?;
    let run = work.finish(running)?;
    run.exits(3)?;
    let lost = format!("{}: lost its records of {}", server.address(), work.name("00.tsv.gz"));
    run.ensure(run.log_of("E")?.iter().any(|line| line.contains(&lost)), lost)?;
    ensure!(work.files()?.iter().all(|name| name.starts_with('.')), "{:?}", work.files()?);
    let logged = run.log_of("E")?.join("");
    let is_lost = |file: &u32| logged.contains(&work.name(&format!("{file:02}.tsv.gz")));
    let there = 40_000 * (0..12).filter(|file| !is_lost(file)).count() as u64;
    let items = server.stat("curr_items")?;
    run.ensure(items == there, format!("{there} records on the server and not {items}"))?;
    Ok(())
}

#[test]
fn a_server_that_is_full_is_logged_with_what_to_do() -> Result<()> {
    let work = Workdir::new()?;
    let server = Memcached::start(&["-m", "2"])?;
    work.gzip("1.tsv.gz", text(0..60_000))?;
    let run = work.load(&["--route", &format!("imei={}", server.address())])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz"])?;
    run.fails_with(&[&format!(
        "{}: full: it has evicted {} records during the run; give it more than its 2 MiB (memcached -m)",
        server.address(),
        server.stat("evictions")?
    )])
}

/// Whether its records are lost cannot be known, so somebody has to look.
#[test]
fn a_server_that_does_not_answer_at_the_end_is_logged() -> Result<()> {
    let work = Workdir::new()?;
    let server = Memcached::start(&[])?;
    let load = |name: &str, faults: Vec<Fault>| {
        let proxy = Proxy::start(&server.address(), faults)?;
        work.gzip(name, text(0..100))?;
        let route = format!("imei={}", proxy.address());
        let run = work.load(&["--route", &route, "--timeout", "1s", "--retry-for", "1s"])?;
        anyhow::Ok((run, proxy.address(), proxy.sent()))
    };
    let (run, _, sent) = load("1.tsv.gz", Vec::new())?;
    run.exits(0)?;
    // It stalls in the last question.
    let (run, address, _) = load("2.tsv.gz", vec![Fault::StallSent(sent - 3), Fault::StallSent(0)])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz"])?;
    run.logs(&[format!(
        "E {address}: acknowledged all records, but cannot be asked now: if its process has ended, they are lost"
    )])
}
