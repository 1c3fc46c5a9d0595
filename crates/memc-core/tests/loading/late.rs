//! Sets that arrive late: something between loader and server holds them when their connection is gone.
//!
//! `MEMC_TEST_SEEDS=200` runs 200 of the seeded loads instead of a dozen.

use std::collections::HashMap;
use std::error::Error as _;
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Error, Event, Loader, Protocol};
use memc_testkit::{Close, Contents, Holding, Memcached, Model, Relay};

use crate::{Result, input, small_chunks};

/// How many seeded loads there are in CI, and how many run at the same time: they mostly wait.
const SEEDS: u64 = 12;
const AT_ONCE: usize = 12;

/// A generator of numbers (xorshift), the same ones for the same seed.
struct Numbers(u64);

impl Numbers {
    fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    /// One from 0, below `end`.
    fn below(&mut self, end: u64) -> u64 {
        for (left, shift) in [(true, 13), (false, 7), (true, 17)] {
            self.0 ^= if left { self.0 << shift } else { self.0 >> shift };
        }
        (self.0 >> 11) % end
    }

    fn one_of<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[usize::try_from(self.below(choices.len() as u64)).unwrap_or(0)]
    }

    /// Whether it is one case of `cases`.
    fn is_one_in(&mut self, cases: u64) -> bool {
        self.below(cases) == 0
    }

    fn holding(&mut self, sent: usize) -> Holding {
        let close = [Close::Fin, Close::Reset];
        let rate = self.one_of(&[20_000, 50_000, 200_000, 1_000_000, 5_000_000]);
        let at = usize::try_from(self.below(sent as u64 * 2 / 3)).unwrap_or(0) + 100;
        Holding {
            bytes_per_second: rate,
            piece_bytes: self.one_of(&[1, 7, 100, 1500, 16_384]),
            buffer_bytes: self.one_of(&[4_000, 30_000, 200_000]),
            leaves_client: (!self.is_one_in(3)).then_some((at, self.one_of(&close))),
            is_hasty: self.is_one_in(2),
            leaves_server: self.one_of(&close),
        }
    }
}

/// What was sent under each key, by which file, in order.
type History = HashMap<Vec<u8>, Vec<(usize, Vec<u8>)>>;

fn history(texts: &[String]) -> History {
    let mut history = History::new();
    for (file, text) in texts.iter().enumerate() {
        for line in text.lines() {
            let mut one = Model::new();
            one.load(line.as_bytes());
            for (key, value) in one.servers.into_values().flatten() {
                history.entry(key).or_default().push((file, value));
            }
        }
    }
    history
}

/// How many keys hold neither the last value that the files up to `file` give them nor a later one.
fn stale(history: &History, found: &Contents, file: usize) -> usize {
    let is_stale = |(key, values): &(&Vec<u8>, &Vec<(usize, Vec<u8>)>)| {
        let Some(last) = values.iter().rposition(|(at, _)| *at <= file) else { return false };
        let stored = found.get(*key).map(|item| &item.value);
        !values[last..].iter().any(|(_, value)| Some(value) == stored)
    };
    history.iter().filter(is_stale).count()
}

/// Loads behind a relay whose first connections break, and says what is wrong then, if anything.
fn load_behind_a_relay(seed: u64) -> Result<Option<String>> {
    let mut numbers = Numbers::new(seed);
    let keys = numbers.one_of(&[5, 20, 60]);
    let lines = numbers.one_of(&[100, 300]);
    let line = |number: u64, key: u64| format!("gaid\tkey{key}\t{number}\t0\t1,2,3,4,5,6,7,8\n");
    let texts: Vec<String> = (0..3)
        .map(|file| (0..lines).map(|at| line(file * lines + at, numbers.below(keys))).collect())
        .collect();
    let history = history(&texts);
    let server = Memcached::start(&["-t", "2"])?;
    let sent = usize::try_from(3 * lines)? * 60;
    let broken: Vec<Holding> = (0..=numbers.below(3)).map(|_| numbers.holding(sent)).collect();
    let rest = Holding {
        bytes_per_second: 50_000_000,
        piece_bytes: 16_384,
        buffer_bytes: 64_000,
        leaves_client: None,
        is_hasty: numbers.is_one_in(2),
        leaves_server: Close::Fin,
    };
    let case = format!("seed {seed}: {broken:?}, then hasty {}", rest.is_hasty);
    let relay = Relay::start(&server.address(), move |at| broken.get(at).copied().unwrap_or(rest))?;

    let mut options = small_chunks(usize::try_from(numbers.one_of(&[300, 1000, 3000]))?);
    options.io_timeout = Duration::from_millis(numbers.one_of(&[200, 500, 1000]));
    options.retry_timeout = Duration::from_secs(30);
    options.max_bytes_in_flight = usize::try_from(numbers.one_of(&[5_000, 20_000, 200_000]))?;
    options.connections = numbers.one_of(&[1, 1, 2]);
    options.protocol = Some(if seed.is_multiple_of(2) { Protocol::Meta } else { Protocol::Classic });
    let loader = Loader::new(AppsEncoder::new(["gaid"]), vec![relay.address().parse::<Address>()?], options);
    let stopping = numbers.is_one_in(4).then(|| {
        let (pid, after) = (server.stat("pid"), numbers.below(300));
        std::thread::spawn(move || -> Result {
            let script = format!("sleep 0.{after:03}; kill -STOP {0}; sleep 1.5; kill -CONT {0}", pid?);
            assert!(Command::new("sh").args(["-c", &script]).status()?.success());
            Ok(())
        })
    });
    let mut wrong = Vec::new();
    let inputs = texts.iter().enumerate().map(|(at, text)| input(&at.to_string(), text.as_str()));
    let result = loader.load(inputs, |event| {
        if let Event::InputFinished(file) = event {
            let stale = stale(&history, &server.contents()?, file.index);
            if stale > 0 {
                wrong.push(format!("{stale} keys stale when file {} was finished", file.index));
            }
        }
        Ok(())
    });
    if let Some(stopping) = stopping {
        stopping.join().map_err(|_| "a panic")??;
    }
    let report = result.map_err(|stopped| format!("{case}: {stopped}: {:?}", stopped.source()))?;
    if !relay.wait_until_delivered(Duration::from_secs(60)) && relay.connections() > 1 {
        // The connections of the loader are still open to the relay; only those that are gone count.
        wrong.push("the relay does not end".to_owned());
    }
    let stale = stale(&history, &server.contents()?, 2);
    if stale > 0 {
        wrong.push(format!("{stale} keys stale at the end"));
    }
    drop(report);
    Ok((!wrong.is_empty()).then(|| format!("{case}: {}", wrong.join(", "))))
}

