//! `memc-load get`: records as readers find them.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use memc_testkit::Memcached;

use crate::workdir::Workdir;

const TEXT: &str = "idfa\te7e1\t67.5\t-22.8\t7942,8519\ngaid\tx\u{e9}\t1\t-0\tnone\n";

#[test]
fn records_are_shown_decoded_from_the_server_of_their_type() -> Result<()> {
    let work = Workdir::new()?;
    let text = [TEXT.as_bytes(), b"dvid\t\xff\x80\t1\t2\t3\n"].concat();
    work.gzip("1.tsv.gz", text)?;
    work.load(&[])?.exits(0)?;
    let servers: Vec<_> = work.servers()?.iter().map(Memcached::address).collect();
    let run = work.with_servers(&["get", "idfa:e7e1", "gaid:xé"])?;
    run.shows(
        0,
        &[
            format!("{} - idfa:e7e1 -> apps: 7942 apps: 8519 lat: 67.5 lon: -22.8", servers[0]),
            format!("{} - gaid:x\\xc3\\xa9 -> lat: 1.0 lon: -0.0", servers[1]),
        ],
    )?;
    run.ensure(run.stderr.is_empty(), "nothing on standard error")?;

    let run = work.with_servers(&["get", "idfa:none", "idfa:e7e1"])?;
    run.shows(1, &[format!("{} - idfa:e7e1 -> apps: 7942 apps: 8519 lat: 67.5 lon: -22.8", servers[0])])?;
    run.logs(&[format!("E {} - idfa:none: no such record", servers[0])])?;

    // What a shell can give and a text cannot.
    let mut get = Command::new(env!("CARGO_BIN_EXE_memc-load"));
    let key = std::os::unix::ffi::OsStringExt::from_vec(b"dvid:\xff\x80".to_vec());
    let key: std::ffi::OsString = key;
    let output = get.args(["--dvid", &servers[3], "get"]).arg(key).output()?;
    let shown = String::from_utf8(output.stdout)?;
    ensure!(shown == format!("{} - dvid:\\xff\\x80 -> apps: 3 lat: 1.0 lon: 2.0\n", servers[3]), "{shown}");
    Ok(())
}

#[test]
fn the_longest_type_decides_on_the_server() -> Result<()> {
    let work = Workdir::new()?;
    let further = Memcached::start(&[])?;
    let route = format!("idfa:x={}", further.address());
    work.gzip("1.tsv.gz", "idfa:x\t1\t1\t2\t3\n")?;
    work.load(&["--route", &route])?.exits(0)?;
    let run = work.with_servers(&["get", "--route", &route, "idfa:x:1"])?;
    run.shows(0, &[format!("{} - idfa:x:1 -> apps: 3 lat: 1.0 lon: 2.0", further.address())])?;
    work.with_servers(&["get", "idfa:x:1"])?.shows(1, &[""; 0])
}

#[test]
fn what_is_no_record_is_shown_with_escapes() -> Result<()> {
    let work = Workdir::new()?;
    let server = &work.servers()?[0].address();
    {
        use std::io::{Read, Write};
        let mut socket = std::net::TcpStream::connect(server)?;
        socket.write_all(b"set idfa:x 0 0 5\r\n\x08a\"\xff\n\r\n")?;
        socket.read_exact(&mut [0; 8])?;
    }
    let run = work.with_servers(&["get", "idfa:x"])?;
    run.shows(0, &[format!("{server} - idfa:x -> not a record of an apps log: '\\x08a\\\"\\xff\\n'")])
}

#[test]
fn what_is_no_key_and_what_has_no_server_is_an_error() -> Result<()> {
    let work = Workdir::new()?;
    let long = format!("idfa:{}", "x".repeat(246));
    for (key, message) in [
        ("idfa:a b", "'idfa:a b' is no key"),
        ("idfa:a\nflush_all", "'idfa:a\\nflush_all' is no key"),
        (&long, "is no key: 1 to 250 bytes"),
        ("imei:x", "'imei:x' has no device type with a server: idfa, gaid, adid, dvid and a colon"),
        ("idfa", "'idfa' has no device type with a server"),
    ] {
        let run = work.with_servers(&["get", key])?;
        run.shows(1, &[""; 0])?;
        run.fails_with(&[message])?;
    }
    Ok(())
}

