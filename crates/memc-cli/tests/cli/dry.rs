//! `--dry`: every record is logged, nothing is sent, nothing is renamed.

use anyhow::{Context, Result};
use memc_testkit::{DEVICE_TYPES, Memcached, Sample};

use crate::workdir::Workdir;

const FILES: [&str; 3] = ["1.tsv.gz", "2.tsv.gz", "3.tsv.gz"];

/// What a dry run logs of a sound line.
fn dry_line(line: &str, addresses: &[String]) -> Option<String> {
    let [device_type, id, lat, lon, apps] = line.split('\t').collect::<Vec<_>>()[..] else { return None };
    let address = &addresses[DEVICE_TYPES.iter().position(|name| *name == device_type)?];
    let apps: String = apps.split(',').map(|app| format!("apps: {app} ")).collect();
    let (lat, lon): (f64, f64) = (lat.parse().ok()?, lon.parse().ok()?);
    Some(format!("{address} - {device_type}:{id} -> {apps}lat: {lat:?} lon: {lon:?}"))
}

/// Writes three files and returns all their lines.
fn write_files(work: &Workdir) -> Result<Vec<String>> {
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let mut lines = Vec::new();
    for name in FILES {
        let text = String::from_utf8(sample.text(1500))?;
        work.gzip(name, &text)?;
        lines.extend(text.lines().map(str::to_owned));
    }
    Ok(lines)
}

#[test]
fn a_dry_run_logs_every_record_in_order_and_changes_nothing() -> Result<()> {
    let work = Workdir::new()?;
    let lines = write_files(&work)?;
    let addresses: Vec<_> = work.servers()?.iter().map(Memcached::address).collect();
    let expected: Option<Vec<_>> = lines.iter().map(|line| dry_line(line, &addresses)).collect();
    let expected = expected.context("all lines are sound")?;
    let run = work.load(&["--dry", "--threads", "8"])?;
    run.exits(0)?;
    run.leaves(&FILES)?;
    let found = run.log_of("D")?;
    run.ensure(found.len() == expected.len(), format!("{} records", found.len()))?;
    for (found, expected) in found.iter().zip(&expected) {
        run.ensure(found == expected, format!("expected '{expected}', found '{found}'"))?;
    }
    work.holds_nothing()
}

#[test]
fn a_dry_run_needs_no_servers() -> Result<()> {
    let work = Workdir::new()?;
    let text = "idfa\te7e1\t67.7835424444\t-22.8044005471\t1,2\ndvid\tx\u{ff}\t1\t-0\tnone\nbad\n";
    work.gzip("1.tsv.gz", text)?;
    let pattern = work.name("*.tsv.gz");
    let run = work.run(&["--dry", "--pattern", &pattern, "--idfa", "127.0.0.1:1", "--dvid", "unix:/no"])?;
    run.exits(3)?;
    run.leaves(&["1.tsv.gz"])?;
    let expected = [
        "127.0.0.1:1 - idfa:e7e1 -> apps: 1 apps: 2 lat: 67.7835424444 lon: -22.8044005471",
        "unix:/no - dvid:x\\xc3\\xbf -> lat: 1.0 lon: -0.0",
    ];
    run.ensure(run.log_of("D")? == expected, format!("expected {expected:?}"))?;
    run.logs(&[
        format!("W {}:3: rejected (field_count): bad", work.name("1.tsv.gz")),
        "E High error rate (0.5 > 0.01). Failed load".to_owned(),
    ])
}

#[test]
fn a_dry_run_stops_at_a_broken_file() -> Result<()> {
    let work = Workdir::new()?;
    write_files(&work)?;
    let compressed = std::fs::read(work.path("2.tsv.gz"))?;
    work.write("2.tsv.gz", &compressed[..compressed.len() / 2])?;
    let run = work.load(&["--dry"])?;
    run.exits(1)?;
    run.leaves(&FILES)?;
    run.fails_with(&[&work.name("2.tsv.gz")])
}
