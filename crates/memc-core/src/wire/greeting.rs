//! How a connection begins: who is there, who we are, which protocol is spoken, and which process it is.

use std::io;
use std::time::Instant;

use crate::wire::address::{Address, Credentials};
use crate::wire::answers::{failing, unexpected};
use crate::wire::connection::Connection;
use crate::wire::patience::Patience;
use crate::wire::protocol::{Manner, Protocol};

/// The first version of memcached that has meta commands.
const META_SINCE: (u32, u32) = (1, 6);

/// Something that closes the connection at a question, or answers it with something else, is asked this often.
const TRIES: u32 = 2;

impl Connection {
    /// Connects, logs in if asked to, identifies the process if it can be, and makes sure that it speaks the protocol.
    ///
    /// That is the one of the `manner` which an earlier connection has found out, else the one that is `wanted`, else
    /// the one that the server turns out to speak.
    pub(crate) fn open(
        address: &Address,
        patience: &Patience,
        wanted: Option<Protocol>,
        manner: Option<Manner>,
    ) -> io::Result<Self> {
        let mut connection = Self::greet(address, patience)?;
        let again = || Self::greet(address, patience);
        let protocol = match manner.map(|it| it.protocol).or(wanted) {
            Some(protocol) => protocol,
            None if has_meta(&connection.version)
                && probe(&mut connection, again, Self::speaks_meta)? == Some(true) =>
            {
                Protocol::Meta
            }
            None => Protocol::Classic,
        };
        connection.manner = Manner { protocol, has_statistics: true };
        if protocol == Protocol::Meta && (manner.is_some() || wanted.is_some()) {
            connection.check()?;
        }
        let asked = Instant::now();
        let stats = match (manner, protocol) {
            (None, Protocol::Classic) => probe(&mut connection, again, Self::stats)?,
            (Some(Manner { has_statistics: false, .. }), _) => None,
            _ => Some(connection.stats()?),
        };
        connection.manner = Manner { protocol, has_statistics: stats.is_some() };
        connection.first_stats = stats.map(|stats| (stats, asked));
        Ok(connection)
    }

    /// A connection to a server that has said its version.
    fn greet(address: &Address, patience: &Patience) -> io::Result<Self> {
        let mut connection = Self::new(address.connect(patience)?, patience);
        let mut answer = connection.ask_version()?;
        if answer.starts_with(b"CLIENT_ERROR unauth") {
            let Some(credentials) = address.credentials() else {
                let text = "it asks for a user and a password: give user:password@host:port";
                return Err(io::Error::new(io::ErrorKind::PermissionDenied, text));
            };
            // One that does not ask would store them as a record, for anybody to read.
            connection.authenticate(credentials)?;
            answer = connection.ask_version()?;
        }
        connection.version = match answer.strip_prefix(b"VERSION ") {
            Some(version) => String::from_utf8_lossy(version).trim().to_owned(),
            // It knows no versions.
            None if answer == b"ERROR" => String::new(),
            None if answer.starts_with(b"SERVER_ERROR") => return Err(failing(&answer)),
            None => return Err(unexpected(&answer)),
        };
        Ok(connection)
    }

    /// Logs in, in the way of the protocol page's "Authentication": a set whose key does not matter.
    fn authenticate(&mut self, credentials: &Credentials) -> io::Result<()> {
        let text = format!("{} {}", credentials.user, credentials.password);
        let command = format!("set auth 0 0 {}\r\n{text}\r\n", text.len());
        let answer = self.ask(command.as_bytes(), |line| Err(unexpected(line)))?;
        if answer == b"STORED" {
            return Ok(());
        }
        if !answer.starts_with(b"CLIENT_ERROR auth") {
            return Err(unexpected(&answer));
        }
        let text = format!("it does not accept user '{}' with the given password", credentials.user);
        Err(io::Error::new(io::ErrorKind::PermissionDenied, text))
    }
}

/// Asks something that not all servers answer; `None` if it is none that does. Then, and where it closes the
/// connection, another one that was greeted takes its place.
fn probe<T>(
    connection: &mut Connection,
    again: impl Fn() -> io::Result<Connection>,
    ask: impl Fn(&mut Connection) -> io::Result<T>,
) -> io::Result<Option<T>> {
    for _ in 0..TRIES {
        match ask(connection) {
            Err(error) if is_no_answer(&error) => *connection = again()?,
            result => return result.map(Some),
        }
    }
    Ok(None)
}

fn is_no_answer(error: &io::Error) -> bool {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, InvalidData, UnexpectedEof};
    matches!(error.kind(), UnexpectedEof | ConnectionReset | ConnectionAborted | BrokenPipe | InvalidData)
}

/// Whether a server of this version may know meta commands.
fn has_meta(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let mut next = || numbers.next().unwrap_or(0);
    (next(), next()) >= META_SINCE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_before_1_6_have_no_meta_commands() {
        for version in ["1.4.5_4_gaa7839e", "1.5.22", "", "0.9", "mcrouter 1.6"] {
            assert!(!has_meta(version), "{version}");
        }
        for version in ["1.6.0-beta1", "1.6.18", "1.10.0", "2.0.0", "9.4.1.Final"] {
            assert!(has_meta(version), "{version}");
        }
    }
}
