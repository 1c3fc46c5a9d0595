//! Reads a command line: which options hold where some exclude each other, and where the records go.

use std::ffi::OsString;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgMatches, FromArgMatches};

use crate::args::routes::{self, Route};
use crate::args::{Args, Operation, command, definition, variables};

impl Args {
    /// The arguments of this process; on wrong usage, says so and exits with 2.
    pub(crate) fn from_command_line() -> Self {
        Self::from_words(std::env::args_os()).unwrap_or_else(|error| error.exit())
    }

    fn from_words<T: Into<OsString>>(words: impl IntoIterator<Item = T>) -> Result<Self, clap::Error> {
        let words: Vec<OsString> = words.into_iter().map(Into::into).collect();
        let matches = command()
            .try_get_matches_from(&words)
            .map_err(|error| variables::blame(error, || definition().try_get_matches_from(&words).is_ok()))?;
        let mut args = Self::from_arg_matches(&matches)?;
        args.settle(&matches)
            .and_then(|()| args.check_operation(&matches))
            .map_err(|text| command().error(ErrorKind::ArgumentConflict, text))?;
        args.routes = args.read_routes(&matches).map_err(|(kind, text)| command().error(kind, text))?;
        Ok(args)
    }

    /// Of two options that exclude each other, one on the command line wins over a variable.
    fn settle(&mut self, matches: &ArgMatches) -> Result<(), String> {
        let set = |id: &str, is_on: bool| matches.value_source(id).filter(|_| is_on);
        let files = set("files", !self.files.is_empty());
        let pattern = set("pattern", true).filter(|&source| source != ValueSource::DefaultValue);
        let (dry, verbose) = (set("dry", self.dry), set("verbose", self.verbose));
        let quiet = set("quiet", self.quiet > 0);
        exclude(("pattern", pattern), ("[FILE]...", files)).map_err(|text| {
            format!("{text}: quote the pattern, so that the shell leaves it alone, or give the files without --pattern")
        })?;
        if self.hosts.is_some() != self.process.is_some() {
            return Err(match self.hosts {
                Some(_) => "the argument '--hosts' needs '--process': which line of the file is this process, from 0?",
                None => "the argument '--process' needs '--hosts', the file with the addresses of all processes",
            }
            .to_owned());
        }
        let (follows, _) = exclude(("follow", set("follow", self.follow)), ("[FILE]...", files))?;
        self.follow &= follows;
        let (follows, is_dry) = exclude(("follow", set("follow", self.follow)), ("dry", dry))?;
        (self.follow, self.dry) = (self.follow && follows, self.dry && is_dry);
        let (is_quiet, is_verbose) = exclude(("quiet", quiet), ("verbose", verbose))?;
        (self.quiet, self.verbose) = (if is_quiet { self.quiet } else { 0 }, self.verbose && is_verbose);
        Ok(())
    }

    /// Options of a load in front of a command that has no use for them are a mistake. As variables they are not.
    fn check_operation(&self, matches: &ArgMatches) -> Result<(), String> {
        let Some(operation) = matches.subcommand_name() else { return Ok(()) };
        let used = match &self.command {
            Some(Operation::Check { pattern: None, files }) if files.is_empty() => "pattern",
            Some(Operation::Verify { .. }) => "threads",
            _ => "",
        };
        let useless = definition().get_arguments().find_map(|arg| {
            let id = arg.get_id().as_str();
            let is_given = matches.value_source(id) == Some(ValueSource::CommandLine);
            arg.get_long().filter(|_| is_given && !arg.is_global_set() && id != used).map(str::to_owned)
        });
        useless.map_or(Ok(()), |option| {
            Err(format!("the argument '--{option}' cannot be used with the command '{operation}'"))
        })
    }

