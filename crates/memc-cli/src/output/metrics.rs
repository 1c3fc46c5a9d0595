//! The metrics: of `/metrics`, and of the file of `--metrics` for the textfile collector of Prometheus' node exporter.
//!
//! Both have the same names. What is looked at only for `--listen` is not there without it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use memc_core::{RejectReason, RoundTrips, ServerProgress, apps};
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{
    DescriptorEncoder, EncodeCounterValue, EncodeGaugeValue, EncodeLabelSet, EncodeMetric, MetricEncoder,
    NoLabelSet, prometheus_text, text,
};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use crate::args::{Args, VERSION};
use crate::run::servers::{self, Server};
use crate::run::totals::{FILE_SECONDS, Round, ServerTotals, Totals};
use crate::watch::live::{Live, Now, Seen};

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

/// The `Content-Type` of [`text()`].
pub(crate) const TEXT: &str = prometheus_text::CONTENT_TYPE;

/// The `Content-Type` of [`open_metrics()`].
pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The metrics in Prometheus' own text format, which the textfile collector takes and `promtool` checks.
pub(crate) fn text(args: &Args, live: &Arc<Live>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = prometheus_text::encode(&mut text, &registry(args, live));
    text
}

/// The metrics in the format of `OpenMetrics`, which Prometheus asks for.
pub(crate) fn open_metrics(args: &Args, live: &Arc<Live>) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = text::encode(&mut text, &registry(args, live));
    text
}

fn registry(args: &Args, live: &Arc<Live>) -> Registry {
    let mut registry = Registry::with_prefix("memc_load");
    let figures = Figures { servers: servers::of(&args.routes), live: Arc::clone(live) };
    registry.register_collector(Box::new(figures));
    registry
}

/// What the process has done since its start, in counters, and the gauges of its last round and of now.
#[derive(Debug)]
struct Figures {
    servers: Vec<Server>,
    live: Arc<Live>,
}

impl Collector for Figures {
    fn encode(&self, encoder: DescriptorEncoder) -> fmt::Result {
        let mut out = Out(encoder);
        let (progress, now) = (self.live.servers(), self.live.lock());
        out.gauges("build_info", "The version of memc-load.", [([("version", VERSION)], 1_u64)])?;
        let started = "When the process started, since 1970.";
        out.gauge("start_timestamp_seconds", started, seconds(now.totals.started))?;
        of_rounds(&mut out, &now.totals)?;
        of_files(&mut out, &now.totals)?;
        of_servers(&mut out, &self.servers, &progress, &now)?;
        of_now(&mut out, &now)?;
        of_last_round(&mut out, &now.totals.last_round)
    }
}

fn of_rounds(out: &mut Out<'_>, totals: &Totals) -> fmt::Result {
    let mut rounds = BTreeMap::from(EXIT_CODES.map(|code| (code, 0)));
    rounds.extend(&totals.rounds);
    let rounds = rounds.into_iter().map(|(code, count)| ([("exit_code", code.to_string())], count));
    let help =
        "Rounds by their exit code: 0 all done, 1 stopped early, 3 done with losses, 129 and above a signal.";
    out.counters("rounds", help, rounds)
}

fn of_files(out: &mut Out<'_>, totals: &Totals) -> fmt::Result {
    let counts = &totals.counts;
    out.counter("files_done", "Files that are done.", totals.files)?;
    let help = "Broken files that were moved into quarantine.";
    out.counter("files_quarantined", help, totals.files_quarantined)?;
    let help = "Files that are done and had as many rejected lines as makes a load fail.";
    out.counter("files_over_error_rate", help, totals.files_over_error_rate)?;
    out.counter("lines", "Lines of the files that are done.", counts.lines)?;
    out.counter("records_loaded", "Records of these files that servers acknowledged.", counts.loaded)?;
    let mut rejected = BTreeMap::from(REASONS.map(|reason| (reason.name().to_owned(), 0)));
    rejected.extend(counts.rejected.iter().map(|(reason, &count)| (reason.name().to_owned(), count)));
    let rejected = rejected.into_iter().map(|(reason, count)| ([("reason", reason)], count));
    out.counters("lines_rejected", "Lines of these files that were rejected.", rejected)?;
    let mut dropped = BTreeMap::from([apps::NOT_AN_INTEGER, apps::OUT_OF_RANGE].map(|kind| (kind, 0)));
    dropped.extend(counts.dropped.iter().map(|(kind, &count)| (kind.as_ref(), count)));
    let dropped = dropped.into_iter().map(|(kind, count)| ([("kind", kind)], count));
    out.counters("app_ids_dropped", "App ids left out of records, by kind.", dropped)?;
    out.counter("input_bytes", "Bytes read from these files, compressed if they are.", totals.bytes_in)?;
    out.counter("decompressed_bytes", "The same bytes decompressed.", counts.bytes_decompressed)?;
    out.counter("sent_bytes", "Bytes of commands sent to servers.", counts.bytes_sent)?;
    let sum = totals.file_duration.as_secs_f64();
    let durations = [(NO_LABELS, sum, buckets(FILE_SECONDS, &totals.file_durations))];
    out.histograms("file_duration_seconds", "How long each of these files took.", durations)
}

