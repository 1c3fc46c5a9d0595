//! Files with names that are no text, or would do something where they are written.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use anyhow::{Result, ensure};
use memc_testkit::gzip;

use crate::workdir::{Workdir, model};

#[test]
fn a_name_that_is_not_utf_8_is_loaded_in_its_turn() -> Result<()> {
    let work = Workdir::new()?;
    let texts: Vec<_> = (1..=3).map(|number| format!("idfa\tsame\t1\t2\t{number}\n")).collect();
    let names = [&b"20170929000000.tsv.gz"[..], b"20170929000100\xff.tsv.gz", b"20170929000200.tsv.gz"];
    for (name, text) in names.iter().zip(&texts) {
        fs::write(work.path("").join(OsStr::from_bytes(name)), gzip(text.as_bytes())?)?;
    }
    let run = work.load(&[])?;
    run.exits(0)?;
    let order: Vec<_> =
        run.log_of("I")?.into_iter().filter_map(|line| line.strip_prefix("Processing ")).collect();
    let expected = ["20170929000000", "20170929000100\\xff", "20170929000200"]
        .map(|name| work.name(&format!("{name}.tsv.gz")));
    run.ensure(order == expected, format!("expected {expected:?}"))?;
    let lossy = names.map(|name| format!(".{}", String::from_utf8_lossy(name)));
    run.leaves(&lossy.each_ref().map(String::as_str))?;
    work.holds(&model(&texts))
}

#[test]
fn a_name_forges_no_line_of_the_log_and_no_column_of_the_rejects() -> Result<()> {
    let work = Workdir::new()?;
    let name = "1\n[2017.09.29 12:39:52] E forged\t\u{1b}[2J.tsv.gz";
    work.gzip(name, "bad\nidfa\ta\t1\t2\t3\n")?;
    work.gzip(&format!(".{name}"), "older")?;
    fs::create_dir(work.path("2\nfolder.tsv.gz"))?;
    work.write("3\ncut.tsv.gz", b"")?;
    let outputs = ["--rejects", &work.name("rejects"), "--report", &work.name("report")];
    let run = work.load(&[&outputs[..], &["--max-error-rate", "9"]].concat())?;
    run.exits(1)?;
    run.ensure(!run.stderr.contains("\n[2017") && !run.stderr.contains('\u{1b}'), "forged")?;
    let shown = work.name("1\\n[2017.09.29 12:39:52] E forged\\t\\u{1b}[2J.tsv.gz");
    run.logs(&[
        format!("I Processing {shown}"),
        format!("W {shown}:1: rejected (fields): 'bad'"),
        format!("W {}: not a regular file, so not a log: left alone", work.name("2\\nfolder.tsv.gz")),
    ])?;
    run.fails_with(&[&work.name("3\\ncut.tsv.gz")])?;
    let rejects = fs::read_to_string(work.path("rejects"))?;
    ensure!(rejects == format!("{shown}\t1\tfields\tbad\n"), "{rejects}");
    let report: serde_json::Value = serde_json::from_slice(&fs::read(work.path("report"))?)?;
    ensure!(report["files"][0]["name"] == shown, "{report:#}");
    Ok(())
}
