//! Proxies that speak the classic protocol only, with real servers behind a real twemproxy; and older servers.

use std::collections::HashMap;
use std::process::Command;
use std::time::{Duration, Instant};

use memc_core::apps::AppsEncoder;
use memc_core::{Error, Event, Input, Loader, Options, Protocol, RejectReason, RunReport};
use memc_testkit::{Contents, Fault, Memcached, Model, Proxy, Sample, Twemproxy, difference};

use crate::disturbed::patient;
use crate::standin::{Standin, Version};
use crate::{Result, input, small_chunks};

/// What is answered before the first set, and more than that: `version` and `stats`.
const QUESTIONS_BYTES: usize = 100;

/// What may be in flight on a connection.
const IN_FLIGHT_BYTES: usize = 128 * 1024;

/// Two servers behind a twemproxy, for all device types.
struct Fleet {
    servers: [Memcached; 2],
    proxy: Twemproxy,
}

impl Fleet {
    fn start() -> Result<Self> {
        let servers = [Memcached::start(&[])?, Memcached::start(&[])?];
        let proxy = twemproxy(servers.iter().map(Memcached::address))?;
        Ok(Self { servers, proxy })
    }

    fn assert_hold(&self, model: &Model) -> Result {
        let mut found = Contents::new();
        for server in &self.servers {
            found.extend(server.contents()?);
        }
        assert!(
            self.servers.iter().all(|it| it.stat("curr_items").is_ok_and(|items| items > 0)),
            "both are used"
        );
        assert_eq!(difference(&found, &model.servers["gaid"]), None);
        Ok(())
    }
}

fn twemproxy(servers: impl Iterator<Item = String>) -> Result<Twemproxy> {
    let servers: Vec<_> = servers.map(|address| format!("{address}:1")).collect();
    Ok(Twemproxy::start("ketama", "md5", &servers)?)
}

/// A loader of one device type to this address.
fn loader(address: &str, options: Options) -> Result<Loader<AppsEncoder>> {
    Ok(Loader::new(AppsEncoder::new(["gaid"]), vec![address.parse::<memc_core::Address>()?], options))
}

/// Files of this many lines with duplicates, in each and across them, and what is left of them.
fn files(files: usize, lines: u32) -> (Vec<String>, Model) {
    let mut model = Model::new();
    let line = |at: u32| format!("gaid\tkey{}\t{at}\t0\t1,2,3,4,5,6,7,8\n", at * 7919 % (lines / 2));
    let text = |file: usize| {
        let first = u32::try_from(file).unwrap_or(0) * lines;
        (first..first + lines).map(line).collect::<String>()
    };
    let texts: Vec<_> = (0..files).map(text).collect();
    texts.iter().for_each(|text| model.load(text.as_bytes()));
    (texts, model)
}

fn inputs(texts: &[String]) -> Vec<Input> {
    texts.iter().enumerate().map(|(at, text)| input(&at.to_string(), text.as_str())).collect()
}

/// Options under which many batches are in flight, and a fault is soon given up.
fn options() -> Options {
    let mut options = patient();
    options.io_timeout = Duration::from_millis(1000);
    options.max_bytes_in_flight = 100_000;
    options
}

/// Loads, with something done once this many files are finished; returns the other events as well.
fn load(
    loader: &Loader<AppsEncoder>,
    texts: &[String],
    after: usize,
    action: impl FnOnce() -> Result + Send,
) -> Result<(RunReport, Vec<Event>)> {
    let (mut action, mut events) = (Some(action), Vec::new());
    let report = loader.load(inputs(texts), |event| {
        match event {
            Event::InputFinished(file) if file.index == after => action.take().map_or(Ok(()), |act| act())?,
            Event::InputFinished(_) | Event::InputStarted { .. } => {}
            event => events.push(event),
        }
        Ok(())
    })?;
    Ok((report, events))
}

