//! What `/status.json` says, and `/healthz` and `/readyz`. `docs/monitoring.md` describes it for its readers.

use std::collections::BTreeMap;

use jiff::Timestamp;
use memc_core::ServerProgress;
use serde::{Deserialize, Serialize};

use crate::args::VERSION;
use crate::output::log;
use crate::output::report::{self, LineCounts};
use crate::output::service::Service;
use crate::run::servers;
use crate::watch::history;
use crate::watch::live::{Doing, Now};
use crate::watch::watched::Watched;

/// Goes up when a name is taken away or changes its meaning, not when one is added.
const SCHEMA_VERSION: u32 = 1;

/// Everything that the page shows.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Status {
    pub(crate) schema_version: u32,
    pub(crate) program_version: String,
    pub(crate) time: String,
    pub(crate) started_at: String,
    pub(crate) state: State,
    pub(crate) status: String,
    pub(crate) dry: bool,
    pub(crate) follow: bool,
    pub(crate) pattern: Option<String>,
    pub(crate) alive: bool,
    pub(crate) ready: bool,
    pub(crate) not_ready: Vec<String>,
    pub(crate) file: Option<FileInProgress>,
    pub(crate) held_up: Option<HeldUp>,
    pub(crate) backlog: Option<Backlog>,
    pub(crate) records_per_second: u64,
    pub(crate) history: History,
    pub(crate) files_done: u64,
    pub(crate) files_quarantined: u64,
    pub(crate) files_over_error_rate: u64,
    #[serde(flatten)]
    pub(crate) counts: LineCounts,
    pub(crate) bytes_in: u64,
    pub(crate) files: Vec<File>,
    pub(crate) servers: Vec<Server>,
    pub(crate) log: Vec<Line>,
}

/// What the process does, in one word.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum State {
    Starting,
    Loading,
    ServerAway,
    Waiting,
    HeldUp,
    Stopping,
}

/// The file in progress.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct FileInProgress {
    pub(crate) name: String,
    pub(crate) number: usize,
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) bytes_in: u64,
    pub(crate) duration_seconds: f64,
}

/// A file that is not complete and holds up all later ones.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct HeldUp {
    pub(crate) name: String,
    pub(crate) reason: String,
    pub(crate) duration_seconds: f64,
}

/// What is not done.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Backlog {
    pub(crate) files: usize,
    pub(crate) bytes: u64,
    pub(crate) oldest_seconds: f64,
}

/// Records a second over the last hour, the oldest first.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct History {
    pub(crate) interval_seconds: u64,
    pub(crate) records_per_second: Vec<u64>,
}

/// A file that is done.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct File {
    pub(crate) ended_at: String,
    #[serde(flatten)]
    pub(crate) report: report::File,
}

/// A server.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) device_types: Vec<String>,
    pub(crate) up: bool,
    pub(crate) away_reason: Option<String>,
    pub(crate) away_seconds: Option<f64>,
    pub(crate) version: Option<String>,
    pub(crate) shares: BTreeMap<String, f64>,
    pub(crate) share: Option<f64>,
    pub(crate) records: u64,
    pub(crate) bytes_in_flight: u64,
    pub(crate) round_trip_seconds: Option<f64>,
    pub(crate) retries: u64,
    pub(crate) evictions: u64,
    pub(crate) restarts: u64,
    pub(crate) files_lost: u64,
    pub(crate) memory_used_bytes: Option<u64>,
    pub(crate) memory_limit_bytes: Option<u64>,
    pub(crate) no_statistics: bool,
}

/// A warning or an error of the log.
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Line {
    pub(crate) time: String,
    pub(crate) level: char,
    pub(crate) message: String,
}

/// The body of `/healthz` and `/readyz`: whether it is so and, if it is not, why.
#[derive(Debug, Serialize)]
pub(crate) struct Verdict {
    pub(crate) ok: bool,
    pub(crate) reasons: Vec<String>,
}

/// Whether the process works, or waits for what it knows.
pub(crate) fn health(service: &Service) -> Verdict {
    let ok = service.is_alive();
    let reason = "no progress and no known cause for it: the process hangs";
    Verdict { ok, reasons: if ok { Vec::new() } else { vec![reason.to_owned()] } }
}

/// Whether all servers can be reached and no file holds up the others.
pub(crate) fn readiness(watched: &Watched) -> Verdict {
    let reasons = not_ready(&servers_of(watched), &watched.live.lock().doing);
    Verdict { ok: reasons.is_empty(), reasons }
}

fn not_ready(servers: &[Server], doing: &Doing) -> Vec<String> {
    let away = servers.iter().filter(|server| !server.up).map(|server| {
        let (device_types, reason) = (server.device_types.join(", "), server.away_reason.as_deref());
        format!("server {} ({device_types}) is away: {}", server.address, reason.unwrap_or("unknown"))
    });
    let mut reasons: Vec<_> = away.collect();
    match doing {
        Doing::Starting => reasons.push("it has not started to look for files".to_owned()),
        Doing::HeldUp { name, why, .. } => {
            reasons.push(format!("{name} is not complete ({why}) and holds up all later files"));
        }
        Doing::Stopping(signal) => reasons.push(format!("it stops ({signal})")),
        Doing::Loading | Doing::Waiting => {}
    }
    reasons
}

