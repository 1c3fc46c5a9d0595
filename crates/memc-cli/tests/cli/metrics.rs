//! `--metrics` over the life of a follower, and the alerts that watch them, as Prometheus' own tool sees both.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::Memcached;
use rustix::process::Signal;

use crate::outputs::{has_metrics, metrics};
use crate::run::{Running, skip};
use crate::workdir::Workdir;

/// No wait in these tests takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// The alerts that the package brings.
const ALERTS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../dist/prometheus/alerts.yml");

/// Runs Prometheus' tool, if it is installed, and checks that it is content; `input` is a file.
pub(crate) fn promtool(arguments: &[&str], input: Option<&Path>) -> Result<()> {
    let input = input.map_or(Ok(Stdio::null()), |path| fs::File::open(path).map(Stdio::from))?;
    let output = match Command::new("promtool").args(arguments).stdin(input).output() {
        Ok(output) => output,
        Err(_) => return skip("promtool is not installed: scripts/setup installs it"),
    };
    let said = [output.stdout, output.stderr].concat();
    ensure!(output.status.success(), "promtool {arguments:?}: {}", said.escape_ascii());
    Ok(())
}

/// Starts a follower with metrics and a server of its own for `imei` records.
fn follow(work: &Workdir, server: &Memcached) -> Result<Running> {
    let route = format!("imei={}", server.address());
    work.start(&["--follow", "--metrics", &work.name("metrics.prom"), "--route", &route])
}

/// Waits until there are metrics with `series` at `value`, and returns them all.
fn wait_for(work: &Workdir, series: &str, value: f64) -> Result<BTreeMap<String, f64>> {
    let until = Instant::now() + PATIENCE;
    loop {
        let found = if work.path("metrics.prom").exists() { metrics(work)? } else { BTreeMap::new() };
        if found.get(series) == Some(&value) {
            promtool(&["check", "metrics"], Some(&work.path("metrics.prom")))?;
            return Ok(found);
        }
        ensure!(Instant::now() < until, "no {series} of {value} in {found:#?}");
        sleep(Duration::from_millis(5));
    }
}

/// Lines for the server of `imei` records.
fn text(ids: std::ops::Range<u32>) -> String {
    ids.map(|id| format!("imei\t{id}\t1\t2\t3\n")).collect()
}

#[test]
fn counters_are_of_all_rounds_and_exist_before_the_first_one() -> Result<()> {
    let work = Workdir::new()?;
    let server = Memcached::start(&[])?;
    let running = follow(&work, &server)?;
    let before = wait_for(&work, "memc_load_rounds_total{exit_code=\"3\"}", 0.0)?;
    let labels = format!("{{device_types=\"imei\",server=\"{}\"}}", server.address());
    let of_server = |name: &str| format!("{name}{labels}");
    let (records, evictions) = (of_server("server_records_total"), of_server("server_evictions_total"));
    let up = of_server("server_up");
    has_metrics(
        &before,
        &[
            ("rounds_total{exit_code=\"0\"}", 0.0),
            ("files_done_total", 0.0),
            ("lines_rejected_total{reason=\"field_count\"}", 0.0),
            (&records, 0.0),
            (&evictions, 0.0),
            (&up, 1.0),
            ("last_round_exit_code", 0.0),
            ("last_round_end_timestamp_seconds", before["memc_load_start_timestamp_seconds"]),
        ],
    )?;
    // A third of the lines of the first one are rejected: exit code 3.
    work.gzip("1.tsv.gz", text(0..20) + &"bad\n".repeat(10))?;
    wait_for(&work, "memc_load_rounds_total{exit_code=\"3\"}", 1.0)?;
    work.gzip("2.tsv.gz", text(20..50))?;
    let after = wait_for(&work, "memc_load_rounds_total{exit_code=\"0\"}", 1.0)?;
    has_metrics(
        &after,
        &[
            ("rounds_total{exit_code=\"3\"}", 1.0),
            ("files_done_total", 2.0),
            ("lines_total", 60.0),
            ("records_loaded_total", 50.0),
            ("lines_rejected_total{reason=\"field_count\"}", 10.0),
            (&records, 50.0),
            ("last_round_exit_code", 0.0),
            ("last_round_files_done", 1.0),
            ("last_round_records_loaded", 30.0),
            ("last_round_lines_rejected", 0.0),
            ("start_timestamp_seconds", before["memc_load_start_timestamp_seconds"]),
        ],
    )?;
    let (started, ended) = ("last_round_start_timestamp_seconds", "last_round_end_timestamp_seconds");
    let at = |name: &str| after[&format!("memc_load_{name}")];
    ensure!(at("start_timestamp_seconds") < at(started) && at(started) <= at(ended), "{after:#?}");
    running.signal(Signal::TERM)?;
    work.finish(running)?.exits(143)
}

