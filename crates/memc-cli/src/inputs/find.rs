//! The input files: which match, and in which order they are loaded.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::inputs::walk::{expand, is_dotted, is_wild};

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
    for path in expand(pattern)? {
        if path.file_name().is_some_and(is_dotted) {
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
    let mut part = folder(Path::new(pattern));
    let mut folders = Folders { of_logs: matching_folders(part)?, ..Folders::default() };
    let mut fixed = is_fixed(part) && !folders.of_logs.is_empty();
    while !fixed && part.parent().is_some() {
        part = folder(part);
        let above = matching_folders(part)?;
        fixed = is_fixed(part) && !above.is_empty();
        folders.above.extend(above);
    }
    Ok(folders)
}

/// The folders that are there now in which a file of the right name is a log.
pub(crate) fn folders_of_logs(pattern: &str) -> Result<Vec<PathBuf>> {
    let part = folder(Path::new(pattern));
    let mut folders = matching_folders(part)?;
    // `**` also stands for no folder at all.
    if part.ends_with("**") {
        folders.extend(matching_folders(folder(part))?);
    }
    Ok(folders)
}

fn is_fixed(part: &Path) -> bool {
    !part.iter().any(is_wild)
}

/// The folders that match a part of a pattern.
fn matching_folders(part: &Path) -> Result<Vec<PathBuf>> {
    let mut folders = expand(part.to_str().context("a pattern is text")?)?;
    folders.retain(|path| path.is_dir());
    Ok(folders)
}

/// The folder that a file is in.
pub(crate) fn folder(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;
    use std::fs;
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
    fn names_that_are_not_utf_8_are_in_order_too() -> Result<()> {
        let folder = TempDir::new()?;
        touch(&folder, &["1.gz", "3.gz"])?;
        fs::write(folder.path().join(OsStr::from_bytes(b"2017\xff.gz")), "")?;
        assert_eq!(found(&folder, "*.gz")?, ["1.gz", "2017\u{fffd}.gz", "3.gz"]);
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
}
