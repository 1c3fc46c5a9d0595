//! Several workers and several processes: what one that loads file after file leaves, and an end with a reason when one
//! of them is killed, hangs, or does not fit.

use std::net::TcpListener;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::Memcached;
use rustix::process::Signal;

use crate::killed::{FILES, Random, Set};
use crate::run::{Run, Running};
use crate::watched::Watched;
use crate::workdir::{Workdir, model};

/// How many processes are killed while they run.
const KILLS: usize = 30;

/// All ends come within the timeout that is given and this.
pub(crate) const MARGIN: Duration = Duration::from_secs(5);

/// Lines of each file: so few that a run is short.
const LINES: usize = 1500;

/// A file with the addresses of this number of processes. The ports are theirs as long as the folder is there.
fn hosts(work: &Workdir, processes: usize) -> Result<String> {
    let lines: Vec<_> = (0..processes).map(|_| work.port()).collect::<Result<_>>()?;
    work.write("hosts/hosts.txt", lines.join("\n"))?;
    Ok(work.name("hosts/hosts.txt"))
}

/// Starts one process.
fn start_one(work: &Workdir, hosts: &str, process: usize, options: &[&str]) -> Result<Running> {
    let process = process.to_string();
    work.start(&[&["--hosts", hosts, "--process", &process], options].concat())
}

/// Starts this number of processes.
fn start(work: &Workdir, processes: usize, options: &[&str]) -> Result<Vec<Running>> {
    let hosts = hosts(work, processes)?;
    (0..processes).map(|process| start_one(work, &hosts, process, options)).collect()
}

pub(crate) fn finish(work: &Workdir, running: Vec<Running>) -> Result<Vec<Run>> {
    running.into_iter().map(|it| work.finish(it)).collect()
}

/// Checks that a process has ended early with one line that says which process is at fault, and in time.
fn blames(run: &Run, process: usize, problem: &str) -> Result<()> {
    run.exits(1)?;
    run.fails_with(&[&format!("process {process} (127.0.0.1:"), problem])?;
    run.ensure(!run.stderr.contains("panicked"), "a panic reached the user")
}

/// The files of the folder that are done, of those that `hosts` is none of.
fn done(work: &Workdir) -> Result<usize> {
    let files: Vec<_> = work.files()?.into_iter().filter(|name| !name.contains('/')).collect();
    let done = files.iter().filter(|name| name.starts_with('.')).count();
    let mut expected: Vec<_> = FILES[..done].iter().map(|name| format!(".{name}")).collect();
    expected.extend(FILES[done..].iter().map(|&name| name.to_owned()));
    ensure!(files == expected, "the files are {files:?}");
    Ok(done)
}

#[test]
fn workers_of_one_process_leave_what_one_leaves() -> Result<()> {
    let set = Set::new(LINES)?;
    let work = set.workdir()?;
    work.gzip("7.tsv.gz", "idfa\tlast\t1\t2\t3\nno line\n")?;
    let rejects = work.name("rejects");
    let run = work.load(&["--workers", "3", "--rejects", &rejects])?;
    run.exits(3)?;
    let last = "idfa\tlast\t1\t2\t3".as_bytes().to_vec();
    work.holds(&model(&[&set.texts[..], &[last]].concat()))?;
    let expected: Vec<_> =
        [FILES.as_slice(), &["7.tsv.gz"]].concat().iter().map(|name| format!(".{name}")).collect();
    run.leaves(&[expected.iter().map(String::as_str).collect::<Vec<_>>(), vec!["rejects"]].concat())?;
    let rejected = std::fs::read_to_string(&rejects)?;
    run.ensure(
        rejected == format!("{}\t2\tfield_count\tno line\n", work.name("7.tsv.gz")),
        format!("rejected: {rejected}"),
    )?;
    run.ensure(run.stderr.contains(" workers=3 "), "the first line says how many workers")
}

#[test]
fn processes_leave_what_one_leaves_and_only_the_first_reports() -> Result<()> {
    let set = Set::new(LINES)?;
    let work = set.workdir()?;
    let report = work.name("out/report.json");
    std::fs::create_dir(work.path("out"))?;
    let runs = finish(&work, start(&work, 3, &["--workers", "2", "--report", &report])?)?;
    runs.iter().try_for_each(|run| run.exits(0))?;
    work.holds(&model(&set.texts))?;
    ensure!(done(&work)? == FILES.len());
    runs[0].logs(&[format!("Processing {}", work.name(FILES[5]))].map(|line| format!("I {line}")))?;
    runs[1].logs(&["I The first process has done all"])?;
    ensure!(!runs[1].stderr.contains("Processing"), "{}", runs[1]);
    let report: serde_json::Value = serde_json::from_slice(&std::fs::read(report)?)?;
    ensure!(report["files_done"] == FILES.len() && report["exit_code"] == 0, "{report}");
    let stored: Option<u64> = report["servers"]
        .as_array()
        .context("servers")?
        .iter()
        .map(|server| server["records"].as_u64())
        .sum();
    ensure!(stored == report["records_loaded"].as_u64(), "{report}");
    Ok(())
}

