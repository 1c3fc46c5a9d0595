//! Connections that break in any way: the load goes on, and loses and reorders nothing.

use std::time::{Duration, Instant};

use memc_core::{Error, Event, Protocol, RejectReason, ServerReport};
use memc_testkit::{Fault, Model, Proxy, Sample};

use crate::disturbed::{BEHIND, Bytes, Files, SHORT_TIMEOUT, Setup, loader, middle, patient};
use crate::{Result, Servers, ignore, input};

/// For tests with many connections that end: for so long the end of an input waits for what may come late.
const BRIEF_TIMEOUT: Duration = Duration::from_millis(600);

/// With this many to each server, batches are gathered, and acknowledged together.
const GATHERING_CONNECTIONS: usize = 5;

/// How many loads of such a test run at the same time.
const SETUPS: usize = 8;

/// This many places from 1 below `end`, evenly.
fn spread(end: usize, places: usize) -> impl Iterator<Item = usize> {
    (1..=places).map(move |place| end * place / (places + 1))
}

/// Has each fault tried, some at the same time on servers of their own: the end of each first input is waited for.
fn at_the_same_time(
    protocol: Protocol,
    timeout: Duration,
    faults: &[Fault],
    connections: usize,
    attempt: impl Fn(&mut Setup, &[Fault]) -> Result + Sync,
) -> Result {
    std::thread::scope(|scope| {
        let attempt = &attempt;
        let attempts: Vec<_> = (0..SETUPS.min(faults.len()))
            .map(|share| {
                scope.spawn(move || {
                    let mut setup = Setup::of(protocol)?;
                    setup.connections = connections;
                    setup.load_undisturbed()?;
                    setup.timeout = timeout;
                    faults
                        .iter()
                        .skip(share)
                        .step_by(SETUPS)
                        .try_for_each(|it| attempt(&mut setup, &vec![it.clone(); connections]))?;
                    setup.finish()
                })
            })
            .collect();
        attempts.into_iter().try_for_each(|attempt| attempt.join().map_err(|_| "a panic")?)
    })
}

fn assert_each_survived(protocol: Protocol, timeout: Duration, faults: &[Fault]) -> Result {
    at_the_same_time(protocol, timeout, faults, 1, Setup::assert_survives)
}

/// As [`assert_each_survived`], where a fault may come too late to cost a retry.
fn load_with_each(protocol: Protocol, faults: &[Fault]) -> Result {
    at_the_same_time(protocol, BRIEF_TIMEOUT, faults, 1, |setup, fault| setup.load(fault).map(drop))
}

#[test]
fn a_connection_may_be_cut_after_any_byte_that_is_sent() -> Result {
    let Bytes { sent, .. } = Setup::start()?.load_undisturbed()?;
    // What is asked first, the first header, a little of everything.
    let faults: Vec<_> = (0..=16).chain(spread(sent, 20)).map(Fault::CutSent).collect();
    assert_each_survived(Protocol::Meta, BRIEF_TIMEOUT, &faults)?;
    // The last `mn`, and what may be asked after it and may fail without harm.
    load_with_each(Protocol::Meta, &(sent - 12..=sent).map(Fault::CutSent).collect::<Vec<_>>())
}

#[test]
fn a_connection_may_be_cut_after_any_byte_of_an_answer() -> Result {
    let Bytes { answered, middle, .. } = Setup::start()?.load_undisturbed()?;
    let places = (0..=8).chain(middle - 50..middle - 42).chain([middle, middle + 50]);
    assert_each_survived(Protocol::Meta, BRIEF_TIMEOUT, &places.map(Fault::CutAnswered).collect::<Vec<_>>())?;
    load_with_each(Protocol::Meta, &(answered - 4..=answered).map(Fault::CutAnswered).collect::<Vec<_>>())
}

