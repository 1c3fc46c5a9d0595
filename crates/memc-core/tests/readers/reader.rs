//! Clients that read a fleet, each in a program of its own that `scripts/readers` has installed.

use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use memc_core::Group;
use memc_testkit::Twemproxy;

use crate::fleet::Result;

/// A client of memcached, and its settings.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Reader {
    /// As `scripts/readers` calls it.
    pub(crate) name: &'static str,
    /// The options of the client, as JSON; of twemproxy its `distribution` and `hash`, of spymemcached how it
    /// names servers.
    pub(crate) settings: &'static str,
}

impl Reader {
    /// If it can ask for the key at all: two of the clients, as Debian has them, know only keys of ASCII.
    pub(crate) fn takes(&self, key: &[u8]) -> bool {
        key.is_ascii() || !["gomemcache", "php-memcached"].contains(&self.name)
    }

    /// What it finds under each of the keys, each as a line of hexadecimal digits; none if it is not installed,
    /// which is said on standard error.
    pub(crate) fn read(&self, group: &Group, keys: &[&[u8]]) -> Result<Option<String>> {
        let home = home();
        let program = home.join("bin").join(self.name);
        if !program.exists() {
            let reason = fs::read_to_string(home.join("missing").join(self.name))
                .unwrap_or_else(|_| "run scripts/readers to install it".to_owned());
            // The test harness shows nothing that a passing test prints.
            writeln!(io::stderr(), "not read by {}: {}", self.name, reason.trim_end())?;
            return Ok(None);
        }
        if self.name == "twemproxy" {
            self.through_twemproxy(group, keys)
        } else {
            self.run(&program, group, keys)
        }
        .map(Some)
    }

    fn run(&self, program: &Path, group: &Group, keys: &[&[u8]]) -> Result<String> {
        let mut file = tempfile::NamedTempFile::new()?;
        file.write_all(&keys.join(&b'\n'))?;
        let servers = group.servers().iter().map(|server| format!("{} {}", server.address, server.weight));
        let output = Command::new(program).arg(self.settings).arg(file.path()).args(servers).output()?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stderr);
            return Err(format!("{self:?} ended with {}: {text}", output.status).into());
        }
        Ok(String::from_utf8(output.stdout)?)
    }

    fn through_twemproxy(&self, group: &Group, keys: &[&[u8]]) -> Result<String> {
        let servers: Vec<String> = group
            .servers()
            .iter()
            .map(|server| {
                let address = server.address.to_string();
                let address = address.trim_start_matches("unix:");
                // A socket's name is what it makes of its path.
                match &server.name {
                    Some(name) if !address.starts_with('/') => format!("{address}:{} {name}", server.weight),
                    _ => format!("{address}:{}", server.weight),
                }
            })
            .collect();
        let (distribution, hash) = self.settings.split_once(' ').ok_or("a distribution and a hash")?;
        let proxy = Twemproxy::start(distribution, hash, &servers)?;
        let mut socket = TcpStream::connect(proxy.address())?;
        socket.set_nodelay(true)?;
        socket.set_read_timeout(Some(Duration::from_secs(20)))?;
        let mut answers = BufReader::new(socket.try_clone()?);
        let mut found = String::new();
        // Each key in a command of its own; some at once, as that is less work for the machine.
        for keys in keys.chunks(100) {
            let commands: Vec<u8> = keys.iter().flat_map(|key| [b"get ", *key, b"\r\n"].concat()).collect();
            socket.write_all(&commands)?;
            for _ in keys {
                found += &value(&mut answers)?;
                found.push('\n');
            }
        }
        Ok(found)
    }
}

/// The answer to a `get`.
fn value(answers: &mut impl BufRead) -> Result<String> {
    let mut line = Vec::new();
    answers.read_until(b'\n', &mut line)?;
    if line == b"END\r\n" {
        return Ok("-".to_owned());
    }
    let line = String::from_utf8_lossy(&line);
    let length = line.trim_end().strip_prefix("VALUE ").and_then(|rest| rest.rsplit(' ').next());
    let length: usize = length.ok_or_else(|| format!("twemproxy answered '{line}'"))?.parse()?;
    let mut value = vec![0; length + b"\r\nEND\r\n".len()];
    answers.read_exact(&mut value)?;
    Ok(hex(&value[..length]))
}

/// The bytes as hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digit = |half: u8| char::from(b"0123456789abcdef"[usize::from(half)]);
    bytes.iter().flat_map(|byte| [digit(byte >> 4), digit(byte & 15)]).collect()
}

/// Where `scripts/readers` installs.
fn home() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).with_file_name("readers")
}
