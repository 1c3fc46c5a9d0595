//! A fresh folder with input files and four servers to load them into.

use std::cell::{OnceCell, RefCell};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use memc_testkit::{Contents, DEVICE_TYPES, Memcached, Model, Port, difference};
use tempfile::TempDir;

use crate::run::{Run, Running};

/// The folder and the servers; all of it is removed when this is dropped.
#[derive(Debug)]
pub(crate) struct Workdir {
    folder: TempDir,
    servers: OnceCell<Vec<Memcached>>,
    ports: RefCell<Vec<Port>>,
}

impl Workdir {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self { folder: TempDir::new()?, servers: OnceCell::new(), ports: RefCell::default() })
    }

    /// The path of a file in the folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// The same as text, as the program gets and logs it.
    pub(crate) fn name(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// Writes a file as it is.
    pub(crate) fn write(&self, name: &str, bytes: impl AsRef<[u8]>) -> Result<()> {
        let path = self.path(name);
        fs::create_dir_all(path.parent().context("it is in the folder")?)?;
        fs::write(path, bytes)?;
        Ok(())
    }

    /// Writes a file with the text as one gzip member.
    pub(crate) fn gzip(&self, name: &str, text: impl AsRef<[u8]>) -> Result<()> {
        self.write(name, memc_testkit::gzip(text.as_ref())?)
    }

    /// The servers of the four device types, started when they are first asked for.
    pub(crate) fn servers(&self) -> Result<&[Memcached]> {
        if let Some(servers) = self.servers.get() {
            return Ok(servers);
        }
        let servers = DEVICE_TYPES.iter().map(|_| Memcached::start(&[])).collect::<io::Result<_>>()?;
        Ok(self.servers.get_or_init(|| servers))
    }

    /// An address that nobody listens on but those who get it from here.
    pub(crate) fn port(&self) -> Result<String> {
        let port = Port::reserve()?;
        let address = port.to_string();
        self.ports.borrow_mut().push(port);
        Ok(address)
    }

    /// Runs the binary with just these arguments.
    pub(crate) fn run(&self, arguments: &[&str]) -> Result<Run> {
        let arguments: Vec<_> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.finish(Running::start(&arguments)?)
    }

    /// Runs it with these arguments, and those of the four servers for which there is no option among them.
    pub(crate) fn with_servers(&self, arguments: &[&str]) -> Result<Run> {
        self.finish(Running::start(&self.completed(Vec::new(), arguments)?)?)
    }

    /// Runs it with these options, and for those that are missing the folder's `*.tsv.gz` as the pattern
    /// and the four servers.
    pub(crate) fn load(&self, options: &[&str]) -> Result<Run> {
        self.finish(self.start(options)?)
    }

    /// The same, but without waiting for its end.
    pub(crate) fn start(&self, options: &[&str]) -> Result<Running> {
        Running::start(&self.arguments(options)?)
    }

    /// The same with these variables.
    pub(crate) fn start_with(&self, options: &[&str], variables: &[(&str, &str)]) -> Result<Running> {
        Running::start_with(&self.arguments(options)?, variables)
    }

    /// Runs it with these options by way of a shell, in which `setup` comes first: `umask 077; exec`.
    pub(crate) fn load_after(&self, setup: &str, options: &[&str]) -> Result<Run> {
        self.finish(self.start_after(setup, options)?)
    }

    /// The same, but without waiting for its end.
    pub(crate) fn start_after(&self, setup: &str, options: &[&str]) -> Result<Running> {
        Running::start_after(setup, &self.arguments(options)?)
    }

    /// Waits for the end of a run.
    pub(crate) fn finish(&self, running: Running) -> Result<Run> {
        running.finish(|| self.files())
    }

    fn arguments(&self, options: &[&str]) -> Result<Vec<String>> {
        self.completed(vec![("--pattern".to_owned(), self.name("*.tsv.gz"))], options)
    }

    /// These options behind the defaults, servers included, that are not among them.
    fn completed(&self, mut defaults: Vec<(String, String)>, options: &[&str]) -> Result<Vec<String>> {
        for (name, server) in DEVICE_TYPES.iter().zip(self.servers()?) {
            defaults.push((format!("--{name}"), server.address()));
        }
        defaults.retain(|(option, _)| !options.contains(&option.as_str()));
        let given = options.iter().map(|&option| option.to_owned());
        Ok(defaults.into_iter().flat_map(|(option, value)| [option, value]).chain(given).collect())
    }

    /// The paths of all files in the folder, relative to it and sorted.
    pub(crate) fn files(&self) -> Result<Vec<String>> {
        let mut files = Vec::new();
        self.list(self.folder.path(), &mut files)?;
        files.sort();
        Ok(files)
    }

    fn list(&self, folder: &Path, files: &mut Vec<String>) -> Result<()> {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                self.list(&path, files)?;
            } else {
                files.push(path.strip_prefix(self.folder.path())?.to_string_lossy().into_owned());
            }
        }
        Ok(())
    }

    /// Checks that the four servers hold what the model says and nothing else.
    pub(crate) fn holds(&self, model: &Model) -> Result<()> {
        for (name, server) in DEVICE_TYPES.iter().zip(self.servers()?) {
            same(&server.contents()?, &model.servers[name]).with_context(|| format!("server of {name}"))?;
        }
        Ok(())
    }

    /// Checks that they hold nothing at all, and never were sent anything.
    pub(crate) fn holds_nothing(&self) -> Result<()> {
        self.holds(&Model::new())?;
        for server in self.servers()? {
            ensure!(server.stat("cmd_set")? == 0, "{} has got records", server.address());
        }
        Ok(())
    }
}

/// What a loader that takes the texts one after the other leaves.
pub(crate) fn model<T: AsRef<[u8]>>(texts: &[T]) -> Model {
    let mut model = Model::new();
    texts.iter().for_each(|text| model.load(text.as_ref()));
    model
}

/// Checks one server: keys and values as expected, no flags, no expiry, nothing else.
pub(crate) fn same(contents: &Contents, expected: &HashMap<Vec<u8>, Vec<u8>>) -> Result<()> {
    match difference(contents, expected) {
        Some(difference) => bail!(difference),
        None => Ok(()),
    }
}
