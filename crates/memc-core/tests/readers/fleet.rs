//! Real servers, loaded as a `Group` says.

use std::collections::BTreeMap;
use std::error::Error;
use std::io;
use std::sync::atomic::{AtomicU8, Ordering};

use memc_core::apps::AppsEncoder;
use memc_core::{Address, Distribution, Group, GroupServer, Input, Loader, Options};
use memc_testkit::{DEVICE_TYPES, Memcached};
use tempfile::TempDir;

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
    /// Each on a loopback address of its own, two of three at port 11211.
    DefaultPort,
    /// As `DefaultPort`, each named by its address with the port.
    DefaultPortNamed,
    /// On ports of `localhost`.
    Hosts,
    /// On ports of `localhost`, with names that have the address, too, as Java writes it.
    HostsNamed,
    /// On ports of 127.0.0.1, with names that have `localhost` instead.
    NamedByHost,
    /// With weights and names.
    Named,
    /// On Unix sockets.
    Sockets,
    /// On Unix sockets whose names are their paths and this.
    SocketsNamed(&'static str),
}

/// What is loaded.
pub(crate) struct Log {
    /// Its lines.
    pub(crate) text: &'static [u8],
    /// What they are, by the model; a key for each line.
    pub(crate) records: Records,
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
                let address = server.address();
                let address = match layout {
                    Layout::Hosts | Layout::HostsNamed => address.replace("127.0.0.1", "localhost"),
                    _ => address,
                };
                let name = match layout {
                    Layout::DefaultPortNamed => Some(address.clone()),
                    Layout::NamedByHost => Some(address.replace("127.0.0.1", "localhost")),
                    Layout::HostsNamed => Some(address.replace(':', "/127.0.0.1:")),
                    Layout::Named => Some(["alpha", "beta", "gamma"][at].to_owned()),
                    Layout::SocketsNamed(end) => {
                        Some(format!("{}{end}", server.address().trim_start_matches("unix:")))
                    }
                    _ => None,
                };
                Ok(GroupServer::new(address.parse::<Address>()?, weights[at], name))
            })
            .collect::<Result<_>>()?;
        let group = Group::new(members, distribution)?;
        Ok(Self { hits: vec![0; servers.len()], group, servers, _folder: folder })
    }

    /// Loads the log, all of whose device types have this group.
    pub(crate) fn load(&self, log: &Log) -> Result {
        let groups = DEVICE_TYPES.map(|_| self.group.clone());
        let mut options = Options::default();
        options.connections = 2;
        options.chunk_bytes = 100_000;
        let loader = Loader::new(AppsEncoder::new(DEVICE_TYPES), groups, options);
        let report = loader.load([Input::bytes("log", log.text)], |_| Ok(()))?;
        let records = log.records.len() as u64;
        assert_eq!((report.counts.loaded, report.counts.rejected_total()), (records, 0));
        for ((server, member), report) in self.servers.iter().zip(self.group.servers()).zip(&report.servers) {
            assert_eq!(member.address.to_string(), report.address);
            assert_eq!(server.stat("curr_items")?, report.records, "items of {}", report.address);
        }
        assert_eq!(report.servers.iter().map(|server| server.records).sum::<u64>(), records);
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
        Layout::DefaultPort | Layout::DefaultPortNamed => {
            // 127.0.0.0/8 is all loopback, and nobody else uses these, of this process or of another.
            static NEXT: AtomicU8 = AtomicU8::new(1);
            let [_, _, y, z] = std::process::id().to_be_bytes();
            let (x, port) = (NEXT.fetch_add(1, Ordering::Relaxed), if at < 2 { 11211 } else { 33013 });
            Memcached::start_at(format!("127.{x}.{y}.{z}:{port}"))
        }
        Layout::Sockets | Layout::SocketsNamed(_) => {
            Memcached::start_unix(&folder.path().join(format!("{at}.sock")))
        }
        _ => Memcached::start(&[]),
    }
}