#[test]
fn a_server_is_read_over_its_socket_and_with_its_password() -> Result<()> {
    let work = Workdir::new()?;
    let socket = work.path("socket");
    let unix = Memcached::start_unix(&socket)?;
    work.write("auth", "ann:se:cr@et%2F\n")?;
    let locked = Memcached::start(&["-Y", &work.name("auth")])?;
    let address = format!("ann:se:cr@et%2F@{}", locked.address());
    work.gzip("1.tsv.gz", "idfa\tx\t1\t2\t3\ngaid\tx\t1\t2\t3\n")?;
    let servers = ["--idfa", &unix.address(), "--gaid", &address];
    work.load(&servers)?.exits(0)?;
    let run = work.run(&[&servers[..], &["get", "idfa:x", "gaid:x"]].concat())?;
    run.shows(
        0,
        &[
            format!("{} - idfa:x -> apps: 3 lat: 1.0 lon: 2.0", unix.address()),
            format!("ann@{} - gaid:x -> apps: 3 lat: 1.0 lon: 2.0", locked.address()),
        ],
    )?;
    for (address, message) in [
        (format!("ann:wrong@{}", locked.address()), "it does not accept user 'ann' with the given password"),
        (locked.address(), "it asks for a user and a password"),
    ] {
        let run = work.run(&["--gaid", &address, "get", "gaid:x"])?;
        run.shows(1, &[""; 0])?;
        run.fails_with(&["cannot read from ", message])?;
    }
    // One that does not ask would store the password.
    let open = &work.servers()?[2];
    work.run(&["--adid", &format!("ann:secret@{}", open.address()), "get", "adid:x"])?.shows(1, &[""; 0])?;
    ensure!(open.contents()?.is_empty(), "the password is there for anybody to read");
    Ok(())
}

#[test]
fn a_server_is_read_over_tls() -> Result<()> {
    let work = Workdir::new()?;
    let (key, certificate) = (work.name("key.pem"), work.name("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout", &key, "-out", &certificate])
        .output()?;
    ensure!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (chain, key) = (format!("ssl_chain_cert={certificate}"), format!("ssl_key={key}"));
    let server = Memcached::start(&["-Z", "-o", &chain, "-o", &key])?;
    let address = format!("tls:{}", server.address());
    work.gzip("1.tsv.gz", "idfa\te7e1\t1\t2\t3\n")?;
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memc-load"));
        command.env("SSL_CERT_FILE", &certificate).args(["--idfa", &address]).args(arguments).output()
    };
    let load = run(&[&work.name("1.tsv.gz")])?;
    ensure!(load.status.success(), "{}", String::from_utf8_lossy(&load.stderr));
    let get = run(&["get", "idfa:e7e1"])?;
    let shown = String::from_utf8(get.stdout)?;
    ensure!(shown == format!("{address} - idfa:e7e1 -> apps: 3 lat: 1.0 lon: 2.0\n"), "{shown}");
    let verify = run(&["verify", &work.name(".1.tsv.gz")])?;
    ensure!(verify.stdout == b"1 keys: 1 same, 0 different, 0 missing\n", "{verify:?}");
    Ok(())
}

#[test]
fn a_closed_pipe_ends_it_quietly() -> Result<()> {
    let work = Workdir::new()?;
    work.gzip("1.tsv.gz", TEXT)?;
    work.load(&[])?.exits(0)?;
    let idfa = work.servers()?[0].address();
    for operation in [&["get", "idfa:e7e1"][..], &["check", "--pattern", &work.name("*.tsv.gz")]] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memc-load"));
        command.args(["--timeout", "1s", "--idfa", &idfa]).args(operation);
        let (read, write) = std::io::pipe()?;
        drop(read);
        let output = command.stdout(write).stderr(Stdio::piped()).spawn()?.wait_with_output()?;
        let message = String::from_utf8(output.stderr)?;
        ensure!(
            output.status.code() == Some(141) && message.is_empty(),
            "{operation:?}: {}: {message}",
            output.status
        );
        // Closed from the start, as by `>&-`.
        let shell = "exec \"$0\" \"$@\" >&-";
        let mut closed = Command::new("sh");
        closed.args(["-c", shell, env!("CARGO_BIN_EXE_memc-load"), "--timeout", "1s", "--idfa", &idfa]);
        let output = closed.args(operation).output()?;
        let message = String::from_utf8(output.stderr)?;
        let code = output.status.code().context("it ends by itself")?;
        ensure!(code <= 1 && message.is_empty(), "{operation:?}: {code}: {message}");
    }
    Ok(())
}
