//! Servers other than four that run on 127.0.0.1: further ones, dead ones, ones in other places.

use std::net::TcpListener;
use std::time::Duration;

use anyhow::Result;
use memc_testkit::{Memcached, Sample};

use crate::run::skip;
use crate::workdir::{Workdir, model, same};

/// Loads a file with `server` at `address` for the idfa records, and checks that it has got them.
fn loads_into(server: &Memcached, address: &str) -> Result<()> {
    let work = Workdir::new()?;
    let text = Sample::new(1).with(0.3, 0.0).text(1000);
    work.gzip("1.tsv.gz", &text)?;
    let run = work.load(&["--idfa", address])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    same(&server.contents()?, &model(&[text]).servers["idfa"])
}

#[test]
fn a_server_may_listen_on_a_unix_socket() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let server = Memcached::start_unix(&folder.path().join("socket"))?;
    loads_into(&server, &server.address())
}

#[test]
fn a_server_may_listen_on_ipv6() -> Result<()> {
    if TcpListener::bind("[::1]:0").is_err() {
        return skip("there is no IPv6 here");
    }
    let server = Memcached::start(&["-l", "::1"])?;
    loads_into(&server, &server.address().replace("127.0.0.1", "[::1]"))
}

#[test]
fn a_server_may_be_given_by_host_name() -> Result<()> {
    let server = Memcached::start(&[])?;
    loads_into(&server, &server.address().replace("127.0.0.1", "localhost"))
}

#[test]
fn a_route_adds_a_fifth_device_type() -> Result<()> {
    let work = Workdir::new()?;
    let server = Memcached::start(&[])?;
    let text = Sample::new(2).with(0.3, 0.0).text(1000);
    let imei = String::from_utf8(text.clone())?.replace("idfa\t", "imei\t");
    work.gzip("1.tsv.gz", &text)?;
    work.gzip("2.tsv.gz", imei)?;
    let run = work.load(&["--route", &format!("imei={}", server.address())])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz"])?;
    let expected = model(&[text]);
    work.holds(&expected)?;
    let renamed = |(key, value): (&Vec<u8>, &Vec<u8>)| ([b"imei", &key[4..]].concat(), value.clone());
    same(&server.contents()?, &expected.servers["idfa"].iter().map(renamed).collect())
}

#[test]
fn device_types_may_share_a_server() -> Result<()> {
    let work = Workdir::new()?;
    let text = Sample::new(3).with(0.3, 0.0).text(1000);
    work.gzip("1.tsv.gz", &text)?;
    let server = Memcached::start(&[])?;
    let address = server.address();
    let run = work.load(&["--idfa", &address, "--gaid", &address, "--adid", &address, "--dvid", &address])?;
    run.exits(0)?;
    same(&server.contents()?, &model(&[text]).servers.into_values().flatten().collect())
}

#[test]
fn a_shared_server_at_fault_is_named_with_all_of_its_options() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "imei\tx\t1\t2\t3\n")?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let address = dead.address();
    let route = format!("imei={address}");
    let run = work.load(&["--gaid", &address, "--route", &route, "--retry-for", "0s"])?;
    run.exits(1)?;
    run.fails_with(&[
        "the server of 'gaid', 'imei' records is at fault (options --gaid, --route imei=ADDR): ",
        &address,
    ])
}

#[test]
fn a_server_that_does_not_run_stops_the_load() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(4).text(2000))?;
    work.gzip("2.tsv.gz", Sample::new(5).text(2000))?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let run = work.load(&["--dvid", &dead.address(), "--retry-for", "1s"])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz", "2.tsv.gz"])?;
    run.fails_with(&[&format!("memcached server '{}'", dead.address()), "refused"])?;
    let (least, most) = (Duration::from_secs(1), Duration::from_secs(15));
    run.ensure((least..most).contains(&run.elapsed), "expected to be given up after a second")?;

    dead.restart()?;
    let run = work.load(&["--dvid", &dead.address()])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz"])
}

#[test]
fn a_server_that_comes_up_late_is_waited_for() -> Result<()> {
    let work = Workdir::new()?;
    let text = Sample::new(6).text(2000);
    work.gzip("1.tsv.gz", &text)?;
    let mut late = Memcached::start(&[])?;
    late.kill()?;
    let address = late.address();
    let mut running = work.start(&["--gaid", &address])?;
    running.wait_for_log(": away: ")?;
    late.restart()?;
    let run = work.finish(running)?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    let warnings = run.log_of("W")?;
    let sound = warnings.iter().all(|line| line.starts_with(&address))
        && warnings
            .last()
            .is_some_and(|line| line.ends_with(" retries, since it was away or a connection broke"));
    run.ensure(sound, "expected a warning of retries")?;
    same(&late.contents()?, &model(&[text]).servers["gaid"])
}

#[test]
fn a_server_that_accepts_and_says_nothing_stops_the_load() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(7).text(100))?;
    let silent = TcpListener::bind("127.0.0.1:0")?;
    let address = silent.local_addr()?.to_string();
    let run = work.load(&["--adid", &address, "--timeout", "300ms", "--retry-for", "1s"])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz"])?;
    run.fails_with(&[&address])?;
    run.ensure(run.elapsed < Duration::from_secs(15), "expected to be given up after a second")
}

#[test]
fn a_server_without_records_need_not_run() -> Result<()> {
    let work = Workdir::new()?;
    let text = "idfa\tx\t1\t2\t3\n";
    work.gzip("1.tsv.gz", text)?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let run = work.load(&["--dvid", &dead.address()])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    work.holds(&model(&[text]))
}
