//! Servers that are away for a while or for ever, and what may still come from the time before.

use std::process::Command;
use std::time::{Duration, Instant};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Error, Event, Input, Loader, Protocol};
use memc_testkit::{Fault, Memcached, Model, Proxy, Sample};

use crate::disturbed::{BEHIND, SHORT_TIMEOUT, Setup, middle, patient};
use crate::{Result, ignore, input};

#[test]
fn a_server_that_comes_up_in_time_is_loaded() -> Result {
    let setup = Setup::start()?;
    let proxy = setup.proxy([Fault::Refuse(Duration::from_millis(1500))])?;
    let text = Sample::new(1).with(0.3, 0.0).text(1000);
    let mut model = Model::new();
    model.load(&text);
    let report = setup.loader(&proxy, patient())?.load([input("file", text)], ignore)?;
    assert!(report.servers[BEHIND].retries > 2, "{}", report.servers[BEHIND].retries);
    assert!(report.duration < patient().retry_timeout, "{:?}", report.duration);
    setup.servers.assert_hold(&model)
}

#[test]
fn a_server_that_goes_down_for_ever_stops_the_load_behind_the_finished_files() -> Result {
    let mut setup = Setup::start()?;
    let proxy = setup.proxy([])?;
    let mut options = patient();
    options.retry_timeout = Duration::from_millis(600);
    options.max_bytes_in_flight = 50_000;
    let loader = setup.loader(&proxy, options)?;
    let texts = |seed| Sample::new(seed).text(200);
    let inputs = (0..1_000_000).map(|seed| input(&seed.to_string(), texts(seed)));
    let (mut finished, mut killed_at) = (Vec::new(), None);
    let stopped = loader.load(inputs, |event| {
        if let Event::InputFinished(file) = event {
            finished.push(file.index);
            if file.index == 5 {
                killed_at = Some(Instant::now());
                setup.servers.0[BEHIND].kill()?;
            }
        }
        Ok(())
    });
    let took = killed_at.ok_or("it was not killed")?.elapsed();
    let stopped = stopped.err().ok_or("it must stop")?;
    let Error::Server { address, retries, elapsed, .. } = &stopped.error else { return Err(stopped.into()) };
    assert_eq!((address, stopped.report.servers[BEHIND].retries), (&proxy.address(), *retries));
    assert!(*elapsed >= Duration::from_millis(600) && took < patient().retry_timeout, "{elapsed:?} {took:?}");

    assert_eq!(finished, (0..stopped.report.inputs).collect::<Vec<_>>(), "each once, and in order");
    let unfinished = stopped.report.unfinished.as_ref().ok_or("a file in progress")?;
    assert_eq!(unfinished.index, finished.len(), "none is reported after the one in progress");
    let mut model = Model::new();
    (0..finished.len() as u64).for_each(|seed| model.load(&texts(seed)));
    assert_eq!(stopped.report.counts.loaded, model.loaded);
    for (at, name) in memc_testkit::DEVICE_TYPES.iter().enumerate().filter(|(at, _)| *at != BEHIND) {
        let found = setup.servers.0[at].contents()?;
        assert_eq!(model.servers[name].keys().find(|key| !found.contains_key(*key)), None);
    }
    Ok(())
}

#[test]
fn a_server_that_accepts_and_never_acknowledges_stops_the_load() -> Result {
    let setup = Setup::start()?;
    let proxy = setup.proxy(std::iter::repeat(Fault::StallSent(30)))?;
    let mut options = patient();
    options.io_timeout = Duration::from_millis(100);
    options.retry_timeout = Duration::from_millis(500);
    let started = Instant::now();
    let text = Sample::new(1).text(100);
    let stopped = setup.loader(&proxy, options)?.load([input("file", text)], ignore);
    let stopped = stopped.err().ok_or("it must stop")?;
    let Error::Server { source, .. } = &stopped.error else { return Err(stopped.into()) };
    assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
    assert!(started.elapsed() < patient().retry_timeout, "{:?}", started.elapsed());
    Ok(())
}

