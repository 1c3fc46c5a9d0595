//! The handshake: two processes show each other that they know the secret, are of one version, and have the same options,
//! before anything else is read from the connection.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use openssl::hash::MessageDigest;
use openssl::memcmp;
use openssl::pkey::PKey;
use openssl::rand::rand_bytes;
use openssl::sign::Signer;
use serde::{Deserialize, Serialize};

/// What a connection begins with. The number goes up when the handshake changes.
const MAGIC: &[u8] = b"memc-load cluster 1\n";

const NONCE_BYTES: usize = 32;

const PROOF_BYTES: usize = 32;

/// No hello is longer: a few options, and the addresses of all processes.
const MAX_HELLO_BYTES: usize = 1024 * 1024;

/// The variable with the secret.
pub(crate) const SECRET: &str = "MEMC_LOAD_CLUSTER_SECRET";

/// What a process says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Hello {
    pub(crate) version: String,
    pub(crate) process: usize,
    /// Options that have to be the same everywhere, with their values.
    pub(crate) options: Vec<(String, String)>,
}

/// Why there is no agreement.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The other side is no memc-load, or the connection broke.
    Stranger(io::Error),
    /// This is wrong with the other process, which said this number.
    Peer(Option<usize>, String),
}

impl From<io::Error> for Refused {
    fn from(error: io::Error) -> Self {
        Self::Stranger(error)
    }
}

/// Shakes hands until `until` at the latest; the other process, or why it cannot be worked with.
pub(crate) fn shake(
    socket: &TcpStream,
    own: &Hello,
    secret: &[u8],
    until: Instant,
) -> Result<Hello, Refused> {
    let mut own_nonce = [0; NONCE_BYTES];
    rand_bytes(&mut own_nonce).map_err(io::Error::other)?;
    // Numbers and texts always become JSON.
    let own_hello = serde_json::to_vec(own).unwrap_or_default();
    let length = u32::try_from(own_hello.len()).unwrap_or(u32::MAX);
    send(socket, &[MAGIC, &own_nonce, &length.to_le_bytes(), &own_hello].concat(), until)?;
    if receive(socket, MAGIC.len(), until)? != MAGIC {
        return Err(io::Error::new(
            ErrorKind::InvalidData,
            "what answers there is no memc-load of this kind",
        )
        .into());
    }
    let nonce = receive(socket, NONCE_BYTES, until)?;
    let length = receive(socket, 4, until)?;
    let length = length.try_into().map_or(usize::MAX, |bytes| u32::from_le_bytes(bytes) as usize);
    if length > MAX_HELLO_BYTES {
        return Err(io::Error::from(ErrorKind::InvalidData).into());
    }
    let hello = receive(socket, length, until)?;
    send(socket, &proof(secret, &nonce, &own_nonce, &own_hello)?, until)?;
    let found = receive(socket, PROOF_BYTES, until)?;
    let expected = proof(secret, &own_nonce, &nonce, &hello)?;
    if found.len() != expected.len() || !memcmp::eq(&found, &expected) || nonce == own_nonce {
        let process = serde_json::from_slice::<Hello>(&hello).ok().map(|hello| hello.process);
        let text = format!("its secret is another one: give all processes the same {SECRET}");
        return Err(Refused::Peer(process, text));
    }
    let hello: Hello = serde_json::from_slice(&hello)
        .map_err(|_| Refused::Peer(None, "it is another version of memc-load".to_owned()))?;
    match difference(own, &hello) {
        Some(problem) => Err(Refused::Peer(Some(hello.process), problem)),
        None => Ok(hello),
    }
}

/// What is not the same in both processes.
fn difference(own: &Hello, other: &Hello) -> Option<String> {
    if own.version != other.version {
        return Some(format!(
            "it is memc-load {}, and this is {}: all processes must be of one version",
            other.version, own.version
        ));
    }
    let differing = own.options.iter().zip(&other.options).find(|(own, other)| own != other);
    if let Some(((name, here), (_, there))) = differing {
        return Some(format!("its options differ: {name} is '{there}' there and '{here}' here"));
    }
    (own.options.len() != other.options.len()).then(|| "its options differ".to_owned())
}

