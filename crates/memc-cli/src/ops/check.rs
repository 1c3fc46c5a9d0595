//! `memc-load check`: whether a load would find its servers, folders and files in order.

use std::collections::HashMap;
use std::fs::{self, File};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread::{self, Builder, ScopedJoinHandle};

use anyhow::{Context, Result};
use glob::Pattern;
use indicatif::BinaryBytes;
use memc_core::{Address, Protocol, ServerStatus};

use crate::args::Args;
use crate::args::routes::Route;
use crate::inputs::find;
use crate::inputs::lock::FolderLocks;
use crate::inputs::name::shown;
use crate::inputs::permissions;
use crate::inputs::source::Source;
use crate::ops::client::Reader;
use crate::ops::estimate;
use crate::ops::stdout::Output;

/// The exit code when a load would fail.
const NOT_SOUND: u8 = 1;

/// The lines, and whether all of them say that all is well.
struct Report<'a> {
    out: &'a mut Output,
    is_sound: bool,
}

/// Checks everything; the exit code says whether a load could start.
pub(super) fn run(args: &Args, out: &mut Output) -> Result<u8> {
    let mut report = Report { out, is_sound: true };
    let source = args.source();
    let found = source.find();
    let folders = folders(&source, found.as_ref().map_or(&[], |found| &found.logs))?;
    let next = found.as_ref().ok().and_then(|found| found.logs.first());
    servers(args, last_done(&source, &folders).as_ref().or(next).map(PathBuf::as_path), &mut report)?;
    for path in &folders {
        report.line("folder", shown(path), folder(path))?;
    }
    match found {
        Ok(found) => {
            for path in &found.logs {
                report.line("file", shown(path), file(path))?;
            }
            for path in &found.others {
                report.out.line(format_args!("ok   file {}: not a regular file: skipped", shown(path)))?;
            }
            if found.logs.is_empty() {
                report.out.line(format_args!("ok   {}", source.nothing()))?;
            }
        }
        Err(error) => report.line("files", "to load", Err(error))?,
    }
    Ok(if report.is_sound { 0 } else { NOT_SOUND })
}

impl Report<'_> {
    /// A line about one thing: its state, or what is wrong with it.
    fn line(&mut self, kind: &str, name: impl std::fmt::Display, result: Result<String>) -> Result<()> {
        self.is_sound &= result.is_ok();
        match result {
            Ok(text) => self.out.line(format_args!("ok   {kind} {name}: {text}")),
            Err(error) => self.out.line(format_args!("FAIL {kind} {name}: {error:#}")),
        }
    }
}

