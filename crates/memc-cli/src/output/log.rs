//! The log: its lines as the old script wrote them (`[2017.09.29 12:39:52] I text`) or as JSON, and the file they go to.

use std::collections::VecDeque;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use anyhow::{Context, Result};
use env_logger::{Builder, Target};
use indicatif::ProgressBar;
use jiff::{Timestamp, Zoned};
use log::kv::{self, Key, Value, VisitSource};
use log::{Level, Record};
use serde_json::{Map, Value as Json};

use crate::args::{Args, LogFormat};
use crate::inputs::name::shown;
use crate::output::progress::AboveBar;

/// The log of this process. Clones are of the same log.
#[derive(Clone, Debug)]
pub(crate) struct Log(Arc<State>);

#[derive(Debug)]
struct State {
    /// `None` for standard error.
    file: Option<LogFile>,
    /// The last error that was logged or, before there is one, the last warning.
    complaint: Mutex<Option<(Level, String)>>,
    /// The last warnings and errors, the latest first.
    recent: Mutex<VecDeque<Line>>,
}

/// A warning or an error as it was logged.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) at: Timestamp,
    pub(crate) level: Level,
    pub(crate) text: String,
}

/// How many of them are kept, and how long each of them may be.
const RECENT_LINES: usize = 20;
const RECENT_CHARS: usize = 1000;

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: Mutex<File>,
    /// Whether a line could not be written.
    has_failed: AtomicBool,
}

impl Log {
    /// Starts the log: to the end of the file of `--log`, or to standard error above the bar, in local time.
    pub(crate) fn start(args: &Args, bar: &ProgressBar) -> Result<Self> {
        let file = args.log.as_deref().map(LogFile::open).transpose()?;
        let log = Self(Arc::new(State { file, complaint: Mutex::default(), recent: Mutex::default() }));
        let target = match &log.0.file {
            None if bar.is_hidden() => Target::Stderr,
            None => Target::Pipe(Box::new(AboveBar(bar.clone()))),
            Some(_) => Target::Pipe(Box::new(log.clone())),
        };
        let (state, format) = (Arc::clone(&log.0), args.log_format);
        Builder::new()
            // Of this program only: what libraries have to say comes to us as errors.
            .filter_module(env!("CARGO_CRATE_NAME"), args.log_level())
            .format(move |out, record| {
                state.remember(record);
                match format {
                    LogFormat::Text => writeln!(out, "{}", text(record)),
                    LogFormat::Json => writeln!(out, "{}", json(record)),
                }
            })
            .target(target)
            .try_init()
            .context("cannot start the log")?;
        Ok(log)
    }

    /// Opens the file of `--log` again, which may have been moved; true if there is such a file.
    pub(crate) fn reopen(&self) -> Result<bool> {
        let Some(log) = &self.0.file else { return Ok(false) };
        *log.lock() = open(&log.path)?;
        Ok(true)
    }

    /// What somebody who sees only standard error should know: the last error that went to a file, or the last warning
    /// if there is no error.
    pub(crate) fn unseen_complaint(&self) -> Option<String> {
        self.0.file.as_ref()?;
        self.0.complaint().take().map(|(_, text)| text)
    }

    /// The last warnings and errors, the latest first.
    pub(crate) fn recent(&self) -> Vec<Line> {
        self.0.recent().iter().cloned().collect()
    }

    /// Whether a line is missing in the file of `--log`.
    pub(crate) fn has_failed(&self) -> bool {
        self.0.file.as_ref().is_some_and(|log| log.has_failed.load(Ordering::Relaxed))
    }
}

impl State {
    fn remember(&self, record: &Record<'_>) {
        if record.level() <= Level::Warn {
            let mut text = record.args().to_string();
            if let Some((end, _)) = text.char_indices().nth(RECENT_CHARS) {
                text.truncate(end);
                text.push('…');
            }
            let mut recent = self.recent();
            recent.truncate(RECENT_LINES - 1);
            recent.push_front(Line { at: Timestamp::now(), level: record.level(), text });
        }
        let mut last = self.complaint();
        // Error is the least of the levels.
        let least = last.as_ref().map_or(Level::Warn, |(level, _)| *level);
        if record.level() <= least {
            let mut text = record.args().to_string();
            // A line about a file may have the file's name in the line before it.
            if let Some(file) = record.key_values().get(Key::from("file")).map(|file| file.to_string())
                && !text.contains(&file)
            {
                text = format!("{file}: {text}");
            }
            *last = Some((record.level(), text));
        }
    }

