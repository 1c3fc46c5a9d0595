//! One run of the binary: what it left behind, and checks that show all of it when they fail.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};

/// No run in these tests takes nearly as long; one that does hangs.
const PATIENCE: Duration = Duration::from_secs(60);

/// A failed check shows at most this many lines of standard error, the last ones.
const SHOWN_LINES: usize = 40;

/// Says that a test does nothing here, past the harness, which shows nothing of tests that pass.
pub(crate) fn skip(why: &str) -> Result<()> {
    let test = thread::current().name().unwrap_or_default().to_owned();
    Ok(writeln!(io::stderr(), "{test}: skipped: {why}")?)
}

/// How a process ends; one that has not after `patience` hangs, and is killed.
pub(crate) fn ended(process: &mut Child, patience: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + patience;
    loop {
        if let Some(status) = process.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() > until {
            process.kill()?;
            process.wait()?;
            return Ok(None);
        }
        thread::sleep(Duration::from_millis(2));
    }
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Run {
    command: String,
    status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    pub(crate) elapsed: Duration,
    files: Vec<String>,
}

/// A run that has not ended, as far as is known. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Running {
    command: String,
    process: Child,
    started: Instant,
    stdout: File,
    stderr: File,
}

impl Running {
    /// Starts the binary.
    pub(crate) fn start(arguments: &[String]) -> Result<Self> {
        Self::start_with(arguments, &[])
    }

    /// Starts the binary with these variables.
    pub(crate) fn start_with(arguments: &[String], variables: &[(&str, &str)]) -> Result<Self> {
        let mut command = Command::new(env!("CARGO_BIN_EXE_memc-load"));
        command.envs(variables.iter().copied());
        Self::start_by(command, arguments)
    }

    /// Starts the binary by way of a shell, in which `setup` comes first.
    pub(crate) fn start_after(setup: &str, arguments: &[String]) -> Result<Self> {
        let mut shell = Command::new("sh");
        shell.args(["-c", &format!("{setup} \"$@\""), "sh", env!("CARGO_BIN_EXE_memc-load")]);
        Self::start_by(shell, arguments)
    }

