//! Server addresses: `host:port`, `[v6]:port` and `unix:/path`, with `tls:` or `user:password@` in front.

use std::fmt;
use std::io;
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::{Duration, Instant};

use rustix::io::{Errno, FdFlags, fcntl_setfd};
use rustix::net::{self, AddressFamily, SocketAddrUnix, SocketType, sockopt};

use crate::error::AddressError;
use crate::wire::patience::Patience;
use crate::wire::stream::Stream;

/// The address of one memcached server.
///
/// ```
/// use memc_core::Address;
///
/// for text in ["127.0.0.1:33013", "cache.example:11211", "[::1]:11211", "unix:/run/memcached.sock"] {
///     assert_eq!(text.parse::<Address>()?.to_string(), text);
/// }
/// // The password is not shown.
/// assert_eq!("tls:ann:secret@cache.example:11211".parse::<Address>()?.to_string(), "tls:ann@cache.example:11211");
/// assert!("no port".parse::<Address>().is_err());
/// # Ok::<(), memc_core::AddressError>(())
/// ```
///
/// `tls:` asks for TLS with the server's certificate checked against the system's authorities (or those of the
/// file in the environment variable `SSL_CERT_FILE`). `user:password@` is for servers with an auth file
/// (memcached's option `-Y`), and sent only to one that asks. What follows `unix:/` is a path to its end.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Address {
    place: Place,
    tls: bool,
    credentials: Option<Credentials>,
}

/// The user and password for a server that asks.
#[derive(Clone, PartialEq, Eq, Hash)]
pub(crate) struct Credentials {
    pub(crate) user: String,
    pub(crate) password: String,
}

/// Where a server listens.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// The host as it is given to name resolution, without brackets.
    Tcp { host: String, port: u16 },
    /// The path of a socket.
    Unix(PathBuf),
}

impl Address {
    /// Whether it is the same host and port, or the same path, as `other`. What is written in two ways, as
    /// `localhost` and `127.0.0.1`, counts as two servers.
    #[must_use]
    pub fn is_same_server(&self, other: &Self) -> bool {
        self.place == other.place
    }

    /// Opens a connection, trying each address that a host name stands for, each for as long as the patience lasts.
    /// How long it takes to find these addresses is the system's affair.
    pub(crate) fn connect(&self, patience: &Patience) -> io::Result<Stream> {
        match &self.place {
            Place::Unix(path) => {
                Stream::unix(connect_unix(path, at_least_something(patience.left(Instant::now())))?)
            }
            Place::Tcp { host, port } => {
                let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
                for address in (host.as_str(), *port).to_socket_addrs()? {
                    let timeout = at_least_something(patience.left(Instant::now()));
                    match TcpStream::connect_timeout(&address, timeout) {
                        Ok(stream) if self.tls => return Stream::tls(stream, host, timeout),
                        Ok(stream) => return Stream::tcp(stream),
                        Err(error) => last = error,
                    }
                }
                Err(last)
            }
        }
    }
}

/// The system takes no timeout for none.
fn at_least_something(timeout: Duration) -> Duration {
    timeout.max(Duration::from_millis(1))
}

/// As [`UnixStream::connect`], which waits forever for a server whose queue of connections is full.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let address = SocketAddrUnix::new(path)?;
    let socket = net::socket(AddressFamily::UNIX, SocketType::STREAM, None)?;
    fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
    // It holds for the connecting only: all else is done without blocking.
    sockopt::set_socket_timeout(&socket, sockopt::Timeout::Send, Some(timeout))?;
    match net::connect(&socket, &address) {
        Err(Errno::AGAIN) => Err(io::Error::new(io::ErrorKind::TimedOut, "the server does not accept")),
        result => Ok(result.map(|()| socket.into())?),
    }
}

impl Address {
    /// The host, without brackets, and the port; `None` for a Unix socket.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        match &self.place {
            Place::Tcp { host, port } => Some((host, *port)),
            Place::Unix(_) => None,
        }
    }

    /// The path of a Unix socket.
    #[must_use]
    pub fn socket_path(&self) -> Option<&Path> {
        match &self.place {
            Place::Tcp { .. } => None,
            Place::Unix(path) => Some(path),
        }
    }

    /// Whether the connection is one over TLS.
    #[must_use]
    pub fn is_tls(&self) -> bool {
        self.tls
    }

    /// The user and the password for a server that asks for them. Show neither of them to anybody.
    #[must_use]
    pub fn user_and_password(&self) -> Option<(&str, &str)> {
        self.credentials.as_ref().map(|it| (it.user.as_str(), it.password.as_str()))
    }

    /// Where the server listens.
    pub(crate) fn place(&self) -> &Place {
        &self.place
    }

    /// The user and password, if the server asks.
    pub(crate) fn credentials(&self) -> Option<&Credentials> {
        self.credentials.as_ref()
    }
}