/// One series for each address, with the device types that it serves.
fn of_servers(out: &mut Out<'_>, servers: &[Server], progress: &[ServerProgress], now: &Now) -> fmt::Result {
    let shares = servers.iter().flat_map(|server| {
        let label = |(device_type, share): &(String, f64)| {
            ([("device_type", device_type.clone()), ("server", server.address.clone())], *share)
        };
        server.shares.iter().map(label).collect::<Vec<_>>()
    });
    let help = "The part of a device type's keys that belongs to the server, from 0 to 1, where the type has a list.";
    out.gauges("server_key_share_ratio", help, shares)?;
    let servers: Vec<_> = servers
        .iter()
        .map(|server| OneServer {
            labels: [("device_types", server.device_types.join(",")), ("server", server.address.clone())],
            totals: now.totals.server(&server.address),
            seen: now.server(&server.address),
            progress: progress.iter().find(|it| it.address == server.address).cloned().unwrap_or_default(),
        })
        .collect();
    for (name, help, value) in GAUGES_OF_SERVERS {
        let values = servers.iter().filter_map(|it| Some((it.labels.clone(), value(it)?)));
        out.gauges(name, help, values.collect::<Vec<_>>())?;
    }
    for (name, help, value) in COUNTERS_OF_SERVERS {
        out.counters(name, help, servers.iter().map(|it| (it.labels.clone(), value(it))))?;
    }
    let help = "From the end of the writing of a batch to its acknowledgment.";
    let bounds = RoundTrips::BOUNDS.map(|bound| bound.as_secs_f64());
    let times = servers.iter().map(|it| {
        let times = &it.progress.round_trips;
        (it.labels.clone(), times.total().as_secs_f64(), buckets(bounds, times.counts()))
    });
    out.histograms("server_round_trip_seconds", help, times)
}

