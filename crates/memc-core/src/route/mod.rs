//! Finds the place of a record: whether its key is one, which server stores it, and on which connection it goes there.

use crate::Address;

/// The longest key, from memcached's
/// [protocol](https://github.com/memcached/memcached/blob/master/doc/protocol.txt), section "Keys".
pub(crate) const MAX_KEY_BYTES: usize = 250;

/// Whether memcached takes it as a key, and as nothing but a key.
pub(crate) fn is_key(key: &[u8]) -> bool {
    // Without a way out of the loop, many bytes are looked at in one step.
    let bad = key.iter().fold(false, |bad, &byte| bad | (byte <= 32) | (byte == 127));
    !key.is_empty() && key.len() <= MAX_KEY_BYTES && !bad
}

/// The servers and their connections. Each connection has one lane, of which the first ones are those of the first
/// server.
#[derive(Clone, Debug)]
pub(crate) struct Routes {
    /// Each server once, in the order in which they are first given.
    servers: Vec<Address>,
    /// For each index that an encoder may return, the index of its server.
    places: Vec<usize>,
    connections: usize,
}

impl Routes {
    /// Several of `addresses` may be of one server.
    pub(crate) fn new(addresses: &[Address], connections: usize) -> Self {
        let mut servers: Vec<Address> = Vec::new();
        let places = addresses
            .iter()
            .map(|address| {
                let known = servers.iter().position(|server| server.is_same_server(address));
                known.unwrap_or_else(|| {
                    servers.push(address.clone());
                    servers.len() - 1
                })
            })
            .collect();
        Self { servers, places, connections: connections.max(1) }
    }

    pub(crate) fn servers(&self) -> &[Address] {
        &self.servers
    }

    /// How many indices an encoder may return.
    pub(crate) fn places(&self) -> usize {
        self.places.len()
    }

    /// How many lanes there are.
    pub(crate) fn lanes(&self) -> usize {
        self.servers.len() * self.connections
    }

    /// The server of a lane, and which of its connections it is.
    pub(crate) fn of_lane(&self, lane: usize) -> (usize, usize) {
        (lane / self.connections, lane % self.connections)
    }

    /// The lane of a key whose encoder returned `place`. It depends on the server and the key alone, so that the
    /// records of a key stay in order whatever their place is.
    /// `None` if there is no such place.
    pub(crate) fn lane(&self, place: usize, key: &[u8]) -> Option<usize> {
        let server = *self.places.get(place)?;
        Some(server * self.connections + connection(key, self.connections))
    }

    /// As for a dry run, in which each place has a lane of its own.
    pub(crate) fn by_place(&self) -> Self {
        let servers = self.places.iter().map(|&server| self.servers[server].clone()).collect();
        Self { servers, places: (0..self.places.len()).collect(), connections: 1 }
    }
}

/// Which of a server's connections a key takes: the IEEE CRC-32 of the key modulo their number.
fn connection(key: &[u8], connections: usize) -> usize {
    if connections == 1 {
        return 0;
    }
    crc32fast::hash(key) as usize % connections
}

#[cfg(test)]
mod tests {
    use super::*;

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
    fn all_places_of_a_server_share_its_lanes() {
        let addresses =
            ["a:1", "b:1", "ann:secret@a:1", "a:2", "b:1"].map(|it| it.parse().expect("an address"));
        let routes = Routes::new(&addresses, 2);
        assert_eq!(
            routes.servers().iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["a:1", "b:1", "a:2"]
        );
        assert_eq!((routes.places(), routes.lanes()), (5, 6));
        for key in [&b"idfa:x:1"[..], b"y", b"z"] {
            assert_eq!(routes.lane(0, key), routes.lane(2, key));
            assert_eq!(routes.lane(1, key), routes.lane(4, key));
            let lanes = [0, 1, 3].map(|place| routes.of_lane(routes.lane(place, key).expect("a place")));
            assert_eq!(lanes.map(|(server, _)| server), [0, 1, 2]);
            assert!(lanes.iter().all(|(_, connection)| *connection == lanes[0].1));
            assert_eq!((routes.lane(5, key), routes.by_place().lane(5, key)), (None, None));
            assert_eq!([0, 2, 4].map(|place| routes.by_place().lane(place, key)), [0, 2, 4].map(Some));
        }
    }
}