    /// Addresses are read here and not by clap, whose messages would show a password.
    fn read_routes(&self, matches: &ArgMatches) -> Result<Vec<Route>, (ErrorKind, String)> {
        let is_variable = |id| matches.value_source(id) == Some(ValueSource::EnvVariable);
        let problem = |id, option: &str, error| {
            let name = if is_variable(id) { variables::name(id) } else { option.to_owned() };
            (ErrorKind::ValueValidation, format!("invalid value for '{name}': {error}"))
        };
        let mut routes = Vec::new();
        for (id, servers) in
            [("idfa", &self.idfa), ("gaid", &self.gaid), ("adid", &self.adid), ("dvid", &self.dvid)]
        {
            let route = Route::new(id, servers, self.distribution);
            routes.push(route.map_err(|error| problem(id, &format!("--{id} <ADDR>"), error))?);
        }
        // An option can be repeated, a variable cannot: it has all further routes in it.
        let further = self.route.iter().flat_map(|text| match is_variable("route") {
            true => routes::in_variable(text),
            false => vec![text.clone()],
        });
        for route in further {
            let route = Route::parse(&route, self.distribution);
            routes.push(route.map_err(|error| problem("route", "--route <TYPE=ADDR>", error))?);
        }
        match routes::twice(&routes) {
            None => Ok(routes),
            Some(name) => {
                let text =
                    format!("the device type '{name}' has two routes: give one, with a list of servers");
                Err((ErrorKind::ArgumentConflict, text))
            }
        }
    }
}

/// Which of two options that exclude each other hold, each with where it was set, if it was.
fn exclude(
    (first, first_set): (&str, Option<ValueSource>),
    (second, second_set): (&str, Option<ValueSource>),
) -> Result<(bool, bool), String> {
    let (Some(first_set), Some(second_set)) = (first_set, second_set) else { return Ok((true, true)) };
    let name = |id: &str| match first_set {
        ValueSource::EnvVariable => variables::name(id),
        _ if id.starts_with('[') => id.to_owned(),
        _ => format!("--{id}"),
    };
    match (first_set, second_set) {
        (ValueSource::EnvVariable, ValueSource::CommandLine) => Ok((false, true)),
        (ValueSource::CommandLine, ValueSource::EnvVariable) => Ok((true, false)),
        _ => Err(format!("the argument '{}' cannot be used with '{}'", name(first), name(second))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
            args.routes.iter().map(|it| format!("{}={}", it.device_type, it.group)).collect();
        assert_eq!(routes[0], "idfa=unix:/s");
        assert_eq!(routes[4], "imei=[::1]:7");
        let twice = Args::from_words(["memc-load", "--route", "gaid=localhost:7"]);
        let message = twice.err().map(|error| error.to_string()).unwrap_or_default();
        assert!(message.contains("the device type 'gaid' has two routes"), "{message}");
        Ok(())
    }

    #[test]
    fn a_list_has_a_distribution() -> Result<(), clap::Error> {
        let list = ["memc-load", "--idfa", "a:1:1 alpha, ann:secret@b:1:2 beta"];
        let args = Args::from_words(list)?.to_string();
        assert!(args.contains(" idfa=a:1 alpha,ann@b:1:2 beta gaid="), "{args}");
        assert!(args.contains(" distribution=ketama "), "{args}");
        let args = Args::from_words([&list[..], &["--distribution", "crc32"]].concat())?.to_string();
        assert!(args.contains(" distribution=crc32 "), "{args}");
        for (words, message) in [
            (
                ["--idfa", "a:1,b"],
                "invalid value for '--idfa <ADDR>': 'b' is not a server address: the port is",
            ),
            (["--idfa", "a:1,a:1"], "invalid value for '--idfa <ADDR>': server 'a:1' is listed twice: give"),
            (
                ["--route", "imei=a:1,"],
                "invalid value for '--route <TYPE=ADDR>': '' is not a server address: no",
            ),
            (["--distribution", "random"], "'random' is not a distribution: give ketama, ketama-plain, "),
            (
                ["--distribution", "rendezvous"],
                "'b:1' has a weight, which means nothing to readers with distribut",
            ),
        ] {
            let words = [&["memc-load", "--gaid", "b:1:2,c:1"], &words[..]].concat();
            let error = Args::from_words(words).err().map(|error| error.to_string()).unwrap_or_default();
            assert!(error.contains(message), "{error}");
        }
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
            ["--workers", "0"],
            ["--files-ahead", "-1"],
            ["--process", "1"],
            ["--hosts", "hosts.txt"],
            ["--inflate-threads", "0"],
            ["--connections", "0"],
            ["--timeout", "0s"],
            ["--on-broken", "go on"],
            ["--on-broken", "quarantine="],
            ["--timeout", "5 parsecs"],
            ["--max-error-rate", "-1"],
            ["--max-error-rate", "nan"],
            ["--listen", "9119"],
            ["--listen", "unix:relative"],
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