/// What only a process that knows the secret can answer to a nonce.
fn proof(secret: &[u8], nonce: &[u8], own_nonce: &[u8], hello: &[u8]) -> io::Result<Vec<u8>> {
    let sign = || {
        // Without a secret all processes have the same one.
        let key = PKey::hmac(&[b"memc-load", secret].concat())?;
        let mut signer = Signer::new(MessageDigest::sha256(), &key)?;
        for part in [nonce, own_nonce, hello] {
            signer.update(part)?;
        }
        signer.sign_to_vec()
    };
    sign().map_err(|error: openssl::error::ErrorStack| io::Error::other(error))
}

fn left(until: Instant) -> io::Result<Option<Duration>> {
    match until.saturating_duration_since(Instant::now()) {
        Duration::ZERO => Err(ErrorKind::TimedOut.into()),
        left => Ok(Some(left)),
    }
}

fn send(mut socket: &TcpStream, bytes: &[u8], until: Instant) -> io::Result<()> {
    socket.set_write_timeout(left(until)?)?;
    socket.write_all(bytes)
}

/// Reads exactly `length` bytes before the deadline, in pieces of any size.
fn receive(mut socket: &TcpStream, length: usize, until: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; length];
    let mut filled = 0;
    while filled < length {
        socket.set_read_timeout(left(until)?)?;
        match socket.read(&mut bytes[filled..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => filled += read,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    fn hello(version: &str, process: usize, workers: &str) -> Hello {
        let options = vec![("--workers".to_owned(), workers.to_owned())];
        Hello { version: version.to_owned(), process, options }
    }

    /// What both sides find.
    fn shake_both(sides: [(Hello, &str); 2]) -> io::Result<[Result<usize, String>; 2]> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let until = Instant::now() + Duration::from_secs(5);
        let found = |socket: &TcpStream, (own, secret): &(Hello, &str)| match shake(
            socket,
            own,
            secret.as_bytes(),
            until,
        ) {
            Ok(other) => Ok(other.process),
            Err(Refused::Peer(process, problem)) => Err(format!("{process:?} {problem}")),
            Err(Refused::Stranger(error)) => Err(error.to_string()),
        };
        let [one, other] = sides;
        let connected = TcpStream::connect(listener.local_addr()?)?;
        std::thread::scope(|scope| {
            let first = scope.spawn(|| found(&connected, &one));
            let second = found(&listener.accept()?.0, &other);
            Ok([first.join().expect("no panic"), second])
        })
    }

    #[test]
    fn both_sides_find_what_differs() -> io::Result<()> {
        let same = shake_both([(hello("1", 0, "2"), "secret"), (hello("1", 1, "2"), "secret")])?;
        assert_eq!(same, [Ok(1), Ok(0)]);
        let [one, other] = shake_both([(hello("1", 0, "2"), "secret"), (hello("1", 1, "2"), "")])?;
        for (found, process) in [(one, "Some(1)"), (other, "Some(0)")] {
            assert_eq!(
                found,
                Err(format!("{process} its secret is another one: give all processes the same {SECRET}"))
            );
        }
        let [one, _] = shake_both([(hello("1", 0, "2"), ""), (hello("2", 1, "2"), "")])?;
        let text = "Some(1) it is memc-load 2, and this is 1: all processes must be of one version";
        assert_eq!(one, Err(text.to_owned()));
        let [_, other] = shake_both([(hello("1", 0, "2"), ""), (hello("1", 1, "3"), "")])?;
        assert_eq!(other, Err("Some(0) its options differ: --workers is '2' there and '3' here".to_owned()));
        Ok(())
    }
}
