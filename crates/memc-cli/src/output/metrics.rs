//! The metrics of `--metrics`, in the text format of Prometheus, for the textfile collector of its node exporter.
//!
//! The format is written here: the crate prometheus-client writes only `OpenMetrics`, where a counter's `# TYPE`
//! line names it without its `_total`. The textfile collector takes such a counter for an untyped metric without a help text.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use jiff::Timestamp;
use memc_core::{RejectReason, apps};

use crate::args::{Args, VERSION};
use crate::run::servers;
use crate::run::totals::{Round, ServerTotals, Totals};

/// The reasons that are always there, also with 0, so that a counter exists before its first increase.
const REASONS: [RejectReason; 7] = [
    RejectReason::LineTooLong,
    RejectReason::FieldCount,
    RejectReason::EmptyField,
    apps::COORDINATES,
    RejectReason::NoServer,
    RejectReason::InvalidKey,
    RejectReason::ServerRefused,
];

/// The exit codes of a round that are always there: all is done; stopped early; done, with losses.
const EXIT_CODES: [u8; 3] = [0, 1, 3];

/// The metrics of a process with these totals: counters since its start, gauges of its last round and of now.
pub(crate) fn text(args: &Args, totals: &Totals) -> String {
    let mut text = Text(String::new());
    text.family("build_info", GAUGE, "The version of memc-load.", [(labels(&[("version", VERSION)]), 1)]);
    text.gauge("start_timestamp_seconds", "When the process started, since 1970.", seconds(totals.started));
    rounds(&mut text, totals);
    let counts = &totals.counts;
    text.counter("files_done_total", "Files that are done.", totals.files);
    text.counter(
        "files_quarantined_total",
        "Broken files that were moved into quarantine.",
        totals.files_quarantined,
    );
    text.counter("lines_total", "Lines of the files that are done.", counts.lines);
    text.counter("records_loaded_total", "Records of these files that servers acknowledged.", counts.loaded);
    let mut rejected = BTreeMap::from(REASONS.map(|reason| (reason.name().to_owned(), 0)));
    rejected.extend(counts.rejected.iter().map(|(reason, &count)| (reason.name().to_owned(), count)));
    let rejected = rejected.iter().map(|(reason, count)| (labels(&[("reason", reason)]), count));
    text.family("lines_rejected_total", COUNTER, "Lines of these files that were rejected.", rejected);
    let mut dropped = BTreeMap::from([apps::NOT_AN_INTEGER, apps::OUT_OF_RANGE].map(|kind| (kind, 0)));
    dropped.extend(counts.dropped.iter().map(|(kind, &count)| (kind.as_ref(), count)));
    let dropped = dropped.iter().map(|(kind, count)| (labels(&[("kind", kind)]), count));
    text.family("app_ids_dropped_total", COUNTER, "App ids left out of records, by kind.", dropped);
    text.counter(
        "input_bytes_total",
        "Bytes read from these files, compressed if they are.",
        totals.bytes_in,
    );
    text.counter("decompressed_bytes_total", "The same bytes decompressed.", counts.bytes_decompressed);
    text.counter("sent_bytes_total", "Bytes of commands sent to servers.", counts.bytes_sent);
    of_servers(&mut text, args, totals);
    last_round(&mut text, &totals.last_round);
    text.0
}

fn rounds(text: &mut Text, totals: &Totals) {
    let mut rounds = BTreeMap::from(EXIT_CODES.map(|code| (code, 0)));
    rounds.extend(&totals.rounds);
    let rounds = rounds.iter().map(|(code, count)| (labels(&[("exit_code", &code.to_string())]), count));
    let help =
        "Rounds by their exit code: 0 all done, 1 stopped early, 3 done with losses, 129 and above a signal.";
    text.family("rounds_total", COUNTER, help, rounds);
}

