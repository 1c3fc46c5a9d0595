//! The command line: the options of the old script, and a few that this loader adds.

pub(crate) mod manual;

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::num::NonZero;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Command, CommandFactory, FromArgMatches, Parser, ValueEnum};
use clap_complete::Shell;
use memc_core::Address;

use crate::inputs::name::shown;
use crate::inputs::walk;

/// Loads the per-minute logs of installed apps (gzip TSV) into memcached.
///
/// Every line becomes a protobuf message under `type:id`, on the server of its device type. A file that is
/// done is renamed with a leading dot, in chronological order. Whatever ends a run, the next one goes on
/// from there.
#[derive(Clone, Debug, Parser)]
#[command(name = "memc-load", version = VERSION)]
#[command(after_help = manual::short_end(), after_long_help = manual::long_end())]
pub(crate) struct Args {
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
        value_parser = walk::check,
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
        value_parser = rate,
        allow_negative_numbers = true,
        help_heading = "Files"
    )]
    pub(crate) max_error_rate: f64,

    /// What to do with a broken file: stop there, or quarantine=FOLDER
    ///
    /// quarantine=FOLDER moves a file that is no gzip, or broken, or (without --follow) not complete, into FOLDER,
    /// with its reason in FILE.reason beside it, and goes on with the next file; the exit code is 3. FOLDER must be
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

    /// Server for idfa records
    #[arg(
        long,
        help = "Server for idfa records: [tls:][user:password@]host:port, [v6]:port or unix:/path",
        long_help = LONG_HELP_ON_SERVERS,
        value_name = "ADDR",
        default_value = "127.0.0.1:33013",
        help_heading = "Servers"
    )]
    idfa: String,

    /// Server for gaid records
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:33014", help_heading = "Servers")]
    gaid: String,

    /// Server for adid records
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:33015", help_heading = "Servers")]
    adid: String,

    /// Server for dvid records
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:33016", help_heading = "Servers")]
    dvid: String,

    /// Server for records of a further device type (may be given more than once)
    ///
    /// The variable `MEMC_LOAD_ROUTE` takes several, with spaces between.
    #[arg(long, value_name = "TYPE=ADDR", help_heading = "Servers")]
    route: Vec<String>,

    /// The device types with their servers: the script's four, then the further ones.
    #[arg(skip)]
    pub(crate) routes: Vec<Route>,

    /// How long to wait for a server to accept a connection, and to move any byte after that
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "5s",
        value_parser = duration,
        help_heading = "Servers"
    )]
    pub(crate) timeout: Duration,

    /// How long to go on trying a server that does not acknowledge anything
    #[arg(
        long,
        value_name = "DURATION",
        default_value = "30s",
        value_parser = humantime::parse_duration,
        help_heading = "Servers"
    )]
    pub(crate) retry_for: Duration,

    /// Threads that parse and serialize [default: cores less one, which inflates]
    #[arg(
        long,
        value_name = "N",
        value_parser = clap::value_parser!(u16).range(1..=1024),
        help_heading = "Speed"
    )]
    threads: Option<u16>,

    /// Has no effect any more; it may still stand in scripts, so it is accepted with a warning
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

    /// Append the log to this file [default: standard error]
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub(crate) log: Option<PathBuf>,

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

    /// Write what the run came to, however it ends, to this file as JSON
    ///
    /// docs/monitoring.md says what is in it. An older file is replaced in one step. A run that finds another
    /// memc-load at work in the folder writes none.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) report: Option<PathBuf>,

    /// Write the run's figures to this file, for the textfile collector of Prometheus
    ///
    /// Its name should end in .prom. An older file is replaced in one step. A dry run writes none.
    #[arg(long, value_name = "FILE", help_heading = "Output")]
    pub(crate) metrics: Option<PathBuf>,

    /// Print the manual page, for packages
    #[arg(long, hide = true)]
    pub(crate) print_man: bool,

    /// Print the completions for a shell, for packages
    #[arg(long, value_name = "SHELL", hide = true)]
    pub(crate) print_completions: Option<Shell>,
}

/// What `--version` says after the name: the version, with the commit and its date as far as known.
pub(crate) const VERSION: &str = env!("MEMC_LOAD_VERSION");

/// What `--help` says of the first server.
const LONG_HELP_ON_SERVERS: &str = "\
Server for idfa records: [tls:][user:password@]host:port, [v6]:port or unix:/path

With tls: the certificate is checked against the system's authorities, or those in SSL_CERT_FILE. A password \
is better given in the variable MEMC_LOAD_IDFA than here, where every user of the machine can see it.";

/// When to show how far the run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ShowProgress {
    /// If standard error is a terminal.
    Auto,
    /// Not at all.
    Never,
}

