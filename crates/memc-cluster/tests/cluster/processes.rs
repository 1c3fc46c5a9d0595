//! Several processes leave what one leaves. Here each of them is a thread; memc-cli's tests kill real ones.

use std::io;
use std::net::TcpListener;
use std::sync::Mutex;
use std::thread;
use std::time::{Duration, Instant};

use memc_cluster::{Cluster, ClusterError, Hosts, Membership};
use memc_core::{Error, Event, LoadError, RunReport};
use memc_testkit::Port;

use crate::{Logs, Result, Servers, ahead, assert_counts, patient, small_chunks};

/// Addresses that nobody listens on, as long as the ports are there.
fn free_hosts(processes: usize) -> Result<(Hosts, Vec<Port>)> {
    let ports: Vec<_> = (0..processes).map(|_| Port::reserve()).collect::<io::Result<_>>()?;
    let lines: String = ports.iter().map(|port| format!("{port}\n")).collect();
    Ok((lines.parse()?, ports))
}

fn member(hosts: &Hosts, process: usize, workers: usize) -> Membership {
    Membership {
        hosts: hosts.clone(),
        process,
        workers,
        secret: b"secret".to_vec(),
        version: "1".to_owned(),
        options: vec![("--workers".to_owned(), workers.to_string())],
        timeout: Duration::from_secs(5),
    }
}

/// What the first process of [`load`] says that it ends with.
const FIRST_EXIT_CODE: u8 = 42;

fn leave(cluster: Cluster, result: &std::result::Result<u8, impl ToString>) {
    let why = result.as_ref().err().map(ToString::to_string);
    cluster.end(result.as_ref().copied().map_err(|_| why.as_deref().unwrap_or_default()));
}

/// What the first process returns, with the names of the files that were finished, and what each of the others does.
type Outcome =
    ((std::result::Result<RunReport, LoadError>, Vec<String>), Vec<std::result::Result<u8, ClusterError>>);

fn load(servers: &Servers, logs: &Logs, processes: usize, workers: usize) -> Result<Outcome> {
    let (hosts, _ports) = free_hosts(processes)?;
    let loader = || servers.loader(small_chunks(4096));
    thread::scope(|scope| {
        let others: Vec<_> = (1..processes)
            .map(|process| {
                let hosts = &hosts;
                scope.spawn(move || {
                    let loader = loader().expect("sound addresses");
                    let mut cluster =
                        Cluster::join(member(hosts, process, workers), ahead(4), &loader.stop_handle())?;
                    let served = cluster.serve(&loader, &logs.files(), |_| ());
                    leave(cluster, &served.as_ref().copied());
                    served
                })
            })
            .collect();
        let first = || {
            let loader = loader()?;
            let mut finished = Vec::new();
            let mut cluster = Cluster::join(member(&hosts, 0, workers), ahead(4), &loader.stop_handle())?;
            let result = cluster.load(&loader, &logs.paths, &logs.files(), |event| {
                if let Event::InputFinished(input) = event {
                    finished.push(input.name);
                }
                Ok(())
            });
            leave(cluster, &result.as_ref().map(|_| FIRST_EXIT_CODE));
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((result, finished))
        };
        let first = first();
        let others = others.into_iter().map(|it| it.join().expect("no panic")).collect();
        Ok((first?, others))
    })
}

#[test]
fn any_number_of_processes_leaves_the_same() -> Result {
    let logs = Logs::of_lines(&[1500, 10, 0, 2500, 1000, 1200])?;
    let all = logs.paths.len();
    for (processes, workers) in [(1, 2), (2, 1), (3, 2)] {
        let servers = Servers::start(&[])?;
        let ((result, finished), others) = load(&servers, &logs, processes, workers)?;
        let report = result?;
        assert_eq!((report.inputs, finished), (all, logs.names()), "{processes} processes");
        assert_counts(&report.counts, &logs.model(all));
        let stored: u64 = report.servers.iter().map(|server| server.records).sum();
        assert_eq!(stored, report.counts.loaded);
        servers.assert_hold(&logs.model(all))?;
        assert!(others.iter().all(|it| matches!(it, Ok(FIRST_EXIT_CODE))), "{others:?}");
    }
    Ok(())
}

#[test]
fn a_broken_file_is_reported_by_the_first_process_and_ends_all() -> Result {
    let logs = Logs::of_lines(&[1000, 500, 700])?;
    std::fs::write(&logs.paths[1], "not gzip")?;
    let servers = Servers::start(&[])?;
    let ((result, finished), others) = load(&servers, &logs, 2, 1)?;
    let stopped = result.err().ok_or("it must stop")?;
    let Error::Read { file, source } = &stopped.error else { panic!("{stopped:?}") };
    assert_eq!((file, source.kind()), (&logs.names()[1], io::ErrorKind::InvalidData));
    assert_eq!(finished, logs.names()[..1]);
    servers.assert_hold(&logs.model(1))?;
    let [Err(ClusterError::Peer(peer))] = &others[..] else { panic!("{others:?}") };
    assert_eq!(peer.process, 0);
    assert!(peer.problem.starts_with("has stopped: cannot read"), "{peer}");
    Ok(())
}

