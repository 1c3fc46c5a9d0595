//! The way of readers to a server: the pooled client of the memcache crate.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::path;
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail, ensure};
use memc_core::Address;
use r2d2_memcache::memcache::exp::{Get, MetaClient};
use r2d2_memcache::memcache::{Client, ConnectionManager, Url};
use r2d2_memcache::r2d2::{Builder, Pool};

/// Keys that are asked for at once: even if each has a value of 1 MiB, memcached's default limit, the answer fits in
/// the memory that a command may take.
const KEYS_A_BATCH: usize = 32;

/// How many threads a pool of r2d2 starts.
const POOL_THREADS: usize = 3;

/// The servers that are read from, each connected when it is first asked.
pub(super) struct Readers {
    timeout: Duration,
    connected: HashMap<Address, Reader>,
}

impl Readers {
    /// None yet; [`Reader::connect`] says what `timeout` is for.
    pub(super) fn new(timeout: Duration) -> Self {
        Self { timeout, connected: HashMap::new() }
    }

    /// The one of a server.
    pub(super) fn of(&mut self, address: &Address) -> Result<&mut Reader> {
        match self.connected.entry(address.clone()) {
            Entry::Occupied(reader) => Ok(reader.into_mut()),
            Entry::Vacant(place) => Ok(place.insert(Reader::connect(address, self.timeout)?)),
        }
    }
}

/// A server to read from, over one connection.
pub(super) struct Reader {
    address: Address,
    timeout: Duration,
    client: Client,
    /// For keys that are not UTF-8, which the client cannot ask for; connected when there is one.
    of_bytes: Option<MetaClient>,
}

impl Reader {
    /// Connects; `timeout` is for the connection, and for any wait for the server after that.
    pub(super) fn connect(address: &Address, timeout: Duration) -> Result<Self> {
        let client = connect(address, timeout).with_context(|| format!("cannot read from {address}"))?;
        Ok(Self { address: address.clone(), timeout, client, of_bytes: None })
    }

    /// The version of the server.
    pub(super) fn version(&self) -> Result<String> {
        let versions = self.client.version()?;
        Ok(versions.into_iter().map(|(_, version)| version).collect())
    }

    /// Hands each key over with what the server holds under it, if anything, in any order. They must be keys that
    /// memcached takes.
    pub(super) fn read(
        &mut self,
        keys: &[&[u8]],
        mut each: impl FnMut(&[u8], Option<Vec<u8>>),
    ) -> Result<()> {
        let problem = |address: &Address| format!("cannot read from {address}");
        let mut texts = Vec::with_capacity(keys.len());
        let mut others = Vec::new();
        for key in keys {
            match str::from_utf8(key) {
                Ok(text) => texts.push(text),
                Err(_) => others.push(*key),
            }
        }
        for batch in texts.chunks(KEYS_A_BATCH) {
            let mut values: HashMap<String, Vec<u8>> =
                self.client.gets(batch).with_context(|| problem(&self.address))?;
            batch.iter().for_each(|key| each(key.as_bytes(), values.remove(*key)));
        }
        for batch in others.chunks(KEYS_A_BATCH) {
            let gets = batch.iter().map(Get::new);
            let values = self.of_bytes()?.run_many(gets).with_context(|| problem(&self.address))?;
            for (key, value) in batch.iter().zip(values) {
                each(key, value.with_context(|| problem(&self.address))?.value);
            }
        }
        Ok(())
    }

    fn of_bytes(&mut self) -> Result<&MetaClient> {
        if self.of_bytes.is_none() {
            let timeout = Some(self.timeout);
            let place = self.address.host_and_port();
            let place =
                place.filter(|_| !self.address.is_tls() && self.address.user_and_password().is_none());
            let place = place.with_context(|| {
                format!(
                    "{}: keys that are not UTF-8 can be read over TCP without TLS and password only, and not through a proxy",
                    self.address
                )
            })?;
            let client = MetaClient::builder().connect_timeout(timeout).io_timeout(timeout).connect(place)?;
            self.of_bytes = Some(client);
        }
        self.of_bytes.as_ref().context("it has just been made")
    }
}

fn connect(address: &Address, timeout: Duration) -> Result<Client> {
    let manager = ConnectionManager::new(url(address)?);
    let pool = Pool::builder()
        .max_size(1)
        .connection_timeout(timeout)
        // The one connection stays: the user and the timeouts are set on it, and an error ends its use.
        .max_lifetime(None)
        .idle_timeout(None)
        .test_on_check_out(false);
    let client = Client::with_pool(start(pool, manager)?)?;
    client.set_read_timeout(Some(timeout))?;
    client.set_write_timeout(Some(timeout))?;
    match (client.version(), address.user_and_password()) {
        // Not in the URL, whose user is sent to any server: one that does not ask stores the password as a record.
        (Err(error), Some((user, password))) if asks_for_password(&error.to_string()) => {
            let accepted = client.set("auth", format!("{user} {password}"), 0);
            accepted.map_err(|_| anyhow!("it does not accept user '{user}' with the given password"))?;
        }
        (Err(error), None) if asks_for_password(&error.to_string()) => {
            bail!("it asks for a user and a password: give user:password@host:port")
        }
        (version, _) => drop(version?),
    }
    Ok(client)
}

/// Starts a pool; the first use of its connection waits for that.
///
/// The pool's crate panics where a thread does not start. So it is tried with one more than it starts, while no other
/// pool is started.
fn start(pool: Builder<ConnectionManager>, manager: ConnectionManager) -> Result<Pool<ConnectionManager>> {
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let gate = Mutex::new(());
    thread::scope(|scope| {
        let _closed = gate.lock();
        for _ in 0..=POOL_THREADS {
            thread::Builder::new().spawn_scoped(scope, || drop(gate.lock()))?;
        }
        io::Result::Ok(())
    })
    .context("cannot start a thread: allow more of them (ulimit -u) or more memory (ulimit -v)")?;
    Ok(pool.build_unchecked(manager))
}

fn asks_for_password(error: &str) -> bool {
    error.starts_with("CLIENT_ERROR unauth")
}

/// The URL of a server as the client takes it, with the protocol that all servers and proxies speak.
fn url(address: &Address) -> Result<Url> {
    if let Some(path) = address.socket_path() {
        let path = path::absolute(path)?;
        let text = path.to_str().context("the client takes no path that is not UTF-8")?;
        let url = Url::parse(&format!("memcache+unix://{text}?protocol=ascii"))?;
        // It uses the path as the URL has it.
        ensure!(url.path() == text, "the client takes no path with such characters in it");
        return Ok(url);
    }
    let (host, port) = address.host_and_port().context("it has a host or a path")?;
    let scheme = if address.is_tls() { "memcache+tls" } else { "memcache" };
    let host = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    Ok(Url::parse(&format!("{scheme}://{host}:{port}?protocol=ascii"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_urls() -> Result<()> {
        for (address, expected) in [
            ("h:7", "memcache://h:7?protocol=ascii"),
            ("[::1]:7", "memcache://[::1]:7?protocol=ascii"),
            ("tls:ann:secret@h:7", "memcache+tls://h:7?protocol=ascii"),
            ("unix:/run/memcached@a.sock", "memcache+unix:///run/memcached@a.sock?protocol=ascii"),
        ] {
            assert_eq!(url(&address.parse()?)?.as_str(), expected);
        }
        for address in ["unix:/a b", "unix:/a?b", "unix:/a/../b", "[fe80::1%eth0]:7"] {
            assert!(url(&address.parse()?).is_err(), "{address}");
        }
        Ok(())
    }
}
