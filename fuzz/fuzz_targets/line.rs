//! Any bytes as the text of a log: the encoder and a dry run give the records, counts and rejects of the model.

#![no_main]

use std::collections::BTreeMap;

use libfuzzer_sys::fuzz_target;
use memc_core::apps::AppsEncoder;
use memc_core::{Address, Encode, Event, Input, Loader, Options, QUOTED_REJECTS, Record, RejectReason};
use memc_testkit::{DEVICE_TYPES, Model};

fuzz_target!(|text: &[u8]| {
    encode_lines(text);
    // With its threads a dry run takes far longer, so only some texts get one: none that looks like gzip.
    if text.len().is_multiple_of(16) && !text.starts_with(&[0x1f, 0x8b]) {
        dry_run(text);
    }
});

fn encode_lines(text: &[u8]) {
    let mut encoder = AppsEncoder::new(DEVICE_TYPES);
    let mut record = Record::default();
    for line in text.split(|&byte| byte == b'\n') {
        record.clear();
        let mut encoded = Model::new();
        match encoder.encode(line, &mut record) {
            Ok(Some(server)) => {
                insert(&mut encoded, server, &record.key, &record.value);
                encoded.loaded = 1;
                encoded.dropped = record.dropped_total();
            }
            Ok(None) => {}
            Err(reason) => _ = encoded.rejected.insert(name(&reason), 1),
        }
        let model = model(line);
        // Keys are not the encoder's to check, but the loader's.
        if !model.rejected.contains_key("invalid_key") {
            assert_eq!(encoded, model);
        }
    }
}

fn dry_run(text: &[u8]) {
    let mut options = Options::default();
    // So that even a short text is many chunks.
    options.chunk_bytes = 64;
    let server: Address = "127.0.0.1:1".parse().expect("an address");
    let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), vec![server; DEVICE_TYPES.len()], options);

    let mut shown = Model::new();
    let mut files = Vec::new();
    let report = loader.dry_run(
        [Input::bytes("text", text.to_vec())],
        |record| insert(&mut shown, record.group, record.key, record.value),
        |event| {
            if let Event::InputFinished(file) = event {
                files.push(file);
            }
            Ok(())
        },
    );
    let counts = report.expect("a text can be read").counts;
    shown.loaded = counts.loaded;
    shown.dropped = counts.dropped_total();
    shown.rejected = counts.rejected.iter().map(|(reason, count)| (name(reason), *count)).collect();
    assert_eq!(shown, model(text));
    assert_eq!(counts.bytes_decompressed, text.len() as u64);

    let mut lines = 0;
    let mut expected = Vec::new();
    let mut quoted: BTreeMap<&str, usize> = BTreeMap::new();
    for line in text.split_inclusive(|&byte| byte == b'\n') {
        lines += 1;
        for reason in model(line).rejected.into_keys() {
            let quoted = quoted.entry(reason).or_default();
            *quoted += 1;
            if *quoted <= QUOTED_REJECTS {
                expected.push((lines, reason));
            }
        }
    }
    assert_eq!(counts.lines, lines);
    let [file] = &files[..] else { panic!("one file, not {files:?}") };
    let rejected: Vec<_> = file.rejected_lines.iter().map(|it| (it.line, it.reason.name())).collect();
    assert_eq!(rejected, expected);
}

/// The name of the reason as the model has it.
fn name(reason: &RejectReason) -> &'static str {
    ["field_count", "empty_field", "coordinates", "no_server", "invalid_key", "line_too_long"]
        .into_iter()
        .find(|name| *name == reason.name())
        .expect("a reason that a line can have")
}

fn model(text: &[u8]) -> Model {
    let mut model = Model::new();
    model.load(text);
    model
}

fn insert(model: &mut Model, server: usize, key: &[u8], value: &[u8]) {
    let server = model.servers.entry(DEVICE_TYPES[server]).or_default();
    server.insert(key.to_vec(), value.to_vec());
}
