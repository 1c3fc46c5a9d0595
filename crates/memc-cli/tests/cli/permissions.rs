//! Files that could not be renamed: found out before anything is loaded.

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown};

use anyhow::Result;
use memc_testkit::Sample;
use rustix::process::geteuid;

use crate::run::skip;
use crate::workdir::Workdir;

/// As root, without the capabilities that set permissions aside.
fn unprivileged() -> &'static str {
    match geteuid().is_root() {
        true => "exec setpriv --bounding-set=-dac_override,-dac_read_search,-fowner",
        false => "exec",
    }
}

/// A run that must stop before it loads `in/1.tsv.gz`, for this reason.
fn is_refused(work: &Workdir, reason: &str) -> Result<()> {
    for options in [&[][..], &["--follow"]] {
        let pattern = work.name("in/*.tsv.gz");
        let run = work.load_after(unprivileged(), &[&["--pattern", &pattern][..], options].concat())?;
        run.exits(1)?;
        run.leaves(&["in/1.tsv.gz"])?;
        run.fails_with(&[&format!("'{}' could not get its dot", work.name("in/1.tsv.gz")), reason])?;
        run.ensure(!run.stderr.contains("Processing"), "expected nothing loaded")?;
    }
    work.holds_nothing()
}

#[test]
fn a_folder_that_may_not_be_written_to_stops_the_run_before_the_load() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("in/1.tsv.gz", Sample::new(1).text(100))?;
    fs::set_permissions(work.path("in"), Permissions::from_mode(0o555))?;
    is_refused(&work, &format!("files in '{}' cannot be renamed: Permission denied", work.name("in")))?;
    // Nothing is renamed in a dry run.
    let run = work.load_after(unprivileged(), &["--pattern", &work.name("in/*.tsv.gz"), "--dry"])?;
    run.exits(0)?;
    fs::set_permissions(work.path("in"), Permissions::from_mode(0o755))?;
    let run = work.load_after(unprivileged(), &["--pattern", &work.name("in/*.tsv.gz")])?;
    run.exits(0)?;
    run.leaves(&["in/.1.tsv.gz"])
}

#[test]
fn a_file_of_another_user_in_a_sticky_folder_stops_the_run_before_the_load() -> Result<()> {
    if !geteuid().is_root() {
        return skip("only root can give a file away");
    }
    let work = Workdir::new()?;
    work.gzip("in/1.tsv.gz", Sample::new(2).text(100))?;
    fs::set_permissions(work.path("in"), Permissions::from_mode(0o1777))?;
    let nobody = 65534;
    chown(work.path("in/1.tsv.gz"), Some(nobody), None)?;
    chown(work.path("in"), Some(nobody), None)?;
    is_refused(&work, "only its owner may rename it, in a folder with the sticky bit")?;
    // Its owner, or that of the folder, may.
    chown(work.path("in/1.tsv.gz"), Some(0), None)?;
    let run = work.load_after(unprivileged(), &["--pattern", &work.name("in/*.tsv.gz")])?;
    run.exits(0)?;
    run.leaves(&["in/.1.tsv.gz"])
}
