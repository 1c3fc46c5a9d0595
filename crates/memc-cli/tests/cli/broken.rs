//! Files that are broken: the run stops there, and continues there when they are repaired.

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memc_testkit::{DEVICE_TYPES, Sample};

use crate::run::skip;
use crate::workdir::{Workdir, model};

/// Three files, of which `damage` breaks the second: only the first is done. Then it is repaired. The second has
/// several chunks, so some of its records are sent before the damage is found.
fn stops_at_a_broken_file(damage: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(1).with(0.3, 0.0);
    let texts = [sample.text(700), sample.text(20_000), sample.text(700)];
    for (name, text) in ["1.tsv.gz", "2.tsv.gz", "3.tsv.gz"].iter().zip(&texts) {
        work.gzip(name, text)?;
    }
    let mut compressed = memc_testkit::gzip(&texts[1])?;
    damage(&mut compressed);
    work.write("2.tsv.gz", compressed)?;

    let run = work.load(&["--threads", "8"])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz", "3.tsv.gz"])?;
    run.fails_with(&[&format!("cannot read '{}': ", work.name("2.tsv.gz"))])?;
    let last = run.log()?.into_iter().rfind(|line| line.starts_with("I "));
    run.ensure(last.is_some_and(|line| line.starts_with("I 1 of 3 files done: 700 records, ")), "totals")?;
    let (first, second) = (model(&texts[..1]), model(&texts[1..2]));
    for (name, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
        let contents = server.contents()?;
        for (key, value) in &first.servers[name] {
            let item = contents.get(key).with_context(|| format!("{} is lost", key.escape_ascii()))?;
            ensure!(item.value == *value || second.value(key).is_some(), "{}", key.escape_ascii());
        }
    }

    work.gzip("2.tsv.gz", &texts[1])?;
    let run = work.load(&["--threads", "8"])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz", ".3.tsv.gz"])?;
    work.holds(&model(&texts))
}

#[test]
fn a_file_cut_in_the_middle_stops_the_run_until_it_is_repaired() -> Result<()> {
    stops_at_a_broken_file(|compressed| compressed.truncate(compressed.len() / 2))
}

#[test]
fn a_file_without_its_checksum_stops_the_run_until_it_is_repaired() -> Result<()> {
    stops_at_a_broken_file(|compressed| compressed.truncate(compressed.len() - 8))
}

#[test]
fn a_file_with_a_wrong_checksum_stops_the_run_until_it_is_repaired() -> Result<()> {
    let flip = |compressed: &mut Vec<u8>| {
        let checksum = compressed.len() - 8;
        compressed[checksum] ^= 1;
    };
    stops_at_a_broken_file(flip)
}

#[test]
fn a_file_with_garbage_behind_its_last_member_stops_the_run_until_it_is_repaired() -> Result<()> {
    stops_at_a_broken_file(|compressed| compressed.extend(b"garbage"))
}

#[test]
fn a_file_named_gz_that_is_no_gzip_stops_the_run_and_says_what_it_looks_like() -> Result<()> {
    let text = Sample::new(6).text(100);
    let damaged = [b"\x1e", &memc_testkit::gzip(&text)?[1..]].concat();
    for (bytes, looks_like) in [
        (&text[..], "not gzip but plain text"),
        (&damaged, "not gzip, or gzip with a damaged first byte"),
        (b"\xfd7zXZ\0\0\x04\xe6\xd6\xb4\x46", "not gzip but xz data"),
        (b"\x28\xb5\x2f\xfd\x24\x05", "not gzip but zstd data"),
        (b"PK\x03\x04\x14\0", "not gzip but a zip archive"),
        (b"\x91\xe2\x03\xa7\xff", "not gzip but unknown data"),
    ] {
        for options in [&[][..], &["--follow"]] {
            let work = Workdir::new()?;
            work.write("1.tsv.gz", bytes)?;
            work.gzip("2.tsv.gz", &text)?;
            let run = work.load(options)?;
            run.exits(1)?;
            run.leaves(&["1.tsv.gz", "2.tsv.gz"])?;
            run.fails_with(&[&format!("cannot read '{}': {looks_like}", work.name("1.tsv.gz"))])?;
        }
    }
    Ok(())
}

