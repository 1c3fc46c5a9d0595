//! Log lines as the old script wrote them: `[2017.09.29 12:39:52] I text`.

use std::fs::File;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use env_logger::{Builder, Target};
use indicatif::ProgressBar;
use jiff::Zoned;
use log::{Level, LevelFilter};

use crate::inputs::name::shown;
use crate::output::progress::AboveBar;

/// Logs from `level` on to the end of `file`, or to standard error above the bar, in local time.
pub(crate) fn start(file: Option<&Path>, level: LevelFilter, bar: &ProgressBar) -> Result<()> {
    let target = match file {
        None if bar.is_hidden() => Target::Stderr,
        None => Target::Pipe(Box::new(AboveBar(bar.clone()))),
        Some(path) => {
            let file = File::options().append(true).create(true).open(path);
            Target::Pipe(Box::new(
                file.with_context(|| format!("cannot open the log file '{}'", shown(path)))?,
            ))
        }
    };
    Builder::new()
        // Of this program only: what libraries have to say comes to us as errors.
        .filter_module(env!("CARGO_CRATE_NAME"), level)
        .format(|out, record| {
            let time = Zoned::now().strftime("%Y.%m.%d %H:%M:%S").to_string();
            writeln!(out, "[{time}] {} {}", letter(record.level()), record.args())
        })
        .target(target)
        .try_init()
        .context("cannot start the log")
}

fn letter(level: Level) -> char {
    match level {
        Level::Error => 'E',
        Level::Warn => 'W',
        Level::Info => 'I',
        Level::Debug | Level::Trace => 'D',
    }
}
