//! Finds the place of a record: whether its key is one, which server of its group stores it, and on which connection it
//! goes there.

pub(crate) mod buckets;
pub(crate) mod choice;
pub(crate) mod distribution;
pub(crate) mod group;
pub(crate) mod hash;
#[cfg(test)]
mod known_answers;
pub(crate) mod rendezvous;
pub(crate) mod ring;
pub(crate) mod server;

use crate::Address;
use crate::route::group::Group;
use crate::route::hash::crc32_ieee;

/// The longest key, from memcached's
/// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt), section "Keys".
pub(crate) const MAX_KEY_BYTES: usize = 250;

/// Whether memcached takes it as a key, and as nothing but a key.
pub(crate) fn is_key(key: &[u8]) -> bool {
    // Without a way out of the loop, many bytes are looked at in one step.
    let bad = key.iter().fold(false, |bad, &byte| bad | (byte <= 32) | (byte == 127));
    !key.is_empty() && key.len() <= MAX_KEY_BYTES && !bad
}

/// The servers of all groups and their connections. Each connection has one lane, of which the first ones are those of
/// the first server.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// Each server once, in the order in which they are first given.
    servers: Vec<Address>,
    /// For each index that an encoder may return.
    groups: Vec<Members>,
    connections: usize,
}

/// A group, and where its servers are among all.
#[derive(Clone, Debug)]
struct Members {
    group: Group,
    servers: Vec<usize>,
}

impl Routes {
    /// A server may be in several of the `groups`.
    pub(crate) fn new(groups: impl IntoIterator<Item = Group>, connections: usize) -> Self {
        let mut routes = Self { servers: Vec::new(), groups: Vec::new(), connections: connections.max(1) };
        for group in groups {
            let servers = group.servers().iter().map(|server| routes.add(&server.address)).collect();
            routes.groups.push(Members { group, servers });
        }
        routes
    }

    /// The index of a server, which is added if it is new.
    fn add(&mut self, address: &Address) -> usize {
        let known = self.servers.iter().position(|server| server.is_same_server(address));
        known.unwrap_or_else(|| {
            self.servers.push(address.clone());
            self.servers.len() - 1
        })
    }

    pub(crate) fn servers(&self) -> &[Address] {
        &self.servers
    }

    /// How many indices an encoder may return.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        self.servers.len() * self.connections
    }

    /// The server of a lane, and which of its connections it is.
    pub(crate) fn of_lane(&self, lane: usize) -> (usize, usize) {
        (lane / self.connections, lane % self.connections)
    }

    /// The lane of a key whose encoder returned `group`. It depends on the server and the key alone, so that the
    /// records of a key stay in order whatever their group is.
    /// `None` if there is no such group.
    pub(crate) fn lane(&self, group: usize, key: &[u8]) -> Option<usize> {
        let (_, server) = self.server(group, key)?;
        Some(server * self.connections + connection(key, self.connections))
    }

    /// The server of a key whose encoder returned `group`: which one of the group it is, and which one of all.
    /// `None` if there is no such group.
    pub(crate) fn server(&self, group: usize, key: &[u8]) -> Option<(usize, usize)> {
        let Members { group, servers } = self.groups.get(group)?;
        let of_group = group.server(key);
        Some((of_group, servers[of_group]))
    }

    /// As for a dry run, in which each group has a lane of its own.
    pub(crate) fn by_group(&self) -> Self {
        let firsts = self.groups.iter().map(|members| self.servers[members.servers[0]].clone());
        let groups = |(at, address): (usize, Address)| Members { group: address.into(), servers: vec![at] };
        Self {
            servers: firsts.clone().collect(),
            groups: firsts.enumerate().map(groups).collect(),
            connections: 1,
        }
    }
}

