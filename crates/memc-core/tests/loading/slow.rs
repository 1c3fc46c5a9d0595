//! Inputs that come slowly, and callers that are slow.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Error, Event, Input, Loader, Options};
use memc_testkit::{Memcached, gzip};

use crate::{Result, Servers, ignore, input, small_chunks};

/// Longer than anything here takes on a machine that is busy.
const LONG: Duration = Duration::from_secs(20);

/// Both ends of a connection.
fn socket() -> Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let source = TcpStream::connect(listener.local_addr()?)?;
    source.set_nodelay(true)?;
    Ok((source, listener.accept()?.0))
}

/// Waits until the server holds this many records.
fn wait_for(server: &Memcached, records: u64) -> Result {
    let until = Instant::now() + LONG;
    while server.stat("curr_items")? < records {
        assert!(Instant::now() < until, "{} of {records} records", server.stat("curr_items")?);
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

fn loader(server: &Memcached, options: Options) -> Result<Loader<AppsEncoder>> {
    Ok(Loader::new(AppsEncoder::new(["idfa"]), vec![server.address().parse::<Address>()?], options))
}

fn line(number: usize) -> String {
    format!("idfa\tkey{number}\t1\t2\t{number}\n")
}

/// Lines that are far from a chunk are stored as they come; a stop ends the wait for more, and loses none of them.
#[test]
fn lines_of_a_socket_are_stored_as_they_come_and_a_stop_loses_none() -> Result {
    let server = Memcached::start(&[])?;
    let loader = loader(&server, Options::default())?;
    let (mut source, sink) = socket()?;
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| loader.load([Input::reader("socket", sink)], ignore));
        for number in 0..3 {
            source.write_all(line(number).as_bytes())?;
            wait_for(&server, number as u64 + 1)?;
        }
        // One more that is whole, and one that is not.
        source.write_all((line(3) + "idfa\tcut\t1\t2\t12").as_bytes())?;
        std::thread::sleep(Duration::from_millis(20));
        loader.stop_handle().request();
        let stopped = loading.join().map_err(|_| "no panic")?.err().ok_or("it must stop")?;
        assert!(matches!(stopped.error, Error::Cancelled), "{}", stopped.error);
        let unfinished = stopped.report.unfinished.ok_or("it has not ended")?;
        assert_eq!((unfinished.name.as_str(), unfinished.counts.loaded), ("socket", 4));
        assert_eq!(server.contents()?.len(), 4, "and not the line that may go on");
        Ok(())
    })
}

#[test]
fn a_compressed_stream_is_loaded_as_it_is_flushed() -> Result {
    let server = Memcached::start(&[])?;
    let loader = loader(&server, Options::default())?;
    let (mut source, sink) = socket()?;
    std::thread::scope(|scope| {
        let loading = scope.spawn(|| loader.load([Input::reader("socket", sink)], ignore));
        for number in 0..3 {
            source.write_all(&gzip(line(number).as_bytes())?)?;
            wait_for(&server, number as u64 + 1)?;
        }
        drop(source);
        let report = loading.join().map_err(|_| "no panic")??;
        assert_eq!((report.inputs, report.counts.loaded), (1, 3));
        Ok(())
    })
}

/// A server that fails ends the load, though its input may never come to an end.
#[test]
fn a_load_that_fails_does_not_wait_for_its_input() -> Result {
    let mut server = Memcached::start(&[])?;
    let loader = loader(&server, small_chunks(1000))?;
    server.kill()?;
    let (mut source, sink) = socket()?;
    source.write_all(line(0).as_bytes())?;
    let (ended, end) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| ended.send(loader.load([Input::reader("socket", sink)], ignore)).is_ok());
        let end = end.recv_timeout(LONG);
        drop(source);
        let stopped = end?.err().ok_or("it must stop")?;
        assert!(matches!(stopped.error, Error::Server { .. }), "{}", stopped.error);
        Ok(())
    })
}

/// The load goes on while the caller sleeps, and only the memory of what waits holds it back.
#[test]
fn a_callback_that_sleeps_does_not_hold_up_the_load() -> Result {
    const INPUTS: usize = 200;
    let servers = Servers::start(&[])?;
    let loader = servers.loader(Options::default())?;
    let progress = loader.progress_handle();
    let inputs: Vec<_> = (0..INPUTS).map(|number| input(&number.to_string(), line(number))).collect();
    let mut finished = 0;
    let report = loader.load(inputs, |event| {
        if finished == 0 && matches!(event, Event::InputStarted { .. }) {
            let until = Instant::now() + LONG;
            while progress.records() < INPUTS as u64 {
                assert!(Instant::now() < until, "{} records are stored", progress.records());
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        finished += usize::from(matches!(event, Event::InputFinished(_)));
        Ok(())
    })?;
    assert_eq!((report.inputs, finished), (INPUTS, INPUTS));
    Ok(())
}

#[test]
fn events_that_wait_for_the_caller_hold_back_the_reader() -> Result {
    let mut options = small_chunks(1000);
    options.max_bytes_in_flight = 20_000;
    options.report_rejected = true;
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec!["127.0.0.1:1".parse::<Address>()?], options);
    let progress = loader.progress_handle();
    let text = "rejected\n".repeat(100_000);
    let (mut read_while_asleep, mut rejected) = (0, 0);
    loader.dry_run(
        [input("text", text.clone())],
        |_| (),
        |event| {
            if let Event::LinesRejected { lines, .. } = event {
                if rejected == 0 {
                    std::thread::sleep(Duration::from_millis(200));
                    read_while_asleep = progress.bytes_in();
                }
                rejected += lines.lines().count();
            }
            Ok(())
        },
    )?;
    assert_eq!(rejected, 100_000);
    // What is read at once from the input counts as a whole.
    assert!(read_while_asleep < 200_000, "{read_while_asleep} of {} bytes", text.len());
    Ok(())
}

#[test]
fn the_times_of_the_inputs_add_up_to_that_of_the_run() -> Result {
    let servers = Servers::start(&[])?;
    let texts: Vec<_> = (0..20).map(|seed| memc_testkit::Sample::new(seed).text(500)).collect();
    let inputs: Vec<_> = texts.iter().map(|text| input("text", &text[..])).collect();
    let mut times = Vec::new();
    let report = servers.loader(small_chunks(3000))?.load(inputs, |event| {
        if let Event::InputFinished(input) = event {
            times.push(input.duration);
        }
        Ok(())
    })?;
    let sum: Duration = times.iter().sum();
    // What is left is the question to the servers at the end.
    assert!(sum <= report.duration && sum >= report.duration / 4, "{sum:?} of {:?}", report.duration);
    Ok(())
}
