//! A run that follows one that was killed while a busy server had not read all of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::Memcached;
use rustix::process::Signal;

use crate::workdir::{Workdir, model};

/// This many clients keep one of the server's two threads busy.
const BUSY_CLIENTS: usize = 12;

/// The number of a server's statistics, asked on this connection.
fn stat(socket: &mut BufReader<TcpStream>, name: &str) -> Result<u64> {
    socket.get_mut().write_all(b"stats\r\n")?;
    let mut found = None;
    loop {
        let mut line = String::new();
        socket.read_line(&mut line)?;
        if line == "END\r\n" {
            return found.with_context(|| format!("no {name}"));
        }
        if let Some(value) = line.strip_prefix(&format!("STAT {name} ")) {
            found = value.trim_end().parse().ok();
        }
    }
}

/// Reads a large value again and again until the end.
fn keep_busy(mut socket: TcpStream, value_bytes: usize, end: &AtomicBool) -> Result<()> {
    let mut answer =
        vec![0; format!("VALUE big 0 {value_bytes}\r\n").len() + value_bytes + b"\r\nEND\r\n".len()];
    while !end.load(Ordering::SeqCst) {
        socket.write_all(b"get big\r\n")?;
        socket.read_exact(&mut answer)?;
    }
    Ok(())
}

/// Kills a run with this signal and starts another one; `spares` connections decide which thread serves them.
fn follow_a_killed_run(spares: usize, signal: Signal) -> Result<()> {
    let work = Workdir::new()?;
    let line = |number: u32| format!("imei\tkey{}\t{number}\t0\t1,2,3,4,5,6,7,8\n", number % 100);
    work.gzip("1.tsv.gz", (0..20_000).map(line).collect::<String>())?;
    let server = Memcached::start(&["-t", "2", "-m", "64"])?;
    let connect = || TcpStream::connect(server.address());
    let mut asked = BufReader::new(connect()?);
    let value = vec![b'x'; 900_000];
    let mut socket = connect()?;
    socket.write_all(&[format!("set big 0 0 {}\r\n", value.len()).as_bytes(), &value, b"\r\n"].concat())?;
    socket.read_exact(&mut [0; 8])?;
    // The server's threads take connections in turn: these are of one thread, with one of the other between them.
    let clients = (0..2 * BUSY_CLIENTS).map(|_| connect()).collect::<std::io::Result<Vec<_>>>()?;
    let spares = (0..spares).map(|_| connect()).collect::<std::io::Result<Vec<_>>>()?;
    let end = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for socket in clients.iter().step_by(2) {
            let socket = socket.try_clone()?;
            scope.spawn(|| keep_busy(socket, value.len(), &end));
        }
        let result = (|| {
            let route = format!("imei={}", server.address());
            let options = ["--route", route.as_str(), "--timeout", "200ms"];
            let running = work.start(&options)?;
            let started = Instant::now();
            while stat(&mut asked, "cmd_set")? < 100 && started.elapsed() < Duration::from_secs(20) {
                std::thread::sleep(Duration::from_millis(5));
            }
            running.signal(signal)?;
            work.finish(running)?;
            let run = work.load(&options)?;
            run.exits(0)?;
            run.leaves(&[".1.tsv.gz"])
        })();
        end.store(true, Ordering::SeqCst);
        result
    })?;
    drop((clients, spares, socket));
    let started = Instant::now();
    while stat(&mut asked, "curr_connections")? > 1 && started.elapsed() < Duration::from_secs(20) {
        std::thread::sleep(Duration::from_millis(20));
    }
    let text: String = (0..20_000).map(line).collect();
    let expected = model(&[text.replace("imei\t", "idfa\t")]);
    let found = server.contents()?;
    let right = |(key, value): (&Vec<u8>, &Vec<u8>)| {
        let key = [b"imei", &key[4..]].concat();
        found.get(&key).is_some_and(|item| item.value == *value)
    };
    let wrong = expected.servers["idfa"].iter().filter(|record| !right(*record)).count();
    ensure!(wrong == 0, "{wrong} of 100 keys hold an older value");
    Ok(())
}

#[test]
fn sets_that_a_killed_run_has_left_in_a_busy_server_do_not_stay() -> Result<()> {
    for spares in [0, 1] {
        follow_a_killed_run(spares, Signal::KILL)?;
    }
    Ok(())
}

#[test]
fn sets_that_a_stopped_run_has_left_in_a_busy_server_do_not_stay() -> Result<()> {
    for spares in [0, 1] {
        follow_a_killed_run(spares, Signal::TERM)?;
    }
    Ok(())
}
