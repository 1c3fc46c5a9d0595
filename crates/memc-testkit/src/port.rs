//! Free ports that stay free for who is to listen on them.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::os::fd::OwnedFd;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::net::{self, AddressFamily, SocketType, sockopt};

/// A free port of 127.0.0.1 that nobody else gets until this is dropped: it is bound and does not listen, so that a
/// process which reuses addresses can still listen there, again and again, and connecting is refused meanwhile.
///
/// A port that was only free a moment ago soon belongs to any connection of another test.
#[derive(Debug)]
pub struct Port {
    address: SocketAddrV4,
    _socket: OwnedFd,
}

impl Port {
    /// Takes a free port.
    ///
    /// # Errors
    ///
    /// If there is none.
    pub fn reserve() -> io::Result<Self> {
        let socket = net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
        fcntl_setfd(&socket, FdFlags::CLOEXEC)?;
        sockopt::set_socket_reuseaddr(&socket, true)?;
        net::bind(&socket, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, 0))?;
        let address = SocketAddrV4::try_from(net::getsockname(&socket)?)?;
        Ok(Self { address, _socket: socket })
    }

    /// Its address.
    #[must_use]
    pub fn address(&self) -> SocketAddrV4 {
        self.address
    }
}

/// Its `host:port`.
impl fmt::Display for Port {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(out)
    }
}
