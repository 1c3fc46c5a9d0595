//! The input files: which match, in which order, and how one is marked as done.

use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use glob::Pattern;

/// What matches a pattern.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The logs in chronological order: by file name, which is a time stamp, then by folder.
    pub(crate) logs: Vec<PathBuf>,
    /// What can be no log: folders, pipes (which could make the run wait for ever), sockets, devices.
    pub(crate) others: Vec<PathBuf>,
}

/// What matches `pattern`. Names with a leading dot are done and never match.
pub(crate) fn find(pattern: &str) -> Result<Found> {
    let mut found = Found::default();
    for path in glob::glob(pattern).with_context(|| format!("bad pattern '{pattern}'"))? {
        let path = path.context("cannot look for files")?;
        if is_hidden(&path, pattern) {
            continue;
        }
        // What cannot be looked at is a log that cannot be read: the run will stop there and say why.
        match path.metadata() {
            Ok(metadata) if !metadata.is_file() => found.others.push(path),
            _ => found.logs.push(path),
        }
    }
    // A pattern with two `**` may match a path in several ways.
    found.logs.sort_by(|a, b| chronology(a).cmp(&chronology(b)));
    found.logs.dedup();
    found.others.sort();
    found.others.dedup();
    Ok(found)
}

/// What logs are in the order of.
pub(crate) fn chronology(log: &Path) -> impl Ord {
    (log.file_name(), log.parent())
}

/// The folders in which something may appear that matches.
#[derive(Debug, Default)]
pub(crate) struct Folders {
    /// Those that the pattern's folder matches: logs are in these.
    pub(crate) of_logs: Vec<PathBuf>,
    /// Those above them in which another such folder may appear.
    pub(crate) above: Vec<PathBuf>,
}

/// The folders of `pattern` that are there now, and those above as far as it has wildcards or there is none.
pub(crate) fn find_folders(pattern: &str) -> Result<Folders> {
    let mut folders =
        Folders { of_logs: matching_folders(folder(Path::new(pattern)), pattern)?, ..Folders::default() };
    let mut part = folder(Path::new(pattern));
    let mut fixed = is_fixed(part) && !folders.of_logs.is_empty();
    while !fixed && part.parent().is_some() {
        part = folder(part);
        let above = matching_folders(part, pattern)?;
        fixed = is_fixed(part) && !above.is_empty();
        folders.above.extend(above);
    }
    Ok(folders)
}

