//! `--listen`: what those who watch a load are served, and what clients that are hostile or slow can do.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memc_testkit::{Memcached, Twemproxy};
use rustix::process::Signal;
use serde_json::Value;

use crate::metrics::promtool;
use crate::watched::{PATIENCE, Watched, exchange};
use crate::workdir::Workdir;

#[test]
fn a_follower_is_watched_from_its_start_to_its_end() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&["-m", "77"])?;
    let address = server.address();
    let route = format!("imei={address}");
    let options =
        ["--follow", "--route", &route, "--retry-for", "1h", "--metrics", &work.name("metrics.prom")];
    let watched = Watched::start(&work, &options)?;
    let idle = watched.wait_for("waiting", |it| it["state"] == "waiting" && it["backlog"]["files"] == 0)?;
    ensure!(
        idle["follow"] == true && idle["file"].is_null() && idle["log"] == Value::Array(vec![]),
        "{idle:#}"
    );
    ensure!(watched.get("/readyz")?.status == 200 && watched.get("/healthz")?.json()?["ok"] == true);

    // A file that is loaded, with rejected lines.
    let text: String = (0..3000).map(|id| format!("imei\t{id}\t1\t2\t3\n")).collect();
    work.gzip("1.tsv.gz", text + &"bad\n".repeat(100))?;
    let of = |status: &Value| {
        let servers = status["servers"].as_array().map_or(&[][..], Vec::as_slice);
        servers.iter().find(|it| it["address"] == address.as_str()).cloned().unwrap_or_default()
    };
    let loaded = watched.wait_for("loaded", |it| {
        it["files_done"] == 1
            && of(it)["round_trip_seconds"].is_f64()
            && of(it)["memory_used_bytes"].as_u64() > Some(0)
    })?;
    ensure!(
        loaded["records_loaded"] == 3000 && loaded["lines_rejected_by_reason"]["field_count"] == 100,
        "{loaded:#}"
    );
    let file = &loaded["files"][0];
    ensure!(file["name"] == work.name("1.tsv.gz") && file["error_rate_acceptable"] == false, "{loaded:#}");
    let shown = of(&loaded);
    ensure!(
        shown["records"] == 3000
            && shown["share"] == 1.0
            && shown["up"] == true
            && shown["memory_limit_bytes"] == 77 << 20
            && shown["bytes_in_flight"] == 0
            && shown["device_types"][0] == "imei",
        "{shown:#}"
    );
    let logged = |level: &str, part: &str| {
        let status = watched.status()?;
        let lines = status["log"].as_array().cloned().unwrap_or_default();
        let is_it =
            |it: &Value| it["level"] == level && it["message"].as_str().is_some_and(|it| it.contains(part));
        ensure!(lines.iter().any(is_it), "no {level} line with {part}: {status:#}");
        Ok(())
    };
    logged("E", "High error rate")?;

    // The metrics are those of the file, and more.
    let metrics = watched.get("/metrics")?;
    ensure!(metrics.head.contains("content-type: text/plain; version=0.0.4"), "{metrics:?}");
    work.write("scraped", &metrics.body)?;
    promtool(&["check", "metrics"], Some(&work.path("scraped")))?;
    promtool(&["check", "metrics"], Some(&work.path("metrics.prom")))?;
    let types = |text: &str| -> Vec<String> {
        text.lines().filter(|line| line.starts_with("# TYPE")).map(str::to_owned).collect()
    };
    let scraped = types(&metrics.body);
    for line in types(&std::fs::read_to_string(work.path("metrics.prom"))?) {
        ensure!(scraped.contains(&line), "{line} is not in {scraped:#?}");
    }
    let labels = format!("device_types=\"imei\",server=\"{address}\"");
    for line in [
        "memc_load_files_over_error_rate_total 1\n",
        "memc_load_file_duration_seconds_count 1\n",
        "memc_load_backlog_files ",
        "memc_load_backlog_bytes ",
        "memc_load_backlog_oldest_seconds ",
        "memc_load_records_per_second ",
        "memc_load_held_up_seconds 0",
        &format!("memc_load_server_up{{{labels}}} 1\n"),
        &format!("memc_load_server_bytes_in_flight{{{labels}}} 0\n"),
        &format!("memc_load_server_retries_total{{{labels}}} 0\n"),
        &format!("memc_load_server_evictions_total{{{labels}}} 0\n"),
        &format!("memc_load_server_memory_used_bytes{{{labels}}} "),
        &format!("memc_load_server_memory_limit_bytes{{{labels}}} 80740352\n"),
        &format!("memc_load_server_round_trip_seconds_count{{{labels}}} 1\n"),
    ] {
        ensure!(metrics.body.contains(line), "no '{line}' in {}", metrics.body);
    }
    let open = watched.ask(
        "GET",
        "/metrics",
        "Host: localhost\r\nAccept: application/openmetrics-text;version=1.0.0\r\n",
    )?;
    ensure!(open.head.contains("content-type: application/openmetrics-text; version=1.0.0"), "{open:?}");
    ensure!(
        open.body.contains("# TYPE memc_load_files_done counter\nmemc_load_files_done_total 1\n"),
        "{open:?}"
    );
    ensure!(open.body.ends_with("# EOF\n"), "{open:?}");

    // The dashboard shows nothing else.
    let dashboard = include_str!("../../../../dist/grafana/memc-load.json");
    serde_json::from_str::<Value>(dashboard)?;
    let is_name = |letter: char| letter.is_ascii_lowercase() || letter == '_';
    for name in dashboard.split("memc_load_").skip(1).filter_map(|rest| rest.split(|it| !is_name(it)).next())
    {
        ensure!(metrics.body.contains(&format!("\nmemc_load_{name}")), "the dashboard shows {name}");
    }

    // One that is not complete.
    let name = work.name("2.tsv.gz");
    let whole = memc_testkit::gzip(b"imei\tx\t1\t2\t3\n")?;
    work.write("2.tsv.gz", &whole[..20])?;
    let held_up = watched.wait_for("held up", |it| it["state"] == "held_up")?;
    ensure!(held_up["held_up"]["name"] == name && held_up["ready"] == false, "{held_up:#}");
    let not_ready = watched.get("/readyz")?;
    let reason =
        format!("{name} is not complete (it ends inside a gzip member) and holds up all later files");
    ensure!(not_ready.status == 503 && not_ready.json()?["reasons"][0] == reason, "{not_ready:?}");
    let waiting = watched.wait_for("one file waits", |it| it["backlog"]["files"] == 1)?;
    ensure!(waiting["backlog"]["bytes"] == 20, "{waiting:#}");

    // A server that is away.
    server.kill()?;
    work.write("2.tsv.gz", &whole)?;
    let away = watched.wait_for("a server is away", |it| it["state"] == "server_away")?;
    ensure!(of(&away)["up"] == false && of(&away)["away_reason"].is_string(), "{away:#}");
    ensure!(away["file"]["name"] == name && away["file"]["bytes"] == whole.len(), "{away:#}");
    let not_ready = watched.get("/readyz")?;
    let reasons = not_ready.json()?["reasons"].clone();
    let starts = format!("server {address} (imei) is away: ");
    ensure!(
        not_ready.status == 503 && reasons[0].as_str().is_some_and(|it| it.starts_with(&starts)),
        "{not_ready:?}"
    );
    ensure!(watched.get("/healthz")?.status == 200, "it knows what it waits for");
    ensure!(watched.get("/metrics")?.body.contains(&format!("memc_load_server_up{{{labels}}} 0\n")));
    logged("W", &format!("{address} (--route imei=ADDR): away: "))?;
    server.restart()?;
    watched.wait_for("all is loaded", |it| it["files_done"] == 2 && it["ready"] == true)?;
    ensure!(watched.get("/readyz")?.status == 200);
    watched.stop(&work)
}