#[test]
fn a_file_that_is_not_complete_stops_the_run_and_says_so() -> Result<()> {
    let text = Sample::new(7).text(2000);
    let compressed = memc_testkit::gzip(&text)?;
    let two = [&compressed[..], &compressed[..1]].concat();
    let inside = "it ends inside a gzip member";
    for (bytes, reason) in [
        (&b""[..], "it is empty"),
        (b"\x1f", "it is the first byte of gzip and no more"),
        (&compressed[..2], inside),
        (&compressed[..9], inside),
        (&compressed[..compressed.len() / 2], inside),
        (&compressed[..compressed.len() - 1], inside),
        (&two, inside),
    ] {
        let work = Workdir::new()?;
        work.gzip("1.tsv.gz", &text)?;
        work.write("2.tsv.gz", bytes)?;
        work.gzip("3.tsv.gz", &text)?;
        let run = work.load(&[])?;
        run.exits(1)?;
        run.leaves(&[".1.tsv.gz", "2.tsv.gz", "3.tsv.gz"])?;
        run.fails_with(&[&format!(
            "cannot read '{}': not complete: {reason}; it and all later files keep their names",
            work.name("2.tsv.gz")
        )])?;
        work.write("2.tsv.gz", &compressed)?;
        let run = work.load(&[])?;
        run.exits(0)?;
        run.leaves(&[".1.tsv.gz", ".2.tsv.gz", ".3.tsv.gz"])?;
    }
    Ok(())
}

#[test]
fn junk_behind_the_last_member_is_not_taken_for_an_end_that_is_missing() -> Result<()> {
    for junk in [&b"x"[..], b"\x1f\x8c", b"garbage", b"\0\0garbage that is longer than a header"] {
        let work = Workdir::new()?;
        let mut compressed = memc_testkit::gzip(&Sample::new(8).text(10))?;
        compressed.extend(junk);
        work.write("1.tsv.gz", compressed)?;
        let run = work.load(&[])?;
        run.exits(1)?;
        run.leaves(&["1.tsv.gz"])?;
        run.fails_with(&["neither a gzip member nor zeros"])?;
    }
    Ok(())
}

#[test]
fn a_file_with_a_hole_stops_the_run() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(2);
    let texts = [sample.text(500), sample.text(20_000)];
    work.gzip("1.tsv.gz", &texts[0])?;
    let mut compressed = memc_testkit::gzip(&texts[1])?;
    let middle = compressed.len() / 2;
    compressed[middle..middle + 100].fill(0);
    work.write("2.tsv.gz", compressed)?;
    let run = work.load(&[])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz"])?;
    run.fails_with(&[&work.name("2.tsv.gz")])
}

#[test]
fn a_broken_first_file_leaves_all_names() -> Result<()> {
    let work = Workdir::new()?;
    work.write("1.tsv.gz", b"\x1f\x8b but no gzip")?;
    work.gzip("2.tsv.gz", Sample::new(3).text(10))?;
    let run = work.load(&[])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz", "2.tsv.gz"])?;
    run.fails_with(&[&work.name("1.tsv.gz")])
}

#[test]
fn rejected_lines_before_the_break_are_logged() -> Result<()> {
    let work = Workdir::new()?;
    let text = [b"few fields\n", &Sample::new(4).text(24_000)[..]].concat();
    let mut compressed = memc_testkit::gzip(&text)?;
    compressed.truncate(compressed.len() / 2);
    work.write("1.tsv.gz", compressed)?;
    let run = work.load(&[])?;
    run.exits(1)?;
    run.logs(&[format!("W {}:1: rejected (field_count): few fields", work.name("1.tsv.gz"))])
}

#[test]
fn a_file_that_cannot_be_renamed_stops_the_run() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(5);
    for name in ["1.tsv.gz", "2.tsv.gz", "3.tsv.gz"] {
        work.gzip(name, sample.text(10))?;
    }
    work.write(".2.tsv.gz/a folder in its way", b"")?;
    let run = work.load(&[])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz/a folder in its way", "2.tsv.gz", "3.tsv.gz"])?;
    run.logs(&["I Acceptable error rate (0). Successful load"])?;
    run.ensure(!run.stderr.contains("replaced"), "nothing was replaced")?;
    run.fails_with(&[&work.name("2.tsv.gz"), &work.name(".2.tsv.gz")])
}

#[test]
fn a_dot_that_cannot_be_synced_counts_and_stops_the_run() -> Result<()> {
    if Command::new("strace").arg("--version").output().is_err() {
        return skip("there is no strace to have a sync fail");
    }
    let work = Workdir::new()?;
    let mut sample = Sample::new(9);
    for name in ["1.tsv.gz", "2.tsv.gz"] {
        work.gzip(name, sample.text(10))?;
    }
    // The first of each thread, which is that of the folder.
    let failing = "exec strace -f -o /dev/null -e trace=fsync -e inject=fsync:error=EIO:when=1";
    let run = work.load_after(failing, &[])?;
    run.exits(1)?;
    run.leaves(&[".1.tsv.gz", "2.tsv.gz"])?;
    let last = run.log()?.into_iter().rfind(|line| line.starts_with("I "));
    run.ensure(last.is_some_and(|line| line.starts_with("I 1 of 2 files done: 10 records, ")), "totals")?;
    run.fails_with(&[&work.name("1.tsv.gz"), "cannot sync its folder"])
}
