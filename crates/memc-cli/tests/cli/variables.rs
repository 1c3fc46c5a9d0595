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
                    retry-for=2m max-error-rate=0.5";
    ensure!(log.lines().next().is_some_and(|line| line.ends_with(expected)), "{log}");
    Ok(())
}

#[test]
fn a_variable_that_says_no_is_in_nobodys_way() -> Result<()> {
    // The self-check ends at once, unlike a follower.
    for (variable, value, option, code) in [
        ("MEMC_LOAD_DRY", "no", "--follow", 0),
        ("MEMC_LOAD_FOLLOW", "no", "--dry", 0),
        ("MEMC_LOAD_DRY", "yes", "--follow", 2),
        ("MEMC_LOAD_FOLLOW", "yes", "--dry", 2),
    ] {
        let output = run(&[(variable, value)], &["--test", option])?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(code), "{variable}={value} {option}: {text}");
        let told = text.contains("error: the argument '--follow' cannot be used with '--dry'\n\nUsage: ");
        ensure!(told == (code == 2), "{variable}={value} {option}: {text}");
    }
    Ok(())
}

#[test]
fn a_wrong_variable_is_wrong_usage() -> Result<()> {
    for (variable, value, told) in [
        ("MEMC_LOAD_DRY", "perhaps", "--dry"),
        ("MEMC_LOAD_THREADS", "two", "--threads"),
        ("MEMC_LOAD_IDFA", "localhost", "the port is missing"),
        ("MEMC_LOAD_ROUTE", "imei=h:7 oaid", "give TYPE=ADDR"),
        ("MEMC_LOAD_PROGRESS", "always", "--progress"),
    ] {
        let output = run(&[(variable, value)], &[])?;
        let text = String::from_utf8(output.stderr)?;
        ensure!(output.status.code() == Some(2) && text.contains(told), "{variable}={value}: {text}");
    }
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
