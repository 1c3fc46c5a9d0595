//! Servers that lose what they have acknowledged, and those that refuse it: noticed and reported.

use std::io::Cursor;
use std::sync::Mutex;

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Event, Input, Loader, Options, Protocol, RejectReason};
use memc_testkit::{DEVICE_TYPES, Memcached, Model, Sample};

use crate::{Result, Servers, ignore, input, small_chunks};

/// The server forgets in the middle of the run what it has acknowledged. The files that were reported as
/// finished by then are lost on it, all the others must be there.
#[test]
fn a_server_that_is_restarted_gets_the_file_in_progress_again() -> Result {
    restart_in_the_middle(Protocol::Meta)
}

#[test]
fn a_server_that_is_restarted_gets_the_file_again_in_the_classic_protocol() -> Result {
    restart_in_the_middle(Protocol::Classic)
}

fn restart_in_the_middle(protocol: Protocol) -> Result {
    let folder = tempfile::tempdir()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts: Vec<_> = (0..20).map(|_| sample.text(500)).collect();
    let mut inputs = Vec::new();
    for (at, text) in texts.iter().enumerate() {
        let path = folder.path().join(at.to_string());
        std::fs::write(&path, text)?;
        inputs.push(Input::path(path));
    }
    let servers = Mutex::new(Servers::start(&[])?);
    let mut options = small_chunks(3000);
    options.protocol = Some(protocol);
    options.retry_timeout = std::time::Duration::from_secs(20);
    options.max_bytes_in_flight = 100_000;
    let loader = servers.lock().map_err(|_| "poisoned")?.loader(options)?;
    let address = servers.lock().map_err(|_| "poisoned")?.0[1].address();
    let (mut finished, mut finished_before) = (Vec::new(), None);
    let report = loader.load(inputs, |event| {
        match event {
            Event::InputFinished(file) => {
                finished.push(file.index);
                if file.index == 3 {
                    let mut servers = servers.lock().map_err(|_| "poisoned")?;
                    servers.0[1].kill()?;
                    servers.0[1].restart()?;
                }
            }
            Event::ServerRestarted { address: restarted } => {
                assert_eq!(restarted, address);
                assert_eq!(finished_before.replace(finished.len()), None, "reported once");
            }
            _ => {}
        }
        Ok(())
    })?;
    assert_eq!(finished, (0..20).collect::<Vec<_>>());
    assert_eq!(report.inputs, 20);
    let progress = loader.progress_handle();
    assert_eq!((progress.bytes_in(), progress.records()), (report.bytes_in, report.counts.loaded));
    assert!(report.servers[1].retries > 0);
    let before = finished_before.ok_or("the restart was not noticed")?;
    assert!((4..20).contains(&before), "{before}");

    let (mut all, mut since) = (Model::new(), Model::new());
    texts.iter().for_each(|text| all.load(text));
    texts[before..].iter().for_each(|text| since.load(text));
    let forgotten = since.servers.remove(DEVICE_TYPES[1]).unwrap_or_default();
    all.servers.insert(DEVICE_TYPES[1], forgotten);
    servers.into_inner()?.assert_hold(&all)
}

#[test]
fn an_input_that_can_be_read_only_once_cannot_be_loaded_again() -> Result {
    let servers = Mutex::new(Servers::start(&[])?);
    let mut options = small_chunks(3000);
    options.retry_timeout = std::time::Duration::from_secs(20);
    let loader = servers.lock().map_err(|_| "poisoned")?.loader(options)?;
    let address = servers.lock().map_err(|_| "poisoned")?.0[0].address();
    let once = |seed: u64| Input::reader(seed.to_string(), Cursor::new(Sample::new(seed).text(300)));
    let stopped = loader.load((0..1000).map(once), |event| {
        if let Event::InputFinished(file) = event
            && file.index == 3
        {
            let mut servers = servers.lock().map_err(|_| "poisoned")?;
            servers.0[0].kill()?;
            servers.0[0].restart()?;
        }
        Ok(())
    });
    let stopped = stopped.err().ok_or("it must stop")?;
    let source = std::error::Error::source(&stopped).map(ToString::to_string).unwrap_or_default();
    let why = format!(
        "it can be read only once, and has to be read again because server '{address}' was restarted"
    );
    assert!(source.starts_with(&why), "{source}");
    Ok(())
}

