//! What the command line takes and what it refuses.

use anyhow::{Context, Result};
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
fn wrong_usage_is_reported_and_nothing_is_done() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", Sample::new(2).text(10))?;
    for (arguments, message) in [
        (&["--idfa", "localhost"][..], "'localhost' is not a server address: the port is missing"),
        (&["--gaid", "localhost:0"], "'localhost:0' is not a server address"),
        (&["--adid", "::1:33013"], "an IPv6 address needs brackets"),
        (&["--dvid", "unix:"], "the path of the socket is missing"),
        (&["--dvid"], "--dvid"),
        (&["--unknown"], "--unknown"),
        (&["file"], "the argument '--pattern' cannot be used with '[FILE]...': quote the pattern, so that"),
        (&["--pattern", ""], "it is empty: give one such as '/data/appsinstalled/*.tsv.gz'"),
        (&["--pattern", "/tmp/"], "it is a folder: give '/tmp/*.tsv.gz'"),
        (&["--idfa", "http://x:1"], "give host:port without a scheme"),
        (&["--idfa", "a:1,b"], "'--idfa <ADDR>': 'b' is not a server address: the port is missing"),
        (&["--idfa", "a:1,a:1"], "'--idfa <ADDR>': server 'a:1' is listed twice: give each server once"),
        (&["--idfa", "a:1,b:1:0"], "'--idfa <ADDR>': server 'b:1' has the weight 0: give 1 or more"),
        (&["--distribution", "none"], "'none' is not a distribution: give ketama, ketama-plain, "),
        (&["--follow", "--dry"], "the argument '--follow' cannot be used with '--dry'"),
        (&["-q", "-v"], "the argument '--quiet' cannot be used with '--verbose'"),
        (&["--log-format", "xml"], "--log-format"),
        (&["--dry", "check"], "the argument '--dry' cannot be used with the command 'check'"),
        (&["get", "idfa:x"], "the argument '--pattern' cannot be used with the command 'get'"),
        (&["get"], "<KEY>..."),
        (&["verify"], "<FILE>..."),
        (&["check", "--pattern", "x", "file"], "cannot be used with"),
        (&["--threads", "0"], "--threads"),
        (&["--threads", "two"], "--threads"),
        (&["--connections", "0"], "--connections"),
        (&["--connections", "65"], "--connections"),
        (&["--timeout", "0s"], "--timeout"),
        (&["--retry-for", "soon"], "--retry-for"),
        (&["--ttl", "0s"], "it must be longer than nothing"),
        (&["--ttl", "40years"], "it ends after January 2038"),
        (&["--ttl=-1h"], "invalid value '-1h' for '--ttl"),
        (&["--ttl", "1h", "check"], "'--ttl' cannot be used with the command 'check'"),
        (&["--max-error-rate", "-1"], "it must be a number from 0"),
        (&["--max-error-rate", "nan"], "--max-error-rate"),
        (&["--route", "imei"], "give TYPE=ADDR"),
        (&["--route", "=localhost:7"], "the device type before '=' must be one word"),
        (&["--route", "imei=localhost"], "the port is missing"),
        (
            &["--route", "gaid=localhost:7"],
            "the device type 'gaid' has two routes: give one, with a list of servers",
        ),
        (&["--route", "imei=localhost:7", "--route", "imei=localhost:8"], "the device type 'imei'"),
        (&["--idfa", "localhost:7", "--idfa", "localhost:8"], "--idfa"),
        (&["--pattern", "a**b"], "a**b"),
        (&["--pattern", "a[b"], "a[b"),
    ] {
        let run = work.load(arguments)?;
        run.exits(2)?;
        run.ensure(run.stderr.contains(message), format!("expected '{message}'"))?;
        run.leaves(&["1.tsv.gz"])?;
    }
    work.holds_nothing()
}

