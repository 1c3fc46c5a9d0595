//! What the log says of records, files and runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use memc_core::apps::UserApps;
use memc_core::{Address, DryRecord, Error, InputReport};
use prost::Message;

use crate::args::Route;
use crate::inputs::name::shown;
use crate::run::summary::{Summary, is_acceptable};

/// A list of files names so many at most; who follows a folder for months has done more of them.
const MAX_NAMES: usize = 100;

/// Logs that `--inflate-threads` was given, which an older version acted on.
pub(crate) fn inflate_threads_ignored() {
    log::warn!(
        "--inflate-threads has no effect any more: one thread decompresses each file, because several on one gzip \
         stream took up to 2.7 times the CPU time; to use more cores, load more files at once"
    );
}

/// Logs a record of a dry run, in the words of the old script.
pub(crate) fn dry_record(record: &DryRecord<'_>, servers: &[Address]) {
    let key = record.key.escape_ascii();
    match UserApps::decode(record.value) {
        Ok(apps) => log::debug!("{} - {key} -> {}", servers[record.server], text_format(&apps)),
        Err(error) => log::error!("{} - {key} -> not a message: {error}", servers[record.server]),
    }
}

/// The message on one line, in protobuf's text format.
fn text_format(message: &UserApps) -> String {
    let mut fields: Vec<_> = message.apps.iter().map(|app| format!("apps: {app}")).collect();
    fields.extend(message.lat.map(|lat| format!("lat: {}", float(lat))));
    fields.extend(message.lon.map(|lon| format!("lon: {}", float(lon))));
    fields.join(" ")
}

/// The shortest text that reads back as the same float, always with a point or an exponent.
fn float(value: f64) -> String {
    format!("{value:?}").to_lowercase()
}

/// Logs what became of a file.
pub(crate) fn file(file: &InputReport, max_error_rate: f64) {
    rejects(file);
    let counts = &file.counts;
    let (loaded, rejected) = (counts.loaded, counts.rejected_total());
    log::info!("{}: {loaded} records, {rejected} rejected, {}", file.name, pace(loaded, file.duration));
    let rate = counts.error_rate();
    if is_acceptable(counts, max_error_rate) {
        log::info!("Acceptable error rate ({rate}). Successful load");
    } else {
        log::error!("High error rate ({rate} > {max_error_rate}). Failed load");
    }
}

/// Logs that a file that is done has taken the place of an older one.
pub(crate) fn replaced(older: &Path) {
    log::warn!("{}: existed already and was replaced", shown(older));
}

/// Logs that a log was not what was read when its turn came to be marked as done.
pub(crate) fn changed(log: &Path) {
    log::warn!("{}: has changed while it was loaded: it is loaded again", shown(log));
}

/// Logs that a broken log was moved to `path`, and that some of its records were stored before it was found to be.
pub(crate) fn quarantined(log: &Path, path: &Path, reason: &str, stored: u64) {
    log::error!(
        "{}: {reason}: moved to '{}'; {stored} of its records are stored and stay, all later files overtake it",
        shown(log),
        shown(path)
    );
}

/// Logs the first rejected lines of each reason, then how many there are.
fn rejects(file: &InputReport) {
    for rejected in &file.rejected_lines {
        log::warn!("{}:{}: rejected ({}): {}", file.name, rejected.line, rejected.reason, rejected.text);
    }
    if !file.counts.rejected.is_empty() {
        let reasons: Vec<_> =
            file.counts.rejected.iter().map(|(name, count)| format!("{name} {count}")).collect();
        log::warn!("{}: rejected lines by reason: {}", file.name, reasons.join(", "));
    }
    if file.counts.dropped > 0 {
        log::warn!(
            "{}: {} app ids are no numbers and were left out of their records",
            file.name,
            file.counts.dropped
        );
    }
}

/// Logs that a server has forgotten what it held.
pub(crate) fn restarted(address: &str, summary: &Summary) {
    log::warn!("{address}: restarted, so empty: the file in work is loaded again from its start");
    lost(address, summary);
}

/// Logs which files have lost their records on a server, if any.
fn lost(address: &str, summary: &Summary) {
    let (files, names) = summary.lost_on(address);
    let names = match &names[..] {
        [] => return,
        [first, .., last] if files > MAX_NAMES => {
            format!("{files} files, from {} to {}", shown(first), shown(last))
        }
        names => names.iter().map(|path| shown(path).to_string()).collect::<Vec<_>>().join(", "),
    };
    log::error!(
        "{address}: lost its records of {names}: take the dot off these names and off all later ones, then run again"
    );
}

