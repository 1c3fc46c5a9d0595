//! The log that is loaded, and its head for the old way, which would take too long with all of it.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use flate2::bufread::MultiGzDecoder;
use memc_testkit::{Floor, Model, Sample, gzip};
use tempfile::TempDir;

/// How many lines the old way gets.
const HEAD_LINES: usize = 20_000;

/// A log and the number of records that a loader stores of it.
#[derive(Debug)]
pub(crate) struct Log {
    pub(crate) path: PathBuf,
    pub(crate) records: u64,
}

/// What is loaded, in a folder of its own that is removed at the end.
#[derive(Debug)]
pub(crate) struct Logs {
    pub(crate) folder: TempDir,
    pub(crate) whole: Log,
    pub(crate) head: Log,
    /// The whole log, ready for the floor.
    pub(crate) floor: Floor,
}

impl Logs {
    /// Makes the logs of a file, which stays as it is, or of a number of sample records.
    pub(crate) fn prepare(source: &str) -> Result<Self> {
        let folder = TempDir::new()?;
        let path = |name| -> Result<PathBuf> {
            let folder = folder.path().join(name);
            fs::create_dir(&folder)?;
            Ok(folder.join("20170929000000.tsv.gz"))
        };
        let whole = path("whole")?;
        match source.parse() {
            Ok(records) => fs::write(&whole, gzip(&Sample::new(0).text(records))?)?,
            // Loading renames only the link.
            Err(_) => symlink(Path::new(source).canonicalize().with_context(|| source.to_owned())?, &whole)?,
        }
        let floor =
            Floor::new(fs::read(&whole)?).with_context(|| format!("{source}: no single gzip member"))?;
        ensure!(floor.records() > 0, "{source}: no records");
        let whole = Log { path: whole, records: floor.records() };

        let text = head(&whole.path)?;
        let mut model = Model::new();
        model.load(&text);
        let head = Log { path: path("head")?, records: model.loaded };
        fs::write(&head.path, gzip(&text)?)?;
        Ok(Self { folder, whole, head, floor })
    }
}

/// The first lines of a log.
fn head(path: &Path) -> Result<Vec<u8>> {
    let mut lines = BufReader::new(MultiGzDecoder::new(BufReader::new(File::open(path)?)));
    let mut text = Vec::new();
    for _ in 0..HEAD_LINES {
        lines.read_until(b'\n', &mut text)?;
    }
    Ok(text)
}
