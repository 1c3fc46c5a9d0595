//! Groups of servers: each record is on the server that its group chooses, whatever happens.

use std::collections::HashMap;
use std::io;
use std::time::Duration;

use memc_core::apps::AppsEncoder;
use memc_core::{
    Address, Distribution, Error, Event, Group, GroupServer, Input, Loader, Protocol, RejectReason, RunReport,
};
use memc_testkit::{DEVICE_TYPES, Fault, Memcached, Model, Proxy, Sample};

use crate::disturbed::SHORT_TIMEOUT;
use crate::{Result, assert_counts, ignore, input, small_chunks};

/// A group of servers at these addresses, the second of twice the weight.
fn group(addresses: &[String]) -> Result<Group> {
    let servers = addresses
        .iter()
        .zip([1, 2, 1])
        .map(|(address, weight)| Ok(GroupServer::new(address.parse()?, weight, None)));
    Ok(Group::new(servers.collect::<Result<Vec<_>>>()?, Distribution::Ketama)?)
}

/// The four device types have two lists, with two of the five servers in both. A connection to one of these breaks.
#[test]
fn the_last_record_of_each_key_is_on_the_server_that_its_group_chooses() -> Result {
    let servers = (0..5).map(|_| Memcached::start(&[])).collect::<io::Result<Vec<_>>>()?;
    let proxy = Proxy::start(&servers[2].address(), [Fault::CutSent(3000)])?;
    let mut addresses: Vec<_> = servers.iter().map(Memcached::address).collect();
    addresses[2] = proxy.address();
    let (one, two) = (group(&addresses[..3])?, group(&addresses[1..4])?);
    let groups = [one.clone(), two.clone(), one, two, addresses[4].parse::<Address>()?.into()];
    let mut text = Sample::new(5).with(0.5, 0.05).text(4000);
    let mut model = Model::new();
    model.load(&text);
    text.extend(b"solo\t1\t1.5\t2.5\t3\n");
    let mut options = small_chunks(2000);
    options.connections = 3;
    options.io_timeout = SHORT_TIMEOUT;
    options.retry_timeout = Duration::from_secs(10);
    let types = DEVICE_TYPES.iter().copied().chain(["solo"]);
    let loader = Loader::new(AppsEncoder::new(types), groups.clone(), options);

    let report = loader.load([input("log", text.clone())], ignore)?;
    let mut counts = report.counts.clone();
    counts.loaded -= 1;
    assert_counts(&counts, &model);
    assert!(report.servers[2].retries > 0, "the connection broke");
    let mut expected: HashMap<String, HashMap<Vec<u8>, Vec<u8>>> = HashMap::new();
    for (group, name) in groups.iter().zip(DEVICE_TYPES) {
        for (key, value) in &model.servers[name] {
            let address = group.servers()[group.server(key)].address.to_string();
            expected.entry(address).or_default().insert(key.clone(), value.clone());
        }
    }
    for (server, address) in servers.iter().zip(&addresses).take(4) {
        let found: HashMap<_, _> =
            server.contents()?.into_iter().map(|(key, item)| (key, item.value)).collect();
        assert!(found == expected[address], "{address}");
    }
    assert_eq!(servers[4].contents()?.len(), 1);

    // A dry run names the same servers, and counts as much for each.
    let mut shown = vec![0; servers.len()];
    let dry = loader.dry_run(
        [input("log", text)],
        |record| {
            let group = &groups[record.group];
            assert_eq!(record.server, group.server(record.key));
            let address = group.servers()[record.server].address.to_string();
            shown[addresses.iter().position(|it| *it == address).unwrap_or_default()] += 1;
        },
        ignore,
    )?;
    let records = |report: &RunReport| report.servers.iter().map(|it| it.records).collect::<Vec<_>>();
    assert_eq!(records(&dry), shown);
    assert_eq!(records(&dry), records(&report));
    Ok(())
}

/// Readers without failover look for a key on its own server alone, so no other one must get it.
#[test]
fn a_server_of_a_list_that_is_away_stops_the_load() -> Result {
    let mut servers = (0..3).map(|_| Memcached::start(&[])).collect::<io::Result<Vec<_>>>()?;
    let addresses: Vec<_> = servers.iter().map(Memcached::address).collect();
    let group = group(&addresses)?;
    servers[1].kill()?;
    let mut options = small_chunks(2000);
    options.retry_timeout = Duration::from_millis(300);
    let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), DEVICE_TYPES.map(|_| group.clone()), options);
    let text = Sample::new(6).text(1000);
    let stopped = loader.load([Input::bytes("log", text)], ignore).err().ok_or("it must stop")?;
    let Error::Server { address, retries, .. } = &stopped.error else { return Err(stopped.into()) };
    assert_eq!(address, &addresses[1]);
    assert!(*retries > 0);
    assert_eq!(stopped.report.inputs, 0);
    for at in [0, 2] {
        let keys = servers[at].contents()?.into_keys();
        assert_eq!(keys.filter(|key| group.server(key) != at).count(), 0, "no failover");
    }
    Ok(())
}

