//! Several servers that share the keys of one type, as the readers of those servers share them out.

use std::collections::HashSet;
use std::fmt;

use crate::Address;
use crate::route::buckets::Buckets;
use crate::route::choice::Choice;
use crate::route::distribution::Distribution;
use crate::route::hash::{crc32, crc32_ieee, crc32_nonzero, md5, one_at_a_time};
use crate::route::rendezvous::Rendezvous;
use crate::route::ring::Ring;
use crate::route::server::GroupServer;

/// Servers that share keys: the one that holds a key is the one where its readers look for it.
///
/// ```
/// use memc_core::{Distribution, Group, GroupServer};
///
/// let servers = ["10.0.0.1:11211", "10.0.0.2:11211:2", "10.0.0.3:11212:1 gamma"];
/// let servers: Result<Vec<GroupServer>, _> = servers.iter().map(|text| text.parse()).collect();
/// let group = Group::new(servers?, Distribution::Ketama)?;
///
/// let at = group.server(b"idfa:e7e1a50c0ec2747ca56cd9e1558c0d7c");
/// assert_eq!(group.servers()[at].address.to_string(), "10.0.0.1:11211");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// The readers must be given the same servers with the same text (`localhost` is not `127.0.0.1`) and weights,
/// and, where servers are counted and not put on a ring, in the same order.
#[derive(Clone, Debug)]
pub struct Group {
    servers: Vec<GroupServer>,
    distribution: Distribution,
    mapping: Mapping,
}

/// How a key becomes the index of a server.
#[derive(Clone, Debug)]
enum Mapping {
    /// There is one server, and nothing to choose.
    Single,
    Ring(Ring, fn(&[u8]) -> u32),
    Buckets(Buckets, fn(&[u8]) -> u32),
    Rendezvous(Rendezvous),
}

impl Mapping {
    #[inline(never)]
    fn server(&self, key: &[u8]) -> usize {
        match self {
            Self::Single => 0,
            Self::Ring(ring, hash) => ring.point(hash(key)).1,
            Self::Buckets(buckets, hash) => buckets.bucket(hash(key)).1,
            Self::Rendezvous(rendezvous) => rendezvous.highest(key).1,
        }
    }
}

impl Group {
    /// A group of these servers, in the order in which its readers have them.
    ///
    /// # Errors
    ///
    /// If there is no server, if two have the same address or name, if a weight is 0 or a name empty, or if
    /// there are weights or names and readers with this distribution know none.
    pub fn new(
        servers: impl IntoIterator<Item = GroupServer>,
        distribution: Distribution,
    ) -> Result<Self, GroupError> {
        let servers: Vec<GroupServer> = servers.into_iter().collect();
        check(&servers, distribution)?;
        let mapping = if servers.len() == 1 { Mapping::Single } else { mapping(&servers, distribution) };
        Ok(Self { servers, distribution, mapping })
    }

    /// The index among [`servers`](Self::servers) of the one that holds the key.
    #[inline]
    #[must_use]
    pub fn server(&self, key: &[u8]) -> usize {
        // Without a call for the many groups that are one server.
        if let Mapping::Single = self.mapping { 0 } else { self.mapping.server(key) }
    }

    /// Why [`server`](Self::server) chooses the one that it does.
    #[must_use]
    pub fn choice(&self, key: &[u8]) -> Choice {
        match &self.mapping {
            Mapping::Single => Choice::Single,
            Mapping::Ring(ring, hash) => {
                let hash = hash(key);
                Choice::Point { hash, point: ring.point(hash).0 }
            }
            Mapping::Buckets(buckets, hash) => {
                let hash = hash(key);
                Choice::Bucket { hash, bucket: buckets.bucket(hash).0, buckets: buckets.count() }
            }
            Mapping::Rendezvous(rendezvous) => Choice::Score { score: rendezvous.highest(key).0 },
        }
    }

    /// The part of all possible hashes that belongs to each server, in their order; together 1. Of many keys each server
    /// holds about as large a part.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
    pub fn shares(&self) -> Vec<f64> {
        let hashes = match &self.mapping {
            Mapping::Single => vec![1],
            Mapping::Ring(ring, _) => ring.hashes(self.servers.len()),
            Mapping::Buckets(buckets, _) => buckets.hashes(self.distribution.hashes()),
            Mapping::Rendezvous(_) => vec![1; self.servers.len()],
        };
        let all: u64 = hashes.iter().sum();
        hashes.into_iter().map(|part| part as f64 / all as f64).collect()
    }