/// Not only when the follower next looks at its folders, which is every 30 s.
#[test]
fn an_empty_file_holds_up_the_others_at_once() -> Result<()> {
    let work = Workdir::new()?;
    let watched = Watched::start(&work, &["--follow"])?;
    watched.wait_for("it waits", |it| it["state"] == "waiting")?;
    let written = Instant::now();
    work.write("1.tsv.gz", "")?;
    let held_up = watched.wait_for("held up", |it| it["state"] == "held_up")?;
    ensure!(written.elapsed() < Duration::from_secs(15), "after {:?}", written.elapsed());
    ensure!(held_up["held_up"]["reason"] == "empty" && held_up["ready"] == false, "{held_up:#}");
    ensure!(watched.get("/readyz")?.status == 503 && watched.get("/healthz")?.status == 200);
    watched.stop(&work)
}

#[test]
fn lists_have_their_shares_and_a_proxy_no_statistics() -> Result<()> {
    let work = Workdir::new()?;
    let servers = [Memcached::start(&[])?, Memcached::start(&[])?, Memcached::start(&[])?];
    let [a, b, behind] = servers.each_ref().map(Memcached::address);
    let twemproxy = Twemproxy::start("ketama", "md5", &[format!("{behind}:1")])?;
    let proxy = twemproxy.address();
    let (list, proxied) = (format!("imei={a},{b}:3"), format!("oaid={proxy}"));
    let options = ["--follow", "--route", &list, "--route", &proxied, "--distribution", "crc32"];
    let watched = Watched::start(&work, &options)?;
    let records = |name: &str| -> String { (0..500).map(|id| format!("{name}\t{id}\t1\t2\t3\n")).collect() };
    work.gzip("1.tsv.gz", records("imei") + &records("oaid"))?;
    let of = |status: &Value, address: &str| {
        let servers = status["servers"].as_array().map_or(&[][..], Vec::as_slice);
        servers.iter().find(|it| it["address"] == address).cloned().unwrap_or_default()
    };
    let status = watched.wait_for("loaded, and asked", |it| it["files_done"] == 1 && it["ready"] == true)?;
    let (a, b, proxy) = (of(&status, &a), of(&status, &b), of(&status, &proxy));
    ensure!(a["shares"]["imei"] == 0.25 && b["shares"]["imei"] == 0.75, "{status:#}");
    ensure!(a["records"].as_u64() < b["records"].as_u64() && b["no_statistics"] == false, "{status:#}");
    ensure!(proxy["no_statistics"] == true && proxy["up"] == true && proxy["share"] == 0.5, "{status:#}");
    ensure!(proxy["memory_used_bytes"].is_null() && proxy["records"] == 500, "{status:#}");
    watched.stop(&work)
}