#[test]
fn a_server_that_is_gone_at_the_end_is_reported() -> Result {
    let servers = Mutex::new(Servers::start(&[])?);
    let loader = servers.lock().map_err(|_| "poisoned")?.loader(small_chunks(3000))?;
    let report = loader.load([input("file", Sample::new(5).text(2000))], |event| {
        if let Event::InputFinished(_) = event {
            let mut servers = servers.lock().map_err(|_| "poisoned")?;
            servers.0[1].kill()?;
            servers.0[2].kill()?;
            servers.0[2].restart()?;
        }
        Ok(())
    })?;
    assert_eq!(
        report.servers.iter().map(|server| (server.restarted, server.unreachable)).collect::<Vec<_>>(),
        [(false, false), (false, true), (true, false), (false, false)]
    );
    Ok(())
}

/// A loader that is used again and again, as one that follows a folder is.
#[test]
fn a_server_that_is_restarted_between_two_loads_is_reported_once() -> Result {
    let mut servers = Servers::start(&[])?;
    let loader = servers.loader(small_chunks(3000))?;
    let mut sample = Sample::new(6);
    let mut load = |expected: &[String]| -> Result {
        let mut restarted = Vec::new();
        let folder = tempfile::tempdir()?;
        std::fs::write(folder.path().join("file"), sample.text(500))?;
        let report = loader.load([Input::path(folder.path().join("file"))], |event| {
            if let Event::ServerRestarted { address } = event {
                restarted.push(address);
            }
            Ok(())
        })?;
        assert_eq!((report.inputs, &restarted[..]), (1, expected));
        assert!(report.servers.iter().all(|server| !server.restarted && !server.unreachable));
        Ok(())
    };
    load(&[])?;
    load(&[])?;
    servers.0[1].kill()?;
    servers.0[1].restart()?;
    load(&[servers.0[1].address()])?;
    load(&[])
}

/// What one type's connection learns of the restart must not be reported again by the others'.
#[test]
fn a_server_for_all_types_that_is_restarted_between_two_loads_is_reported_once() -> Result {
    let mut server = Memcached::start(&["-m", "2"])?;
    let addresses = vec![server.address().parse::<Address>()?; DEVICE_TYPES.len()];
    let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses, small_chunks(100_000));
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    std::fs::write(&path, Sample::new(7).text(10_000))?;
    let load = |expected: &[String]| -> Result<u64> {
        let mut restarted = Vec::new();
        let report = loader.load([Input::path(&path)], |event| {
            if let Event::ServerRestarted { address } = event {
                restarted.push(address);
            }
            Ok(())
        })?;
        assert_eq!((report.inputs, &restarted[..]), (1, expected));
        assert_eq!(report.servers.len(), 1, "one for all of its types");
        for server in &report.servers {
            assert!(!server.restarted && server.memory_limit_bytes == Some(2 << 20), "{server:?}");
        }
        Ok(report.servers.iter().map(|server| server.evictions).sum())
    };
    assert_eq!(load(&[])?, server.stat("evictions")?, "not once for each type");
    server.kill()?;
    server.restart()?;
    load(&[server.address()])?;
    load(&[])?;
    Ok(())
}

#[test]
fn a_full_server_is_reported_also_when_another_one_fails() -> Result {
    let full = Memcached::start(&["-m", "2"])?;
    let mut away = Memcached::start(&[])?;
    away.kill()?;
    let addresses = vec![full.address().parse::<Address>()?, away.address().parse::<Address>()?];
    let loader = Loader::new(AppsEncoder::new(["idfa", "gaid"]), addresses, small_chunks(100_000));
    let flood: String = (0..60_000).map(|number| format!("idfa\tkey{number}\t1\t2\t1\n")).collect();
    let stopped = loader.load([input("flood", flood), input("last", "gaid\tkey\t1\t2\t1\n")], ignore);
    let stopped = stopped.err().ok_or("it must stop")?;
    assert!(matches!(stopped.error, memc_core::Error::Server { .. }));
    assert_eq!(stopped.report.inputs, 1);
    assert_eq!(stopped.report.servers[0].evictions, full.stat("evictions")?);
    assert!(stopped.report.servers[0].evictions > 1000);
    Ok(())
}

