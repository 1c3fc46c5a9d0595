//! Lines that are rejected: quoted with file and line, counted by reason, never the end of a run.

use std::process::Command;

use anyhow::{Result, ensure};
use memc_testkit::{Memcached, Sample};

use crate::workdir::{Workdir, model};

#[test]
fn the_first_rejected_lines_of_each_reason_are_quoted_then_all_are_counted() -> Result<()> {
    let work = Workdir::new()?;
    let long = "k".repeat(246);
    let text = [
        "idfa\tgood\t1\t2\t3",
        "one",
        "",
        "two\t2",
        "idfa\t\t1\t2\t3",
        "idfa\tid\tnorth\t2\t3",
        " three \u{e9} ",
        "four",
        "imei\tid\t1\t2\t3",
        "idfa\ti d\t1\t2\t3",
        &format!("gaid\t{long}\t1\t2\t3"),
        "five\r",
        "idfa\tgood too\t1\t2\t3",
        "gaid\tlast\t1\t2\t3,x,,4",
    ]
    .join("\n");
    work.gzip("1.tsv.gz", &text)?;
    let run = work.load(&[])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz"])?;
    let expected = [
        "2: rejected (field_count): one",
        "4: rejected (field_count): two\\t2",
        "5: rejected (empty_field): idfa\\t\\t1\\t2\\t3",
        "6: rejected (coordinates): idfa\\tid\\tnorth\\t2\\t3",
        "7: rejected (field_count):  three é ",
        "9: rejected (no_server): imei\\tid\\t1\\t2\\t3",
        "10: rejected (invalid_key): idfa\\ti d\\t1\\t2\\t3",
        &format!("11: rejected (invalid_key): gaid\\t{}…", &long[..115]),
        "13: rejected (invalid_key): idfa\\tgood too\\t1\\t2\\t3",
        " rejected lines by reason: field_count 5, empty_field 1, no_server 1, invalid_key 3, coordinates 1",
        "14: app id left out (not_an_integer): x",
        "14: app id left out (not_an_integer): ",
        " app ids left out of their records: not_an_integer 2",
    ]
    .map(|line| format!("{}:{line}", work.name("1.tsv.gz")));
    run.ensure(run.log_of("W")? == expected, format!("expected the warnings {expected:#?}"))?;
    run.logs(&["E High error rate (5.5 > 0.01). Failed load"])?;
    work.holds(&model(&[text]))
}

#[test]
fn line_numbers_are_those_of_the_file_far_behind_its_beginning_too() -> Result<()> {
    let work = Workdir::new()?;
    // Six MB of text before it, some three chunks.
    let text = [&Sample::new(1).text(20_000)[..], b"\nbad\n", &Sample::new(2).text(1000)].concat();
    work.gzip("1.tsv.gz", &text)?;
    work.gzip("2.tsv.gz", b"worse\n")?;
    let run = work.load(&["--threads", "8"])?;
    run.exits(3)?;
    run.logs(&[
        format!("W {}:20002: rejected (field_count): bad", work.name("1.tsv.gz")),
        format!("W {}:1: rejected (field_count): worse", work.name("2.tsv.gz")),
    ])?;
    work.holds(&model(&[text]))
}

#[test]
fn a_line_over_the_limit_is_rejected_and_those_around_it_are_loaded() -> Result<()> {
    let work = Workdir::new()?;
    let sample = Sample::new(3).text(600);
    let long = [b"idfa\tlong\t1\t2\t", &b"1,".repeat(9 << 20)[..], b"\n"].concat();
    work.gzip("1.tsv.gz", [&sample[..], &long, b"dvid\tafter\t1\t2\t3\n"].concat())?;
    let run = work.load(&[])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz"])?;
    let quote = format!("idfa\\tlong\\t1\\t2\\t{}", "1,".repeat(53));
    run.logs(&[
        format!("W {}:601: rejected (line_too_long): {quote}…", work.name("1.tsv.gz")),
        format!("W {}: rejected lines by reason: line_too_long 1", work.name("1.tsv.gz")),
    ])?;
    work.holds(&model(&[&sample[..], b"dvid\tafter\t1\t2\t3\n"]))
}

#[test]
fn a_value_over_the_limit_of_the_server_is_rejected_and_the_rest_is_loaded() -> Result<()> {
    let work = Workdir::new()?;
    let mut sample = Sample::new(4);
    let (before, after) = (sample.text(1000), sample.text(1000));
    // 1.1 MB in the message, for servers that take 1 MiB.
    let apps = vec!["4294967295"; 180_000].join(",");
    let large = |id: &str| format!("adid\t{id}\t1\t2\t{apps}\n").into_bytes();
    let text = [&before[..], &large("one"), &after, &large("two"), b"adid\ttwo\t1\t2\t3\n", &large("three")]
        .concat();
    work.gzip("1.tsv.gz", &text)?;
    work.gzip("2.tsv.gz", b"adid\tthree\t1\t2\t3\n")?;
    let run = work.load(&["--threads", "2", "--connections", "2"])?;
    run.exits(0)?;
    run.leaves(&[".1.tsv.gz", ".2.tsv.gz"])?;
    let address = work.servers()?[2].address();
    let path = work.name("1.tsv.gz");
    let refused = |line, id| {
        let answer = "SERVER_ERROR object too large for cache";
        format!("W {path}:{line}: rejected (server_refused): {answer}: adid:{id} of {address}")
    };
    run.logs(&[
        refused(1001, "one"),
        refused(2002, "two"),
        refused(2004, "three"),
        format!("W {path}: rejected lines by reason: server_refused 3"),
    ])?;
    let stored = b"adid\ttwo\t1\t2\t3\nadid\tthree\t1\t2\t3\n";
    work.holds(&model(&[&before, &after, &stored[..]]))
}

