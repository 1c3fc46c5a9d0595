//! A server of a group: its address, weight and name, and what readers call it.

use std::fmt;
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

    /// The servers of a list, with commas between them and white space around them. A password may have commas in it,
    /// the path of a socket cannot.
    ///
    /// ```
    /// use memc_core::GroupServer;
    ///
    /// let servers = GroupServer::list("10.0.0.1:11211:2 alpha, 10.0.0.2:11211,unix:/run/m.sock")?;
    /// assert_eq!((servers.len(), servers[0].weight), (3, 2));
    /// # Ok::<(), memc_core::AddressError>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The first piece that is no server.
    pub fn list(mut text: &str) -> Result<Vec<Self>, AddressError> {
        let mut servers = Vec::new();
        loop {
            let ends = text.match_indices(',').map(|(at, _)| at).chain([text.len()]);
            // Mostly the first piece is a server, else what it is with the next ones, if they belong to its password.
            let found = ends.filter_map(|end| Some((text[..end].trim().parse::<Self>().ok()?, end))).next();
            let Some((server, end)) = found else { return Err(not_in_list(text)) };
            servers.push(server);
            match text.get(end + 1..) {
                Some(rest) => text = rest,
                None => return Ok(servers),
            }
        }
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

/// Why a list cannot go on with this.
fn not_in_list(text: &str) -> AddressError {
    let (piece, rest) = text.split_once(',').unwrap_or((text, ""));
    let piece = piece.trim();
    if piece.is_empty() {
        let problem = "nothing stands before or behind a comma";
        return AddressError { text: String::new(), problem };
    }
    match piece.parse::<GroupServer>() {
        // It may be the start of a user and a password.
        Err(AddressError { problem, .. }) if rest.contains('@') => {
            AddressError { text: "…".to_owned(), problem }
        }
        Err(error) => error,
        Ok(_) => AddressError { text: "…".to_owned(), problem: "it is none" },
    }
}

/// As it is parsed, but without the password.
impl fmt::Display for GroupServer {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}", self.address)?;
        if self.weight != 1 {
            write!(out, ":{}", self.weight)?;
        }
        self.name.as_ref().map_or(Ok(()), |name| write!(out, " {name}"))
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
            let shown = server.to_string();
            if address.contains('@') {
                assert!(shown.starts_with(address), "{shown}");
            } else {
                assert_eq!(shown.parse(), Ok(server));
            }
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

    #[test]
    fn a_list_has_commas_between_its_servers() {
        for (text, servers) in [
            ("h:1", &["h:1"][..]),
            ("h:1,i:2:3, unix:/run/m.sock m ,[::1]:4", &["h:1", "i:2:3", "unix:/run/m.sock m", "[::1]:4"]),
            ("ann:se,cr,et@h:1,tls:bob:x@i:2:5", &["ann@h:1", "tls:bob@i:2:5"]),
        ] {
            let list = GroupServer::list(text).expect("a sound list");
            assert_eq!(list.iter().map(ToString::to_string).collect::<Vec<_>>(), servers);
        }
        for (text, message) in [
            ("", "'' is not a server address: nothing stands before or behind a comma"),
            ("h:1,", "'' is not a server address: nothing stands before or behind a comma"),
            ("h:1,,i:2", "'' is not a server address: nothing stands before or behind a comma"),
            ("h:1,i", "'i' is not a server address: the port is missing"),
            ("h,i:2", "'h' is not a server address: the port is missing"),
            (
                "h:1:x,i:2",
                "'h:1:x' is not a server address: the weight behind the port is not a whole number",
            ),
            ("unix:/run/m,1.sock", "'1.sock' is not a server address: the port is missing"),
            ("h:1,ann:secret@i", "'…@i' is not a server address: the port is missing"),
            (
                "ann:secret,more@i,h:2",
                "'…' is not a server address: the port is not a number from 1 to 65535",
            ),
        ] {
            let error = GroupServer::list(text).expect_err("unsound").to_string();
            assert!(error.starts_with(message), "{error}");
        }
    }
}
