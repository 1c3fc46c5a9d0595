//! Standard output, for results.

use std::fmt;
use std::io::{self, ErrorKind, Write};

use anyhow::{Context, Result};

/// Where results go, a line at a time.
#[derive(Debug)]
pub(super) struct Output(io::Stdout);

impl Output {
    pub(super) fn new() -> Self {
        Self(io::stdout())
    }

    /// Writes a line.
    pub(super) fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.0, "{line}").context("cannot write to standard output")
    }
}

/// Whether it is the error of an [`Output`] whose reader has closed it.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}
