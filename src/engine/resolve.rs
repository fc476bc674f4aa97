//! Names to addresses, as the system does it.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Asks the system for a host's addresses, the preferred one first (getaddrinfo(3): files, DNS,
/// whatever is set up). Takes IPv6 addresses with a zone, too. Blocks as long as the system's
/// resolver does.
///
/// # Errors
/// What the system's resolver says.
pub fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (name, 0).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}
