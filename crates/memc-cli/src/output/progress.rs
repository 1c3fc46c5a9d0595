//! How far the run is, in two lines at the bottom of a terminal.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use anyhow::{Context, Result};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};
use memc_core::ProgressHandle;

use crate::args::{Args, ShowProgress};

/// The file in work, and below it the whole run.
const TEMPLATE: &str = "{wide_msg}\n[{wide_bar}] {binary_bytes} of {binary_total_bytes}, {records_per_second} records/s, {eta} left";

/// How often they are drawn anew.
const TICK: Duration = Duration::from_millis(100);

/// The bar of this process, not to be seen before [`Shown::start`], and never where it would only be in the
/// way.
pub(crate) fn bar(args: &Args) -> ProgressBar {
    let dumb = std::env::var_os("TERM").is_none_or(|terminal| terminal == "dumb");
    let terminal = io::stderr().is_terminal() && !dumb;
    // The records that a dry run logs tell how far it is.
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
    files: usize,
    thread: Option<(mpsc::Sender<()>, JoinHandle<()>)>,
}

impl Shown {
    /// Shows a load of these files, which are the last ones of `total`.
    pub(crate) fn start(
        bar: &ProgressBar,
        progress: ProgressHandle,
        files: &[PathBuf],
        total: usize,
    ) -> Result<Self> {
        let mut shown = Self { bar: bar.clone(), files: total, thread: None };
        if bar.is_hidden() {
            return Ok(shown);
        }
        let style = ProgressStyle::with_template(TEMPLATE)?.progress_chars("=> ");
        bar.set_style(style.with_key("records_per_second", pace(progress.clone())));
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

    /// This file is in work, after so many that are done.
    pub(crate) fn file(&self, name: &str, done: usize) {
        self.bar.set_message(format!("{name} ({} of {})", done + 1, self.files));
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        if let Some((end, thread)) = self.thread.take() {
            drop(end);
            // It ends in any case, and has nothing to tell.
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
