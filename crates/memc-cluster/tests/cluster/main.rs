//! Tests of whole loads by several workers, against real memcached processes.
//!
//! - `processes`: several processes, each of them a thread here.
//! - `threads`: one process with several workers.

mod processes;
mod threads;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use memc_cluster::{Ahead, Files};
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Counts, Input, Loader, Options};
use memc_testkit::{DEVICE_TYPES, Memcached, Model, Sample, difference, gzip};
use tempfile::TempDir;

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A server for each device type.
struct Servers(Vec<Memcached>);

impl Servers {
    fn start(options: &[&str]) -> io::Result<Self> {
        DEVICE_TYPES.iter().map(|_| Memcached::start(options)).collect::<io::Result<_>>().map(Self)
    }

    fn loader(&self, options: Options) -> Result<Loader<AppsEncoder>> {
        let addresses: std::result::Result<Vec<Address>, _> =
            self.0.iter().map(|server| server.address().parse()).collect();
        Ok(Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses?, options))
    }

    /// Fails with the first difference.
    fn assert_hold(&self, model: &Model) -> Result {
        for (server, name) in self.0.iter().zip(DEVICE_TYPES) {
            assert_eq!(difference(&server.contents()?, &model.servers[name]), None, "{name}");
        }
        Ok(())
    }
}

/// Logs in a folder, with what the servers must hold after them.
struct Logs {
    _folder: TempDir,
    paths: Vec<PathBuf>,
    texts: Vec<Vec<u8>>,
}

impl Logs {
    /// Logs with these numbers of lines, in which keys come again.
    fn of_lines(lines: &[usize]) -> Result<Self> {
        let mut sample = Sample::new(7).with(0.3, 0.02);
        Self::of_texts(lines.iter().map(|&lines| sample.text(lines)).collect())
    }

    fn of_texts(texts: Vec<Vec<u8>>) -> Result<Self> {
        let folder = TempDir::new()?;
        let mut paths = Vec::new();
        for (number, text) in texts.iter().enumerate() {
            let path = folder.path().join(format!("{number:02}.tsv.gz"));
            std::fs::write(&path, gzip(text)?)?;
            paths.push(path);
        }
        Ok(Self { _folder: folder, paths, texts })
    }

    /// What is there after the first logs.
    fn model(&self, logs: usize) -> Model {
        let mut model = Model::new();
        self.texts[..logs].iter().for_each(|text| model.load(text));
        model
    }

    fn files(&self) -> Arc<dyn Files> {
        Arc::new(Paths { names: self.names(), opened: Mutex::default() })
    }

    fn names(&self) -> Vec<String> {
        self.paths.iter().map(|path| path.display().to_string()).collect()
    }
}

/// Files by their paths, which note who has opened them.
struct Paths {
    names: Vec<String>,
    opened: Mutex<BTreeMap<usize, String>>,
}

impl Files for Paths {
    fn name(&self, file: usize) -> String {
        self.names[file].clone()
    }

    fn input(&self, _: usize, path: &Path) -> Input {
        Input::path(path)
    }

    fn mark(&self, file: usize) -> Option<String> {
        Some(format!("opened {file}"))
    }

    fn marked(&self, file: usize, mark: &str) {
        self.opened.lock().expect("a lock").insert(file, mark.to_owned());
    }
}

/// Options under which many chunks are in flight even of small inputs.
fn small_chunks(chunk_bytes: usize) -> Options {
    let mut options = Options::default();
    options.chunk_bytes = chunk_bytes;
    options.retry_timeout = std::time::Duration::from_millis(500);
    options
}

/// For tests in which a server starts again, however long that takes on a busy machine.
fn patient(chunk_bytes: usize) -> Options {
    let mut options = small_chunks(chunk_bytes);
    options.retry_timeout = std::time::Duration::from_secs(20);
    options
}

fn ahead(files: usize) -> Ahead {
    Ahead { files, bytes: 64 << 20 }
}

/// The counts as the model names them.
fn assert_counts(counts: &Counts, model: &Model) {
    let rejected: BTreeMap<_, _> =
        counts.rejected.iter().map(|(reason, count)| (reason.name(), *count)).collect();
    assert_eq!(rejected, model.rejected);
    assert_eq!((counts.loaded, counts.dropped_total()), (model.loaded, model.dropped));
}
