//! A server of a group: its address, weight and name, and what readers call it.

use std::str::FromStr;

use crate::error::AddressError;
use crate::wire::address::{Address, Place, without_password};

/// The port that a ring does not mention.
const DEFAULT_PORT: u16 = 11211;

/// A server of a [`Group`](crate::Group).
///
/// As text it is its address, with its weight behind the port and its name behind a space, if it has them:
/// `10.0.0.1:11211`, `10.0.0.1:11211:2`, `10.0.0.1:11211:2 alpha`, `unix:/run/memcached.sock alpha`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupServer {
    /// Where it listens.
    pub address: Address,
    /// Its share of the keys, against the weights of the others. From 1; 1 if nothing else is given.
    pub weight: u32,
    /// What its points on a ring are made of, instead of its address.
    pub name: Option<String>,
}

impl GroupServer {
    /// A server of this weight and name.
    #[must_use]
    pub fn new(address: Address, weight: u32, name: Option<String>) -> Self {
        Self { address, weight, name }
    }

    /// What libmemcached and twemproxy make points of.
    pub(crate) fn ring_name(&self) -> String {
        match (&self.name, self.address.place()) {
            (Some(name), _) => name.clone(),
            (None, Place::Tcp { host, port: DEFAULT_PORT }) => host.clone(),
            (None, Place::Tcp { host, port }) => format!("{host}:{port}"),
            (None, Place::Unix(path)) => format!("{}:0", path.display()),
        }
    }

    /// What pymemcache calls it.
    pub(crate) fn client_key(&self) -> String {
        match self.address.place() {
            Place::Tcp { host, port } => format!("{host}:{port}"),
            Place::Unix(path) => path.display().to_string(),
        }
    }
}

impl From<Address> for GroupServer {
    fn from(address: Address) -> Self {
        Self::new(address, 1, None)
    }
}

impl FromStr for GroupServer {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        let (place, name) = match text.split_once(' ') {
            Some((place, name)) => (place, Some(name.to_owned())),
            None => (text, None),
        };
        // What stands before the last colon is an address of its own only if a weight follows.
        let (address, weight) = match place.rsplit_once(':') {
            Some((front, weight)) if is_tcp(front) => {
                let weight = weight.parse().map_err(|_| AddressError {
                    text: without_password(text),
                    problem: "the weight behind the port is not a whole number",
                })?;
                (front, weight)
            }
            _ => (place, 1),
        };
        Ok(Self::new(address.parse()?, weight, name))
    }
}

fn is_tcp(text: &str) -> bool {
    text.parse::<Address>().is_ok_and(|address| matches!(address.place(), Place::Tcp { .. }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_may_have_a_weight_and_a_name() {
        for (text, address, weight, name) in [
            ("10.0.0.1:11211", "10.0.0.1:11211", 1, None),
            ("10.0.0.1:11211:2", "10.0.0.1:11211", 2, None),
            ("10.0.0.1:11211:2 alpha", "10.0.0.1:11211", 2, Some("alpha")),
            ("10.0.0.1:11211 alpha", "10.0.0.1:11211", 1, Some("alpha")),
            ("[::1]:11211", "[::1]:11211", 1, None),
            ("[::1]:11211:7", "[::1]:11211", 7, None),
            ("tls:ann:1:2@cache:11211:7", "tls:ann@cache:11211", 7, None),
            ("ann:1:2@cache:11211", "ann@cache:11211", 1, None),
            // What follows is a path, to a name.
            ("unix:/run/host:11211:2", "unix:/run/host:11211:2", 1, None),
            ("unix:/run/m.sock /run/m.sock:", "unix:/run/m.sock", 1, Some("/run/m.sock:")),
        ] {
            let server: GroupServer = text.parse().expect("a sound server");
            assert_eq!((server.address.to_string().as_str(), server.weight), (address, weight), "{text}");
            assert_eq!(server.name.as_deref(), name, "{text}");
        }
        for (text, problem) in [
            ("10.0.0.1", "the port is missing"),
            ("10.0.0.1:11211:", "the weight behind the port is not a whole number"),
            ("10.0.0.1:11211:-1", "the weight behind the port is not a whole number"),
            ("10.0.0.1:11211:4294967296", "the weight behind the port is not a whole number"),
            ("::1:11211", "an IPv6 address needs brackets"),
        ] {
            let error = text.parse::<GroupServer>().expect_err("unsound").to_string();
            assert!(error.starts_with(&format!("'{text}' is not a server address: {problem} (")), "{error}");
        }
    }
}