#[test]
fn a_full_server_is_reported_with_its_evictions() -> Result {
    let server = Memcached::start(&["-m", "2"])?;
    let line = |number: u32| format!("idfa\tkey{number}\t1\t2\t1\n");
    let text: String = (0..60_000).map(line).collect();
    let loader = Loader::new(
        AppsEncoder::new(["idfa"]),
        vec![server.address().parse::<Address>()?],
        Options::default(),
    );
    let report = loader.load([input("flood", text.clone())], ignore)?;
    assert_eq!(report.counts.loaded, 60_000);
    let evictions = server.stat("evictions")?;
    assert!(evictions > 1000, "{evictions}");
    assert_eq!(report.servers[0].evictions, evictions);
    assert_eq!(report.servers[0].memory_limit_bytes, Some(2 << 20));

    // What was evicted before the run is not its fault.
    let report = loader.load([input("few", "idfa\tkey1\t1\t2\t1\n")], ignore)?;
    assert!(report.servers[0].evictions <= 1);
    Ok(())
}

#[test]
fn rejected_lines_are_reported_unchanged_and_in_order() -> Result {
    reject_lines(Protocol::Meta)?;
    reject_lines(Protocol::Classic)
}

fn reject_lines(protocol: Protocol) -> Result {
    let servers = Servers::start(&[])?;
    let large = vec!["4294967295"; 200_000].join(",");
    let lines = [
        "idfa\ta\t1\t2\t3".to_owned(),
        " bad \r".to_owned(),
        String::new(),
        format!("idfa\tlarge\t1\t2\t{large} "),
        "worse\u{0}\u{e9}".to_owned(),
        "gaid\tb c\t1\t2\t3".to_owned(),
        "x".repeat(2_000_001),
        "no end".to_owned(),
    ];
    let mut options = small_chunks(10);
    options.protocol = Some(protocol);
    options.report_rejected = true;
    options.max_line_bytes = 2_500_000;
    let mut emitted = Vec::new();
    let text = lines.join("\n");
    let report = servers.loader(options)?.load([input("file", text)], |event| {
        if let Event::LinesRejected { index, name, lines } = event {
            assert_eq!((index, name.as_str()), (0, "file"));
            emitted.extend(lines.lines().map(|(line, reason, bytes)| (line, reason.clone(), bytes.to_vec())));
        }
        Ok(())
    })?;
    let expected = [
        (2, RejectReason::FieldCount),
        (4, RejectReason::ServerRefused),
        (5, RejectReason::FieldCount),
        (6, RejectReason::InvalidKey),
        (7, RejectReason::FieldCount),
        (8, RejectReason::FieldCount),
    ]
    .map(|(line, reason)| (line, reason, lines[usize::try_from(line - 1).unwrap_or(0)].clone().into_bytes()));
    assert_eq!(emitted.len() as u64, report.counts.rejected_total());
    assert!(
        emitted == expected,
        "{:?}",
        emitted.iter().map(|it| (it.0, &it.1, it.2.len())).collect::<Vec<_>>()
    );
    Ok(())
}

