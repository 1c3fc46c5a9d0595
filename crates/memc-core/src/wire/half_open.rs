//! Connections that a server still has and this host does not: their end was lost on the way, with the network.

use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::thread;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::{self, AddressFamily, SocketFlags, SocketType};

/// How long it may take until the server knows; a round trip to it is far shorter.
const RESET_TIME: Duration = Duration::from_millis(300);

/// Each one takes a file descriptor meanwhile, of which a process may have few.
const MAX_AT_ONCE: usize = 64;

/// Has the `server` end the connections that it still has from these addresses of this host, or the first ones of many. It
/// would wait for hours to hear from them.
///
/// To a new connection from the very same port it answers with what it expects next on the old one. Our system knows of no
/// such connection, and answers that with a reset (RFC 9293, section 3.5.1). Where it still knows the connection it is
/// about to end it itself, and refuses the new one.
pub(crate) fn reset(clients: &[SocketAddr], server: SocketAddr) {
    let first = clients.iter().take(MAX_AT_ONCE);
    let attempts: Vec<OwnedFd> = first.filter_map(|&client| connect(client, server).ok()).collect();
    if !attempts.is_empty() {
        thread::sleep(RESET_TIME);
    }
}

/// Begins to connect from an address of this host.
fn connect(client: SocketAddr, server: SocketAddr) -> io::Result<OwnedFd> {
    let family = if client.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = net::socket_with(family, SocketType::STREAM, flags, None)?;
    net::bind(&socket, &client)?;
    match net::connect(&socket, &server) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(error) => Err(error.into()),
    }
}
