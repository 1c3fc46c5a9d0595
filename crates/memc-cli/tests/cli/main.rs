//! The binary `memc-load` from outside, against real servers: its options, its log, its files, its exit codes.

mod broken;
mod chronology;
mod dry;
mod inputs;
mod killed;
mod loading;
mod logging;
mod options;
mod rejects;
mod run;
mod servers;
mod signals;
mod workdir;
