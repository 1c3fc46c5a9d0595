//! `--report` and `--metrics`: the outcome of a run for other programs, however it ended.

use std::collections::BTreeMap;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};

use anyhow::{Context, Result, bail, ensure};
use memc_testkit::{Memcached, Sample};
use rustix::fs::{FlockOperation, flock};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::run::Run;
use crate::workdir::Workdir;

/// The options that ask for both files.
fn outputs(work: &Workdir) -> [String; 4] {
    ["--report".to_owned(), work.name("report"), "--metrics".to_owned(), work.name("metrics.prom")]
}

/// Runs a load that is asked for both files.
fn load(work: &Workdir, options: &[&str]) -> Result<Run> {
    let outputs = outputs(work);
    work.load(&[&outputs.each_ref().map(String::as_str)[..], options].concat())
}

fn report(work: &Workdir) -> Result<Value> {
    Ok(serde_json::from_slice(&fs::read(work.path("report"))?)?)
}

/// The values by name and labels, read as strictly as a scraper does; every metric has a help text and a type
/// before its first value.
pub(crate) fn metrics(work: &Workdir) -> Result<BTreeMap<String, f64>> {
    let text = fs::read_to_string(work.path("metrics.prom"))?;
    ensure!(text.ends_with('\n'), "the last line has no end");
    let (mut values, mut helped, mut typed) = (BTreeMap::new(), Vec::new(), Vec::new());
    for line in text.lines() {
        let words: Vec<_> = line.splitn(4, ' ').collect();
        match words[..] {
            ["#", "HELP", name, help] => {
                ensure!(!helped.contains(&name) && !help.is_empty(), "{line}");
                helped.push(name);
            }
            ["#", "TYPE", name, "counter" | "gauge" | "histogram"] => {
                ensure!(helped.last() == Some(&name), "{line}");
                typed.push(name);
            }
            _ => {
                let (series, value) = line.rsplit_once(' ').context("a value")?;
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let sound = |byte: u8| byte.is_ascii_lowercase() || byte == b'_';
                let parts = ["_bucket", "_sum", "_count"].iter().find_map(|part| name.strip_suffix(part));
                let is_typed = |name| typed.last() == Some(&name);
                let is_part = parts
                    .is_some_and(|name| is_typed(name) && text.contains(&format!("# TYPE {name} histogram")));
                ensure!(name.bytes().all(sound) && (is_typed(name) || is_part), "{line}");
                for label in
                    labels.strip_suffix('}').context("labels")?.split(',').filter(|it| !it.is_empty())
                {
                    let (name, value) = label.split_once("=\"").context("a label")?;
                    ensure!(name.bytes().all(sound) && value.strip_suffix('"').is_some(), "{line}");
                }
                ensure!(values.insert(series.to_owned(), value.parse()?).is_none(), "{line}");
            }
        }
    }
    Ok(values)
}

/// Checks some values of the metrics.
pub(crate) fn has_metrics(metrics: &BTreeMap<String, f64>, expected: &[(&str, f64)]) -> Result<()> {
    for (series, value) in expected {
        let found = metrics.get(&format!("memc_load_{series}"));
        ensure!(found == Some(value), "{series} is {found:?}, not {value}: {metrics:#?}");
    }
    Ok(())
}

