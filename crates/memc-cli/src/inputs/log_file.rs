//! One log of a run: opened and renamed in the folder that is locked for it, so that what gets the dot is what was
//! read.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use rustix::fs::{Mode, OFlags, RenameFlags, openat, renameat, renameat_with};
use rustix::io::Errno;

use crate::inputs::name::shown;
use crate::inputs::version::Version;

/// A log that is to be loaded.
#[derive(Debug)]
pub(crate) struct LogFile {
    path: PathBuf,
    /// The folder as it was locked; none in a dry run, which locks and renames nothing.
    folder: Option<Arc<File>>,
    /// What a follower has found to be complete.
    expected: Option<Version>,
    /// What was opened last.
    opened: Mutex<Option<Version>>,
}

/// A log that has its dot.
#[derive(Debug)]
pub(crate) struct Done {
    /// The older file of that name that it has replaced, if there was one.
    pub(crate) replaced: Option<PathBuf>,
    /// Whether the dot also stays after a power failure.
    pub(crate) synced: Result<()>,
}

/// The error of a log that is not, or no longer, what was read.
#[derive(Debug)]
pub(crate) struct Changed;

impl fmt::Display for Changed {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("it has changed while it was loaded")
    }
}

impl std::error::Error for Changed {}

impl LogFile {
    /// The log at `path`, in the locked `folder`. Where it is `expected` in some version, any other one counts as
    /// changed.
    pub(crate) fn new(path: &Path, folder: Option<Arc<File>>, expected: Option<Version>) -> Self {
        Self { path: path.to_owned(), folder, expected, opened: Mutex::new(None) }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The version in which it has to be, if that is known.
    pub(crate) fn expected(&self) -> Option<Version> {
        self.expected
    }

    /// Opens it to be read, and remembers which file that is.
    pub(crate) fn open(&self) -> io::Result<File> {
        let file = match &self.folder {
            None => File::open(&self.path)?,
            Some(folder) => {
                let flags = OFlags::RDONLY | OFlags::CLOEXEC;
                File::from(openat(folder, self.name()?, flags, Mode::empty())?)
            }
        };
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = Some(Version::of_open(&file)?);
        Ok(file)
    }

    /// What was opened, for the process that renames it.
    pub(crate) fn mark(&self) -> Option<String> {
        Some(self.opened()?.to_text())
    }

    /// Remembers what another process has opened.
    pub(crate) fn opened_elsewhere(&self, mark: &str) {
        let here = Version::of(&self.path).ok().flatten();
        let opened = here.and_then(|here| here.as_seen_elsewhere(mark));
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner) = opened;
    }

    /// Whether its path leads to anything but what was opened, in the state in which that was.
    pub(crate) fn has_changed(&self) -> io::Result<bool> {
        let opened = self.opened();
        let is_expected = self.expected.is_none_or(|expected| opened == Some(expected));
        Ok(!is_expected || Version::of(&self.path)? != opened)
    }

    /// Marks it as done: puts a dot before its name, for good, so also after a power failure.
    ///
    /// # Errors
    ///
    /// [`Changed`] if it is not what was read; then it has no dot.
    pub(crate) fn mark_done(&self) -> Result<Done> {
        let folder = self.folder()?;
        let mut done = OsString::from(".");
        done.push(self.name()?);
        let done_path = self.path.with_file_name(&done);
        let replaces = look(folder, &done).is_ok();
        let renamed = self
            .move_to(folder, &done)
            .with_context(|| format!("cannot rename '{}' to '{}'", shown(&self.path), shown(&done_path)))?;
        if !renamed {
            return Err(Changed.into());
        }
        let synced = folder.sync_all().with_context(|| {
            format!(
                "'{}' is done and has its dot, but the dot may be lost if the power fails: cannot sync its folder",
                shown(&self.path)
            )
        });
        Ok(Done { replaced: replaces.then_some(done_path), synced })
    }

    /// Renames it if it is what was read, and takes that back if it turns out not to have been; whether it was.
    pub(crate) fn move_to(&self, to: &File, name: &OsStr) -> io::Result<bool> {
        if self.has_changed()? {
            return Ok(false);
        }
        let folder = self.folder()?;
        renameat(folder, self.name()?, to, name)?;
        // No system call renames a file only if it is a certain one: it may have been replaced right before.
        let is_it = |found: Version| self.opened().is_some_and(|opened| opened.is_same_content(&found));
        if look(to, name).is_ok_and(is_it) {
            return Ok(true);
        }
        let back = renameat_with(to, name, folder, self.name()?, RenameFlags::NOREPLACE);
        match back {
            // Not every file system can.
            Err(Errno::INVAL | Errno::NOSYS) => renameat(to, name, folder, self.name()?)?,
            // It has been replaced once more, by what is to be loaded instead.
            Err(Errno::EXIST) => {}
            back => back?,
        }
        Ok(false)
    }

    /// The folder in which it is renamed.
    pub(crate) fn folder(&self) -> io::Result<&File> {
        self.folder.as_deref().ok_or_else(|| io::Error::other("its folder is not locked"))
    }

    /// Its name in the folder.
    pub(crate) fn name(&self) -> io::Result<&OsStr> {
        self.path.file_name().ok_or_else(|| io::Error::other("it has no file name"))
    }

