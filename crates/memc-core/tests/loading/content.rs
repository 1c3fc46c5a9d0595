//! The servers hold, byte for byte, what a loader of one line after the other would leave.

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Event, Loader, Options, RejectReason};
use memc_testkit::{DEVICE_TYPES, Memcached, Model, Sample, gzip};

use crate::{Result, Servers, assert_counts, ignore, input, small_chunks};

/// Loads three files full of duplicates and bad lines, and compares everything.
fn assert_equivalent(threads: usize, chunk_bytes: usize, connections: u32) -> Result {
    let servers = Servers::start(&["-t", "2"])?;
    let mut sample = Sample::new(threads as u64).with(0.3, 0.05);
    let texts: Vec<_> = (0..3).map(|_| sample.text(4000)).collect();
    let mut model = Model::new();
    texts.iter().for_each(|text| model.load(text));
    let inputs: Vec<_> =
        (0..3).map(|at| Ok(input(&at.to_string(), gzip(&texts[at])?))).collect::<Result<_>>()?;

    let mut options = small_chunks(chunk_bytes);
    options.connections = connections;
    options.threads = threads;
    let mut finished = Vec::new();
    let report = servers.loader(options)?.load(inputs, |event| {
        if let Event::InputFinished(file) = event {
            finished.push(file);
        }
        Ok(())
    })?;

    servers.assert_hold(&model)?;
    assert_counts(&report.counts, &model);
    assert_eq!(finished.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(finished.iter().map(|file| file.counts.lines).sum::<u64>(), 12_000);
    assert_eq!(finished.iter().map(|file| file.counts.loaded).sum::<u64>(), report.counts.loaded);
    assert_eq!(report.servers.iter().map(|server| server.records).sum::<u64>(), model.loaded);
    for (server, report) in servers.0.iter().zip(&report.servers) {
        assert_eq!(report.address, server.address());
        assert_eq!(server.stat("cmd_set")?, report.records, "each record is sent once");
        assert_eq!(report.retries, 0);
    }
    Ok(())
}

#[test]
fn a_large_member_leaves_what_the_model_says() -> Result {
    let servers = Servers::start(&["-m", "256"])?;
    let text = Sample::new(5).with(0.3, 0.05).text(24_000);
    let mut model = Model::new();
    model.load(&text);
    let compressed = gzip(&text)?;
    assert!(compressed.len() > 3 << 20, "{} bytes are few", compressed.len());
    let report = servers.loader(Options::default())?.load([input("large", compressed)], ignore)?;
    servers.assert_hold(&model)?;
    assert_counts(&report.counts, &model);
    Ok(())
}

#[test]
fn one_thread_leaves_what_the_model_says() -> Result {
    assert_equivalent(1, 3000, 1)
}

#[test]
fn two_threads_leave_what_the_model_says() -> Result {
    assert_equivalent(2, 3000, 1)
}

#[test]
fn eight_threads_leave_what_the_model_says() -> Result {
    assert_equivalent(8, 3000, 1)
}

#[test]
fn a_chunk_for_every_line_leaves_what_the_model_says() -> Result {
    assert_equivalent(8, 1, 1)
}

#[test]
fn large_chunks_leave_what_the_model_says() -> Result {
    assert_equivalent(8, 1 << 20, 1)
}

#[test]
fn several_connections_leave_what_the_model_says() -> Result {
    assert_equivalent(8, 3000, 3)
}

/// One key on every line: whatever order the chunks are worked in, the last line must win.
#[test]
fn the_last_of_many_lines_with_one_key_wins() -> Result {
    let servers = Servers::start(&[])?;
    let mut options = small_chunks(200);
    options.threads = 8;
    let loader = servers.loader(options)?;
    for round in 0..5 {
        let line = |number: u32| format!("gaid\tsame\t1\t{round}\t{number}\n");
        let texts = [(0..3000).map(line).collect::<String>(), (3000..6000).map(line).collect()];
        let mut model = Model::new();
        texts.iter().for_each(|text| model.load(text.as_bytes()));
        loader.load(texts.map(|text| input("same", text)), ignore)?;
        servers.assert_hold(&model)?;
    }
    Ok(())
}

#[test]
fn a_value_over_the_item_size_is_refused_and_counted() -> Result {
    let servers = Servers::start(&[])?;
    let apps = vec!["4294967295"; 200_000].join(",");
    let text = format!(
        "idfa\tsmall\t1\t2\t3\n\nidfa\tlarge\t1\t2\t{apps}\nidfa\tafter\t1\t2\t4\ngaid\tother\t1\t2\t5\n"
    );
    let mut rejected_lines = Vec::new();
    let report = servers.loader(small_chunks(100))?.load([input("large", text)], |event| {
        if let Event::InputFinished(file) = event {
            rejected_lines = file.rejected_lines;
        }
        Ok(())
    })?;
    assert_eq!((report.counts.loaded, report.counts.rejected_total()), (3, 1));
    assert_eq!(report.counts.rejected[&RejectReason::ServerRefused], 1);
    assert_eq!((rejected_lines[0].line, &rejected_lines[0].reason), (3, &RejectReason::ServerRefused));
    let address = servers.0[0].address();
    let text = format!("SERVER_ERROR object too large for cache: idfa:large of {address}");
    assert_eq!(rejected_lines[0].text, text);
    let keys: Vec<_> = servers.0[0].contents()?.into_keys().collect();
    assert_eq!(keys, [&b"idfa:after"[..], b"idfa:small"]);
    Ok(())
}

/// Refusals in many batches, with other batches of the same keys in flight behind each.
#[test]
fn refused_sets_do_not_disturb_the_order_of_the_others() -> Result {
    let servers = Servers::start(&[])?;
    let large = vec!["4294967295"; 200_000].join(",");
    let mut text = String::new();
    for number in 0..400 {
        let apps = if number % 100 == 50 { &large } else { "1" };
        text += &format!("idfa\tkey{}\t{number}\t0\t{apps}\n", number % 7);
    }
    let report = servers.loader(small_chunks(100))?.load([input("refused", text.clone())], ignore)?;
    assert_eq!(report.counts.rejected[&RejectReason::ServerRefused], 4);
    let mut model = Model::new();
    // What is refused leaves nothing under its key, as it would one by one; here a later line follows.
    text.lines().filter(|line| line.len() < 1000).for_each(|line| model.load(line.as_bytes()));
    servers.assert_hold(&model)
}

/// A memcached that refuses everything answers more than the socket buffers hold.
#[test]
fn a_flood_of_refusals_blocks_nobody() -> Result {
    let server = Memcached::start(&["-m", "2", "-M"])?;
    let filler = "99999999";
    let line = |number: u32| format!("idfa\tkey{number}\t1\t2\t{filler},{filler},{filler}\n");
    let text: String = (0..100_000).map(line).collect();
    let loader = Loader::new(
        AppsEncoder::new(["idfa"]),
        vec![server.address().parse::<Address>()?],
        Options::default(),
    );
    let report = loader.load([input("flood", text)], ignore)?;
    let refused = report.counts.rejected[&RejectReason::ServerRefused];
    assert!(refused > 10_000, "{refused}");
    assert_eq!(report.counts.loaded + refused, 100_000);
    assert_eq!(server.stat("curr_items")?, report.counts.loaded);
    Ok(())
}

#[test]
fn unix_sockets_and_ipv6_are_addresses_too() -> Result {
    let folder = tempfile::tempdir()?;
    let socket = folder.path().join("memcached.sock");
    let text = Sample::new(9).text(500);
    let mut model = Model::new();
    model.load(&text);
    let mut servers = Servers::start(&["-l", "::1"])?;
    servers.0[1] = Memcached::start_unix(&socket)?;
    let addresses = servers.0.iter().map(|server| server.address().replace("127.0.0.1", "[::1]").parse());
    let addresses = addresses.collect::<std::result::Result<Vec<Address>, _>>()?;
    let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), addresses, Options::default());
    loader.load([input("v6", text)], ignore)?;
    servers.assert_hold(&model)
}

#[test]
fn nothing_to_load_is_done_at_once() -> Result {
    let loader =
        Loader::new(AppsEncoder::new(["idfa"]), vec!["127.0.0.1:1".parse::<Address>()?], Options::default());
    let report = loader.load([], ignore)?;
    assert_eq!((report.inputs, report.counts.loaded), (0, 0));
    let mut events = Vec::new();
    let empty = [input("empty", ""), input("blank", "\n \n"), input("gzip", gzip(b"")?)];
    let report = loader.load(empty, |event| {
        events.push(event);
        Ok(())
    })?;
    assert_eq!((report.inputs, report.counts.lines, events.len()), (3, 2, 6));
    Ok(())
}