impl FromStr for Address {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        parse(text).map_err(|problem| AddressError { text: without_password(text), problem })
    }
}

/// What may stand before `://` where a user and a password follow. Without those it may be any word.
const SCHEMES: [&str; 5] = ["http", "https", "memcache", "memcached", "tcp"];

fn parse(text: &str) -> Result<Address, &'static str> {
    if has_scheme(text) {
        return Err("give host:port without a scheme such as http://");
    }
    let (tls, rest) = match text.strip_prefix("tls:") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (credentials, rest) = match before_place(rest) {
        Some((who, rest)) => (Some(credentials(who)?), rest),
        None => (None, rest),
    };
    if let Some(path) = rest.strip_prefix("unix:") {
        return match (path, tls) {
            ("", _) => Err("the path of the socket is missing"),
            (_, true) => Err("there is no TLS over a Unix socket"),
            _ => Ok(Address { place: Place::Unix(path.into()), tls, credentials }),
        };
    }
    if rest.contains(',') {
        return Err("a host has no comma in it");
    }
    let (host, port) = rest.rsplit_once(':').ok_or("the port is missing")?;
    let port = port.parse().ok().filter(|&port| port != 0);
    let port = port.ok_or("the port is not a number from 1 to 65535")?;
    let host = match host.strip_prefix('[') {
        Some(v6) => v6.strip_suffix(']').ok_or("the closing bracket is missing")?,
        None if host.contains(':') => return Err("an IPv6 address needs brackets"),
        None => host,
    };
    if host.is_empty() {
        return Err("the host is missing");
    }
    Ok(Address { place: Place::Tcp { host: host.to_owned(), port }, tls, credentials })
}

/// Whether it is a URL. `unix:///path` is none, and neither is a password that starts with `//`.
fn has_scheme(text: &str) -> bool {
    let Some((scheme, _)) = text.split_once("://") else { return false };
    let is_word = scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    let known = |scheme: &str| SCHEMES.iter().any(|known| known.eq_ignore_ascii_case(scheme));
    let transport = scheme.split('+').next().unwrap_or_default();
    is_word && scheme != "unix" && (known(transport) || !text.contains('@'))
}

/// Cuts at the `@` behind user and password, if there is one. What follows `unix:/` is a path, which may have
/// one of its own.
fn before_place(text: &str) -> Option<(&str, &str)> {
    if text.starts_with("unix:/") {
        return None;
    }
    match text.find("@unix:/") {
        Some(at) => Some((&text[..at], &text[at + 1..])),
        None => text.rsplit_once('@'),
    }
}

/// The part before the `@`. The two are sent in one line with a space between them.
fn credentials(text: &str) -> Result<Credentials, &'static str> {
    let (user, password) = text.split_once(':').ok_or("the password before '@' is missing")?;
    if user.is_empty() || password.is_empty() {
        return Err("the user or the password before '@' is empty");
    }
    if text.contains(|c: char| c.is_ascii_whitespace() || c.is_ascii_control()) {
        return Err("the user or the password before '@' has white space in it");
    }
    Ok(Credentials { user: user.to_owned(), password: password.to_owned() })
}

/// The text of an address that cannot be understood, fit for an error message.
pub(crate) fn without_password(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

impl fmt::Display for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.tls {
            out.write_str("tls:")?;
        }
        if let Some(credentials) = &self.credentials {
            write!(out, "{}@", credentials.user)?;
        }
        match &self.place {
            Place::Unix(path) => write!(out, "unix:{}", path.display()),
            Place::Tcp { host, port } if host.contains(':') => write!(out, "[{host}]:{port}"),
            Place::Tcp { host, port } => write!(out, "{host}:{port}"),
        }
    }
}

/// As [`Display`](fmt::Display): without the password.
impl fmt::Debug for Address {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "Address({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::StopHandle;

