//! The report of `--report`: the outcome of a run as JSON. `docs/monitoring.md` describes it for its readers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memc_core::{Counts, Distribution, InputReport};
use serde::{Deserialize, Serialize};

use crate::args::{Args, VERSION, routes};
use crate::inputs::name::shown;
use crate::output::messages;
use crate::run::servers;
use crate::run::summary::{End, Summary, is_acceptable};

/// Goes up when a name in the report is taken away or changes its meaning, not when one is added.
const SCHEMA_VERSION: u32 = 2;

#[derive(Serialize)]
struct Report<'a> {
    schema_version: u32,
    program_version: &'static str,
    started_at: String,
    ended_at: String,
    duration_seconds: f64,
    exit_code: u8,
    error: Option<&'a str>,
    dry: bool,
    pattern: Option<&'a str>,
    files_found: usize,
    files_done: usize,
    files_quarantined: Vec<String>,
    records_per_second: f64,
    #[serde(flatten)]
    counts: LineCounts,
    bytes_in: u64,
    files: Vec<File>,
    unfinished_file: Option<File>,
    distribution: Option<&'static str>,
    servers: Vec<Server>,
}

/// A file that is done, or the part of it that is.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct File {
    pub(crate) name: String,
    pub(crate) duration_seconds: f64,
    pub(crate) records_per_second: f64,
    pub(crate) error_rate: Option<f64>,
    pub(crate) error_rate_acceptable: bool,
    #[serde(flatten)]
    pub(crate) counts: LineCounts,
    pub(crate) bytes_in: u64,
}

/// What became of lines.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct LineCounts {
    pub(crate) lines: u64,
    pub(crate) records_loaded: u64,
    pub(crate) lines_rejected: u64,
    pub(crate) lines_rejected_by_reason: BTreeMap<String, u64>,
    pub(crate) app_ids_dropped: u64,
    pub(crate) bytes_decompressed: u64,
    pub(crate) bytes_sent: u64,
}

/// What is true of every run with records in flight on connections whose end could not be confirmed.
const NOT_EXCLUDED: &str = "a proxy that delivers what was in flight later than --timeout after the last sign of it \
    leaves an older value, unnoticed";

#[derive(Serialize)]
struct Server {
    address: String,
    device_types: Vec<String>,
    /// Of the device types that have a list.
    shares: BTreeMap<String, f64>,
    records: u64,
    batches: u64,
    retries: u64,
    evictions: u64,
    memory_used_bytes: Option<u64>,
    memory_limit_bytes: Option<u64>,
    restarted_at_end: bool,
    unreachable_at_end: bool,
    no_statistics: bool,
    records_in_flight: u64,
    records_read_back: u64,
    records_set_again: u64,
    records_untracked: u64,
    /// What this run cannot exclude of them, if there are any.
    not_excluded: Option<&'static str>,
    files_lost: Vec<String>,
}

/// The report of a run that has ended so.
pub(crate) fn json(args: &Args, summary: &Summary, end: &End) -> String {
    let run = &summary.run;
    let report = Report {
        schema_version: SCHEMA_VERSION,
        program_version: VERSION,
        started_at: time(summary.started),
        ended_at: time(end.at),
        duration_seconds: summary.duration(end).as_secs_f64(),
        exit_code: end.exit_code,
        error: end.error.as_deref(),
        dry: args.dry,
        pattern: args.pattern(),
        files_found: summary.files.len(),
        files_done: summary.done.len(),
        files_quarantined: summary.quarantined.iter().map(|path| shown(path).to_string()).collect(),
        records_per_second: messages::records_per_second(run.counts.loaded, run.duration),
        counts: LineCounts::new(&run.counts),
        bytes_in: run.bytes_in,
        files: summary.done.iter().map(|it| File::new(it, args.max_error_rate)).collect(),
        unfinished_file: run.unfinished.as_ref().map(|it| File::new(it, args.max_error_rate)),
        distribution: routes::distribution(&args.routes).map(Distribution::name),
        servers: servers::of(&args.routes).into_iter().filter_map(|it| Server::new(it, summary)).collect(),
    };
    // Numbers, texts and lists of them always become JSON.
    let json = serde_json::to_string_pretty(&report).unwrap_or_default();
    json + "\n"
}

impl File {
    pub(crate) fn new(file: &InputReport, max_error_rate: f64) -> Self {
        let rate = file.counts.error_rate();
        Self {
            name: file.name.clone(),
            duration_seconds: file.duration.as_secs_f64(),
            records_per_second: messages::records_per_second(file.counts.loaded, file.duration),
            error_rate: rate.is_finite().then_some(rate),
            error_rate_acceptable: is_acceptable(&file.counts, max_error_rate),
            counts: LineCounts::new(&file.counts),
            bytes_in: file.bytes_in,
        }
    }
}

impl LineCounts {
    pub(crate) fn new(counts: &Counts) -> Self {
        Self {
            lines: counts.lines,
            records_loaded: counts.loaded,
            lines_rejected: counts.rejected_total(),
            lines_rejected_by_reason: counts
                .rejected
                .iter()
                .map(|(reason, &count)| (reason.name().to_owned(), count))
                .collect(),
            app_ids_dropped: counts.dropped_total(),
            bytes_decompressed: counts.bytes_decompressed,
            bytes_sent: counts.bytes_sent,
        }
    }
}

impl Server {
    /// `None` if the run has not used its servers.
    fn new(server: servers::Server, summary: &Summary) -> Option<Self> {
        let report = server.report(&summary.run.servers)?;
        let (_, lost) = summary.lost_on(&server.address);
        Some(Self {
            device_types: server.device_types,
            shares: server.shares.into_iter().collect(),
            records: report.records,
            batches: report.batches,
            retries: report.retries,
            evictions: report.evictions,
            memory_used_bytes: report.memory_used_bytes,
            memory_limit_bytes: report.memory_limit_bytes,
            restarted_at_end: report.restarted,
            unreachable_at_end: report.unreachable,
            no_statistics: report.no_statistics,
            records_in_flight: report.records_in_flight,
            records_read_back: report.records_read_back,
            records_set_again: report.records_set_again,
            records_untracked: report.records_untracked,
            not_excluded: (report.records_in_flight > 0).then_some(NOT_EXCLUDED),
            files_lost: lost.iter().map(|path| shown(path).to_string()).collect(),
            address: server.address,
        })
    }
}

/// In UTC, with milliseconds.
pub(crate) fn time(at: Timestamp) -> String {
    format!("{at:.3}")
}
