//! A log that is not complete yet: it holds up all later ones.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::inputs::name::shown;
use crate::inputs::version::Version;
use crate::output::messages;
use crate::watch::live::Doing;

/// A log that was written to so short a time ago is likely to be written to again.
pub(crate) const QUIET: Duration = Duration::from_millis(250);

/// How often it is logged that a log holds up others.
const REMINDER: Duration = Duration::from_secs(5 * 60);

/// The first log, as long as it holds up the others.
#[derive(Debug)]
pub(crate) struct Held {
    path: PathBuf,
    since: Instant,
    /// What was last found to be not complete, and how that showed.
    tried: Option<(Version, String)>,
    /// How long it must be left alone before it is tried.
    quiet: Duration,
    /// When it was last logged.
    logged: Option<Instant>,
    /// Why it is certain that it is not complete.
    why: Option<String>,
}

impl Held {
    pub(crate) fn new(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            since: Instant::now(),
            tried: None,
            quiet: QUIET,
            logged: None,
            why: None,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Whether it is worth a try in this version.
    pub(crate) fn may_be_complete(&self, version: &Version) -> bool {
        let tried = self.tried.as_ref().is_some_and(|(tried, _)| tried == version);
        !tried && version.may_be_complete(self.quiet)
    }

    /// It was tried in this version for this long, and was not complete.
    pub(crate) fn tried(&mut self, version: Version, took: Duration, why: String) {
        self.tried = Some((version, why));
        self.quiet = QUIET.max(took);
    }

    /// What the follower does while it waits for this log.
    pub(crate) fn doing(&self) -> Doing {
        let Some(why) = self.why.clone() else { return Doing::Waiting };
        Doing::HeldUp { name: shown(&self.path).to_string(), why, since: self.since }
    }

    /// Logs that it holds up this many later ones, when that is certain and again from time to time; true if
    /// it was logged now.
    pub(crate) fn log(&mut self, later: usize, now: Instant) -> bool {
        match self.logged {
            None => {
                let why = match (&self.tried, Version::of(&self.path)) {
                    (Some((_, why)), _) => why.clone(),
                    (None, Ok(Some(version))) => match version.bytes() {
                        _ if !version.is_quiet(QUIET) => return false,
                        0 => "empty".to_owned(),
                        1 => "one byte".to_owned(),
                        // It is tried next.
                        _ => return false,
                    },
                    (None, _) => "not there".to_owned(),
                };
                messages::held(&self.path, &why);
                self.why = Some(why);
            }
            Some(logged) if now >= logged + REMINDER => {
                messages::still_held(&self.path, now - self.since, later);
            }
            Some(_) => return false,
        }
        self.logged = Some(now);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::time::SystemTime;

    use anyhow::{Context, Result};
    use tempfile::TempDir;

    use super::*;

    /// A file of this size that was last written to this long ago.
    fn file(folder: &TempDir, bytes: usize, age: Duration) -> Result<PathBuf> {
        let path = folder.path().join("1.gz");
        fs::write(&path, vec![b'x'; bytes])?;
        File::options().append(true).open(&path)?.set_modified(SystemTime::now() - age)?;
        Ok(path)
    }

    fn version(path: &Path) -> Result<Version> {
        Version::of(path)?.context("it is there")
    }

    #[test]
    fn a_log_is_tried_when_it_is_left_alone_and_not_twice_as_it_is() -> Result<()> {
        let folder = TempDir::new()?;
        let (now, minute) = (Duration::ZERO, Duration::from_secs(60));
        for (bytes, age, expected) in
            [(0, minute, false), (1, minute, false), (2, minute, true), (2, now, false)]
        {
            let path = file(&folder, bytes, age)?;
            let held = Held::new(&path);
            assert_eq!(held.may_be_complete(&version(&path)?), expected, "{bytes} bytes, {age:?} old");
        }
        let path = file(&folder, 10, minute)?;
        let mut held = Held::new(&path);
        held.tried(version(&path)?, 2 * minute, "it ends early".to_owned());
        assert!(!held.may_be_complete(&version(&path)?), "it is as it was");
        file(&folder, 11, minute)?;
        assert!(!held.may_be_complete(&version(&path)?), "a try takes longer than it was left alone");
        file(&folder, 11, 3 * minute)?;
        assert!(held.may_be_complete(&version(&path)?));
        // A clock that is behind the one of the file system.
        File::options().append(true).open(&path)?.set_modified(SystemTime::now() + minute)?;
        assert!(held.may_be_complete(&version(&path)?));
        fs::remove_file(&path)?;
        assert_eq!(Version::of(&path)?, None);
        Ok(())
    }

    #[test]
    fn what_holds_up_others_is_logged_at_once_and_every_few_minutes() -> Result<()> {
        let folder = TempDir::new()?;
        let path = file(&folder, 0, Duration::ZERO)?;
        let mut held = Held::new(&path);
        let now = Instant::now();
        assert!(!held.log(3, now), "just made");
        file(&folder, 0, QUIET)?;
        assert!(held.log(3, now));
        assert!(!held.log(3, now + REMINDER / 2));
        assert!(held.log(3, now + REMINDER));
        assert!(!held.log(3, now + REMINDER * 3 / 2));
        assert!(held.log(3, now + REMINDER * 2));

        file(&folder, 10, Duration::ZERO)?;
        let mut held = Held::new(&path);
        held.tried(version(&path)?, QUIET, "it ends early".to_owned());
        assert!(held.log(3, now), "a try has shown it");
        Ok(())
    }
}
