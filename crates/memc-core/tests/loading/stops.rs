//! What stops a load: a broken input, a server that is away, the caller.

use std::error::Error as _;
use std::io::{BufRead, BufReader, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, DryRecord, Error, Event, Input, LoadError, Loader, Options, Protocol, RunReport};
use memc_testkit::{Memcached, Model, Sample, gzip};

use crate::{Result, Servers, ignore, input, small_chunks};

#[test]
fn a_broken_file_stops_the_load_behind_the_files_before_it() -> Result {
    let servers = Servers::start(&[])?;
    let texts: Vec<_> = (0..3).map(|seed| Sample::new(seed).text(2000)).collect();
    let mut broken = gzip(&texts[1])?;
    broken.truncate(broken.len() / 2);
    let inputs =
        [input("first", gzip(&texts[0])?), input("second", broken), input("third", gzip(&texts[2])?)];
    let mut finished = Vec::new();
    let stopped = servers.loader(small_chunks(3000))?.load(inputs, |event| {
        if let Event::InputFinished(file) = event {
            finished.push((file.index, file.counts.loaded));
        }
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    assert_eq!(stopped.to_string(), "cannot read 'second'");
    assert!(matches!(&stopped.error, Error::Read { file, .. } if file == "second"));
    assert_eq!(finished, [(0, 2000)]);
    assert_eq!(stopped.report.inputs, 1);
    let unfinished = stopped.report.unfinished.as_ref().ok_or("a file in progress")?;
    assert_eq!((unfinished.index, unfinished.name.as_str()), (1, "second"));
    let mut model = Model::new();
    model.load(&texts[0]);
    for (server, name) in servers.0.iter().zip(memc_testkit::DEVICE_TYPES) {
        let found = server.contents()?;
        let missing = model.servers[name].keys().find(|key| !found.contains_key(*key));
        assert_eq!(missing, None, "every record of the first file is stored");
    }
    Ok(())
}

#[test]
fn a_server_that_is_away_stops_the_load() -> Result {
    const RETRY_TIMEOUT: Duration = Duration::from_millis(1500);
    let mut servers = Servers::start(&[])?;
    servers.0[2].kill()?;
    let started = Instant::now();
    let mut options = small_chunks(3000);
    options.retry_timeout = RETRY_TIMEOUT;
    let mut events = Vec::new();
    let stopped = servers.loader(options)?.load([input("file", Sample::new(1).text(3000))], |event| {
        events.push(event);
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    let Error::Server { address, retries, source, .. } = &stopped.error else { return Err(stopped.into()) };
    assert_eq!(*address, servers.0[2].address());
    assert_eq!(source.kind(), std::io::ErrorKind::ConnectionRefused);
    assert!(*retries > 2, "{retries}");
    assert_eq!(stopped.report.servers[2].retries, *retries);
    assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    let [Event::InputStarted { .. }, Event::ServerAway { address, reason, retry_timeout }] = &events[..]
    else {
        return Err(format!("{events:?}").into());
    };
    assert_eq!(*address, servers.0[2].address());
    assert!(reason.contains("refused"), "{reason}");
    assert_eq!(*retry_timeout, RETRY_TIMEOUT);
    Ok(())
}

#[test]
fn a_caller_that_fails_stops_the_load() -> Result {
    let servers = Servers::start(&[])?;
    let inputs: Vec<_> = (0..20).map(|seed| input(&seed.to_string(), Sample::new(seed).text(500))).collect();
    let mut finished = 0;
    let stopped = servers.loader(small_chunks(3000))?.load(inputs, |event| {
        if let Event::InputFinished(file) = event {
            finished += 1;
            if file.index == 3 {
                return Err("the folder is read-only".into());
            }
        }
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    assert_eq!(stopped.to_string(), "the caller cannot go on with the load");
    assert_eq!(stopped.source().map(ToString::to_string).as_deref(), Some("the folder is read-only"));
    assert_eq!(finished, 4, "nothing is reported after the failure");
    let (report, refused) = (&stopped.report, stopped.report.unfinished.as_ref());
    assert_eq!((report.inputs, refused.map(|file| file.index)), (3, Some(3)), "what the caller took note of");
    assert_eq!(report.counts.loaded + report.counts.rejected_total(), 3 * 500);
    Ok(())
}

#[test]
fn a_panic_in_an_encoder_is_passed_on() -> Result {
    #[derive(Clone)]
    struct Panics;
    impl memc_core::Encode for Panics {
        fn encode(
            &mut self,
            _: &[u8],
            _: &mut memc_core::Record,
        ) -> std::result::Result<Option<usize>, memc_core::RejectReason> {
            panic!("an encoder's own bug");
        }
    }
    let servers = Servers::start(&[])?;
    let loader = Loader::new(Panics, vec![servers.0[0].address().parse::<Address>()?], small_chunks(10));
    let text = "line\n".repeat(1000);
    let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        drop(loader.load([input("file", text)], ignore));
    }));
    assert!(result.is_err(), "a panic, and neither a hang nor a report of success");
    Ok(())
}

#[test]
fn a_panic_in_a_dry_run_s_caller_is_passed_on() -> Result {
    let mut options = small_chunks(10);
    options.max_bytes_in_flight = 100;
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec!["127.0.0.1:1".parse::<Address>()?], options);
    let text = "idfa\te7e1\t1\t2\t3\n".repeat(1000);
    for panics_on_event in [false, true] {
        let on_record = |_: DryRecord<'_>| assert!(panics_on_event, "a caller's own bug");
        let on_event = |_| {
            assert!(!panics_on_event, "a caller's own bug");
            Ok(())
        };
        let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            drop(loader.dry_run([input("file", text.as_bytes())], on_record, on_event));
        }));
        assert!(result.is_err(), "a panic, and no hang");
    }
    Ok(())
}

