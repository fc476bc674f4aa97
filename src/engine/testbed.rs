//! A target for experiments on this machine itself: an open port, many closed ones and, on Linux,
//! some silent ones. Nothing outside can reach it, and it needs no installation and no privileges.
//! It knows nothing of scans.
//!
//! A listener whose queue of connections is full does not answer a SYN (listen(2); tcp(7),
//! tcp_abort_on_overflow being off): a silent port, without a firewall or a network namespace. When
//! it is bound to all addresses of the loopback device, it is silent at each of them.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use socket2::{Domain, Socket, Type};

/// A target on this machine, for as long as it lives.
#[derive(Debug)]
pub struct LoopbackTestbed {
    open: TcpListener,
    /// Listeners that are full, and the connections that fill them.
    _silent: Vec<(TcpListener, TcpStream)>,
    silent: Vec<u16>,
    /// Bound, so that nothing else can listen there, but not listening: closed.
    _closed: Vec<Socket>,
    closed: Vec<u16>,
}

/// Elsewhere only 127.0.0.1 is the loopback device's: one address, with more ports.
const ADDRESSES: u32 = if cfg!(target_os = "linux") { 128 } else { 1 };
const SILENT_PORTS: usize = if cfg!(target_os = "linux") { 2 } else { 0 };
const CLOSED_PORTS: usize = if cfg!(target_os = "linux") { 13 } else { 63 };
/// Ports are taken from here on: below those that systems give to outgoing connections, so that no
/// attempt can connect to itself.
const FIRST_PORT: u16 = 4_000;
const LAST_PORT: u16 = 9_999;
/// Connections that wait to be accepted: one for each address, and some more. Linux caps it at
/// net.core.somaxconn.
const BACKLOG: i32 = 1_024;
/// A port that has not answered for this long is silent: this machine answers much faster.
const SILENCE: Duration = Duration::from_millis(20);

impl LoopbackTestbed {
    /// Makes the target.
    ///
    /// # Errors
    /// What the system says; also when no port is free.
    pub fn new() -> io::Result<Self> {
        if most_waiting().is_some_and(|most| most < ADDRESSES) {
            return Err(io::Error::other(format!(
                "net.core.somaxconn is below {ADDRESSES}; raise it with sysctl -w net.core.somaxconn=4096"
            )));
        }
        let mut free = FIRST_PORT..=LAST_PORT;
        let open = next_listener(&mut free, BACKLOG)?;
        open.set_nonblocking(true)?;
        let _silent = (0..SILENT_PORTS)
            .map(|_| full_listener(&mut free))
            .collect::<io::Result<Vec<_>>>()?;
        let silent = _silent
            .iter()
            .map(|(listener, _)| port(listener))
            .collect::<io::Result<_>>()?;
        let _closed = (0..CLOSED_PORTS)
            .map(|_| next_port(&mut free))
            .collect::<io::Result<Vec<_>>>()?;
        let closed = _closed.iter().map(|socket| {
            Ok(socket
                .local_addr()?
                .as_socket()
                .map_or(0, |address| address.port()))
        });
        let closed = closed.collect::<io::Result<_>>()?;
        Ok(LoopbackTestbed {
            open,
            _silent,
            silent,
            _closed,
            closed,
        })
    }

    /// The addresses: an inclusive range.
    pub fn addresses(&self) -> (Ipv4Addr, Ipv4Addr) {
        match ADDRESSES {
            1 => (Ipv4Addr::LOCALHOST, Ipv4Addr::LOCALHOST),
            count => (
                Ipv4Addr::new(127, 77, 0, 0),
                Ipv4Addr::from_bits(Ipv4Addr::new(127, 77, 0, 0).to_bits() + count - 1),
            ),
        }
    }

    /// The ports: the open one first, then silent and closed ones.
    ///
    /// # Errors
    /// What the system says about the open one.
    pub fn ports(&self) -> io::Result<Vec<u16>> {
        let mut ports = vec![port(&self.open)?];
        ports.extend(self.silent.iter().chain(&self.closed));
        Ok(ports)
    }

    /// Accepts the connections that wait, so that the open port does not become silent.
    pub fn drain(&self) {
        while self.open.accept().is_ok() {}
    }
}

fn port(listener: &TcpListener) -> io::Result<u16> {
    listener.local_addr().map(|address| address.port())
}

/// How many connections may wait to be accepted, where the system says so.
fn most_waiting() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// A listener on the next free port.
fn next_listener(free: &mut impl Iterator<Item = u16>, backlog: i32) -> io::Result<TcpListener> {
    let socket = next_port(free)?;
    socket.listen(backlog)?;
    Ok(socket.into())
}

/// A socket bound to the next free port.
fn next_port(free: &mut impl Iterator<Item = u16>) -> io::Result<Socket> {
    for port in free {
        match bound(port) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => {}
            other => return other,
        }
    }
    Err(io::Error::other(format!(
        "no port from {FIRST_PORT} to {LAST_PORT} is free"
    )))
}

fn bound(port: u16) -> io::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    let address = if ADDRESSES > 1 {
        // Reachable through the loopback device only, whatever the address.
        #[cfg(target_os = "linux")]
        socket.bind_device(Some(b"lo"))?;
        Ipv4Addr::UNSPECIFIED
    } else {
        Ipv4Addr::LOCALHOST
    };
    socket.bind(&SocketAddr::from((address, port)).into())?;
    Ok(socket)
}

/// A listener whose queue is full, with the connection that fills it.
fn full_listener(free: &mut impl Iterator<Item = u16>) -> io::Result<(TcpListener, TcpStream)> {
    let listener = next_listener(free, 0)?;
    let here = SocketAddr::from((Ipv4Addr::LOCALHOST, port(&listener)?));
    let filler = TcpStream::connect(here)?;
    match TcpStream::connect_timeout(&here, SILENCE) {
        Err(error) if error.kind() == io::ErrorKind::TimedOut => Ok((listener, filler)),
        Err(error) => Err(error),
        Ok(_) => Err(io::Error::other(
            "a full listener answers on this system, so no port can be made silent",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn ports_are_what_they_are_said_to_be() {
        let ground = LoopbackTestbed::new().unwrap();
        let ports = ground.ports().unwrap();
        assert_eq!(ports.len(), 1 + SILENT_PORTS + CLOSED_PORTS);
        let answer = |address: Ipv4Addr, port: u16| {
            TcpStream::connect_timeout(&(address, port).into(), SILENCE)
                .map_err(|error| error.kind())
        };
        let (first, last) = ground.addresses();
        for address in [first, last] {
            assert!(answer(address, ports[0]).is_ok(), "{address}");
            assert_eq!(
                answer(address, ports[1]).err(),
                Some(io::ErrorKind::TimedOut),
                "{address}"
            );
            assert_eq!(
                answer(address, ports[SILENT_PORTS + 1]).err(),
                Some(io::ErrorKind::ConnectionRefused),
                "{address}"
            );
        }
        ground.drain();
    }
}
