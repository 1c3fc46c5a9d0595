//! What `--listen` serves to those who watch the process: a page, its figures, whether it is alive and ready.

pub(crate) mod history;
mod http;
pub(crate) mod listener;
pub(crate) mod live;
mod look;
pub(crate) mod status;
pub(crate) mod watched;

use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use memc_core::Loader;
use memc_core::apps::AppsEncoder;

use crate::watch::http::Server;
use crate::watch::listener::{Listener, SocketFile};
use crate::watch::watched::Watched;

/// Serves until the process ends, on threads of its own. `checker` asks the servers how they are. Returns the file of a
/// Unix socket, which is to be dropped at the end.
pub(crate) fn start(
    listener: Listener,
    watched: Watched,
    checker: Loader<AppsEncoder>,
) -> Result<Option<SocketFile>> {
    let (server, file) = Server::new(listener).context("option --listen")?;
    let watched = Arc::new(watched);
    let (sampled, looked, asked) = (Arc::clone(&watched), Arc::clone(&watched), Arc::clone(&watched));
    // A dry run needs no servers.
    let ask_servers = move || {
        if !asked.args.dry {
            look::ask_servers(&asked.live, &checker);
        }
    };
    for (name, work) in [
        ("watch: http", Box::new(move || server.run(watched)) as Box<dyn FnOnce() + Send>),
        ("watch: pace", Box::new(move || look::take_samples(&sampled.live))),
        // A folder, and a server, may keep who asks it waiting.
        ("watch: files", Box::new(move || look::count_files(&looked))),
        ("watch: servers", Box::new(ask_servers)),
    ] {
        let thread = thread::Builder::new().name(name.to_owned());
        thread.spawn(work).context("option --listen: cannot start its threads")?;
    }
    Ok(file)
}
