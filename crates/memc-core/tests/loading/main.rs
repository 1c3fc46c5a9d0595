//! Tests of whole loads, against real memcached processes.
//!
//! - `content`: the servers hold what the model says, at any number of threads.
//! - `faults`: connections that break in any way, behind a proxy.
//! - `outages`: servers that are away for a while or for ever.
//! - `rules`: any line leads to what the model says (dry, so without servers).
//! - `late`: sets that arrive late, by way of something that holds them.
//! - `secured`: servers with authentication and TLS.
//! - `forgetful`: servers that are restarted, full, or refuse.
//! - `groups`: several servers for one type of record.
//! - `kept`: flags, and when records expire.
//! - `proxies`: what speaks the classic protocol only.
//! - `slow`: inputs that come slowly, and callers that are slow.
//! - `stops`: what stops a load, and what is finished by then.
//! - `threads`: whose threads do the work.
//! - `examples`: what the examples do.

mod content;
mod disturbed;
mod examples;
mod faults;
mod forgetful;
mod groups;
mod kept;
mod late;
mod outages;
mod progress;
mod proxies;
mod rules;
mod secured;
mod slow;
mod standin;
mod stops;
mod threads;

use std::collections::BTreeMap;
use std::error::Error;
use std::io;

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Counts, Event, Input, Loader, Options};
use memc_testkit::{DEVICE_TYPES, Memcached, Model, difference};

type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// A server for each device type.
struct Servers(Vec<Memcached>);

impl Servers {
    fn start(options: &[&str]) -> io::Result<Self> {
        DEVICE_TYPES.iter().map(|_| Memcached::start(options)).collect::<io::Result<_>>().map(Self)
    }

    fn loader(&self, options: Options) -> Result<Loader<AppsEncoder>> {
        let addresses: std::result::Result<Vec<Address>, _> =
            self.0.iter().map(|server| server.address().parse()).collect();
        Ok(Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses?, options))
    }

    /// Fails with the first difference.
    fn assert_hold(&self, model: &Model) -> Result {
        for (server, name) in self.0.iter().zip(DEVICE_TYPES) {
            assert_eq!(difference(&server.contents()?, &model.servers[name]), None, "{name}");
        }
        Ok(())
    }
}

/// Options under which many chunks are in flight even of small inputs.
fn small_chunks(chunk_bytes: usize) -> Options {
    let mut options = Options::default();
    options.chunk_bytes = chunk_bytes;
    options.retry_timeout = std::time::Duration::from_millis(500);
    options
}

fn input(name: &str, bytes: impl Into<Vec<u8>>) -> Input {
    Input::bytes(name, bytes.into())
}

/// Takes no notice of events.
fn ignore(_: Event) -> memc_core::EventResult {
    Ok(())
}

/// The counts as the model names them.
fn assert_counts(counts: &Counts, model: &Model) {
    let rejected: BTreeMap<_, _> =
        counts.rejected.iter().map(|(reason, count)| (reason.name(), *count)).collect();
    assert_eq!(rejected, model.rejected);
    assert_eq!((counts.loaded, counts.dropped_total()), (model.loaded, model.dropped));
}