/// Each connection is cut after a few answers, over and over: every one of them gets the load on, so it is
/// not given up, though the whole takes longer than one failing server is put up with.
#[test]
fn a_server_that_keeps_breaking_but_gets_on_is_not_given_up() -> Result {
    let setup = Setup::start()?;
    let proxy = setup.proxy([])?;
    let text = Sample::new(1).with(0.3, 0.0).text(12_000);
    let mut model = Model::new();
    model.load(&text);
    let report = setup.loader(&proxy, patient())?.load([input("file", text.clone())], ignore)?;
    let middle = middle(&setup.servers, proxy.answered(), &report.servers[BEHIND], Protocol::Meta)?;
    let before = middle - usize::try_from(report.servers[BEHIND].batches)? * 2;

    let setup = Setup::start()?;
    let proxy = setup.proxy(std::iter::repeat_n(Fault::CutAnswered(before + 500), 10))?;
    let mut options = patient();
    options.retry_timeout = Duration::from_millis(300);
    options.max_bytes_in_flight = 20_000;
    options.io_timeout = Duration::from_millis(600);
    let report = setup.loader(&proxy, options)?.load([input("file", text)], ignore)?;
    assert!(report.duration > Duration::from_millis(300), "{:?}", report.duration);
    assert!(report.servers[BEHIND].retries >= 5, "{}", report.servers[BEHIND].retries);
    setup.servers.assert_hold(&model)
}

/// A connection that has timed out may still carry sets: what was sent before must not come after what is
/// sent on the next connection.
#[test]
fn sets_of_a_connection_that_was_given_up_do_not_arrive_late() -> Result {
    give_up_with_sets_on_their_way(Protocol::Meta)?;
    give_up_with_sets_on_their_way(Protocol::Classic)
}

fn give_up_with_sets_on_their_way(protocol: Protocol) -> Result {
    let setup = Setup::start()?;
    let proxy = setup.proxy([Fault::Hold(8000, Duration::from_millis(1500))])?;
    let line = |number: u32| format!("gaid\tkey{}\t{number}\t0\t1,2,3,4,5,6,7,8\n", number % 10);
    let text: String = (0..5000).map(line).collect();
    let mut model = Model::new();
    model.load(text.as_bytes());
    let mut options = patient();
    options.protocol = Some(protocol);
    options.io_timeout = SHORT_TIMEOUT;
    options.max_bytes_in_flight = 50_000;
    let report = setup.loader(&proxy, options)?.load([input("file", text)], ignore)?;
    assert!(report.servers[BEHIND].retries > 0);
    std::thread::sleep(Duration::from_millis(1800).saturating_sub(report.duration));
    setup.servers.assert_hold(&model)
}

/// The same with a server that stops in its tracks, and goes on when the loader has given up waiting.
#[test]
fn a_server_that_freezes_and_goes_on_ends_with_the_last_values() -> Result {
    freeze_and_go_on(Protocol::Meta)?;
    freeze_and_go_on(Protocol::Classic)
}

fn freeze_and_go_on(protocol: Protocol) -> Result {
    let setup = Setup::start()?;
    let line = |number: u32| format!("gaid\tkey{}\t{number}\t0\t1,2,3,4,5,6,7,8\n", number % 10);
    let texts: Vec<String> =
        (0..600).map(|file| (0..100).map(|number| line(file * 100 + number)).collect()).collect();
    let mut model = Model::new();
    texts.iter().for_each(|text| model.load(text.as_bytes()));
    let server = &setup.servers.0[BEHIND];
    let pid = server.stat("pid")?.to_string();
    let thaw = format!("sleep 1 && kill -CONT {pid}");
    let mut thawing = None;
    let mut options = patient();
    options.protocol = Some(protocol);
    options.io_timeout = SHORT_TIMEOUT;
    options.max_bytes_in_flight = 50_000;
    let inputs: Vec<_> = texts.iter().map(|text| input("file", text.as_str())).collect();
    let report = setup.servers.loader(options)?.load(inputs, |event| {
        if let Event::InputFinished(file) = event
            && file.index == 10
        {
            freeze(std::slice::from_ref(server))?;
            thawing = Some(Command::new("sh").args(["-c", &thaw]).spawn()?);
        }
        Ok(())
    })?;
    assert!(report.servers[BEHIND].retries > 0);
    assert!(thawing.ok_or("it was not frozen")?.wait()?.success());
    std::thread::sleep(Duration::from_millis(300));
    setup.servers.assert_hold(&model)
}

