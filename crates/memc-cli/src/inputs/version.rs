//! Which file a path leads to, and in which state: what shows whether a log still is what was read.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::{Duration, SystemTime};

/// No log is shorter, and it takes this many to tell gzip from plain text.
const MIN_BYTES: u64 = 2;

/// A file, and the state it was in. Whoever writes to a file changes it, but for writes within one tick of the
/// file system's clock (some milliseconds) that leave the size as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    device: u64,
    inode: u64,
    bytes: u64,
    modified: SystemTime,
    /// Seconds and nanoseconds of the last change, which unlike the time of modification nobody can set.
    changed: (i64, i64),
}

impl Version {
    /// What is there now, if anything is.
    pub(crate) fn of(path: &Path) -> io::Result<Option<Self>> {
        match fs::metadata(path) {
            Ok(metadata) => Self::from_metadata(&metadata).map(Some),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The state of an open file.
    pub(crate) fn of_open(file: &File) -> io::Result<Self> {
        Self::from_metadata(&file.metadata()?)
    }

    fn from_metadata(metadata: &Metadata) -> io::Result<Self> {
        Ok(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.len(),
            modified: metadata.modified()?,
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }

    /// As text for another process, without the device, which has another number on each machine.
    pub(crate) fn to_text(self) -> String {
        let modified = self.modified.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_nanos();
        format!("{} {} {modified} {} {}", self.inode, self.bytes, self.changed.0, self.changed.1)
    }

    /// What another process has seen, which has said so with [`to_text`](Self::to_text), as it would be seen here: where
    /// it is the same, this very version.
    pub(crate) fn as_seen_elsewhere(self, text: &str) -> Option<Self> {
        let mut numbers = text.split(' ');
        let mut number = || numbers.next()?.parse::<i128>().ok();
        let (inode, bytes, modified) = (number()?, number()?, number()?);
        let changed = (number()?, number()?);
        let modified = Duration::from_nanos(u64::try_from(modified).ok()?);
        Some(Self {
            inode: inode.try_into().ok()?,
            bytes: bytes.try_into().ok()?,
            modified: SystemTime::UNIX_EPOCH.checked_add(modified)?,
            changed: (changed.0.try_into().ok()?, changed.1.try_into().ok()?),
            ..self
        })
    }

    /// Whether this can be the same content after a rename. That changes the time of change, and on an overlay file
    /// system the inode too.
    pub(crate) fn is_same_content(&self, renamed: &Self) -> bool {
        (self.bytes, self.modified) == (renamed.bytes, renamed.modified)
    }

    /// The size.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether it may be a whole log, left alone for this long.
    pub(crate) fn may_be_complete(&self, quiet: Duration) -> bool {
        self.bytes >= MIN_BYTES && self.is_quiet(quiet)
    }

    /// Whether it was left alone for this long. A time that is still to come says nothing.
    pub(crate) fn is_quiet(&self, quiet: Duration) -> bool {
        self.modified.elapsed().map_or(true, |age| age >= quiet)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use anyhow::Result;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn every_change_is_another_version() -> Result<()> {
        let folder = TempDir::new()?;
        let (path, other) = (folder.path().join("1.gz"), folder.path().join("other"));
        fs::write(&path, "one")?;
        let file = File::options().append(true).open(&path)?;
        let modified = file.metadata()?.modified()?;
        let version = || Version::of(&path);
        let mut last = Version::of_open(&file)?;
        assert_eq!(version()?, Some(last));
        let mut changed = |what| {
            let now = version()?.filter(|now| *now != last);
            last = now.ok_or_else(|| io::Error::other(what))?;
            Ok::<_, io::Error>(())
        };
        (&file).write_all(b"more")?;
        changed("grown")?;
        file.set_len(3)?;
        changed("cut")?;
        std::thread::sleep(Duration::from_millis(20));
        file.set_modified(modified)?;
        changed("set back to its time")?;
        fs::copy(&path, &other)?;
        File::options().append(true).open(&other)?.set_modified(modified)?;
        fs::rename(&other, &path)?;
        changed("replaced by a copy")?;
        let before = version()?;
        fs::rename(&path, &other)?;
        assert_eq!(version()?, None);
        let after = Version::of(&other)?;
        assert!(before.zip(after).is_some_and(|(before, after)| before.is_same_content(&after)));
        Ok(())
    }
}
