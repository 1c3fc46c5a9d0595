//! What is looked at only for those who watch: the pace, the files that wait, the servers beside the load.

use std::thread;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use memc_core::Loader;
use memc_core::apps::AppsEncoder;

use crate::inputs::find::Found;
use crate::watch::live::{Backlog, Live};
use crate::watch::watched::Watched;

/// How often the pace is looked at.
const SAMPLE: Duration = Duration::from_secs(1);

/// How often the files, and the servers, are looked at.
const FILES: Duration = Duration::from_secs(2);
const SERVERS: Duration = Duration::from_secs(5);

/// A look at a folder with very many files takes at most this part of the time.
const SHARE: u32 = 20;

/// How much less of the processors these threads get than the load, if both want them.
const NICE: i32 = 10;

/// Leaves the processors to the load, for this thread.
pub(super) fn give_way() {
    // A sandbox may forbid it; then it is as it is.
    let _ = rustix::process::nice(NICE);
}

/// Adds to the history, until the process ends.
pub(super) fn take_samples(live: &Live) {
    give_way();
    loop {
        live.sample(Instant::now());
        thread::sleep(SAMPLE);
    }
}

/// Counts the files that wait, until the process ends.
pub(super) fn count_files(watched: &Watched) {
    give_way();
    loop {
        let started = Instant::now();
        // That they cannot be looked at will stop the load in its turn.
        if let Ok(found) = watched.args.source().find() {
            let backlog = backlog(&found);
            watched.live.lock().backlog = Some(backlog);
        }
        thread::sleep(FILES.max(started.elapsed() * SHARE));
    }
}

fn backlog(found: &Found) -> Backlog {
    let mut backlog = Backlog::default();
    for log in &found.logs {
        // It may be done since.
        let Ok(metadata) = log.metadata() else { continue };
        backlog.files += 1;
        backlog.bytes += metadata.len();
        let written = metadata.modified().ok().and_then(|at| Timestamp::try_from(at).ok());
        backlog.oldest = match (backlog.oldest, written) {
            (Some(oldest), Some(written)) => Some(oldest.min(written)),
            (oldest, written) => oldest.or(written),
        };
    }
    backlog
}

/// Asks the servers how they are, until the process ends: a load that waits for files does not.
pub(super) fn ask_servers(live: &Live, checker: &Loader<AppsEncoder>) {
    give_way();
    loop {
        // An error is that a thread does not start.
        for check in checker.check().unwrap_or_default() {
            live.lock().add_check(&check.address, check.result);
        }
        thread::sleep(SERVERS);
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use anyhow::Result;

    use super::*;

    #[test]
    fn the_backlog_has_the_size_and_the_age_of_all_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        for (name, bytes, age) in [("1", 3, 60), ("2", 4, 600), ("3", 5, 1)] {
            fs::write(path(name), vec![0; bytes])?;
            let written = SystemTime::now() - Duration::from_secs(age);
            File::options().append(true).open(path(name))?.set_modified(written)?;
        }
        let found = Found { logs: ["1", "2", "3", "gone"].map(path).to_vec(), ..Found::default() };
        let backlog = backlog(&found);
        assert_eq!((backlog.files, backlog.bytes), (3, 12));
        assert!((600.0..630.0).contains(&backlog.oldest_seconds()), "{backlog:?}");
        assert!(super::backlog(&Found::default()).oldest_seconds() == 0.0);
        Ok(())
    }
}