/// With many connections each waits for several batches before it writes: but not where the reader waits for memory,
/// and not for ever.
#[test]
fn many_connections_gather_their_batches_and_hold_nothing_up() -> Result {
    let servers = (0..2).map(|_| Memcached::start(&[])).collect::<io::Result<Vec<_>>>()?;
    let addresses: Vec<_> = servers.iter().map(Memcached::address).collect();
    let group = group(&addresses)?;
    let texts: Vec<_> = (0..3).map(|seed| Sample::new(seed).with(0.5, 0.0).text(2000)).collect();
    let mut model = Model::new();
    texts.iter().for_each(|text| model.load(text));
    let expected: HashMap<_, _> = model.servers.into_values().flatten().collect();
    for max_bytes_in_flight in [20_000, 40 << 20] {
        let mut options = small_chunks(3000);
        options.connections = 16;
        options.max_bytes_in_flight = max_bytes_in_flight;
        let loader =
            Loader::new(AppsEncoder::new(DEVICE_TYPES), DEVICE_TYPES.map(|_| group.clone()), options);
        let inputs = texts.iter().map(|text| Input::bytes("log", text.clone()));
        let report = loader.load(inputs.collect::<Vec<_>>(), ignore)?;
        assert_eq!(report.counts.loaded, model.loaded);
        // Each of the 600 chunks may wait for a quarter of a second.
        assert!(report.duration < Duration::from_secs(40), "{:?}", report.duration);
        let mut found = HashMap::new();
        for server in &servers {
            found.extend(server.contents()?.into_iter().map(|(key, item)| (key, item.value)));
        }
        assert!(found == expected, "{} of {} records", found.len(), expected.len());
    }
    Ok(())
}

/// With many connections their batches are acknowledged together: what is refused is found in the middle of them.
#[test]
fn refused_records_are_found_among_batches_that_are_acknowledged_together() -> Result {
    let start = || Memcached::start(&["-I", "8k", "-o", "slab_chunk_max=4096"]);
    let servers = (0..3).map(|_| start()).collect::<io::Result<Vec<_>>>()?;
    let addresses: Vec<_> = servers.iter().map(Memcached::address).collect();
    let group = group(&addresses)?;
    let large = vec!["4294967295"; 2000].join(",");
    let mut expected: HashMap<Vec<u8>, Vec<u8>> = HashMap::new();
    let mut expected_rejects = Vec::new();
    let mut texts = [String::new(), String::new()];
    for (file, text) in texts.iter_mut().enumerate() {
        for number in 0..3000_u32 {
            let is_large = number % 101 == 50;
            let (name, apps) = (DEVICE_TYPES[number as usize % 4], if is_large { &large } else { "1,2" });
            let line = format!("{name}\tkey{}\t{number}\t{file}\t{apps}", number % 907);
            let mut one = Model::new();
            one.load(line.as_bytes());
            // What is refused leaves nothing under its key.
            for (key, value) in one.servers.into_values().flatten() {
                expected.insert(key.clone(), value);
                if is_large {
                    expected.remove(&key);
                    expected_rejects.push((file, u64::from(number) + 1, line.clone().into_bytes()));
                }
            }
            *text += &line;
            text.push('\n');
        }
    }
    for protocol in [Protocol::Meta, Protocol::Classic] {
        let mut options = small_chunks(300);
        options.connections = 6;
        options.report_rejected = true;
        options.protocol = Some(protocol);
        let loader =
            Loader::new(AppsEncoder::new(DEVICE_TYPES), DEVICE_TYPES.map(|_| group.clone()), options);
        let inputs: Vec<_> = texts.iter().map(|text| input("log", text.as_bytes())).collect();
        let mut rejects = Vec::new();
        let report = loader.load(inputs, |event| {
            if let Event::LinesRejected { index, lines, .. } = event {
                rejects.extend(lines.lines().map(|(line, _, text)| (index, line, text.to_vec())));
            }
            Ok(())
        })?;
        assert!(rejects == expected_rejects, "{} of {}", rejects.len(), expected_rejects.len());
        let refused = report.counts.rejected[&RejectReason::ServerRefused];
        assert_eq!((report.counts.loaded + refused, refused), (6000, expected_rejects.len() as u64));
        let records: u64 = report.servers.iter().map(|server| server.records).sum();
        let batches: u64 = report.servers.iter().map(|server| server.batches).sum();
        assert_eq!(records, report.counts.loaded);
        assert!(batches < records / 3, "{batches} batches, where most had one record");
        let mut found = HashMap::new();
        for server in &servers {
            found.extend(server.contents()?.into_iter().map(|(key, item)| (key, item.value)));
        }
        assert!(found == expected, "{} of {} records", found.len(), expected.len());
    }
    Ok(())
}