/// What the second process has stored is seen in the first one while a server of that one holds up the load.
#[test]
fn the_first_process_shows_what_servers_of_others_have_taken() -> Result<()> {
    let work = Workdir::new()?;
    let mut late = Memcached::start(&[])?;
    late.kill()?;
    work.gzip("1.tsv.gz", "imei\ta\t1\t2\t3\ngaid\tb\t1\t2\t3\ngaid\tc\t1\t2\t3\ndvid\td\t1\t2\t3\n")?;
    let (hosts, route) = (hosts(&work, 2)?, format!("imei={}", late.address()));
    let options = ["--hosts", &hosts, "--route", &route, "--retry-for", "1h"];
    let watched = Watched::start(&work, &[&options[..], &["--process", "0"]].concat())?;
    let second = work.start(&[&options[..], &["--process", "1"]].concat())?;
    // The servers of gaid and dvid are those of the second process.
    let records = |status: &serde_json::Value| -> Vec<u64> {
        let servers = status["servers"].as_array().into_iter().flatten();
        servers.filter_map(|server| server["records"].as_u64()).collect()
    };
    let status = watched.wait_for("seen", |status| records(status) == [0, 2, 0, 1, 0])?;
    ensure!(status["state"] == "server_away", "{status:#}");
    late.restart()?;
    for run in finish(&work, vec![watched.running, second])? {
        run.exits(0)?;
    }
    ensure!(late.contents()?.len() == 1);
    Ok(())
}

/// The second process reads the second file, of whose lines a server refuses one; the first one has the text of all.
#[test]
fn rejected_lines_of_any_process_come_with_file_and_line() -> Result<()> {
    let work = Workdir::new()?;
    let large = format!("gaid\tlarge\t1\t2\t{}", vec!["4294967295"; 200_000].join(","));
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\nno line\n")?;
    work.gzip("2.tsv.gz", format!("idfa\tb\t1\t2\t3\n{large}\nadid\tc\t1\t2\t3\nno line either\n"))?;
    let rejects = work.name("rejects");
    let runs = finish(&work, start(&work, 2, &["--rejects", &rejects])?)?;
    runs.iter().try_for_each(|run| run.exits(3))?;
    let (one, two) = (work.name("1.tsv.gz"), work.name("2.tsv.gz"));
    let expected = format!(
        "{one}\t2\tfield_count\tno line\n{two}\t2\tserver_refused\t{large}\n{two}\t4\tfield_count\tno line either\n"
    );
    ensure!(std::fs::read_to_string(&rejects)? == expected, "{}", runs[0]);
    work.holds(&model(&["idfa\ta\t1\t2\t3\nidfa\tb\t1\t2\t3\nadid\tc\t1\t2\t3\n"]))
}

/// A report that cannot be written is the last thing that can go wrong in the first process.
#[test]
fn all_processes_have_the_exit_code_of_the_first() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let runs = finish(&work, start(&work, 3, &["--report", "/dev/full"])?)?;
    runs.iter().try_for_each(|run| run.exits(3))?;
    runs[0].fails_with(&["/dev/full"])?;
    for run in &runs[1..] {
        run.logs(&["W The first process has done all, but not all is well: its log says what, exit code 3"])?;
    }
    work.holds(&model(&["idfa\ta\t1\t2\t3\n"]))
}

