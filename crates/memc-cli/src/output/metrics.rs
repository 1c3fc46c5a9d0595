//! The figures of `--metrics`, in the text format of Prometheus, for its textfile collector.

use std::collections::BTreeMap;
use std::fmt::{Display, Write};

use jiff::Timestamp;
use memc_core::{RejectReason, ServerReport, apps};

use crate::args::{Args, VERSION};
use crate::run::summary::{End, Summary};

/// The reasons that are always there, also with 0, so that a rule can be written before the first reject.
const REASONS: [RejectReason; 7] = [
    RejectReason::LineTooLong,
    RejectReason::FieldCount,
    RejectReason::EmptyField,
    apps::COORDINATES,
    RejectReason::NoServer,
    RejectReason::InvalidKey,
    RejectReason::ServerRefused,
];

/// The figures of a run that has ended so. All are gauges: they are of the last run alone.
pub(crate) fn text(args: &Args, summary: &Summary, end: &End) -> String {
    let (run, counts) = (&summary.run, &summary.run.counts);
    let mut text = Text(String::new());
    text.one_with("build_info", "The version that made these figures.", labels(&[("version", VERSION)]), 1);
    text.one("start_time_seconds", "When the last run started, since 1970.", seconds(summary.started));
    text.one("end_time_seconds", "When the last run ended, since 1970.", seconds(end.at));
    text.one("duration_seconds", "How long the last run took.", summary.duration(end).as_secs_f64());
    text.one(
        "exit_code",
        "0: all is done. 1: stopped early. 3: done, with losses. From 129: a signal.",
        end.exit_code,
    );
    text.one("files_found", "Files that matched the pattern.", summary.files.len());
    text.one("files_done", "Files that are done.", summary.done.len());
    text.one("lines", "Lines of the files that are done.", counts.lines);
    text.one("records_loaded", "Records that their servers acknowledged.", counts.loaded);
    let mut rejected = BTreeMap::from(REASONS.map(|reason| (reason, 0)));
    rejected.extend(counts.rejected.clone());
    let rejected = rejected.into_iter().map(|(reason, count)| (labels(&[("reason", reason.name())]), count));
    text.family("lines_rejected", "Lines that were rejected, by reason.", rejected);
    text.one("app_ids_dropped", "App ids left out of records because they are no u32.", counts.dropped_total());
    text.one(
        "input_bytes",
        "Bytes read from the files that are done, packed ones if they are gzip.",
        run.bytes_in,
    );
    text.one("plain_bytes", "The same bytes unpacked.", counts.bytes_decompressed);
    text.one("output_bytes", "Bytes of commands sent to the servers.", counts.bytes_sent);

    let mut of_servers = |name, help, figure: &dyn Fn(&ServerReport) -> u64| {
        let figures = args.routes.iter().zip(&run.servers).map(|(route, server)| {
            let names = [("device_type", route.device_type.as_str()), ("server", &server.address)];
            (labels(&names), figure(server))
        });
        text.family(name, help, figures);
    };
    of_servers("server_records", "Records that the server acknowledged.", &|server| server.records);
    of_servers("server_retries", "Connections to the server that were tried again.", &|server| {
        server.retries
    });
    of_servers("server_evictions", "Records that the server removed to make room.", &|server| {
        server.evictions
    });
    of_servers("server_memory_limit_bytes", "The server's memory limit; 0 if it was not asked.", &|server| {
        server.memory_limit_bytes
    });
    of_servers(
        "server_files_lost",
        "Files that are done and have lost their records on the server.",
        &|server| summary.lost.get(&server.address).map_or(0, |&files| files as u64),
    );
    text.0
}

/// Metrics as they are added.
struct Text(String);

impl Text {
    fn one(&mut self, name: &str, help: &str, value: impl Display) {
        self.one_with(name, help, String::new(), value);
    }

    fn one_with(&mut self, name: &str, help: &str, labels: String, value: impl Display) {
        self.family(name, help, [(labels, value)]);
    }

    /// One metric with a value for each set of labels.
    fn family<V: Display>(&mut self, name: &str, help: &str, values: impl IntoIterator<Item = (String, V)>) {
        // Writing to a string cannot fail.
        let _ = writeln!(self.0, "# HELP memc_load_{name} {help}\n# TYPE memc_load_{name} gauge");
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