#[test]
fn a_dry_run_is_watched_too_and_has_no_metrics() -> Result<()> {
    let work = Workdir::new()?;
    // It waits for the other end of a pipe.
    let pipe = work.path("rejects");
    rustix::fs::mkfifoat(rustix::fs::CWD, &pipe, rustix::fs::Mode::from_raw_mode(0o600))?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\nbad\n")?;
    let reader = std::fs::File::options().read(true).write(true).open(&pipe)?;
    let filled = std::fs::File::options().write(true).open(&pipe)?;
    rustix::io::ioctl_fionbio(&filled, true)?;
    while (&filled).write(&[0; 4096]).is_ok() {}
    let rejects = pipe.display().to_string();
    let watched = Watched::start(&work, &["--dry", "--rejects", &rejects])?;
    let status = watched.wait_for("loading", |it| it["state"] == "loading")?;
    ensure!(status["dry"] == true, "{status:#}");
    ensure!(watched.get("/metrics")?.status == 404);
    drop((reader, filled));
    watched.running.kill()
}

#[test]
fn only_get_and_head_of_what_there_is() -> Result<()> {
    let work = Workdir::new()?;
    let watched = Watched::start(&work, &["--follow"])?;
    let page = watched.get("/")?;
    ensure!(page.status == 200 && page.head.contains("content-type: text/html"), "{page:?}");
    for header in [
        "content-security-policy: default-src 'none'",
        "x-content-type-options: nosniff",
        "x-frame-options: deny",
        "cache-control: no-store",
    ] {
        ensure!(page.head.contains(header), "{header}: {}", page.head);
    }
    let head = watched.ask("HEAD", "/", "Host: localhost\r\n")?;
    let length = format!("content-length: {}", page.body.len());
    ensure!(head.status == 200 && head.body.is_empty() && head.head.contains(&length), "{head:?}");
    ensure!(watched.get("/?a=b")?.status == 200);
    for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "BREW"] {
        let answer = watched.ask(method, "/", "Host: localhost\r\nContent-Length: 0\r\n")?;
        ensure!(answer.status == 405 && answer.head.contains("allow: get, head"), "{method}: {answer:?}");
    }
    for path in ["/status", "/../etc/passwd", "//", "/metrics/"] {
        ensure!(watched.get(path)?.status == 404, "{path}");
    }
    // A page of somebody else, whose name leads to this machine.
    ensure!(watched.ask("GET", "/status.json", "Host: evil.example\r\n")?.status == 403);
    ensure!(watched.ask("GET", "/status.json", "Host: 127.0.0.1:1\r\n")?.status == 200);
    watched.stop(&work)
}