/// One series for each address, with the device types that it serves.
fn of_servers(text: &mut Text, args: &Args, totals: &Totals) {
    let servers: Vec<_> = servers::of(&args.routes)
        .iter()
        .map(|server| {
            let device_types = server.device_types.join(",");
            let labels = labels(&[("device_types", &device_types), ("server", &server.address)]);
            (labels, totals.server(&server.address))
        })
        .collect();
    let mut family = |name, kind, help, value: &dyn Fn(&ServerTotals) -> Option<u64>| {
        let values = servers.iter().filter_map(|(labels, server)| Some((labels, value(server)?)));
        text.family(name, kind, help, values);
    };
    family("server_up", GAUGE, "0 while the server is away, else 1.", &|it| Some((!it.is_away).into()));
    let help =
        "1 if the server gives no statistics, so that restarts and evictions cannot be noticed, else 0.";
    family("server_no_statistics", GAUGE, help, &|it| Some(it.has_no_statistics.into()));
    let help = "The server's memory limit, as it last reported it.";
    family("server_memory_limit_bytes", GAUGE, help, &|it| it.memory_limit_bytes);
    for (name, help, value) in COUNTERS_OF_SERVERS {
        family(name, COUNTER, help, &|it| Some(value(it)));
    }
}

/// Counters of each server: the name, the help text, the value.
type CounterOfServers = (&'static str, &'static str, fn(&ServerTotals) -> u64);

const COUNTERS_OF_SERVERS: [CounterOfServers; 8] = [
    ("server_records_total", "Records that the server acknowledged.", |it| it.records),
    ("server_retries_total", "Connections to the server that were tried again.", |it| it.retries),
    ("server_evictions_total", "Records that the server evicted during the rounds.", |it| it.evictions),
    ("server_restarts_total", "Times that the server was found to be another process, or none.", |it| {
        it.restarts
    }),
    ("server_files_lost_total", "Files that were done before the server lost its records.", |it| {
        it.files_lost
    }),
    (
        "server_records_in_flight_total",
        "Records in flight on connections whose end could not be confirmed.",
        |it| it.records_in_flight,
    ),
    ("server_records_read_back_total", "Those of them that were read back.", |it| it.records_read_back),
    ("server_records_set_again_total", "Those of them that were stale and set again.", |it| {
        it.records_set_again
    }),
];

fn last_round(text: &mut Text, round: &Round) {
    let started = "When the last round started, since 1970; before the first one, when the process started.";
    text.gauge("last_round_start_timestamp_seconds", started, seconds(round.started));
    let ended = "When the last round ended, since 1970; before the first one, when the process started.";
    text.gauge("last_round_end_timestamp_seconds", ended, seconds(round.ended));
    text.gauge("last_round_exit_code", "The exit code of the last round.", round.exit_code);
    text.gauge("last_round_files_found", "Files that the last round found.", round.files_found);
    text.gauge("last_round_files_done", "Files that the last round has done.", round.files_done);
    text.gauge("last_round_records_loaded", "Records that the last round loaded.", round.records_loaded);
    text.gauge("last_round_lines_rejected", "Lines that the last round rejected.", round.lines_rejected);
}

const COUNTER: &str = "counter";
const GAUGE: &str = "gauge";

/// Metrics as they are added.
struct Text(String);

impl Text {
    fn counter(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, COUNTER, help, [("", value)]);
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.family(name, GAUGE, help, [("", value)]);
    }

    /// One metric with a value for each set of labels; nothing without values.
    fn family<L: Display, V: Display>(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) {
        let mut values = values.into_iter().peekable();
        if values.peek().is_some() {
            // Writing to a string cannot fail.
            let _ = writeln!(self.0, "# HELP memc_load_{name} {help}\n# TYPE memc_load_{name} {kind}");
        }
        for (labels, value) in values {
            let _ = writeln!(self.0, "memc_load_{name}{labels} {value}");
        }
    }
}

/// `{name="value",…}`, escaped as the format asks for.
fn labels(pairs: &[(&str, &str)]) -> String {
    let escaped = |value: &str| value.replace('\\', r"\\").replace('"', "\\\"").replace('\n', r"\n");
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect();
    format!("{{{}}}", pairs.join(","))
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 need 41 bits")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_escaped() {
        assert_eq!(labels(&[("a", r#"x\"y"#), ("b", "1\n2")]), r#"{a="x\\\"y",b="1\n2"}"#);
    }
}
