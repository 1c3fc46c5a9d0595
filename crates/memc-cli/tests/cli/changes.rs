//! Files that change under the run.

use std::fs::{self, File};
use std::io::Write;

use anyhow::{Context, Result};
use memc_testkit::{Memcached, Sample};

use crate::run::Running;
use crate::workdir::{Workdir, model, same};

/// A plain text of 48 MB in lines of a few dozen kB: more than the 32 MiB that the loader reads ahead of its
/// servers.
fn long_text() -> Vec<u8> {
    let apps = "123456789,".repeat(4000);
    (0..1200).flat_map(|id| format!("idfa\t{id}\t1\t2\t{apps}7\n").into_bytes()).collect()
}

/// A run that has begun to read the first of these files and waits for the server of idfa, which is dead.
fn held(files: &[(&str, &[u8])]) -> Result<(Workdir, Memcached, Running)> {
    let work = Workdir::new()?;
    for (name, bytes) in files {
        work.write(name, bytes)?;
    }
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let mut running = work.start(&["--idfa", &dead.address()])?;
    running.wait_for_log("Processing ")?;
    Ok((work, dead, running))
}

#[test]
fn a_file_that_vanishes_before_its_turn_stops_the_run() -> Result<()> {
    let text = long_text();
    let later = Sample::new(1).text(10);
    let files: [(&str, &[u8]); 3] = [("1.tsv.gz", &text), ("2.tsv.gz", &later), ("3.tsv.gz", &later)];
    let (work, mut dead, running) = held(&files)?;
    fs::remove_file(work.path("2.tsv.gz"))?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "3.tsv.gz"])?;
    run.fails_with(&[&format!("cannot read '{}': No such file", work.name("2.tsv.gz"))])?;
    same(&dead.contents()?, &model(&[text]).servers["idfa"])
}

#[test]
fn lines_appended_before_the_end_is_reached_are_loaded() -> Result<()> {
    let text = long_text();
    let (work, mut dead, running) = held(&[("1.tsv.gz", &text)])?;
    let more = b"idfa\tmore\t1\t2\t3\nidfa\t1\t5\t6\t7\n";
    File::options().append(true).open(work.path("1.tsv.gz"))?.write_all(more)?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    let expected = model(&[&text[..], more]);
    expected.value(b"idfa:more").context("it is in the model")?;
    same(&dead.contents()?, &expected.servers["idfa"])
}