/// Where several batches are acknowledged together, each of the connections is cut in the first ones or those after them.
#[test]
fn connections_may_be_cut_after_any_byte_of_batches_that_are_acknowledged_together() -> Result {
    let mut setup = Setup::start()?;
    let alone = setup.load(&[])?.report.servers[BEHIND].batches;
    setup.connections = GATHERING_CONNECTIONS;
    let together = setup.load(&[])?.report.servers[BEHIND].batches;
    assert!(together < alone, "{together} batches, while one connection has {alone} alone");
    let Bytes { sent, .. } = setup.load_undisturbed()?;
    // Their shares of the keys differ.
    let places = spread(sent / GATHERING_CONNECTIONS / 2, 40);
    let faults: Vec<_> = places.map(Fault::CutSent).collect();
    at_the_same_time(Protocol::Meta, BRIEF_TIMEOUT, &faults, GATHERING_CONNECTIONS, |setup, faults| {
        assert!(setup.load(faults)?.retries() > 0, "{faults:?}");
        Ok(())
    })
}

/// The same for the classic protocol, at fewer places: how a connection is given up, and what is sent again, is code that
/// both have in common. These are where the answers are counted.
#[test]
fn a_classic_connection_may_be_cut_after_any_byte() -> Result {
    let Bytes { sent, answered, middle } = Setup::of(Protocol::Classic)?.load_undisturbed()?;
    let sets = (17..19).chain(spread(sent, 6)).map(Fault::CutSent);
    let faults: Vec<_> = sets.chain((middle - 8..=middle).map(Fault::CutAnswered)).collect();
    assert_each_survived(Protocol::Classic, BRIEF_TIMEOUT, &faults)?;
    // What is asked first, where a cut makes it ask again, and last.
    let first = [0, 3, 9, 12].map(Fault::CutSent).into_iter().chain([2, 30].map(Fault::CutAnswered));
    let last = [Fault::CutSent(sent - 3), Fault::CutAnswered(answered - 2)];
    load_with_each(Protocol::Classic, &first.chain(last).collect::<Vec<_>>())
}

#[test]
fn a_connection_that_stalls_is_opened_again() -> Result {
    for protocol in [Protocol::Meta, Protocol::Classic] {
        let Bytes { sent, middle, .. } = Setup::of(protocol)?.load_undisturbed()?;
        let out = places_left_out(protocol);
        let sent = [0, 2, sent / 3, sent / 2].into_iter().skip(out).map(Fault::StallSent);
        let answered = [0, 3, middle - 1, middle].into_iter().skip(out).map(Fault::StallAnswered);
        assert_each_survived(protocol, SHORT_TIMEOUT, &sent.chain(answered).collect::<Vec<_>>())?;
    }
    Ok(())
}

/// Of the places of a test that is run for both protocols: what is asked first is the same.
fn places_left_out(protocol: Protocol) -> usize {
    if protocol == Protocol::Meta { 0 } else { 2 }
}

#[test]
fn faults_of_all_kinds_may_follow_each_other() -> Result {
    let mut setup = Setup::start()?;
    let Bytes { sent, middle, .. } = setup.load_undisturbed()?;
    setup.timeout = SHORT_TIMEOUT;
    // Each strikes early, since the connections after it have less to do.
    setup.assert_survives(&[
        Fault::Refuse(Duration::from_millis(1500)),
        Fault::CutSent(sent / 4),
        Fault::Say(middle - 80, b"CLIENT_ERROR bad data chunk\r\n".to_vec()),
        Fault::StallSent(sent / 8),
        Fault::CutAnswered(middle - 80),
        Fault::Flood(4, b"HD\r\n".to_vec()),
        Fault::StallAnswered(6),
        Fault::CutSent(0),
    ])?;
    setup.finish()
}

/// All is acknowledged, but what the server is asked after that breaks, and breaks again.
#[test]
fn a_blip_at_the_very_end_is_not_reported_as_loss() -> Result {
    let mut setup = Setup::start()?;
    let Bytes { sent, .. } = setup.load_undisturbed()?;
    let refused = Fault::Refuse(Duration::from_millis(300));
    let outcome = setup.load(&[Fault::CutSent(sent - 3), refused, Fault::CutSent(0)])?;
    assert_eq!((outcome.retries(), outcome.connections), (0, 3), "the blip came at the end");
    let server = &outcome.report.servers[BEHIND];
    assert!(!server.restarted && !server.unreachable && server.memory_limit_bytes > Some(0), "{server:?}");
    setup.finish()
}

