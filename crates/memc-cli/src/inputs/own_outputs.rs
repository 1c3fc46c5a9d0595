//! Finds out when the loader would load its own output as a log.

use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use glob::Pattern;

use crate::inputs::find;
use crate::inputs::name::shown;
use crate::inputs::walk;

/// How many links are followed to a file that is not there yet, as the system does.
const MAX_LINKS: u32 = 40;

/// Checks that none of these files, each after its option, is or would become a log that `pattern` matches, whatever
/// links lead to it; and that no log is looked for in the folder of `quarantine`. What is wrong otherwise, for wrong
/// usage.
pub(crate) fn check<'a>(
    pattern: &str,
    outputs: impl IntoIterator<Item = (&'a str, &'a Path)>,
    quarantine: Option<&Path>,
) -> Result<(), String> {
    let mut outputs = outputs.into_iter().peekable();
    if outputs.peek().is_none() && quarantine.is_none() {
        return Ok(());
    }
    // A pattern, or a folder, that cannot be read stops the run in its turn.
    let folders = find::folders_of_logs(pattern).unwrap_or_default();
    let folders: Vec<_> = folders.iter().filter_map(|folder| identity(folder.metadata().ok())).collect();
    let is_of_logs = |folder: &Path| identity(folder.metadata().ok()).is_some_and(|it| folders.contains(&it));
    let logs = find::find(pattern).unwrap_or_default().logs;
    let logs: Vec<_> = logs.iter().filter_map(|log| identity(log.metadata().ok())).collect();
    let is_log = |path: &Path| {
        let is_there = path.metadata().ok().filter(Metadata::is_file);
        let would_be = |path: &Path| {
            path.file_name().is_some_and(|name| matches(pattern, name)) && is_of_logs(find::folder(path))
        };
        identity(is_there).is_some_and(|it| logs.contains(&it))
            || would_be(path)
            || resolved(path).is_some_and(|path| would_be(&path))
    };
    for (option, path) in outputs {
        if is_log(path) {
            let path = shown(path);
            return Err(format!(
                "the file of '{option} {path}' matches '--pattern {pattern}', so it would be loaded as a log: put it elsewhere"
            ));
        }
    }
    match quarantine {
        Some(folder) if is_of_logs(folder) => Err(format!(
            "the folder of '--on-broken quarantine={}' is one of '--pattern {pattern}', so what is in it would be loaded again: take another one",
            shown(folder)
        )),
        _ => Ok(()),
    }
}

/// Which file or folder it is, whatever its path.
fn identity(metadata: Option<Metadata>) -> Option<(u64, u64)> {
    metadata.map(|metadata| (metadata.dev(), metadata.ino()))
}

/// Whether a file of this name would match the last part of `pattern`.
fn matches(pattern: &str, name: &OsStr) -> bool {
    let last = pattern.rsplit('/').next().unwrap_or(pattern);
    let matches = |pattern: Pattern| pattern.matches(&name.to_string_lossy());
    !walk::is_dotted(name) && (name == last || Pattern::new(last).is_ok_and(matches))
}

/// Where a file is, or will be made, behind all links.
fn resolved(path: &Path) -> Option<PathBuf> {
    let mut path = path.to_owned();
    for _ in 0..MAX_LINKS {
        if let Ok(path) = fs::canonicalize(&path) {
            return Some(path);
        }
        match fs::read_link(&path) {
            Ok(target) => path = find::folder(&path).join(target),
            Err(_) => break,
        }
    }
    Some(fs::canonicalize(find::folder(&path)).ok()?.join(path.file_name()?))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use anyhow::Result;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn an_output_that_would_be_a_log_is_found_whatever_its_path() -> Result<()> {
        let work = TempDir::new()?;
        let at = |name: &str| work.path().join(name);
        for folder in ["in", "in/sub", "out"] {
            fs::create_dir(at(folder))?;
        }
        fs::write(at("in/old"), "")?;
        fs::hard_link(at("in/old"), at("out/hard"))?;
        symlink("../in/new", at("out/link"))?;
        symlink("../in", at("out/folder"))?;
        symlink("../out/elsewhere", at("in/away"))?;
        let is_refused = |pattern: &str, path: &str| {
            let pattern = at(pattern).display().to_string();
            check(&pattern, [("--log", at(path).as_path())], None).is_err()
        };
        for path in [
            "in/old",
            "in/new",
            "in/../in/new",
            "out/../in/new",
            "out/hard",
            "out/link",
            "out/folder/new",
            "in/away",
        ] {
            assert!(is_refused("in/*", path), "{path}");
        }
        for (pattern, path) in
            [("**/*", "in/sub/new"), ("in/**/*", "in/new"), ("in/new", "in/new"), ("i?/n*", "in/new")]
        {
            assert!(is_refused(pattern, path), "{path} as {pattern}");
        }
        for (pattern, path) in [
            ("in/*", "in/.hidden"),
            ("in/*", "out/new"),
            ("in/*", "in/sub/new"),
            ("in/*.gz", "in/log"),
            ("in/*", "missing/log"),
            ("in/*", "out/other"),
            ("none/*", "in/log"),
        ] {
            assert!(!is_refused(pattern, path), "{path} as {pattern}");
        }
        assert!(!is_refused("in/*", "/dev/stdout"));
        Ok(())
    }

    #[test]
    fn no_log_may_be_looked_for_in_the_quarantine() -> Result<()> {
        let work = TempDir::new()?;
        fs::create_dir(work.path().join("bad"))?;
        let bad = work.path().join("bad");
        let is_refused =
            |pattern: &str| check(&format!("{}/{pattern}", work.path().display()), [], Some(&bad)).is_err();
        assert!(is_refused("*/*.gz") && is_refused("bad/*.gz") && is_refused("**/*.gz"));
        assert!(!is_refused("*.gz"));
        Ok(())
    }
}
