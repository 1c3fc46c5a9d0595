//! One process with several workers leaves what one that loads file after file leaves.

use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use memc_cluster::{Ahead, Cluster};
use memc_core::{Error, Event, LoadError, RunReport};
use memc_testkit::gzip;

use crate::{Logs, Result, Servers, ahead, assert_counts, patient, small_chunks};

/// Loads the logs and returns the names of those that were finished, in that order.
fn load(
    servers: &Servers,
    logs: &Logs,
    workers: usize,
    files_ahead: usize,
) -> Result<(std::result::Result<RunReport, LoadError>, Vec<String>)> {
    let mut finished = Vec::new();
    let loader = servers.loader(small_chunks(4096))?;
    let mut cluster = Cluster::alone(workers, ahead(files_ahead));
    let result = cluster.load(&loader, &logs.paths, &logs.files(), |event| {
        if let Event::InputFinished(input) = event {
            finished.push(input.name);
        }
        Ok(())
    });
    Ok((result, finished))
}

#[test]
fn any_number_of_workers_leaves_the_same() -> Result {
    let logs = Logs::of_lines(&[1500, 10, 0, 2500, 1000, 1200])?;
    for (workers, files_ahead) in [(1, 0), (2, 3), (3, 1), (4, 9), (8, 0)] {
        let servers = Servers::start(&[])?;
        let (result, finished) = load(&servers, &logs, workers, files_ahead)?;
        let report = result?;
        assert_eq!(finished, logs.names(), "{workers} workers");
        assert_eq!(report.inputs, logs.paths.len());
        assert_counts(&report.counts, &logs.model(logs.paths.len()));
        servers.assert_hold(&logs.model(logs.paths.len()))?;
        let stored: u64 = report.servers.iter().map(|server| server.records).sum();
        assert_eq!(stored, report.counts.loaded);
    }
    Ok(())
}

#[test]
fn a_broken_file_stops_there_and_nothing_later_is_stored() -> Result {
    for (broken_at, content) in
        [(0, &b"not gzip"[..]), (2, b"not gzip"), (3, &gzip(b"idfa\tx\t1\t2\t3\n")?[..20])]
    {
        let logs = Logs::of_lines(&[3000, 2000, 1000, 10, 2500])?;
        std::fs::write(&logs.paths[broken_at], content)?;
        let servers = Servers::start(&[])?;
        let (result, finished) = load(&servers, &logs, 3, 4)?;
        let stopped = result.err().ok_or("it must stop")?;
        assert!(
            matches!(&stopped.error, Error::Read { file, .. } if *file == logs.names()[broken_at]),
            "{stopped:?}"
        );
        assert_eq!(finished, logs.names()[..broken_at]);
        assert_eq!(stopped.report.unfinished.map(|input| input.name), logs.names().get(broken_at).cloned());
        servers.assert_hold(&logs.model(broken_at))?;
    }
    Ok(())
}

#[test]
fn rejected_lines_come_with_file_and_line() -> Result {
    let logs = Logs::of_texts(vec![
        b"idfa\ta\t1\t2\t3\nbad\nidfa\tb\t1\t2\t3\n".to_vec(),
        b"idfa\tc\t1\t2\t3\n".to_vec(),
        [vec![b'\n'; 5000], b"worse\n".to_vec()].concat(),
    ])?;
    let servers = Servers::start(&[])?;
    let mut options = small_chunks(1000);
    options.report_rejected = true;
    let loader = servers.loader(options)?;
    let mut rejected = Vec::new();
    let report = Cluster::alone(2, ahead(3)).load(&loader, &logs.paths, &logs.files(), |event| {
        if let Event::LinesRejected { index, lines, .. } = event {
            rejected.extend(
                lines.lines().map(|(line, reason, text)| (index, line, reason.to_string(), text.to_vec())),
            );
        }
        Ok(())
    })?;
    let reason = "field_count".to_owned();
    assert_eq!(rejected, [(0, 2, reason.clone(), b"bad".to_vec()), (2, 5001, reason, b"worse".to_vec())]);
    assert_eq!(report.counts.rejected_total(), 2);
    Ok(())
}

