//! The binary `memc-load` from outside, against real servers: its options, its log, its files, its exit codes.

mod broken;
mod changes;
mod chronology;
mod dry;
mod follow;
mod inputs;
mod killed;
mod kinds;
mod loading;
mod locks;
mod logging;
mod lost;
mod names;
mod options;
mod outputs;
mod permissions;
mod quarantine;
mod rejects;
mod run;
mod servers;
mod signals;
mod terminal;
mod variables;
mod workdir;