    fn recent(&self) -> MutexGuard<'_, VecDeque<Line>> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn complaint(&self) -> MutexGuard<'_, Option<(Level, String)>> {
        self.complaint.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    fn open(path: &Path) -> Result<Self> {
        let file = Mutex::new(open(path)?);
        Ok(Self { path: path.to_owned(), file, has_failed: AtomicBool::new(false) })
    }

    fn lock(&self) -> MutexGuard<'_, File> {
        self.file.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open(path: &Path) -> Result<File> {
    let file = File::options().append(true).create(true).open(path);
    file.with_context(|| format!("cannot open the log file '{}'", shown(path)))
}

/// Writes to the file. A line that cannot be written is lost; standard error says so once.
impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(log) = &self.0.file else { return Ok(bytes.len()) };
        let result = log.lock().write_all(bytes);
        if let Err(error) = result
            && !log.has_failed.swap(true, Ordering::Relaxed)
        {
            complain(format_args!(
                "cannot write to the log file '{}': {error}; lines of the log are missing",
                shown(&log.path)
            ));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes a line to standard error, beside the log.
pub(crate) fn complain(text: impl std::fmt::Display) {
    // It may be closed.
    let _ = writeln!(io::stderr(), "memc-load: {text}");
}

/// Logs the error that ends the program, and writes it to standard error if the log goes to a file: who started the
/// program looks there, and the file may not even exist.
pub(crate) fn fail(args: &Args, error: &anyhow::Error) {
    log::error!("{error:#}");
    if args.log.is_some() {
        complain(format_args!("{error:#}"));
    }
}

/// The line as the script wrote it.
fn text(record: &Record<'_>) -> String {
    let time = Zoned::now().strftime("%Y.%m.%d %H:%M:%S");
    let mut line = format!("[{time}] {} ", letter(record.level()));
    // A file's name may have a line end in it, which must not look like the end of a log line.
    for letter in record.args().to_string().chars() {
        if letter.is_control() { line.extend(letter.escape_default()) } else { line.push(letter) }
    }
    line
}

pub(crate) fn letter(level: Level) -> char {
    match level {
        Level::Error => 'E',
        Level::Warn => 'W',
        Level::Info => 'I',
        Level::Debug | Level::Trace => 'D',
    }
}

/// The line as a JSON object: `time`, `level`, `message`, and `file` and `server` where the line is about one.
fn json(record: &Record<'_>) -> String {
    let mut fields = Fields(Map::new());
    let mut time = String::new();
    // Writing to a string cannot fail.
    let _ = write!(time, "{}", Zoned::now().strftime("%Y-%m-%dT%H:%M:%S%.3f%:z"));
    fields.0.insert("time".to_owned(), time.into());
    fields.0.insert("level".to_owned(), record.level().as_str().to_lowercase().into());
    fields.0.insert("message".to_owned(), record.args().to_string().into());
    // Adding to a map cannot fail.
    let _ = record.key_values().visit(&mut fields);
    Json::Object(fields.0).to_string()
}

/// The fields of a JSON line.
struct Fields(Map<String, Json>);

impl<'kvs> VisitSource<'kvs> for Fields {
    fn visit_pair(&mut self, key: Key<'kvs>, value: Value<'kvs>) -> Result<(), kv::Error> {
        self.0.insert(key.as_str().to_owned(), value.to_string().into());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_line_is_one_line() {
        let line = text(&Record::builder().level(Level::Warn).args(format_args!("a\nb\tü\r")).build());
        assert!(line.ends_with(r"] W a\nb\tü\r"), "{line}");
    }

    #[test]
    fn a_json_line_has_the_fields_of_its_message() -> Result<()> {
        let fields = [("file", "1.gz"), ("server", "h:1")];
        let args = format_args!("two \"quoted\"\nlines");
        let line = json(&Record::builder().level(Level::Error).args(args).key_values(&fields).build());
        assert!(!line.contains('\n'), "{line}");
        let fields: Map<String, Json> = serde_json::from_str(&line)?;
        assert_eq!(fields["message"], "two \"quoted\"\nlines");
        assert_eq!(
            (&fields["level"], &fields["file"], &fields["server"]),
            (&"error".into(), &"1.gz".into(), &"h:1".into())
        );
        let time = fields["time"].as_str().context("text")?;
        assert!(time.parse::<Timestamp>().is_ok(), "{time}");
        assert_eq!(fields.len(), 5);
        Ok(())
    }

    #[test]
    fn the_last_error_is_remembered_and_a_warning_only_before_there_is_one() {
        let state = State { file: None, complaint: Mutex::default(), recent: Mutex::default() };
        for (level, text, expected) in [
            (Level::Info, "info", None),
            (Level::Warn, "warning", Some("1.gz: warning")),
            (Level::Info, "info", Some("1.gz: warning")),
            (Level::Error, "of 1.gz", Some("of 1.gz")),
            (Level::Warn, "later warning", Some("of 1.gz")),
            (Level::Error, "last", Some("1.gz: last")),
        ] {
            let fields = [("file", "1.gz")];
            state.remember(
                &Record::builder().level(level).args(format_args!("{text}")).key_values(&fields).build(),
            );
            assert_eq!(state.complaint().as_ref().map(|(_, text)| text.as_str()), expected);
        }
    }
}