#[test]
fn processes_killed_at_random_moments_lose_nothing() -> Result<()> {
    let set = Set::new(LINES)?;
    let expected = model(&set.texts);
    let work = set.workdir()?;
    let started = Instant::now();
    finish(&work, start(&work, 3, &[])?)?.iter().try_for_each(|run| run.exits(0))?;
    let whole_run = started.elapsed();
    work.holds(&expected)?;

    let mut random = Random(1);
    let (mut kills, mut within_a_load) = (0, 0);
    let wanted = std::env::var("MEMC_TEST_KILLS").map_or(Ok(KILLS), |kills| kills.parse())?;
    while kills < wanted {
        let work = set.workdir()?;
        loop {
            let mut running = start(&work, 3, &[])?;
            let victim = kills % 3;
            running[victim].kill_after(whole_run.mul_f64(random.next()))?;
            let killed = Instant::now();
            let runs = finish(&work, running)?;
            let done = done(&work)?;
            set.stored(&work, done).with_context(|| format!("after {done} files\n{}", runs[0]))?;
            if runs.iter().all(|run| run.status().success()) {
                ensure!(done == FILES.len(), "{}", runs[0]);
                break;
            }
            ensure!(killed.elapsed() < Duration::from_secs(5) + MARGIN, "{:?}", killed.elapsed());
            for run in runs.iter().enumerate().filter(|(at, _)| *at != victim).map(|(_, run)| run) {
                // It may have been at its end already.
                if !run.status().success() {
                    blames(run, victim, "")?;
                }
            }
            kills += 1;
            within_a_load += usize::from(runs[0].stderr.contains("Processing "));
        }
        // The values are checked already; so nothing but them is there.
        for (device_type, server) in memc_testkit::DEVICE_TYPES.iter().zip(work.servers()?) {
            ensure!(server.stat("curr_items")? == expected.servers[device_type].len() as u64);
        }
    }
    ensure!(within_a_load > wanted / 4, "only {within_a_load} of {kills} kills came while files were loaded");
    Ok(())
}

#[test]
fn a_process_that_hangs_ends_all_in_time_and_writes_nothing_after_it() -> Result<()> {
    let set = Set::new(2 * LINES)?;
    for victim in [0, 1] {
        let work = set.workdir()?;
        let mut running = start(&work, 3, &["--timeout", "2s"])?;
        running[0].wait_for_log("Processing ")?;
        let hanging = running.remove(victim);
        hanging.signal(Signal::STOP)?;
        let stopped = Instant::now();
        for run in finish(&work, running)? {
            blames(
                &run,
                victim,
                "no sign of life for 2.0 s: it hangs, or the network is broken; end it before the next run",
            )?;
        }
        ensure!(stopped.elapsed() < Duration::from_secs(2) + MARGIN, "{:?}", stopped.elapsed());
        let stored = |work: &Workdir| -> Result<Vec<u64>> {
            Ok(work.servers()?.iter().map(|server| server.stat("cmd_set")).collect::<std::io::Result<_>>()?)
        };
        let before = stored(&work)?;
        hanging.signal(Signal::CONT)?;
        blames(&work.finish(hanging)?, victim, "was itself stopped for more than 1.5 s")?;
        let after = stored(&work)?;
        ensure!(
            after == before,
            "process {victim} has written after others gave it up: {before:?} became {after:?}"
        );
        let done = done(&work)?;
        set.stored(&work, done)?;
        finish(&work, start(&work, 2, &[])?)?.iter().try_for_each(|run| run.exits(0))?;
        work.holds(&model(&set.texts))?;
    }
    Ok(())
}

#[test]
fn a_process_that_is_asked_to_stop_stops_all() -> Result<()> {
    let set = Set::new(2 * LINES)?;
    for asked in [0, 2] {
        let work = set.workdir()?;
        let mut running = start(&work, 3, &[])?;
        running[0].wait_for_log("Processing ")?;
        running[asked].signal(Signal::TERM)?;
        for (process, run) in finish(&work, running)?.iter().enumerate() {
            match process == asked {
                true => run.exits(143)?,
                false => blames(run, asked, "has stopped: it was asked to")?,
            }
        }
        set.stored(&work, done(&work)?)?;
    }
    Ok(())
}

#[test]
fn a_broken_file_ends_all_and_quarantine_goes_on() -> Result<()> {
    let set = Set::new(200)?;
    let work = set.workdir()?;
    // The second process reads it.
    work.write(FILES[3], "no gzip")?;
    let runs = finish(&work, start(&work, 2, &[])?)?;
    runs[0].exits(1)?;
    runs[0].fails_with(&["cannot read", FILES[3], "not gzip"])?;
    blames(&runs[1], 0, &format!("has stopped: cannot read '{}': not gzip", work.name(FILES[3])))?;
    ensure!(done(&work)? == 3);
    work.holds(&model(&set.texts[..3]))?;
    std::fs::create_dir(work.path("bad"))?;
    let quarantine = format!("quarantine={}", work.name("bad"));
    let runs = finish(&work, start(&work, 2, &["--on-broken", &quarantine])?)?;
    runs.iter().try_for_each(|run| run.exits(3))?;
    work.holds(&model(&[&set.texts[..3], &set.texts[4..]].concat()))
}

