//! What memcached keeps with a value: flags, and when the record expires.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use memc_core::{Address, Encode, Loader, Protocol, Record, RejectReason};
use memc_testkit::Memcached;

use crate::late::relay_that_delivers_late;
use crate::{Result, ignore, input, small_chunks};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Lines `key flags ttl value`, a ttl of `-` for none, to the first server.
#[derive(Clone)]
struct Words;

impl Encode for Words {
    fn encode(
        &mut self,
        line: &[u8],
        record: &mut Record,
    ) -> std::result::Result<Option<usize>, RejectReason> {
        let line = str::from_utf8(line).map_err(|_| RejectReason::FieldCount)?;
        let mut words = line.split(' ').map(str::to_owned);
        let mut word = || words.next().ok_or(RejectReason::FieldCount);
        record.key = word()?.into_bytes();
        record.flags = word()?.parse().map_err(|_| RejectReason::FieldCount)?;
        record.ttl = word()?.parse().ok().map(Duration::from_secs);
        record.value = word()?.into_bytes();
        Ok(Some(0))
    }
}

fn loader(address: &str, protocol: Protocol, ttl: Option<Duration>) -> Result<Loader<Words>> {
    let mut options = small_chunks(1000);
    options.protocol = Some(protocol);
    options.io_timeout = Duration::from_millis(500);
    options.retry_timeout = Duration::from_secs(30);
    options.ttl = ttl;
    Ok(Loader::new(Words, vec![address.parse::<Address>()?], options))
}

/// What the server says of a key: its flags, and in how many seconds it expires, -1 for never; `None` without the key.
fn kept(server: &Memcached, key: &str) -> Result<Option<(u32, i64)>> {
    let mut socket = BufReader::new(TcpStream::connect(server.address())?);
    socket.get_mut().write_all(format!("mg {key} f t\r\n").as_bytes())?;
    let mut answer = String::new();
    socket.read_line(&mut answer)?;
    let mut words = answer.split_ascii_whitespace();
    if words.next() == Some("EN") {
        return Ok(None);
    }
    let mut number = |token| words.next().and_then(|it| it.strip_prefix(token)).ok_or(answer.clone());
    Ok(Some((number("f")?.parse()?, number("t")?.parse()?)))
}

/// Whether a key has these flags and expires after `ttl`, but for the few seconds that the load and its reading take.
fn assert_kept(server: &Memcached, key: &str, flags: u32, ttl: Option<Duration>) -> Result {
    let (found, left) = kept(server, key)?.ok_or(format!("{key} is missing"))?;
    assert_eq!(found, flags, "{key}");
    let expected = ttl.map_or(-1, |ttl| i64::try_from(ttl.as_secs()).unwrap_or(i64::MAX));
    // The clock of a memcached moves once a second, in a phase of its own: it may be a few seconds behind.
    assert!(
        left == expected || ttl.is_some() && (expected - 20..=expected + 5).contains(&left),
        "{key}: {left}"
    );
    Ok(())
}

/// Over and under 30 days, where memcached's own counting changes from relative to absolute.
#[test]
fn records_expire_from_the_start_of_the_load() -> Result {
    let server = Memcached::start(&[])?;
    let text = format!("all 0 - x\nown 7 {} x\nlong 4294967295 {} x\npast 0 0 x", 100, 40 * DAY.as_secs());
    for (protocol, ttl) in [
        (Protocol::Meta, 29 * DAY),
        (Protocol::Meta, 31 * DAY),
        (Protocol::Meta, DAY / 24),
        (Protocol::Classic, 29 * DAY),
        (Protocol::Classic, 31 * DAY),
    ] {
        let loader = loader(&server.address(), protocol, Some(ttl))?;
        let report = loader.load([input("file", text.clone())], ignore)?;
        assert_eq!(report.counts.loaded, 4);
        assert_kept(&server, "all", 0, Some(ttl))?;
        assert_kept(&server, "own", 7, Some(Duration::from_secs(100)))?;
        assert_kept(&server, "long", u32::MAX, Some(40 * DAY))?;
        let started = Instant::now();
        while kept(&server, "past")?.is_some() {
            assert!(started.elapsed() < Duration::from_secs(5), "it has expired when the next second began");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    let to_2038 = Duration::from_secs(u64::from(i32::MAX.unsigned_abs()))
        .saturating_sub(SystemTime::now().duration_since(UNIX_EPOCH)?);
    for protocol in [Protocol::Meta, Protocol::Classic] {
        loader(&server.address(), protocol, None)?.load([input("file", text.clone())], ignore)?;
        assert_kept(&server, "all", 0, None)?;
        assert_kept(&server, "own", 7, Some(Duration::from_secs(100)))?;
        let too_long = loader(&server.address(), protocol, Some(100 * 365 * DAY))?;
        too_long.load([input("file", "all 0 - x")], ignore)?;
        assert_kept(&server, "all", 0, Some(to_2038))?;
    }
    Ok(())
}

/// Sets that arrive late are set again, with the flags and the expiry that belong to the value.
fn is_set_again_as_it_was(protocol: Protocol) -> Result {
    let server = Memcached::start(&[])?;
    let relay = relay_that_delivers_late(&server)?;
    let line = |at: usize| format!("key{} {} {} value-{at:030}\n", at % 50, at, 5000 + at);
    let text: String = (0..1000).map(line).collect();
    let report = loader(&relay.address(), protocol, None)?.load([input("file", text)], ignore)?;
    assert!(report.servers[0].records_set_again > 0, "{:?}", report.servers[0]);
    assert!(relay.wait_until_delivered(Duration::from_secs(20)));
    for at in 950..1000 {
        let ttl = Duration::from_secs(5000 + at);
        assert_kept(&server, &format!("key{}", at % 50), u32::try_from(at)?, Some(ttl))?;
    }
    Ok(())
}

#[test]
fn what_is_set_again_keeps_flags_and_expiry() -> Result {
    is_set_again_as_it_was(Protocol::Meta)
}

#[test]
fn what_is_set_again_in_the_classic_protocol_keeps_flags_and_expiry() -> Result {
    is_set_again_as_it_was(Protocol::Classic)
}
