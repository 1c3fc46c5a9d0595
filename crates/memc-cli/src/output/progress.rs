//! How far the run is, in two lines at the bottom of a terminal; the first of them goes to the service manager too.

use std::collections::BTreeSet;
use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{HumanDuration, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use memc_core::ProgressHandle;

use crate::args::{Args, ShowProgress};
use crate::output::service::Service;

/// The file in progress, and below it the whole run.
const TEMPLATE: &str =
    "{wide_msg}\n[{wide_bar}] {binary_bytes} of {binary_total_bytes}, {records_per_second} records/s, {left}";

/// How often they are drawn again.
const TICK: Duration = Duration::from_millis(100);

/// The bar of this process, not to be seen before [`Shown::start`], and never where it would only be in the
/// way.
pub(crate) fn bar(args: &Args) -> ProgressBar {
    let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    let terminal = io::stderr().is_terminal() && !dumb;
    // The records that a dry run logs show how far it is.
    let covered = args.dry && args.log.is_none();
    if args.progress == ShowProgress::Never || !terminal || covered {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    bar.finish_and_clear();
    bar
}

/// Standard error, with the bar out of the way while something is written.
#[derive(Debug)]
pub(crate) struct AboveBar(pub(crate) ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The bar of a load, kept up to date by a thread; gone when this is dropped.
#[derive(Debug)]
pub(crate) struct Shown {
    bar: ProgressBar,
    service: Service,
    files: usize,
    /// The file in progress, with its place among the files.
    file: String,
    /// The servers that are waited for.
    away: BTreeSet<String>,
    /// Whether there is any.
    waits: Arc<AtomicBool>,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Shown {
    /// Shows a load of these files, which are the last ones of `total`.
    pub(crate) fn start(
        bar: &ProgressBar,
        service: &Service,
        progress: ProgressHandle,
        files: &[PathBuf],
        total: usize,
    ) -> Result<Self> {
        let mut shown = Self {
            bar: bar.clone(),
            service: service.clone(),
            files: total,
            file: String::new(),
            away: BTreeSet::new(),
            waits: Arc::default(),
            thread: None,
        };
        if bar.is_hidden() {
            return Ok(shown);
        }
        let style = ProgressStyle::with_template(TEMPLATE)?.progress_chars("=> ");
        let style = style.with_key("records_per_second", pace(progress.clone()));
        bar.set_style(style.with_key("left", time_left(Arc::clone(&shown.waits))));
        // A file that cannot be looked at will stop the load in its turn.
        bar.set_length(files.iter().filter_map(|path| path.metadata().ok()).map(|it| it.len()).sum());
        bar.reset();
        let (end, ended) = mpsc::channel();
        let bar = bar.clone();
        let ticking = move || {
            while ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                bar.update(|state| state.set_pos(progress.bytes_in()));
            }
        };
        let thread =
            thread::Builder::new().spawn(ticking).context("cannot start the progress bar's thread")?;
        shown.thread = Some((end, thread));
        Ok(shown)
    }

    /// This file is in progress, after `done` ones that are done.
    pub(crate) fn file(&mut self, name: &str, done: usize) {
        self.file = format!("{name} ({} of {})", done + 1, self.files);
        self.show();
    }

    /// This server is waited for from now on, or no longer.
    pub(crate) fn server(&mut self, server: &str, is_away: bool) {
        if is_away {
            self.away.insert(server.to_owned());
        } else {
            self.away.remove(server);
        }
        self.show();
    }

    fn show(&self) {
        self.waits.store(!self.away.is_empty(), Ordering::Relaxed);
        let text = text(&self.file, &self.away);
        self.service.status(format_args!("loading {text}"));
        self.bar.set_message(text);
    }
}

/// The file in progress, and what it waits for.
fn text(file: &str, away: &BTreeSet<String>) -> String {
    let servers: Vec<_> = away.iter().map(String::as_str).collect();
    let waits = if servers.is_empty() { "" } else { ": waiting for " };
    format!("{file}{waits}{}", servers.join(", "))
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // It ends in any case, and returns nothing.
            let _ = thread.join();
            self.bar.finish_and_clear();
        }
    }
}

/// Records a second. The bar's own pace, that of the last seconds, is in bytes.
#[expect(clippy::cast_precision_loss, reason = "a pace needs no more than 53 bits of a count")]
fn pace(
    progress: ProgressHandle,
) -> impl Fn(&ProgressState, &mut dyn fmt::Write) + Clone + Send + Sync + 'static {
    move |state, out| {
        let records_per_byte = progress.records() as f64 / state.pos().max(1) as f64;
        // The only error is that of a full string, which there is not.
        let _ = write!(out, "{:.0}", state.per_sec() * records_per_byte);
    }
}

/// The time that is left at the pace of the last seconds, if there is one.
fn time_left(
    waits: Arc<AtomicBool>,
) -> impl Fn(&ProgressState, &mut dyn fmt::Write) + Clone + Send + Sync + 'static {
    move |state, out| {
        // The only error is that of a full string, which there is not.
        let _ = match (waits.load(Ordering::Relaxed), state.per_sec() > 0.0) {
            (true, _) => write!(out, "waiting"),
            (false, true) => write!(out, "{:#} left", HumanDuration(state.eta())),
            (false, false) => write!(out, "? left"),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_server_that_is_waited_for_is_shown() {
        let mut away = BTreeSet::new();
        assert_eq!(text("1.gz (1 of 2)", &away), "1.gz (1 of 2)");
        away.extend(["h:2 (--gaid)".to_owned(), "h:1 (--idfa)".to_owned()]);
        assert_eq!(text("1.gz (1 of 2)", &away), "1.gz (1 of 2): waiting for h:1 (--idfa), h:2 (--gaid)");
    }
}