#[test]
fn a_dry_run_of_processes_changes_nothing() -> Result<()> {
    let set = Set::new(50)?;
    let work = set.workdir()?;
    let runs = finish(&work, start(&work, 2, &["--dry"])?)?;
    runs.iter().try_for_each(|run| run.exits(0))?;
    let alone = work.load(&["--dry"])?;
    ensure!(runs[0].log_of("D")? == alone.log_of("D")?, "{}", runs[0]);
    ensure!(done(&work)? == 0);
    work.holds_nothing()
}

#[test]
fn processes_follow_together() -> Result<()> {
    let set = Set::new(300)?;
    let work = set.workdir()?;
    std::fs::rename(work.path(FILES[5]), work.path("6"))?;
    let mut running = start(&work, 2, &["--follow"])?;
    // In one round or in several: files that are still young are left alone a little longer.
    running[0].wait_for_log(&format!("{}: 300 records", work.name(FILES[4])))?;
    std::fs::rename(work.path("6"), work.path(FILES[5]))?;
    running[0].wait_for_log(&format!("{}: 300 records", work.name(FILES[5])))?;
    running[0].signal(Signal::TERM)?;
    let runs = finish(&work, running)?;
    runs[0].exits(143)?;
    blames(&runs[1], 0, "has stopped: it was asked to")?;
    work.holds(&model(&set.texts))
}

#[test]
fn processes_that_do_not_fit_say_why() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\ta\t1\t2\t3\n")?;
    let hosts = hosts(&work, 2)?;
    let quick = ["--timeout", "1s"];
    let pair = |options: [&[&str]; 2], secrets: [&str; 2]| -> Result<Vec<Run>> {
        let running = [0, 1].map(|process| {
            let number = process.to_string();
            let options = [&["--hosts", &hosts, "--process", &number], &quick[..], options[process]].concat();
            work.start_with(&options, &[("MEMC_LOAD_CLUSTER_SECRET", secrets[process])])
        });
        finish(&work, running.into_iter().collect::<Result<_>>()?)
    };
    let runs = pair([&[], &[]], ["one", "another"])?;
    blames(&runs[0], 1, "its secret is another one: give all processes the same MEMC_LOAD_CLUSTER_SECRET")?;
    blames(&runs[1], 0, "its secret is another one")?;
    let runs = pair([&["--workers", "2"], &["--workers", "3"]], ["same", "same"])?;
    blames(&runs[0], 1, "its options differ: --workers is '3' there and '2' here")?;
    blames(&runs[1], 0, "its options differ: --workers is '2' there and '3' here")?;
    let runs = pair([&[], &["--connections", "2"]], ["", ""])?;
    blames(&runs[0], 1, "its options differ: --connections is '2' there and '1' here")?;

    // The other one is not there.
    let started = Instant::now();
    blames(&work.finish(start_one(&work, &hosts, 0, &quick)?)?, 1, "has not connected within 1.0 s")?;
    blames(&work.finish(start_one(&work, &hosts, 1, &quick)?)?, 0, "cannot be reached within 1.0 s")?;
    ensure!(started.elapsed() < 2 * (Duration::from_secs(1) + MARGIN));

    let taken = TcpListener::bind(std::fs::read_to_string(&hosts)?.lines().next().context("an address")?)?;
    let run = work.finish(start_one(&work, &hosts, 0, &quick)?)?;
    run.exits(1)?;
    run.fails_with(&["process 0: cannot listen on '127.0.0.1:", "Address already in use"])?;
    drop(taken);
    let run = work.finish(start_one(&work, &hosts, 2, &quick)?)?;
    run.exits(1)?;
    run.fails_with(&["there is no process 2: the hosts file has 2 addresses, so the last process is 1"])?;

    work.write("hosts/wrong.txt", "127.0.0.1:7101\n\nlocalhost\n")?;
    let run = work.finish(start_one(&work, &work.name("hosts/wrong.txt"), 0, &quick)?)?;
    run.exits(1)?;
    run.fails_with(&["hosts/wrong.txt': line 3: 'localhost' is not an address: it has no port"])?;
    let run = work.finish(start_one(&work, &work.name("hosts/none.txt"), 0, &quick)?)?;
    run.fails_with(&["cannot read the hosts file", "No such file or directory"])?;
    // Not one of this machine.
    work.write("hosts/far.txt", "192.0.2.1:7101\n127.0.0.1:7102\n")?;
    let run = work.finish(start_one(&work, &work.name("hosts/far.txt"), 0, &quick)?)?;
    run.fails_with(&[
        "process 0: cannot listen on '192.0.2.1:7101', its address in the hosts file",
        "Cannot assign",
    ])?;
    work.run(&["--hosts", &hosts])?.exits(2)?;
    work.holds_nothing()
}
