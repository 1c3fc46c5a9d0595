//! Keeps two loaders from working on the same folder.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use crate::files;

/// Locks on folders. The system takes them back with the process, whatever its end, and nothing of them is
/// on the disk.
#[derive(Debug, Default)]
pub(crate) struct FolderLocks {
    /// By device and inode: one folder may have several paths, and a second lock on it would not be given.
    folders: HashMap<(u64, u64), File>,
}

impl FolderLocks {
    /// Locks the folders of these files as far as they are not locked yet; whether there was any such.
    ///
    /// It fails if another process has a lock on one of them.
    pub(crate) fn take(&mut self, files: &[PathBuf]) -> Result<bool> {
        let before = self.folders.len();
        let mut last = None;
        for folder in files.iter().map(|file| files::folder(file)) {
            // Files of one folder mostly come one after the other.
            if last != Some(folder) {
                self.take_one(folder).with_context(|| format!("cannot lock '{}'", folder.display()))?;
                last = Some(folder);
            }
        }
        Ok(self.folders.len() > before)
    }

    fn take_one(&mut self, path: &Path) -> Result<()> {
        let folder = File::open(path)?;
        let metadata = folder.metadata()?;
        let identity = (metadata.dev(), metadata.ino());
        if self.folders.contains_key(&identity) {
            return Ok(());
        }
        match flock(&folder, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => bail!("another memc-load is loading it"),
            // Some network file systems have no locks on folders; their logs must be loaded all the same.
            Err(error) => log::warn!("{}: loaded without a lock: {error}", path.display()),
        }
        self.folders.insert(identity, folder);
        Ok(())
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
        let files = [folder.path().join("1"), folder.path().join("2")];
        let (mut one, mut other) = (FolderLocks::default(), FolderLocks::default());
        assert!(one.take(&files)?);
        assert!(!one.take(&files)?, "it is locked already");
        let error = other.take(&files).err().context("it must fail")?;
        let expected = format!("cannot lock '{}': another memc-load is loading it", folder.path().display());
        assert_eq!(format!("{error:#}"), expected);
        drop(one);
        assert!(other.take(&files)?);
        assert_eq!(std::fs::read_dir(folder.path())?.count(), 0, "it leaves nothing behind");
        Ok(())
    }

    #[test]
    fn a_folder_with_two_paths_is_one_folder() -> Result<()> {
        let folder = TempDir::new()?;
        let (path, link) = (folder.path().join("a"), folder.path().join("b"));
        std::fs::create_dir(&path)?;
        symlink(&path, &link)?;
        let files = [path.join("1"), link.join("1"), path.join("2")];
        assert!(FolderLocks::default().take(&files)?);
        Ok(())
    }
}