/// What to do with a broken file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum OnBroken {
    /// Stop there.
    Stop,
    /// Move it into this folder and go on.
    Quarantine(PathBuf),
}

impl OnBroken {
    fn read(text: &OsStr) -> Result<Self, &'static str> {
        match text.as_bytes().strip_prefix(b"quarantine=") {
            None if text == "stop" => Ok(Self::Stop),
            Some(folder) if !folder.is_empty() => Ok(Self::Quarantine(OsStr::from_bytes(folder).into())),
            _ => Err("give stop or quarantine=FOLDER"),
        }
    }

    /// The folder for broken files, if there is one.
    pub(crate) fn folder(&self) -> Option<&Path> {
        match self {
            Self::Stop => None,
            Self::Quarantine(folder) => Some(folder),
        }
    }
}

/// A device type with its server.
#[derive(Clone, Debug)]
pub(crate) struct Route {
    pub(crate) device_type: String,
    pub(crate) server: Address,
}

impl Args {
    /// The arguments of this process; on wrong usage, says so and exits with 2.
    pub(crate) fn from_command_line() -> Self {
        Self::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn from_words<T: Into<OsString> + Clone>(
        words: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let matches = command().try_get_matches_from(words)?;
        let mut args = Self::from_arg_matches(&matches)?;
        // To clap a variable that says no would be an option that is given.
        if args.follow && args.dry {
            let text = "the argument '--follow' cannot be used with '--dry'";
            return Err(command().error(ErrorKind::ArgumentConflict, text));
        }
        args.split_routes(&matches);
        args.routes = args.read_routes().map_err(|(kind, text)| command().error(kind, text))?;
        Ok(args)
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

    /// Threads that parse and serialize.
    pub(crate) fn threads(&self) -> usize {
        let cores = || std::thread::available_parallelism().map_or(1, NonZero::get);
        self.threads.map_or_else(|| (cores() - 1).max(1), usize::from)
    }

    /// An option can be repeated, a variable cannot: it has all further servers in it.
    fn split_routes(&mut self, matches: &ArgMatches) {
        if matches.value_source("route") == Some(ValueSource::EnvVariable) {
            let routes = self.route.iter().flat_map(|routes| routes.split_whitespace());
            self.route = routes.map(str::to_owned).collect();
        }
    }

    /// Addresses are read here and not by clap, whose messages would show a password.
    fn read_routes(&self) -> Result<Vec<Route>, (ErrorKind, String)> {
        let four = [("idfa", &self.idfa), ("gaid", &self.gaid), ("adid", &self.adid), ("dvid", &self.dvid)];
        let four = four.into_iter().map(|(name, server)| {
            let problem = |error| format!("invalid value for '--{name} <ADDR>': {error}");
            let server = server.parse().map_err(problem)?;
            Ok(Route { device_type: name.to_owned(), server })
        });
        let further = self.route.iter().map(|route| {
            route.parse().map_err(|error| format!("invalid value for '--route <TYPE=ADDR>': {error}"))
        });
        let routes: Vec<Route> = four
            .chain(further)
            .collect::<Result<_, _>>()
            .map_err(|text| (ErrorKind::ValueValidation, text))?;
        let mut names: Vec<_> = routes.iter().map(|route| &route.device_type).collect();
        names.sort_unstable();
        match names.windows(2).find(|pair| pair[0] == pair[1]) {
            None => Ok(routes),
            Some(pair) => {
                let text = format!("two servers for the device type '{}': one is enough", pair[0]);
                Err((ErrorKind::ArgumentConflict, text))
            }
        }
    }
}

/// Ends the process as clap does for wrong usage, which `text` explains.
pub(crate) fn exit_for_wrong_usage(text: String) -> ! {
    command().error(ErrorKind::ArgumentConflict, text).exit()
}

/// The definition of the command line: every option can also be given as a variable, `MEMC_LOAD_` and its
/// name in capitals.
pub(crate) fn command() -> Command {
    Args::command().mut_args(|arg| match arg.get_long() {
        Some(long) if !arg.is_hide_set() => {
            let variable = format!("MEMC_LOAD_{}", long.to_uppercase().replace('-', "_"));
            let is_flag = matches!(arg.get_action(), ArgAction::SetTrue);
            // Help must not show what they are set to: it may be a password. A sentence at its end names them.
            let arg = arg.env(variable).hide_env(true);
            if is_flag { arg.value_parser(BoolishValueParser::new()) } else { arg }
        }
        _ => arg,
    })
}

/// The options as the first line of the log tells them.
impl fmt::Display for Args {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "pattern={} dry={}", self.pattern, self.dry)?;
        if self.follow {
            write!(out, " follow=true")?;
        }
        if let Some(folder) = self.on_broken.folder() {
            write!(out, " on-broken=quarantine={}", shown(folder))?;
        }
        if let Some(log) = &self.log {
            write!(out, " log={}", shown(log))?;
        }
        for route in &self.routes {
            write!(out, " {}={}", route.device_type, route.server)?;
        }
        let outputs = [("rejects", &self.rejects), ("report", &self.report), ("metrics", &self.metrics)];
        for (name, path) in outputs {
            if let Some(path) = path {
                write!(out, " {name}={}", shown(path))?;
            }
        }
        if let Some(threads) = self.threads {
            write!(out, " threads={threads}")?;
        }
        let (timeout, retry_for) = (self.timeout, self.retry_for);
        let (timeout, retry_for) =
            (humantime::format_duration(timeout), humantime::format_duration(retry_for));
        write!(out, " connections={} timeout={timeout} retry-for={retry_for}", self.connections)?;
        write!(out, " max-error-rate={}", self.max_error_rate)
    }
}

