//! Servers behind a real twemproxy: loaded, checked, read and verified through it.

use anyhow::{Result, ensure};
use memc_testkit::{Sample, Twemproxy};
use serde_json::Value;

use crate::workdir::Workdir;

#[test]
fn all_commands_work_through_a_proxy() -> Result<()> {
    let work = Workdir::new()?;
    let text = Sample::new(4).with(0.3, 0.0).text(3000);
    work.gzip("1.tsv.gz", &text)?;
    let servers = work.servers()?;
    let behind: Vec<_> = servers.iter().map(|server| format!("{}:1", server.address())).collect();
    let proxy = Twemproxy::start("ketama", "md5", &behind)?;
    let address = proxy.address();
    let (report, metrics) = (work.name("report"), work.name("metrics.prom"));
    let all = ["idfa", "gaid", "adid", "dvid"].map(|name| format!("--{name}={address}"));
    let run = |more: &[&str]| {
        let all: Vec<_> = all.iter().map(String::as_str).chain(more.iter().copied()).collect();
        work.run(&all)
    };
    let pattern = work.name("*.tsv.gz");

    let check = run(&["check", "--pattern", &pattern])?;
    check.ensure(check.status().success(), "expected success")?;
    let line = format!("ok   server {address} (idfa, gaid, adid, dvid): version 1.");
    let what = ", classic protocol, no statistics: ";
    check.ensure(check.stdout.lines().any(|it| it.starts_with(&line) && it.contains(what)), line)?;

    let load = run(&["--pattern", &pattern, "--report", &report, "--metrics", &metrics])?;
    load.exits(0)?;
    load.ensure(load.log_of("W")?.len() == 1, "one W line")?;
    load.ensure(load.log_of("W")?[0].contains(": gives no statistics, as a proxy does: "), "it says why")?;
    let report: Value = serde_json::from_slice(&std::fs::read(report)?)?;
    let server = &report["servers"][0];
    ensure!(server["no_statistics"] == true && server["unreachable_at_end"] == false, "{server}");
    let metrics = std::fs::read_to_string(metrics)?;
    let labels = format!("device_types=\"idfa,gaid,adid,dvid\",server=\"{address}\"");
    ensure!(metrics.contains(&format!("memc_load_server_no_statistics{{{labels}}} 1\n")), "{metrics}");

    let expected = crate::workdir::model(&[text]);
    let keys: usize = expected.servers.values().map(std::collections::HashMap::len).sum();
    let verify = run(&["verify", &work.name(".1.tsv.gz")])?;
    verify.shows(0, &[format!("{keys} keys: {keys} same, 0 different, 0 missing")])?;
    let key = expected.servers["gaid"].keys().next().map(|key| key.escape_ascii().to_string());
    let get = run(&["get", &key.unwrap_or_default()])?;
    get.ensure(get.status().success() && get.stdout.contains("gaid:"), "the record")
}

#[test]
fn the_protocol_may_be_fixed() -> Result<()> {
    for (protocol, shown) in [("classic", ", classic protocol, up "), ("meta", ", up "), ("auto", ", up ")] {
        let work = Workdir::new()?;
        let text = Sample::new(4).text(100);
        work.gzip("1.tsv.gz", &text)?;
        let check =
            work.with_servers(&["--protocol", protocol, "check", "--pattern", &work.name("*.tsv.gz")])?;
        check.ensure(check.status().success(), "expected success")?;
        check.ensure(check.stdout.lines().filter(|line| line.contains(shown)).count() == 4, shown)?;
        let run = work.load(&["--protocol", protocol])?;
        run.exits(0)?;
        let is_said = run.log()?[0].contains(&format!(" protocol={protocol} "));
        run.ensure(is_said == (protocol != "auto"), "the first line has what is not the default")?;
        work.holds(&crate::workdir::model(&[text]))?;
    }
    Ok(())
}