/// The status of now.
pub(crate) fn status(watched: &Watched) -> Status {
    let Watched { args, live, service, log, .. } = watched;
    let (file, servers) = (live.file(), servers_of(watched));
    let now = live.lock();
    let not_ready = not_ready(&servers, &now.doing);
    let files = now.recent.iter().map(|(ended, report)| File {
        ended_at: report::time(*ended),
        report: report::File::new(report, args.max_error_rate),
    });
    let lines = log.recent().into_iter().map(|line| Line {
        time: report::time(line.at),
        level: log::letter(line.level),
        message: line.text,
    });
    Status {
        schema_version: SCHEMA_VERSION,
        program_version: VERSION.to_owned(),
        time: report::time(Timestamp::now()),
        started_at: report::time(now.totals.started),
        state: state(&now.doing, &servers),
        status: service.text(),
        dry: args.dry,
        follow: args.follow,
        pattern: args.pattern().map(str::to_owned),
        alive: service.is_alive(),
        ready: not_ready.is_empty(),
        not_ready,
        file: file.map(|file| FileInProgress {
            name: file.name,
            number: file.number,
            files: file.files,
            bytes: file.bytes,
            bytes_in: file.bytes_in,
            duration_seconds: file.started.elapsed().as_secs_f64(),
        }),
        held_up: held_up(&now.doing),
        backlog: now.backlog.map(|backlog| Backlog {
            files: backlog.files,
            bytes: backlog.bytes,
            oldest_seconds: backlog.oldest_seconds(),
        }),
        records_per_second: now.history.now(),
        history: History {
            interval_seconds: history::INTERVAL.as_secs(),
            records_per_second: now.history.points().collect(),
        },
        files_done: now.totals.files,
        files_quarantined: now.totals.files_quarantined,
        files_over_error_rate: now.totals.files_over_error_rate,
        counts: LineCounts::new(&now.totals.counts),
        bytes_in: now.totals.bytes_in,
        files: files.collect(),
        servers,
        log: lines.collect(),
    }
}

fn state(doing: &Doing, servers: &[Server]) -> State {
    match doing {
        Doing::Starting => State::Starting,
        Doing::Loading if servers.iter().any(|server| !server.up) => State::ServerAway,
        Doing::Loading => State::Loading,
        Doing::Waiting => State::Waiting,
        Doing::HeldUp { .. } => State::HeldUp,
        Doing::Stopping(_) => State::Stopping,
    }
}

fn held_up(doing: &Doing) -> Option<HeldUp> {
    let Doing::HeldUp { name, why, since } = doing else { return None };
    let (name, reason) = (name.clone(), why.clone());
    Some(HeldUp { name, reason, duration_seconds: since.elapsed().as_secs_f64() })
}

/// The servers of the options, each once.
fn servers_of(watched: &Watched) -> Vec<Server> {
    let progress = watched.live.servers();
    let now = watched.live.lock();
    let all = progress.iter().map(|server| server.records).sum();
    let servers = servers::of(&watched.args.routes).into_iter();
    servers
        .map(|server| {
            let progress = progress.iter().find(|it| it.address == server.address).cloned();
            one_server(server, &progress.unwrap_or_default(), all, &now)
        })
        .collect()
}

/// One server; `all` is what all of them have acknowledged.
fn one_server(server: servers::Server, progress: &ServerProgress, all: u64, now: &Now) -> Server {
    let (totals, seen) = (now.totals.server(&server.address), now.server(&server.address));
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits of a count")]
    let share = (all > 0).then(|| progress.records as f64 / all as f64);
    let away_seconds = totals.away.as_ref().map(|(since, _)| since.elapsed().as_secs_f64());
    let reason = totals.away.map(|(_, reason)| reason).or(seen.unreachable);
    Server {
        address: server.address,
        device_types: server.device_types,
        up: reason.is_none(),
        away_reason: reason,
        away_seconds,
        version: seen.version,
        shares: server.shares.into_iter().collect(),
        share,
        records: progress.records,
        bytes_in_flight: progress.bytes_in_flight,
        round_trip_seconds: seen.round_trip_seconds,
        retries: progress.retries,
        evictions: totals.evictions.max(seen.evictions),
        restarts: totals.restarts,
        files_lost: totals.files_lost,
        memory_used_bytes: seen.memory_used_bytes.or(totals.memory_used_bytes),
        memory_limit_bytes: seen.memory_limit_bytes.or(totals.memory_limit_bytes),
        no_statistics: seen.no_statistics || totals.has_no_statistics,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_file_that_holds_up_others_and_a_stop_are_not_ready() {
        let since = Instant::now();
        let held_up = Doing::HeldUp { name: "1.gz".to_owned(), why: "empty".to_owned(), since };
        for (doing, state_of, reason) in [
            (Doing::Loading, State::Loading, None),
            (Doing::Waiting, State::Waiting, None),
            (held_up, State::HeldUp, Some("1.gz is not complete (empty) and holds up all later files")),
            (Doing::Stopping("SIGTERM".to_owned()), State::Stopping, Some("it stops (SIGTERM)")),
            (Doing::Starting, State::Starting, Some("it has not started to look for files")),
        ] {
            assert_eq!(not_ready(&[], &doing).first().map(String::as_str), reason);
            assert_eq!(state(&doing, &[]), state_of);
        }
    }
}
