//! Lists of servers for one device type: options, naming, `check`, `get`, `verify`, report, metrics.

use std::collections::HashMap;
use std::io;

use anyhow::{Context, Result, ensure};
use memc_core::{Distribution, Group, GroupServer};
use memc_testkit::{Memcached, Sample};

use crate::workdir::{Workdir, model, same};

/// Three servers, and the list that names them.
struct List {
    servers: Vec<Memcached>,
    text: String,
}

impl List {
    /// The second one has the weight 2 and a name.
    fn start() -> Result<Self> {
        let servers = (0..3).map(|_| Memcached::start(&[])).collect::<io::Result<Vec<_>>>()?;
        let [a, b, c] = [0, 1, 2].map(|at: usize| servers[at].address());
        Ok(Self { servers, text: format!("{a}, {b}:2 beta,{c}") })
    }

    fn group(&self, distribution: Distribution) -> Result<Group> {
        Ok(Group::new(GroupServer::list(&self.text)?, distribution)?)
    }
}

#[test]
fn a_list_is_loaded_as_its_readers_hash_and_each_command_names_its_servers() -> Result<()> {
    let work = Workdir::new()?;
    let list = List::start()?;
    let text = Sample::new(31).with(0.2, 0.0).text(3000);
    work.gzip("1.tsv.gz", &text)?;
    let model = model(&[&text]);
    let expected = &model.servers["idfa"];
    let options = ["--idfa", &list.text, "--distribution", "crc32"];

    let group = list.group(Distribution::Crc32)?;
    let (report, metrics) = (work.name("report.json"), work.name("memc.prom"));
    let dry = work.load(&[&options[..], &["--dry", "--report", &report]].concat())?;
    dry.exits(0)?;
    let some_key = expected.keys().next().context("a key")?;
    let of_some_key = group.server(some_key);
    let line = format!(" - {} -> ", some_key.escape_ascii());
    let shown = dry.stderr.lines().find(|it| it.contains(&line)).context("it is shown")?;
    ensure!(shown.contains(&list.servers[of_some_key].address()), "{shown}");
    let shares = ["25.0", "50.0", "25.0"];
    let named = |at: usize| format!("{} (--idfa server {} of 3)", list.servers[at].address(), at + 1);
    let share = |at: usize| format!("; {} % of the idfa keys belong to it", shares[at]);
    for at in 0..3 {
        let line = format!("D {}: ", named(at));
        let line = dry.stderr.lines().find(|it| it.contains(&line)).context("a line for each server")?;
        ensure!(line.ends_with(&share(at)) && !line.contains(": 0 records"), "{line}");
    }
    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    let dry_records: Vec<_> = (0..3).map(|at| json["servers"][at]["records"].clone()).collect();

    let run = work.load(&[&options[..], &["-v", "--report", &report, "--metrics", &metrics]].concat())?;
    run.exits(0)?;
    ensure!(run.stderr.contains(" distribution=crc32 "), "{}", run.stderr);
    let mut of_servers = vec![HashMap::new(); 3];
    for (key, value) in expected {
        of_servers[group.server(key)].insert(key.clone(), value.clone());
    }
    for (server, expected) in list.servers.iter().zip(&of_servers) {
        same(&server.contents()?, expected)?;
    }

    let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&report)?)?;
    ensure!(json["distribution"] == "crc32", "{json}");
    let text = std::fs::read_to_string(&metrics)?;
    for at in 0..3 {
        let address = list.servers[at].address();
        let server = &json["servers"][at];
        ensure!(server["address"] == address.as_str(), "{server}");
        ensure!(server["shares"]["idfa"] == [0.25, 0.5, 0.25][at], "{server}");
        ensure!(server["records"] == dry_records[at], "{server}");
        let line = format!(
            "memc_load_server_key_share_ratio{{device_type=\"idfa\",server=\"{address}\"}} {}\n",
            [0.25, 0.5, 0.25][at]
        );
        ensure!(text.contains(&line), "{text}");
        ensure!(run.stderr.contains(&format!("D {}: ", named(at))), "{}", run.stderr);
    }
    ensure!(json["servers"][3]["shares"] == serde_json::json!({}), "{json}");
    ensure!(!text.contains("device_type=\"gaid\""), "{text}");

    let check = work.with_servers(&[&options[..], &["check", &work.name(".1.tsv.gz")]].concat())?;
    for (at, server) in list.servers.iter().enumerate() {
        let line = format!("ok   server {} ({} % of idfa): ", server.address(), shares[at]);
        ensure!(check.stdout.contains(&line), "{}", check.stdout);
    }

    let key = String::from_utf8(some_key.clone())?;
    let get = work.with_servers(&[&options[..], &["get", &key]].concat())?;
    get.ensure(get.status().success(), "it is there")?;
    let address = list.servers[of_some_key].address();
    ensure!(get.stdout.starts_with(&format!("{address} - {key} -> ")), "{}", get.stdout);
    let (at, choice) = (of_some_key + 1, group.choice(some_key));
    let why = format!("I {address} - {key}: --idfa server {at} of 3 by crc32: {choice}\n");
    ensure!(get.stderr.ends_with(&why) && why.contains(" modulo 4 is bucket "), "{}", get.stderr);

    let verify = work.with_servers(&[&options[..], &["verify", &work.name(".1.tsv.gz")]].concat())?;
    let keys: usize = model.servers.values().map(HashMap::len).sum();
    verify.shows(0, &[format!("{keys} keys: {keys} same, 0 different, 0 missing")])?;
    for (at, keys) in of_servers.iter().enumerate() {
        let count = keys.len();
        let line =
            format!("I {}: {count} keys: {count} same, 0 different, 0 missing{}", named(at), share(at));
        ensure!(verify.stderr.contains(&line), "{line} is not in {}", verify.stderr);
    }
    // Readers with another distribution do not find all.
    let other = ["--idfa", &list.text, "verify", &work.name(".1.tsv.gz")];
    let other = work.with_servers(&other)?;
    other.ensure(other.status().code() == Some(3) && !other.stdout.contains(" 0 missing"), "some are missing")
}