/// Which of a server's connections a key takes: the IEEE CRC-32 of the key modulo their number.
fn connection(key: &[u8], connections: usize) -> usize {
    if connections == 1 {
        return 0;
    }
    crc32_ieee(key) as usize % connections
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Distribution, GroupServer};

    #[test]
    fn keys_that_memcached_takes() {
        for (key, good) in [
            (&b"idfa:e7e1"[..], true),
            (&[b'k'; 250], true),
            (&[b'k'; 251], false),
            (b"", false),
            (b"a b", false),
            (b"a\rb", false),
            (b"a\nset x 0 0 1", false),
            (b"a\0", false),
            (b"a\x1f", false),
            (b"a\x7f", false),
            (b"\x80\xff", true),
        ] {
            assert_eq!(is_key(key), good, "{}", key.escape_ascii());
        }
    }

    #[test]
    fn a_key_takes_the_connection_of_its_checksum() {
        // The check value of CRC-32.
        assert_eq!(connection(b"123456789", 1 << 20), 0xcbf4_3926 % (1 << 20));
        assert_eq!(connection(b"123456789", 1), 0);
        let taken: Vec<_> = (0..100_u8).map(|byte| connection(&[byte], 3)).collect();
        assert!((0..3).all(|it| taken.iter().filter(|taken| **taken == it).count() > 20), "{taken:?}");
    }

    #[test]
    fn all_groups_of_a_server_share_its_lanes() {
        let addresses: [Address; 5] =
            ["a:1", "b:1", "ann:secret@a:1", "a:2", "b:1"].map(|it| it.parse().expect("an address"));
        let routes = Routes::new(addresses.map(Group::from), 2);
        assert_eq!(
            routes.servers().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a:1", "b:1", "a:2"]
        );
        assert_eq!((routes.groups(), routes.lanes()), (5, 6));
        for key in [&b"idfa:x:1"[..], b"y", b"z"] {
            assert_eq!(routes.lane(0, key), routes.lane(2, key));
            assert_eq!(routes.lane(1, key), routes.lane(4, key));
            let lanes = [0, 1, 3].map(|group| routes.of_lane(routes.lane(group, key).expect("a group")));
            assert_eq!(lanes.map(|(server, _)| server), [0, 1, 2]);
            assert!(lanes.iter().all(|(_, connection)| *connection == lanes[0].1));
            assert_eq!((routes.lane(5, key), routes.by_group().lane(5, key)), (None, None));
            assert_eq!([0, 2, 4].map(|group| routes.by_group().lane(group, key)), [0, 2, 4].map(Some));
        }
    }

    /// A record that reaches one server by two groups takes one connection.
    #[test]
    fn servers_of_a_list_are_servers_like_others() {
        let group = |list: &[&str]| {
            let servers = list.iter().map(|text| text.parse::<GroupServer>().expect("a sound server"));
            Group::new(servers, Distribution::Crc32).expect("a sound group")
        };
        let groups = [group(&["a:1", "b:1", "c:1"]), group(&["c:1:3", "a:1", "d:1"]), group(&["b:1"])];
        let routes = Routes::new(groups.clone(), 2);
        assert_eq!(
            routes.servers().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a:1", "b:1", "c:1", "d:1"]
        );
        let mut met = [false; 8];
        for key in (0..200).map(|key| format!("idfa:{key}").into_bytes()) {
            for (at, group) in groups.iter().enumerate() {
                let (server, of_all) = routes.server(at, &key).expect("a group");
                assert_eq!(server, group.server(&key));
                let lane = routes.lane(at, &key).expect("a group");
                let (of_lane, connection_of_lane) = routes.of_lane(lane);
                assert_eq!(of_lane, of_all);
                assert_eq!(routes.servers()[of_lane], group.servers()[server].address);
                assert_eq!(connection_of_lane, connection(&key, 2));
                met[lane] = true;
            }
            assert_eq!(routes.by_group().lane(1, &key), Some(1));
        }
        assert_eq!(met, [true; 8]);
    }
}
