//! Real memcached processes for tests and benches.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::port::Port;

/// How long a server may take to start or to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// How the address of a Unix socket begins.
const UNIX: &str = "unix:";

/// Everything a server holds: each key with its item.
pub type Contents = BTreeMap<Vec<u8>, Item>;

/// What a server holds under one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// The bytes.
    pub value: Vec<u8>,
    /// The client's flags.
    pub flags: u32,
    /// Seconds until it expires; -1 for never.
    pub ttl: i64,
}

/// The first difference between what a server holds and these keys with their values, without flags or expiry; `None` if
/// it holds just these.
#[must_use]
pub fn difference(found: &Contents, expected: &HashMap<Vec<u8>, Vec<u8>>) -> Option<String> {
    for (key, item) in found {
        let key_text = key.escape_ascii();
        let Some(value) = expected.get(key) else { return Some(format!("'{key_text}' should not be there")) };
        let expected = Item { value: value.clone(), flags: 0, ttl: -1 };
        if *item != expected {
            return Some(format!("'{key_text}' is {item:?}, not {expected:?}"));
        }
    }
    let missing = expected.keys().find(|key| !found.contains_key(*key))?;
    Some(format!("'{}' is missing", missing.escape_ascii()))
}

/// A memcached process on a free port of 127.0.0.1 or on a Unix socket. It is killed when this is dropped.
#[derive(Debug)]
pub struct Memcached {
    process: Child,
    address: String,
    options: Vec<String>,
    /// Keeps the port while the process is dead; a Unix socket has none.
    _port: Option<Port>,
}

impl Memcached {
    /// Starts a server with the given options besides its port.
    ///
    /// # Errors
    ///
    /// If memcached is not installed or does not come up.
    pub fn start(options: &[&str]) -> io::Result<Self> {
        let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
        let port = Port::reserve()?;
        let address = port.to_string();
        let process = spawn(&address, &options)?;
        let mut server = Self { process, address, options, _port: Some(port) };
        match server.wait_until_up()? {
            true => Ok(server),
            false => Err(io::Error::other(format!("memcached does not start with {:?}", server.options))),
        }
    }

    /// Starts a server that listens on nothing but the Unix socket `path`.
    ///
    /// # Errors
    ///
    /// If memcached is not installed or does not come up.
    pub fn start_unix(path: &Path) -> io::Result<Self> {
        Self::start_at(format!("{UNIX}{}", path.display()))
    }

    /// Starts a server at this very `host:port` or `unix:/path`.
    ///
    /// # Errors
    ///
    /// If memcached is not installed or does not come up, or another process listens there.
    pub fn start_at(address: String) -> io::Result<Self> {
        // Else that one would answer for it.
        if Client::connect(&address).is_ok() {
            return Err(io::Error::new(io::ErrorKind::AddrInUse, format!("somebody listens at {address}")));
        }
        let mut server = Self { process: spawn(&address, &[])?, address, options: Vec::new(), _port: None };
        if server.wait_until_up()? {
            Ok(server)
        } else {
            Err(io::Error::other(format!("memcached does not start at {}", server.address)))
        }
    }

    /// Its `host:port`, or `unix:/path`.
    #[must_use]
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Kills the process; the port stays reserved for [`restart`](Self::restart).
    ///
    /// # Errors
    ///
    /// If it cannot be killed.
    pub fn kill(&mut self) -> io::Result<()> {
        self.process.kill()?;
        self.process.wait().map(drop)
    }

    /// Starts it again on the same port, empty.
    ///
    /// # Errors
    ///
    /// If it does not come up.
    pub fn restart(&mut self) -> io::Result<()> {
        self.process = spawn(&self.address, &self.options)?;
        if self.wait_until_up()? { Ok(()) } else { Err(io::Error::other("memcached does not start again")) }
    }

