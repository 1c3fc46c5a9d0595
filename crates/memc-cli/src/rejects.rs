//! The file of rejected lines: `FILE<TAB>LINE<TAB>REASON<TAB>` and the line, unchanged, to its end.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use memc_core::RejectedLines;

/// See the module's text. `cut -f4-` gives the lines back, ready to be mended and loaded again.
#[derive(Debug)]
pub(crate) struct Rejects {
    path: PathBuf,
    out: BufWriter<File>,
    /// Its length, in bytes, when the last log was done; what follows is of a log that may be begun anew.
    done_bytes: u64,
}

impl Rejects {
    /// Opens the file to append to it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let open = || {
            let file = File::options().append(true).create(true).open(path)?;
            let done_bytes = file.metadata()?.len();
            Ok(Self { path: path.to_owned(), out: BufWriter::new(file), done_bytes })
        };
        open().map_err(|error: std::io::Error| failed(path, error))
    }

    /// Adds lines of one log.
    pub(crate) fn add(&mut self, log: &str, lines: &RejectedLines) -> Result<()> {
        // A tab in a path would move the columns.
        let log = log.replace(['\t', '\n'], "?");
        let mut add = || {
            for (line, reason, bytes) in lines.lines() {
                write!(self.out, "{log}\t{line}\t{reason}\t")?;
                self.out.write_all(bytes)?;
                self.out.write_all(b"\n")?;
            }
            Ok(())
        };
        add().map_err(|error| failed(&self.path, error))
    }

    /// A log is done: what was added is on disk after this, before the log is renamed.
    pub(crate) fn log_done(&mut self) -> Result<()> {
        let mut sync = || {
            self.out.flush()?;
            let file = self.out.get_ref();
            if file.metadata()?.is_file() {
                file.sync_data()?;
            }
            self.done_bytes = file.metadata()?.len();
            Ok(())
        };
        sync().map_err(|error| failed(&self.path, error))
    }

    /// A log will be loaded again from its start: takes back what was added of it.
    pub(crate) fn take_back(&mut self) -> Result<()> {
        let mut take_back = || {
            self.out.flush()?;
            let file = self.out.get_ref();
            // From a pipe nothing can be taken back.
            if file.metadata()?.is_file() { file.set_len(self.done_bytes) } else { Ok(()) }
        };
        take_back().map_err(|error| failed(&self.path, error))
    }
}

fn failed(path: &Path, error: std::io::Error) -> anyhow::Error {
    anyhow::Error::new(error).context(format!("cannot write the rejected lines to '{}'", path.display()))
}

/// Opens the file of rejected lines if there is to be one.
pub(crate) fn open(path: Option<&Path>) -> Result<Option<Rejects>> {
    path.map(Rejects::open).transpose().context("option --rejects")
}