/// All that is known of a server.
struct OneServer {
    labels: [(&'static str, String); 2],
    totals: ServerTotals,
    seen: Seen,
    progress: ServerProgress,
}

/// Metrics of each server: the name, the help text, the value if it is known.
type OfServers<T> = (&'static str, &'static str, fn(&OneServer) -> T);

const GAUGES_OF_SERVERS: [OfServers<Option<u64>>; 5] = [
    ("server_up", "0 while the server is away, else 1.", |it| {
        Some((it.totals.away.is_none() && it.seen.unreachable.is_none()).into())
    }),
    (
        "server_no_statistics",
        "1 if the server gives no statistics, so that restarts and evictions cannot be noticed, else 0.",
        |it| Some(it.totals.has_no_statistics.into()),
    ),
    ("server_bytes_in_flight", "Bytes of commands that were sent and are not acknowledged.", |it| {
        Some(it.progress.bytes_in_flight)
    }),
    (
        "server_memory_used_bytes",
        "The memory that the server's records take, as it last reported it.",
        |it| it.seen.memory_used_bytes.or(it.totals.memory_used_bytes),
    ),
    ("server_memory_limit_bytes", "The server's memory limit, as it last reported it.", |it| {
        it.seen.memory_limit_bytes.or(it.totals.memory_limit_bytes)
    }),
];

const COUNTERS_OF_SERVERS: [OfServers<u64>; 8] = [
    ("server_records", "Records that the server acknowledged.", |it| it.progress.records),
    ("server_retries", "Connections to the server that were tried again.", |it| it.progress.retries),
    (
        "server_evictions",
        "Records that the server evicted during the rounds; with --listen, at any time.",
        |it| it.totals.evictions.max(it.seen.evictions),
    ),
    ("server_restarts", "Times that the server was found to be another process, or none.", |it| {
        it.totals.restarts
    }),
    ("server_files_lost", "Files that were done before the server lost its records.", |it| {
        it.totals.files_lost
    }),
    (
        "server_records_in_flight",
        "Records in flight on connections whose end could not be confirmed.",
        |it| it.totals.records_in_flight,
    ),
    ("server_records_read_back", "Those of them that were read back.", |it| it.totals.records_read_back),
    ("server_records_set_again", "Those of them that were stale and set again.", |it| {
        it.totals.records_set_again
    }),
];

/// What is looked at only for those who watch.
fn of_now(out: &mut Out<'_>, now: &Now) -> fmt::Result {
    if let Some(backlog) = now.backlog {
        let help = "Files that are not done, the one in progress included.";
        out.gauge("backlog_files", help, backlog.files as u64)?;
        out.gauge("backlog_bytes", "Bytes of these files.", backlog.bytes)?;
        let help = "How long ago the one of them that was left alone for the longest time was written; 0 if there is none.";
        out.gauge("backlog_oldest_seconds", help, backlog.oldest_seconds())?;
    }
    if now.is_watched {
        let help = "Records that servers acknowledged, a second, over the last ten seconds.";
        out.gauge("records_per_second", help, now.history.now())?;
        let help = "For how long a file that is not complete has held up all later ones; 0 if none does.";
        let held_up = now.doing.held_up_for().unwrap_or_default();
        out.gauge("held_up_seconds", help, held_up.as_secs_f64())?;
    }
    Ok(())
}

fn of_last_round(out: &mut Out<'_>, round: &Round) -> fmt::Result {
    let started = "When the last round started, since 1970; before the first one, when the process started.";
    out.gauge("last_round_start_timestamp_seconds", started, seconds(round.started))?;
    let ended = "When the last round ended, since 1970; before the first one, when the process started.";
    out.gauge("last_round_end_timestamp_seconds", ended, seconds(round.ended))?;
    out.gauge("last_round_exit_code", "The exit code of the last round.", u64::from(round.exit_code))?;
    out.gauge("last_round_files_found", "Files that the last round found.", round.files_found as u64)?;
    out.gauge("last_round_files_done", "Files that the last round has done.", round.files_done as u64)?;
    out.gauge("last_round_records_loaded", "Records that the last round loaded.", round.records_loaded)?;
    out.gauge("last_round_lines_rejected", "Lines that the last round rejected.", round.lines_rejected)
}

const NO_LABELS: [(&str, &str); 0] = [];

/// Metrics as they are written.
struct Out<'a>(DescriptorEncoder<'a>);

impl Out<'_> {
    fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(NO_LABELS, value)])
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl EncodeGaugeValue) -> fmt::Result {
        self.gauges(name, help, [(NO_LABELS, value)])
    }

    /// One counter for each set of labels; its name gets a `_total`.
    fn counters<L: EncodeLabelSet, V: EncodeCounterValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstCounter::new(value)));
        self.family(name, help, MetricType::Counter, values, |value, encoder| value.encode(encoder))
    }

    /// One gauge for each set of labels.
    fn gauges<L: EncodeLabelSet, V: EncodeGaugeValue>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, V)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, value)| (labels, ConstGauge::new(value)));
        self.family(name, help, MetricType::Gauge, values, |value, encoder| value.encode(encoder))
    }

    /// One histogram for each set of labels: the sum, and the buckets.
    fn histograms<L: EncodeLabelSet>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = (L, f64, Vec<(f64, u64)>)>,
    ) -> fmt::Result {
        let values = values.into_iter().map(|(labels, sum, buckets)| (labels, (sum, buckets)));
        self.family(name, help, MetricType::Histogram, values, |(sum, buckets), mut encoder| {
            let count = buckets.iter().map(|(_, count)| count).sum();
            encoder.encode_histogram::<NoLabelSet>(sum, count, &buckets, None)
        })
    }

    /// Nothing without values.
    fn family<L: EncodeLabelSet, V>(
        &mut self,
        name: &str,
        help: &str,
        kind: MetricType,
        values: impl IntoIterator<Item = (L, V)>,
        write: impl Fn(V, MetricEncoder<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let mut values = values.into_iter().peekable();
        if values.peek().is_none() {
            return Ok(());
        }
        let mut encoder = self.0.encode_descriptor(name, help, None, kind)?;
        values.try_for_each(|(labels, value)| write(value, encoder.encode_family(&labels)?))
    }
}

/// Counts with the bounds up to which they go; the last one has none.
fn buckets(bounds: impl IntoIterator<Item = f64>, counts: &[u64]) -> Vec<(f64, u64)> {
    bounds.into_iter().chain([f64::INFINITY]).zip(counts.iter().copied()).collect()
}

#[expect(clippy::cast_precision_loss, reason = "milliseconds since 1970 need 41 bits")]
fn seconds(at: Timestamp) -> f64 {
    at.as_millisecond() as f64 / 1000.0
}
