//! Which connections a server has, and which of them belong to processes of this host that have ended.
//!
//! What such a process had sent may not have been read yet, and would be stored after newer values.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A connection as the server sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    /// The client's end.
    address: SocketAddr,
    /// The port of the server's end; not all versions say it.
    server_port: Option<u16>,
}

/// Takes the lines of the answer to `stats conns`; lines of other than TCP connections are skipped.
#[derive(Debug, Default)]
pub(crate) struct PeersReader {
    peers: Vec<(u64, Peer)>,
}

impl PeersReader {
    /// Takes a line `STAT number:name value`.
    pub(crate) fn line(&mut self, line: &[u8]) {
        let Some((number, name, value)) = words(line) else { return };
        let address = value.strip_prefix("tcp:").or_else(|| value.strip_prefix("tcp6:"));
        let address = address.and_then(|address| address.parse().ok()).map(canonical);
        let is_last = self.peers.last().is_some_and(|(of, _)| *of == number);
        match (name, address) {
            ("addr", Some(address)) => self.peers.push((number, Peer { address, server_port: None })),
            ("listen_addr", Some(address)) if is_last => {
                if let Some((_, peer)) = self.peers.last_mut() {
                    peer.server_port = Some(address.port());
                }
            }
            // No connection at all.
            ("state", _) if is_last && value == "conn_listening" => drop(self.peers.pop()),
            _ => {}
        }
    }

    pub(crate) fn finish(self) -> Vec<Peer> {
        self.peers.into_iter().map(|(_, peer)| peer).collect()
    }
}

/// The number, name and value of a line `STAT number:name value`.
fn words(line: &[u8]) -> Option<(u64, &str, &str)> {
    let mut words = std::str::from_utf8(line).ok()?.strip_prefix("STAT ")?.split_ascii_whitespace();
    let (number, name) = words.next()?.split_once(':')?;
    Some((number.parse().ok()?, name, words.next()?))
}

/// The two ends of our own connection, as this host sees them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    pub(crate) local: SocketAddr,
    pub(crate) server: SocketAddr,
}

impl Ends {
    pub(crate) fn new(local: SocketAddr, server: SocketAddr) -> Self {
        Self { local: canonical(local), server: canonical(server) }
    }

    /// Whether the server sees this connection as it is, so there is no proxy in between.
    pub(crate) fn is_direct(&self, peers: &[Peer]) -> bool {
        peers.iter().any(|peer| self.is(peer))
    }

    fn is(&self, peer: &Peer) -> bool {
        peer.address == self.local && peer.server_port.is_none_or(|port| port == self.server.port())
    }

    /// Our ends of the connections to the server that are from this host's address, though no process of it has them. The
    /// `sockets` of this host, which take milliseconds to find, are asked for only if there are other ones than this.
    pub(crate) fn orphans(
        &self,
        peers: &[Peer],
        sockets: impl FnOnce() -> Option<Arc<Sockets>>,
    ) -> Vec<SocketAddr> {
        let from_here = peers.iter().filter(|peer| peer.address.ip() == self.local.ip());
        let to_here = from_here.filter(|peer| peer.server_port.is_none_or(|port| port == self.server.port()));
        let others: Vec<_> = to_here.filter(|peer| !self.is(peer)).collect();
        let Some(sockets) = (if others.is_empty() { None } else { sockets() }) else { return Vec::new() };
        let addresses = others.iter().map(|peer| peer.address);
        addresses.filter(|address| !sockets.has(address.port(), self.server.port())).collect()
    }
}

/// The TCP sockets of this host that a process holds, by their local and remote ports.
#[derive(Debug)]
pub(crate) struct Sockets(HashSet<(u16, u16)>);

impl Sockets {
    /// Those of now or of a moment ago, but after `asked`; `None` where the system does not show them. It takes milliseconds
    /// to find them, so connections that ask at the same time share what one of them has found.
    pub(crate) fn after(asked: Instant) -> Option<Arc<Self>> {
        static LATEST: Mutex<Option<(Instant, Arc<Sockets>)>> = Mutex::new(None);
        let mut latest = LATEST.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, sockets)) = latest.as_ref().filter(|(began, _)| *began > asked) {
            return Some(Arc::clone(sockets));
        }
        let began = Instant::now();
        let sockets = Arc::new(Self::read()?);
        *latest = Some((began, Arc::clone(&sockets)));
        Some(sockets)
    }

    fn read() -> Option<Self> {
        let v4 = std::fs::read_to_string("/proc/net/tcp").ok()?;
        // There may be no IPv6.
        let v6 = std::fs::read_to_string("/proc/net/tcp6").unwrap_or_default();
        Some(Self(v4.lines().chain(v6.lines()).filter_map(held_ports).collect()))
    }

    fn has(&self, local_port: u16, remote_port: u16) -> bool {
        self.0.contains(&(local_port, remote_port))
    }
}

