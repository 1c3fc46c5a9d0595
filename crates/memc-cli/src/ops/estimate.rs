//! How much memory the records of a file take on each server, estimated from its beginning.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use anyhow::{Context, Result};
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Input, Loader, Options};

use crate::args::routes::{self, Route};
use crate::inputs::name::shown;

/// Bytes of the file that are looked at.
const SAMPLE_BYTES: u64 = 1024 * 1024;

/// What an item takes in a memcached besides its key and value: 48 bytes of header, 8 of version, three ends.
const ITEM_BYTES: u64 = 59;

/// Items are kept in pieces of a few fixed sizes, each up to 25 % larger than the one before.
const SPARE_ROOM: f64 = 1.125;

/// The bytes that the file's records take on each server, if none of their keys is there yet.
pub(super) fn memory(file: &Path, routes: &[Route]) -> Result<HashMap<Address, u64>> {
    let problem = || format!("cannot read '{}'", shown(file));
    let log = File::open(file).with_context(problem)?;
    let length = log.metadata().with_context(problem)?.len();
    let (types, groups) = routes::unzip(routes);
    let mut options = Options::default();
    options.chunk_bytes = 64 * 1024;
    let loader = Loader::new(AppsEncoder::new(types), groups, options);
    let mut bytes: Vec<Vec<u64>> = routes.iter().map(|route| vec![0; route.addresses().count()]).collect();
    let sample = Input::reader(shown(file).to_string(), log.take(SAMPLE_BYTES));
    // The sample of a longer file ends early. What has been read until then counts.
    let result = loader.dry_run(
        [sample],
        |record| {
            bytes[record.group][record.server] += (record.key.len() + record.value.len()) as u64 + ITEM_BYTES;
        },
        |_| Ok(()),
    );
    if length <= SAMPLE_BYTES {
        result?;
    }
    #[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 53 bits")]
    let scale = SPARE_ROOM * length as f64 / length.clamp(1, SAMPLE_BYTES) as f64;
    let mut of_servers = HashMap::new();
    for (address, bytes) in routes.iter().flat_map(Route::addresses).zip(bytes.into_iter().flatten()) {
        #[expect(clippy::cast_precision_loss, reason = "an estimate needs no more than 53 bits")]
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "it is a positive number"
        )]
        let bytes = (bytes as f64 * scale) as u64;
        *of_servers.entry(address.clone()).or_default() += bytes;
    }
    Ok(of_servers)
}