#[test]
fn a_run_that_is_done_is_reported() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3,x\nidfa\tb\t1\t2\t3\nbad\n")?;
    work.gzip("2.tsv.gz", "gaid\tc\t1\t2\t3\n")?;
    let run = load(&work, &[])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz", "metrics.prom", "report"])?;

    let report = report(&work)?;
    let version = work.run(&["--version"])?.stdout;
    ensure!(report["program_version"] == version.trim().replacen("memc-load ", "", 1), "{report:#}");
    for (name, expected) in [
        ("schema_version", json!(2)),
        ("exit_code", json!(3)),
        ("error", Value::Null),
        ("dry", json!(false)),
        ("files_found", json!(2)),
        ("files_done", json!(2)),
        ("lines", json!(4)),
        ("records_loaded", json!(3)),
        ("lines_rejected", json!(1)),
        ("lines_rejected_by_reason", json!({"field_count": 1})),
        ("app_ids_dropped", json!(1)),
        ("unfinished_file", Value::Null),
    ] {
        ensure!(report[name] == expected, "{name} is not {expected}: {report:#}");
    }
    let (started, ended) = (report["started_at"].as_str(), report["ended_at"].as_str());
    ensure!(started < ended && started.is_some_and(|it| it.ends_with('Z')), "{report:#}");
    let file = &report["files"][0];
    ensure!(file["name"] == work.name("1.tsv.gz") && file["error_rate"] == 0.5, "{report:#}");
    ensure!(file["error_rate_acceptable"] == false && file["lines"] == 3, "{report:#}");
    ensure!(report["files"][1]["error_rate_acceptable"] == true, "{report:#}");
    let compressed = work.path(".1.tsv.gz").metadata()?.len() + work.path(".2.tsv.gz").metadata()?.len();
    ensure!(report["bytes_in"] == compressed, "{report:#}");
    let server = &report["servers"][1];
    ensure!(server["device_types"] == json!(["gaid"]) && server["records"] == 1, "{report:#}");
    ensure!(
        server["memory_limit_bytes"].as_u64() > Some(0) && server["files_lost"] == json!([]),
        "{report:#}"
    );

    let address = work.servers()?[0].address();
    has_metrics(
        &metrics(&work)?,
        &[
            ("last_round_exit_code", 3.0),
            ("last_round_files_found", 2.0),
            ("files_done_total", 2.0),
            ("lines_total", 4.0),
            ("records_loaded_total", 3.0),
            ("lines_rejected_total{reason=\"field_count\"}", 1.0),
            ("lines_rejected_total{reason=\"invalid_key\"}", 0.0),
            ("app_ids_dropped_total{kind=\"not_an_integer\"}", 1.0),
            (
                "server_records_total{device_types=\"idfa\",server=\"ADDRESS\"}"
                    .replace("ADDRESS", &address)
                    .as_str(),
                2.0,
            ),
        ],
    )
}

#[test]
fn a_run_that_fails_is_reported_with_the_file_and_the_reason() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let mut compressed = memc_testkit::gzip(&Sample::new(1).text(1000))?;
    compressed.truncate(compressed.len() / 2);
    work.write("2.tsv.gz", compressed)?;
    // What was there before is of another run.
    work.write("report", "older")?;
    let run = load(&work, &[])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz", "metrics.prom", "report"])?;
    let report = report(&work)?;
    let error = report["error"].as_str().context("an error")?;
    ensure!(error.starts_with(&format!("cannot read '{}': ", work.name("2.tsv.gz"))), "{error}");
    run.fails_with(&[error])?;
    ensure!(report["exit_code"] == 1 && report["files_done"] == 1, "{report:#}");
    ensure!(report["unfinished_file"]["name"] == work.name("2.tsv.gz"), "{report:#}");
    has_metrics(
        &metrics(&work)?,
        &[("last_round_exit_code", 1.0), ("last_round_files_found", 2.0), ("files_done_total", 1.0)],
    )
}

#[test]
fn a_run_with_nothing_to_do_is_reported() -> Result<()> {
    let work = Workdir::new()?;
    let run = load(&work, &[])?;
    run.exits(0)?;
    let empty = report(&work)?;
    ensure!(
        empty["files_found"] == 0 && empty["files"] == json!([]) && empty["error"].is_null(),
        "{empty:#}"
    );
    has_metrics(
        &metrics(&work)?,
        &[("last_round_exit_code", 0.0), ("last_round_files_found", 0.0), ("records_loaded_total", 0.0)],
    )
}

#[test]
fn a_run_that_the_folder_is_not_given_to_leaves_both_files_alone() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("logs/1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    work.write("report", "of the running one")?;
    work.write("metrics.prom", "of the running one")?;
    let folder = File::open(work.path("logs"))?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    for options in [&[][..], &["--follow"], &["--log", &work.name("missing/log")]] {
        let pattern = work.name("logs/*.tsv.gz");
        let run = load(&work, &[&["--pattern", &pattern][..], options].concat())?;
        run.exits(1)?;
        for name in ["report", "metrics.prom"] {
            let text = fs::read_to_string(work.path(name))?;
            run.ensure(text == "of the running one", format!("{name} is {text}"))?;
        }
    }
    Ok(())
}

