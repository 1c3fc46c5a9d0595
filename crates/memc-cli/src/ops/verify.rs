//! `memc-load verify`: whether the servers hold what the files say.

use std::collections::HashMap;
use std::path::PathBuf;

use anyhow::{Context, Result, ensure};
use memc_core::apps::AppsEncoder;
use memc_core::{Event, Input, Loader, Options};

use crate::args::Args;
use crate::inputs::source;
use crate::ops::client::Readers;
use crate::ops::spill::{Expected, Keys, Spill, hash};
use crate::ops::stdout::Output;

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

/// Reads the files, then every key of them back, and compares.
pub(super) fn run(files: &[PathBuf], args: &Args, out: &mut Output) -> Result<u8> {
    let mut files = files.to_vec();
    source::sort(&mut files);
    let mut spill = Spill::new(MAX_KEY_BYTES)?;
    let rejected = collect(&files, args, &mut spill)?;
    log::info!("Reading the keys back");
    let mut counts = Counts::default();
    let mut readers = Readers::new(args.timeout);
    spill.each(&mut |keys| compare(&keys, args, &mut readers, &mut counts))?;
    if rejected > 0 {
        log::info!("{rejected} lines skipped: a load rejects them too");
    }
    let Counts { same, different, missing } = counts;
    let keys = same + different + missing;
    out.line(format_args!("{keys} keys: {same} same, {different} different, {missing} missing"))?;
    Ok(if same == keys { 0 } else { NOT_THE_SAME })
}

/// Puts what a load would store into `spill`; returns how many lines it would reject.
fn collect(files: &[PathBuf], args: &Args, spill: &mut Spill) -> Result<u64> {
    let mut options = Options::default();
    options.threads = args.threads();
    // A dry run has nothing to wait for, so little of it need be in memory.
    options.chunk_bytes = 256 * 1024;
    options.max_bytes_in_flight = 4 * 1024 * 1024;
    let (types, servers): (Vec<_>, Vec<_>) =
        args.routes.iter().cloned().map(|route| (route.device_type, route.server)).unzip();
    let loader = Loader::new(AppsEncoder::new(types), servers, options);
    let stop = loader.stop_handle();
    let mut error = None;
    let report = loader.dry_run(
        files.iter().map(Input::path),
        |record| {
            let server = u16::try_from(record.group).unwrap_or(u16::MAX);
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

/// Reads these keys back from their servers.
fn compare(keys: &Keys, args: &Args, readers: &mut Readers, counts: &mut Counts) -> Result<()> {
    let mut of_servers: HashMap<u16, Vec<&[u8]>> = HashMap::new();
    for (key, expected) in keys {
        of_servers.entry(expected.server).or_default().push(key);
    }
    for (server, keys_of_server) in of_servers {
        let route = args.routes.get(usize::from(server)).context("it is the server of a route")?;
        let mut answered = 0;
        readers.of(&route.server)?.read(&keys_of_server, |key, value| {
            answered += 1;
            let (count, word) = match value {
                None => (&mut counts.missing, "missing"),
                Some(value) if hash(&value) == keys[key].value => (&mut counts.same, ""),
                Some(_) => (&mut counts.different, "different"),
            };
            *count += 1;
            if !word.is_empty() && *count <= NAMED {
                log::warn!("{} - {}: {word}", route.server, key.escape_ascii());
            }
        })?;
        ensure!(answered == keys_of_server.len(), "{} has not answered for all keys", route.server);
    }
    Ok(())
}
