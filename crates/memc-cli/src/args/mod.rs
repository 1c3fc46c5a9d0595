//! The definition of the command line: the options of the old script, those that this loader adds, its commands.

mod commands;
mod display;
mod help;
pub(crate) mod man;
pub(crate) mod read;
pub(crate) mod routes;
mod values;
pub(crate) mod variables;

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{ArgAction, Command, CommandFactory, Parser};
use clap_complete::Shell;
use log::LevelFilter;
use memc_core::Distribution;

pub(crate) use crate::args::commands::Operation;
use crate::args::routes::Route;
pub(crate) use crate::args::values::{LogFormat, OnBroken, ProtocolChoice, ShowProgress};
use crate::inputs::source::Source;
use crate::watch::listener::ListenAddress;

/// What `--version` says after the name: the version, with the commit and its date as far as known.
pub(crate) const VERSION: &str = env!("VERSION_AND_COMMIT");

/// Loads the per-minute logs of installed apps (gzip TSV) into memcached.
///
/// Every line becomes a protobuf message under `type:id`, on the server of its device type. A file that is
/// done is renamed with a leading dot, in chronological order. Whatever ends a run, the next one goes on
/// from there.
#[derive(Clone, Debug, Parser)]
#[command(name = "memc-load", version = VERSION, disable_help_subcommand = true)]
#[command(override_usage = help::USAGE, after_help = help::short_end(), after_long_help = help::long_end())]
pub(crate) struct Args {
    /// Load these files, in the order of their names, instead of those that match the pattern
    ///
    /// So an unquoted pattern works, too. A file that is done, so that only its name with a leading dot is there, is
    /// skipped. Not with --follow, which needs a pattern.
    #[arg(value_name = "FILE")]
    pub(crate) files: Vec<PathBuf>,

    #[command(subcommand)]
    pub(crate) command: Option<Operation>,

    /// Log every record instead of sending it, and rename nothing
    #[arg(long)]
    pub(crate) dry: bool,

    /// Check the serialization on two sample lines, then exit
    #[arg(short, long)]
    pub(crate) test: bool,