/// Another server is restarted, so the file is loaded again: what this one has not acknowledged of the first
/// attempt must not come after the second.
#[test]
fn sets_of_a_pass_that_was_broken_off_do_not_arrive_late() -> Result {
    let (mut restarted, busy) = (Memcached::start(&[])?, Memcached::start(&[])?);
    // In the second load it is found to be another process when the other one has taken some sets.
    let slow = Fault::Delay(Duration::from_millis(50));
    let slow = Proxy::start(&restarted.address(), [Fault::Pass, slow])?;
    let keeping = Fault::Keep(2000, Duration::from_millis(500));
    let keeping = Proxy::start(&busy.address(), [Fault::Pass, keeping])?;
    let addresses = vec![slow.address().parse::<Address>()?, keeping.address().parse::<Address>()?];
    let mut options = patient();
    options.io_timeout = Duration::from_millis(1000);
    options.max_bytes_in_flight = 12_000;
    let loader = Loader::new(AppsEncoder::new(["idfa", "gaid"]), addresses, options);

    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let line = |number: u32| {
        let device_type = if number.is_multiple_of(2) { "idfa" } else { "gaid" };
        format!("{device_type}\tkey{}\t{number}\t0\t1,2,3,4,5,6,7,8\n", number % 10)
    };
    let text: String = (0..1000).map(line).collect();
    std::fs::write(&path, &text)?;
    loader.load([Input::path(&path)], ignore)?;
    restarted.kill()?;
    restarted.restart()?;
    let mut restarts = 0;
    loader.load([Input::path(&path)], |event| {
        restarts += u32::from(matches!(event, Event::ServerRestarted { .. }));
        Ok(())
    })?;
    assert_eq!(restarts, 1);
    std::thread::sleep(Duration::from_millis(800));
    let mut model = Model::new();
    model.load(text.as_bytes());
    let found = busy.contents()?;
    for (key, value) in &model.servers["gaid"] {
        assert_eq!(found.get(key).map(|item| &item.value), Some(value), "{}", key.escape_ascii());
    }
    Ok(())
}

/// Stops servers in their tracks; they are killed all the same when they are dropped.
fn freeze(servers: &[Memcached]) -> Result {
    for server in servers {
        let pid = server.stat("pid")?.to_string();
        assert!(Command::new("kill").args(["-STOP", &pid]).status()?.success());
    }
    // One thread takes the signal, and the others may still answer until it does.
    std::thread::sleep(Duration::from_millis(200));
    Ok(())
}

#[test]
fn servers_that_hang_at_the_end_are_asked_at_the_same_time_and_not_reported_as_restarted() -> Result {
    let setup = Setup::start()?;
    let mut options = patient();
    options.io_timeout = Duration::from_secs(4);
    options.retry_timeout = Duration::from_secs(4);
    let mut frozen_at = None;
    let report = setup.servers.loader(options)?.load([input("file", Sample::new(1).text(300))], |event| {
        if let Event::InputFinished(_) = event {
            freeze(&setup.servers.0[1..])?;
            frozen_at = Some(Instant::now());
        }
        Ok(())
    })?;
    let took = frozen_at.ok_or("they were not frozen")?.elapsed();
    assert!(took < Duration::from_secs(10), "{took:?}, not a timeout for each");
    let asked: Vec<_> = report
        .servers
        .iter()
        .map(|server| (server.unreachable, server.memory_limit_bytes > Some(0)))
        .collect();
    assert_eq!(asked, [(false, true), (true, false), (true, false), (true, false)]);
    assert!(report.servers.iter().all(|server| !server.restarted));
    Ok(())
}

#[test]
fn servers_that_hang_hold_up_a_stop_for_one_timeout() -> Result {
    let setup = Setup::start()?;
    let mut options = patient();
    options.io_timeout = Duration::from_secs(5);
    options.max_bytes_in_flight = 50_000;
    let loader = setup.servers.loader(options)?;
    let stop = loader.stop_handle();
    let inputs = (0..1_000_000).map(|seed| input(&seed.to_string(), Sample::new(seed).text(100)));
    let (mut stopped_at, mut away) = (None, 0);
    let stopped = loader.load(inputs, |event| {
        // After the stop nobody waits for them.
        away += usize::from(matches!(event, Event::ServerAway { .. }));
        if let Event::InputFinished(file) = event
            && file.index == 5
        {
            freeze(&setup.servers.0[1..3])?;
            stop.request();
            stopped_at = Some(Instant::now());
        }
        Ok(())
    });
    let took = stopped_at.ok_or("it was not stopped")?.elapsed();
    let stopped = stopped.err().ok_or("it must stop")?;
    assert!(matches!(stopped.error, Error::Cancelled), "{:?}", stopped.error);
    assert_eq!(away, 0);
    assert!(took < Duration::from_secs(9), "{took:?}, not a timeout for each");
    assert!(stopped.report.servers.iter().all(|server| !server.restarted && !server.unreachable));
    Ok(())
}

