//! What the program does instead of a load: the commands `check`, `get` and `verify`.

mod check;
mod client;
mod estimate;
mod get;
mod spill;
mod verify;

use std::fmt;
use std::io::{self, Write};

use anyhow::{Context, Result};

use crate::args::{Args, Operation};

/// The exit code of a process that a closed pipe has ended, as a shell shows it: 128 and SIGPIPE.
const CLOSED_PIPE: u8 = 141;

/// Not all is as it should be.
const NOT_SOUND: u8 = 1;

/// Does what the operation asks for and returns the exit code; an error means that it could not be done.
pub(crate) fn run(operation: &Operation, args: &Args) -> Result<u8> {
    let mut out = Output(io::stdout());
    let result = match operation {
        Operation::Check { .. } => check::run(args, &mut out),
        Operation::Get { keys } => get::run(keys, args, &mut out),
        Operation::Verify { files } => verify::run(files, args, &mut out),
    };
    match result {
        // Who reads has seen enough, such as `head`.
        Err(error) if is_closed_pipe(&error) => Ok(CLOSED_PIPE),
        result => result,
    }
}

/// Standard output, a line at a time.
#[derive(Debug)]
struct Output(io::Stdout);

impl Output {
    fn line(&mut self, line: impl fmt::Display) -> Result<()> {
        writeln!(self.0, "{line}").context("cannot write to standard output")
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}