    /// Load the files that match this pattern, in the order of their names
    ///
    /// Quote it, so that the shell leaves it alone. `**` stands for any folders. Names with a leading dot
    /// never match.
    #[arg(
        long,
        default_value = "/data/appsinstalled/*.tsv.gz",
        value_parser = values::pattern,
        help_heading = "Files"
    )]
    pub(crate) pattern: String,

    /// Keep running, and load further files as they come
    ///
    /// Within a second, the oldest first. One that is not complete yet (gzip that ends early, an empty file)
    /// is waited for, and all later ones with it. Ends with a signal, or with 1 where any run does.
    #[arg(long, help_heading = "Files")]
    pub(crate) follow: bool,

    /// A file with fewer rejected lines than this for each loaded one counts as a success
    ///
    /// Another one is done all the same, but the log says so and the exit code is 3.
    #[arg(
        long,
        value_name = "RATE",
        default_value = "0.01",
        value_parser = values::rate,
        allow_negative_numbers = true,
        help_heading = "Files"
    )]
    pub(crate) max_error_rate: f64,

    /// What to do with a broken file: stop there, or quarantine=FOLDER
    ///
    /// quarantine=FOLDER moves a file that is no gzip, or broken, or (without --follow) not complete, into FOLDER,
    /// with its reason in FILE.reason beside it, and continues with the next file; the exit code is 3. FOLDER must be
    /// there, on the same file system as the files. This gives up the chronological order for the file: what is stored
    /// of it by then stays, and where it is repaired and loaded later, its records overwrite newer ones. A dry run
    /// stops.
    #[arg(
        long,
        value_name = "WHAT",
        default_value = "stop",
        value_parser = OsStringValueParser::new().try_map(|text| OnBroken::read(&text)),
        help_heading = "Files"
    )]
    pub(crate) on_broken: OnBroken,

    /// Server for idfa records, or a list
    #[arg(
        long,
        help = "Server for idfa records: [tls:][user:password@]host:port, [v6]:port or unix:/path; or a list",
        long_help = help::LONG_HELP_ON_SERVERS,
        global = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:33013",
        help_heading = "Servers"
    )]
    idfa: String,

    /// Server for gaid records
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:33014",
        help_heading = "Servers"
    )]
    gaid: String,

    /// Server for adid records
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:33015",
        help_heading = "Servers"
    )]
    adid: String,

    /// Server for dvid records
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        default_value = "127.0.0.1:33016",
        help_heading = "Servers"
    )]
    dvid: String,

    /// Server for records of a further device type (may be given more than once)
    ///
    /// The variable `MEMC_LOAD_ROUTE` takes several, with spaces between.
    #[arg(long, global = true, value_name = "TYPE=ADDR", help_heading = "Servers")]
    route: Vec<String>,

    /// How readers choose among the servers of a list: ketama, crc32 and others
    ///
    /// ketama: php-memcached's compatible mode, pylibmc's and libmemcached's `ketama_weighted`, spymemcached, twemproxy's
    /// ketama with md5. ketama-plain: pylibmc's and Django's ketama. one-at-a-time: php-memcached and pylibmc without
    /// settings. crc32: python-memcached from 1.60, twemproxy's modula with crc32. crc32-nonzero: python-memcached before
    /// 1.60. crc32-ieee: gomemcache. rendezvous: pymemcache. The guide has a table with their settings.
    #[arg(long, global = true, value_name = "NAME", default_value = "ketama", help_heading = "Servers")]
    distribution: Distribution,

    /// The device types with their servers: the script's four, then the further ones.
    #[arg(skip)]
    pub(crate) routes: Vec<Route>,

    /// The protocol to speak: meta, classic, or auto, what each server turns out to speak
    ///
    /// A memcached of 1.6 or newer speaks meta commands. Proxies such as twemproxy and mcrouter, and what is older, speak
    /// the classic protocol. What a server speaks is found out when it is first connected to. Most proxies give no
    /// statistics: a restart of a server behind one is not noticed, which a W line says.
    #[arg(
        long,
        global = true,
        value_name = "PROTOCOL",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Servers"
    )]
    pub(crate) protocol: ProtocolChoice,

    /// How long to wait for a connection, and then for a server to take or send a byte
    #[arg(
        long,
        global = true,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = values::duration,
        help_heading = "Servers"
    )]
    pub(crate) timeout: Duration,

    /// How long to retry a server that does not acknowledge anything
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration,
        help_heading = "Servers"
    )]
    pub(crate) retry_for: Duration,

    /// Have records expire this long after the start of the load [default: never]
    ///
    /// With --follow, of the round that loads the file. memcached counts it by its own clock, in whole seconds. A
    /// record that has expired counts as missing to verify.
    #[arg(long, value_name = "DURATION", value_parser = values::ttl, help_heading = "Servers")]
    pub(crate) ttl: Option<Duration>,

    /// Threads that parse and serialize [default: cores less one]
    ///
    /// One more thread reads and decompresses.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = "Speed"
    )]
    threads: Option<u16>,

    /// Has no effect any more; scripts may still use it, so it is accepted with a warning
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=64),
        env = "MEMC_LOAD_INFLATE_THREADS",
        hide = true
    )]
    pub(crate) inflate_threads: Option<u16>,

    /// Connections to each server
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u32).range(1..=64),
        help_heading = "Speed"
    )]
    pub(crate) connections: u32,

    /// Load this many files at once, each on a worker of its own
    ///
    /// What is stored at the end, and the order in which files are done, are the same. One file after the other, which
    /// uses all cores of a small machine, is the default. From two workers on --threads has no effect: a worker is a
    /// thread that parses and serializes, with one more that reads and decompresses.
    #[arg(
        long,
        value_name = "N",
        default_value = "1",
        value_parser = clap::value_parser!(u16).range(1..=256),
        help_heading = "Speed"
    )]
    pub(crate) workers: u16,

    /// Files that may be read before the oldest one is done [default: the workers plus one]
    ///
    /// The workers of all processes count. With several workers or processes, what is encoded of these files waits in
    /// memory: about as much as a file decompressed, but at most 1 GiB a worker.
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(0..=4096),
        help_heading = "Speed"
    )]
    files_ahead: Option<u16>,

    /// Load together with the processes of this file: a host:port a line
    ///
    /// Give the same command on each machine, with another --process. All of them must see the files under the same
    /// path. The first process locks the folders, renames and reports; --timeout is also how long they wait for each other. The
    /// exchange is not encrypted: keep it on a private network, and set `MEMC_LOAD_CLUSTER_SECRET` to the same everywhere.
    #[arg(long, value_name = "FILE", help_heading = "Several machines")]
    pub(crate) hosts: Option<PathBuf>,

    /// Which line of --hosts is this process, from 0
    #[arg(long, value_name = "N", help_heading = "Several machines")]
    pub(crate) process: Option<usize>,

    /// What all processes of a cluster know; better given as the variable.
    #[arg(long, value_name = "TEXT", env = "MEMC_LOAD_CLUSTER_SECRET", hide = true, hide_env_values = true)]
    pub(crate) cluster_secret: Option<String>,

    /// Append the log to this file [default: standard error]
    #[arg(short, long, global = true, value_name = "FILE", help_heading = "Output")]
    pub(crate) log: Option<PathBuf>,

    /// Log lines as text, or as JSON objects, one a line
    #[arg(
        long,
        global = true,
        value_name = "FORMAT",
        default_value = "text",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub(crate) log_format: LogFormat,

    /// Log only warnings and errors; twice: only errors
    #[arg(short, long, action = ArgAction::Count, global = true, help_heading = "Output")]
    quiet: u8,

    /// Log details too, such as the counts of each server
    #[arg(short, long, global = true, help_heading = "Output")]
    verbose: bool,

    /// Show how far the run is: auto, if standard error is a terminal, or never
    #[arg(
        long,
        value_name = "WHEN",
        default_value = "auto",
        hide_possible_values = true,
        help_heading = "Output"
    )]
    pub(crate) progress: ShowProgress,

    /// Append every rejected line to this file
    ///
    /// After its file, line number and reason, with tabs between.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) rejects: Option<PathBuf>,

    /// Write a summary of the run, however it ends, to this file as JSON
    ///
    /// docs/monitoring.md says what is in it. An older file is replaced in one step. A run that finds another
    /// memc-load running in the folder writes none.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Write the run's figures to this file, for the textfile collector of Prometheus
    ///
    /// Its name should end in .prom. An older file is replaced in one step. A dry run writes none.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) metrics: Option<PathBuf>,

    /// Show how the load is doing on a page of this address, with metrics for Prometheus
    ///
    /// There is no login.
    #[arg(long, long_help = help::LONG_HELP_ON_LISTEN, value_name = "ADDR", help_heading = "Output")]
    pub(crate) listen: Option<ListenAddress>,

    /// Print the manual page, for packages
    #[arg(long, hide = true)]
    pub(crate) print_man: bool,

    /// Print the completions for a shell, for packages
    #[arg(long, value_name = "SHELL", hide = true)]
    pub(crate) print_completions: Option<Shell>,
}

