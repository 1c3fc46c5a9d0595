//! Where the logs of a run come from: a pattern, or a list of files on the command line.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::inputs::find::{self, Found};
use crate::inputs::name::shown;

/// A pattern or a list of files.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Source<'a> {
    Pattern(&'a str),
    Files(&'a [PathBuf]),
}

impl Source<'_> {
    /// The logs that are there and not done, in chronological order.
    pub(crate) fn find(&self) -> Result<Found> {
        match self {
            Self::Pattern(pattern) => find::find(pattern),
            Self::Files(files) => find_files(files),
        }
    }

    /// The files on the command line that are done, so they are skipped.
    pub(crate) fn done(&self) -> Vec<&Path> {
        match self {
            Self::Pattern(_) => Vec::new(),
            Self::Files(files) => files.iter().map(PathBuf::as_path).filter(|path| is_done(path)).collect(),
        }
    }

    /// Why there is nothing to load.
    pub(crate) fn nothing(&self) -> String {
        match self {
            Self::Pattern(pattern) => format!("No file matches '{pattern}': nothing to do"),
            Self::Files(_) => "No file is left to load: nothing to do".to_owned(),
        }
    }
}

/// What is to be loaded of these files.
fn find_files(files: &[PathBuf]) -> Result<Found> {
    let mut found = Found::default();
    for path in files.iter().filter(|path| !is_done(path)) {
        match path.metadata().with_context(|| format!("cannot read '{}'", shown(path)))? {
            metadata if metadata.is_dir() => {
                bail!("'{}' is a folder: {}", shown(path), find::suggest(path))
            }
            metadata if metadata.is_file() => found.logs.push(path.clone()),
            _ => found.others.push(path.clone()),
        }
    }
    sort(&mut found.logs);
    Ok(found)
}

/// Puts logs, done or not, into chronological order, each of them once.
pub(crate) fn sort(logs: &mut Vec<PathBuf>) {
    // A file may be given in several ways. A folder that cannot be found will be an error in its turn.
    let place = |log: &PathBuf| {
        let folder = find::folder(log);
        (without_dot(log), folder.canonicalize().unwrap_or_else(|_| folder.to_owned()))
    };
    logs.sort_by_cached_key(place);
    logs.dedup_by_key(|log| place(log));
}

/// The file's name as it was before the file was done.
fn without_dot(path: &Path) -> OsString {
    let name = path.file_name().unwrap_or_default().as_bytes();
    OsStr::from_bytes(name.strip_prefix(b".").unwrap_or(name)).to_owned()
}

/// Whether the file's name has its dot, or the file is there only under the name that has it.
fn is_done(path: &Path) -> bool {
    let Some(name) = path.file_name() else { return false };
    if name.as_bytes().starts_with(b".") {
        return !path.is_dir();
    }
    let with_dot: OsString = [OsStr::new("."), name].into_iter().collect();
    !path.exists() && path.with_file_name(with_dot).exists()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn files_are_sorted_by_name_and_done_ones_passed_over() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        fs::create_dir(path("b"))?;
        for name in ["3.gz", "b/1.gz", ".2.gz", ".4.gz", "5.gz"] {
            fs::write(path(name), "")?;
        }
        let files = ["5.gz", "3.gz", "b/1.gz", "2.gz", ".4.gz", "b/../3.gz"].map(path);
        let source = Source::Files(&files);
        assert_eq!(source.find()?.logs, ["b/1.gz", "3.gz", "5.gz"].map(path));
        assert_eq!(source.done(), ["2.gz", ".4.gz"].map(path));
        Ok(())
    }

    #[test]
    fn done_files_keep_their_place_in_time() {
        let mut logs = ["in/3.gz", "in/.1.gz", "in/2.gz", "in/.4.gz"].map(PathBuf::from).to_vec();
        sort(&mut logs);
        assert_eq!(logs, ["in/.1.gz", "in/2.gz", "in/3.gz", "in/.4.gz"].map(PathBuf::from));
    }

    #[test]
    fn a_folder_and_a_missing_file_are_errors() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let message = |path: PathBuf| Source::Files(&[path]).find().err().map(|error| format!("{error:#}"));
        let name = folder.path().display();
        let is_folder = format!("'{name}' is a folder: give '{name}/*.tsv.gz'");
        assert_eq!(message(folder.path().to_owned()), Some(is_folder));
        let missing = format!("cannot read '{name}/1.gz': No such file or directory (os error 2)");
        assert_eq!(message(folder.path().join("1.gz")), Some(missing));
        Ok(())
    }
}
