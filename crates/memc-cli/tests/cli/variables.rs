//! Options that are given as environment variables.

use std::process::{Command, Output};

use anyhow::{Result, ensure};

/// Runs the binary with these variables, with nothing to load.
fn run(variables: &[(&str, &str)], arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_memc-load"));
    command.env("MEMC_LOAD_PATTERN", "/nowhere/*.gz").envs(variables.iter().copied());
    Ok(command.args(arguments).output()?)
}

#[test]
fn every_option_can_be_given_as_a_variable_and_the_command_line_goes_first() -> Result<()> {
    let variables = [
        ("MEMC_LOAD_DRY", "yes"),
        ("MEMC_LOAD_TEST", "0"),
        ("MEMC_LOAD_IDFA", "[::1]:1"),
        ("MEMC_LOAD_GAID", "here:2"),
        ("MEMC_LOAD_ROUTE", "imei=h:7 oaid=unix:/s"),
        ("MEMC_LOAD_THREADS", "3"),
        ("MEMC_LOAD_RETRY_FOR", "2m"),
        ("MEMC_LOAD_MAX_ERROR_RATE", "0.5"),
        ("MEMC_LOAD_PROGRESS", "never"),
    ];
    let output = run(&variables, &["--gaid", "there:3", "--threads", "4"])?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.success(), "{log}");
    let expected = "pattern=/nowhere/*.gz dry=true idfa=[::1]:1 gaid=there:3 adid=127.0.0.1:33015 \
                    dvid=127.0.0.1:33016 imei=h:7 oaid=unix:/s threads=4 connections=1 timeout=5s \
                    retry-for=2m max-error-rate=0.5 (times in ";
    ensure!(log.lines().next().is_some_and(|line| line.contains(expected)), "{log}");
    Ok(())
}

#[test]
fn the_command_line_wins_over_a_variable_that_excludes_it() -> Result<()> {
    for (variable, value, option, first_line) in [
        ("MEMC_LOAD_DRY", "no", "--dry", "dry=true"),
        ("MEMC_LOAD_FOLLOW", "no", "--dry", "dry=true"),
        ("MEMC_LOAD_FOLLOW", "yes", "--dry", "dry=true"),
        ("MEMC_LOAD_DRY", "yes", "--follow", "dry=false follow=true"),
        ("MEMC_LOAD_FOLLOW", "yes", "/nowhere/.1.gz", "files=1 dry=false idfa"),
        ("MEMC_LOAD_PATTERN", "/somewhere/*", "/nowhere/.1.gz", "files=1 dry=false idfa"),
    ] {
        // The self-check ends at once, unlike a follower.
        let output = run(&[(variable, value)], &["--test", option])?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{variable}={value} {option}: {text}");
        ensure!(
            text.lines().next().is_some_and(|it| it.contains(first_line)),
            "{variable}={value} {option}: {text}"
        );
    }
    for (variable, value, option, lines) in
        [("MEMC_LOAD_QUIET", "2", "-v", 2), ("MEMC_LOAD_VERBOSE", "yes", "-qq", 0)]
    {
        let output = run(&[(variable, value)], &["--test", option])?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.success() && text.lines().count() == lines,
            "{variable}={value} {option}: {text}"
        );
    }
    Ok(())
}

#[test]
fn two_variables_that_exclude_each_other_are_wrong_usage() -> Result<()> {
    let output = run(&[("MEMC_LOAD_FOLLOW", "yes"), ("MEMC_LOAD_DRY", "yes")], &[])?;
    let text = String::from_utf8(output.stderr)?;
    let message = text
        .contains("error: the argument 'MEMC_LOAD_FOLLOW' cannot be used with 'MEMC_LOAD_DRY'\n\nUsage: ");
    ensure!(output.status.code() == Some(2) && message, "{text}");
    Ok(())
}

#[test]
fn variables_of_a_load_are_in_no_commands_way() -> Result<()> {
    let variables =
        [("MEMC_LOAD_FOLLOW", "yes"), ("MEMC_LOAD_IDFA", "127.0.0.1:1"), ("MEMC_LOAD_TIMEOUT", "100ms")];
    let output = run(&variables, &["get", "idfa:x"])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && text.contains("cannot read from 127.0.0.1:1"), "{text}");
    Ok(())
}

