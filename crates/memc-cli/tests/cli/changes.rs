//! Files that change under the run: what gets its dot is what was read.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result};
use memc_testkit::{Memcached, Sample};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::run::Running;
use crate::workdir::{Workdir, model, same};

/// A plain text of 48 MB in lines of a few dozen kB: more than the 40 MiB that the loader reads ahead of its
/// servers.
fn long_text() -> Vec<u8> {
    let apps = "123456789,".repeat(4000);
    (0..1200).flat_map(|id| format!("idfa\t{id}\t1\t2\t{apps}7\n").into_bytes()).collect()
}

/// A run with these options that has started to read the first of these files and waits for the server of idfa,
/// which is dead.
fn held(files: &[(&str, &[u8])], options: &[&str]) -> Result<(Workdir, Memcached, Running)> {
    let work = Workdir::new()?;
    for (name, bytes) in files {
        work.write(name, bytes)?;
    }
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let (pattern, address) = (work.name("*.tsv"), dead.address());
    let mut running =
        work.start(&[&["--idfa", &address, "--pattern", &pattern, "--retry-for", "1m"], options].concat())?;
    running.wait_for_log("Processing ")?;
    // A small file is read by then, however busy the machine is.
    sleep(Duration::from_millis(300));
    Ok((work, dead, running))
}

fn loaded_again(work: &Workdir, name: &str) -> String {
    format!("W {}: has changed while it was loaded: it is loaded again", work.name(name))
}

#[test]
fn a_file_that_vanishes_before_its_turn_stops_the_run() -> Result<()> {
    let text = long_text();
    let later = Sample::new(1).text(10);
    let files: [(&str, &[u8]); 3] = [("1.tsv", &text), ("2.tsv", &later), ("3.tsv", &later)];
    let (work, mut dead, running) = held(&files, &[])?;
    fs::remove_file(work.path("2.tsv"))?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(1)?;
    run.leaves(&[".1.tsv", "3.tsv"])?;
    run.fails_with(&[&format!("cannot read '{}': No such file", work.name("2.tsv"))])?;
    same(&dead.contents()?, &model(&[text]).servers["idfa"])
}

#[test]
fn lines_appended_before_the_end_is_reached_are_loaded() -> Result<()> {
    let text = long_text();
    let (work, mut dead, running) = held(&[("1.tsv", &text)], &[])?;
    let more = b"idfa\tmore\t1\t2\t3\nidfa\t1\t5\t6\t7\n";
    File::options().append(true).open(work.path("1.tsv"))?.write_all(more)?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(0)?;
    run.leaves(&[".1.tsv"])?;
    let expected = model(&[&text[..], more]);
    expected.value(b"idfa:more").context("it is in the model")?;
    same(&dead.contents()?, &expected.servers["idfa"])
}

/// A small file that is read to its end, and then changed so before its turn to be marked as done comes: what it
/// has become is loaded too, and only then it is done.
fn is_loaded_again(change: impl FnOnce(&Path) -> Result<()>, expected: &[&str]) -> Result<()> {
    let (first, second) = ("idfa\ta\t1\t2\t3\n", "idfa\tz\t1\t2\t3\n");
    let (work, mut dead, running) = held(&[("1.tsv", first.as_bytes()), ("2.tsv", second.as_bytes())], &[])?;
    change(&work.path("1.tsv"))?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(0)?;
    run.leaves(&[".1.tsv", ".2.tsv"])?;
    run.logs(&[loaded_again(&work, "1.tsv")])?;
    let last = run.log()?.pop().context("a log")?;
    run.ensure(last.starts_with("I 2 of 2 files done: "), "totals of both loads")?;
    same(&dead.contents()?, &model(&[&[first], expected, &[second]].concat()).servers["idfa"])
}

#[test]
fn a_file_that_is_replaced_is_loaded_again() -> Result<()> {
    let text = "idfa\tb\t1\t2\t3\n";
    let replace = |path: &Path| {
        let new = path.with_file_name(".new");
        fs::write(&new, text)?;
        Ok(fs::rename(new, path)?)
    };
    is_loaded_again(replace, &[text])
}

#[test]
fn a_file_that_grows_is_loaded_again() -> Result<()> {
    let text = "idfa\tb\t1\t2\t3\n";
    let append = |path: &Path| Ok(File::options().append(true).open(path)?.write_all(text.as_bytes())?);
    is_loaded_again(append, &[text])
}

#[test]
fn a_file_that_is_overwritten_in_its_size_is_loaded_again() -> Result<()> {
    let text = "idfa\tb\t1\t2\t3\n";
    let rewrite = |path: &Path| {
        let modified = path.metadata()?.modified()?;
        fs::write(path, text)?;
        // As `rsync --inplace --times` and `touch --reference` do.
        Ok(File::options().append(true).open(path)?.set_modified(modified)?)
    };
    is_loaded_again(rewrite, &[text])
}

#[test]
fn a_run_in_an_exchanged_folder_puts_no_dot_on_what_it_has_not_read() -> Result<()> {
    let work = Workdir::new()?;
    work.write("in/1.tsv", "idfa\ta\t1\t2\t3\n")?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let mut running =
        work.start(&["--pattern", &work.name("in/*.tsv"), "--idfa", &dead.address(), "--retry-for", "1m"])?;
    running.wait_for_log("Processing ")?;
    sleep(Duration::from_millis(300));
    fs::rename(work.path("in"), work.path("old"))?;
    work.write("in/1.tsv", "idfa\tb\t1\t2\t3\n")?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(1)?;
    run.leaves(&["in/1.tsv", "old/1.tsv"])?;
    run.fails_with(&[&format!(
        "'{}' has changed each time it was loaded: it and all later files keep their names",
        work.name("in/1.tsv")
    )])
}

#[test]
fn a_follower_puts_no_dot_on_what_comes_while_the_rejects_are_written() -> Result<()> {
    let work = Workdir::new()?;
    let rejects = work.path("rejects");
    // A pipe that nobody empties holds the write up as a slow disk does.
    mknodat(CWD, &rejects, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    let mut reader = File::options().read(true).write(true).open(&rejects)?;
    let fill = vec![b'\n'; rustix::pipe::fcntl_getpipe_size(&reader)?];
    reader.write_all(&fill)?;
    work.gzip("1.tsv.gz", "bad\nidfa\ta\t1\t2\t3\n")?;
    let mut running = work.start(&["--follow", "--rejects", &work.name("rejects")])?;
    running.wait_for_log("Processing ")?;
    sleep(Duration::from_millis(500));
    work.gzip(".new", "idfa\tb\t1\t2\t3\n")?;
    fs::rename(work.path(".new"), work.path("1.tsv.gz"))?;
    // Now the rejects can be written, and the rename is due.
    std::io::Read::read_exact(&mut reader, &mut vec![0; fill.len()])?;
    running.wait_for_log("not complete (it has changed while it was loaded)")?;
    running.wait_for_log("1.tsv.gz: 1 records, 0 rejected")?;
    running.signal(rustix::process::Signal::TERM)?;
    let run = work.finish(running)?;
    run.exits(143)?;
    run.leaves(&[".1.tsv.gz", "rejects"])?;
    let expected = model(&["idfa\ta\t1\t2\t3\n", "idfa\tb\t1\t2\t3\n"]);
    same(&work.servers()?[0].contents()?, &expected.servers["idfa"])
}
