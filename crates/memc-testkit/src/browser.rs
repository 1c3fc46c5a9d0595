//! A headless Chromium, driven through pipes by the [protocol of its developer
//! tools](https://chromedevtools.github.io/devtools-protocol/): what somebody who opens a page would see.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

/// No answer takes nearly as long.
const PATIENCE: Duration = Duration::from_secs(60);

/// What it is called on Debian, on Ubuntu, and as Google ships it.
const NAMES: [&str; 3] = ["chromium", "chromium-browser", "google-chrome"];

/// Nothing of its own comes up, and nothing is fetched but the page.
const OPTIONS: [&str; 12] = [
    "--headless",
    "--remote-debugging-pipe",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-extensions",
    "--hide-scrollbars",
];

/// A browser with one page. It ends when this is dropped.
#[derive(Debug)]
pub struct Browser {
    process: Child,
    to: ChildStdin,
    from: Receiver<Value>,
    session: Value,
    last: u64,
    _profile: TempDir,
}

impl Browser {
    /// Starts one.
    ///
    /// # Errors
    ///
    /// [`NotFound`](io::ErrorKind::NotFound) if none is installed.
    pub fn start() -> io::Result<Self> {
        let is_there = |name: &&&str| Command::new(name).arg("--version").output().is_ok();
        let name = NAMES.iter().find(is_there).ok_or(io::ErrorKind::NotFound)?;
        let profile = tempfile::tempdir()?;
        // It reads from 3 and writes to 4.
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 3<&0 4>&1 </dev/null >/dev/null 2>&1", "sh", name]).args(OPTIONS);
        let mut process = shell
            .arg(format!("--user-data-dir={}", profile.path().display()))
            .arg("about:blank")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let to = process.stdin.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let from = BufReader::new(process.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?);
        let (sender, receiver) = mpsc::channel();
        thread::spawn(move || {
            for message in from.split(0).map_while(Result::ok) {
                let Ok(message) = serde_json::from_slice(&message) else { break };
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let mut browser =
            Self { process, to, from: receiver, session: Value::Null, last: 0, _profile: profile };
        let page = browser.call("Target.createTarget", &json!({"url": "about:blank"}))?;
        let attach = json!({"targetId": page["targetId"], "flatten": true});
        let session = browser.call("Target.attachToTarget", &attach)?["sessionId"].clone();
        browser.session = session;
        Ok(browser)
    }

    /// Opens a page, and waits until it is complete.
    ///
    /// # Errors
    ///
    /// If the browser does not answer.
    pub fn open(&mut self, url: &str) -> io::Result<()> {
        self.call("Page.navigate", &json!({"url": url}))?;
        let until = Instant::now() + PATIENCE;
        while self.evaluate("location.href != 'about:blank' && document.readyState")? != "complete" {
            if Instant::now() > until {
                return Err(io::Error::other(format!("{url} does not come")));
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Gives the page this size in pixels, on a light or a dark screen.
    ///
    /// # Errors
    ///
    /// If the browser does not answer.
    pub fn show(&mut self, width: u32, height: u32, is_dark: bool) -> io::Result<()> {
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500});
        self.call("Emulation.setDeviceMetricsOverride", &size)?;
        let scheme = if is_dark { "dark" } else { "light" };
        let features = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
        self.call("Emulation.setEmulatedMedia", &features).map(drop)
    }

    /// The value of an expression on the page.
    ///
    /// # Errors
    ///
    /// If it throws, or the browser does not answer.
    pub fn evaluate(&mut self, expression: &str) -> io::Result<Value> {
        let asked = json!({"expression": expression, "returnByValue": true, "awaitPromise": true});
        let mut answer = self.call("Runtime.evaluate", &asked)?;
        match answer.get("exceptionDetails") {
            Some(thrown) => Err(io::Error::other(format!("{expression} throws {thrown}"))),
            None => Ok(answer["result"]["value"].take()),
        }
    }

    /// What it shows as a PNG, in Base64.
    ///
    /// # Errors
    ///
    /// If the browser does not answer.
    pub fn picture(&mut self) -> io::Result<String> {
        let mut answer = self.call("Page.captureScreenshot", &json!({"format": "png"}))?;
        match answer["data"].take() {
            Value::String(data) => Ok(data),
            other => Err(io::Error::other(format!("no picture but {other}"))),
        }
    }

    /// Calls a method and waits for its answer.
    fn call(&mut self, method: &str, params: &Value) -> io::Result<Value> {
        self.last += 1;
        let mut message = json!({"id": self.last, "method": method, "params": params});
        if !self.session.is_null() {
            message["sessionId"] = self.session.clone();
        }
        self.to.write_all(message.to_string().as_bytes())?;
        self.to.write_all(&[0])?;
        loop {
            let failed = |error| io::Error::other(format!("{method}: no answer of the browser: {error}"));
            let mut answer = self.from.recv_timeout(PATIENCE).map_err(failed)?;
            if answer["id"] == self.last {
                let result = answer["result"].take();
                return if result.is_null() { Err(io::Error::other(answer.to_string())) } else { Ok(result) };
            }
        }
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // With it go the processes that it has started.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