/// Whether it has no wildcards.
pub(crate) fn is_fixed(part: &Path) -> bool {
    !part.as_os_str().as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// The folders that match a part of `pattern`.
fn matching_folders(part: &Path, pattern: &str) -> Result<Vec<PathBuf>> {
    let part = part.to_str().context("a pattern is text")?;
    let mut folders = Vec::new();
    for path in glob::glob(part).with_context(|| format!("bad pattern '{part}'"))? {
        let path = path.context("cannot look for folders")?;
        if path.is_dir() && !is_in_hidden(&path, pattern) {
            folders.push(path);
        }
    }
    Ok(folders)
}

/// Whether the file has a leading dot, or a folder on the way to it has one that the pattern does not name.
///
/// The glob crate has an option for this, but with it a name that is not UTF-8 makes it panic.
fn is_hidden(path: &Path, pattern: &str) -> bool {
    path.file_name().is_some_and(is_dotted) || is_in_hidden(path, pattern)
}

fn is_in_hidden(path: &Path, pattern: &str) -> bool {
    let named = |folder: &OsStr| Path::new(pattern).iter().any(|part| part == folder);
    path.iter().any(|folder| is_dotted(folder) && !named(folder))
}

fn is_dotted(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") && name != "." && name != ".."
}

/// Whether it can be understood as a pattern at all, with what is wrong if not.
pub(crate) fn check_pattern(pattern: &str) -> Result<String, glob::PatternError> {
    Pattern::new(pattern).map(|_| pattern.to_owned())
}

/// What to give instead of a folder.
pub(crate) fn suggest(folder: &Path) -> String {
    format!("give '{}'", folder.join("*.tsv.gz").display())
}

/// Marks a file as done: puts a dot before its name, for good, so also after a power failure. Returns the
/// older file that this has replaced, if there was one.
pub(crate) fn mark_done(path: &Path) -> Result<Option<PathBuf>> {
    let done = done_path(path).with_context(|| format!("'{}' has no file name", path.display()))?;
    let replaces = done.try_exists().unwrap_or(false);
    fs::rename(path, &done)
        .with_context(|| format!("cannot rename '{}' to '{}'", path.display(), done.display()))?;
    let folder = folder(path);
    File::open(folder)
        .and_then(|folder| folder.sync_all())
        .with_context(|| format!("cannot sync the folder '{}' after a rename", folder.display()))?;
    Ok(replaces.then_some(done))
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// The path with a dot before the file name.
fn done_path(path: &Path) -> Option<PathBuf> {
    let mut name = OsString::from(".");
    name.push(path.file_name()?);
    Some(path.with_file_name(name))
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;
    use std::os::unix::net::UnixListener;

    use tempfile::TempDir;

    use super::*;

    fn touch(folder: &TempDir, names: &[&str]) -> Result<()> {
        for name in names {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().context("a parent")?)?;
            fs::write(path, name)?;
        }
        Ok(())
    }

    fn found(folder: &TempDir, pattern: &str) -> Result<Vec<String>> {
        let pattern = format!("{}/{pattern}", folder.path().display());
        let relative = |path: PathBuf| Ok(path.strip_prefix(folder.path())?.display().to_string());
        find(&pattern)?.logs.into_iter().map(relative).collect()
    }

    #[test]
    fn order_is_by_file_name_then_by_folder() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["b/20170929000000.gz", "a/20170929000100.gz", "c/20170929000000.gz", "a/2016.gz"])?;
        let expected = ["a/2016.gz", "b/20170929000000.gz", "c/20170929000000.gz", "a/20170929000100.gz"];
        assert_eq!(found(&folder, "*/*.gz")?, expected);
        Ok(())
    }

    #[test]
    fn a_file_that_matches_in_two_ways_is_one_file() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["a/b/b/1.gz", "a/b/b/2.gz", "a/b/b/3.gz/inner"])?;
        let pattern = "a/**/b/**/*.gz";
        assert_eq!(found(&folder, pattern)?, ["a/b/b/1.gz", "a/b/b/2.gz"]);
        let others = find(&format!("{}/{pattern}", folder.path().display()))?.others;
        assert_eq!(others, [folder.path().join("a/b/b/3.gz")]);
        Ok(())
    }

    #[test]
    fn folders_are_those_of_logs_and_those_above_where_more_may_come() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["a/in/1.gz", "b/2.gz", ".c/in/3.gz"])?;
        let relative = |folders: Vec<PathBuf>| {
            let mut names = folders
                .iter()
                .map(|path| Ok(path.strip_prefix(folder.path())?.display().to_string()))
                .collect::<Result<Vec<_>>>()?;
            names.sort();
            Ok::<_, anyhow::Error>(names)
        };
        for (pattern, of_logs, above) in [
            ("a/in/*.gz", &["a/in"][..], &[][..]),
            ("a/*/*.gz", &["a/in"], &["a"]),
            ("*/in/*.gz", &["a/in"], &["", "a", "b"]),
            ("*/1.gz", &["a", "b"], &[""]),
            (".c/in/*.gz", &[".c/in"], &[]),
            ("a/not/yet/*.gz", &[], &["a"]),
            ("not/*/yet/*.gz", &[], &[""]),
            ("a/**/*.gz", &["a/in"], &["a"]),
        ] {
            let found = find_folders(&format!("{}/{pattern}", folder.path().display()))?;
            assert_eq!(relative(found.of_logs)?, of_logs, "{pattern}");
            assert_eq!(relative(found.above)?, above, "{pattern}");
        }
        assert_eq!(find_folders("*.gz")?.of_logs, [Path::new(".")]);
        Ok(())
    }

    #[test]
    fn files_with_a_leading_dot_are_done() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &[".1.gz", "2.gz", "..3.gz"])?;
        for pattern in ["*.gz", "*", "?*.gz", "[.0-9]*.gz", "**/*.gz"] {
            assert_eq!(found(&folder, pattern)?, ["2.gz"], "{pattern}");
        }
        assert!(found(&folder, ".1.gz")?.is_empty(), "not even when it is named");
        Ok(())
    }

    #[test]
    fn hidden_folders_must_be_named() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &[".a/1.gz", "b/2.gz"])?;
        assert_eq!(found(&folder, "*/*.gz")?, ["b/2.gz"]);
        assert_eq!(found(&folder, ".a/*.gz")?, [".a/1.gz"]);
        Ok(())
    }

    #[test]
    fn a_name_that_is_not_utf_8_does_no_harm() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["1.gz"])?;
        fs::write(folder.path().join(OsStr::from_bytes(b"2017\xff.gz")), "")?;
        assert_eq!(found(&folder, "*.gz")?, ["1.gz"]);
        Ok(())
    }

    #[test]
    fn only_regular_files_are_logs() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["1.gz/inner", "2.gz"])?;
        let _socket = UnixListener::bind(folder.path().join("3.gz"))?;
        symlink("2.gz", folder.path().join("4.gz"))?;
        symlink("nowhere", folder.path().join("5.gz"))?;
        assert_eq!(found(&folder, "*.gz")?, ["2.gz", "4.gz", "5.gz"]);
        let others = find(&format!("{}/*.gz", folder.path().display()))?.others;
        assert_eq!(others, [folder.path().join("1.gz"), folder.path().join("3.gz")]);
        Ok(())
    }

    #[test]
    fn a_done_file_has_a_dot_and_replaces_an_older_one() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["1.gz"])?;
        let (new, done) = (folder.path().join("1.gz"), folder.path().join(".1.gz"));
        fs::write(&done, "older")?;
        assert_eq!(mark_done(&new)?, Some(done.clone()));
        fs::rename(&done, &new)?;
        assert_eq!(mark_done(&new)?, None);
        assert_eq!(fs::read_to_string(folder.path().join(".1.gz"))?, "1.gz");
        assert!(!folder.path().join("1.gz").exists());
        Ok(())
    }

    #[test]
    fn a_rename_that_fails_names_both_ends() -> Result<()> {
        let folder = TempDir::new()?;
        let path = folder.path().join("gone.gz");
        let error = mark_done(&path).err().context("it is gone")?;
        let expected =
            format!("cannot rename '{}' to '{}/.gone.gz'", path.display(), folder.path().display());
        assert_eq!(error.to_string(), expected);
        Ok(())
    }
}
