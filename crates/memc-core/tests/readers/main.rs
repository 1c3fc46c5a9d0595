//! Each `Distribution` is right when the very clients that it is for find every record.
//!
//! Real servers are loaded with 20,000 records, each where a `Group` says. Then each client reads every key, once, some one
//! at a time and most of them many at once, and must find what the model says, and no server may be asked for a key that it
//! does not hold. As there are no more items than keys, no server holds one that the client would not look for there.
//!
//! - `fleet`: the servers.
//! - `reader`: the clients. `scripts/readers` installs them; one that is not there is named and left out.

mod fleet;
mod reader;

use std::sync::LazyLock;

use memc_core::Distribution;
use memc_testkit::{Model, Sample};

use fleet::{Fleet, Layout, Log, Result};
use reader::{Reader, hex};

/// pylibmc with the libmemcached in its wheel, 1.0.16, and with Debian's, 1.1.4.
const fn pylibmc(settings: &'static str) -> [Reader; 2] {
    [Reader { name: "pylibmc", settings }, Reader { name: "pylibmc-debian", settings }]
}

const fn php(settings: &'static str) -> Reader {
    Reader { name: "php-memcached", settings }
}

const fn twemproxy(settings: &'static str) -> Reader {
    Reader { name: "twemproxy", settings }
}

const fn spymemcached(settings: &'static str) -> Reader {
    Reader { name: "spymemcached", settings }
}

const PYTHON_MEMCACHED: Reader = Reader { name: "python-memcached", settings: "{}" };
const PYTHON_MEMCACHED_1_59: Reader = Reader { name: "python-memcached-1.59", settings: "{}" };
const PYMEMCACHE: Reader = Reader { name: "pymemcache", settings: r#"{"allow_unicode_keys": true}"# };
const GOMEMCACHE: Reader = Reader { name: "gomemcache", settings: "{}" };

#[test]
fn ketama() -> Result {
    let [old, new] = pylibmc(r#"{"ketama_weighted": true}"#);
    let php = php(r#"{"OPT_LIBKETAMA_COMPATIBLE": true}"#);
    let twemproxy = twemproxy("ketama md5");
    // Names of its own, and those of libmemcached.
    let [spy, spy_lib] = [spymemcached("SPYMEMCACHED"), spymemcached("LIBMEMCACHED")];
    for layout in [Layout::Equal, Layout::Weighted] {
        check(Distribution::Ketama, layout, &[old, new, php, twemproxy, spy])?;
    }
    check(Distribution::Ketama, Layout::DefaultPort, &[old, php, twemproxy, spy_lib])?;
    check(Distribution::Ketama, Layout::DefaultPortNamed, &[spy])?;
    check(Distribution::Ketama, Layout::Hosts, &[spy_lib])?;
    check(Distribution::Ketama, Layout::NamedByHost, &[spy_lib])?;
    check(Distribution::Ketama, Layout::HostsNamed, &[spy])?;
    check(Distribution::Ketama, Layout::Named, &[twemproxy])?;
    check(Distribution::Ketama, Layout::Sockets, &[old, new])?;
    check(Distribution::Ketama, Layout::SocketsNamed(""), &[php])?;
    check(Distribution::Ketama, Layout::SocketsNamed(":"), &[twemproxy])
}

#[test]
fn ketama_plain() -> Result {
    let [old, new] = pylibmc(r#"{"ketama": true}"#);
    let php = php(r#"{"OPT_DISTRIBUTION": "DISTRIBUTION_CONSISTENT"}"#);
    for layout in [Layout::Equal, Layout::Weighted] {
        check(Distribution::KetamaPlain, layout, &[old, new, php])?;
    }
    check(Distribution::KetamaPlain, Layout::DefaultPort, &[old, php])?;
    check(Distribution::KetamaPlain, Layout::Sockets, &[old, new])?;
    check(Distribution::KetamaPlain, Layout::SocketsNamed(""), &[php])
}

#[test]
fn one_at_a_time() -> Result {
    let [old, new] = pylibmc("{}");
    check(Distribution::OneAtATime, Layout::Equal, &[old, new, php("{}"), twemproxy("modula one_at_a_time")])
}

#[test]
fn crc32() -> Result {
    let [old, new] = pylibmc(r#"{"hash": "crc"}"#);
    let twemproxy = twemproxy("modula crc32");
    check(Distribution::Crc32, Layout::Equal, &[PYTHON_MEMCACHED, twemproxy, old, new])?;
    check(Distribution::Crc32, Layout::Weighted, &[PYTHON_MEMCACHED, twemproxy])
}

#[test]
fn crc32_nonzero() -> Result {
    check(Distribution::Crc32Nonzero, Layout::Equal, &[PYTHON_MEMCACHED_1_59])?;
    check(Distribution::Crc32Nonzero, Layout::Weighted, &[PYTHON_MEMCACHED_1_59])
}

#[test]
fn crc32_ieee() -> Result {
    let readers = [GOMEMCACHE, twemproxy("modula crc32a")];
    check(Distribution::Crc32Ieee, Layout::Equal, &readers)?;
    check(Distribution::Crc32Ieee, Layout::Weighted, &readers)
}

#[test]
fn rendezvous() -> Result {
    check(Distribution::Rendezvous, Layout::Equal, &[PYMEMCACHE])?;
    check(Distribution::Rendezvous, Layout::DefaultPort, &[PYMEMCACHE])?;
    check(Distribution::Rendezvous, Layout::Sockets, &[PYMEMCACHE])
}

/// Loads a fleet, and fails unless each of the readers finds every record of it at once.
fn check(distribution: Distribution, layout: Layout, readers: &[Reader]) -> Result {
    let records = &LOG.records;
    let mut fleet = Fleet::start(layout, distribution)?;
    fleet.load(&LOG)?;
    for reader in readers {
        let keys: Vec<&[u8]> = records.keys().map(Vec::as_slice).filter(|key| reader.takes(key)).collect();
        let Some(found) = reader.read(&fleet.group, &keys)? else { continue };
        let case = format!("{distribution}, {layout:?}, {reader:?}");
        assert_eq!(found.lines().count(), keys.len(), "{case}");
        let mut wrong = keys.iter().zip(found.lines()).filter(|(key, line)| hex(&records[**key]) != *line);
        if let Some((key, line)) = wrong.next() {
            panic!("{case}: '{}' is '{line}', and {} more are wrong", key.escape_ascii(), wrong.count());
        }
        fleet.assert_were_read(keys.into_iter()).map_err(|error| format!("{case}: {error}"))?;
    }
    Ok(())
}

/// Records of the real shape, and those keys that clients hash in ways of their own.
static LOG: LazyLock<Log> = LazyLock::new(|| {
    let mut text = Sample::new(13).text(19_900);
    for id in 0..98 {
        text.extend(format!("idfa\tключ-é-🔑-{id}\t1.5\t-2.5\t7,{id}\n").into_bytes());
    }
    // Bits 16 to 30 of the CRC-32 are 0.
    for id in ["00000000000000000000000000001946", "000000000000000000000000000083cd"] {
        text.extend(format!("idfa\t{id}\t1.5\t-2.5\t8\n").into_bytes());
    }
    let mut model = Model::new();
    model.load(&text);
    let log = Log { records: model.servers.into_values().flatten().collect(), text: text.leak() };
    assert_eq!(log.records.len(), 20_000);
    log
});
