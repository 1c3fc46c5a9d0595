//! Files as arguments instead of a pattern.

use anyhow::Result;
use memc_testkit::Sample;

use crate::workdir::{Workdir, model};

/// Two files with a key in common, and their texts in the order of time.
fn two_files(work: &Workdir) -> Result<[&'static str; 2]> {
    let texts = ["idfa\tx\t1\t2\t1\n", "idfa\tx\t1\t2\t2\nidfa\ty\t1\t2\t3\n"];
    work.gzip("in/20170929000000.tsv.gz", texts[0])?;
    work.gzip("20170929000100.tsv.gz", texts[1])?;
    Ok(texts)
}

#[test]
fn files_are_loaded_in_the_order_of_time_and_get_their_dots() -> Result<()> {
    let work = Workdir::new()?;
    let texts = two_files(&work)?;
    work.gzip("other.tsv.gz", Sample::new(1).text(10))?;
    let names = ["20170929000100.tsv.gz", "in/20170929000000.tsv.gz", "20170929000100.tsv.gz"];
    let run = work.with_servers(&names.map(|name| work.name(name)).each_ref().map(String::as_str))?;
    run.exits(0)?;
    run.leaves(&[".20170929000100.tsv.gz", "in/.20170929000000.tsv.gz", "other.tsv.gz"])?;
    let first = run.log()?[0];
    run.ensure(
        first.starts_with("I Memc loader started with options: files=3 dry=false idfa="),
        "the options",
    )?;
    work.holds(&model(&texts))
}

#[test]
fn files_that_are_done_are_passed_over() -> Result<()> {
    let work = Workdir::new()?;
    let texts = two_files(&work)?;
    let names = ["in/20170929000000.tsv.gz", "20170929000100.tsv.gz"].map(|name| work.name(name));
    work.with_servers(&[&names[0]])?.exits(0)?;
    // A shell that has the old list, or a pattern for names with dots.
    let dotted = work.name("in/.20170929000000.tsv.gz");
    let run = work.with_servers(&[&names[0], &names[1], &dotted])?;
    run.exits(0)?;
    run.leaves(&[".20170929000100.tsv.gz", "in/.20170929000000.tsv.gz"])?;
    run.logs(&[
        format!("I {}: already done: skipped", names[0]),
        format!("I {dotted}: already done: skipped"),
    ])?;
    work.holds(&model(&texts))?;
    let run = work.with_servers(&[&names[0], &names[1]])?;
    run.exits(0)?;
    run.logs(&["W No file is left to load: nothing to do"])
}

#[test]
fn a_missing_file_or_a_folder_stops_the_run_before_it_starts() -> Result<()> {
    let work = Workdir::new()?;
    two_files(&work)?;
    let (sound, missing, folder) = (work.name("20170929000100.tsv.gz"), work.name("2.gz"), work.name("in"));
    for (wrong, message) in [
        (&missing, format!("cannot read '{missing}': No such file")),
        (&folder, format!("'{folder}' is a folder: give '{folder}/*.tsv.gz'")),
    ] {
        let run = work.with_servers(&[&sound, wrong])?;
        run.exits(1)?;
        run.fails_with(&[&message])?;
        run.leaves(&["20170929000100.tsv.gz", "in/20170929000000.tsv.gz"])?;
    }
    work.holds_nothing()
}

#[test]
fn a_follower_takes_no_files() -> Result<()> {
    let work = Workdir::new()?;
    let run = work.run(&["--follow", &work.name("1.tsv.gz")])?;
    run.exits(2)?;
    let message = "the argument '--follow' cannot be used with '[FILE]...'";
    run.ensure(run.stderr.contains(message), format!("expected '{message}'"))
}

#[test]
fn the_folder_of_a_file_is_locked() -> Result<()> {
    let work = Workdir::new()?;
    two_files(&work)?;
    let folder = std::fs::File::open(work.path("in"))?;
    rustix::fs::flock(&folder, rustix::fs::FlockOperation::NonBlockingLockExclusive)?;
    let run = work.with_servers(&[&work.name("in/20170929000000.tsv.gz")])?;
    run.exits(1)?;
    run.fails_with(&["another memc-load is loading it"])?;
    work.holds_nothing()
}