#[test]
fn an_unknown_variable_is_logged_with_the_nearest_name() -> Result<()> {
    let variables = [("MEMC_LOAD_RETRYFOR", "2m"), ("MEMC_LOAD_XYZ", "secret")];
    for arguments in [&[][..], &["get", "idfa:x", "--timeout", "100ms", "--idfa", "127.0.0.1:1"]] {
        let output = run(&variables, arguments)?;
        let text = String::from_utf8(output.stderr)?;
        for line in [
            "W MEMC_LOAD_RETRYFOR: there is no such variable: is MEMC_LOAD_RETRY_FOR meant?\n",
            "W MEMC_LOAD_XYZ: there is no such variable: see memc-load --help\n",
        ] {
            ensure!(text.contains(line), "expected '{line}': {text}");
        }
        ensure!(!text.contains("secret") && text.matches("no such variable").count() == 2, "{text}");
    }
    Ok(())
}

#[test]
fn a_wrong_variable_is_wrong_usage() -> Result<()> {
    for (variable, value, message) in [
        ("MEMC_LOAD_DRY", "perhaps", "invalid value 'perhaps' for 'MEMC_LOAD_DRY'"),
        ("MEMC_LOAD_THREADS", "two", "invalid value 'two' for 'MEMC_LOAD_THREADS'"),
        ("MEMC_LOAD_RETRY_FOR", "soon", "invalid value 'soon' for 'MEMC_LOAD_RETRY_FOR'"),
        (
            "MEMC_LOAD_IDFA",
            "localhost",
            "'MEMC_LOAD_IDFA': 'localhost' is not a server address: the port is missing",
        ),
        ("MEMC_LOAD_ROUTE", "imei=h:7 oaid", "invalid value for 'MEMC_LOAD_ROUTE': give TYPE=ADDR"),
        ("MEMC_LOAD_PROGRESS", "always", "invalid value 'always' for 'MEMC_LOAD_PROGRESS'"),
        ("MEMC_LOAD_PATTERN", "", "it is empty"),
    ] {
        let output = run(&[(variable, value)], &[])?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(2) && text.contains(message), "{variable}={value}: {text}");
        ensure!(
            !text.contains("--idfa") && !text.contains("--retry-for"),
            "it blames the option, too: {text}"
        );
    }
    // A wrong option is blamed on the option, whatever the variable says.
    let output = run(&[("MEMC_LOAD_RETRY_FOR", "soon")], &["--retry-for", "later"])?;
    let text = String::from_utf8(output.stderr)?;
    ensure!(text.contains("invalid value 'later' for '--retry-for <DURATION>'"), "{text}");
    Ok(())
}

#[test]
fn the_option_for_inflating_threads_is_accepted_with_a_warning() -> Result<()> {
    let variable = ("MEMC_LOAD_INFLATE_THREADS", "4");
    let help = run(&[], &["--help"])?;
    ensure!(!String::from_utf8(help.stdout)?.contains("inflate-threads"), "it is hidden");
    for (variables, arguments, warnings) in [
        (&[][..], &["--inflate-threads", "4"][..], 1),
        (&[variable], &[], 1),
        (&[variable], &["--inflate-threads", "2"], 1),
        (&[], &[], 0),
    ] {
        let output = run(variables, arguments)?;
        let log = String::from_utf8(output.stderr)?;
        ensure!(output.status.success(), "{log}");
        let warning =
            "] W --inflate-threads has no effect any more: one thread decompresses each file, because";
        let advice = "to use more cores, load more files at once";
        let found = log.lines().filter(|line| line.contains(warning) && line.ends_with(advice)).count();
        ensure!(found == warnings, "expected {warnings} warnings: {log}");
        ensure!(!log.contains("inflate-threads="), "it is no option of the load: {log}");
    }
    Ok(())
}

#[test]
fn a_password_in_a_variable_never_shows() -> Result<()> {
    for address in ["ann:sesame@h:7", "ann:sesame@h"] {
        let route = format!("imei={address}");
        let variables = [("MEMC_LOAD_IDFA", address), ("MEMC_LOAD_ROUTE", &route)];
        for option in ["--help", "-h", "--print-man", "--dry", "--unknown"] {
            let output = run(&variables, &[option])?;
            let text = String::from_utf8([output.stdout, output.stderr].concat())?;
            ensure!(!text.is_empty() && !text.contains("sesame"), "{option}: {text}");
        }
    }
    Ok(())
}
