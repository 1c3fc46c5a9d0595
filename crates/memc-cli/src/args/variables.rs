//! Options as environment variables: `MEMC_LOAD_` and the option's name in capitals, with `_` for `-`.

use std::ffi::OsString;

use clap::Command;
use clap::error::{ContextKind, ContextValue, ErrorKind};

/// What all of them start with.
const PREFIX: &str = "MEMC_LOAD_";

/// A name that is less like an unknown one than this is no help. 1 is the same name.
const LIKE: f64 = 0.7;

/// The variable for an option.
pub(crate) fn name(option: &str) -> String {
    format!("{PREFIX}{}", option.to_uppercase().replace('-', "_"))
}

/// Has every option that is shown read its variable.
pub(crate) fn attach(definition: Command) -> Command {
    definition.mut_args(|arg| match arg.get_long() {
        // Help must not show what they are set to: it may be a password. A sentence at its end names them.
        Some(long) if !arg.is_hide_set() => {
            let variable = name(long);
            arg.env(variable).hide_env(true)
        }
        _ => arg,
    })
}

/// The error with the variable in place of its option, if the command line alone `is_sound`.
pub(crate) fn blame(mut error: clap::Error, is_sound: impl FnOnce() -> bool) -> clap::Error {
    let is_error = !matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion);
    if is_error
        && let Some(ContextValue::String(arg)) = error.get(ContextKind::InvalidArg)
        && let Some(option) = arg.strip_prefix("--").and_then(|arg| arg.split(' ').next()).map(name)
        && is_sound()
    {
        error.insert(ContextKind::InvalidArg, ContextValue::String(option));
    }
    error
}

/// Logs which variables of this process look like options and are none.
pub(crate) fn warn_of_unknown(definition: &Command) {
    let known: Vec<String> = definition
        .get_arguments()
        .filter_map(|arg| arg.get_env().map(|name| name.to_string_lossy().into_owned()))
        .collect();
    // Their values may be passwords.
    for (unknown, nearest) in find_unknown(&known, std::env::vars_os().map(|(name, _)| name)) {
        match nearest {
            Some(nearest) => log::warn!("{unknown}: there is no such variable: is {nearest} meant?"),
            None => log::warn!("{unknown}: there is no such variable: see memc-load --help"),
        }
    }
}

/// The names that look like variables of this program and are not `known`, each with the nearest one that is.
fn find_unknown(known: &[String], names: impl Iterator<Item = OsString>) -> Vec<(String, Option<&String>)> {
    let mut unknown: Vec<_> = names
        .map(|name| name.to_string_lossy().escape_debug().to_string())
        .filter(|name| name.starts_with(PREFIX) && !known.contains(name))
        .map(|name| {
            let likeness = |it: &&String| strsim::jaro_winkler(tail(&name), tail(it));
            let nearest = known.iter().filter(|it| likeness(it) >= LIKE);
            let nearest = nearest.max_by(|a, b| likeness(a).total_cmp(&likeness(b)));
            (name, nearest)
        })
        .collect();
    unknown.sort();
    unknown
}

/// The part that differs from one variable to the next.
fn tail(variable: &str) -> &str {
    variable.strip_prefix(PREFIX).unwrap_or(variable)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_names_have_the_nearest_one() {
        let known = ["RETRY_FOR", "REPORT", "REJECTS", "DRY"].map(|name| format!("{PREFIX}{name}"));
        let names = ["MEMC_LOAD_RETRYFOR", "MEMC_LOAD_DRY", "MEMC_LOAD_XYZ", "PATH", "MEMC_LOAD_REPORTS"];
        let found = find_unknown(&known, names.into_iter().map(OsString::from));
        let found: Vec<_> = found.iter().map(|(name, near)| (tail(name), near.map(|it| tail(it)))).collect();
        assert_eq!(found, [("REPORTS", Some("REPORT")), ("RETRYFOR", Some("RETRY_FOR")), ("XYZ", None)]);
    }
}
