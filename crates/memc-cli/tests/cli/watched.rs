//! Runs with `--listen`, and requests to them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::run::Running;
use crate::workdir::Workdir;

/// No wait in these tests takes nearly as long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// An answer as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn json(&self) -> Result<Value> {
        serde_json::from_str(&self.body).with_context(|| format!("{self:?}"))
    }
}

/// A process that listens on a port of its own choice.
pub(crate) struct Watched {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

impl Watched {
    /// Starts a load with these options and `--listen`.
    pub(crate) fn start(work: &Workdir, options: &[&str]) -> Result<Self> {
        let mut running = work.start(&[options, &["--listen", "127.0.0.1:0"]].concat())?;
        running.wait_for_log("I Listening on http://")?;
        let log = running.stderr()?;
        let address = log.split("I Listening on http://").nth(1).and_then(|rest| rest.split('/').next());
        let address = address.context("an address")?.parse()?;
        Ok(Self { running, address })
    }

    /// The answer to a request for a path, with these header lines.
    pub(crate) fn ask(&self, method: &str, path: &str, headers: &str) -> Result<Answer> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let request = format!("{method} {path} HTTP/1.1\r\n{headers}\r\n");
        exchange(stream, &request).with_context(|| self.running.stderr().unwrap_or_default())
    }

    pub(crate) fn get(&self, path: &str) -> Result<Answer> {
        self.ask("GET", path, "Host: localhost\r\n")
    }

    pub(crate) fn status(&self) -> Result<Value> {
        self.get("/status.json")?.json()
    }

    /// Waits until the status is as it should be.
    pub(crate) fn wait_for(&self, what: &str, is_so: impl Fn(&Value) -> bool) -> Result<Value> {
        let until = Instant::now() + PATIENCE;
        loop {
            let status = self.status()?;
            if is_so(&status) {
                return Ok(status);
            }
            ensure!(Instant::now() < until, "not {what}: {status:#}");
            sleep(Duration::from_millis(20));
        }
    }

    /// Ends a follower.
    pub(crate) fn stop(self, work: &Workdir) -> Result<()> {
        self.running.signal(Signal::TERM)?;
        work.finish(self.running)?.exits(143)
    }
}

pub(crate) fn exchange(mut stream: impl Read + Write, request: &str) -> Result<Answer> {
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").with_context(|| format!("no answer: '{answer}'"))?;
    let status = head.split(' ').nth(1).context("a status")?.parse()?;
    Ok(Answer { status, head: head.to_lowercase(), body: body.to_owned() })
}