#[test]
fn a_taken_port_is_wrong_usage_and_a_public_one_is_warned_of() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\n")?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let address = taken.local_addr()?.to_string();
    let run = work.load(&["--listen", &address])?;
    run.exits(2)?;
    let text = format!("option --listen: cannot listen on '{address}': Address already in use");
    run.ensure(run.stderr.contains(&text), text)?;
    run.leaves(&["1.tsv.gz"])?;
    let run = work.load(&["--listen", "0.0.0.0:0"])?;
    run.exits(0)?;
    let warnings = run.log_of("W")?;
    run.ensure(
        warnings.len() == 1 && warnings[0].contains("other machines can reach http://0.0.0.0:"),
        "a warning",
    )?;
    Ok(())
}

#[test]
fn a_unix_socket_serves_too_and_goes_with_the_process() -> Result<()> {
    let work = Workdir::new()?;
    let path = work.path("http");
    let mut running = work.start(&["--follow", "--listen", &format!("unix:{}", path.display())])?;
    running.wait_for_log("I Listening on unix:/")?;
    let answer = exchange(UnixStream::connect(&path)?, "GET /readyz HTTP/1.1\r\nHost: any\r\n\r\n")?;
    ensure!(answer.json()?["reasons"].is_array(), "{answer:?}");
    running.signal(Signal::TERM)?;
    work.finish(running)?.exits(143)?;
    ensure!(!path.exists());
    Ok(())
}

#[test]
fn no_answer_has_a_password_in_it() -> Result<()> {
    let work = Workdir::new()?;
    let mut server = Memcached::start(&[])?;
    server.kill()?;
    let route = format!("imei=ann:secret-word@{}", server.address());
    work.gzip("1.tsv.gz", "imei\tx\t1\t2\t3\n")?;
    let watched = Watched::start(&work, &["--follow", "--route", &route])?;
    watched.wait_for("a server is away", |it| it["state"] == "server_away" && !it["log"][0].is_null())?;
    for path in ["/", "/status.json", "/metrics", "/readyz", "/healthz"] {
        let answer = watched.get(path)?;
        ensure!(!answer.body.contains("secret") && !answer.head.contains("secret"), "{path}: {answer:?}");
    }
    Ok(())
}

