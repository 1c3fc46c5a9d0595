//! The values that options take, and what is wrong with those that they do not.

use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use memc_core::Protocol;

use crate::inputs::find;
use crate::inputs::walk;

/// When to show how far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowProgress {
    /// If standard error is a terminal.
    Auto,
    /// Not at all.
    Never,
}

/// The protocol to speak.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProtocolChoice {
    /// What each server turns out to speak.
    Auto,
    Meta,
    Classic,
}

impl ProtocolChoice {
    /// The one to speak, unless it is to be found out.
    pub(crate) fn fixed(self) -> Option<Protocol> {
        match self {
            Self::Auto => None,
            Self::Meta => Some(Protocol::Meta),
            Self::Classic => Some(Protocol::Classic),
        }
    }
}

/// As it is written on the command line.
impl fmt::Display for ProtocolChoice {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.to_possible_value().map_or(Ok(()), |value| out.write_str(value.get_name()))
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// As the old script did: `[2017.09.29 12:39:52] I text`.
    Text,
    /// An object with `time`, `level` and `message`.
    Json,
}

/// What to do with a broken file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnBroken {
    /// Stop there.
    Stop,
    /// Move it into this folder and go on.
    Quarantine(PathBuf),
}

impl OnBroken {
    pub(super) fn read(text: &OsStr) -> Result<Self, &'static str> {
        match text.as_bytes().strip_prefix(b"quarantine=") {
            None if text == "stop" => Ok(Self::Stop),
            Some(folder) if !folder.is_empty() => Ok(Self::Quarantine(OsStr::from_bytes(folder).into())),
            _ => Err("give stop or quarantine=FOLDER"),
        }
    }

    /// The folder for broken files, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Stop => None,
            Self::Quarantine(folder) => Some(folder),
        }
    }
}

/// A pattern that can match files.
pub(super) fn pattern(text: &str) -> Result<String, String> {
    if text.is_empty() {
        return Err("it is empty: give one such as '/data/appsinstalled/*.tsv.gz'".to_owned());
    }
    if find::is_fixed(Path::new(text)) && Path::new(text).is_dir() {
        return Err(format!("it is a folder: {}", find::suggest(Path::new(text))));
    }
    walk::check(text).map_err(|error| error.to_string())
}

/// A time that is not 0.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

/// After which time records expire. memcached's protocols say when in 31 bits of seconds since 1970.
pub(super) fn ttl(text: &str) -> Result<Duration, String> {
    let ttl = duration(text)?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    match now.saturating_add(ttl).as_secs() > u64::from(i32::MAX.unsigned_abs()) {
        true => Err("it ends after January 2038, which memcached's protocols cannot say".to_owned()),
        false => Ok(ttl),
    }
}

/// Rejected lines for each loaded one.
pub(super) fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate >= 0.0 => Ok(rate),
        _ => Err("it must be a number from 0".to_owned()),
    }
}