impl Args {
    /// Where the logs of a load, or of a check of one, come from.
    pub(crate) fn source(&self) -> Source<'_> {
        match &self.command {
            Some(Operation::Check { pattern: Some(pattern), .. }) => Source::Pattern(pattern),
            Some(Operation::Check { files, .. }) if !files.is_empty() => Source::Files(files),
            _ if !self.files.is_empty() => Source::Files(&self.files),
            _ => Source::Pattern(&self.pattern),
        }
    }

    /// The pattern of a load that is not given its files one by one.
    pub(crate) fn pattern(&self) -> Option<&str> {
        self.files.is_empty().then_some(&self.pattern)
    }

    /// The least important lines that are logged. A dry run logs its records as details.
    pub(crate) fn log_level(&self) -> LevelFilter {
        match self.quiet {
            0 if self.verbose || self.dry => LevelFilter::Debug,
            0 => LevelFilter::Info,
            1 => LevelFilter::Warn,
            _ => LevelFilter::Error,
        }
    }

    /// The files that the run writes, each with its option.
    pub(crate) fn output_files(&self) -> impl Iterator<Item = (&str, &Path)> {
        let files = [
            ("--log", &self.log),
            ("--rejects", &self.rejects),
            ("--report", &self.report),
            ("--metrics", &self.metrics),
        ];
        files.into_iter().filter_map(|(option, path)| Some((option, path.as_deref()?)))
    }

    /// Files that may be read beyond the oldest one that is not done, in all `processes` together.
    pub(crate) fn files_ahead(&self, processes: usize) -> usize {
        self.files_ahead.map_or(usize::from(self.workers) * processes + 1, usize::from)
    }

    /// Whether another process locks the folders, renames and reports.
    pub(crate) fn is_helper(&self) -> bool {
        self.process.is_some_and(|process| process > 0)
    }

    /// Threads that parse and serialize.
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.map_or_else(|| (cores() - 1).max(1), usize::from)
    }
}

/// The definition without variables.
fn definition() -> Command {
    // A flag takes no value, but its variable does.
    Args::command().mut_args(|arg| match arg.get_action() {
        ArgAction::SetTrue if !arg.is_hide_set() => arg.value_parser(BoolishValueParser::new()),
        _ => arg,
    })
}

/// The definition of the command line: every option can also be given as a variable.
pub(crate) fn command() -> Command {
    variables::attach(definition())
}

/// Ends the process as clap does for wrong usage, which `text` explains.
pub(crate) fn exit_for_wrong_usage(text: String) -> ! {
    command().error(ErrorKind::ArgumentConflict, text).exit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_definition_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn every_option_is_a_variable_and_none_shows_its_value() {
        for arg in command().get_arguments().filter(|arg| !arg.is_hide_set() && !arg.is_positional()) {
            let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let name = arg.get_id().as_str();
            assert_eq!(variable, Some(variables::name(name)));
            assert!(arg.is_hide_env_set(), "{name}");
        }
    }
}
