//! Servers that ask who we are, and servers with TLS.

use std::error::Error as _;
use std::process::Command;
use std::time::{Duration, Instant};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, LoadError, Loader, Protocol};
use memc_testkit::{Memcached, Sample};

use crate::{Result, examples, ignore, input, small_chunks};

/// For so long is tried again what a retry may help.
const LONG: Duration = Duration::from_secs(30);

fn load(address: &str) -> Result<std::result::Result<u64, LoadError>> {
    load_in(None, address)
}

fn load_in(protocol: Option<Protocol>, address: &str) -> Result<std::result::Result<u64, LoadError>> {
    let mut options = small_chunks(3000);
    options.retry_timeout = LONG;
    options.protocol = protocol;
    let loader = Loader::new(AppsEncoder::new(["idfa"]), vec![address.parse::<Address>()?], options);
    let report = loader.load([input("file", Sample::new(1).text(2000))], ignore);
    Ok(report.map(|report| report.servers[0].records))
}

/// The whole chain of an error, and that it came at once: no retry helps these.
fn at_once(started: Instant, stopped: Option<LoadError>) -> Result<String> {
    let stopped = stopped.ok_or("it must stop")?;
    assert!(started.elapsed() < LONG / 2, "{:?}", started.elapsed());
    let source = stopped.source().map(ToString::to_string).unwrap_or_default();
    Ok(format!("{stopped}: {source}"))
}

#[test]
fn a_server_with_an_auth_file_takes_records_of_those_it_knows() -> Result {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("auth");
    std::fs::write(&file, "ann:se:cret\n")?;
    let server = Memcached::start(&["-Y", &file.display().to_string()])?;
    let address = server.address();

    for protocol in [None, Some(Protocol::Meta), Some(Protocol::Classic)] {
        let records = load_in(protocol, &format!("ann:se:cret@{address}"))??;
        assert!(records > 300, "{protocol:?}: {records}");
    }

    let started = Instant::now();
    let message = at_once(started, load(&format!("ann:wrong@{address}"))?.err())?;
    assert!(message.contains(&address) && message.contains("it does not accept user 'ann'"), "{message}");
    assert!(!message.contains("wrong"), "the password must not show: {message}");

    let started = Instant::now();
    let message = at_once(started, load(&address)?.err())?;
    assert!(message.contains("it asks for a user and a password"), "{message}");
    Ok(())
}

#[test]
fn a_server_that_asks_for_no_credentials_is_not_given_them() -> Result {
    let server = Memcached::start(&[])?;
    for protocol in [None, Some(Protocol::Classic)] {
        let records = load_in(protocol, &format!("ann:se:cret@{}", server.address()))??;
        let contents = server.contents()?;
        assert!(!contents.contains_key(&b"auth"[..]), "anybody can read them there");
        assert_eq!(contents.len() as u64, records);
    }
    Ok(())
}

#[test]
fn tls_takes_records_and_checks_the_certificate() -> Result {
    let folder = tempfile::tempdir()?;
    let (key, certificate) = (folder.path().join("key.pem"), folder.path().join("certificate.pem"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"])
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1", "-keyout"])
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .output()?;
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let (chain, key) =
        (format!("ssl_chain_cert={}", certificate.display()), format!("ssl_key={}", key.display()));
    let server = Memcached::start(&["-Z", "-o", &chain, "-o", &key])?;

    // Nobody has vouched for the certificate.
    let stopped = load(&format!("tls:{}", server.address()))?.err().ok_or("it must stop")?;
    let source = stopped.source().map(ToString::to_string).unwrap_or_default();
    assert!(source.contains("certificate verify failed"), "{source}");

    // The variable is read by the other process, so that this one's environment stays as it is.
    let file = folder.path().join("profiles.csv");
    std::fs::write(&file, (0..5000).map(|id| format!("{id},ann,ann@example.org\n")).collect::<String>())?;
    let arguments = [format!("tls:{}", server.address()).into(), file.into_os_string()];
    let printed = examples::run("profiles", arguments, &[("SSL_CERT_FILE", certificate.as_os_str())])?;
    assert_eq!(printed, "5000 profiles loaded, 0 rejected\n");
    Ok(())
}