    /// Reads back everything that it holds.
    ///
    /// # Errors
    ///
    /// If it does not answer as the protocol says.
    pub fn contents(&self) -> io::Result<Contents> {
        let mut client = Client::connect(&self.address())?;
        let mut keys = BTreeSet::from_iter(client.keys()?);
        // The list leaves out what is moved between the server's queues meanwhile, so it takes some asking.
        let until = Instant::now() + PATIENCE;
        while (keys.len() as u64) < self.stat("curr_items")? && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(20));
            keys.extend(client.keys()?);
        }
        keys.into_iter().map(|key| client.item(&key).map(|item| (key, item))).collect()
    }

    /// One number of the server's `stats`.
    ///
    /// # Errors
    ///
    /// If there is no such number.
    pub fn stat(&self, name: &str) -> io::Result<u64> {
        let mut client = Client::connect(&self.address())?;
        client.write(b"stats\r\n")?;
        let prefix = format!("STAT {name} ");
        loop {
            let line = String::from_utf8_lossy(&client.line()?).into_owned();
            if let Some(number) = line.strip_prefix(&prefix) {
                return number.parse().map_err(io::Error::other);
            }
            if line == "END" {
                return Err(io::Error::other(format!("no '{name}' among the stats")));
            }
        }
    }

    /// False if the process ended at once, as it does when the port is taken.
    fn wait_until_up(&mut self) -> io::Result<bool> {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.process.try_wait()?.is_some() {
                return Ok(false);
            }
            // Over TLS there is no asking in plain words, and one that wants a password complains.
            let tls = self.options.iter().any(|option| option == "-Z");
            if let Ok(mut client) = Client::connect(&self.address())
                && (tls || client.write(b"mn\r\n").is_ok() && client.line().is_ok())
            {
                return Ok(true);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(false)
    }
}

impl Drop for Memcached {
    fn drop(&mut self) {
        // It may be dead already, which is as well.
        let _ = self.kill();
    }
}

fn spawn(address: &str, options: &[String]) -> io::Result<Child> {
    let listen = match (address.strip_prefix(UNIX), address.rsplit_once(':')) {
        (Some(path), _) => vec!["-s", path],
        (None, Some((host, port))) => vec!["-U", "0", "-l", host, "-p", port],
        (None, None) => return Err(io::ErrorKind::InvalidInput.into()),
    };
    Command::new("memcached")
        // Only looked at when root starts it; then it must be given.
        .args(["-u", "root"])
        .args(listen)
        .args(options)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("cannot run memcached: {error}")))
}

/// A plain client, one round trip a command.
struct Client {
    socket: Box<dyn Write>,
    answers: BufReader<Box<dyn Read>>,
}

impl Client {
    fn connect(address: &str) -> io::Result<Self> {
        let (socket, answers): (Box<dyn Write>, Box<dyn Read>) = match address.strip_prefix(UNIX) {
            Some(path) => {
                let socket = UnixStream::connect(path)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                (Box::new(socket.try_clone()?), Box::new(socket))
            }
            None => {
                let socket = TcpStream::connect(address)?;
                socket.set_read_timeout(Some(PATIENCE))?;
                (Box::new(socket.try_clone()?), Box::new(socket))
            }
        };
        Ok(Self { socket, answers: BufReader::new(answers) })
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.socket.write_all(bytes)
    }

    fn line(&mut self) -> io::Result<Vec<u8>> {
        let mut line = Vec::new();
        self.answers.read_until(b'\n', &mut line)?;
        match line.strip_suffix(b"\r\n") {
            Some(line) => Ok(line.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    fn keys(&mut self) -> io::Result<Vec<Vec<u8>>> {
        self.write(b"lru_crawler metadump all\r\n")?;
        let mut keys = Vec::new();
        loop {
            // `END` closes this list with a bare line feed in some versions.
            let mut line = Vec::new();
            self.answers.read_until(b'\n', &mut line)?;
            if line.starts_with(b"END") {
                return Ok(keys);
            }
            let key = line.strip_prefix(b"key=").and_then(|rest| rest.split(|&byte| byte == b' ').next());
            keys.push(percent_decoded(key.ok_or_else(|| unexpected(&line))?));
        }
    }

    fn item(&mut self, key: &[u8]) -> io::Result<Item> {
        self.write(&[b"mg ", key, b" v f t\r\n"].concat())?;
        let head = self.line()?;
        let text = String::from_utf8_lossy(&head);
        let words: Vec<&str> = text.split(' ').collect();
        let ["VA", length, flags, ttl] = words[..] else { return Err(unexpected(&head)) };
        let number =
            |text: &str| text.trim_start_matches(['f', 't']).parse::<i64>().map_err(io::Error::other);
        let mut value = vec![0; usize::try_from(number(length)?).map_err(io::Error::other)? + 2];
        self.answers.read_exact(&mut value)?;
        value.truncate(value.len() - 2);
        Ok(Item { value, flags: u32::try_from(number(flags)?).map_err(io::Error::other)?, ttl: number(ttl)? })
    }
}

fn unexpected(line: &[u8]) -> io::Error {
    io::Error::other(format!("memcached answered '{}'", line.escape_ascii()))
}

/// Keys are listed in the form of URLs, `%41` for `A`.
fn percent_decoded(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = text;
    while let [first, tail @ ..] = rest {
        let hex = tail.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        match hex {
            Some(byte) if *first == b'%' => {
                out.push(byte);
                rest = &tail[2..];
            }
            _ => {
                out.push(*first);
                rest = tail;
            }
        }
    }
    out
}