    fn start_by(mut command: Command, arguments: &[String]) -> Result<Self> {
        // Files, not pipes: nobody has to read them for the program to go on.
        let (stdout, stderr) = (tempfile::tempfile()?, tempfile::tempfile()?);
        let process = command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(stdout.try_clone()?)
            .stderr(stderr.try_clone()?)
            .spawn()?;
        let command = format!("memc-load {}", arguments.join(" "));
        Ok(Self { command, process, started: Instant::now(), stdout, stderr })
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(Pid::from_child(&self.process), signal)?)
    }

    /// Waits until `part` is in its log.
    pub(crate) fn wait_for_log(&mut self, part: &str) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while !text(&self.stderr)?.contains(part) {
            let runs = self.process.try_wait()?.is_none();
            ensure!(runs && Instant::now() < until, "no '{part}' in the log\n{}", text(&self.stderr)?);
            thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// What it has written to standard error so far.
    pub(crate) fn stderr(&self) -> Result<String> {
        text(&self.stderr)
    }

    /// Its process id.
    pub(crate) fn id(&self) -> u32 {
        self.process.id()
    }

    /// Whether it has not ended yet.
    pub(crate) fn is_running(&mut self) -> Result<bool> {
        Ok(self.process.try_wait()?.is_none())
    }

    /// Kills it.
    pub(crate) fn kill(mut self) -> Result<()> {
        Ok(self.process.kill()?)
    }

    /// Kills it after `delay`, unless it ends before.
    pub(crate) fn kill_after(&mut self, delay: Duration) -> Result<()> {
        let until = self.started + delay;
        while self.process.try_wait()?.is_none() {
            if Instant::now() >= until {
                return Ok(self.process.kill()?);
            }
            thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Waits for its end; `files` lists the folder after that.
    pub(crate) fn finish(mut self, files: impl FnOnce() -> Result<Vec<String>>) -> Result<Run> {
        let Some(status) = ended(&mut self.process, PATIENCE)? else {
            bail!("it hangs\n$ {}\n{}", self.command, text(&self.stderr)?);
        };
        let elapsed = self.started.elapsed();
        let (stdout, stderr) = (text(&self.stdout)?, text(&self.stderr)?);
        Ok(Run {
            command: std::mem::take(&mut self.command),
            status,
            stdout,
            stderr,
            elapsed,
            files: files()?,
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already, but for tests that fail.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Run {
    /// How it ended.
    pub(crate) fn status(&self) -> ExitStatus {
        self.status
    }

    /// Fails with all that is known of the run unless `sound`.
    pub(crate) fn ensure(&self, sound: bool, what: impl fmt::Display) -> Result<()> {
        ensure!(sound, "{what}\n{self}");
        Ok(())
    }

    /// Checks the exit code, and that standard output has just these lines.
    pub(crate) fn shows(&self, code: i32, lines: &[impl AsRef<str>]) -> Result<()> {
        self.ensure(self.status.code() == Some(code), format!("expected exit code {code}"))?;
        let lines: Vec<_> = lines.iter().map(AsRef::as_ref).collect();
        self.ensure(self.stdout.lines().eq(lines.iter().copied()), format!("expected to be shown {lines:#?}"))
    }

    /// Checks the exit code, and that nothing came to standard output.
    pub(crate) fn exits(&self, code: i32) -> Result<()> {
        self.ensure(self.status.code() == Some(code), format!("expected exit code {code}"))?;
        self.ensure(self.stdout.is_empty(), "expected nothing on standard output")
    }

    /// Checks that it was a success that said something, and nothing on standard error.
    pub(crate) fn exits_with_text(&self) -> Result<()> {
        self.ensure(self.status.success() && !self.stdout.is_empty(), "expected text on standard output")?;
        self.ensure(self.stderr.is_empty(), "expected nothing on standard error")
    }

    /// Checks which files there are in the folder.
    pub(crate) fn leaves(&self, files: &[&str]) -> Result<()> {
        self.ensure(self.files == files, format!("expected the files {files:?}"))
    }

    /// The log on standard error without the time stamps, each line of it checked to have one.
    pub(crate) fn log(&self) -> Result<Vec<&str>> {
        messages(&self.stderr).with_context(|| self.to_string())
    }

    /// The log lines of one level.
    pub(crate) fn log_of(&self, level: &str) -> Result<Vec<&str>> {
        let lines = self.log()?;
        Ok(lines.into_iter().filter_map(|line| line.strip_prefix(level)?.strip_prefix(' ')).collect())
    }

    /// Checks that the log has each of `lines` exactly once.
    pub(crate) fn logs(&self, lines: &[impl AsRef<str>]) -> Result<()> {
        let log = self.log()?;
        for line in lines.iter().map(AsRef::as_ref) {
            let found = log.iter().filter(|it| **it == line).count();
            self.ensure(found == 1, format!("expected the log line '{line}' once, found {found}"))?;
        }
        Ok(())
    }

    /// Checks that there is just one error in the log and that it has all of `parts` in it.
    pub(crate) fn fails_with(&self, parts: &[&str]) -> Result<()> {
        let errors = self.log_of("E")?;
        let sound = errors.len() == 1 && parts.iter().all(|part| errors[0].contains(part));
        self.ensure(sound, format!("expected one error with {parts:?} in it"))
    }
}

impl fmt::Display for Run {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<_> = self.stderr.lines().collect();
        let hidden = lines.len().saturating_sub(SHOWN_LINES);
        writeln!(out, "$ {}\n{}, {:.2?}, files: {:?}", self.command, self.status, self.elapsed, self.files)?;
        writeln!(out, "--- stdout\n{}--- stderr, {hidden} lines not shown", self.stdout)?;
        lines[hidden..].iter().try_for_each(|line| writeln!(out, "{line}"))
    }
}

/// The lines of a log without the time stamps.
pub(crate) fn messages(log: &str) -> Result<Vec<&str>> {
    ensure!(log.is_empty() || log.ends_with('\n'), "the last log line has no end");
    log.lines().map(|line| message(line).with_context(|| format!("no log line: '{line}'"))).collect()
}

/// The `I text` of `[2017.09.29 12:39:52] I text`.
fn message(line: &str) -> Option<&str> {
    const SHAPE: &str = "[0000.00.00 00:00:00] ";
    let (stamp, message) = line.split_at_checked(SHAPE.len())?;
    let fits = |(found, shape): (char, char)| match shape {
        '0' => found.is_ascii_digit(),
        _ => found == shape,
    };
    let sound = stamp.chars().zip(SHAPE.chars()).all(fits)
        && message.starts_with(['E', 'W', 'I', 'D'])
        && message[1..].starts_with(' ');
    sound.then_some(message)
}

/// All that is in the file, read past the position that the process writes at.
fn text(file: &File) -> Result<String> {
    let mut bytes = vec![0; usize::try_from(file.metadata()?.len())?];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(String::from_utf8(bytes)?)
}
