//! The files of `--report` and `--metrics`, which others may read at any time: replaced in one step.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use jiff::Timestamp;
use tempfile::NamedTempFile;

use crate::args::Args;
use crate::inputs::find;
use crate::output::metrics;
use crate::output::report;
use crate::run::summary::{End, Summary};

/// Checks before a long run that [`write()`] can be expected to work after it.
pub(crate) fn check(args: &Args) -> Result<()> {
    each(args, |_, path| can_replace(path))
}

/// Writes what is asked for; if one fails, the other all the same.
pub(crate) fn write(args: &Args, summary: &Summary, end: &End) -> Result<()> {
    each(args, |output, path| match output {
        Output::Report => replace(path, report::json(args, summary, end).as_bytes()),
        // Figures of records that were not sent would be taken for those of records that were.
        Output::Metrics if args.dry => Ok(()),
        Output::Metrics => replace(path, metrics::text(args, summary, end).as_bytes()),
    })
}

/// Writes what is asked for of a follower's round. That this fails is told, and does not end the follower.
pub(crate) fn write_round(args: &Args, summary: &Summary) {
    let exit_code = summary.exit_code(false, args.max_error_rate);
    let end = End { at: Timestamp::now(), exit_code, error: None };
    if let Err(error) = write(args, summary, &end) {
        log::error!("{error:#}");
    }
}

enum Output {
    Report,
    Metrics,
}

/// Does something to each file that is asked for; the first error.
fn each(args: &Args, todo: impl Fn(Output, &Path) -> io::Result<()>) -> Result<()> {
    let todo = |output, option, path: Option<&Path>| {
        let Some(path) = path else { return Ok(()) };
        todo(output, path).with_context(|| format!("option {option}: cannot write '{}'", path.display()))
    };
    let report = todo(Output::Report, "--report", args.report.as_deref());
    report.and(todo(Output::Metrics, "--metrics", args.metrics.as_deref()))
}

/// Checks that [`replace`] can be expected to work.
fn can_replace(path: &Path) -> io::Result<()> {
    if !is_stream(path) {
        return beside(&target(path)?).map(drop);
    }
    // No more than a look: who reads a pipe would take its opening and closing for the end.
    match path.metadata()?.file_type().is_socket() {
        true => Err(io::Error::other("a socket cannot be opened")),
        false => Ok(()),
    }
}

/// Replaces the file, or writes to what stands there if it is a pipe or a device.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    if is_stream(path) {
        return File::options().append(true).open(path)?.write_all(content);
    }
    let path = target(path)?;
    let mut file = beside(&path)?;
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
            replace(&link, content.as_bytes())?;
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
    fn what_cannot_be_replaced_is_found_out_before() -> io::Result<()> {
        let folder = tempfile::tempdir()?;
        let path = folder.path().join("missing/file");
        assert!(can_replace(&path).is_err() && replace(&path, b"").is_err());
        assert!(replace(folder.path(), b"").is_err(), "a folder is no file");
        let link = folder.path().join("link");
        std::os::unix::fs::symlink("nowhere", &link)?;
        assert!(can_replace(&link).is_err() && replace(&link, b"").is_err() && link.is_symlink());
        Ok(())
    }

    #[test]
    fn a_device_stays_one() -> io::Result<()> {
        let null = Path::new("/dev/null");
        can_replace(null)?;
        replace(null, b"gone")?;
        assert!(is_stream(null));
        Ok(())
    }

    #[test]
    fn a_file_below_dev_is_a_file() -> io::Result<()> {
        let folder = tempfile::tempdir_in("/dev/shm")?;
        let path = folder.path().join("file");
        for content in ["one", "two"] {
            can_replace(&path)?;
            replace(&path, content.as_bytes())?;
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
        assert!(can_replace(&path).is_err() && replace(&path, b"").is_err());
        Ok(())
    }

    #[test]
    fn a_file_that_the_process_was_given_open_is_not_replaced() -> io::Result<()> {
        let file = tempfile::tempfile()?;
        let path = PathBuf::from(format!("/dev/fd/{}", file.as_raw_fd()));
        for content in ["one", "two"] {
            can_replace(&path)?;
            replace(&path, content.as_bytes())?;
        }
        assert_eq!(fs::read_to_string(&path)?, "onetwo");
        Ok(())
    }
}