#[test]
fn a_run_that_a_signal_stops_is_reported() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    work.gzip("2.tsv.gz", Sample::new(2).text(100))?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let outputs = outputs(&work);
    let options = ["--dvid", &dead.address(), "--retry-for", "1m"];
    let mut running = work.start(&[&outputs.each_ref().map(String::as_str)[..], &options].concat())?;
    running.wait_for_log(&format!("Processing {}", work.name("2.tsv.gz")))?;
    running.signal(Signal::TERM)?;
    let run = work.finish(running)?;
    run.exits(143)?;
    let report = report(&work)?;
    ensure!(report["exit_code"] == 143 && report["files_done"] == 1, "{report:#}");
    ensure!(report["unfinished_file"]["name"] == work.name("2.tsv.gz"), "{report:#}");
    has_metrics(&metrics(&work)?, &[("last_round_exit_code", 143.0), ("files_done_total", 1.0)])
}

#[test]
fn files_that_a_server_has_lost_are_reported() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    work.gzip("2.tsv.gz", Sample::new(3).text(100))?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let (outputs, address) = (outputs(&work), server.address());
    let options = ["--idfa", &address, "--dvid", &dead.address()];
    let mut running = work.start(&[&outputs.each_ref().map(String::as_str)[..], &options].concat())?;
    running.wait_for_log(&format!("Processing {}", work.name("2.tsv.gz")))?;
    server.kill()?;
    server.restart()?;
    dead.restart()?;
    let run = work.finish(running)?;
    run.exits(3)?;
    let report = report(&work)?;
    // Whether the second file is among them is a matter of moments.
    let lost = report["servers"][0]["files_lost"].as_array().context("a list")?;
    ensure!(lost.first() == Some(&json!(work.name("1.tsv.gz"))), "{report:#}");
    let lost = if lost.len() == 1 { 1.0 } else { 2.0 };
    let series = format!("server_files_lost_total{{device_types=\"idfa\",server=\"{address}\"}}");
    has_metrics(&metrics(&work)?, &[(&series, lost), ("last_round_exit_code", 3.0)])
}

#[test]
fn a_password_is_in_neither_file() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let address = dead.address();
    let run = load(&work, &["--idfa", &format!("ann:secret@{address}"), "--retry-for", "0s"])?;
    run.exits(1)?;
    for name in ["report", "metrics.prom"] {
        let text = fs::read_to_string(work.path(name))?;
        ensure!(text.contains(&format!("ann@{address}")) && !text.contains("secret"), "{text}");
    }
    Ok(())
}

#[test]
fn a_dry_run_has_a_report_and_no_metrics_and_the_self_check_has_neither() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let run = load(&work, &["--test"])?;
    run.leaves(&["1.tsv.gz"])?;
    let run = load(&work, &["--dry"])?;
    run.exits(0)?;
    run.leaves(&["1.tsv.gz", "report"])?;
    let report = report(&work)?;
    ensure!(report["dry"] == true && report["records_loaded"] == 1, "{report:#}");
    Ok(())
}

#[test]
fn a_follower_that_fails_between_two_rounds_does_not_report_the_last_one_again() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("a/1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    work.write("new/.hidden", "")?;
    let outputs = outputs(&work);
    let options = ["--follow", "--pattern", &work.name("[a-c]/*.tsv.gz")];
    let mut running = work.start(&[&outputs.each_ref().map(String::as_str)[..], &options].concat())?;
    running.wait_for_log("I 1 of 1 files done: 1 records")?;
    // The folder that comes is in other hands.
    let folder = File::open(work.path("new"))?;
    flock(&folder, FlockOperation::NonBlockingLockExclusive)?;
    fs::rename(work.path("new"), work.path("b"))?;
    let run = work.finish(running)?;
    run.exits(1)?;
    let report = report(&work)?;
    let error = report["error"].as_str().context("an error")?;
    ensure!(error.starts_with(&format!("cannot lock '{}'", work.name("b"))), "{error}");
    ensure!(report["files"] == json!([]) && report["records_loaded"] == 0, "{report:#}");
    has_metrics(
        &metrics(&work)?,
        &[("last_round_exit_code", 1.0), ("last_round_files_done", 0.0), ("last_round_records_loaded", 0.0)],
    )
}

#[test]
fn an_output_that_cannot_be_written_is_refused_before_the_load_or_makes_it_no_success() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    for option in ["--report", "--metrics"] {
        let path = work.name("missing/file");
        let run = work.load(&[option, &path])?;
        run.exits(1)?;
        run.leaves(&["1.tsv.gz"])?;
        run.fails_with(&[&format!("option {option}: cannot write '{path}': No such file")])?;
    }
    work.holds_nothing()?;
    let run = work.load(&["--report", "/dev/full"])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz"])?;
    run.fails_with(&["option --report: cannot write '/dev/full': No space left"])
}

