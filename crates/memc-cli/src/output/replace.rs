//! The files of `--report` and `--metrics`, which others may read at any time: replaced in one step.

use std::fs::{self, File, Permissions};
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use jiff::Timestamp;
use rustix::fs::{Access, access, fchown};
use rustix::process::{Gid, Uid};
use tempfile::NamedTempFile;

use crate::args::Args;
use crate::inputs::find;
use crate::inputs::name::shown;
use crate::inputs::permissions;
use crate::output::metrics;
use crate::output::report;
use crate::run::summary::{End, Summary};
use crate::watch::live::Live;

/// The mode of a new file of metrics: the collector that reads it is another user, whatever the umask of a service
/// says.
const METRICS_MODE: u32 = 0o644;

/// Checks before a long run that [`write()`] can be expected to work after it.
pub(crate) fn check(args: &Args) -> Result<()> {
    each(args, |_, path| can_replace(path))
}

/// Writes what is asked for; if one fails, the other all the same.
pub(crate) fn write(args: &Args, summary: &mut Summary, end: &End) -> Result<()> {
    summary.end_round(end);
    each(args, |output, path| match output {
        Output::Report => replace(path, report::json(args, summary, end).as_bytes(), None),
        Output::Metrics => replace_metrics(args, &summary.live, path),
    })
}

/// Writes what is asked for of a follower's round. That this fails is logged, and does not end the follower.
pub(crate) fn write_round(args: &Args, summary: &mut Summary) {
    let exit_code = summary.exit_code(false, args.max_error_rate);
    let end = End { at: Timestamp::now(), exit_code, error: None };
    if let Err(error) = write(args, summary, &end) {
        log::error!("{error:#}");
    }
}

/// Writes the metrics in the middle of a run, if they are asked for. That this fails is logged.
pub(crate) fn write_metrics(args: &Args, live: &Arc<Live>) {
    let write = |output, path: &Path| match output {
        Output::Metrics if !is_stream(path) => replace_metrics(args, live, path),
        // Who reads a stream expects one report, or the metrics once.
        _ => Ok(()),
    };
    if let Err(error) = each(args, write) {
        log::error!("{error:#}");
    }
}

fn replace_metrics(args: &Args, live: &Arc<Live>, path: &Path) -> io::Result<()> {
    // Figures of records that were not sent would be taken for those of records that were.
    if args.dry { Ok(()) } else { replace(path, metrics::text(args, live).as_bytes(), Some(METRICS_MODE)) }
}

enum Output {
    Report,
    Metrics,
}

/// Does something to each file that is asked for; the first error.
fn each(args: &Args, todo: impl Fn(Output, &Path) -> io::Result<()>) -> Result<()> {
    let todo = |output, option, path: Option<&Path>| {
        let Some(path) = path else { return Ok(()) };
        todo(output, path).with_context(|| format!("option {option}: cannot write '{}'", shown(path)))
    };
    let report = todo(Output::Report, "--report", args.report.as_deref());
    report.and(todo(Output::Metrics, "--metrics", args.metrics.as_deref()))
}

/// Checks that [`replace`] can be expected to work.
fn can_replace(path: &Path) -> io::Result<()> {
    if !is_stream(path) {
        let path = target(path)?;
        if path.is_dir() {
            return Err(ErrorKind::IsADirectory.into());
        }
        permissions::may_replace(&path)?;
        return beside(&path).map(drop);
    }
    // No more than a look: who reads a pipe would take its opening and closing for the end.
    match path.metadata()?.file_type().is_socket() {
        true => Err(io::Error::other("a socket cannot be opened")),
        false => Ok(access(path, Access::WRITE_OK)?),
    }
}

/// Replaces the file, or writes to it directly if it is a pipe or a device. A file keeps its mode; a new one
/// gets `new_mode`, or the mode of any new file.
fn replace(path: &Path, content: &[u8], new_mode: Option<u32>) -> io::Result<()> {
    if is_stream(path) {
        return File::options().append(true).open(path)?.write_all(content);
    }
    let path = target(path)?;
    let older = path.metadata().ok();
    let mut file = beside(&path)?;
    if let Some(older) = &older {
        // Only root can give a file away, and who cannot, need not.
        let _ = fchown(&file, Some(Uid::from_raw(older.uid())), Some(Gid::from_raw(older.gid())));
    }
    // Not with the umask, as at the making of a file.
    if let Some(mode) = older.map(|older| older.mode() & 0o7777).or(new_mode) {
        file.as_file().set_permissions(Permissions::from_mode(mode))?;
    }
    file.write_all(content)?;
    file.as_file().sync_all()?;
    file.persist(&path)?;
    File::open(find::folder(&path))?.sync_all()
}