#[test]
fn a_load_through_a_proxy_leaves_what_the_lines_say() -> Result {
    let fleet = Fleet::start()?;
    let text = Sample::new(3).with(0.3, 0.0).text(20_000);
    let only: Vec<u8> = text
        .split_inclusive(|&byte| byte == b'\n')
        .filter(|it| it.starts_with(b"gaid"))
        .flatten()
        .copied()
        .collect();
    let mut model = Model::new();
    model.load(&only);
    let mut options = small_chunks(30_000);
    options.connections = 2;
    let loader = loader(&fleet.proxy.address(), options)?;
    for expected in [1, 0] {
        let mut without = 0;
        let report = loader.load([input("file", only.clone())], |event| {
            without += usize::from(matches!(event, Event::NoStatistics { .. }));
            Ok(())
        })?;
        assert_eq!(without, expected, "once for a loader");
        assert_eq!((report.counts.loaded, report.counts.rejected_total()), (model.loaded, 0));
        let server = &report.servers[0];
        assert!(server.no_statistics && !server.restarted && !server.unreachable, "{server:?}");
        assert_eq!((server.retries, server.records, server.memory_limit_bytes), (0, model.loaded, None));
    }
    fleet.assert_hold(&model)
}

/// twemproxy answers for the servers that it does not reach. Nothing is rejected for that, nothing lost, and it is not
/// asked again without a pause.
#[test]
fn a_server_behind_a_proxy_that_is_away_for_a_while_loses_nothing() -> Result {
    let servers = [Memcached::start(&[])?, Memcached::start(&[])?];
    let away = Fault::Refuse(Duration::from_millis(2500));
    // The first connection is cut in the middle, and no further one is accepted for a while.
    let unreliable = Proxy::start(&servers[1].address(), [Fault::CutSent(30_000), away])?;
    let fleet =
        Fleet { proxy: twemproxy([servers[0].address(), unreliable.address()].into_iter())?, servers };
    let (texts, model) = files(4, 2000);
    let loader = loader(&fleet.proxy.address(), options())?;
    let (report, events) = load(&loader, &texts, 0, || Ok(()))?;
    assert_eq!((report.counts.loaded, report.counts.rejected_total()), (model.loaded, 0));
    let away = events.iter().find_map(|event| match event {
        Event::ServerAway { reason, .. } => Some(reason.as_str()),
        _ => None,
    });
    assert!(away.is_some_and(|reason| reason.contains("SERVER_ERROR")), "{events:?}");
    let retries = report.servers[0].retries;
    assert!((2..30).contains(&retries), "{retries} retries");
    fleet.assert_hold(&model)
}

