//! Two loaders on one folder: the second leaves it to the first.

use anyhow::{Result, ensure};
use memc_testkit::{Memcached, Sample};
use rustix::process::Signal;

use crate::run::Running;
use crate::workdir::{Workdir, model};

/// A file in each of two folders, their texts, a server for dvid that is dead, and a run that waits for it.
fn held() -> Result<(Workdir, Vec<Vec<u8>>, Memcached, Running)> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts = vec![sample.text(1000), sample.text(1000)];
    work.gzip("a/1.tsv.gz", &texts[0])?;
    work.gzip("b/2.tsv.gz", &texts[1])?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let mut running = work.start(&["--pattern", &work.name("*/*.tsv.gz"), "--dvid", &dead.address()])?;
    running.wait_for_log("Processing ")?;
    Ok((work, texts, dead, running))
}

#[test]
fn a_second_loader_leaves_a_folder_to_the_first() -> Result<()> {
    let (work, texts, mut dead, running) = held()?;
    let servers = [Memcached::start(&[])?, Memcached::start(&[])?];
    let (idfa, dvid) = (servers[0].address(), servers[1].address());
    for (pattern, folder) in [("a/*.tsv.gz", "a"), ("b/*.tsv.gz", "b"), ("*/2.tsv.gz", "b")] {
        let run = work.load(&["--pattern", &work.name(pattern), "--idfa", &idfa, "--dvid", &dvid])?;
        run.exits(1)?;
        run.leaves(&["a/1.tsv.gz", "b/2.tsv.gz"])?;
        run.fails_with(&[&format!("cannot lock '{}': another memc-load is loading it", work.name(folder))])?;
    }
    for server in &servers {
        ensure!(server.stat("cmd_set")? == 0, "the second loader has sent records");
    }
    // Nothing is changed by it, so it needs no lock.
    let run = work.load(&["--pattern", &work.name("*/*.tsv.gz"), "--dry"])?;
    run.exits(0)?;

    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(0)?;
    run.leaves(&["a/.1.tsv.gz", "b/.2.tsv.gz"])?;
    let expected = model(&texts);
    crate::workdir::same(&work.servers()?[0].contents()?, &expected.servers["idfa"])?;
    crate::workdir::same(&dead.contents()?, &expected.servers["dvid"])
}

#[test]
fn the_lock_dies_with_its_loader() -> Result<()> {
    let (work, texts, _dead, running) = held()?;
    running.signal(Signal::KILL)?;
    work.finish(running)?;
    let run = work.load(&["--pattern", &work.name("*/*.tsv.gz")])?;
    run.exits(0)?;
    run.leaves(&["a/.1.tsv.gz", "b/.2.tsv.gz"])?;
    work.holds(&model(&texts))
}

#[test]
fn another_folder_can_be_loaded_meanwhile() -> Result<()> {
    let (work, _, _dead, _running) = held()?;
    let text = Sample::new(2).text(10);
    work.gzip("c/3.tsv.gz", &text)?;
    let run = work.load(&["--pattern", &work.name("c/*.tsv.gz")])?;
    run.exits(0)?;
    run.leaves(&["a/1.tsv.gz", "b/2.tsv.gz", "c/.3.tsv.gz"])
}

#[test]
fn many_loaders_at_once_load_every_file_once() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(3).with(0.3, 0.0);
    let texts: Vec<_> = (0..8).map(|_| sample.text(300)).collect();
    for (number, text) in texts.iter().enumerate() {
        work.gzip(&format!("{number}.tsv.gz"), text)?;
    }
    let running = (0..6).map(|_| work.start(&[])).collect::<Result<Vec<_>>>()?;
    let runs = running.into_iter().map(|running| work.finish(running)).collect::<Result<Vec<_>>>()?;
    let loaded: u64 = work.servers()?.iter().map(|server| Ok(server.stat("cmd_set")?)).sum::<Result<_>>()?;
    ensure!(loaded == 8 * 300, "{loaded} records were sent");
    for run in runs {
        let refused = run.log_of("E")?.iter().all(|line| line.contains("another memc-load is loading it"));
        run.ensure(refused && matches!(run.status().code(), Some(0 | 1)), "done, or left to another")?;
    }
    work.holds(&model(&texts))
}