/// Bytes that come one by one keep a connection alive, but no answer may take for ever.
#[test]
fn answers_that_trickle_are_given_up() -> Result {
    let setup = Setup::start()?;
    for io_timeout in [300, 2000] {
        let proxy = setup.proxy(std::iter::repeat(Fault::Slow(Duration::from_millis(100))))?;
        let mut options = patient();
        options.io_timeout = Duration::from_millis(io_timeout);
        options.retry_timeout = Duration::from_millis(600);
        let started = Instant::now();
        let stopped = setup.loader(&proxy, options)?.load([input("file", Sample::new(1).text(100))], ignore);
        let stopped = stopped.err().ok_or("it must stop")?;
        let Error::Server { source, .. } = &stopped.error else { return Err(stopped.into()) };
        assert_eq!(source.kind(), std::io::ErrorKind::TimedOut);
        assert!(started.elapsed() < Duration::from_secs(17), "{:?}", started.elapsed());
    }
    Ok(())
}

/// A server that is away, one whose answers trickle, and one that says nothing: the stop is what is returned, and soon.
#[test]
fn a_stop_while_a_server_is_down_returns_the_stop() -> Result {
    let setup = Setup::start()?;
    let (slow, down) = (Fault::Slow(Duration::from_millis(100)), Fault::Refuse(Duration::from_secs(60)));
    for fault in [slow, down, Fault::StallSent(0)] {
        let proxy = setup.proxy(vec![fault.clone(); 20])?;
        let mut options = patient();
        options.io_timeout = Duration::from_millis(1500);
        options.retry_timeout = Duration::from_secs(3600);
        let loader = setup.loader(&proxy, options)?;
        let stop = loader.stop_handle();
        let stopping = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(500));
            stop.request();
        });
        let started = Instant::now();
        let stopped = loader.load([input("file", Sample::new(1).text(100))], ignore);
        let stopped = stopped.err().ok_or("it must stop")?;
        assert!(matches!(stopped.error, Error::Cancelled), "{fault:?}: {:?}", stopped.error);
        assert!(started.elapsed() < Duration::from_secs(10), "{fault:?}: {:?}", started.elapsed());
        stopping.join().map_err(|_| "a panic")?;
    }
    Ok(())
}

#[test]
fn a_server_that_is_away_and_back_makes_events() -> Result {
    let setup = Setup::start()?;
    let proxy = setup.proxy([Fault::Refuse(Duration::from_millis(1500))])?;
    let mut options = patient();
    options.connections = 3;
    let mut events = Vec::new();
    setup.loader(&proxy, options)?.load([input("file", Sample::new(1).text(300))], |event| {
        if !matches!(event, Event::InputStarted { .. } | Event::InputFinished(_)) {
            events.push(event);
        }
        Ok(())
    })?;
    let [Event::ServerAway { address, reason, .. }, Event::ServerBack { address: back, away_for }] =
        &events[..]
    else {
        return Err(format!("one of each for all connections: {events:?}").into());
    };
    assert_eq!([address, back], [&proxy.address(); 2]);
    assert!(reason.contains("refused"), "{reason}");
    assert!((Duration::from_millis(200)..patient().retry_timeout).contains(away_for), "{away_for:?}");
    Ok(())
}

#[test]
fn what_no_memcached_says_is_quoted() -> Result {
    use std::io::{BufRead, BufReader, Write};
    for (said, reported) in [
        (
            &b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"[..],
            "unexpected answer 'HTTP/1.1 400 Bad Request'",
        ),
        (b"<html>bad", "the server closed the connection after it sent '<html>bad'"),
        (b"VERSION 1.6.18\r\nMN\r\nSTAT pid one\r\nEND\r\n", "its answer to 'stats' has 'one' for 'pid'"),
    ] {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?.to_string();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = BufReader::new(&stream).read_line(&mut String::new());
                let _ = stream.write_all(said);
                // One that has more to say is asked more.
                if said.starts_with(b"VERSION") {
                    let _ = std::io::copy(&mut stream, &mut std::io::sink());
                }
            }
        });
        let mut options = patient();
        options.retry_timeout = Duration::ZERO;
        let loader = Loader::new(AppsEncoder::new(["idfa"]), vec![address.parse::<Address>()?], options);
        let stopped =
            loader.load([input("file", "idfa\tx\t1\t2\t3\n")], ignore).err().ok_or("it must stop")?;
        let Error::Server { source, .. } = &stopped.error else { return Err(stopped.into()) };
        assert_eq!(source.to_string(), reported);
    }
    Ok(())
}