#[test]
fn the_first_log_line_has_the_options() -> Result<()> {
    let work = Workdir::new()?;
    let pattern = work.name("none");
    let options =
        ["--pattern", &pattern, "--dry", "--idfa", "[::1]:1", "--gaid", "unix:/s", "--threads", "3"];
    let more = [
        "--connections",
        "2",
        "--route",
        "imei=h:7",
        "--timeout",
        "90s",
        "--retry-for",
        "0s",
        "--ttl",
        "26h",
    ];
    let run = work.run(&[&options[..], &more].concat())?;
    run.exits(0)?;
    let expected = format!(
        "I Memc loader started with options: pattern={pattern} dry=true idfa=[::1]:1 gaid=unix:/s \
         adid=127.0.0.1:33015 dvid=127.0.0.1:33016 imei=h:7 ttl=1day 2h threads=3 connections=2 timeout=1m 30s \
         retry-for=0s max-error-rate=0.01 (times in UTC"
    );
    let zone = run.log()?.first().and_then(|line| line.strip_prefix(expected.as_str())).map(str::to_owned);
    // Such as `+02:00)`.
    run.ensure(zone.is_some_and(|zone| zone.starts_with(['+', '-']) && zone.len() == 7), expected)
}

#[test]
fn quiet_and_verbose_choose_the_lines_of_the_log() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\te7e1\t1\t2\t3\nbad\n")?;
    for (options, levels) in [
        (&["-q"][..], "WE"),
        (&["-qq"], "E"),
        (&["--quiet", "--quiet"], "E"),
        (&[], "IDWE"),
        (&["-v"], "IDWE"),
    ] {
        let run = work.load(&[options, &["--dry"]].concat())?;
        run.exits(3)?;
        for level in ["I", "D", "W", "E"] {
            let shown = !run.log_of(level)?.is_empty();
            run.ensure(shown == levels.contains(level), format!("{options:?}: lines of level {level}"))?;
        }
    }
    Ok(())
}

#[test]
fn help_has_groups_and_examples_and_goes_to_standard_output() -> Result<()> {
    let work = Workdir::new()?;
    let parts =
        ["Commands:", "Files:", "Servers:", "Speed:", "Output:", "Environment:", "Exit status:", "Examples:"];
    let run = work.run(&["--help"])?;
    run.exits_with_text()?;
    run.ensure(parts.iter().all(|part| run.stdout.contains(part)), format!("expected {parts:?}"))?;
    run.ensure(run.stdout.lines().all(|line| line.chars().count() <= 100), "expected short lines")
}

#[test]
fn the_guide_shows_the_short_help() -> Result<()> {
    let work = Workdir::new()?;
    let run = work.run(&["-h"])?;
    run.exits_with_text()?;
    let indented = |line: &str| if line.is_empty() { "\n".to_owned() } else { format!("    {line}\n") };
    let help: String = run.stdout.lines().map(indented).collect();
    let guide = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/guide.md"))?;
    run.ensure(guide.contains(&help), "expected it in docs/guide.md, indented")
}

#[test]
fn the_version_has_the_commit_if_it_is_known() -> Result<()> {
    let work = Workdir::new()?;
    let run = work.run(&["--version"])?;
    run.exits_with_text()?;
    let version = run.stdout.trim_end().strip_prefix(concat!("memc-load ", env!("CARGO_PKG_VERSION")));
    let rest = version.with_context(|| run.to_string())?;
    let commit = rest.strip_prefix(" (").and_then(|rest| rest.strip_suffix(')')?.split_once(' '));
    let sound = commit.is_some_and(|(hash, date)| {
        hash.len() >= 7 && hash.bytes().all(|it| it.is_ascii_hexdigit()) && date.len() == "2017-09-29".len()
    });
    run.ensure(rest.is_empty() || sound, "expected a hash and a date, or neither")
}

#[test]
fn packages_get_a_manual_page_and_completions() -> Result<()> {
    let work = Workdir::new()?;
    let page = work.run(&["--print-man"])?;
    page.exits_with_text()?;
    let parts = [
        ".TH memc-load 1",
        ".SH SERVERS",
        ".SH COMMANDS",
        "memc\\-load verify [OPTIONS] <FILE>...",
        "\\-\\-retry\\-for",
        ".SH EXAMPLES",
        ".SH \"EXIT STATUS\"",
    ];
    page.ensure(parts.iter().all(|part| page.stdout.contains(part)), format!("expected {parts:?}"))?;
    page.ensure(!page.stdout.contains("print\\-man"), "options for packages are not for users")?;
    for shell in ["bash", "zsh", "fish"] {
        let run = work.run(&["--print-completions", shell])?;
        run.exits_with_text()?;
        let parts = ["memc-load", "max-error-rate", "verify"];
        let sound = parts.iter().all(|part| run.stdout.contains(part));
        run.ensure(sound, "expected completions")?;
    }
    Ok(())
}