#[test]
fn garbage_for_an_answer_costs_a_connection() -> Result {
    let random = [&Sample::new(7).text(1), &b"\xff\x00\x80\n\r\n\r\nMN\r\n"[..]].concat();
    let (http, error) = (b"HTTP/1.1 400 Bad Request\r\n\r\n", b"CLIENT_ERROR bad data chunk\r\n");
    for (protocol, stored) in [(Protocol::Meta, &b"HD\r\n"[..]), (Protocol::Classic, b"STORED\r\n")] {
        let Bytes { middle, .. } = Setup::of(protocol)?.load_undisturbed()?;
        let mut faults = Vec::new();
        for place in [0, 3, middle - 1, middle].into_iter().skip(places_left_out(protocol)) {
            for words in [&random[..], http, error] {
                faults.push(Fault::Say(place, words.to_vec()));
            }
            for words in [&random[..], stored, b"an endless line ", b"\n", b"NF "] {
                faults.push(Fault::Flood(place, words.to_vec()));
            }
        }
        assert_each_survived(protocol, SHORT_TIMEOUT, &faults)?;
    }
    Ok(())
}

#[test]
fn a_client_error_at_first_costs_a_connection() -> Result {
    let mut setup = Setup::start()?;
    setup.assert_survives(&[Fault::Say(0, b"CLIENT_ERROR bad command line format\r\n".to_vec())])?;
    setup.finish()
}

