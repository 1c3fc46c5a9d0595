//! A stand-in for a memcached of another version than the one that is installed, which can be replaced by yet another.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What it is like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    /// Without meta commands.
    Old,
    New,
}

/// It listens for as long as the process runs.
#[derive(Debug)]
pub(crate) struct Standin {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    version: Version,
    pid: u32,
    contents: HashMap<Vec<u8>, Vec<u8>>,
    /// How often each command was sent.
    counts: HashMap<String, usize>,
    open: Vec<TcpStream>,
}

impl Standin {
    pub(crate) fn start(version: Version) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let state =
            State { version, pid: 1, contents: HashMap::new(), counts: HashMap::new(), open: Vec::new() };
        let state = Arc::new(Mutex::new(state));
        let of_thread = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let state = Arc::clone(&of_thread);
                lock(&state).open.extend(stream.try_clone());
                std::thread::spawn(move || {
                    // An error is a connection that ends.
                    let _ = serve(&stream, &state);
                    stream.shutdown(Shutdown::Both)
                });
            }
        });
        Ok(Self { address, state })
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// Another process takes its place: empty, and with no connection.
    pub(crate) fn replace(&self, version: Version) {
        let mut state = lock(&self.state);
        state.version = version;
        state.pid += 1;
        state.contents.clear();
        state.counts.clear();
        state.open.drain(..).for_each(|stream| drop(stream.shutdown(Shutdown::Both)));
    }

    pub(crate) fn contents(&self) -> HashMap<Vec<u8>, Vec<u8>> {
        lock(&self.state).contents.clone()
    }

    /// How often this command was sent.
    pub(crate) fn count_of(&self, command: &str) -> usize {
        lock(&self.state).counts.get(command).copied().unwrap_or(0)
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Answers until the connection ends.
fn serve(stream: &TcpStream, state: &Mutex<State>) -> io::Result<()> {
    let pid = lock(state).pid;
    let mut lines = BufReader::new(stream);
    loop {
        let mut line = String::new();
        if lines.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let words: Vec<_> = line.split_ascii_whitespace().collect();
        let command = words.first().copied().unwrap_or_default();
        let version = lock(state).version;
        let value = match (command, version, &words[..]) {
            ("set", _, [_, _, _, _, length]) | ("ms", Version::New, [_, _, length, "q"]) => {
                let mut value = vec![0; length.parse::<usize>().map_err(io::Error::other)? + 2];
                lines.read_exact(&mut value)?;
                value.truncate(value.len() - 2);
                Some(value)
            }
            _ => None,
        };
        let mut state = lock(state);
        if state.pid != pid {
            return Ok(());
        }
        *state.counts.entry(command.to_owned()).or_default() += 1;
        let mut answer = Vec::new();
        let held = words.get(1).and_then(|key| state.contents.get(key.as_bytes()));
        match (command, version, value) {
            ("version", Version::Old, _) => answer.extend(b"VERSION 1.5.22\r\n"),
            ("version", Version::New, _) => answer.extend(b"VERSION 1.6.18\r\n"),
            ("stats", _, _) if words.len() == 1 => {
                let stats = "STAT uptime 9\r\nSTAT time 1600000000\r\nSTAT evictions 0\r\nEND\r\n";
                answer.extend(format!("STAT pid {pid}\r\n{stats}").bytes());
            }
            ("stats", _, _) => answer.extend(b"END\r\n"),
            ("get", _, _) => {
                if let Some(value) = held {
                    answer.extend(format!("VALUE {} 0 {}\r\n", words[1], value.len()).bytes());
                    answer.extend([value, &b"\r\n"[..]].concat());
                }
                answer.extend(b"END\r\n");
            }
            ("mg", Version::New, _) => match held {
                Some(value) => {
                    answer.extend(format!("VA {}\r\n", value.len()).bytes());
                    answer.extend([value, &b"\r\n"[..]].concat());
                }
                None => answer.extend(b"EN\r\n"),
            },
            ("mn", Version::New, _) => answer.extend(b"MN\r\n"),
            (_, _, Some(value)) => {
                state.contents.insert(words[1].as_bytes().to_owned(), value);
                if command == "set" {
                    answer.extend(b"STORED\r\n");
                }
            }
            _ => answer.extend(b"ERROR\r\n"),
        }
        drop(state);
        (&mut &*stream).write_all(&answer)?;
    }
}
