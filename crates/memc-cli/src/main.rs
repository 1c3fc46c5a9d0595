//! `memc-load`: finds the logs, has memc-core load them, renames each when it is done.

mod args;
mod cluster;
mod follow;
mod inputs;
mod load;
mod ops;
mod output;
mod run;
mod watch;

use std::process::ExitCode;

use crate::args::{Args, man};
use crate::inputs::own_outputs;
use crate::run::{panics, signals};

fn main() -> ExitCode {
    panics::set_hook();
    let args = Args::from_command_line();
    if let Some(printed) = man::print(&args) {
        return if printed.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE };
    }
    if let Err(text) = own_outputs::check(args.source(), args.output_files(), args.on_broken.folder()) {
        args::exit_for_wrong_usage(text);
    }
    signals::survive_file_size_limit();
    match &args.command {
        Some(operation) => ops::run(operation, &args),
        None => load::run(&args),
    }
}
