//! One attempt's socket: how it is opened, what the kernel says of it, how it is closed. With `icmp.rs` and
//! `fdlimit.rs` every system call of the scan is here; it knows nothing of retries, windows or plans.
//!
//! The contract with the kernel: any event is only a cue to look. SO_ERROR tells failures; success is a peer's address,
//! never SO_ERROR 0 alone, because an ICMP error wakes epoll before it sets the socket's error. A RST leaves the error
//! queue empty, an ICMP error does not, so the queue tells a firewall's reject from a host's refusal.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use socket2::{Domain, Protocol, SockRef, Socket, Type};

use super::icmp;
use crate::scan::{Outcome, OwnError, Reason};

/// What every socket of a scan has in common.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketOptions {
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    pub device: Option<String>,
}

/// Begins a connection. An error is the attempt's outcome, together with the errno behind it.
pub(super) fn connect(endpoint: SocketAddr, options: &SocketOptions, avoid_self: bool) -> Result<TcpStream, (Outcome, io::Error)> {
    let failed = |error: io::Error| (failure_to_begin(&error), error);
    let socket = open(endpoint, options).map_err(failed)?;
    if avoid_self {
        bind_away_from(&socket, endpoint, source(endpoint, options)).map_err(failed)?;
    }
    match socket.connect(&endpoint.into()) {
        Ok(()) => Ok(stream(socket)),
        Err(error) if matches!(error.raw_os_error(), Some(libc::EINPROGRESS | libc::EINTR)) => Ok(stream(socket)),
        // Answers may come at once where the answerer is this machine: they are read as if they had come by event.
        Err(error) if error.raw_os_error() == Some(libc::ECONNREFUSED) => Err((refusal(&stream(socket), &error), error)),
        Err(error) => Err(failed(error)),
    }
}

fn stream(socket: Socket) -> TcpStream {
    TcpStream::from_std(socket.into())
}

fn source(endpoint: SocketAddr, options: &SocketOptions) -> Option<IpAddr> {
    if endpoint.is_ipv4() { options.source_v4.map(IpAddr::V4) } else { options.source_v6.map(IpAddr::V6) }
}

/// A non-blocking socket with the scan's source and device.
pub(super) fn open(endpoint: SocketAddr, options: &SocketOptions) -> io::Result<Socket> {
    let socket = nonblocking(Domain::for_address(endpoint))?;
    icmp::ask_for_errors(&socket, endpoint.is_ipv6());
    if let Some(device) = &options.device {
        bind_device(&socket, device, endpoint.is_ipv6())?;
    }
    if let Some(source) = source(endpoint, options) {
        bind_without_port(&socket, source)?;
    }
    Ok(socket)
}