/// It stays away: the load stops, and what is not stored is neither finished nor rejected.
#[test]
fn a_server_behind_a_proxy_that_stays_away_stops_the_load() -> Result {
    let mut fleet = Fleet::start()?;
    fleet.servers[1].kill()?;
    let (texts, _) = files(2, 2000);
    let mut options = options();
    options.retry_timeout = Duration::from_millis(600);
    let started = Instant::now();
    let stopped = loader(&fleet.proxy.address(), options)?.load(inputs(&texts), |event| match event {
        Event::InputFinished(file) => Err(file.name.into()),
        _ => Ok(()),
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    let Error::Server { retries, source, .. } = &stopped.error else { return Err(stopped.into()) };
    assert!(source.to_string().contains("SERVER_ERROR Connection refused"), "{source}");
    assert!((1..30).contains(retries), "{retries}");
    assert_eq!(stopped.report.unfinished.map_or(0, |file| file.counts.rejected_total()), 0);
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    Ok(())
}

/// What it had acknowledged before is lost and nobody notices; what is acknowledged after that is there.
#[test]
fn a_server_behind_a_proxy_that_is_killed_and_back_gets_all_that_follows() -> Result {
    let mut fleet = Fleet::start()?;
    let (texts, _) = files(12, 2000);
    let (report, events) = {
        let loader = loader(&fleet.proxy.address(), options())?;
        let server = &mut fleet.servers[1];
        load(&loader, &texts, 2, || {
            server.kill()?;
            std::thread::sleep(Duration::from_millis(300));
            Ok(server.restart()?)
        })?
    };
    assert_eq!((report.inputs, report.counts.rejected_total()), (12, 0));
    assert!(!events.iter().any(|event| matches!(event, Event::ServerRestarted { .. })), "{events:?}");
    // Every file sets the same keys.
    let mut last = Model::new();
    last.load(texts[11].as_bytes());
    fleet.assert_hold(&last)
}

#[test]
fn a_proxy_that_is_killed_and_back_loses_nothing() -> Result {
    let mut fleet = Fleet::start()?;
    let (texts, model) = files(12, 2000);
    let (report, _) = {
        let loader = loader(&fleet.proxy.address(), options())?;
        let proxy = &mut fleet.proxy;
        load(&loader, &texts, 2, || {
            proxy.kill()?;
            std::thread::sleep(Duration::from_millis(300));
            Ok(proxy.restart()?)
        })?
    };
    assert_eq!((report.counts.loaded, report.counts.rejected_total()), (model.loaded, 0));
    assert!(report.servers[0].retries > 0, "{:?}", report.servers[0]);
    assert!(!report.servers[0].unreachable);
    fleet.assert_hold(&model)
}

/// The load gives up the connection to the proxy, which still has sets for the server that does not read them. They are
/// read late, and what they have overwritten is set again.
#[test]
fn a_server_behind_a_proxy_that_freezes_and_goes_on_ends_with_the_last_values() -> Result {
    let fleet = Fleet::start()?;
    let (texts, model) = files(12, 2000);
    let pid = fleet.servers[1].stat("pid")?.to_string();
    let thaw = format!("sleep 2 && kill -CONT {pid}");
    let mut thawing = None;
    let loader = loader(&fleet.proxy.address(), options())?;
    let (report, _) = load(&loader, &texts, 2, || {
        assert!(Command::new("kill").args(["-STOP", &pid]).status()?.success());
        thawing = Some(Command::new("sh").args(["-c", &thaw]).spawn()?);
        Ok(())
    })?;
    assert!(thawing.ok_or("it was not frozen")?.wait()?.success());
    assert_eq!((report.counts.loaded, report.counts.rejected_total()), (model.loaded, 0));
    assert!(report.servers[0].retries > 0, "{:?}", report.servers[0]);
    std::thread::sleep(Duration::from_millis(300));
    fleet.assert_hold(&model)
}

/// Too large for the server behind the proxy: that is about the record, not the server.
#[test]
fn what_a_server_behind_a_proxy_refuses_is_rejected_by_key() -> Result {
    let servers = [
        Memcached::start(&["-I", "8k", "-o", "slab_chunk_max=4096"])?,
        Memcached::start(&["-I", "8k", "-o", "slab_chunk_max=4096"])?,
    ];
    let fleet = Fleet { proxy: twemproxy(servers.iter().map(Memcached::address))?, servers };
    let large = vec!["4294967295"; 2000].join(",");
    let line = |at: u32| {
        let apps = if at.is_multiple_of(30) { &large } else { "1" };
        format!("gaid\tkey{at}\t{at}\t0\t{apps}\n")
    };
    let text: String = (0..300).map(line).collect();
    let mut model = Model::new();
    text.lines().filter(|line| line.len() < 1000).for_each(|line| model.load(line.as_bytes()));
    let mut options = options();
    options.report_rejected = true;
    let mut rejected = Vec::new();
    let report = loader(&fleet.proxy.address(), options)?.load([input("file", text)], |event| {
        if let Event::LinesRejected { lines, .. } = event {
            rejected.extend(lines.lines().map(|(line, reason, _)| (line, reason.clone())));
        }
        Ok(())
    })?;
    assert_eq!((report.counts.loaded, report.servers[0].retries), (290, 0));
    let expected: Vec<_> = (0..10).map(|at| (30 * at + 1, RejectReason::ServerRefused)).collect();
    assert_eq!(rejected, expected);
    fleet.assert_hold(&model)
}

/// A proxy holds in its memory what its servers have not taken.
#[test]
fn what_is_in_flight_is_bounded() -> Result {
    let server = Memcached::start(&[])?;
    let (texts, _) = files(1, 20_000);
    // A sender that finds no batch ready waits for an answer, and does not see those that come later: rarely, so not
    // each time.
    let mut sent = Vec::new();
    while sent.iter().all(|sent| *sent < IN_FLIGHT_BYTES / 2) {
        assert!(sent.len() < 5, "{sent:?} bytes in flight");
        let proxy = Proxy::start(&server.address(), [Fault::StallAnswered(QUESTIONS_BYTES + 5000)])?;
        let mut options = options();
        options.protocol = Some(Protocol::Classic);
        options.max_bytes_in_flight = 10_000_000;
        options.retry_timeout = Duration::ZERO;
        let stopped = loader(&proxy.address(), options)?.load(inputs(&texts), |_| Ok(()));
        assert!(stopped.is_err(), "nothing is answered");
        // What was answered has let more follow.
        let most = IN_FLIGHT_BYTES + (5000 / "STORED\r\n".len()) * 80;
        assert!(proxy.sent() < most, "{} bytes in flight", proxy.sent());
        sent.push(proxy.sent());
    }

    // One set that is larger than that goes alone.
    let proxy = Proxy::start(&server.address(), [])?;
    let mut options = small_chunks(30_000);
    options.protocol = Some(Protocol::Classic);
    let large = vec!["4294967295"; 60_000].join(",");
    let text: String = (0..9).map(|at| format!("gaid\tkey{at}\t{at}\t0\t{large}\n")).collect();
    let report = loader(&proxy.address(), options)?.load([input("file", text)], |_| Ok(()))?;
    assert_eq!((report.counts.loaded, report.servers[0].retries), (9, 0));
    Ok(())
}

#[test]
fn a_memcached_before_1_6_is_spoken_to_in_its_protocol() -> Result {
    let old = Standin::start(Version::Old)?;
    let (texts, model) = files(3, 1000);
    let (report, events) = load(&loader(&old.address(), options())?, &texts, 0, || Ok(()))?;
    assert_eq!((report.counts.loaded, events), (model.loaded, Vec::new()));
    assert!(!report.servers[0].no_statistics);
    assert_eq!((old.contents(), old.count_of("mn")), (values(&model), 0));
    Ok(())
}

/// Another version behind the address is another process, so the file is loaded again, in the protocol of that.
#[test]
fn a_memcached_that_is_replaced_by_another_version_is_spoken_to_in_the_protocol_of_that() -> Result {
    for (first, then) in [(Version::New, Version::Old), (Version::Old, Version::New)] {
        let server = Standin::start(first)?;
        let folder = tempfile::tempdir()?;
        let (texts, _) = files(8, 1000);
        let mut paths = Vec::new();
        for (at, text) in texts.iter().enumerate() {
            paths.push(folder.path().join(at.to_string()));
            std::fs::write(&paths[at], text)?;
        }
        let mut restarts = 0;
        let report = loader(&server.address(), options())?.load(paths.iter().map(Input::path), |event| {
            match event {
                Event::InputFinished(file) if file.index == 2 => server.replace(then),
                Event::ServerRestarted { .. } => restarts += 1,
                _ => {}
            }
            Ok(())
        })?;
        assert_eq!((report.inputs, restarts), (8, 1), "{first:?} to {then:?}");
        let mut last = Model::new();
        last.load(texts[7].as_bytes());
        assert_eq!(server.contents(), values(&last), "{first:?} to {then:?}");
        assert!(server.count_of(if then == Version::New { "ms" } else { "set" }) > 0);
    }
    Ok(())
}

fn values(model: &Model) -> HashMap<Vec<u8>, Vec<u8>> {
    model.servers["gaid"].iter().map(|(key, value)| (key.clone(), value.clone())).collect()
}