/// The ports of a line of `/proc/net/tcp`, unless no process holds the socket any more: then it has no inode.
fn held_ports(line: &str) -> Option<(u16, u16)> {
    let mut words = line.split_ascii_whitespace().skip(1);
    let mut port = || u16::from_str_radix(words.next()?.rsplit_once(':')?.1, 16).ok();
    let ports = (port()?, port()?);
    words.nth(6).filter(|inode| *inode != "0").map(|_| ports)
}

/// An IPv4 address that is written as one of IPv6 is one of IPv4.
fn canonical(address: SocketAddr) -> SocketAddr {
    let ip: IpAddr = address.ip().to_canonical();
    SocketAddr::new(ip, address.port())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    /// As memcached 1.6.18 answers.
    const ANSWER: &str = "STAT 14:addr tcp:127.0.0.1:22556\nSTAT 14:state conn_listening\n\
        STAT 14:secs_since_last_cmd 0\nSTAT 16:addr tcp:127.0.0.1:44290\n\
        STAT 16:listen_addr tcp:127.0.0.1:22556\nSTAT 16:state conn_read\nSTAT 16:secs_since_last_cmd 0\n\
        STAT 17:addr tcp6:[::1]:47422\nSTAT 17:listen_addr tcp6:[::1]:22556\nSTAT 17:state conn_parse_cmd\n\
        STAT 18:addr tcp6:[::ffff:10.0.0.7]:5000\nSTAT 18:listen_addr tcp6:[::ffff:10.0.0.1]:22556\n\
        STAT 19:addr unix:/run/memcached.sock\nSTAT 20:addr tcp:127.0.0.1:44291\n\
        STAT 20:listen_addr tcp:127.0.0.1:9\nSTAT x\n\u{fffd}\n";

    fn peers() -> Vec<Peer> {
        let mut reader = PeersReader::default();
        ANSWER.lines().for_each(|line| reader.line(line.as_bytes()));
        reader.finish()
    }

    fn ends(local: &str, server: &str) -> Ends {
        Ends::new(local.parse().expect("an address"), server.parse().expect("an address"))
    }

    #[test]
    fn a_connection_that_the_server_sees_as_it_is_is_direct() {
        let peers = peers();
        assert_eq!(peers.len(), 4, "without the one that listens");
        for (local, server, direct) in [
            ("127.0.0.1:44290", "127.0.0.1:22556", true),
            ("[::1]:47422", "[::1]:22556", true),
            ("10.0.0.7:5000", "10.0.0.1:22556", true),
            ("127.0.0.1:44299", "127.0.0.1:22556", false),
            // Two connections from one port, ours to a proxy and that of somebody else to the server.
            ("127.0.0.1:44290", "127.0.0.1:11211", false),
        ] {
            assert_eq!(ends(local, server).is_direct(&peers), direct, "{local}");
        }
    }

    #[test]
    fn orphans_are_connections_from_here_that_no_process_holds() {
        let line = |ports: &str, inode: u32| {
            format!(
                "   0: 0100007F:{ports} 0100007F:581C 01 00000000:00000000 00:00000000 00000000     0        0 {inode} 1"
            )
        };
        let sockets = |lines: &[String]| {
            Some(Arc::new(Sockets(lines.iter().filter_map(|line| held_ports(line)).collect())))
        };
        let here = ends("127.0.0.1:1", "127.0.0.1:22556");
        // 44290 is AD02, and 22556 is 581C.
        let orphan: SocketAddr = "127.0.0.1:44290".parse().expect("an address");
        assert_eq!(here.orphans(&peers(), || sockets(&[line("AD02", 5)])), []);
        assert_eq!(here.orphans(&peers(), || sockets(&[line("AD02", 0)])), [orphan]);
        assert_eq!(here.orphans(&peers(), || sockets(&[])), [orphan]);
        assert_eq!(here.orphans(&peers(), || None), [], "the system does not show them");
        let alone = ends("127.0.0.1:44290", "127.0.0.1:22556");
        assert_eq!(alone.orphans(&peers(), || panic!("they are asked for")), []);
    }

    #[test]
    fn a_socket_that_is_younger_than_the_last_look_is_seen() -> std::io::Result<()> {
        // Where the system shows none, there is nothing to see.
        let Some(before) = Sockets::after(Instant::now()) else { return Ok(()) };
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let client = TcpStream::connect(listener.local_addr()?)?;
        let (local, remote) = (client.local_addr()?.port(), client.peer_addr()?.port());
        assert!(!before.has(local, remote));
        assert!(Sockets::after(Instant::now()).is_some_and(|sockets| sockets.has(local, remote)));
        Ok(())
    }
}
