//! A thread that cannot be started, for lack of processes or of memory, ends a run with the reason.
//!
//! Root is exempt from the limit of processes, so with root the binary runs as nobody (`setpriv`); without it the
//! threads that the user has already are counted. The limit of memory holds for everybody.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memc_testkit::{DEVICE_TYPES, Sample};

use crate::run::{ended, skip};
use crate::workdir::Workdir;

const NOBODY: &str = "65534";

/// No run here takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a run under a limit has ended.
struct Ended {
    code: Option<i32>,
    stderr: String,
}

/// Runs the binary through other commands, which set the limits, on the file of the folder.
fn run(work: &Workdir, prefix: &[&str]) -> Result<Ended> {
    // What an earlier run has done is done again.
    let (done, log) = (work.path(".1.tsv"), work.path("1.tsv"));
    if done.exists() {
        fs::rename(&done, &log)?;
    }
    start(work, prefix, &["--retry-for", "1s", "--threads", "3"])
}

/// The same with these options, or this command.
fn start(work: &Workdir, prefix: &[&str], options: &[&str]) -> Result<Ended> {
    let stderr = work.path("stderr");
    let mut arguments: Vec<String> = prefix.iter().map(|&it| it.to_owned()).collect();
    arguments.push(env!("CARGO_BIN_EXE_memc-load").to_owned());
    arguments.extend(options.iter().map(|&it| it.to_owned()));
    arguments.extend(["--pattern".to_owned(), work.name("*.tsv")]);
    for (name, server) in DEVICE_TYPES.iter().zip(work.servers()?) {
        arguments.extend([format!("--{name}"), server.address()]);
    }
    let mut process = Command::new(&arguments[0])
        .args(&arguments[1..])
        .env_remove("RUST_BACKTRACE")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&stderr)?)
        .spawn()?;
    let Some(status) = ended(&mut process, PATIENCE)? else {
        bail!("it hangs under {prefix:?}\n{}", fs::read_to_string(stderr)?);
    };
    Ok(Ended { code: status.code(), stderr: fs::read_to_string(stderr)? })
}

/// A folder that anybody may use, with a log in it.
fn workdir() -> Result<Workdir> {
    let work = Workdir::new()?;
    work.write("1.tsv", Sample::new(1).text(2000))?;
    let folder = work.path("");
    fs::set_permissions(&folder, Permissions::from_mode(0o777))?;
    Ok(work)
}

/// Threads of this user.
fn threads_of(user: u32) -> usize {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let own = processes.filter(|process| process.metadata().is_ok_and(|it| it.uid() == user));
    own.map(|process| fs::read_dir(process.path().join("task")).map_or(0, Iterator::count)).sum()
}

#[test]
fn a_run_that_may_not_start_its_threads_says_so_and_ends() -> Result<()> {
    let work = workdir()?;
    let user = work.path("").metadata()?.uid();
    let as_nobody = ["setpriv", "--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"];
    if user == 0 && !run(&work, &as_nobody).is_ok_and(|ended| ended.code == Some(0)) {
        return skip("the binary cannot be run as nobody");
    }
    let (mut done, mut failed) = (0, 0);
    for more in 1..=24 {
        let limit = match user {
            0 => more,
            user => threads_of(user) + more,
        };
        let limit = format!("--nproc={limit}");
        let mut prefix = if user == 0 { as_nobody.to_vec() } else { Vec::new() };
        prefix.extend(["prlimit", &limit]);
        let Ended { code, stderr } = run(&work, &prefix)?;
        ensure!(!stderr.contains("panicked"), "{limit}: {stderr}");
        match code {
            Some(0) => done += 1,
            Some(1) if stderr.contains(" E ") => failed += 1,
            code => bail!("{limit}: exit code {code:?}\n{stderr}"),
        }
        let Ended { code, stderr } = start(&work, &prefix, &["check"])?;
        ensure!(matches!(code, Some(0 | 1)), "check, {limit}: exit code {code:?}\n{stderr}");
    }
    ensure!(failed >= 5, "{failed} have failed");
    ensure!(user != 0 || done >= 5, "{done} are done");
    Ok(())
}

/// From too little to start at all to enough. Where there is no memory left for a small request, or in a thread before
/// its first instruction of ours, Rust ends the process itself: that is no hang either.
#[test]
fn a_run_without_memory_for_its_threads_says_so_and_ends() -> Result<()> {
    let work = workdir()?;
    let (mut done, mut failed) = (0, 0);
    for mib in (20..=400).step_by(10) {
        let limit = format!("ulimit -v {} && exec \"$@\"", mib << 10);
        let Ended { code, stderr } = run(&work, &["sh", "-c", &limit, "sh"])?;
        // By Rust or the C library, neither of which lets a program go on.
        let is_ended_below =
            ["memory allocation of", "failed to allocate an alternative stack", "Fatal glibc error"]
                .iter()
                .any(|it| stderr.contains(it));
        match code {
            None if is_ended_below => {}
            _ if stderr.contains("panicked") => bail!("{mib} MiB: {stderr}"),
            Some(0) => done += 1,
            Some(1) if stderr.contains(" E ") => failed += 1,
            // It did not start: the loader of shared libraries has no memory.
            Some(127) if stderr.contains("error while loading shared libraries") => {}
            // Nor does the kernel map all of it: then it cannot even say its version.
            None if start(&work, &["sh", "-c", &limit, "sh"], &["--version"])?.code.is_none() => {}
            code => bail!("{mib} MiB: exit code {code:?}\n{stderr}"),
        }
    }
    ensure!(failed >= 1 && done >= 1, "{failed} have failed, {done} are done");
    work.servers().context("they are still there").map(drop)
}
