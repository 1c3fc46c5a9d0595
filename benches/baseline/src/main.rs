//! `memc-baseline`: memc-load, the script that it replaces and the floor under a load, measured in turns.
//!
//! `benches/baseline/run` builds and starts it with all that it needs.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table for the reader, progress for who waits"
)]

mod contest;
mod figures;
mod logs;
mod picture;
mod setting;
mod table;

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;

use crate::contest::Contest;
use crate::figures::Figures;
use crate::logs::Logs;
use crate::setting::Setting;

/// Measures memc-load against the old way and the floor, and prints a Markdown table.
#[derive(Debug, Parser)]
struct Args {
    /// The log to load (one gzip member), or the number of records to make one of
    #[arg(value_name = "FILE|RECORDS", default_value = "1000000")]
    log: String,

    /// How often each is run
    #[arg(long, value_name = "N", default_value = "7", value_parser = clap::value_parser!(u32).range(1..))]
    rounds: u32,

    /// Draw the picture into this file
    #[arg(long, value_name = "FILE", default_value = "docs/speed.svg")]
    picture: PathBuf,
}

fn main() -> Result<()> {
    let args = Args::parse();
    eprintln!("Making everything ready");
    let logs = Logs::prepare(&args.log)?;
    let setting = Setting::new(&logs, args.rounds)?;
    let runs = Contest::start(logs)?.measure(&setting)?;
    let figures = Figures::of(&runs);
    println!("{}", table::markdown(&setting, &figures));
    picture::draw(&setting, &figures, &args.picture)
        .with_context(|| format!("cannot draw '{}'", args.picture.display()))
}