/// A line for each server, all of them asked at once.
fn servers(args: &Args, sample: Option<&Path>, report: &mut Report<'_>) -> Result<()> {
    // One for several device types is one server.
    let mut addresses: Vec<&Address> = Vec::new();
    for address in args.routes.iter().flat_map(Route::addresses) {
        if !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    let estimates = sample.map_or(Ok(HashMap::new()), |file| estimate::memory(file, &args.routes));
    // A file that cannot be read has a line of its own, if it is one to load.
    let estimates = estimates.unwrap_or_default();
    let answers: Vec<Result<ServerStatus>> = thread::scope(|scope| {
        let ask = |address| Builder::new().spawn_scoped(scope, move || status(address, args));
        let asking: Vec<_> = addresses.iter().map(|&address| ask(address)).collect();
        let join = |it: ScopedJoinHandle<'_, _>| it.join().unwrap_or_else(|panic| resume_unwind(panic));
        asking.into_iter().map(|it| it.context("cannot start a thread to ask it").and_then(join)).collect()
    });
    for (address, answer) in addresses.iter().zip(answers) {
        let types: Vec<_> = args.routes.iter().filter_map(|route| part(route, address)).collect();
        let name = format!("{address} ({})", types.join(", "));
        let text = answer.map(|status| {
            let bytes = sample.zip(estimates.get(*address));
            match bytes.and_then(|(file, &bytes)| memory(&status, file, bytes)) {
                Some(memory) => format!("{}; {memory}", line(&status)),
                None => line(&status),
            }
        });
        report.line("server", name, text)?;
    }
    Ok(())
}

/// The device type of a route that has this server; of a list, also the part of its keys that belongs there.
fn part(route: &Route, address: &Address) -> Option<String> {
    let at = route.addresses().position(|it| it == address)?;
    let name = &route.device_type;
    Some(if route.is_list() {
        format!("{:.1} % of {name}", route.group.shares()[at] * 100.0)
    } else {
        name.clone()
    })
}

/// How the server is, both for a load and for readers.
fn status(address: &Address, args: &Args) -> Result<ServerStatus> {
    let status = address.status(args.protocol.fixed(), args.timeout).context("a load cannot use it")?;
    Reader::connect(address, args.timeout)?.version().context("readers cannot use it")?;
    Ok(status)
}

fn line(status: &ServerStatus) -> String {
    let protocol = match status.protocol {
        Protocol::Classic => ", classic protocol",
        Protocol::Meta => "",
    };
    if status.no_statistics {
        let version = if status.version.is_empty() { "unknown" } else { &status.version };
        return format!(
            "version {version}{protocol}, no statistics: restarts and evictions of it, or of servers behind it, cannot be \
             noticed"
        );
    }
    let used = match status.memory_limit_bytes {
        Some(limit) => format!("{} of {} used", BinaryBytes(status.bytes_used), BinaryBytes(limit)),
        None => format!("{} used", BinaryBytes(status.bytes_used)),
    };
    let uptime = humantime::format_duration(status.uptime);
    format!("memcached {}{protocol}, up {uptime}, {used}, {} evictions", status.version, status.evictions)
}

/// Whether the server would be full with what the file brings, if its limit is known.
fn memory(status: &ServerStatus, file: &Path, bytes: u64) -> Option<String> {
    let needed = status.bytes_used.saturating_add(bytes);
    let fits = if needed <= status.memory_limit_bytes? {
        "which fits".to_owned()
    } else {
        let mib = needed.div_ceil(1 << 20);
        format!("which would fill it if all keys are new: it needs memcached -m {mib}")
    };
    Some(format!("the records of {} take about {}, {fits}", shown(file), BinaryBytes(bytes)))
}

/// The folders that logs are in, or come to.
fn folders(source: &Source<'_>, logs: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut folders: Vec<_> = match source {
        Source::Pattern(pattern) => find::find_folders(pattern)?.of_logs,
        Source::Files(_) => Vec::new(),
    };
    folders.extend(logs.iter().map(|log| find::folder(log).to_owned()));
    if let Source::Pattern(pattern) = source
        && folders.is_empty()
        && find::is_fixed(find::folder(Path::new(pattern)))
    {
        folders.push(find::folder(Path::new(pattern)).to_owned());
    }
    folders.sort();
    folders.dedup();
    Ok(folders)
}

/// Whether a load can work in a folder.
fn folder(path: &Path) -> Result<String> {
    fs::read_dir(path).context("it cannot be read")?;
    permissions::may_write(path).context("files in it cannot be renamed")?;
    FolderLocks::default().take([path])?;
    Ok("readable, writable, free".to_owned())
}

/// Whether a load can read a file.
fn file(path: &Path) -> Result<String> {
    let length = File::open(path).and_then(|file| file.metadata()).context("it cannot be read")?.len();
    permissions::may_replace(path).context("it cannot be renamed")?;
    Ok(BinaryBytes(length).to_string())
}

/// The newest file that is done and has matched the pattern before.
fn last_done(source: &Source<'_>, folders: &[PathBuf]) -> Option<PathBuf> {
    let Source::Pattern(pattern) = source else { return None };
    let pattern = Pattern::new(Path::new(pattern).file_name()?.to_str()?).ok()?;
    let files = folders.iter().filter_map(|folder| fs::read_dir(folder).ok()).flatten().flatten();
    let is_done = |path: &PathBuf| {
        let name = path.file_name().and_then(|name| name.to_str()?.strip_prefix('.'));
        name.is_some_and(|name| pattern.matches(name)) && path.is_file()
    };
    files
        .map(|entry| entry.path())
        .filter(is_done)
        .max_by(|a, b| find::chronology(a).cmp(&find::chronology(b)))
}