    #[test]
    fn addresses_that_are_wrong_say_why() {
        for (text, problem) in [
            ("", "the port is missing"),
            ("localhost", "the port is missing"),
            (":33013", "the host is missing"),
            ("[]:33013", "the host is missing"),
            ("localhost:", "the port is not a number from 1 to 65535"),
            ("localhost:0", "the port is not a number from 1 to 65535"),
            ("localhost:65536", "the port is not a number from 1 to 65535"),
            ("::1:33013", "an IPv6 address needs brackets"),
            ("[::1:33013", "the closing bracket is missing"),
            ("unix:", "the path of the socket is missing"),
            ("tls:unix:/s", "there is no TLS over a Unix socket"),
            ("tls:localhost", "the port is missing"),
            ("http://x:1", "give host:port without a scheme such as http://"),
            ("HTTP://localhost", "give host:port without a scheme such as http://"),
            ("memcache://h:1", "give host:port without a scheme such as http://"),
            ("memcache+tls://h:1", "give host:port without a scheme such as http://"),
            ("tls://h:1", "give host:port without a scheme such as http://"),
            ("h:1,i:2", "a host has no comma in it"),
            ("h:1,", "a host has no comma in it"),
        ] {
            let error = text.parse::<Address>().map_err(|error| error.to_string());
            let expected = format!(
                "'{text}' is not a server address: {problem} (give host:port, [v6]:port or unix:/path, with tls: or user:password@ in front)"
            );
            assert_eq!(error, Err(expected));
        }
    }

    #[test]
    fn what_only_looks_like_a_scheme_is_none() {
        for text in ["unix:///run/memcached,1.sock", "ann://secret,1@h:7"] {
            text.parse::<Address>().expect("a sound address");
        }
        let error = "memcache://ann:secret@h:7".parse::<Address>().map_err(|error| error.to_string());
        let error = error.expect_err("a scheme");
        assert!(error.starts_with("'…@h:7' is not a server address: give host:port without"), "{error}");
    }

    #[test]
    fn the_parts_of_an_address() {
        let parse = |text: &str| text.parse::<Address>().expect("a sound address");
        let tcp = parse("tls:ann:secret@[::1]:7");
        assert_eq!((tcp.host_and_port(), tcp.socket_path(), tcp.is_tls()), (Some(("::1", 7)), None, true));
        assert_eq!(tcp.user_and_password(), Some(("ann", "secret")));
        let unix = parse("unix:/s");
        assert_eq!((unix.host_and_port(), unix.is_tls()), (None, false));
        assert_eq!((unix.socket_path(), unix.user_and_password()), (Some(Path::new("/s")), None));
    }

    #[test]
    fn a_path_may_have_an_at_sign() {
        for text in ["unix:/run/memcached@idfa.sock", "unix:/a@b@c:d@unix:/e"] {
            let address: Address = text.parse().expect("a sound address");
            assert_eq!(address.place, Place::Unix(text[5..].into()));
            assert!(address.credentials().is_none());
            assert_eq!(address.to_string(), text);
        }
        let address: Address = "ann:se:cr@et@unix:/run/a@b".parse().expect("a sound address");
        assert_eq!(address.place, Place::Unix("/run/a@b".into()));
        assert_eq!(address.to_string(), "ann@unix:/run/a@b");
        // Such a user is still one.
        let address: Address = "unix:secret@localhost:7".parse().expect("a sound address");
        assert_eq!(address.to_string(), "unix@localhost:7");
    }

    #[test]
    fn a_unix_socket_that_nobody_accepts_on_does_not_wait_for_ever() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("socket");
        let listener = net::socket(AddressFamily::UNIX, SocketType::STREAM, None).expect("a socket");
        net::bind(&listener, &SocketAddrUnix::new(&path).expect("a short path")).expect("a free path");
        net::listen(&listener, 0).expect("a listener");
        let address: Address = format!("unix:{}", path.display()).parse().expect("an address");
        // Some fit in the queue.
        let mut waiting = Vec::new();
        let patience = Patience::new(Duration::from_millis(50), &StopHandle::default());
        let error = loop {
            assert!(waiting.len() < 100, "the queue is endless");
            match address.connect(&patience) {
                Ok(stream) => waiting.push(stream),
                Err(error) => break error,
            }
        };
        // Not all systems wait.
        assert!(
            matches!(error.kind(), io::ErrorKind::TimedOut | io::ErrorKind::ConnectionRefused),
            "{error:?}"
        );
    }

    #[test]
    fn a_password_is_never_shown() {
        for text in ["ann:se:cr@et@localhost:7", "tls:ann:se:cr@et@[::1]:7", "ann:se:cr@et@unix:/s"] {
            let address: Address = text.parse().expect("a sound address");
            assert!(!format!("{address} {address:?}").contains("cr"), "{address:?}");
            let password = address.credentials().map(|it| it.password.as_str());
            assert_eq!(password, Some("se:cr@et"));
        }
        for text in [
            "ann:secret@localhost",
            "ann:secret@",
            "ann:secret@:7",
            "a nn:secret@h:7",
            "secret@h:7",
            ":secret@h:7",
        ] {
            let error = text.parse::<Address>().map_err(|error| error.to_string()).expect_err("unsound");
            assert!(!error.contains("secret"), "{error}");
        }
    }
}
