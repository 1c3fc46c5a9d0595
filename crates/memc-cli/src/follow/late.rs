//! Logs that come too late: a later one is done, whose records they can overwrite.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use crate::inputs::find::chronology;
use crate::output::messages;

/// What is known of the logs that are done, and of those that come after their time.
#[derive(Debug, Default)]
pub(crate) struct Late {
    /// Of the logs that are done, the last in their order, which need not be the one that was done last.
    latest: Option<PathBuf>,
    /// Late ones that were logged and are not done yet.
    logged: HashSet<PathBuf>,
}

impl Late {
    /// A log is done.
    pub(crate) fn done(&mut self, log: &Path) {
        if self.latest.as_ref().is_none_or(|latest| chronology(latest) < chronology(log)) {
            self.latest = Some(log.to_owned());
        }
    }

    /// Logs each that is late of these logs, which are in order and not done; each once.
    pub(crate) fn log(&mut self, logs: &[PathBuf]) {
        let Some(latest) = &self.latest else { return };
        let late = &logs[..logs.partition_point(|log| chronology(log) < chronology(latest))];
        for log in late.iter().filter(|log| !self.logged.contains(*log)) {
            messages::late(log, latest);
        }
        self.logged = late.iter().cloned().collect();
    }
}
