//! The examples, each run as its first lines say, against a real server.

use std::ffi::OsStr;
use std::io::Write as _;
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::thread;

use memc_testkit::{Memcached, gzip};

use crate::Result;

const LOG: &[u8] = b"idfa\te7e1\t67.5\t-22.8\t7942,8519\nidfa\tbad line\nidfa\te7e2\t1\t2\t3\n";

/// Runs an example, with further variables in its environment, and returns what it prints.
pub(crate) fn run<A: AsRef<OsStr>>(
    name: &str,
    arguments: impl IntoIterator<Item = A>,
    variables: &[(&str, &OsStr)],
) -> Result<String> {
    // Of the whole workspace, as the tests were built: alone its dependencies would have fewer features, and be built again.
    let build = ["build", "--quiet", "--locked", "--workspace", "--example", name];
    assert!(Command::new(env!("CARGO")).args(build).status()?.success());
    // The tests are in target/*/deps.
    let tests = std::env::current_exe()?;
    let folder = tests.parent().and_then(Path::parent).ok_or("a folder")?;
    let output = Command::new(folder.join("examples").join(name))
        .args(arguments)
        .envs(variables.iter().copied())
        .output()?;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

#[test]
fn profiles_loads_lines_of_another_kind() -> Result {
    let server = Memcached::start(&[])?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("profiles.csv");
    std::fs::write(
        &file,
        "17,ann,ann@example.org\nno comma\n18,bob,bob@example.org\n17,ann,ann@example.com\n",
    )?;
    let printed = run("profiles", [server.address().as_ref(), file.as_os_str()], &[])?;
    assert_eq!(printed, "3 profiles loaded, 1 rejected\n");
    let contents = server.contents()?;
    assert_eq!(contents.len(), 2);
    assert_eq!(contents[&b"user:17"[..]].value, b"ann,ann@example.com");
    Ok(())
}

#[test]
fn socket_loads_what_comes_over_a_connection_and_read_back_shows_it() -> Result {
    let server = Memcached::start(&[])?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let source = listener.local_addr()?.to_string();
    let log = gzip(LOG)?;
    // Detached: should the example fail, nothing waits for it.
    thread::spawn(move || listener.accept()?.0.write_all(&log));
    let printed = run("socket", [server.address(), source], &[])?;
    assert_eq!(printed, "2 records loaded, 1 rejected\n");
    assert_eq!(server.contents()?.len(), 2);

    let printed = run("read_back", [&server.address(), "idfa:e7e1"], &[])?;
    assert_eq!(printed, "idfa:e7e1: UserApps { apps: [7942, 8519], lat: Some(67.5), lon: Some(-22.8) }\n");
    Ok(())
}

#[test]
fn progress_shows_each_file_and_ends_at_all_bytes() -> Result {
    let server = Memcached::start(&[])?;
    let folder = tempfile::tempdir()?;
    let files = ["1.tsv.gz", "2.tsv.gz"].map(|name| folder.path().join(name));
    let log = gzip(LOG)?;
    for file in &files {
        std::fs::write(file, &log)?;
    }
    let [one, two] = files.map(|file| file.display().to_string());
    let printed = run("progress", [&server.address(), &one, &two], &[])?;
    let bytes = 2 * log.len();
    assert_eq!(
        printed,
        format!("{one}\n{one}: 2 records\n{two}\n{two}: 2 records\n4 records, {bytes} of {bytes} bytes\n")
    );
    assert_eq!(server.contents()?.len(), 2);
    Ok(())
}