#[test]
fn a_server_out_of_memory_refuses_records_and_each_is_counted() -> Result<()> {
    const LINES: u64 = 8000;
    let work = Workdir::new()?;
    // It says so instead of evicting what it has.
    let small = Memcached::start(&["-M", "-m", "2"])?;
    let apps = "1,".repeat(500);
    let text: String = (0..LINES).map(|id| format!("idfa\t{id}\t1\t2\t{apps}1\n")).collect();
    work.gzip("1.tsv.gz", &text)?;
    let run = work.load(&["--idfa", &small.address()])?;
    run.exits(3)?;
    run.leaves(&[".1.tsv.gz"])?;
    let refused = run.log_of("W")?.into_iter().find_map(|line| line.split_once("by reason: server_refused "));
    let refused: u64 = refused.map_or(Ok(0), |(_, count)| count.parse())?;
    let held = small.stat("curr_items")?;
    run.ensure(refused > 0 && held == LINES - refused, format!("{refused} refused, {held} held"))?;
    ensure!(small.stat("evictions")? == 0);
    let totals = format!("I 1 of 1 files done: {held} records, {refused} rejected, ");
    run.ensure(run.log()?.last().is_some_and(|line| line.starts_with(&totals)), totals)
}

#[test]
fn rejected_lines_are_kept_unchanged_for_tools() -> Result<()> {
    let work = Workdir::new()?;
    let text = b"idfa\tgood\t1\t2\t3\n bad \xff\ttoo\r\n\nidfa\tb c\t1\t2\t3";
    work.gzip("1.tsv.gz", text)?;
    work.gzip("2.tsv.gz", "nothing\n")?;
    work.write("rejects", "kept\n")?;
    let run = work.load(&["--rejects", &work.name("rejects"), "--max-error-rate", "9"])?;
    run.exits(3)?;
    let (one, two) = (work.name("1.tsv.gz"), work.name("2.tsv.gz"));
    let expected = [
        b"kept\n",
        format!("{one}\t2\tfield_count\t").as_bytes(),
        b" bad \xff\ttoo\r\n",
        format!("{one}\t4\tinvalid_key\tidfa\tb c\t1\t2\t3\n{two}\t1\tfield_count\tnothing\n").as_bytes(),
    ]
    .concat();
    let found = std::fs::read(work.path("rejects"))?;
    ensure!(found == expected, "{}", found.escape_ascii());
    Ok(())
}

#[test]
fn rejected_lines_of_a_file_that_is_not_done_are_taken_back() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "one\n")?;
    let mut broken = memc_testkit::gzip(&[b"two\n", &Sample::new(4).text(20_000)[..]].concat())?;
    broken.truncate(broken.len() / 2);
    work.write("2.tsv.gz", broken)?;
    let run = work.load(&["--rejects", &work.name("rejects")])?;
    run.exits(1)?;
    let found = std::fs::read_to_string(work.path("rejects"))?;
    ensure!(found == format!("{}\t1\tfield_count\tone\n", work.name("1.tsv.gz")), "{found}");
    Ok(())
}

#[test]
fn rejected_lines_are_taken_back_from_a_full_disk() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "one\n")?;
    work.gzip("2.tsv.gz", "two\n".repeat(200_000))?;
    // A limit on the size of files is felt like a full disk, unless its signal ends the process.
    let limited = "trap '' XFSZ; ulimit -f 100; exec \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited, "sh", env!("CARGO_BIN_EXE_memc-load"), "--pattern", &work.name("*.tsv.gz")])
        .args(["--rejects", &work.name("rejects")])
        .output()?;
    let log = String::from_utf8(output.stderr)?;
    ensure!(output.status.code() == Some(1) && log.contains("File too large"), "{log}");
    ensure!(work.files()? == [".1.tsv.gz", "2.tsv.gz", "rejects"], "{:?}", work.files()?);
    let found = std::fs::read_to_string(work.path("rejects"))?;
    ensure!(found == format!("{}\t1\tfield_count\tone\n", work.name("1.tsv.gz")), "{} bytes", found.len());
    Ok(())
}

#[test]
fn a_file_of_rejects_is_given_to_one_loader() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("a/1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    work.gzip("b/2.tsv.gz", "bad\n")?;
    let rejects = work.name("rejects");
    let mut dead = Memcached::start(&[])?;
    dead.kill()?;
    let options = ["--pattern", &work.name("a/*.tsv.gz"), "--rejects", &rejects, "--idfa", &dead.address()];
    let mut running = work.start(&options)?;
    running.wait_for_log("Processing ")?;
    let run = work.load(&["--pattern", &work.name("b/*.tsv.gz"), "--rejects", &rejects])?;
    run.exits(1)?;
    run.leaves(&["a/1.tsv.gz", "b/2.tsv.gz", "rejects"])?;
    run.fails_with(&["option --rejects: ", &rejects, "another memc-load writes to it"])
}

#[test]
fn a_full_disk_under_the_rejects_stops_the_run() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "one\nidfa\tgood\t1\t2\t3\n")?;
    let run = work.load(&["--rejects", "/dev/full", "--max-error-rate", "9"])?;
    run.exits(1)?;
    run.leaves(&["1.tsv.gz"])?;
    run.fails_with(&["cannot write the rejected lines to '/dev/full'", "No space left"])
}