#[test]
fn a_report_may_go_to_standard_output() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let run = work.load(&["--report", "/dev/stdout"])?;
    run.ensure(run.status().success(), "a success")?;
    let report: Value = serde_json::from_str(&run.stdout)?;
    let Some(files) = report["files"].as_array() else { bail!("{report:#}") };
    run.ensure(files.len() == 1, "a report of one file")
}

#[test]
fn a_folder_in_the_place_of_an_output_is_found_before_the_load() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    fs::create_dir(work.path("folder"))?;
    let folder = work.name("folder");
    for option in ["--report", "--metrics", "--rejects", "--log"] {
        let run = work.load(&[option, &folder])?;
        run.ensure(run.status().code() == Some(1), "expected exit code 1")?;
        run.leaves(&["1.tsv.gz"])?;
        run.ensure(
            run.stderr.contains(&folder) && run.stderr.contains("s a directory"),
            "expected the reason",
        )?;
    }
    work.holds_nothing()
}

#[test]
fn metrics_can_be_read_whatever_the_umask_and_a_file_keeps_its_mode() -> Result<()> {
    let work = Workdir::new()?;
    let outputs = outputs(&work);
    let outputs = outputs.each_ref().map(String::as_str);
    let modes = |report: u32, metrics: u32| {
        for (name, expected) in [("report", report), ("metrics.prom", metrics)] {
            let mode = work.path(name).metadata()?.permissions().mode() & 0o777;
            ensure!(mode == expected, "{name} has {mode:o}, not {expected:o}");
        }
        Ok(())
    };
    work.load_after("umask 027; exec", &outputs)?.exits(0)?;
    modes(0o640, 0o644)?;
    fs::set_permissions(work.path("report"), Permissions::from_mode(0o604))?;
    fs::set_permissions(work.path("metrics.prom"), Permissions::from_mode(0o640))?;
    work.load_after("umask 027; exec", &outputs)?.exits(0)?;
    modes(0o604, 0o640)
}

#[test]
fn an_output_that_would_be_loaded_as_a_log_is_wrong_usage() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("in/1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    fs::create_dir(work.path("out"))?;
    symlink("../in/new", work.path("out/link"))?;
    symlink("in", work.path("folder"))?;
    let pattern = work.name("in/*");
    for option in ["--log", "--rejects", "--report", "--metrics"] {
        for path in ["in/new", "out/../in/new", "out/link", "folder/new", "in/1.tsv.gz"] {
            for mode in [&[][..], &["--follow"], &["--dry"]] {
                let path = work.name(path);
                let run = work.load(&[&["--pattern", &pattern, option, &path][..], mode].concat())?;
                run.exits(2)?;
                run.leaves(&["folder/1.tsv.gz", "in/1.tsv.gz", "out/link"])?;
                let text = format!("the file of '{option} {path}' matches '--pattern {pattern}'");
                run.ensure(run.stderr.contains(&text), text)?;
            }
        }
    }
    work.holds_nothing()
}

#[test]
fn a_limit_on_the_size_of_files_is_an_error_like_a_full_disk() -> Result<()> {
    // In blocks of 512 bytes, or of 1,024 where the shell is bash. Standard error is such a file here.
    let limited = "ulimit -f 1; exec";
    for (option, code, text) in [
        ("--rejects", 1, "cannot write the rejected lines to"),
        ("--report", 3, "option --report: cannot write"),
        ("--metrics", 3, "option --metrics: cannot write"),
    ] {
        let work = Workdir::new()?;
        work.gzip("1.tsv.gz", "bad\n".repeat(100_000))?;
        let run = work.load_after(limited, &[option, &work.name("file"), "--log", "/dev/null"])?;
        run.ensure(run.status().code() == Some(code), format!("expected exit code {code}"))?;
        run.ensure(run.stderr.contains(text) && run.stderr.contains("File too large"), text)?;
    }
    let work = Workdir::new()?;
    for number in 1..40 {
        work.gzip(&format!("{number}.tsv.gz"), "bad\n")?;
    }
    let run = work.load_after(limited, &["--log", &work.name("log")])?;
    run.ensure(run.status().code().is_some(), "it was killed")?;
    run.ensure(!work.path("39.tsv.gz").exists(), "a log that is full stops nothing")
}