/// Where the file is, or will be: a link stays, and what it leads to is replaced.
///
/// A link that leads nowhere is an error, since a rename would put the file in its place.
fn target(path: &Path) -> io::Result<PathBuf> {
    if path.is_symlink() { fs::canonicalize(path) } else { Ok(path.to_owned()) }
}

/// A new file in the same folder, with the permissions that any new file gets.
fn beside(path: &Path) -> io::Result<NamedTempFile> {
    let permissions = Permissions::from_mode(0o666);
    tempfile::Builder::new().prefix(".memc-load.").permissions(permissions).tempfile_in(find::folder(path))
}

/// Whether it is written to as it is: a pipe, a device, a socket, or what the process was given open.
fn is_stream(path: &Path) -> bool {
    // These may be files, which are somebody else's to replace.
    let is_open =
        ["/dev/stdout", "/dev/stderr", "/dev/fd", "/proc/self/fd"].iter().any(|it| path.starts_with(it));
    is_open || path.metadata().is_ok_and(|metadata| !metadata.is_file() && !metadata.is_dir())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_file_is_replaced_and_nothing_else_is_left() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&path, "zero")?;
        std::os::unix::fs::symlink(&path, &link)?;
        for content in ["one", "two"] {
            can_replace(&link)?;
            replace(&link, content.as_bytes(), None)?;
            assert_eq!(fs::read_to_string(&path)?, content);
        }
        assert!(link.is_symlink() && !path.is_symlink());
        assert_eq!(fs::read_dir(folder.path())?.count(), 2);
        // Another user reads it, if the umask lets him, as with any new file.
        let plain = folder.path().join("plain");
        fs::write(&plain, "")?;
        assert_eq!(path.metadata()?.permissions(), plain.metadata()?.permissions());
        Ok(())
    }

    #[test]
    fn a_file_keeps_its_mode_and_a_new_one_gets_the_one_asked_for() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let mode = |path: &Path| path.metadata().map(|metadata| metadata.mode() & 0o777);
        for (name, before, new_mode, expected) in [
            ("kept", Some(0o604), Some(0o644), 0o604),
            ("kept too", Some(0o600), None, 0o600),
            // More than the usual umask leaves.
            ("new", None, Some(0o666), 0o666),
        ] {
            let path = folder.path().join(name);
            if let Some(before) = before {
                fs::write(&path, "")?;
                fs::set_permissions(&path, Permissions::from_mode(before))?;
            }
            replace(&path, b"content", new_mode)?;
            assert_eq!(mode(&path)?, expected, "{name}");
        }
        Ok(())
    }

    #[test]
    fn what_cannot_be_replaced_is_found_out_before() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("missing/file");
        assert!(can_replace(&path).is_err() && replace(&path, b"", None).is_err());
        assert!(
            can_replace(folder.path()).is_err() && replace(folder.path(), b"", None).is_err(),
            "a folder"
        );
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link)?;
        assert!(can_replace(&link).is_err() && replace(&link, b"", None).is_err() && link.is_symlink());
        Ok(())
    }

    #[test]
    fn a_device_stays_one() -> io::Result<()> {
        let null = Path::new("/dev/null");
        can_replace(null)?;
        replace(null, b"gone", None)?;
        assert!(is_stream(null));
        Ok(())
    }

    #[test]
    fn a_file_below_dev_is_a_file() -> io::Result<()> {
        let folder = tempfile::tempdir_in("/dev/shm")?;
        let path = folder.path().join("file");
        for content in ["one", "two"] {
            can_replace(&path)?;
            replace(&path, content.as_bytes(), None)?;
            assert_eq!(fs::read_to_string(&path)?, content);
        }
        Ok(())
    }

    #[test]
    fn a_stream_that_cannot_be_written_to_is_found_out_before() -> io::Result<()> {
        assert!(can_replace(Path::new("/dev/fd/987")).is_err(), "it is not open");
        assert!(can_replace(Path::new("/dev/nowhere/file")).is_err());
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("socket");
        let _socket = UnixListener::bind(&path)?;
        assert!(can_replace(&path).is_err() && replace(&path, b"", None).is_err());
        Ok(())
    }

    #[test]
    fn a_file_that_the_process_was_given_open_is_not_replaced() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        let path = PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
        for content in ["one", "two"] {
            can_replace(&path)?;
            replace(&path, content.as_bytes(), None)?;
        }
        assert_eq!(fs::read_to_string(&path)?, "onetwo");
        Ok(())
    }
}