/// What stopped a run, with the options that set a server at fault: several device types may share it.
pub(crate) fn stopped(error: Error, routes: &[Route]) -> anyhow::Error {
    let faults: Vec<_> = match &error {
        Error::Server { address, .. } => {
            routes.iter().filter(|route| route.server.to_string() == *address).collect()
        }
        _ => Vec::new(),
    };
    match (&faults[..], error) {
        // That is our own handling of an event, which says all there is to say.
        ([], Error::Caller { source }) => anyhow::Error::from_boxed(source),
        ([], error) => anyhow::Error::new(error),
        (faults, error) => {
            let types: Vec<_> = faults.iter().map(|route| format!("'{}'", route.device_type)).collect();
            let options: Vec<_> = faults.iter().map(|route| route.option()).collect();
            let word = if faults.len() == 1 { "option" } else { "options" };
            anyhow::Error::new(error).context(format!(
                "the server of {} records is at fault ({word} {})",
                types.join(", "),
                options.join(", ")
            ))
        }
    }
}

/// Logs what became of the servers, which were asked at the end of a round that has not `failed`.
pub(crate) fn servers(summary: &Summary, failed: bool) {
    let mut told = BTreeSet::new();
    for server in &summary.run.servers {
        if server.retries > 0 {
            log::warn!(
                "{}: {} retries, since it was away or a connection broke",
                server.address,
                server.retries
            );
        }
        // One for several device types is there several times.
        if server.gone && told.insert(&server.address) {
            log::warn!("{}: restarted or gone since its last acknowledgment", server.address);
            lost(&server.address, summary);
        }
        let was_asked = server.gone || server.memory_limit_bytes > 0;
        if server.records > 0 && !was_asked && !failed && told.insert(&server.address) {
            log::warn!(
                "{}: acknowledged all records, but does not answer now: look whether it still is the same process",
                server.address
            );
        }
        if server.evictions > 0 {
            log::warn!(
                "{}: full: it has thrown away {} records to make room; give it more than its {} MiB (memcached -m)",
                server.address,
                server.evictions,
                server.memory_limit_bytes >> 20
            );
        }
    }
}

/// Logs what became of the run, or of a round of it.
pub(crate) fn run(summary: &Summary, stopped: bool) {
    let run = &summary.run;
    if let Some(file) = &run.unfinished {
        rejects(file);
    }
    let (loaded, rejected) = (run.counts.loaded, run.counts.rejected_total());
    log::info!(
        "{} of {} files done: {loaded} records, {rejected} rejected, {}",
        summary.done.len(),
        summary.files.len(),
        pace(loaded, run.duration)
    );
    if !summary.quarantined.is_empty() {
        log::warn!("{} broken files are in quarantine", summary.quarantined.len());
    }
    if stopped {
        let left = summary.files.len() - summary.done.len();
        log::warn!(
            "LoadError early, files that keep their names: {left}. Mend what the next line tells, then run again"
        );
    }
}

/// Logs what matches and can be no log.
pub(crate) fn others<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) {
    for path in paths {
        log::warn!("{}: not a regular file, so not a log: left alone", shown(path));
    }
}

/// Logs that a log is not complete, and why that is thought.
pub(crate) fn held(log: &Path, why: &str) {
    log::info!("{}: not complete ({why}): it and all later files wait until it is", shown(log));
}

/// Logs that it still is not, after `time`, with so many `later` ones waiting.
pub(crate) fn still_held(log: &Path, time: Duration, later: usize) {
    let time = humantime::format_duration(Duration::from_secs(time.as_secs()));
    log::warn!("{}: not complete for {time}; {later} later files wait", shown(log));
}

/// Logs that a log can only be loaded out of order.
pub(crate) fn late(log: &Path, last: &Path) {
    let (log, last) = (shown(log), shown(last));
    log::warn!("{log}: came after {last} was done: where both have a key, the older record stays");
}

fn pace(records: u64, duration: Duration) -> String {
    format!("{:.2} s, {:.0} records/s", duration.as_secs_f64(), records_per_second(records, duration))
}

/// 0 if there was no time.
pub(crate) fn records_per_second(records: u64, duration: Duration) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "a pace needs no more than 53 bits of a count")]
    let pace = records as f64 / duration.as_secs_f64().max(f64::EPSILON);
    pace
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn floats_are_the_shortest_that_read_back() {
        for (value, text) in [
            (67.7835424444, "67.7835424444"),
            (-22.8044005471, "-22.8044005471"),
            (1.0, "1.0"),
            (-0.0, "-0.0"),
            (0.1 + 0.2, "0.30000000000000004"),
            (1e300, "1e300"),
            (1e-7, "1e-7"),
            (f64::INFINITY, "inf"),
            (f64::NAN, "nan"),
        ] {
            assert_eq!(float(value), text);
        }
    }

    #[test]
    fn messages_read_as_in_the_script() {
        let message = UserApps { apps: vec![7942, 8519], lat: Some(67.5), lon: Some(-22.0) };
        assert_eq!(text_format(&message), "apps: 7942 apps: 8519 lat: 67.5 lon: -22.0");
    }
}
