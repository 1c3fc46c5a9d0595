//! The paths that match a pattern, those whose names are not UTF-8 included.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use glob::{Pattern, PatternError};

use crate::inputs::name::shown;

/// What a pattern has between two slashes.
enum Part {
    /// A name as it is, which is looked up, not looked for.
    Name(String),
    /// Any name that this matches, unless it has a leading dot.
    Wild(Pattern),
    /// `**`: any folders, also none, without those that have a leading dot.
    Folders,
}

/// Checks whether `pattern` can be understood at all.
pub(crate) fn check(pattern: &str) -> Result<String, PatternError> {
    Pattern::new(pattern)?;
    parts(pattern).map(|_| pattern.to_owned())
}

/// The paths that match `pattern`, in any order; some of them twice if it has several `**`.
///
/// A name that is not UTF-8 is matched as if each part that is not were a `U+FFFD`. (The glob crate's own walk passes
/// over such names.)
pub(crate) fn expand(pattern: &str) -> Result<Vec<PathBuf>> {
    let parts = parts(pattern).with_context(|| format!("bad pattern '{pattern}'"))?;
    let root = if pattern.starts_with('/') { PathBuf::from("/") } else { PathBuf::new() };
    let mut found = Vec::new();
    walk(root, &parts, &mut found)?;
    Ok(found)
}

/// Whether a part of a pattern stands for more than itself.
pub(crate) fn is_wild(part: &OsStr) -> bool {
    part.as_encoded_bytes().iter().any(|byte| b"*?[".contains(byte))
}

/// Whether a name has the leading dot of files that are done.
pub(crate) fn is_dotted(name: &OsStr) -> bool {
    name.as_encoded_bytes().starts_with(b".") && name != "." && name != ".."
}

fn parts(pattern: &str) -> Result<Vec<Part>, PatternError> {
    let part = |part: &str| match part {
        "**" => Ok(Part::Folders),
        part if is_wild(part.as_ref()) => Pattern::new(part).map(Part::Wild),
        part => Ok(Part::Name(part.to_owned())),
    };
    // An empty part at the end asks for a folder, as the system does.
    pattern.trim_start_matches('/').split('/').map(part).collect()
}

/// Adds what matches `parts` below `folder`.
fn walk(folder: PathBuf, parts: &[Part], found: &mut Vec<PathBuf>) -> Result<()> {
    let Some((part, rest)) = parts.split_first() else {
        found.push(folder);
        return Ok(());
    };
    match part {
        Part::Name(name) => {
            let path = folder.join(name);
            if exists(&path).with_context(|| format!("cannot look for '{}'", shown(&path)))? {
                walk(path, rest, found)?;
            }
        }
        Part::Wild(pattern) => {
            for path in list(&folder)? {
                if path.file_name().is_some_and(|name| pattern.matches(&name.to_string_lossy())) {
                    walk(path, rest, found)?;
                }
            }
        }
        Part::Folders => {
            let subfolders = list(&folder)?.into_iter().filter(|path| path.is_dir() && !leads_up(path));
            for subfolder in subfolders {
                if rest.is_empty() {
                    found.push(subfolder.clone());
                }
                walk(subfolder, parts, found)?;
            }
            if !rest.is_empty() {
                walk(folder, rest, found)?;
            }
        }
    }
    Ok(())
}

fn exists(path: &Path) -> io::Result<bool> {
    match path.symlink_metadata() {
        Ok(_) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(false),
        Err(error) => Err(error),
    }
}

/// What is in a folder and has no leading dot; nothing if it is none, or no longer there.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(if folder.as_os_str().is_empty() { Path::new(".") } else { folder }) {
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Vec::new());
        }
        entries => entries.and_then(Iterator::collect::<io::Result<Vec<_>>>),
    };
    let entries = entries.with_context(|| format!("cannot list the folder '{}'", shown(folder)))?;
    let names = entries.into_iter().map(|entry| entry.file_name()).filter(|name| !is_dotted(name));
    Ok(names.map(|name| folder.join(name)).collect())
}

