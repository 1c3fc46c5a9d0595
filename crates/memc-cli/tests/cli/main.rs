//! The binary `memc-load` from outside, against real servers: its options, its log, its files, its exit codes.

mod away;
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
mod metrics;
mod options;
mod outputs;
mod rejects;
mod run;
mod servers;
mod service;
mod signals;
mod terminal;
mod variables;
mod workdir;
