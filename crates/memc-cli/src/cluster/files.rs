//! The logs as a cluster reads them: in the process that renames them, and in the others.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use memc_cluster::Files;
use memc_core::Input;

use crate::inputs::log_file::LogFile;
use crate::inputs::name::shown;

/// The logs of a load, in the process that renames them.
#[derive(Debug)]
pub(crate) struct Here(pub(crate) Vec<Arc<LogFile>>);

impl Files for Here {
    fn name(&self, file: usize) -> String {
        self.0.get(file).map(|log| shown(log.path()).to_string()).unwrap_or_default()
    }

    fn input(&self, file: usize, path: &Path) -> Input {
        match self.0.get(file) {
            Some(log) => input(log),
            None => Input::path(path),
        }
    }

    /// The log knows itself what was opened.
    fn mark(&self, _: usize) -> Option<String> {
        None
    }

    fn marked(&self, file: usize, mark: &str) {
        if let Some(log) = self.0.get(file) {
            log.opened_elsewhere(mark);
        }
    }
}

/// Logs that another process renames, as this one opens them.
#[derive(Debug, Default)]
pub(crate) struct Elsewhere(Mutex<BTreeMap<usize, Arc<LogFile>>>);

impl Elsewhere {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<usize, Arc<LogFile>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Files for Elsewhere {
    fn name(&self, _: usize) -> String {
        String::new()
    }

    fn input(&self, file: usize, path: &Path) -> Input {
        let log = Arc::new(LogFile::new(path, None, None));
        self.lock().insert(file, Arc::clone(&log));
        input(&log)
    }

    fn mark(&self, file: usize) -> Option<String> {
        self.lock().remove(&file)?.mark()
    }

    fn marked(&self, _: usize, _: &str) {}
}

/// The log as an input. Plain text is only taken under names without `.gz`.
pub(crate) fn input(log: &Arc<LogFile>) -> Input {
    let opened = Arc::clone(log);
    let input = Input::file(shown(log.path()).to_string(), move || opened.open());
    match log.path().extension().is_some_and(|extension| extension.eq_ignore_ascii_case("gz")) {
        true => input.require_gzip(),
        false => input,
    }
}
