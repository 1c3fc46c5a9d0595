//! Real twemproxy processes for tests.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::port::Port;

/// How long a proxy may take to start.
const PATIENCE: Duration = Duration::from_secs(20);

/// Debian's program is where only root looks for programs.
const DEBIANS: &str = "/usr/sbin/nutcracker";

/// The name of its configuration.
const CONFIGURATION: &str = "nutcracker.yml";

/// A twemproxy process on a free port of 127.0.0.1. It is killed when this is dropped.
#[derive(Debug)]
pub struct Twemproxy {
    process: Child,
    port: Port,
    stats_port: Port,
    /// With its configuration.
    folder: TempDir,
}

impl Twemproxy {
    /// Starts a proxy in front of `servers`, each as its configuration has them: `host:port:weight` or
    /// `/path:weight`, and a name behind a space. `distribution` and `hash` are words of the configuration, too.
    ///
    /// # Errors
    ///
    /// If `nutcracker` (twemproxy's program) is not installed or does not come up.
    pub fn start(distribution: &str, hash: &str, servers: &[String]) -> io::Result<Self> {
        let (port, stats_port) = (Port::reserve()?, Port::reserve()?);
        let folder = tempfile::tempdir()?;
        let servers: String = servers.iter().map(|server| format!("   - {server}\n")).collect();
        std::fs::write(
            folder.path().join(CONFIGURATION),
            format!(
                "fleet:\n  listen: {port}\n  distribution: {distribution}\n  hash: {hash}\n  \
                 auto_eject_hosts: false\n  servers:\n{servers}"
            ),
        )?;
        let process = spawn(folder.path(), &stats_port)?;
        let mut proxy = Self { process, port, stats_port, folder };
        match proxy.wait_until_up()? {
            true => Ok(proxy),
            false => Err(io::Error::other("nutcracker does not start")),
        }
    }

    /// Its `host:port`.
    #[must_use]
    pub fn address(&self) -> String {
        self.port.to_string()
    }

    /// Kills the process, as `kill -9` does.
    ///
    /// # Errors
    ///
    /// If it cannot be.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Starts the proxy again on its port, after it was killed.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn restart(&mut self) -> io::Result<()> {
        self.process = spawn(self.folder.path(), &self.stats_port)?;
        match self.wait_until_up()? {
            true => Ok(()),
            false => Err(io::Error::other("nutcracker does not start again")),
        }
    }

    /// False if the process ended at once.
    fn wait_until_up(&mut self) -> io::Result<bool> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.process.try_wait()?.is_some() {
                return Ok(false);
            }
            if let Ok(mut socket) = TcpStream::connect(self.port.address()) {
                socket.set_read_timeout(Some(PATIENCE))?;
                let mut answer = [0; 7];
                if socket.write_all(b"version\r\n").is_ok() && socket.read_exact(&mut answer).is_ok() {
                    return Ok(&answer == b"VERSION");
                }
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(false)
    }
}

impl Drop for Twemproxy {
    fn drop(&mut self) {
        // It may be dead already, which is as well.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Starts the proxy of the configuration in this folder.
fn spawn(folder: &Path, stats_port: &Port) -> io::Result<Child> {
    Command::new(if Path::new(DEBIANS).exists() { DEBIANS } else { "nutcracker" })
        .arg("-c")
        .arg(folder.join(CONFIGURATION))
        .args(["-a", "127.0.0.1", "-s", &stats_port.address().port().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run nutcracker: {error}")))
}
