//! The folder of `--on-broken quarantine=FOLDER`: where broken logs go, each with its reason beside it.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, ErrorKind, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use rustix::fs::{AtFlags, Mode, OFlags, openat, unlinkat};

use crate::inputs::find;
use crate::inputs::log_file::{Changed, LogFile};
use crate::inputs::name::shown;
use crate::inputs::permissions;

/// How many files of one name are kept at most.
const MAX_OF_ONE_NAME: u32 = 1000;

/// The folder, open.
#[derive(Debug)]
pub(crate) struct Quarantine {
    path: PathBuf,
    folder: File,
}

impl Quarantine {
    /// Opens the folder, which has to be there, and checks that files can be put into it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            let folder = File::open(path)?;
            if !folder.metadata()?.is_dir() {
                return Err(io::Error::from(ErrorKind::NotADirectory));
            }
            permissions::may_write(path)?;
            Ok(folder)
        };
        let folder = open().with_context(|| format!("cannot put files into '{}'", shown(path)))?;
        Ok(Self { path: path.to_owned(), folder })
    }

    /// Checks that logs of these folders can be moved here, which takes the same file system.
    pub(crate) fn check(&self, logs: &[PathBuf]) -> Result<()> {
        let device = self.folder.metadata()?.dev();
        let mut last = None;
        for folder in logs.iter().map(|log| find::folder(log)) {
            if last == Some(folder) {
                continue;
            }
            // One that is gone has nothing to be moved.
            let elsewhere = folder.metadata().is_ok_and(|metadata| metadata.dev() != device);
            let path = shown(&self.path);
            ensure!(
                !elsewhere,
                "'{path}' is not on the file system of '{}': no log can be moved there",
                shown(folder)
            );
            last = Some(folder);
        }
        Ok(())
    }

    /// Moves a log here, under its name or, where that is taken, with a number behind it; the reason goes into
    /// a file with `.reason` behind that. Returns the path that the log has now.
    ///
    /// # Errors
    ///
    /// [`Changed`] if it is not what was read; then it stays.
    pub(crate) fn take(&self, log: &LogFile, reason: &str) -> Result<PathBuf> {
        let (name, note) = self.reserve(log, reason)?;
        let path = self.path.join(&name);
        let moved = log
            .move_to(&self.folder, &name)
            .with_context(|| format!("cannot move '{}' to '{}'", shown(log.path()), shown(&path)));
        if !matches!(moved, Ok(true)) {
            // It would be the reason of nothing.
            let _ = unlinkat(&self.folder, &note, AtFlags::empty());
        }
        if !moved? {
            return Err(Changed.into());
        }
        let sync = || self.folder.sync_all().and_then(|()| log.folder()?.sync_all());
        sync().with_context(|| format!("cannot sync a folder after '{}' was moved", shown(&path)))?;
        Ok(path)
    }

    /// Writes the reason under the first name that is free; that name, and that of the reason.
    fn reserve(&self, log: &LogFile, reason: &str) -> Result<(OsString, OsString)> {
        for number in 1..=MAX_OF_ONE_NAME {
            let mut name = log.name()?.to_owned();
            if number > 1 {
                name.push(format!(".{number}"));
            }
            if self.path.join(&name).symlink_metadata().is_ok() {
                continue;
            }
            let mut note = name.clone();
            note.push(".reason");
            match self.write(&note, reason) {
                Ok(()) => return Ok((name, note)),
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => {
                    let path = self.path.join(&note);
                    return Err(error).with_context(|| format!("cannot write '{}'", shown(&path)));
                }
            }
        }
        bail!("'{}' has {MAX_OF_ONE_NAME} files of the name of '{}'", shown(&self.path), shown(log.path()))
    }

    /// Writes a new file, which nobody else can have made.
    fn write(&self, name: &OsString, text: &str) -> io::Result<()> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let mut file = File::from(openat(&self.folder, name, flags, Mode::from_raw_mode(0o666))?);
        writeln!(file, "{text}")?;
        file.sync_all()
    }
}
