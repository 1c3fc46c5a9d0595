//! What the tests, benches and scripts of this workspace share. Not published.
//!
//! - [`Browser`]: a headless Chromium, and what it shows.
//! - [`Floor`]: the least that loading a file can cost on this machine.
//! - [`Memcached`]: a real server on a free port, stopped when it is dropped.
//! - [`Model`]: what the servers must hold after a load, by the rules written plainly and slowly; it shares
//!   no code with memc-core.
//! - [`Port`]: a free port that stays free for who is to listen on it.
//! - [`Proxy`]: stands between a loader and a server, and breaks their connections on request.
//! - [`Relay`]: a proxy that holds what it has read, and delivers it at its pace, even when its client is gone.
//! - [`Sample`]: minute files of the real shape, the same ones for the same seed.
//! - [`Twemproxy`]: a real twemproxy in front of servers.

mod acceptor;
mod browser;
mod floor;
mod memcached;
mod model;
mod port;
mod proxy;
mod relay;
mod sample;
mod twemproxy;

pub use browser::Browser;
pub use floor::Floor;
pub use memcached::{Contents, Item, Memcached, difference};
pub use model::Model;
pub use port::Port;
pub use proxy::{Fault, Proxy};
pub use relay::{Close, Holding, Relay};
pub use sample::{Sample, gzip};
pub use twemproxy::Twemproxy;

/// The device types of the log, in the order in which tests give their servers.
pub const DEVICE_TYPES: [&str; 4] = ["idfa", "gaid", "adid", "dvid"];