    fn opened(&self) -> Option<Version> {
        *self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a name in a folder leads to; links are followed.
fn look(folder: &File, name: &OsStr) -> io::Result<Version> {
    let file = openat(folder, name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    Version::of_open(&File::from(file))
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::io::Read;
    use std::os::unix::fs::symlink;
    use std::time::{Duration, Instant};

    use anyhow::anyhow;
    use tempfile::TempDir;

    use super::*;

    /// A folder with `1.gz` in it, that log, opened, and the folder opened with these flags.
    fn opened(flags: OFlags) -> Result<(TempDir, LogFile)> {
        let work = TempDir::new()?;
        let path = work.path().join("in/1.gz");
        fs::create_dir(work.path().join("in"))?;
        fs::write(&path, "read")?;
        let folder = rustix::fs::open(work.path().join("in"), flags, Mode::empty())?;
        let log = LogFile::new(&path, Some(Arc::new(File::from(folder))), None);
        log.open()?;
        Ok((work, log))
    }

    fn is_changed(result: Result<Done>) -> bool {
        result.is_err_and(|error| error.is::<Changed>())
    }

    #[test]
    fn a_done_file_has_a_dot_and_replaces_an_older_one() -> Result<()> {
        let (work, log) = opened(OFlags::RDONLY)?;
        let done = work.path().join("in/.1.gz");
        fs::write(&done, "older")?;
        let marked = log.mark_done()?;
        marked.synced?;
        assert_eq!(marked.replaced, Some(done.clone()));
        assert_eq!(fs::read_to_string(&done)?, "read");
        fs::rename(&done, log.path())?;
        log.open()?;
        assert_eq!(log.mark_done()?.replaced, None);
        assert!(!log.path().exists());
        Ok(())
    }

    #[test]
    fn a_rename_that_fails_names_both_ends() -> Result<()> {
        let (work, log) = opened(OFlags::RDONLY)?;
        fs::create_dir(work.path().join("in/.1.gz"))?;
        let error = log.mark_done().err().context("a folder is in the way")?;
        let path = log.path().display().to_string();
        assert_eq!(
            error.to_string(),
            format!("cannot rename '{path}' to '{}'", path.replace("1.gz", ".1.gz"))
        );
        assert!(log.path().exists());
        Ok(())
    }

    #[test]
    fn what_was_not_read_gets_no_dot() -> Result<()> {
        type Change = fn(&Path) -> io::Result<()>;
        let changes: [(&str, Change); 5] = [
            ("removed", |path| fs::remove_file(path)),
            ("overwritten", |path| fs::write(path, "more than was read")),
            ("replaced", |path| {
                let other = path.with_file_name("other");
                fs::write(&other, "read")?;
                fs::rename(other, path)
            }),
            ("a link to a copy", |path| {
                let other = path.with_file_name("other");
                fs::copy(path, &other)?;
                fs::remove_file(path)?;
                symlink(other, path)
            }),
            ("its folder replaced", |path| {
                let folder = path.parent().ok_or(io::ErrorKind::NotFound)?;
                fs::rename(folder, folder.with_file_name("old"))?;
                fs::create_dir(folder)?;
                fs::write(path, "read")
            }),
        ];
        for (name, change) in changes {
            let (work, log) = opened(OFlags::RDONLY)?;
            change(log.path())?;
            assert!(is_changed(log.mark_done()), "{name}");
            for folder in ["in", "old"] {
                assert!(!work.path().join(folder).join(".1.gz").exists(), "{name}");
            }
        }
        Ok(())
    }

    #[test]
    fn a_file_that_is_replaced_all_the_time_gets_a_dot_only_as_it_was_read() -> Result<()> {
        let (work, log) = opened(OFlags::RDONLY)?;
        let (new, done) = (work.path().join("in/new"), work.path().join("in/.1.gz"));
        let until = Instant::now() + Duration::from_secs(1);
        std::thread::scope(|scope| {
            let replacing = scope.spawn(|| {
                for length in (1..=50).cycle().take_while(|_| Instant::now() < until) {
                    fs::write(&new, "x".repeat(length))?;
                    fs::rename(&new, log.path())?;
                }
                Ok::<_, io::Error>(())
            });
            let mut dots = 0;
            while Instant::now() < until {
                let mut read = String::new();
                // Right after a rename there is none.
                let Ok(mut file) = log.open() else { continue };
                file.read_to_string(&mut read)?;
                match log.mark_done() {
                    Ok(_) => {
                        assert_eq!(fs::read_to_string(&done)?, read);
                        dots += 1;
                    }
                    Err(error) => assert!(error.is::<Changed>() || !log.path().exists(), "{error:#}"),
                }
            }
            assert!(dots > 0, "it was never done");
            replacing.join().map_err(|_| anyhow!("the other thread panicked"))?.context("cannot replace it")
        })
    }

    #[test]
    fn only_the_expected_version_gets_a_dot() -> Result<()> {
        let (_work, log) = opened(OFlags::RDONLY)?;
        let expected = Version::of(log.path())?;
        fs::write(log.path(), "written before it was opened")?;
        let log = LogFile { expected, ..log };
        log.open()?;
        assert!(is_changed(log.mark_done()));
        Ok(())
    }

    #[test]
    fn a_folder_that_is_moved_keeps_its_files_for_a_later_run() -> Result<()> {
        let (work, log) = opened(OFlags::RDONLY)?;
        fs::rename(work.path().join("in"), work.path().join("moved"))?;
        assert!(is_changed(log.mark_done()));
        assert!(work.path().join("moved/1.gz").exists());
        Ok(())
    }

    #[test]
    fn a_dot_that_cannot_be_synced_is_there_and_says_so() -> Result<()> {
        // A folder that is opened only as a place can be used for all but a sync.
        let (work, log) = opened(OFlags::PATH)?;
        let error = log.mark_done()?.synced.err().context("it cannot be synced")?;
        assert!(error.to_string().contains("cannot sync its folder"), "{error}");
        assert!(work.path().join("in/.1.gz").exists());
        Ok(())
    }
}
