//! What the program does instead of a load: the commands `check`, `get`, `verify` and `top`.

mod check;
mod client;
mod estimate;
mod get;
mod spill;
mod stdout;
mod top;
mod verify;

use std::process::ExitCode;

use anyhow::Result;
use indicatif::ProgressBar;

use crate::args::{self, Args, Operation, variables};
use crate::ops::stdout::Output;
use crate::output;
use crate::output::log::Log;

/// The exit code of a process that a closed pipe has ended, as a shell shows it: 128 and SIGPIPE.
const CLOSED_PIPE: u8 = 141;

/// Does what the operation asks for: results go to standard output, errors to the log.
pub(crate) fn run(operation: &Operation, args: &Args) -> ExitCode {
    let result = Log::start(args, &ProgressBar::hidden()).and_then(|log| {
        variables::warn_of_unknown(&args::command());
        let exit_code = operate(operation, args)?;
        if exit_code > 0
            && let Some(text) = log.unseen_complaint()
        {
            output::log::complain(text);
        }
        Ok(exit_code)
    });
    match result {
        Ok(exit_code) => ExitCode::from(exit_code),
        // Who reads has seen enough, such as `head`.
        Err(error) if stdout::is_closed_pipe(&error) => ExitCode::from(CLOSED_PIPE),
        Err(error) => {
            output::log::fail(args, &error);
            ExitCode::FAILURE
        }
    }
}

/// The exit code; an error means that the operation could not be done.
fn operate(operation: &Operation, args: &Args) -> Result<u8> {
    let mut out = Output::new();
    match operation {
        Operation::Check { .. } => check::run(args, &mut out),
        Operation::Get { keys } => get::run(keys, args, &mut out),
        Operation::Verify { files } => verify::run(files, args, &mut out),
        Operation::Top { url } => top::run(url).map(|()| 0),
    }
}
