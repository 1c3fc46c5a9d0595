//! Real servers, loaded as a `Group` says.

use std::collections::BTreeMap;
use std::error::Error;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use memc_core::{Address, Distribution, Group, GroupServer};
use memc_testkit::Memcached;
use tempfile::TempDir;

/// How long a server may take to answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// The result of a test.
pub(crate) type Result<T = ()> = std::result::Result<T, Box<dyn Error + Send + Sync>>;

/// The keys, and what is stored under them.
pub(crate) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Where the servers of a fleet listen, and how their readers know them.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Layout {
    /// On ports of their own, alike.
    Equal,
    /// With weights that show how the points of a ring are rounded: exact arithmetic has other ones.
    Weighted,
    /// Two of three on port 11211, each on a loopback address of its own.
    DefaultPort,
    /// With weights and names.
    Named,
    /// On Unix sockets.
    Sockets,
    /// On Unix sockets whose names are their paths and this.
    SocketsNamed(&'static str),
}

/// Servers that hold records.
pub(crate) struct Fleet {
    pub(crate) group: Group,
    servers: Vec<Memcached>,
    /// How often each server has answered with a record.
    hits: Vec<u64>,
    _folder: TempDir,
}

impl Fleet {
    /// Starts three servers that hold nothing.
    pub(crate) fn start(layout: Layout, distribution: Distribution) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut servers: Vec<Memcached> =
            (0..3).map(|at| start(layout, at, &folder)).collect::<io::Result<_>>()?;
        // twemproxy sorts its servers in this way; the others take them in any order.
        servers.sort_by_key(|server| (server.address().len(), server.address()));
        let weights = match layout {
            Layout::Weighted => [29, 29, 2],
            Layout::Named => [1, 2, 4],
            _ => [1, 1, 1],
        };
        let members: Vec<GroupServer> = servers
            .iter()
            .enumerate()
            .map(|(at, server)| {
                let address: Address = server.address().parse()?;
                let name = match layout {
                    Layout::Named => Some(["alpha", "beta", "gamma"][at].to_owned()),
                    Layout::SocketsNamed(end) => {
                        Some(format!("{}{end}", server.address().trim_start_matches("unix:")))
                    }
                    _ => None,
                };
                Ok(GroupServer::new(address, weights[at], name))
            })
            .collect::<Result<_>>()?;
        let group = Group::new(members, distribution)?;
        Ok(Self { hits: vec![0; servers.len()], group, servers, _folder: folder })
    }

    /// Writes each record to the server that the group names for it.
    pub(crate) fn load(&mut self, records: &Records) -> Result {
        let mut batches = vec![Vec::new(); self.servers.len()];
        for (key, value) in records {
            let batch = &mut batches[self.group.server(key)];
            let head = [b"ms ", &key[..], b" ", value.len().to_string().as_bytes(), b" q\r\n"].concat();
            batch.extend([&head[..], value, b"\r\n"].concat());
        }
        for (server, mut batch) in self.servers.iter().zip(batches) {
            batch.extend(b"mn\r\n");
            // Only what is refused is answered, and the command at the end.
            let answer = ask(&server.address(), &batch)?;
            assert_eq!(answer, "MN\r\n", "{}", server.address());
        }
        let held: u64 = self.servers.iter().map(|server| server.stat("curr_items")).sum::<io::Result<_>>()?;
        assert_eq!(held, records.len() as u64, "there are as many items as keys");
        Ok(())
    }

    /// Fails unless a client that has just read these keys asked each server for those that it holds, each
    /// once, and for no other.
    pub(crate) fn assert_were_read<'a>(&mut self, keys: impl Iterator<Item = &'a [u8]>) -> Result {
        for key in keys {
            self.hits[self.group.server(key)] += 1;
        }
        for (server, hits) in self.servers.iter().zip(&self.hits) {
            let found = (server.stat("get_hits")?, server.stat("get_misses")?);
            assert_eq!(found, (*hits, 0), "hits and misses of {}", server.address());
        }
        Ok(())
    }
}

fn start(layout: Layout, at: u8, folder: &TempDir) -> io::Result<Memcached> {
    match layout {
        Layout::DefaultPort if at < 2 => {
            // 127.0.0.0/8 is all loopback, and nobody else uses these, of this process or of another.
            static NEXT: AtomicU8 = AtomicU8::new(1);
            let [_, _, y, z] = std::process::id().to_be_bytes();
            Memcached::start_at(format!("127.{}.{y}.{z}:11211", NEXT.fetch_add(1, Ordering::Relaxed)))
        }
        Layout::Sockets | Layout::SocketsNamed(_) => {
            Memcached::start_unix(&folder.path().join(format!("{at}.sock")))
        }
        _ => Memcached::start(&[]),
    }
}

/// Sends a batch of commands, and returns the first line of the answer.
fn ask(address: &str, batch: &[u8]) -> io::Result<String> {
    if let Some(path) = address.strip_prefix("unix:") {
        let socket = UnixStream::connect(path)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        first_line(socket, batch)
    } else {
        let socket = TcpStream::connect(address)?;
        socket.set_read_timeout(Some(PATIENCE))?;
        first_line(socket, batch)
    }
}

fn first_line(mut socket: impl Read + Write, batch: &[u8]) -> io::Result<String> {
    socket.write_all(batch)?;
    let mut answer = String::new();
    BufReader::new(socket).read_line(&mut answer)?;
    Ok(answer)
}