/// Series as Prometheus scrapes them, four times a minute: the metrics of a follower before it has done anything, then
/// once those of a round, then for two hours those of later rounds, each as old as that is.
fn series(scrapes: [&BTreeMap<String, f64>; 3]) -> String {
    let names = scrapes.iter().flat_map(|scrape| scrape.keys()).collect::<std::collections::BTreeSet<_>>();
    let mut text = String::new();
    for name in names.into_iter().filter(|name| !name.contains("_timestamp_seconds")) {
        let [first, second, third] = scrapes.map(|it| it.get(name).map_or("_".to_owned(), f64::to_string));
        let name = name.replace('\'', "''");
        text +=
            &format!("      - series: '{name}'\n        values: '{first} {first} {second} {third}x480'\n");
    }
    text + "      - series: 'memc_load_last_round_end_timestamp_seconds'\n        values: '0 0 30 45x480'\n"
}

/// Whether an alert fires at a time, by the rules that the package brings.
fn expect(alert: &str, at: &str, fires: Option<&str>) -> String {
    let expected = fires.map_or("[]".to_owned(), |labels| format!("[{{exp_labels: {{{labels}}}}}]"));
    format!("      - {{eval_time: {at}, alertname: {alert}, exp_alerts: {expected}}}\n")
}

/// Writes the alerts to `rules.yml`, without their texts, which are for people and would only be repeated in tests.
fn write_rules(work: &Workdir) -> Result<()> {
    let alerts = fs::read_to_string(ALERTS)?;
    let mut in_annotations = false;
    let rules: Vec<_> = alerts
        .lines()
        .filter(|line| {
            let indent = line.len() - line.trim_start().len();
            in_annotations = line.trim() == "annotations:" || in_annotations && indent > 8;
            !in_annotations
        })
        .collect();
    work.write("rules.yml", rules.join("\n"))
}

#[test]
fn each_alert_fires_when_it_should_and_says_what_to_do() -> Result<()> {
    promtool(&["check", "rules", ALERTS], None)?;
    let (work, alerts) = (Workdir::new()?, fs::read_to_string(ALERTS)?);
    write_rules(&work)?;
    let tests = include_str!("alerts.yml");
    work.write("tests.yml", tests)?;
    promtool(&["test", "rules", &work.name("tests.yml")], None)?;
    for alert in alerts.split("- alert: ").skip(1) {
        let name = alert.lines().next().context("a name")?;
        ensure!(alert.contains("summary: ") && alert.contains("What to do:"), "{name} says nothing");
        ensure!(
            tests.matches(&format!("alertname: {name}")).count() > 1
                || ["MemcLoadLosses", "MemcLoadFailed"].contains(&name),
            "{name} is not tested"
        );
    }
    Ok(())
}

