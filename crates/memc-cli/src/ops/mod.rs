//! What the program does instead of a load: the commands `check`, `get` and `verify`.

mod check;
mod client;
mod estimate;
mod get;
mod spill;
mod stdout;
mod verify;

use anyhow::Result;

use crate::args::{Args, Operation};
use crate::ops::stdout::Output;

/// The exit code of a process that a closed pipe has ended, as a shell shows it: 128 and SIGPIPE.
const CLOSED_PIPE: u8 = 141;

/// Does what the operation asks for and returns the exit code; an error means that it could not be done.
pub(crate) fn run(operation: &Operation, args: &Args) -> Result<u8> {
    let mut out = Output::new();
    let result = match operation {
        Operation::Check { .. } => check::run(args, &mut out),
        Operation::Get { keys } => get::run(keys, args, &mut out),
        Operation::Verify { files } => verify::run(files, args, &mut out),
    };
    match result {
        // Who reads has seen enough, such as `head`.
        Err(error) if stdout::is_closed_pipe(&error) => Ok(CLOSED_PIPE),
        result => result,
    }
}