#[test]
fn sets_that_a_relay_delivers_late_do_not_stay() -> Result {
    let seeds = std::env::var("MEMC_TEST_SEEDS").map_or(Ok(SEEDS), |seeds| seeds.parse())?;
    let first = std::env::var("MEMC_TEST_FIRST_SEED").map_or(Ok(0), |first| first.parse::<u64>())?;
    let next = AtomicUsize::new(0);
    let failures: Vec<String> = std::thread::scope(|scope| {
        let work = || {
            let mut failures = Vec::new();
            loop {
                let seed = first + next.fetch_add(1, Ordering::SeqCst) as u64;
                if seed >= first + seeds {
                    return failures;
                }
                failures.extend(
                    load_behind_a_relay(seed).unwrap_or_else(|error| Some(format!("{seed}: {error}"))),
                );
            }
        };
        let threads: Vec<_> = (0..AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_else(|_| vec!["a panic".to_owned()]))
            .collect()
    });
    assert!(failures.is_empty(), "{} of {seeds} loads went wrong:\n{}", failures.len(), failures.join("\n"));
    Ok(())
}

/// A relay that resets the first connection while it holds most of what that has sent, and delivers it later.
pub(crate) fn relay_that_delivers_late(server: &Memcached) -> Result<Relay> {
    Ok(Relay::start(&server.address(), |at| Holding {
        bytes_per_second: if at == 0 { 30_000 } else { 50_000_000 },
        piece_bytes: 500,
        buffer_bytes: 100_000,
        leaves_client: (at == 0).then_some((30_000, Close::Reset)),
        is_hasty: false,
        leaves_server: Close::Fin,
    })?)
}

/// The first connection is reset while most of what it has sent is held; that is reported.
#[test]
fn what_is_read_back_is_reported() -> Result {
    let server = Memcached::start(&[])?;
    let relay = relay_that_delivers_late(&server)?;
    let mut options = small_chunks(1000);
    options.io_timeout = Duration::from_millis(500);
    options.retry_timeout = Duration::from_secs(30);
    let loader = Loader::new(AppsEncoder::new(["gaid"]), vec![relay.address().parse::<Address>()?], options);
    let text: String = (0..1000).map(|at| format!("gaid\tkey{}\t{at}\t0\t1,2,3,4\n", at % 50)).collect();
    let mut events = Vec::new();
    let report = loader.load([input("file", text.clone())], |event| {
        events.push(event);
        Ok(())
    })?;
    assert!(relay.wait_until_delivered(Duration::from_secs(20)));
    assert_eq!(stale(&history(&[text]), &server.contents()?, 0), 0);
    let server = &report.servers[0];
    assert!(server.records_in_flight > 100 && server.records_read_back >= 50, "{server:?}");
    assert!(server.records_set_again > 0, "{server:?}");
    let is_reported = events.iter().position(|event| matches!(event, Event::RecordsReadBack { .. }));
    let is_finished = events.iter().position(|event| matches!(event, Event::InputFinished(_)));
    assert!(is_reported.is_some() && is_reported < is_finished, "{events:?}");
    Ok(())
}

/// A connection that never ends stops the load, though the server takes new ones.
#[test]
fn a_connection_that_does_not_end_stops_the_load() -> Result {
    let server = Memcached::start(&[])?;
    let slow = Holding {
        bytes_per_second: 50,
        piece_bytes: 1,
        buffer_bytes: 1_000_000,
        leaves_client: None,
        is_hasty: false,
        leaves_server: Close::Fin,
    };
    // The first connection gets as far as the first sets.
    let relay = Relay::start(&server.address(), move |at| Holding {
        bytes_per_second: if at == 0 { 50 } else { 1_000_000 },
        ..slow
    })?;
    let mut options = small_chunks(1000);
    options.io_timeout = Duration::from_millis(1000);
    options.retry_timeout = Duration::from_millis(1000);
    let loader = Loader::new(AppsEncoder::new(["gaid"]), vec![relay.address().parse::<Address>()?], options);
    let text: String = (0..100).map(|number| format!("gaid\tkey\t{number}\t0\t1\n")).collect();
    let (started, mut events) = (Instant::now(), Vec::new());
    let stopped = loader.load([input("file", text)], |event| {
        events.push(event);
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    let Error::Server { source, .. } = &stopped.error else { return Err(stopped.into()) };
    let expected = "an earlier connection has not ended: what it holds would be stored after newer records";
    assert_eq!(source.to_string(), expected);
    assert!(events.iter().any(|event| matches!(event, Event::ServerAway { .. })), "{events:?}");
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    Ok(())
}