/// Each has a whole buffer for its one line.
#[test]
fn many_small_files_are_not_read_far_ahead() -> Result {
    const AHEAD: usize = 10;
    let mut options = small_chunks(1000);
    options.max_bytes_in_flight = AHEAD * options.chunk_bytes;
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec!["127.0.0.1:1".parse::<Address>()?], options);
    let opened = AtomicUsize::new(0);
    let inputs = (0..1000).map(|_| {
        opened.fetch_add(1, Ordering::Relaxed);
        input("file", "idfa\te7e1\t1\t2\t3\n")
    });
    let (mut shown, mut most_ahead) = (0, 0);
    let on_record = |_: DryRecord<'_>| {
        // Time enough to open all of them.
        if shown == 0 {
            std::thread::sleep(Duration::from_millis(200));
        }
        most_ahead = most_ahead.max(opened.load(Ordering::Relaxed) - shown);
        shown += 1;
    };
    loader.dry_run(inputs, on_record, ignore)?;
    assert_eq!(shown, 1000);
    assert!((2..=AHEAD + 2).contains(&most_ahead), "{most_ahead} files ahead");
    Ok(())
}

#[test]
fn a_memcached_that_is_too_old_is_named() -> Result {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    // As memcached 1.5 answers, and there is no need for more.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            for line in BufReader::new(&stream).lines().map_while(std::io::Result::ok) {
                let answer: &[u8] = if line == "version" { b"VERSION 1.5.22\r\n" } else { b"ERROR\r\n" };
                let _ = (&stream).write_all(answer);
            }
        }
    });
    let mut options = small_chunks(1000);
    options.retry_timeout = Duration::from_secs(60);
    options.protocol = Some(Protocol::Meta);
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec![address.parse::<Address>()?], options);
    let stopped = loader.load([input("file", "idfa\tx\t1\t2\t3\n")], ignore).err().ok_or("it must stop")?;
    let source = stopped.source().map(ToString::to_string);
    let expected =
        "it answers 'ERROR' to a meta command: use the classic protocol, or memcached 1.6 or newer";
    assert_eq!(source.as_deref(), Some(expected));
    Ok(())
}

