//! Keeps two loaders from working on the same folder, or writing to the same file.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::inputs::find::{self, Found};
use crate::inputs::name::shown;

/// Locks on folders. The system takes them back with the process, whatever its end, and nothing of them is
/// on the disk.
#[derive(Debug, Default)]
pub(crate) struct FolderLocks {
    /// By device and inode: one folder may have several paths, and a second lock on it would not be given.
    folders: HashMap<(u64, u64), Arc<File>>,
    /// Which of them a path led to when it was locked.
    paths: HashMap<PathBuf, (u64, u64)>,
}

impl FolderLocks {
    /// What matches the pattern, with the folders of the logs locked.
    pub(crate) fn find(&mut self, pattern: &str) -> Result<Found> {
        let mut found = find::find(pattern)?;
        // Another loader may have finished some of the files before it left the folder to this one.
        while self.take(found.logs.iter().map(|log| find::folder(log)))? {
            found = find::find(pattern)?;
        }
        Ok(found)
    }

    /// Lets go of folders that were removed. The system has only so many open ones for a process.
    pub(crate) fn drop_removed(&mut self) {
        // A folder that is still there has a link.
        self.folders.retain(|_, folder| folder.metadata().map_or(true, |metadata| metadata.nlink() > 0));
        self.paths.retain(|_, identity| self.folders.contains_key(identity));
    }

    /// The folder that was locked under this path, if one was.
    pub(crate) fn folder(&self, path: &Path) -> Option<Arc<File>> {
        self.folders.get(self.paths.get(path)?).cloned()
    }

    /// Locks these folders as far as they are not locked yet; whether there was any such.
    ///
    /// It fails if another process has a lock on one of them.
    pub(crate) fn take<'a>(&mut self, folders: impl IntoIterator<Item = &'a Path>) -> Result<bool> {
        let before = self.folders.len();
        let mut last = None;
        for folder in folders {
            // Files of one folder mostly come one after the other.
            if last != Some(folder) {
                self.take_one(folder).with_context(|| format!("cannot lock '{}'", shown(folder)))?;
                last = Some(folder);
            }
        }
        Ok(self.folders.len() > before)
    }

    fn take_one(&mut self, path: &Path) -> Result<()> {
        let folder = File::open(path)?;
        let metadata = folder.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        self.paths.insert(path.to_owned(), identity);
        if self.folders.contains_key(&identity) {
            return Ok(());
        }
        if !try_lock(&folder, path) {
            bail!("another memc-load is loading it");
        }
        self.folders.insert(identity, Arc::new(folder));
        Ok(())
    }
}

/// Lets the process have as many folders open as it may: a follower with a new one each hour would come to
/// the usual limit of 1,024 in weeks.
pub(crate) fn raise_limit() {
    let limit = getrlimit(Resource::Nofile);
    // Most followers do not need it.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit });
}

/// Locks an open file or folder until it is closed; false if another process has a lock on it.
pub(crate) fn try_lock(file: &File, path: &Path) -> bool {
    match flock(file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => true,
        Err(Errno::WOULDBLOCK) => false,
        // Some network file systems have no locks on folders; their logs must be loaded all the same.
        Err(error) => {
            log::warn!("{}: used without a lock: {error}", shown(path));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_folder_is_given_to_one_at_a_time() -> Result<()> {
        let folder = TempDir::new()?;
        let folders = [folder.path(); 2];
        let (mut one, mut other) = (FolderLocks::default(), FolderLocks::default());
        assert!(one.take(folders)?);
        assert!(!one.take(folders)?, "it is locked already");
        let error = other.take(folders).err().context("it must fail")?;
        let expected = format!("cannot lock '{}': another memc-load is loading it", folder.path().display());
        assert_eq!(format!("{error:#}"), expected);
        drop(one);
        assert!(other.take(folders)?);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "it leaves nothing behind");
        Ok(())
    }

    #[test]
    fn a_folder_that_is_removed_is_let_go_of_and_others_are_not() -> Result<()> {
        let (stays, goes) = (TempDir::new()?, TempDir::new()?);
        let mut locks = FolderLocks::default();
        locks.take([stays.path(), goes.path()])?;
        goes.close()?;
        locks.drop_removed();
        assert_eq!(locks.folders.len(), 1);
        assert!(FolderLocks::default().take([stays.path()]).is_err(), "it must still be locked");
        Ok(())
    }

    #[test]
    fn more_folders_may_be_locked_than_the_usual_limit_lets() -> Result<()> {
        raise_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        Ok(())
    }

    #[test]
    fn a_folder_with_two_paths_is_one_folder() -> Result<()> {
        let folder = TempDir::new()?;
        let (path, link) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&path)?;
        symlink(&path, &link)?;
        assert!(FolderLocks::default().take([&path, &link, &path].map(PathBuf::as_path))?);
        Ok(())
    }
}
