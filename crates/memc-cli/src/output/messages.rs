//! The texts of the log: on records, files, servers and runs.

use std::path::{Path, PathBuf};
use std::time::Duration;

use memc_core::apps::UserApps;
use memc_core::apps::prost::Message;
use memc_core::{Address, DryRecord, Error, Event, InputReport, ServerReport};

use crate::args::Args;
use crate::args::routes::Route;
use crate::inputs::find;
use crate::inputs::name::shown;
use crate::run::servers;
use crate::run::summary::{Summary, is_acceptable};
use crate::watch::listener::Listener;

/// A list of files names at most this many; a follower of months has done more of them.
const MAX_NAMES: usize = 100;

/// Logs that `--inflate-threads` was given, which an older version acted on.
pub(crate) fn inflate_threads_ignored() {
    log::warn!(
        "--inflate-threads has no effect any more: one thread decompresses each file, because several on one gzip \
         stream took up to 2.7 times the CPU time; to use more cores, load more files at once"
    );
}

/// Logs where those who watch find the page, and warns if that is more of them than may be meant.
pub(crate) fn listening(listener: &Listener) {
    log::info!("Listening on {listener}");
    if listener.is_public() {
        log::warn!(
            "--listen: other machines can reach {listener}, and there is no login: they see names of files, addresses of \
             servers and lines of the log; listen on 127.0.0.1, or let a firewall or a proxy decide who may"
        );
    }
}

/// Logs a record of a dry run, in the words of the old script.
pub(crate) fn dry_record(record: &DryRecord<'_>, routes: &[Route]) {
    let server = &routes[record.group].group.servers()[record.server];
    match record_line(&server.address, record.key, record.value) {
        Ok(line) => log::debug!("{line}"),
        Err(line) => log::error!("{line}"),
    }
}