#[test]
fn a_dry_run_shows_all_records_in_their_order() -> Result {
    let logs = Logs::of_lines(&[500, 700, 300])?;
    let servers = Servers::start(&[])?;
    let loader = servers.loader(small_chunks(1000))?;
    let (mut by_workers, mut one_by_one) = (Vec::new(), Vec::new());
    let report = Cluster::alone(3, ahead(2)).dry_run(
        &loader,
        &logs.paths,
        &logs.files(),
        |record| by_workers.push((record.key.to_vec(), record.value.to_vec())),
        |_| Ok(()),
    )?;
    let inputs = logs.paths.iter().map(memc_core::Input::path);
    let expected = loader.dry_run(
        inputs,
        |record| one_by_one.push((record.key.to_vec(), record.value.to_vec())),
        |_| Ok(()),
    )?;
    assert_eq!((report.counts, by_workers == one_by_one), (expected.counts, true));
    servers.assert_hold(&logs.model(0))?;
    Ok(())
}

#[test]
fn a_restarted_server_is_loaded_again_from_the_file_in_progress() -> Result {
    let logs = Logs::of_lines(&[300, 6000, 500])?;
    let mut servers = Servers::start(&[])?;
    let loader = servers.loader(patient(1000))?;
    let (mut restarts, finished) = (0, AtomicUsize::new(0));
    let server = Mutex::new(&mut servers.0[1]);
    let few_bytes = Ahead { files: 3, bytes: 20_000 };
    let report = Cluster::alone(2, few_bytes).load(&loader, &logs.paths, &logs.files(), |event| {
        match event {
            Event::InputFinished(_) if finished.fetch_add(1, Ordering::Relaxed) == 0 => {
                let mut server = server.lock().expect("a lock");
                server.kill()?;
                server.restart()?;
            }
            Event::ServerRestarted { .. } => restarts += 1,
            _ => {}
        }
        Ok(())
    })?;
    assert_eq!((report.inputs, restarts, finished.into_inner()), (3, 1, 3));
    assert_counts(&report.counts, &logs.model(3));
    Ok(())
}

#[test]
fn what_stops_it_stops_all_workers() -> Result {
    let logs = Logs::of_lines(&[1000, 15_000, 1000])?;
    let servers = Servers::start(&[])?;
    let loader = servers.loader(small_chunks(1000))?;
    let mut cluster = Cluster::alone(2, ahead(3));
    let failing = cluster.load(&loader, &logs.paths, &logs.files(), |event| match event {
        Event::InputFinished(_) => Err(io::Error::other("no more").into()),
        _ => Ok(()),
    });
    let failed = failing.err().ok_or("it must stop")?;
    assert!(
        matches!(&failed.error, Error::Caller { source } if source.to_string() == "no more"),
        "{failed:?}"
    );
    assert_eq!(failed.report.inputs, 0);
    let stop = loader.stop_handle();
    let stopping = cluster.load(&loader, &logs.paths, &logs.files(), |event| {
        if let Event::InputFinished(_) = event {
            stop.request();
        }
        Ok(())
    });
    let stopped = stopping.err().ok_or("it must stop")?;
    assert!(matches!(stopped.error, Error::Cancelled), "{stopped:?}");
    assert!((1..3).contains(&stopped.report.inputs), "{}", stopped.report.inputs);
    Ok(())
}

#[test]
fn a_server_that_is_away_stops_it() -> Result {
    let logs = Logs::of_lines(&[300, 300])?;
    let mut servers = Servers::start(&[])?;
    servers.0[2].kill()?;
    let started = std::time::Instant::now();
    let (result, finished) = load(&servers, &logs, 2, 3)?;
    let stopped = result.err().ok_or("it must stop")?;
    assert!(matches!(&stopped.error, Error::Server { .. }), "{stopped:?}");
    assert!(finished.is_empty() && started.elapsed() < Duration::from_secs(10));
    Ok(())
}
