//! Tells the program its version, with the commit it is built from if that is known.

use std::path::Path;
use std::process::Command;

/// `git archive`, and so a tarball of the hosting site, fills the placeholder in this file.
const ARCHIVED: &str = "commit";

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed={ARCHIVED}");
    let version = env!("CARGO_PKG_VERSION");
    match archived_commit().or_else(checked_out_commit) {
        Some(commit) => println!("cargo:rustc-env=VERSION_AND_COMMIT={version} ({commit})"),
        None => println!("cargo:rustc-env=VERSION_AND_COMMIT={version}"),
    }
}

/// Short hash and date of the commit that this source was archived from.
fn archived_commit() -> Option<String> {
    let commit = std::fs::read_to_string(ARCHIVED).ok()?.trim().to_owned();
    (!commit.is_empty() && !commit.starts_with('$')).then_some(commit)
}

/// Short hash and date of the commit that is checked out; looked up again when another one is.
fn checked_out_commit() -> Option<String> {
    for name in ["HEAD", "logs/HEAD"] {
        // Cargo would run this for every build if one of them were missing.
        if let Some(path) = git(&["rev-parse", "--git-path", name]).filter(|path| Path::new(path).exists()) {
            println!("cargo:rerun-if-changed={path}");
        }
    }
    // The repository around a copy of this source may be quite another one.
    git(&["ls-files", "--error-unmatch", "build.rs"])?;
    git(&["log", "-1", "--format=%h %cs"])
}

/// What git says, if there is a git and it knows.
fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).output().ok()?;
    let said = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (output.status.success() && !said.is_empty()).then_some(said)
}