    /// Its servers, in the given order.
    #[must_use]
    pub fn servers(&self) -> &[GroupServer] {
        &self.servers
    }

    /// How its readers choose among them.
    #[must_use]
    pub fn distribution(&self) -> Distribution {
        self.distribution
    }
}

/// Its servers as a list, with commas between them, and without passwords.
impl fmt::Display for Group {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, server) in self.servers.iter().enumerate() {
            write!(out, "{}{server}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

/// A group of one server, which holds all keys.
impl From<Address> for Group {
    fn from(address: Address) -> Self {
        let servers = vec![address.into()];
        Self { servers, distribution: Distribution::default(), mapping: Mapping::Single }
    }
}

fn check(servers: &[GroupServer], distribution: Distribution) -> Result<(), GroupError> {
    if servers.is_empty() {
        return Err(GroupError::Empty);
    }
    let (mut places, mut names) = (HashSet::new(), HashSet::new());
    for server in servers {
        let address = || server.address.to_string();
        if server.weight == 0 {
            return Err(GroupError::ZeroWeight { address: address() });
        }
        if server.weight > 1 && !distribution.has_weights_and_names() {
            return Err(GroupError::Weight { address: address(), distribution });
        }
        if !places.insert(server.address.place()) {
            return Err(GroupError::DuplicateAddress { address: address() });
        }
        if let Some(name) = &server.name {
            if !distribution.has_weights_and_names() {
                return Err(GroupError::Name { address: address(), distribution });
            }
            if name.is_empty() || name.contains(|c: char| c.is_whitespace() || c.is_control()) {
                return Err(GroupError::BadName { address: address(), name: name.clone() });
            }
        }
        if !names.insert(server.ring_name()) {
            return Err(GroupError::DuplicateName { address: address(), name: server.ring_name() });
        }
    }
    Ok(())
}

fn mapping(servers: &[GroupServer], distribution: Distribution) -> Mapping {
    let names: Vec<String> = servers.iter().map(GroupServer::ring_name).collect();
    let weighted: Vec<(&str, u32)> =
        names.iter().zip(servers).map(|(name, server)| (name.as_str(), server.weight)).collect();
    let buckets = || Buckets::new(servers.iter().map(|server| server.weight));
    match distribution {
        Distribution::Ketama => Mapping::Ring(Ring::weighted(&weighted), md5),
        // libmemcached takes the other ring as soon as it sees a weight, and leaves the hash as it is.
        Distribution::KetamaPlain if servers.iter().any(|server| server.weight > 1) => {
            Mapping::Ring(Ring::weighted(&weighted), one_at_a_time)
        }
        Distribution::KetamaPlain => Mapping::Ring(Ring::plain(&weighted), one_at_a_time),
        Distribution::OneAtATime => Mapping::Buckets(buckets(), one_at_a_time),
        Distribution::Crc32 => Mapping::Buckets(buckets(), crc32),
        Distribution::Crc32Nonzero => Mapping::Buckets(buckets(), crc32_nonzero),
        Distribution::Crc32Ieee => Mapping::Buckets(buckets(), crc32_ieee),
        Distribution::Rendezvous => {
            let names: Vec<String> = servers.iter().map(GroupServer::client_key).collect();
            Mapping::Rendezvous(Rendezvous::new(names.iter().map(String::as_str)))
        }
    }
}

/// Why servers cannot be a [`Group`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum GroupError {
    /// There is none.
    #[error("a group needs at least one server")]
    Empty,
    /// Two servers have one address.
    #[error("server '{address}' is listed twice: give each server once, with a weight")]
    DuplicateAddress {
        /// The server's address.
        address: String,
    },
    /// Two servers have one name, or one has the name that another has by its address.
    #[error("server '{address}' has the name '{name}', as another server does: give each a name of its own")]
    DuplicateName {
        /// The second server's address.
        address: String,
        /// The name.
        name: String,
    },
    /// A name is empty, or has white space in it.
    #[error("server '{address}' has the name '{name}': give a name without white space, or none")]
    BadName {
        /// The server's address.
        address: String,
        /// The name.
        name: String,
    },
    /// A weight is 0.
    #[error("server '{address}' has the weight 0: give 1 or more")]
    ZeroWeight {
        /// The server's address.
        address: String,
    },
    /// A weight is given, and readers with this distribution know none.
    #[error(
        "server '{address}' has a weight, which means nothing to readers with distribution {distribution}"
    )]
    Weight {
        /// The server's address.
        address: String,
        /// The group's.
        distribution: Distribution,
    },
    /// A name is given, and readers with this distribution know none.
    #[error("server '{address}' has a name, which means nothing to readers with distribution {distribution}")]
    Name {
        /// The server's address.
        address: String,
        /// The group's.
        distribution: Distribution,
    },
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(servers: &[&str], distribution: Distribution) -> Result<Group, GroupError> {
        Group::new(servers.iter().map(|text| text.parse().expect("a sound server")), distribution)
    }

    #[test]
    fn servers_that_are_no_group_are_refused_with_the_reason() {
        use Distribution::{Crc32, Ketama, OneAtATime, Rendezvous};
        for (servers, distribution, message) in [
            (&[][..], Ketama, "a group needs at least one server"),
            (&["a:1:0"], Ketama, "server 'a:1' has the weight 0: give 1 or more"),
            (
                &["a:1", "b:1", "u:p@a:1"],
                Crc32,
                "server 'u@a:1' is listed twice: give each server once, with a weight",
            ),
            (
                &["a:1 one", "b:1 one"],
                Ketama,
                "server 'b:1' has the name 'one', as another server does: give each a name of its own",
            ),
            (
                &["a:11211", "b:1 a"],
                Ketama,
                "server 'b:1' has the name 'a', as another server does: give each a name of its own",
            ),
            (
                &["a:1 one two"],
                Ketama,
                "server 'a:1' has the name 'one two': give a name without white space, or none",
            ),
            (&["a:1 "], Ketama, "server 'a:1' has the name '': give a name without white space, or none"),
            (
                &["a:1", "b:1:2"],
                Rendezvous,
                "server 'b:1' has a weight, which means nothing to readers with distribution rendezvous",
            ),
            (
                &["a:1", "b:1 two"],
                OneAtATime,
                "server 'b:1' has a name, which means nothing to readers with distribution one-at-a-time",
            ),
        ] {
            let error = group(servers, distribution).map(drop).map_err(|error| error.to_string());
            assert_eq!(error, Err(message.to_owned()), "{servers:?}");
        }
    }

    #[test]
    fn of_one_server_nothing_is_hashed() {
        for distribution in Distribution::ALL {
            let group = group(&["a:11211"], distribution).expect("a sound group");
            assert!(matches!(group.mapping, Mapping::Single), "{distribution}");
            assert_eq!((group.server(b"idfa:1"), group.server(b"")), (0, 0));
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_key_has_a_server(
            count in 1..40usize,
            weights in prop::collection::vec(1..=u32::MAX, 40),
            at in 0..Distribution::ALL.len(),
            keys in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..260), 1..20),
        ) {
            let distribution = Distribution::ALL[at];
            let servers = (0..count).map(|at| {
                let address = format!("cache{at}:11211").parse().expect("a sound address");
                let weight = if distribution.has_weights_and_names() { weights[at] } else { 1 };
                GroupServer::new(address, weight, None)
            });
            let group = Group::new(servers, distribution).expect("a sound group");
            for key in keys {
                prop_assert!(group.server(&key) < count);
            }
        }
    }

    #[test]
    fn weights_are_respected() {
        for distribution in Distribution::ALL {
            let weights = if distribution.has_weights_and_names() { [1, 2, 5] } else { [1, 1, 1] };
            let servers = (0..).zip(weights).map(|(at, weight)| {
                GroupServer::new(format!("10.0.0.{at}:33013").parse().expect("sound"), weight, None)
            });
            let group = Group::new(servers, distribution).expect("a sound group");
            let mut counts = [0; 3];
            for key in 0..30_000 {
                counts[group.server(format!("idfa:{key:032x}").as_bytes())] += 1;
            }
            for (count, weight) in counts.into_iter().zip(weights) {
                let fair = 30_000 * weight / weights.iter().sum::<u32>();
                // Rings are rough.
                assert!((fair * 7 / 10..=fair * 13 / 10).contains(&count), "{distribution}: {counts:?}");
            }
            let shares = group.shares();
            assert!((shares.iter().sum::<f64>() - 1.0).abs() < 1e-9, "{distribution}: {shares:?}");
            for (count, share) in counts.into_iter().zip(shares) {
                let found = f64::from(count) / 30_000.0;
                assert!((found - share).abs() < 0.02, "{distribution}: {found} of the keys, not {share}");
            }
        }
    }
}
