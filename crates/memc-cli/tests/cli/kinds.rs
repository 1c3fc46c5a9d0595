//! What matches the pattern without being a log that can be read.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;

use anyhow::Result;
use memc_testkit::{Model, Sample};
use rustix::fs::{CWD, FileType, Mode, mknodat};

use crate::run::skip;
use crate::workdir::{Workdir, model};

/// The warning for it.
fn left_alone(work: &Workdir, name: &str) -> String {
    format!("W {}: not a regular file, so not a log: skipped", work.name(name))
}

#[test]
fn a_folder_is_left_alone() -> Result<()> {
    let work = Workdir::new()?;
    work.write("1.tsv.gz/inner", b"")?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&["1.tsv.gz/inner"])?;
    run.logs(&[left_alone(&work, "1.tsv.gz")])?;
    work.holds(&Model::new())
}

#[test]
fn a_pipe_and_a_socket_are_left_alone_and_hang_nothing() -> Result<()> {
    let work = Workdir::new()?;
    let text = Sample::new(1).text(100);
    mknodat(CWD, work.path("1.tsv.gz"), FileType::Fifo, Mode::RUSR | Mode::WUSR, 0)?;
    work.gzip("2.tsv.gz", &text)?;
    let _socket = UnixListener::bind(work.path("3.tsv.gz"))?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".2.tsv.gz", "1.tsv.gz", "3.tsv.gz"])?;
    run.logs(&[left_alone(&work, "1.tsv.gz"), left_alone(&work, "3.tsv.gz")])?;
    work.holds(&model(&[text]))
}

#[test]
fn a_link_to_a_file_is_loaded_and_renamed_itself() -> Result<()> {
    let work = Workdir::new()?;
    let text = Sample::new(2).text(100);
    work.gzip("elsewhere/1.gz", &text)?;
    symlink("elsewhere/1.gz", work.path("1.tsv.gz"))?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", "elsewhere/1.gz"])?;
    work.holds(&model(&[text]))
}

#[test]
fn a_link_to_nothing_stops_the_run() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(3).text(100))?;
    symlink("nowhere", work.path("2.tsv.gz"))?;
    work.gzip("3.tsv.gz", Sample::new(4).text(100))?;
    let run = work.load(&[])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz", "3.tsv.gz"])?;
    run.fails_with(&[&format!("cannot read '{}': No such file", work.name("2.tsv.gz"))])
}

#[test]
fn a_file_that_may_not_be_read_stops_the_run() -> Result<()> {
    if rustix::process::geteuid().is_root() {
        return skip("root may read everything");
    }
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(5).text(100))?;
    work.gzip("2.tsv.gz", Sample::new(6).text(100))?;
    fs::set_permissions(work.path("2.tsv.gz"), Permissions::from_mode(0o000))?;
    let run = work.load(&[])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz"])?;
    run.fails_with(&[&format!("cannot read '{}': Permission denied", work.name("2.tsv.gz"))])
}
