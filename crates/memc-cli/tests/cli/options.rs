//! What the command line takes and what it refuses.

use anyhow::Result;
use memc_testkit::Sample;

use crate::workdir::Workdir;

#[test]
fn the_self_check_passes_and_loads_nothing() -> Result<()> {
    for option in ["--test", "-t"] {
        let work = Workdir::new()?;
        work.gzip("1.tsv.gz", Sample::new(1).text(10))?;
        let run = work.run(&[option, "--pattern", &work.name("*.tsv.gz"), "--idfa", "127.0.0.1:1"])?;
        run.exits(0)?;
        run.leaves(&["1.tsv.gz"])?;
        run.logs(&["I The self-check passed"])?;
    }
    Ok(())
}

#[test]
fn wrong_usage_is_told_and_nothing_is_done() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(2).text(10))?;
    for (arguments, told) in [
        (&["--idfa", "localhost"][..], "'localhost' is not a server address: the port is missing"),
        (&["--gaid", "localhost:0"], "'localhost:0' is not a server address"),
        (&["--adid", "::1:33013"], "an IPv6 address needs brackets"),
        (&["--dvid", "unix:"], "the path of the socket is missing"),
        (&["--dvid"], "--dvid"),
        (&["--unknown"], "--unknown"),
        (&["positional"], "positional"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "two"], "--threads"),
        (&["--connections", "0"], "--connections"),
        (&["--connections", "65"], "--connections"),
        (&["--timeout", "0s"], "--timeout"),
        (&["--retry-for", "soon"], "--retry-for"),
        (&["--max-error-rate", "-1"], "it must be a number from 0"),
        (&["--max-error-rate", "nan"], "--max-error-rate"),
        (&["--route", "imei"], "give TYPE=ADDR"),
        (&["--route", "=localhost:7"], "the device type before '=' must be one word"),
        (&["--route", "imei=localhost"], "the port is missing"),
        (&["--route", "gaid=localhost:7"], "two servers for the device type 'gaid'"),
        (&["--route", "imei=localhost:7", "--route", "imei=localhost:8"], "the device type 'imei'"),
        (&["--idfa", "localhost:7", "--idfa", "localhost:8"], "--idfa"),
        (&["--pattern", "a**b"], "a**b"),
        (&["--pattern", "a[b"], "a[b"),
    ] {
        let run = work.load(arguments)?;
        run.exits(2)?;
        run.ensure(run.stderr.contains(told), format!("expected to be told '{told}'"))?;
        run.leaves(&["1.tsv.gz"])?;
    }
    work.holds_nothing()
}

#[test]
fn the_first_log_line_tells_the_options() -> Result<()> {
    let work = Workdir::new()?;
    let pattern = work.name("none");
    let options =
        ["--pattern", &pattern, "--dry", "--idfa", "[::1]:1", "--gaid", "unix:/s", "--threads", "3"];
    let more = ["--connections", "2", "--route", "imei=h:7", "--timeout", "90s", "--retry-for", "0s"];
    let run = work.run(&[&options[..], &more].concat())?;
    run.exits(0)?;
    let expected = format!(
        "I Memc loader started with options: pattern={pattern} dry=true idfa=[::1]:1 gaid=unix:/s \
         adid=127.0.0.1:33015 dvid=127.0.0.1:33016 imei=h:7 threads=3 connections=2 timeout=1m 30s \
         retry-for=0s max-error-rate=0.01"
    );
    run.ensure(run.log()?.first() == Some(&expected.as_str()), expected)
}

#[test]
fn help_and_version_go_to_standard_output() -> Result<()> {
    let work = Workdir::new()?;
    let options = ["--pattern", "--dry", "--log", "--test", "--idfa", "--gaid", "--adid", "--dvid"];
    for (option, parts) in [("--help", &options[..]), ("--version", &["memc-load 0."])] {
        let run = work.run(&[option])?;
        run.ensure(parts.iter().all(|part| run.stdout.contains(part)), format!("expected {parts:?}"))?;
        run.ensure(run.stderr.is_empty(), "expected nothing on standard error")?;
    }
    Ok(())
}