#[cfg(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos"
))]
fn nonblocking(domain: Domain) -> io::Result<Socket> {
    Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

#[cfg(not(any(
    target_os = "linux",
    target_os = "android",
    target_os = "freebsd",
    target_os = "netbsd",
    target_os = "openbsd",
    target_os = "illumos"
)))]
fn nonblocking(domain: Domain) -> io::Result<Socket> {
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds the source address and leaves the port to `connect()`: a port taken here would be taken for all destinations,
/// and a range of 28,232 would not last for 65,535 probes (ip(7), IP_BIND_ADDRESS_NO_PORT).
fn bind_without_port(socket: &Socket, source: IpAddr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    turn_on(socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// Sets an option that is an int to 1.
#[cfg(target_os = "linux")]
pub(super) fn turn_on(socket: &Socket, level: libc::c_int, option: libc::c_int) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    match unsafe { libc::setsockopt(socket.as_raw_fd(), level, option, std::ptr::from_ref(&on).cast(), length) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Binds a source port that is not the endpoint's, so that the socket cannot meet itself.
fn bind_away_from(socket: &Socket, endpoint: SocketAddr, source: Option<IpAddr>) -> io::Result<()> {
    let any: IpAddr = if endpoint.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let source = source.unwrap_or(any);
    let mut last = io::Error::from_raw_os_error(libc::EADDRINUSE);
    // Sixty-four places, a prime apart, above the ports that need privileges.
    for step in 1..=64u32 {
        let port = 1_024 + ((u32::from(endpoint.port()) + step * 997) % 64_512) as u16;
        if port == endpoint.port() {
            continue;
        }
        match socket.bind(&SocketAddr::new(source, port).into()) {
            Ok(()) => return Ok(()),
            Err(error) => last = error,
        }
    }
    Err(last)
}

#[cfg(target_os = "linux")]
fn bind_device(socket: &Socket, device: &str, _v6: bool) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

/// Never run: written from the manual of IP_BOUND_IF.
#[cfg(target_vendor = "apple")]
fn bind_device(socket: &Socket, device: &str, v6: bool) -> io::Result<()> {
    let name = std::ffi::CString::new(device).map_err(io::Error::other)?;
    // SAFETY: `name` is a C string that outlives the call.
    let index = std::num::NonZeroU32::new(unsafe { libc::if_nametoindex(name.as_ptr()) });
    if index.is_none() {
        return Err(io::Error::last_os_error());
    }
    if v6 { socket.bind_device_by_index_v6(index) } else { socket.bind_device_by_index_v4(index) }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn bind_device(_: &Socket, _: &str, _: bool) -> io::Result<()> {
    Err(io::Error::new(io::ErrorKind::Unsupported, "this system cannot bind a socket to a device; use -S with the device's address"))
}

/// What became of an attempt, now that something happened to its socket; `None` for not yet.
pub(super) fn outcome(stream: &TcpStream) -> Option<(Outcome, Option<io::Error>)> {
    match stream.take_error() {
        Ok(Some(error)) => Some((failure(stream, &error), Some(error))),
        Ok(None) => match stream.peer_addr() {
            Ok(peer) => Some((connected(stream, peer), None)),
            // An ICMP error may be in the queue before it is the socket's error.
            Err(_) => icmp::take_error(stream).map(|icmp| (Outcome::Unreachable { reason: icmp.reason, by: icmp.by }, None)),
        },
        Err(error) => Some((failure_to_begin(&error), Some(error))),
    }
}

fn connected(stream: &TcpStream, peer: SocketAddr) -> Outcome {
    match stream.local_addr() {
        Ok(local) if local == peer => Outcome::SelfConnected,
        _ => Outcome::Connected { rtt_us: handshake_rtt_us(stream) },
    }
}

/// The meaning of an attempt's SO_ERROR, one errno an arm.
fn failure(stream: &TcpStream, error: &io::Error) -> Outcome {
    match error.raw_os_error().unwrap_or(0) {
        // A RST after the handshake: the port was open, its owner just did not want us (tcp_reset() gives
        // ECONNREFUSED only to a connection that was still asking).
        libc::ECONNRESET | libc::EPIPE => Outcome::Connected { rtt_us: None },
        // The kernel sent its last SYN before our deadline came.
        libc::ETIMEDOUT => Outcome::Silence,
        _ => refusal(stream, error),
    }
}

/// The error queue's word if there is one, else what the errno alone tells.
fn refusal(stream: &TcpStream, error: &io::Error) -> Outcome {
    if let Some(icmp) = icmp::take_error(stream) {
        return Outcome::Unreachable { reason: icmp.reason, by: icmp.by };
    }
    let reason = match error.raw_os_error().unwrap_or(0) {
        libc::ECONNREFUSED => return Outcome::Refused,
        libc::ENETUNREACH => Reason::NetUnreach,
        libc::EHOSTUNREACH => Reason::HostUnreach,
        libc::ENOPROTOOPT => Reason::ProtoUnreach,
        libc::EACCES | libc::EPERM => Reason::AdminProhibited,
        libc::EHOSTDOWN | libc::EOPNOTSUPP => Reason::DestUnreach,
        libc::EPROTO => Reason::ParamProblem,
        #[cfg(target_os = "linux")]
        libc::ENONET => Reason::DestUnreach,
        _ => return failure_to_begin(error),
    };
    Outcome::Unreachable { reason, by: None }
}

/// The meaning of an error that our own side raised: none of them is an answer about the target.
pub(super) fn failure_to_begin(error: &io::Error) -> Outcome {
    let own = match error.raw_os_error().unwrap_or(0) {
        libc::EMFILE => OwnError::ProcessDescriptors,
        libc::ENFILE => OwnError::SystemDescriptors,
        libc::ENOBUFS => OwnError::Buffers,
        // ENOSPC: epoll has no watch left (epoll(7), max_user_watches).
        libc::ENOMEM | libc::ENOSPC => OwnError::Memory,
        libc::EAGAIN => OwnError::TryAgain,
        libc::EADDRNOTAVAIL => OwnError::SourcePorts,
        libc::EADDRINUSE => OwnError::SourcePortTaken,
        libc::EPERM | libc::EACCES => return Outcome::Barred(Reason::LocalFirewall),
        // EINVAL is what a link-local IPv6 address without a zone gets.
        libc::ENETUNREACH | libc::EHOSTUNREACH | libc::ENETDOWN | libc::EAFNOSUPPORT | libc::EINVAL | libc::ENODEV | libc::ENXIO => {
            return Outcome::Barred(Reason::NoLocalRoute);
        }
        _ => return Outcome::Barred(Reason::LocalError),
    };
    Outcome::Own(own)
}

/// Closes an attempt's socket. A connection ends with a RST, which leaves no TIME_WAIT behind, or politely with a FIN;
/// one to ourselves, never politely: its TIME_WAIT would take a port away from this machine.
pub(super) fn close(stream: TcpStream, outcome: Outcome, polite: bool) {
    if outcome == Outcome::SelfConnected || (matches!(outcome, Outcome::Connected { .. }) && !polite) {
        // Failing to set it only costs a TIME_WAIT.
        let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
    }
}

/// The kernel's own measure of the handshake (tcp(7), TCP_INFO), free of our loop's delay.
#[cfg(target_os = "linux")]
fn handshake_rtt_us(stream: &TcpStream) -> Option<u32> {
    use std::os::fd::AsRawFd;
    // SAFETY: tcp_info is plain data, for which all zeroes is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `info`; the kernel writes no more than the length.
    let result = unsafe {
        libc::getsockopt(stream.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_INFO, std::ptr::from_mut(&mut info).cast(), &mut length)
    };
    (result == 0 && info.tcpi_rtt > 0).then_some(info.tcpi_rtt)
}

#[cfg(not(target_os = "linux"))]
fn handshake_rtt_us(_: &TcpStream) -> Option<u32> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begin(errno: i32) -> Outcome {
        failure_to_begin(&io::Error::from_raw_os_error(errno))
    }

    #[test]
    fn own_trouble_is_never_an_answer() {
        for errno in 1..134 {
            assert!(matches!(begin(errno), Outcome::Own(_) | Outcome::Barred(_)), "errno {errno} became {:?}", begin(errno));
        }
        assert_eq!(begin(libc::EMFILE), Outcome::Own(OwnError::ProcessDescriptors));
        assert_eq!(begin(libc::EPERM), Outcome::Barred(Reason::LocalFirewall));
    }

    #[test]
    fn a_source_port_away_from_the_endpoint_is_found() {
        for port in [1, 1_024, 40_000, 65_535] {
            let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let socket = open(endpoint, &SocketOptions::default()).unwrap();
            bind_away_from(&socket, endpoint, Some(Ipv4Addr::LOCALHOST.into())).unwrap();
            assert_ne!(socket.local_addr().unwrap().as_socket().unwrap().port(), port);
        }
    }
}