/// A record on a server as one line of text; an error, with escapes, if no load stores such a value.
pub(crate) fn record_line(server: &Address, key: &[u8], value: &[u8]) -> Result<String, String> {
    let key = key.escape_ascii();
    match UserApps::decode(value).ok().filter(|apps| apps.encode_to_vec() == value) {
        Some(apps) => Ok(format!("{server} - {key} -> {}", text_format(&apps))),
        None => Err(format!("{server} - {key} -> not a record of an apps log: '{}'", value.escape_ascii())),
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

/// Logs what became of a file. The last line is the script's, to the letter.
pub(crate) fn file(file: &InputReport, max_error_rate: f64) {
    rejects(file);
    let (counts, name) = (&file.counts, file.name.as_str());
    let (loaded, rejected) = (counts.loaded, counts.rejected_total());
    log::info!(file = name; "{name}: {loaded} records, {rejected} rejected, {}", pace(loaded, file.duration));
    let rate = counts.error_rate();
    if is_acceptable(counts, max_error_rate) {
        log::info!(file = name; "Acceptable error rate ({rate}). Successful load");
    } else {
        log::error!(file = name; "High error rate ({rate} > {max_error_rate}). Failed load");
    }
}

/// Logs that a file that is done has taken the place of an older one.
pub(crate) fn replaced(older: &Path) {
    let older = shown(older);
    log::warn!(file:% = older; "{older}: existed already and was replaced");
}

/// Logs that a file is no longer what was read, so it cannot be marked as done.
pub(crate) fn changed(log: &Path) {
    let log = shown(log);
    log::warn!(file:% = log; "{log}: has changed while it was loaded: it is loaded again");
}

/// Logs that a broken log was moved to `path`, and that some of its records were stored before it was found to be.
pub(crate) fn quarantined(log: &Path, path: &Path, reason: &str, stored: u64) {
    let (log, path) = (shown(log), shown(path));
    log::error!(
        file:% = log;
        "{log}: {reason}: moved to '{path}'; {stored} of its records are stored and stay, all later files overtake it"
    );
}

/// Logs the first rejected lines of each reason, then how many there are.
fn rejects(file: &InputReport) {
    let name = file.name.as_str();
    for rejected in &file.rejected_lines {
        let (line, reason, text) = (rejected.line, &rejected.reason, &rejected.text);
        let why = rejected.explanation.as_ref().map_or_else(String::new, |why| format!(": {why}"));
        log::warn!(file = name; "{name}:{line}: rejected ({reason}{why}): {text}");
    }
    if !file.counts.rejected.is_empty() {
        let reasons: Vec<_> =
            file.counts.rejected.iter().map(|(name, count)| format!("{name} {count}")).collect();
        log::warn!(file = name; "{name}: rejected lines by reason: {}", reasons.join(", "));
    }
    for part in &file.dropped_parts {
        let (line, kind, text) = (part.line, &part.kind, &part.text);
        log::warn!(file = name; "{name}:{line}: app id left out ({kind}): {text}");
    }
    if !file.counts.dropped.is_empty() {
        let kinds: Vec<_> =
            file.counts.dropped.iter().map(|(kind, count)| format!("{kind} {count}")).collect();
        log::warn!(file = name; "{name}: app ids left out of their records: {}", kinds.join(", "));
    }
}

/// Logs what has happened to a server, in a process that does nothing else about it.
pub(crate) fn server_event(routes: &[Route], retry_for: Duration, event: &Event) {
    match event {
        Event::ServerAway { address, reason, retry_timeout } => away(routes, address, reason, *retry_timeout),
        Event::ServerStillAway { address, away_for } => still_away(routes, address, *away_for, retry_for),
        Event::ServerBack { address, away_for } => back(routes, address, *away_for),
        Event::RecordsReadBack {
            address,
            in_flight: flying,
            read_back: read,
            set_again: again,
            untracked,
        } => {
            read_back(routes, address, *flying, *read, *again, *untracked);
        }
        _ => {}
    }
}

/// Logs that a server is away.
pub(crate) fn away(routes: &[Route], address: &str, reason: &str, retry_timeout: Duration) {
    let server = servers::named(routes, address);
    let retry_timeout = humantime::format_duration(retry_timeout);
    log::warn!(server = address; "{server}: away: {reason}; retrying for {retry_timeout}, then the run stops");
}

/// Logs that a server is still away.
pub(crate) fn still_away(routes: &[Route], address: &str, away_for: Duration, retry_timeout: Duration) {
    let server = servers::named(routes, address);
    let (away_for, left) = (rounded(away_for), rounded(retry_timeout.saturating_sub(away_for)));
    log::warn!(server = address; "{server}: still away after {away_for}; retrying for another {left}");
}

/// Logs what cannot be known of a server.
pub(crate) fn no_statistics(routes: &[Route], address: &str) {
    let server = servers::named(routes, address);
    log::warn!(
        server = address;
        "{server}: gives no statistics, as a proxy does: restarts and evictions of it, or of servers behind it, cannot be \
         noticed"
    );
}

/// Logs that a server is back.
pub(crate) fn back(routes: &[Route], address: &str, away_for: Duration) {
    let server = servers::named(routes, address);
    log::warn!(server = address; "{server}: back after {}", rounded(away_for));
}

/// Logs that records in flight on a broken connection were read back and set again.
pub(crate) fn read_back(
    routes: &[Route],
    address: &str,
    in_flight: u64,
    read_back: u64,
    set_again: u64,
    untracked: u64,
) {
    let server = servers::named(routes, address);
    if untracked > 0 {
        log::error!(
            server = address;
            "{server}: connections broke with so much in flight that {untracked} records are no longer read back and \
             may be stale: give a --timeout that is longer than the server or proxy stalls, and load the files again"
        );
    }
    log::warn!(
        server = address;
        "{server}: a connection broke with {in_flight} records in flight and its end could not be confirmed: \
         {read_back} records were read back, {set_again} of them were stale and set again"
    );
}

/// A duration as people say it: in milliseconds below a second, else in seconds.
pub(crate) fn rounded(duration: Duration) -> humantime::FormattedDuration {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let unit = if millis < 1000 { 1 } else { 1000 };
    humantime::format_duration(Duration::from_millis(millis / unit * unit))
}

/// Logs that a server has lost what it held.
pub(crate) fn restarted(address: &str, summary: &Summary) {
    log::warn!(
        server = address;
        "{address}: restarted, so empty: the file in progress is loaded again from its start"
    );
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
        server = address;
        "{address}: lost its records of {names}: take the dot off these names and off all later ones, then run again"
    );
}

/// What stopped a run, with the options that set a server at fault: several device types may share it.
pub(crate) fn stopped(error: Error, routes: &[Route]) -> anyhow::Error {
    let at_fault = match &error {
        Error::Server { address, .. } => {
            servers::of(routes).into_iter().find(|server| server.address == *address)
        }
        _ => None,
    };
    match (at_fault, error) {
        // That is our own handling of an event, which says all there is to say.
        (None, Error::Caller { source }) => anyhow::Error::from_boxed(source),
        (None, error) => anyhow::Error::new(error),
        (Some(server), error) => {
            let types: Vec<_> = server.device_types.iter().map(|name| format!("'{name}'")).collect();
            let word = if server.options.len() == 1 { "option" } else { "options" };
            anyhow::Error::new(error).context(format!(
                "the server of {} records is at fault ({word} {})",
                types.join(", "),
                server.options.join(", ")
            ))
        }
    }
}

/// Logs what became of the servers, which were asked at the end of a round that has not `failed`.
pub(crate) fn servers(summary: &Summary, args: &Args, failed: bool) {
    let (routes, dry) = (&args.routes, args.dry);
    for (server, report) in
        servers::of(routes).iter().filter_map(|server| Some((server, server.report(&summary.run.servers)?)))
    {
        let address = server.address.as_str();
        let ServerReport { records, batches, retries, evictions, memory_limit_bytes, .. } = *report;
        let share = server.share_text().map_or_else(String::new, |share| format!("; {share}"));
        if batches > 0 {
            log::debug!(server = address; "{server}: {records} records in {batches} batches{share}");
        } else if dry && !share.is_empty() {
            log::debug!(server = address; "{server}: {records} records{share}");
        }
        if retries > 0 {
            log::warn!(
                server = address;
                "{address}: {retries} retries, since it was away or a connection broke"
            );
        }
        if report.restarted {
            log::warn!(server = address; "{address}: restarted since its last acknowledgment");
            lost(address, summary);
        }
        if report.unreachable && !failed {
            log::error!(
                server = address;
                "{address}: acknowledged all records, but cannot be asked now: if its process has ended, they are lost"
            );
            lost(address, summary);
        }
        if evictions > 0 {
            log::error!(
                server = address;
                "{address}: full: it has evicted {evictions} records during the run; give it more than its {} MiB \
                 (memcached -m), then load again what is missing",
                memory_limit_bytes.unwrap_or(0) >> 20
            );
        }
    }
}

/// Logs what became of the run, or of a round of it.
pub(crate) fn run(summary: &Summary, max_error_rate: f64, stopped: bool) {
    let run = &summary.run;
    if let Some(file) = &run.unfinished {
        rejects(file);
    }
    let (loaded, rejected) = (run.counts.loaded, run.counts.rejected_total());
    let failed = summary.done.iter().filter(|file| !is_acceptable(&file.counts, max_error_rate)).count();
    let failed = match failed {
        0 => String::new(),
        1 => "; a high error rate in 1 of them (Failed load), which is done all the same".to_owned(),
        files => format!("; a high error rate in {files} of them (Failed load), which are done all the same"),
    };
    log::info!(
        "{} of {} files done: {loaded} records, {rejected} rejected, {}{failed}",
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
            "Stopped early: {left} files keep their names. Fix what the next line names, then run again"
        );
    }
}

