//! The file of rejected lines: `FILE<TAB>LINE<TAB>REASON<TAB>` and the line, unchanged, to its end.
//! `cut -f4-` gives the lines back, ready to be repaired and loaded again.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use memc_core::RejectedLines;

use crate::inputs::lock;
use crate::inputs::name::shown;

/// Bytes that are gathered before they are written.
const BUFFER_BYTES: usize = 64 << 10;

/// The file, open to be appended to.
#[derive(Debug)]
pub(crate) struct Rejects {
    path: PathBuf,
    file: File,
    /// What is not written yet. Unlike that of a `BufWriter` it can be dropped.
    buffer: Vec<u8>,
    /// The file's length when the last log was done; what follows is of a log that may be loaded again.
    done_bytes: u64,
    /// Its length when it was synced last.
    synced_bytes: u64,
}

impl Rejects {
    /// Opens the file to append to it.
    ///
    /// It fails if another process has done so: each would take back lines of the other.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::options().append(true).create(true).open(path)?;
            let metadata = file.metadata()?;
            // Whoever likes may write to a pipe or a device.
            if metadata.is_file() && !lock::try_lock(&file, path) {
                bail!("another memc-load writes to it");
            }
            let bytes = metadata.len();
            let path = path.to_owned();
            Ok(Self { path, file, buffer: Vec::new(), done_bytes: bytes, synced_bytes: bytes })
        };
        open().with_context(|| failed(path))
    }

    /// Adds lines of one log, whose name is [shown](crate::inputs::name::shown) and has no tab in it.
    pub(crate) fn add(&mut self, log: &str, lines: &RejectedLines) -> Result<()> {
        for (line, reason, bytes) in lines.lines() {
            let place = format!("{log}\t{line}\t{reason}");
            self.add_one(&place, bytes).with_context(|| failed(&self.path))?;
        }
        Ok(())
    }

    fn add_one(&mut self, place: &str, line: &[u8]) -> io::Result<()> {
        for part in [place.as_bytes(), b"\t", line, b"\n"] {
            self.buffer.extend_from_slice(part);
        }
        if self.buffer.len() >= BUFFER_BYTES { self.flush() } else { Ok(()) }
    }

    /// Writes what was added to the disk, as is due before a log is marked as done.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let mut sync = || {
            self.flush()?;
            if self.file.metadata()?.is_file() {
                self.file.sync_data()?;
            }
            self.synced_bytes = self.file.metadata()?.len();
            Ok::<_, io::Error>(())
        };
        sync().with_context(|| failed(&self.path))
    }

    /// A log is done: what was [synced](Self::sync) stays.
    pub(crate) fn log_done(&mut self) {
        self.done_bytes = self.synced_bytes;
    }

    /// A log will be loaded again from its start: takes back what was added of it.
    pub(crate) fn take_back(&mut self) -> Result<()> {
        // It may be the full disk that ends the load: nothing more is written.
        self.buffer.clear();
        let take_back = || {
            let metadata = self.file.metadata()?;
            // From a pipe nothing can be taken back.
            if !metadata.is_file() {
                return Ok(0);
            }
            // It is shorter if somebody has emptied it meanwhile, as logrotate does: then it stays so.
            let bytes = self.done_bytes.min(metadata.len());
            if bytes < metadata.len() {
                self.file.set_len(bytes)?;
            }
            Ok::<_, io::Error>(bytes)
        };
        self.done_bytes = take_back().with_context(|| failed(&self.path))?;
        Ok(())
    }

    /// Writes what was gathered. If that fails, part of it may be written.
    fn flush(&mut self) -> io::Result<()> {
        self.file.write_all(&self.buffer)?;
        self.buffer.clear();
        Ok(())
    }
}

fn failed(path: &Path) -> String {
    format!("cannot write the rejected lines to '{}'", shown(path))
}

/// Opens the file of rejected lines if there is to be one.
pub(crate) fn open(path: Option<&Path>) -> Result<Option<Rejects>> {
    path.map(Rejects::open).transpose().context("option --rejects")
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    /// More than is gathered, and a little that is not written yet.
    fn add(rejects: &mut Rejects) -> Result<()> {
        rejects.add_one("log\t1\tfields", &[b'x'; BUFFER_BYTES])?;
        Ok(rejects.add_one("log\t2\tfields", b"short")?)
    }

    #[test]
    fn a_log_that_is_loaded_again_leaves_no_line() -> Result<()> {
        let folder = TempDir::new()?;
        let path = folder.path().join("rejects");
        fs::write(&path, "kept\n")?;
        let mut rejects = Rejects::open(&path)?;
        add(&mut rejects)?;
        rejects.take_back()?;
        rejects.add_one("log\t1\tfields", b"bad")?;
        rejects.sync()?;
        rejects.log_done();
        add(&mut rejects)?;
        rejects.take_back()?;
        // The last log was not what it had been when its turn came.
        add(&mut rejects)?;
        rejects.sync()?;
        rejects.take_back()?;
        drop(rejects);
        assert_eq!(fs::read_to_string(&path)?, "kept\nlog\t1\tfields\tbad\n");
        Ok(())
    }

    #[test]
    fn a_file_that_was_emptied_meanwhile_is_not_filled_with_zeros() -> Result<()> {
        let folder = TempDir::new()?;
        let path = folder.path().join("rejects");
        fs::write(&path, "of earlier runs\n")?;
        let mut rejects = Rejects::open(&path)?;
        File::options().write(true).open(&path)?.set_len(0)?;
        rejects.take_back()?;
        assert_eq!(fs::read_to_string(&path)?, "");
        add(&mut rejects)?;
        rejects.take_back()?;
        assert_eq!(fs::read_to_string(&path)?, "", "what is taken back is what came since");
        Ok(())
    }

    #[test]
    fn a_device_is_no_file_of_one_alone() -> Result<()> {
        let null = Path::new("/dev/null");
        let (mut one, mut other) = (Rejects::open(null)?, Rejects::open(null)?);
        for rejects in [&mut one, &mut other] {
            add(rejects)?;
            rejects.take_back()?;
            rejects.sync()?;
            rejects.log_done();
        }
        Ok(())
    }
}