impl Route {
    /// The option that sets the server.
    pub(crate) fn option(&self) -> String {
        match self.device_type.as_str() {
            name @ ("idfa" | "gaid" | "adid" | "dvid") => format!("--{name}"),
            name => format!("--route {name}=ADDR"),
        }
    }
}

impl FromStr for Route {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (device_type, server) =
            text.split_once('=').ok_or("give TYPE=ADDR, such as imei=127.0.0.1:33017")?;
        // Others can be no part of a key.
        if device_type.is_empty() || !device_type.bytes().all(|byte| byte > 32 && byte != 127) {
            return Err("the device type before '=' must be one word".to_owned());
        }
        let server = server.parse().map_err(|error| format!("{error}"))?;
        Ok(Self { device_type: device_type.to_owned(), server })
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(Duration::ZERO) => Err("it must be longer than nothing".to_owned()),
        Ok(duration) => Ok(duration),
        Err(error) => Err(error.to_string()),
    }
}

fn rate(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(rate) if rate >= 0.0 => Ok(rate),
        _ => Err("it must be a number from 0".to_owned()),
    }
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
        for arg in command().get_arguments().filter(|arg| !arg.is_hide_set()) {
            let variable = arg.get_env().map(|name| name.to_string_lossy().into_owned());
            let name = arg.get_id().as_str().to_uppercase();
            assert_eq!(variable, Some(format!("MEMC_LOAD_{name}")));
            assert!(arg.is_hide_env_set(), "{name}");
        }
    }

    #[test]
    fn defaults_are_those_of_the_script() -> Result<(), clap::Error> {
        let args = Args::from_words(["memc-load"])?;
        assert_eq!(
            args.to_string(),
            "pattern=/data/appsinstalled/*.tsv.gz dry=false idfa=127.0.0.1:33013 gaid=127.0.0.1:33014 \
             adid=127.0.0.1:33015 dvid=127.0.0.1:33016 connections=1 timeout=5s retry-for=30s max-error-rate=0.01"
        );
        Ok(())
    }

    #[test]
    fn a_route_adds_a_device_type() -> Result<(), clap::Error> {
        let args = Args::from_words(["memc-load", "--route", "imei=[::1]:7", "--idfa", "unix:/s"])?;
        let routes: Vec<_> =
            args.routes.iter().map(|it| format!("{}={}", it.device_type, it.server)).collect();
        assert_eq!(routes[0], "idfa=unix:/s");
        assert_eq!(routes[4], "imei=[::1]:7");
        let twice = Args::from_words(["memc-load", "--route", "gaid=localhost:7"]);
        let told = twice.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(told.contains("two servers for the device type 'gaid'"), "{told}");
        Ok(())
    }

    #[test]
    fn wrong_values_are_refused() {
        for wrong in [
            ["--idfa", "localhost"],
            ["--route", "imei"],
            ["--route", "=localhost:7"],
            ["--route", "i mei=localhost:7"],
            ["--threads", "0"],
            ["--threads", "1025"],
            ["--inflate-threads", "0"],
            ["--connections", "0"],
            ["--timeout", "0s"],
            ["--on-broken", "go on"],
            ["--on-broken", "quarantine="],
            ["--timeout", "5 parsecs"],
            ["--max-error-rate", "-1"],
            ["--max-error-rate", "nan"],
        ] {
            assert!(Args::from_words(["memc-load", wrong[0], wrong[1]]).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_password_never_shows() {
        for words in
            [["--idfa", "ann:secret@h:7"], ["--idfa", "ann:secret@h"], ["--route", "imei=ann:secret@h"]]
        {
            let shown = match Args::from_words(["memc-load", words[0], words[1]]) {
                Ok(args) => args.to_string(),
                Err(error) => error.to_string(),
            };
            assert!(!shown.contains("secret") && shown.contains("@h"), "{shown}");
        }
    }
}
