//! `memc-load verify`: whether the servers hold what the files say.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Event, Input, Loader, Options};

use crate::args::Args;
use crate::args::routes::{self, Route};
use crate::inputs::source;
use crate::ops::client::Readers;
use crate::ops::spill::{Expected, Keys, Spill, hash};
use crate::ops::stdout::Output;
use crate::run::servers;

/// The exit code when some records differ or are missing.
const NOT_THE_SAME: u8 = 3;

/// Bytes of keys that are compared at a time.
const MAX_KEY_BYTES: usize = 12 * 1024 * 1024;

/// At most this many records of each kind are named in the log.
const NAMED: u64 = 10;

/// How many keys there are of each kind.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    same: u64,
    different: u64,
    missing: u64,
}

/// What was found, on all servers and on each by its address.
#[derive(Default)]
struct Found {
    counts: Counts,
    of_servers: BTreeMap<String, Counts>,
}

impl Counts {
    fn keys(&self) -> u64 {
        self.same + self.different + self.missing
    }

    /// Adds what has come to others between two moments.
    fn add(&mut self, before: &Self, after: &Self) {
        self.same += after.same - before.same;
        self.different += after.different - before.different;
        self.missing += after.missing - before.missing;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { same, different, missing } = self;
        write!(out, "{} keys: {same} same, {different} different, {missing} missing", self.keys())
    }
}

/// Reads the files, then every key of them back, and compares.
pub(super) fn run(files: &[PathBuf], args: &Args, out: &mut Output) -> Result<u8> {
    let mut files = files.to_vec();
    source::sort(&mut files);
    let mut spill = Spill::new(MAX_KEY_BYTES)?;
    let rejected = collect(&files, args, &mut spill)?;
    log::info!("Reading the keys back");
    let mut found = Found::default();
    let mut readers = Readers::new(args.timeout);
    let servers = Servers::of(&args.routes);
    spill.each(&mut |keys| compare(&keys, &servers, &mut readers, &mut found))?;
    if rejected > 0 {
        log::info!("{rejected} lines skipped: a load rejects them too");
    }
    let Found { counts, of_servers } = found;
    for server in servers::of(&args.routes).iter().filter(|server| !server.shares.is_empty()) {
        if let Some(of_server) = of_servers.get(&server.address) {
            log::info!("{server}: {of_server}; {}", server.share_text().unwrap_or_default());
        }
    }
    out.line(format_args!("{counts}"))?;
    Ok(if counts.same == counts.keys() { 0 } else { NOT_THE_SAME })
}

/// Puts what a load would store into `spill`; returns how many lines it would reject.
fn collect(files: &[PathBuf], args: &Args, spill: &mut Spill) -> Result<u64> {
    let mut options = Options::default();
    options.threads = args.threads();
    // A dry run has nothing to wait for, so little of it need be in memory.
    options.chunk_bytes = 256 * 1024;
    options.max_bytes_in_flight = 4 * 1024 * 1024;
    let (types, groups) = routes::unzip(&args.routes);
    let loader = Loader::new(AppsEncoder::new(types), groups, options);
    let servers = Servers::of(&args.routes);
    let stop = loader.stop_handle();
    let mut error = None;
    let report = loader.dry_run(
        files.iter().map(Input::path),
        |record| {
            let server = servers.index(record.group, record.server);
            let expected = Expected { server, value: hash(record.value) };
            if error.is_none()
                && let Err(failed) = spill.add(record.key, expected)
            {
                error = Some(failed);
                stop.request();
            }
        },
        |event| {
            if let Event::InputStarted { name, .. } = event {
                log::info!("Reading {name}");
            }
            Ok(())
        },
    );
    match (error, report) {
        (Some(error), _) => Err(error),
        (None, report) => Ok(report?.counts.rejected_total()),
    }
}

/// The servers of all routes in a row.
struct Servers<'a> {
    addresses: Vec<&'a Address>,
    /// Where those of each route start.
    starts: Vec<usize>,
}

impl<'a> Servers<'a> {
    fn of(routes: &'a [Route]) -> Self {
        let mut servers = Self { addresses: Vec::new(), starts: Vec::new() };
        for route in routes {
            servers.starts.push(servers.addresses.len());
            servers.addresses.extend(route.addresses());
        }
        servers
    }

    fn index(&self, route: usize, server: usize) -> u16 {
        u16::try_from(self.starts[route] + server).unwrap_or(u16::MAX)
    }
}

/// Reads these keys back from their servers.
fn compare(keys: &Keys, servers: &Servers<'_>, readers: &mut Readers, found: &mut Found) -> Result<()> {
    let mut of_servers: HashMap<u16, Vec<&[u8]>> = HashMap::new();
    for (key, expected) in keys {
        of_servers.entry(expected.server).or_default().push(key);
    }
    for (server, keys_of_server) in of_servers {
        let address = servers.addresses.get(usize::from(server)).context("it is the server of a route")?;
        let before = found.counts;
        let counts = &mut found.counts;
        let mut answered = 0;
        readers.of(address)?.read(&keys_of_server, |key, value| {
            answered += 1;
            let (count, word) = match value {
                None => (&mut counts.missing, "missing"),
                Some(value) if hash(&value) == keys[key].value => (&mut counts.same, ""),
                Some(_) => (&mut counts.different, "different"),
            };
            *count += 1;
            if !word.is_empty() && *count <= NAMED {
                log::warn!("{address} - {}: {word}", key.escape_ascii());
            }
        })?;
        ensure!(answered == keys_of_server.len(), "{address} has not answered for all keys");
        found.of_servers.entry(address.to_string()).or_default().add(&before, &found.counts);
    }
    Ok(())
}