/// Whether a folder is a link to one that it is in, through which `**` would go for ever.
fn leads_up(folder: &Path) -> bool {
    let leads_up = || {
        let at = fs::canonicalize(folder.parent()?).ok()?;
        Some(at.starts_with(fs::canonicalize(folder).ok()?))
    };
    folder.is_symlink() && leads_up() == Some(true)
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    fn names(folder: &TempDir, pattern: &str) -> Result<Vec<String>> {
        let paths = expand(&format!("{}/{pattern}", folder.path().display()))?;
        let relative = |path: &PathBuf| Ok(shown(path.strip_prefix(folder.path())?).to_string());
        let mut names = paths.iter().map(relative).collect::<Result<Vec<_>>>()?;
        names.sort();
        Ok(names)
    }

    #[test]
    fn patterns_match_as_the_glob_crate_has_it() -> Result<()> {
        let folder = TempDir::new()?;
        for name in ["1.gz", "2.gz", ".3.gz", "a/1.gz", "a/b/1.gz", "a/b/c/x1.gz", ".d/1.gz", "e/[1].gz"] {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().context("a parent")?)?;
            fs::write(path, "")?;
        }
        symlink("nowhere", folder.path().join("4.gz"))?;
        for pattern in [
            "*.gz",
            "1.gz",
            "?.gz",
            "[!1].gz",
            "*/1.gz",
            "a/*.gz",
            "**/1.gz",
            "**/*.gz",
            "a/**/*.gz",
            "a/**",
            "a//b/1.gz",
            "./1.gz",
            "a/../1.gz",
            "*/",
            "*.gz/",
            "none",
            "none/*.gz",
            "1.gz/*",
            "e/[[]1].gz",
            "a/./*",
        ] {
            let whole = format!("{}/{pattern}", folder.path().display());
            let mut expected = Vec::new();
            for path in glob::glob(&whole)? {
                let path = path?;
                let relative = path.strip_prefix(folder.path())?;
                // Names with a leading dot are ours to leave out.
                if !relative.iter().any(is_dotted) {
                    expected.push(relative.display().to_string());
                }
            }
            expected.sort();
            let found: Vec<_> = names(&folder, pattern)?;
            let found: Vec<_> = found.iter().map(|name| name.trim_end_matches('/')).collect();
            assert_eq!(found, expected, "{pattern}");
        }
        assert_eq!(names(&folder, ".d/*.gz")?, [".d/1.gz"], "a folder that the pattern names");
        Ok(())
    }

    #[test]
    fn names_that_are_not_utf_8_match_too() -> Result<()> {
        let folder = TempDir::new()?;
        for name in [&b"2\xff.gz"[..], b"a\xfe/1\xff\xff.gz"] {
            let path = folder.path().join(OsStr::from_bytes(name));
            fs::create_dir_all(path.parent().context("a parent")?)?;
            fs::write(path, "")?;
        }
        for (pattern, expected) in [
            ("*.gz", &["2\\xff.gz"][..]),
            ("2?.gz", &["2\\xff.gz"]),
            ("a*/*.gz", &["a\\xfe/1\\xff\\xff.gz"]),
            ("**/*.gz", &["2\\xff.gz", "a\\xfe/1\\xff\\xff.gz"]),
        ] {
            assert_eq!(names(&folder, pattern)?, expected, "{pattern}");
        }
        Ok(())
    }

    #[test]
    fn a_link_to_a_folder_above_is_no_way_without_end() -> Result<()> {
        let folder = TempDir::new()?;
        for name in ["a/1.gz", "b/2.gz"] {
            fs::create_dir_all(folder.path().join(name).parent().context("a parent")?)?;
            fs::write(folder.path().join(name), "")?;
        }
        symlink("..", folder.path().join("a/up"))?;
        symlink("../b", folder.path().join("a/b"))?;
        assert_eq!(names(&folder, "**/*.gz")?, ["a/1.gz", "a/b/2.gz", "b/2.gz"]);
        Ok(())
    }
}