#[test]
fn alerts_fire_on_losses_that_a_good_round_follows_at_once() -> Result<()> {
    let work = Workdir::new()?;
    write_rules(&work)?;

    // A server that evicts in the first round; then one that is restarted between two rounds, so that files are lost.
    let mut scrapes = Vec::new();
    for (loss, size) in [("server_evictions_total", "2"), ("server_files_lost_total", "64")] {
        let mut server = Memcached::start(&["-m", size])?;
        let folder = Workdir::new()?;
        let running = follow(&folder, &server)?;
        let good = "memc_load_rounds_total{exit_code=\"0\"}";
        let bad = "memc_load_rounds_total{exit_code=\"3\"}";
        let mut before = wait_for(&folder, bad, 0.0)?;
        let rounds = if loss == "server_evictions_total" {
            folder.gzip("1.tsv.gz", text(0..60_000))?;
            0.0
        } else {
            folder.gzip("1.tsv.gz", text(0..10))?;
            before = wait_for(&folder, good, 1.0)?;
            server.kill()?;
            server.restart()?;
            folder.gzip("2.tsv.gz", text(10..20))?;
            1.0
        };
        let at_loss = wait_for(&folder, bad, 1.0)?;
        folder.gzip("3.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
        let after = wait_for(&folder, good, rounds + 1.0)?;
        let name = format!("memc_load_{loss}{{device_types=\"imei\",server=\"{}\"}}", server.address());
        ensure!(
            before[&name] == 0.0 && at_loss[&name] > 0.0 && after[&name] == at_loss[&name],
            "{name} {after:#?}"
        );
        running.signal(Signal::TERM)?;
        folder.finish(running)?.exits(143)?;
        scrapes.push([before, at_loss, after]);
    }

    let losses = Some("severity: critical");
    let mut tests = "rule_files: [rules.yml]\nevaluation_interval: 15s\ntests:\n".to_owned();
    for [before, at_loss, after] in &scrapes {
        // The scrape between the loss and the next good round may be missed.
        for at_loss in [at_loss, after] {
            tests += "  - interval: 15s\n    input_series:\n";
            tests += &series([before, at_loss, after]);
            tests += "    alert_rule_test:\n";
            tests += &expect("MemcLoadLosses", "15s", None);
            tests += &expect("MemcLoadLosses", "45s", losses);
            tests += &expect("MemcLoadLosses", "50m", losses);
            tests += &expect("MemcLoadLosses", "110m", None);
            tests += &expect("MemcLoadFailed", "1m", None);
            tests += &expect("MemcLoadServerAway", "10m", None);
            // Nothing more comes.
            tests += &expect("MemcLoadStale", "10m", None);
            tests += &expect("MemcLoadStale", "11m", losses);
        }
    }
    // A follower whose first metrics to be scraped are those after the loss.
    let [_, _, after] = &scrapes[0];
    let nothing = BTreeMap::new();
    tests += "  - interval: 15s\n    input_series:\n";
    tests += &series([&nothing, &nothing, after]);
    tests += "    alert_rule_test:\n";
    tests += &expect("MemcLoadLosses", "1m", losses);
    // Plain runs, each of which starts its counters again: one has losses, one fails, a server is away.
    tests += "  - interval: 15s
    input_series:
      - {series: 'memc_load_last_round_exit_code', values: '3 0x40 3x4 0x400'}
      - {series: 'memc_load_server_up{server=\"a\"}', values: '1x40 0x40'}
    alert_rule_test:
";
    tests += &expect("MemcLoadLosses", "12m", losses);
    tests += &expect("MemcLoadLosses", "100m", None);
    tests += &expect("MemcLoadServerAway", "10m30s", None);
    tests += &expect("MemcLoadServerAway", "11m30s", Some("severity: warning, server: a"));
    tests += "  - interval: 15s
    input_series:
      - {series: 'memc_load_last_round_exit_code', values: '0x40 1x4 0x400'}
    alert_rule_test:
";
    tests += &expect("MemcLoadFailed", "9m", None);
    tests += &expect("MemcLoadFailed", "15m", losses);
    work.write("tests.yml", &tests)?;
    promtool(&["test", "rules", &work.name("tests.yml")], None).with_context(|| tests)
}
