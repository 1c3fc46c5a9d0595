//! A server that is away for a while: the log, the metrics and the service manager hear of it at once.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use memc_testkit::Memcached;

use crate::outputs::{has_metrics, metrics};
use crate::service::Manager;
use crate::workdir::Workdir;

/// No wait in these tests takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_server_that_is_away_is_reported_at_once_and_when_it_is_back() -> Result<()> {
    let work = Workdir::new()?;
    let mut manager = Manager::start(&work)?;
    let mut server = Memcached::start(&[])?;
    server.kill()?;
    let address = server.address();
    let named = format!("{address} (--route imei=ADDR)");
    work.gzip("1.tsv.gz", "imei\tx\t1\t2\t3\n")?;
    let options =
        ["--route", &format!("imei={address}"), "--metrics", &work.name("metrics.prom"), "--retry-for", "1h"];
    let mut running = work.start_with(&options, &[("NOTIFY_SOCKET", &manager.path)])?;
    running.wait_for_log(&format!("W {named}: away: "))?;
    running.wait_for_log("; retrying for 1h, then the run stops")?;
    let file = format!("{} (1 of 1)", work.name("1.tsv.gz"));
    manager.hears(&format!("STATUS=loading {file}: waiting for {named}"))?;

    let up = format!("server_up{{device_types=\"imei\",server=\"{address}\"}}");
    let until = Instant::now() + PATIENCE;
    while !work.path("metrics.prom").exists() {
        ensure!(Instant::now() < until, "no metrics");
        sleep(Duration::from_millis(5));
    }
    has_metrics(&metrics(&work)?, &[(&up, 0.0), ("files_done_total", 0.0), ("last_round_files_found", 0.0)])?;

    server.restart()?;
    let run = work.finish(running)?;
    run.exits(0)?;
    let back = format!("{named}: back after ");
    run.ensure(run.log_of("W")?.iter().any(|line| line.starts_with(&back)), back)?;
    manager.hears(&format!("STATUS=loading {file}"))?;
    has_metrics(&metrics(&work)?, &[(&up, 1.0), ("files_done_total", 1.0)])
}

/// It stays away: the metrics that are left say so.
#[test]
fn a_server_that_is_given_up_is_away_in_the_metrics() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    server.kill()?;
    let address = server.address();
    work.gzip("1.tsv.gz", "imei\tx\t1\t2\t3\n")?;
    let options =
        ["--route", &format!("imei={address}"), "--metrics", &work.name("metrics.prom"), "--retry-for", "1s"];
    work.load(&options)?.exits(1)?;
    let up = format!("server_up{{device_types=\"imei\",server=\"{address}\"}}");
    has_metrics(&metrics(&work)?, &[(&up, 0.0), ("last_round_exit_code", 1.0)])
}