/// `idfa:x` with `1` and `idfa` with `x:1` are one key, which took two connections.
#[test]
fn a_route_with_a_colon_keeps_the_order_of_a_key() -> Result {
    let server = Memcached::start(&[])?;
    let address = server.address();
    for connections in [1, 4] {
        let mut options = small_chunks(500);
        options.connections = connections;
        let addresses = vec![address.parse::<Address>()?; 2];
        let loader = Loader::new(AppsEncoder::new(["idfa", "idfa:x"]), addresses, options);
        let line = |number: u32| {
            let id = number % 50;
            if number.is_multiple_of(3) {
                format!("idfa\tx:{id}\t{number}\t0\t1\n")
            } else {
                format!("idfa:x\t{id}\t{number}\t0\t1\n")
            }
        };
        let text: String = (0..5000).map(line).collect();
        let report = loader.load([input("file", text.clone())], ignore)?;
        assert_eq!((report.servers.len(), report.servers[0].records), (1, 5000));
        // Written with one type and one connection, they are in order.
        let mut model = Model::new();
        text.lines()
            .for_each(|line| model.load((line.replacen("idfa:x\t", "idfa\tx:", 1) + "\n").as_bytes()));
        let found = server.contents()?;
        let wrong = model.servers["idfa"]
            .iter()
            .filter(|(key, value)| found.get(*key).map(|item| &item.value) != Some(value));
        assert_eq!((wrong.count(), found.len()), (0, 50));
    }
    Ok(())
}

/// The same second, the same pid as far as it can be had, and a server that is just up: nobody takes that for a restart.
#[test]
fn stats_reset_is_not_taken_for_a_restart() -> Result {
    let servers = Servers::start(&[])?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("file");
    let line = |number: u32| format!("idfa\tkey{}\t{number}\t0\t1\n", number % 500);
    std::fs::write(&path, (0..3000).map(line).collect::<String>())?;
    let loader = servers.loader(small_chunks(3000))?;
    for _ in 0..3 {
        let report = loader.load((0..5).map(|_| Input::path(&path)), |event| match event {
            Event::InputFinished(_) => {
                let mut socket = std::net::TcpStream::connect(servers.0[0].address())?;
                std::io::Write::write_all(&mut socket, b"stats reset\r\n")?;
                std::io::Read::read_exact(&mut socket, &mut [0; 7])?;
                Ok(())
            }
            Event::ServerRestarted { address } => Err(address.into()),
            _ => Ok(()),
        })?;
        assert!(!report.servers[0].restarted && report.servers[0].retries == 0, "{:?}", report.servers[0]);
    }
    Ok(())
}

/// One server has to be waited for at the end, and another one is restarted meanwhile.
#[test]
fn a_restart_while_another_server_is_waited_for_is_noticed() -> Result {
    let servers = Mutex::new(Servers::start(&[])?);
    let mut options = small_chunks(3000);
    options.retry_timeout = std::time::Duration::from_secs(20);
    options.io_timeout = std::time::Duration::from_millis(700);
    let loader = servers.lock().map_err(|_| "poisoned")?.loader(options)?;
    let (frozen, pids) = std::sync::mpsc::channel::<u64>();
    let signal = |signal: &str, pid: u64| {
        std::process::Command::new("kill").args([signal, &pid.to_string()]).status().map(drop)
    };
    let report = std::thread::scope(|scope| {
        let (servers, signal) = (&servers, &signal);
        let restarting = scope.spawn(move || -> Result {
            let pid = pids.recv()?;
            std::thread::sleep(std::time::Duration::from_millis(1500));
            let mut servers = servers.lock().map_err(|_| "poisoned")?;
            servers.0[2].kill()?;
            servers.0[2].restart()?;
            Ok(signal("-CONT", pid)?)
        });
        let report = loader.load([input("file", Sample::new(5).text(2000))], |event| {
            if let Event::InputFinished(_) = event {
                let pid = servers.lock().map_err(|_| "poisoned")?.0[1].stat("pid")?;
                signal("-STOP", pid)?;
                // One thread takes the signal, and the others may still answer until it does.
                std::thread::sleep(std::time::Duration::from_millis(200));
                frozen.send(pid)?;
            }
            Ok(())
        });
        restarting.join().map_err(|_| "a panic")??;
        Result::Ok(report?)
    })?;
    let ends: Vec<_> = report.servers.iter().map(|server| (server.restarted, server.unreachable)).collect();
    assert_eq!(ends, [(false, false), (false, false), (true, false), (false, false)]);
    Ok(())
}
