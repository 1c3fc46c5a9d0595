//! `memc-load get`: the records as readers find them.

use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Context, Result, ensure};

use crate::args::{Args, routes};
use crate::ops::client::Readers;
use crate::ops::stdout::Output;
use crate::output::messages;

/// The exit code when a record is missing.
const MISSING: u8 = 1;

/// The longest key that memcached takes.
const MAX_KEY_BYTES: usize = 250;

/// Shows each record; the exit code says whether all were there.
pub(super) fn run(keys: &[OsString], args: &Args, out: &mut Output) -> Result<u8> {
    let mut readers = Readers::new(args.timeout);
    let mut exit_code = 0;
    for key in keys.iter().map(|key| key.as_bytes()) {
        let name = key.escape_ascii();
        ensure!(is_key(key), "'{name}' is no key: 1 to {MAX_KEY_BYTES} bytes without white space");
        let route = routes::of_key(&args.routes, key).with_context(|| {
            let types: Vec<_> = args.routes.iter().map(|route| route.device_type.as_str()).collect();
            format!("'{name}' has no device type with a server: {} and a colon", types.join(", "))
        })?;
        let at = route.group.server(key);
        let address = &route.group.servers()[at].address;
        if route.is_list() {
            let (option, distribution) = (route.option_of(at), route.group.distribution());
            log::info!("{address} - {name}: {option} by {distribution}: {}", route.group.choice(key));
        }
        let mut found = None;
        readers.of(address)?.read(&[key], |_, value| found = value)?;
        if let Some(value) = found {
            let line = messages::record_line(address, key, &value);
            out.line(line.unwrap_or_else(|escaped| escaped))?;
        } else {
            log::error!("{address} - {name}: no such record");
            exit_code = MISSING;
        }
    }
    Ok(exit_code)
}

/// Whether it is one key to memcached, and nothing but a key.
fn is_key(key: &[u8]) -> bool {
    (1..=MAX_KEY_BYTES).contains(&key.len()) && key.iter().all(|&byte| byte > 32 && byte != 127)
}
