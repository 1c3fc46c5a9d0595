//! Any line is loaded or rejected as the model says.

use std::collections::{BTreeMap, HashMap};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Event, InputReport, Loader, Options, RejectReason};
use memc_testkit::{DEVICE_TYPES, Model, Sample, gzip};
use proptest::prelude::*;

use crate::{Result, assert_counts, ignore, input, small_chunks};

fn dry_loader(options: Options) -> Result<Loader<AppsEncoder>> {
    let servers = DEVICE_TYPES.map(|_| "127.0.0.1:1".parse());
    let servers = servers.into_iter().collect::<std::result::Result<Vec<Address>, _>>()?;
    Ok(Loader::new(AppsEncoder::new(DEVICE_TYPES), servers, options))
}

/// Dry-runs the text and compares what each server would hold with the model.
fn assert_as_the_model(text: &[u8], chunk_bytes: usize) -> Result {
    let mut model = Model::new();
    model.load(text);
    let mut found: Vec<HashMap<Vec<u8>, Vec<u8>>> = vec![HashMap::new(); DEVICE_TYPES.len()];
    let report = dry_loader(small_chunks(chunk_bytes))?.dry_run(
        [input("text", text)],
        |record| drop(found[record.group].insert(record.key.to_vec(), record.value.to_vec())),
        ignore,
    )?;
    assert_counts(&report.counts, &model);
    for (name, found) in DEVICE_TYPES.iter().zip(found) {
        assert_eq!(found, model.servers[name]);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn any_bytes(text in prop::collection::vec(any::<u8>(), 0..300), chunk_bytes in 1..64_usize) {
        // A blank line in front, for bytes that begin like gzip are taken for gzip.
        let text = [b"\n", &text[..]].concat();
        assert_as_the_model(&text, chunk_bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }

    #[test]
    fn bytes_that_look_like_lines(
        text in "((idfa|gaid|imei|x|)\t[a-c\\x00 ]{0,3}\t[-+]?[0-9 .eE]{0,5}(inf|nan|)\t[-+0-9.e]{0,4}\t([-+ 0-9]{0,11},?){0,4}[\t\r\x0b ]{0,2}\n?){0,4}",
        chunk_bytes in 1..64_usize,
    ) {
        assert_as_the_model(text.as_bytes(), chunk_bytes).map_err(|error| TestCaseError::fail(error.to_string()))?;
    }
}

#[test]
fn a_long_sample_with_bad_lines() -> Result {
    assert_as_the_model(&Sample::new(3).with(0.3, 0.5).text(20_000), 5000)
}

#[test]
fn keys_at_the_limit() -> Result {
    for length in 244..=247 {
        let id = "é".repeat(length / 2) + &"k".repeat(length % 2);
        assert_as_the_model(format!("idfa\t{id}\t1\t2\t3\n").as_bytes(), 100)?;
    }
    Ok(())
}

/// A device id that tries to smuggle commands into the stream to the server.
#[test]
fn hostile_ids_are_rejected() -> Result {
    for id in ["x 1 q\r\nflush_all\r", "x\rms y 1", "x\0", "x\x7f", "x y", "\u{b}x\u{c}"] {
        let text = format!("idfa\t{id}\t1\t2\t3\n");
        assert_as_the_model(text.as_bytes(), 100)?;
        // What has a line end in it is two lines with too few fields.
        let (reason, lines) =
            if id.contains('\n') { (RejectReason::FieldCount, 2) } else { (RejectReason::InvalidKey, 1) };
        let counts = report_of(&text, 100)?.counts;
        assert_eq!((counts.loaded, counts.rejected), (0, BTreeMap::from([(reason, lines)])), "{id:?}");
    }
    Ok(())
}

#[test]
fn without_a_device_type_every_line_is_rejected() -> Result {
    let loader =
        Loader::new(AppsEncoder::new([""; 0]), vec!["127.0.0.1:1".parse::<Address>()?], Options::default());
    let report = loader.dry_run([input("text", "idfa\t1\t1\t2\t3\n")], |_| (), ignore)?;
    assert_eq!((report.counts.loaded, report.counts.rejected_total()), (0, 1));
    assert_eq!(report.counts.rejected[&RejectReason::NoServer], 1);
    Ok(())
}

/// The report of the one input.
fn report_of(text: &str, chunk_bytes: usize) -> Result<InputReport> {
    let mut reports = Vec::new();
    dry_loader(small_chunks(chunk_bytes))?.dry_run(
        [input("text", text)],
        |_| (),
        |event| {
            if let Event::InputFinished(report) = event {
                reports.push(report);
            }
            Ok(())
        },
    )?;
    reports.pop().ok_or_else(|| "it is finished".into())
}

#[test]
fn dropped_app_ids_are_counted_by_kind_and_the_first_are_quoted() -> Result {
    let text = "idfa\ta\t1\t2\t1,x,4294967296\nidfa\tb\t1\t2\t3\nbad\tx,y\n\
        gaid\tc\t1\t2\t-1,,1.5,\u{1}\nidfa\td\t1\t2\t-2,-3,-4\nidfa\tb c\t1\t2\tnot counted\n";
    for chunk_bytes in [10, 1000] {
        let report = report_of(text, chunk_bytes)?;
        let dropped: Vec<_> = report.counts.dropped.iter().map(|(kind, count)| (&kind[..], *count)).collect();
        assert_eq!(dropped, [("not_an_integer", 4), ("out_of_range", 5)]);
        let quoted: Vec<_> =
            report.dropped_parts.iter().map(|part| (part.line, &part.kind[..], &part.text[..])).collect();
        let expected = [
            (1, "not_an_integer", "x"),
            (1, "out_of_range", "4294967296"),
            (4, "out_of_range", "-1"),
            (4, "not_an_integer", ""),
            (4, "not_an_integer", "1.5"),
            (5, "out_of_range", "-2"),
        ];
        assert_eq!(quoted, expected);
    }
    Ok(())
}

#[test]
fn a_line_with_an_empty_last_field_says_why_it_is_rejected() -> Result {
    let report = report_of("idfa\ta\t1\t2\t\nidfa\tb\n", 1000)?;
    let found: Vec<_> =
        report.rejected_lines.iter().map(|it| (&it.reason, it.explanation.is_some())).collect();
    assert_eq!(found, [(&RejectReason::FieldCount, true), (&RejectReason::FieldCount, false)]);
    let explanation = report.rejected_lines[0].explanation.as_deref().unwrap_or_default();
    assert!(explanation.starts_with("the last field is empty"), "{explanation}");
    Ok(())
}

#[test]
fn records_of_a_dry_run_come_in_the_order_of_the_lines() -> Result {
    let texts = [0, 1000].map(|first| {
        (first..first + 1000)
            .map(|id| format!("{}\t{id}\t1\t2\t3\n", DEVICE_TYPES[id % 4]))
            .collect::<String>()
    });
    let mut keys = Vec::new();
    let mut options = small_chunks(100);
    options.threads = 8;
    dry_loader(options)?.dry_run(
        texts.map(|text| input("text", text)),
        |record| keys.push((record.group, String::from_utf8_lossy(record.key).into_owned())),
        ignore,
    )?;
    assert_eq!(keys.len(), 2000);
    for (id, (server, key)) in keys.iter().enumerate() {
        assert_eq!((*server, key), (id % 4, &format!("{}:{id}", DEVICE_TYPES[id % 4])));
    }
    Ok(())
}

#[test]
fn rejected_lines_are_quoted_with_their_number() -> Result {
    let text = "idfa\ta\t1\t2\t3\n\nbad\nidfa\tb c\t1\t2\t3\nworse\tline\n\tbad again\nand again\n";
    let loader = dry_loader(small_chunks(10))?;
    let mut quoted = Vec::new();
    loader.dry_run(
        [input("text", gzip(text.as_bytes())?)],
        |_| (),
        |event| {
            if let Event::InputFinished(file) = event {
                quoted.extend(file.rejected_lines.into_iter().map(|it| (it.line, it.reason, it.text)));
            }
            Ok(())
        },
    )?;
    let expected = [
        (3, RejectReason::FieldCount, "bad"),
        (4, RejectReason::InvalidKey, "idfa\\tb c\\t1\\t2\\t3"),
        (5, RejectReason::FieldCount, "worse\\tline"),
        (6, RejectReason::FieldCount, "\\tbad again"),
    ];
    assert_eq!(quoted, expected.map(|(line, reason, text)| (line, reason, text.to_owned())));
    Ok(())
}

#[test]
fn a_line_of_20_mib_is_rejected_and_the_next_one_loaded() -> Result {
    let mut text = b"idfa\tlong\t1\t2\t".to_vec();
    text.resize(20 << 20, b'1');
    text.extend_from_slice(b"\nidfa\tnext\t1\t2\t3\n");
    let mut keys = Vec::new();
    let report = dry_loader(Options::default())?.dry_run(
        [input("long", gzip(&text)?)],
        |record| keys.push(record.key.to_vec()),
        ignore,
    )?;
    assert_eq!(keys, [b"idfa:next"]);
    assert_eq!(report.counts.lines, 2);
    assert_eq!(report.counts.rejected_total(), 1);
    Ok(())
}