/// A process that ended its attempt sooner than it looked at what had stopped it reported nothing, and the first waited
/// for ever.
#[test]
fn what_stops_another_process_at_once_is_reported() -> Result {
    let logs = Logs::of_lines(&[100])?;
    let mut servers = Servers::start(&[])?;
    // The second server is the second process's.
    servers.0[1].kill()?;
    for _ in 0..10 {
        let ((result, finished), others) = load(&servers, &logs, 2, 1)?;
        let stopped = result.err().ok_or("it must stop")?;
        assert!(
            matches!(&stopped.error, Error::Server { address, .. } if *address == servers.0[1].address()),
            "{stopped:?}"
        );
        assert!(finished.is_empty(), "{finished:?}");
        assert!(matches!(&others[..], [Err(ClusterError::Peer(_))]), "{others:?}");
    }
    Ok(())
}

#[test]
fn a_server_that_another_process_writes_to_is_restarted() -> Result {
    let logs = Logs::of_lines(&[300, 5000, 500])?;
    let mut servers = Servers::start(&[])?;
    let (hosts, _ports) = free_hosts(2)?;
    let loaders = [servers.loader(patient(1000))?, servers.loader(patient(1000))?];
    // The second server is the second process's.
    let server = Mutex::new(&mut servers.0[1]);
    let few = memc_cluster::Ahead { files: 3, bytes: 20_000 };
    let (mut restarts, mut finished) = (0, 0);
    let report = thread::scope(|scope| {
        let [first, second] = &loaders;
        let serving = scope.spawn(|| {
            let mut cluster = Cluster::join(member(&hosts, 1, 1), few, &second.stop_handle())?;
            let served = cluster.serve(second, &logs.files(), |_| ());
            cluster.end(Ok(0));
            served
        });
        let mut cluster = Cluster::join(member(&hosts, 0, 1), few, &first.stop_handle())?;
        let report = cluster.load(first, &logs.paths, &logs.files(), |event| {
            match event {
                Event::InputFinished(_) => {
                    finished += 1;
                    if finished == 1 {
                        let mut server = server.lock().expect("a lock");
                        server.kill()?;
                        server.restart()?;
                    }
                }
                Event::ServerRestarted { .. } => restarts += 1,
                _ => {}
            }
            Ok(())
        });
        cluster.end(Ok(0));
        serving.join().expect("no panic")?;
        Ok::<_, Box<dyn std::error::Error + Send + Sync>>(report?)
    })?;
    assert_eq!((report.inputs, restarts, finished), (3, 1, 3));
    assert_counts(&report.counts, &logs.model(3));
    Ok(())
}

#[test]
fn who_is_not_there_is_named_in_time() -> Result {
    let servers = Servers::start(&[])?;
    let loader = servers.loader(small_chunks(4096))?;
    let (hosts, _ports) = free_hosts(2)?;
    for (process, missing, problem) in [(0, 1, "has not connected"), (1, 0, "cannot be reached")] {
        let started = Instant::now();
        let mut member = member(&hosts, process, 1);
        member.timeout = Duration::from_millis(300);
        let joined = Cluster::join(member, ahead(1), &loader.stop_handle());
        let Err(ClusterError::Peer(peer)) = joined else { panic!("{joined:?}") };
        assert_eq!((peer.process, Some(peer.address.as_str())), (missing, hosts.address(missing)));
        assert!(peer.problem.starts_with(problem), "{peer}");
        assert!(started.elapsed() < Duration::from_secs(15), "{:?}", started.elapsed());
    }
    let taken = TcpListener::bind(hosts.address(0).ok_or("an address")?)?;
    let joined = Cluster::join(member(&hosts, 0, 1), ahead(1), &loader.stop_handle());
    assert!(matches!(joined, Err(ClusterError::Listen { process: 0, .. })), "{joined:?}");
    drop(taken);
    let joined = Cluster::join(member(&hosts, 2, 1), ahead(1), &loader.stop_handle());
    let text = joined.err().map(|error| error.to_string());
    assert_eq!(
        text.as_deref(),
        Some("there is no process 2: the hosts file has 2 addresses, so the last process is 1")
    );
    Ok(())
}

#[test]
fn processes_that_do_not_fit_refuse_each_other() -> Result {
    let servers = Servers::start(&[])?;
    let stop = servers.loader(small_chunks(4096))?.stop_handle();
    let secret = "its secret is another one: give all processes the same MEMC_LOAD_CLUSTER_SECRET";
    for (version, key, problems) in [
        (
            "0.9",
            "secret",
            [
                "it is memc-load 0.9, and this is 1: all processes must be of one version",
                "it is memc-load 1, and this is 0.9: all processes must be of one version",
            ],
        ),
        ("1", "another", [secret, secret]),
    ] {
        let (hosts, _ports) = free_hosts(2)?;
        let mut members = [0, 1].map(|process| member(&hosts, process, 1));
        members[1].version = version.to_owned();
        members[1].secret = key.into();
        let timeout = members[0].timeout;
        let started = Instant::now();
        let joined = thread::scope(|scope| {
            let joining = members.map(|member| scope.spawn(|| Cluster::join(member, ahead(1), &stop)));
            joining.map(|it| it.join().expect("no panic"))
        });
        for ((joined, other), problem) in joined.into_iter().zip([1, 0]).zip(problems) {
            let Err(ClusterError::Peer(peer)) = joined else { panic!("{joined:?}") };
            let address = hosts.address(other).ok_or("an address")?;
            assert_eq!(peer.to_string(), format!("process {other} ({address}): {problem}"));
        }
        assert!(started.elapsed() < timeout, "they must not wait for each other: {:?}", started.elapsed());
    }
    Ok(())
}