#[test]
fn a_load_that_is_asked_to_stop_finishes_what_is_in_flight() -> Result {
    let servers = Servers::start(&[])?;
    let loader = servers.loader(small_chunks(1000))?;
    let stop = loader.stop_handle();
    let inputs = (0..1_000_000).map(|seed| input(&seed.to_string(), Sample::new(seed).text(100)));
    let mut finished = 0;
    let stopped = loader.load(inputs, |event| {
        if let Event::InputFinished(file) = event {
            finished = file.index + 1;
            if finished == 5 {
                stop.request();
            }
        }
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    assert!(matches!(stopped.error, Error::Cancelled));
    assert_eq!(stopped.report.inputs, finished, "each finished file is reported");
    let unfinished = stopped.report.unfinished.as_ref().map_or(0, |file| file.counts.loaded);
    let stored: u64 = stopped.report.servers.iter().map(|server| server.records).sum();
    assert_eq!(stored, stopped.report.counts.loaded + unfinished, "nothing is left in flight");
    Ok(())
}

/// Restarts the server in the middle of an input, which then has to be read again.
fn load_with_a_restart(input: Input) -> Result<(std::result::Result<RunReport, LoadError>, Vec<String>)> {
    let server = Mutex::new(Memcached::start(&[])?);
    let address = server.lock().map_err(|_| "poisoned")?.address();
    let mut options = small_chunks(1000);
    options.report_rejected = true;
    options.retry_timeout = Duration::from_secs(20);
    options.max_bytes_in_flight = 20_000;
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec![address.parse::<Address>()?], options);
    let mut restarted = Vec::new();
    let mut pending = true;
    let result = loader.load([input], |event| {
        match event {
            // After the rejected first line there is much more to come.
            Event::LinesRejected { .. } if std::mem::take(&mut pending) => {
                let mut server = server.lock().map_err(|_| "poisoned")?;
                server.kill()?;
                server.restart()?;
            }
            Event::ServerRestarted { address: it } => restarted.push(it),
            _ => {}
        }
        Ok(())
    });
    assert_eq!(restarted, std::slice::from_ref(&address));
    restarted.push(address);
    Ok((result, restarted))
}

const LINES_OF_RESTARTED: usize = 20_000;

fn text_with_a_reject() -> String {
    let lines = (1..LINES_OF_RESTARTED).map(|number| format!("idfa\tkey{number}\t1\t2\t{number}\n"));
    std::iter::once("rejected\n".to_owned()).chain(lines).collect()
}

#[test]
fn an_input_that_can_be_read_only_once_says_why_it_had_to_be_again() -> Result {
    let text = text_with_a_reject();
    let (result, restarted) = load_with_a_restart(Input::reader("once", std::io::Cursor::new(text)))?;
    let stopped = result.err().ok_or("it must stop")?;
    assert_eq!(stopped.to_string(), "cannot read 'once'");
    let source = stopped.source().map(ToString::to_string);
    let expected = format!(
        "it can be read only once, and has to be read again because server '{}' was restarted: \
         give it as bytes or reopenable",
        restarted[0]
    );
    assert_eq!(source, Some(expected));
    let unfinished = stopped.report.unfinished.as_ref().ok_or("an input in progress")?;
    assert_eq!((unfinished.index, unfinished.name.as_str()), (0, "once"));
    let stored = unfinished.counts.loaded;
    assert!(stored > 0 && stored <= stopped.report.servers[0].records, "{stored} were acknowledged");
    Ok(())
}

#[test]
fn bytes_and_what_can_be_opened_again_survive_a_restart() -> Result {
    let text = text_with_a_reject();
    let again = text.clone();
    for input in [
        Input::bytes("bytes", text),
        Input::reopenable("object", move || Ok(std::io::Cursor::new(again.clone()))),
    ] {
        let report = load_with_a_restart(input)?.0?;
        assert_eq!((report.inputs, report.counts.loaded), (1, LINES_OF_RESTARTED as u64 - 1));
    }
    Ok(())
}

/// What stands before the break is loaded, and what is wrong with it is reported.
#[test]
fn lines_before_a_break_are_loaded_and_reported() -> Result {
    let server = Memcached::start(&[])?;
    let mut options = Options::default();
    options.report_rejected = true;
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec![server.address().parse::<Address>()?], options);
    let mut broken = gzip(b"idfa\ta\t1\t2\t3\nbad\nidfa\tb\t1\t2\t3\nidfa\tcut\t1\t2\t3")?;
    // The checksum is wrong.
    let at = broken.len() - 8;
    broken[at] ^= 1;
    let mut rejected = Vec::new();
    let stopped = loader.load([input("broken", broken)], |event| {
        if let Event::LinesRejected { lines, .. } = event {
            rejected.extend(lines.lines().map(|(line, _, text)| (line, text.to_vec())));
        }
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    assert!(matches!(stopped.error, Error::Read { .. }), "{}", stopped.error);
    let unfinished = stopped.report.unfinished.as_ref().ok_or("an input in progress")?;
    assert_eq!((unfinished.counts.lines, unfinished.counts.loaded), (3, 2));
    assert_eq!(rejected, [(2, b"bad".to_vec())]);
    assert_eq!(server.contents()?.len(), 2);
    Ok(())
}