#[test]
fn a_list_may_be_a_variable_and_the_same_servers_serve_a_further_type() -> Result<()> {
    let work = Workdir::new()?;
    let list = List::start()?;
    let (sockets, server) = (work.name("m.sock"), Memcached::start_unix(&work.path("m.sock"))?);
    let [a, b] = [0, 1].map(|at: usize| list.servers[at].address());
    let route = format!("imei={a},{b}:3 b,unix:{sockets} s meid={b}");
    let lines: Vec<_> = (0..300).map(|id| format!("imei\t{id}\t1\t2\t3\nmeid\t{id}\t1\t2\t3\n")).collect();
    work.gzip("1.tsv.gz", lines.concat())?;
    let variables = [("MEMC_LOAD_ROUTE", route.as_str()), ("MEMC_LOAD_DISTRIBUTION", "ketama-plain")];
    work.finish(work.start_with(&[], &variables)?)?.exits(0)?;
    let servers = GroupServer::list(&format!("{a},{b}:3 b,unix:{sockets} s"))?;
    let group = Group::new(servers, Distribution::KetamaPlain)?;
    let held = [list.servers[0].contents()?, list.servers[1].contents()?, server.contents()?];
    for id in 0..300 {
        let key = format!("imei:{id}").into_bytes();
        let holders: Vec<_> = (0..3).filter(|&at| held[at].contains_key(&key)).collect();
        ensure!(holders == [group.server(&key)], "imei:{id}: {holders:?}");
        ensure!(held[1].contains_key(format!("meid:{id}").as_bytes()), "meid:{id}");
    }
    Ok(())
}

#[test]
fn a_server_of_a_list_that_is_away_stops_the_run_and_is_named() -> Result<()> {
    let work = Workdir::new()?;
    let mut list = List::start()?;
    list.servers[1].kill()?;
    work.gzip("1.tsv.gz", Sample::new(2).text(500))?;
    let run = work.load(&["--idfa", &list.text, "--retry-for", "300ms"])?;
    run.exits(1)?;
    let address = list.servers[1].address();
    for line in [
        format!("W {address} (--idfa server 2 of 3): away: "),
        format!(
            "the server of 'idfa' records is at fault (option --idfa server 2 of 3): memcached server '{address}'"
        ),
    ] {
        ensure!(run.stderr.contains(&line), "{}", run.stderr);
    }
    ensure!(work.files()? == ["1.tsv.gz"], "no failover: it is not done");
    Ok(())
}