/// Memory of the process, in bytes, and how many files it has open.
fn resources(watched: &Watched) -> Result<(u64, usize)> {
    let process = format!("/proc/{}", watched.running.id());
    let status = std::fs::read_to_string(format!("{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("a size")?;
    let kib: u64 = line.trim().strip_suffix(" kB").context("KiB")?.parse()?;
    Ok((kib << 10, std::fs::read_dir(format!("{process}/fd"))?.count()))
}

/// Loads a small file, and waits until the page shows it.
fn load_one(work: &Workdir, watched: &Watched, number: u32) -> Result<()> {
    work.gzip(&format!("{number}.tsv.gz"), format!("idfa\t{number}\t1\t2\t3\n"))?;
    let started = Instant::now();
    watched.wait_for("loaded", |it| it["files_done"] == number)?;
    ensure!(started.elapsed() < Duration::from_secs(10), "it took {:?}", started.elapsed());
    Ok(())
}

#[test]
fn hostile_and_slow_clients_take_little_memory_and_do_not_hold_up_the_load() -> Result<()> {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    const CLIENTS: usize = 2000;
    const MAX_GROWTH: u64 = 8 << 20;
    const MAX_OPEN: usize = 80;
    let limit = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?;
    let work = Workdir::new()?;
    let watched = Watched::start(&work, &["--follow"])?;
    const WARM_UP: u32 = 4;
    (1..=WARM_UP).try_for_each(|number| load_one(&work, &watched, number))?;
    for path in ["/", "/metrics", "/status.json"] {
        watched.get(path)?;
    }
    let ((mut bytes_before, files_before), mut growth) = (resources(&watched)?, 0);
    // What the attacks take together; the loads in between take memory of their own.
    let mut check = |number: u32| -> Result<()> {
        let (bytes, files) = resources(&watched)?;
        growth += bytes.saturating_sub(bytes_before);
        ensure!(growth < MAX_GROWTH, "attack {number}: {growth} bytes more, {bytes_before} before");
        ensure!(
            files < files_before + MAX_OPEN,
            "attack {number}: {files} open files, {files_before} before"
        );
        load_one(&work, &watched, WARM_UP + number)?;
        (bytes_before, _) = resources(&watched)?;
        Ok(())
    };
    let connect = || TcpStream::connect_timeout(&watched.address, PATIENCE);

    // Two thousand that connect, and do nothing.
    let silent = (0..CLIENTS).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
    check(1)?;
    drop(silent);

    // Many that send a request a byte at a time, and never come to its end.
    let mut slow = (0..200).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
    let request = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(60));
    for byte in request.bytes() {
        for stream in &mut slow {
            // It may be closed already, to make room for others.
            let _ = stream.write_all(&[byte]);
        }
        sleep(Duration::from_millis(5));
    }
    check(2)?;
    drop(slow);

    // Headers, a path, and a body of megabytes.
    let megabytes = "x".repeat(3 << 20);
    for request in [
        format!("GET / HTTP/1.1\r\nX: {megabytes}\r\n\r\n"),
        format!("GET /{megabytes} HTTP/1.1\r\n\r\n"),
        format!("GET / HTTP/1.1\r\n{}\r\n", "X: y\r\n".repeat(1 << 19)),
        format!("POST / HTTP/1.1\r\nContent-Length: {}\r\n\r\n{megabytes}", megabytes.len()),
        megabytes.clone(),
    ] {
        let mut streams = (0..20).map(|_| connect()).collect::<Result<Vec<_>, _>>()?;
        for stream in &mut streams {
            stream.set_write_timeout(Some(Duration::from_millis(500)))?;
            // It is refused before its end.
            let _ = stream.write_all(request.as_bytes());
        }
    }
    check(3)?;

    // A flood of sound requests whose answers are not read.
    let deaf: Result<Vec<_>> = (0..300)
        .map(|_| {
            let mut stream = connect()?;
            stream.write_all(b"GET /status.json HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
            Ok(stream)
        })
        .collect();
    check(4)?;
    drop(deaf?);
    ensure!(watched.get("/readyz")?.status == 200);
    watched.stop(&work)
}