#[test]
fn garbage_for_ever_is_given_up_and_reported() -> Result {
    let setup = Setup::start()?;
    let garbage = Fault::Say(0, b"220 mail.example.org ESMTP\r\n".to_vec());
    let proxy = setup.proxy(std::iter::repeat(garbage))?;
    let started = Instant::now();
    let mut options = patient();
    options.io_timeout = SHORT_TIMEOUT;
    options.retry_timeout = Duration::from_millis(1500);
    let stopped = setup.loader(&proxy, options)?.load(Files::new(0)?.inputs(), |event| match event {
        Event::InputFinished(file) => Err(file.name.into()),
        _ => Ok(()),
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    let Error::Server { address, retries, source, .. } = &stopped.error else { return Err(stopped.into()) };
    assert_eq!(*address, proxy.address());
    assert_eq!(source.to_string(), "unexpected answer '220 mail.example.org ESMTP'");
    assert!(*retries > 2, "{retries}");
    assert!(started.elapsed() >= Duration::from_millis(1500), "{:?}", started.elapsed());
    assert!(started.elapsed() < patient().retry_timeout, "{:?}", started.elapsed());
    Ok(())
}

/// The whole of the answers takes longer than the timeout, but never does nothing come for so long.
#[test]
fn answers_may_come_as_slowly_as_they_like() -> Result {
    let mut setup = Setup::start()?;
    let Bytes { answered, .. } = setup.load_undisturbed()?;
    setup.timeout = Duration::from_millis(1500);
    let pause = 2 * setup.timeout / u32::try_from(answered)?;
    let outcome = setup.load(&[Fault::Slow(pause)])?;
    assert_eq!(outcome.retries(), 0);
    assert!(outcome.report.duration > setup.timeout, "{:?}", outcome.report.duration);
    setup.finish()
}

/// A far server costs round trips only at the beginning and the end, not for every batch.
#[test]
fn batches_do_not_wait_for_the_round_trip_of_those_before() -> Result {
    let setup = Setup::start()?;
    let proxy = setup.proxy(std::iter::repeat(Fault::Delay(Duration::from_millis(20))))?;
    let text = Sample::new(5).with(0.3, 0.0).text(2500);
    let mut model = Model::new();
    model.load(&text);
    let report = setup.loader(&proxy, patient())?.load([input("far", text)], ignore)?;
    setup.servers.assert_hold(&model)?;
    let ServerReport { batches, retries, .. } = report.servers[BEHIND];
    assert!(batches > 200 && retries == 0, "{batches} batches, {retries} retries");
    assert!(report.duration < Duration::from_secs(4), "{:?}, not {batches} times 40 ms", report.duration);
    Ok(())
}

/// The server refuses a few values, which makes the loader send their batches again; that breaks, too.
#[test]
fn a_connection_may_be_cut_while_refused_batches_are_sent_again() -> Result {
    let retries = std::thread::scope(|scope| {
        let shares: Vec<_> = (0..SETUPS)
            .map(|share| scope.spawn(move || cut_while_refused(Protocol::Meta, 1, 20, share)))
            .collect();
        shares.into_iter().map(|share| share.join().map_err(|_| "a panic")?).sum::<Result<u64>>()
    })?;
    assert!(retries > 20, "{retries}");
    Ok(())
}

/// The same where several batches are acknowledged together.
#[test]
fn connections_may_be_cut_while_refused_batches_that_were_together_are_sent_again() -> Result {
    let retries = std::thread::scope(|scope| {
        let cut = |share| move || cut_while_refused(Protocol::Meta, GATHERING_CONNECTIONS, 24, share);
        let shares: Vec<_> = (0..SETUPS).map(|share| scope.spawn(cut(share))).collect();
        shares.into_iter().map(|share| share.join().map_err(|_| "a panic")?).sum::<Result<u64>>()
    })?;
    assert!(retries > 24, "{retries}");
    Ok(())
}

/// In the classic protocol nothing is sent again to learn what is refused, so fewer places will do.
#[test]
fn a_classic_connection_may_be_cut_while_sets_are_refused() -> Result {
    let retries = std::thread::scope(|scope| {
        let share = |share| move || cut_while_refused(Protocol::Classic, 1, 3, share);
        let shares: Vec<_> = (0..SETUPS).map(|at| scope.spawn(share(at))).collect();
        shares.into_iter().map(|share| share.join().map_err(|_| "a panic")?).sum::<Result<u64>>()
    })?;
    assert!(retries > 4, "{retries}");
    Ok(())
}

/// One share of the places, on servers of its own; how many retries they cost.
fn cut_while_refused(protocol: Protocol, connections: usize, places: usize, share: usize) -> Result<u64> {
    let servers = Servers::start(&["-I", "8k", "-o", "slab_chunk_max=4096"])?;
    let large = vec!["4294967295"; 2000].join(",");
    let mut model = Model::new();
    let mut loads = 0;
    let mut load = |faults: Vec<Fault>| -> Result<(usize, usize, u64)> {
        loads += 1;
        let mut text = String::new();
        for number in 0..90 {
            let apps = if number % 30 == 20 { &large } else { "1" };
            text += &format!("gaid\t{loads:03}key{}\t{number}\t0\t{apps}\n", number % 7);
        }
        // What is refused leaves nothing under its key, and here a later line follows.
        text.lines().filter(|line| line.len() < 1000).for_each(|line| model.load(line.as_bytes()));
        let proxy = Proxy::start(&servers.0[BEHIND].address(), faults.clone())?;
        let mut options = patient();
        options.io_timeout = BRIEF_TIMEOUT;
        options.chunk_bytes = 100;
        options.protocol = Some(protocol);
        options.connections = u32::try_from(connections)?;
        let report = loader(&servers, &proxy, options)?.load([input("refused", text)], ignore)?;
        assert_eq!(report.counts.loaded, 87, "{faults:?}");
        assert_eq!(report.counts.rejected[&RejectReason::ServerRefused], 3, "{faults:?}");
        let middle = middle(&servers, proxy.answered(), &report.servers[BEHIND], protocol)?;
        Ok((proxy.sent(), middle, report.servers[BEHIND].retries))
    };
    // How much is sent again depends on how much was on its way: the least of a few loads, so that most faults strike.
    let mut least = load(Vec::new())?;
    for _ in 0..3 {
        least = least.min(load(Vec::new())?);
    }
    let (sent, middle, _) = least;
    let sent = spread(sent / connections, places).map(Fault::CutSent);
    let step = 120 / (places / 2 + 2);
    // With several connections there is no such place.
    let answered = if connections == 1 { places / 2 + 2 } else { 0 };
    let answered = (0..answered).map(|at| Fault::CutAnswered(middle - 60 + step * at));
    // Others may still come too late.
    let mut retries = 0;
    for fault in sent.chain(answered).skip(share).step_by(SETUPS) {
        retries += load(vec![fault; connections])?.2;
    }
    servers.assert_hold(&model)?;
    Ok(retries)
}
