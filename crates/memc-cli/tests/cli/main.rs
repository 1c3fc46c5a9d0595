//! The binary `memc-load` from outside, against real servers: its options, its log, its files, its exit codes.

mod broken;
mod changes;
mod check;
mod chronology;
mod dry;
mod files;
mod follow;
mod get;
mod inputs;
mod killed;
mod kinds;
mod loading;
mod locks;
mod logging;
mod lost;
mod options;
mod outputs;
mod rejects;
mod run;
mod servers;
mod signals;
mod terminal;
mod variables;
mod verify;
mod workdir;
