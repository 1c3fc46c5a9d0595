//! A run that is killed leaves nothing that the next one does not finish.

use std::fs::{self, File};
use std::io::Write;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memc_testkit::Sample;
use rustix::process::Signal;

use crate::workdir::{Workdir, model};

#[test]
fn a_run_that_is_killed_within_a_file_is_finished_by_the_next() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts = [sample.text(1000), sample.text(12_000), sample.text(1000)];
    work.gzip("1.tsv.gz", &texts[0])?;
    work.gzip("3.tsv.gz", &texts[2])?;
    // A pipe in the place of the second file holds the run where the kill is to find it.
    let second = work.path("2.tsv.gz");
    ensure!(Command::new("mkfifo").arg(&second).status()?.success(), "no mkfifo");
    let process = work.start(&[])?;
    let packed = memc_testkit::gzip(&texts[1])?;
    let mut pipe = File::options().write(true).open(&second)?;
    pipe.write_all(&packed[..packed.len() / 2])?;

    let until = Instant::now() + Duration::from_secs(20);
    let stored = || work.servers()?.iter().map(|server| Ok(server.stat("cmd_set")?)).sum::<Result<u64>>();
    while stored()? <= 1000 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    process.signal(Signal::KILL)?;
    work.finish(process)?;
    drop(pipe);
    ensure!(stored()? > 1000, "nothing of the second file was stored, but the first half of it was there");
    ensure!(work.files()? == [".1.tsv.gz", "2.tsv.gz", "3.tsv.gz"], "{:?}", work.files()?);

    fs::remove_file(&second)?;
    work.gzip("2.tsv.gz", &texts[1])?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz", ".3.tsv.gz"])?;
    work.holds(&model(&texts))
}