/// Logs what matches but cannot be a log.
pub(crate) fn others<'a>(paths: impl IntoIterator<Item = &'a PathBuf>) {
    for path in paths {
        let path = shown(path);
        log::warn!(file:% = path; "{path}: not a regular file, so not a log: skipped");
    }
}

/// Logs what a follower waits for that has found nothing at its start.
pub(crate) fn waiting(pattern: &str, has_folder: bool) {
    if has_folder {
        log::info!("No file matches '{pattern}' yet: waiting for the first one");
    } else {
        let folder = shown(find::folder(Path::new(pattern)));
        log::warn!("There is no folder '{folder}' yet: waiting for it, and for files that match '{pattern}'");
    }
}

/// Logs that a log is not complete, and why that is thought.
pub(crate) fn held(log: &Path, why: &str) {
    let log = shown(log);
    log::info!(file:% = log; "{log}: not complete ({why}): it and all later files wait until it is");
}

/// Logs that it still is not, after `time`, with this many `later` ones waiting.
pub(crate) fn still_held(log: &Path, time: Duration, later: usize) {
    let (log, time) = (shown(log), rounded(time));
    log::warn!(file:% = log; "{log}: not complete for {time}; {later} later files wait");
}

/// Logs that a file can only be loaded out of order.
pub(crate) fn late(log: &Path, last: &Path) {
    let (log, last) = (shown(log), shown(last));
    log::warn!(file:% = log; "{log}: came after {last} was done: where both have a key, the older record stays");
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
    fn durations_are_rounded_down() {
        for (millis, text) in [(0, "0s"), (999, "999ms"), (1999, "1s"), (61_500, "1m 1s")] {
            assert_eq!(rounded(Duration::from_millis(millis)).to_string(), text);
        }
    }

    #[test]
    fn messages_read_as_in_the_script() {
        let message = UserApps { apps: vec![7942, 8519], lat: Some(67.5), lon: Some(-22.0) };
        assert_eq!(text_format(&message), "apps: 7942 apps: 8519 lat: 67.5 lon: -22.0");
    }
}
