//! Names to addresses, as the system does it.

use std::ffi::CString;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};

/// Asks the system for a host's addresses, the preferred one first (getaddrinfo(3): files, DNS,
/// whatever is set up). Takes IPv6 addresses with a zone, too. Blocks as long as the system's
/// resolver does.
///
/// # Errors
/// What the system's resolver says, or that there is no such device.
pub fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    if let Some((_, zone)) = name.split_once('%') {
        check_device(zone)?;
    }
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (name, 0).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}

/// The resolver only says that it does not know the address. Numbers it takes as they are.
fn check_device(zone: &str) -> io::Result<()> {
    let name = CString::new(zone)?;
    // SAFETY: the name is a C string, and outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    if index == 0 && zone.parse::<u32>().is_err() {
        let what = format!("this machine has no network device {zone:?}");
        return Err(io::Error::new(io::ErrorKind::NotFound, what));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_known_or_named() {
        assert!(resolve("fe80::1%lo").is_ok_and(|found| found.len() == 1));
        assert!(resolve("fe80::1%1").is_ok());
        let error = resolve("fe80::1%nowhere0").expect_err("no device");
        assert!(error.to_string().contains("no network device \"nowhere0\""));
    }
}
