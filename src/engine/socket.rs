//! A socket's life: how it is opened, what the kernel says about an attempt, how it is reused or
//! closed. It knows nothing of retries, windows or plans.
//!
//! The contract with the kernel: an event is only a cue to look. SO_ERROR 0 alone is no success,
//! because an ICMP error wakes epoll before it sets the socket's error. A RST leaves the error
//! queue empty and an ICMP error does not, so the queue tells a firewall's reject from a host's
//! refusal. On Linux a socket that was refused or disconnected can connect again and stays
//! registered with the poll; events for it while it is idle mean nothing.

use std::io::{self, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockRef, Type};

use super::icmp;
use crate::scan::{Outcome, OwnError, Reason};

/// What every socket of a scan has in common.
#[derive(Clone, Debug, Default)]
pub(super) struct SocketOptions {
    pub source_v4: Option<Ipv4Addr>,
    pub source_v6: Option<Ipv6Addr>,
    pub device: Option<String>,
}

impl SocketOptions {
    /// Whether there is a source address of this family.
    pub fn has_source(&self, v6: bool) -> bool {
        if v6 {
            self.source_v6.is_some()
        } else {
            self.source_v4.is_some()
        }
    }
}

/// A socket that is registered with the poll: in flight, or kept for the next attempt in its slot.
#[derive(Debug)]
pub(super) struct Socket {
    stream: TcpStream,
    is_v6: bool,
    /// For one attempt only: we chose its source port, or its endpoint's zone bound it to a device,
    /// which the kernel does not undo.
    is_single: bool,
    has_chosen_port: bool,
}

/// What an event turned out to be.
pub(super) struct Answer {
    pub outcome: Outcome,
    /// The errno behind it.
    pub error: Option<io::Error>,
    /// The source of a connection within this machine, unless we chose its port: the other end may
    /// be another attempt of ours (TCP's simultaneous open, RFC 9293 3.5).
    pub own_source: Option<SocketAddr>,
    /// The kernel has already forgotten the attempt.
    is_reset: bool,
}

impl Answer {
    fn of(outcome: Outcome) -> Self {
        Answer {
            outcome,
            error: None,
            own_source: None,
            is_reset: false,
        }
    }
}

/// Linux lets a socket connect again after a refusal or a disconnect. POSIX does not promise it, so
/// other systems get a new socket for each attempt.
pub(super) const CAN_KEEP: bool = cfg!(target_os = "linux");

impl Socket {
    /// A socket for attempts at addresses of `endpoint`'s family, yet to be registered with the
    /// poll.
    pub fn open(endpoint: SocketAddr, options: &SocketOptions, avoid_self: u8) -> io::Result<Self> {
        let socket = unconnected(endpoint, options, avoid_self)?;
        let has_chosen_port = avoid_self > 0;
        let stream = TcpStream::from_std(socket.into());
        let is_single = has_chosen_port || has_zone(endpoint);
        Ok(Socket {
            stream,
            is_v6: endpoint.is_ipv6(),
            is_single,
            has_chosen_port,
        })
    }

    /// Registers it with the poll; with `listens` for arriving data, too.
    pub fn register(&mut self, registry: &Registry, token: Token, listens: bool) -> io::Result<()> {
        let interest = if listens {
            Interest::WRITABLE | Interest::READABLE
        } else {
            Interest::WRITABLE
        };
        registry.register(&mut self.stream, token, interest)
    }

    /// Registers it again, and makes it non-blocking: it is connected already, so something in
    /// between may have put another socket under its number. Whether it has: the poll does not know
    /// that one.
    pub fn register_again(
        &mut self,
        registry: &Registry,
        token: Token,
        listens: bool,
    ) -> io::Result<bool> {
        let is_known = registry.deregister(&mut self.stream).is_ok();
        SockRef::from(&self.stream).set_nonblocking(true)?;
        self.register(registry, token, listens)?;
        Ok(!is_known)
    }

    /// Sends as much as the kernel takes at once.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        (&self.stream).write(bytes)
    }

    /// Reads what has arrived; 0 bytes mean that no more will.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<usize> {
        (&self.stream).read(buffer)
    }

    /// The descriptor's number, for tracing.
    pub fn fd(&self) -> i32 {
        use std::os::fd::AsRawFd;
        self.stream.as_raw_fd()
    }

    /// Whether the next attempt can use this socket.
    pub fn fits(&self, endpoint: SocketAddr, avoid_self: u8) -> bool {
        self.is_v6 == endpoint.is_ipv6()
            && !self.is_single
            && avoid_self == 0
            && !has_zone(endpoint)
    }

    /// Begins an attempt. Returns whether it is connected at once. The error is its outcome, with
    /// the errno behind it.
    pub fn connect(&self, endpoint: SocketAddr) -> Result<bool, (Outcome, io::Error)> {
        match SockRef::from(&self.stream).connect(&endpoint.into()) {
            Ok(()) => Ok(true),
            Err(error) => match error.raw_os_error() {
                Some(libc::EINPROGRESS | libc::EINTR) => Ok(false),
                // This machine itself may answer at once.
                Some(libc::ECONNREFUSED) => Err((self.refusal(endpoint, &error, false), error)),
                _ => Err((why_not(endpoint, &error), error)),
            },
        }
    }

    /// What became of the attempt at `endpoint`, after an event; `None` if it is still in flight.
    ///
    /// With `by_connecting` (Linux) connecting once more tells: 0 for connected, EALREADY for not
    /// yet, and otherwise the failure, after which the socket is as new. One call does the work of
    /// SO_ERROR, getpeername() and a disconnect.
    pub fn answer(
        &self,
        endpoint: SocketAddr,
        by_connecting: bool,
        options: &SocketOptions,
    ) -> Option<Answer> {
        let error = match if by_connecting {
            self.connect_once_more(endpoint)
        } else {
            self.take_error()
        } {
            Ok(true) => return Some(self.connected(endpoint, options)),
            // An ICMP error may be in the queue before it is the socket's error.
            Ok(false) => return self.unreachable(endpoint).map(Answer::of),
            Err(error) => error,
        };
        let outcome = self.failure(endpoint, &error, by_connecting, options);
        let is_reset = by_connecting && !matches!(outcome, Outcome::PermanentLocal(_));
        Some(Answer {
            error: Some(error),
            is_reset,
            ..Answer::of(outcome)
        })
    }

    /// Whether it is connected, or why it failed.
    fn connect_once_more(&self, endpoint: SocketAddr) -> io::Result<bool> {
        match SockRef::from(&self.stream).connect(&endpoint.into()) {
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EALREADY | libc::EINPROGRESS | libc::EINTR)
                ) =>
            {
                Ok(false)
            }
            Err(error) if error.raw_os_error() == Some(libc::EISCONN) => Ok(true),
            other => other.map(|()| true),
        }
    }

    /// The same, in a way that works everywhere: SO_ERROR for failures, a peer's address for
    /// success.
    fn take_error(&self) -> io::Result<bool> {
        match self.stream.take_error()? {
            Some(error) => Err(error),
            None => Ok(self.stream.peer_addr().is_ok()),
        }
    }

    /// The answer of a connected socket.
    pub fn connected(&self, endpoint: SocketAddr, options: &SocketOptions) -> Answer {
        match (self.stream.local_addr(), self.stream.peer_addr()) {
            (Ok(local), Ok(peer)) if local == peer => Answer::of(Outcome::SelfConnected),
            (Ok(local), Ok(peer)) => {
                let own_source =
                    (local.ip() == peer.ip() && !self.has_chosen_port).then_some(local);
                Answer {
                    own_source,
                    ..Answer::of(handshake(&self.stream))
                }
            }
            // Reset since we asked.
            _ => Answer::of(self.reset_after_handshake(endpoint, options)),
        }
    }

    /// A RST after the handshake: the port was open, its owner just did not want us (tcp_reset()
    /// gives ECONNREFUSED only to a connection that was still asking). On this machine it may also
    /// be an attempt of ours that was closed when it was seen through; on a source port that we
    /// chose it is not.
    fn reset_after_handshake(&self, endpoint: SocketAddr, options: &SocketOptions) -> Outcome {
        let may_be_ours = !self.has_chosen_port && is_own(endpoint, options);
        if may_be_ours {
            Outcome::SelfConnected
        } else {
            Outcome::Connected {
                rtt_us: None,
                syn_sent_again: false,
            }
        }
    }

    /// The meaning of an attempt's failure, one errno an arm.
    fn failure(
        &self,
        endpoint: SocketAddr,
        error: &io::Error,
        by_connecting: bool,
        options: &SocketOptions,
    ) -> Outcome {
        match error.raw_os_error().unwrap_or(0) {
            libc::ECONNRESET | libc::EPIPE => self.reset_after_handshake(endpoint, options),
            // The kernel sent its last SYN before our deadline came.
            libc::ETIMEDOUT => Outcome::Silence,
            _ => self.refusal(endpoint, error, by_connecting),
        }
    }

    /// What the error queue says, if it says anything, or else what the errno alone tells.
    fn refusal(&self, endpoint: SocketAddr, error: &io::Error, by_connecting: bool) -> Outcome {
        if let Some(outcome) = self.unreachable(endpoint) {
            return outcome;
        }
        let reason = match error.raw_os_error().unwrap_or(0) {
            libc::ECONNREFUSED => return Outcome::Refused,
            // The call itself failed before it looked at the attempt: an ICMP error would be in the
            // queue.
            libc::ENETUNREACH | libc::EACCES | libc::EPERM if by_connecting => {
                return failure_to_begin(error);
            }
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

    /// The error queue's word. An ICMP error that this machine sent itself is no answer of the
    /// network's: it found no neighbour, or its own firewall said no.
    fn unreachable(&self, endpoint: SocketAddr) -> Option<Outcome> {
        let icmp::IcmpError { reason, by } = icmp::take_error(&self.stream, endpoint)?;
        // An endpoint may say so itself, on this machine, too.
        let mut sender = endpoint;
        let is_from_here = by.is_some_and(|by| {
            sender.set_ip(by);
            by != endpoint.ip() && is_local(sender)
        });
        Some(match reason {
            Reason::HostUnreach if is_from_here => Outcome::NoNeighbour,
            _ if is_from_here => Outcome::PermanentLocal(Reason::LocalFirewall),
            _ => Outcome::Unreachable { reason, by },
        })
    }

    /// Makes the socket ready for another attempt after this answer. Whether that worked.
    pub fn reuse_after(&self, answer: &Answer) -> bool {
        let was_open = matches!(
            answer.outcome,
            Outcome::Connected { .. } | Outcome::SelfConnected
        );
        !was_open && !self.is_single && (answer.is_reset || self.disconnect())
    }

    /// Gives up an attempt in flight. Whether the socket is ready for another one.
    pub fn give_up(&self) -> bool {
        !self.is_single && self.disconnect()
    }

    /// Makes the kernel forget the connection (connect(2), AF_UNSPEC).
    #[cfg(target_os = "linux")]
    fn disconnect(&self) -> bool {
        use std::os::fd::AsRawFd;
        let nobody = libc::sockaddr {
            sa_family: libc::AF_UNSPEC as libc::sa_family_t,
            sa_data: [0; 14],
        };
        let length = size_of::<libc::sockaddr>() as libc::socklen_t;
        // SAFETY: the pointer and the length describe `nobody`, which outlives the call.
        unsafe { libc::connect(self.stream.as_raw_fd(), &nobody, length) == 0 }
    }

    #[cfg(not(target_os = "linux"))]
    fn disconnect(&self) -> bool {
        false
    }

    /// Closes the socket. A connection ends with a RST, which leaves no TIME_WAIT behind, or
    /// politely with a FIN. A connection to ourselves always ends with a RST: its TIME_WAIT would
    /// occupy a port of this machine.
    pub fn close_after(self, outcome: Outcome, polite: bool) {
        if outcome == Outcome::SelfConnected
            || (matches!(outcome, Outcome::Connected { .. }) && (!polite || self.has_chosen_port))
        {
            // Failing to set it only costs a TIME_WAIT.
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
    }
}

fn has_zone(endpoint: SocketAddr) -> bool {
    matches!(endpoint, SocketAddr::V6(v6) if v6.scope_id() != 0)
}

/// How sockets with these options would send to `endpoint`: connecting a UDP socket chooses a route
/// and a source and sends nothing.
fn route_to(endpoint: SocketAddr, options: &SocketOptions) -> io::Result<IpAddr> {
    let domain = Domain::for_address(endpoint);
    let socket = socket2::Socket::new(domain, Type::DGRAM, None)?;
    if let Some(device) = &options.device {
        bind_device(&socket, device, endpoint.is_ipv6())?;
    }
    if let Some(source) = source(endpoint, options) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    socket.connect(&endpoint.into())?;
    let local = socket.local_addr()?.as_socket();
    Ok(local.ok_or(io::ErrorKind::InvalidData)?.ip())
}

/// Whether `endpoint` is on this machine, and its address the source of what we send there. Where
/// there is no route it is not.
pub(super) fn is_own(endpoint: SocketAddr, options: &SocketOptions) -> bool {
    let ip = endpoint.ip();
    ip.is_loopback()
        || ip.is_unspecified()
        || route_to(endpoint, options).is_ok_and(|source| source == ip)
}

/// Whether an address is this machine's; of one that holds on one link only, on that of its zone.
pub(super) fn is_local(address: SocketAddr) -> bool {
    is_own(address, &SocketOptions::default())
}

/// Whether `endpoint` is a multicast or broadcast address, which TCP cannot connect to. A subnet's
/// broadcast address shows by needing SO_BROADCAST.
fn is_many(endpoint: SocketAddr) -> bool {
    let to_many = || -> io::Result<()> {
        let socket = socket2::Socket::new(Domain::for_address(endpoint), Type::DGRAM, None)?;
        socket.set_broadcast(true)?;
        socket.connect(&endpoint.into())
    };
    let is_broadcast = matches!(endpoint.ip(), IpAddr::V4(ip) if ip.is_broadcast());
    let is_denied = || {
        route_to(endpoint, &SocketOptions::default())
            .is_err_and(|error| error.raw_os_error() == Some(libc::EACCES))
    };
    endpoint.ip().is_multicast() || is_broadcast || (is_denied() && to_many().is_ok())
}

/// Why no attempt at `endpoint` could begin. Ambiguous errnos are looked at more closely.
fn why_not(endpoint: SocketAddr, error: &io::Error) -> Outcome {
    let lacks_source = || {
        route_to(endpoint, &SocketOptions::default())
            .is_err_and(|error| error.raw_os_error() == Some(libc::EADDRNOTAVAIL))
    };
    match error.raw_os_error().unwrap_or(0) {
        // A source address is missing, not a port: IPv6 is turned off, for instance.
        libc::EADDRNOTAVAIL if lacks_source() => Outcome::PermanentLocal(Reason::NoLocalRoute),
        libc::ENETUNREACH | libc::EACCES if is_many(endpoint) => {
            Outcome::PermanentLocal(Reason::NotAHost)
        }
        _ => failure_to_begin(error),
    }
}

fn source(endpoint: SocketAddr, options: &SocketOptions) -> Option<IpAddr> {
    if endpoint.is_ipv4() {
        options.source_v4.map(IpAddr::V4)
    } else {
        options.source_v6.map(IpAddr::V6)
    }
}

/// A socket for sending datagrams to addresses of `to`'s family.
pub(super) fn for_datagrams(
    to: SocketAddr,
    options: &SocketOptions,
) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(Domain::for_address(to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_nonblocking(true)?;
    if let Some(device) = &options.device {
        bind_device(&socket, device, to.is_ipv6())?;
    }
    if let Some(source) = source(to, options) {
        socket.bind(&SocketAddr::new(source, 0).into())?;
    }
    Ok(socket)
}

/// A non-blocking socket with the scan's source and device. With `avoid_self` above 0 we choose its
/// source port.
pub(super) fn unconnected(
    endpoint: SocketAddr,
    options: &SocketOptions,
    avoid_self: u8,
) -> io::Result<socket2::Socket> {
    let socket = nonblocking(Domain::for_address(endpoint))?;
    icmp::ask_for_errors(&socket, endpoint.is_ipv6());
    if let Some(device) = &options.device {
        bind_device(&socket, device, endpoint.is_ipv6())?;
    }
    match (source(endpoint, options), avoid_self) {
        (source, 1..) => bind_away_from(&socket, endpoint, source, avoid_self)?,
        (Some(source), 0) => bind_without_port(&socket, source)?,
        (None, 0) => {}
    }
    Ok(socket)
}

#[cfg(not(target_vendor = "apple"))]
fn nonblocking(domain: Domain) -> io::Result<socket2::Socket> {
    socket2::Socket::new(domain, Type::STREAM.nonblocking(), Some(Protocol::TCP))
}

/// socket(2) takes no SOCK_NONBLOCK there. Never run.
#[cfg(target_vendor = "apple")]
fn nonblocking(domain: Domain) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    Ok(socket)
}

/// Binds the source address and leaves the port to `connect()`. A port that is bound here would be
/// taken for all destinations, and the usual range of 28,232 would not last for 65,535 probes
/// (ip(7), IP_BIND_ADDRESS_NO_PORT).
fn bind_without_port(socket: &socket2::Socket, source: IpAddr) -> io::Result<()> {
    #[cfg(target_os = "linux")]
    turn_on(socket, libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT)?;
    socket.bind(&SocketAddr::new(source, 0).into())
}

/// Sets an int option to 1.
#[cfg(target_os = "linux")]
pub(super) fn turn_on(
    socket: &socket2::Socket,
    level: libc::c_int,
    option: libc::c_int,
) -> io::Result<()> {
    use std::os::fd::AsRawFd;
    let on: libc::c_int = 1;
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `on`, which outlives the call.
    match unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            std::ptr::from_ref(&on).cast(),
            length,
        )
    } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Binds a source port that is not the endpoint's, so that the socket cannot connect to itself.
fn bind_away_from(
    socket: &socket2::Socket,
    endpoint: SocketAddr,
    source: Option<IpAddr>,
    choice: u8,
) -> io::Result<()> {
    let any: IpAddr = if endpoint.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    let source = source.unwrap_or(any);
    // A port in TIME_WAIT will do.
    socket.set_reuse_address(true)?;
    let mut last = io::Error::from_raw_os_error(libc::EADDRINUSE);
    let host = match endpoint.ip() {
        IpAddr::V4(ip) => u32::from(ip),
        IpAddr::V6(ip) => u128::from(ip) as u32,
    };
    // Sixty-four ports for each choice, a prime apart, above the privileged ones; others for each
    // host.
    for step in (u32::from(choice) * 64..).take(64) {
        let place = u64::from(host) * 613 + u64::from(endpoint.port()) + u64::from(step) * 997;
        let port = 1_024 + (place % 64_512) as u16;
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
fn bind_device(socket: &socket2::Socket, device: &str, _v6: bool) -> io::Result<()> {
    socket.bind_device(Some(device.as_bytes()))
}

/// Never run: written after the manual of IP_BOUND_IF.
#[cfg(target_vendor = "apple")]
fn bind_device(socket: &socket2::Socket, device: &str, v6: bool) -> io::Result<()> {
    let name = std::ffi::CString::new(device).map_err(io::Error::other)?;
    // SAFETY: `name` is a C string that outlives the call.
    let index = std::num::NonZeroU32::new(unsafe { libc::if_nametoindex(name.as_ptr()) });
    if index.is_none() {
        return Err(io::Error::last_os_error());
    }
    if v6 {
        socket.bind_device_by_index_v6(index)
    } else {
        socket.bind_device_by_index_v4(index)
    }
}

#[cfg(not(any(target_os = "linux", target_vendor = "apple")))]
fn bind_device(_: &socket2::Socket, _: &str, _: bool) -> io::Result<()> {
    Err(io::Error::new(
        io::ErrorKind::Unsupported,
        "this system cannot bind a socket to a device; use the device's address as source address",
    ))
}

/// Whether a socket that has been used before fails like this where sockets serve only once: the
/// kernel finds it still connecting, connected or failed. Linux says none of it.
pub(super) fn shows_single_use(error: &io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(
            libc::ECONNABORTED
                | libc::ECONNREFUSED
                | libc::ECONNRESET
                | libc::EALREADY
                | libc::EINVAL
                | libc::EISCONN
                | libc::EOPNOTSUPP
        )
    )
}

/// The meaning of an error on our own side: none of these says anything about the target.
pub(super) fn failure_to_begin(error: &io::Error) -> Outcome {
    let own = match error.raw_os_error().unwrap_or(0) {
        libc::EMFILE => OwnError::ProcessDescriptors,
        libc::ENFILE => OwnError::SystemDescriptors,
        libc::ENOBUFS => OwnError::Buffers,
        // ENOSPC: no epoll watch is left (epoll(7), max_user_watches).
        libc::ENOMEM | libc::ENOSPC => OwnError::Memory,
        // ECONNABORTED: the kernel forgot the attempt for a reason that it does not tell.
        libc::EAGAIN | libc::ECONNABORTED => OwnError::TryAgain,
        libc::EADDRNOTAVAIL => OwnError::SourcePorts,
        libc::EADDRINUSE => OwnError::SourcePortTaken,
        libc::EPERM | libc::EACCES => return Outcome::PermanentLocal(Reason::LocalFirewall),
        // EINVAL: a link-local IPv6 address without a zone.
        libc::ENETUNREACH
        | libc::EHOSTUNREACH
        | libc::ENETDOWN
        | libc::EAFNOSUPPORT
        | libc::EINVAL
        | libc::ENODEV
        | libc::ENXIO => {
            return Outcome::PermanentLocal(Reason::NoLocalRoute);
        }
        _ => return Outcome::PermanentLocal(Reason::LocalError),
    };
    Outcome::TransientLocal(own)
}

/// What the kernel knows about the handshake (tcp(7), TCP_INFO): its round trip, which does not
/// include our loop's delay, and whether the SYN was sent again.
#[cfg(target_os = "linux")]
fn handshake(stream: &TcpStream) -> Outcome {
    use std::os::fd::AsRawFd;
    // SAFETY: tcp_info is plain data, for which all zeroes is a value.
    let mut info: libc::tcp_info = unsafe { std::mem::zeroed() };
    let mut length = size_of::<libc::tcp_info>() as libc::socklen_t;
    // SAFETY: the pointer and the length describe `info`; the kernel writes no more than the
    // length.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_INFO,
            std::ptr::from_mut(&mut info).cast(),
            &mut length,
        )
    };
    let is_told = result == 0 && info.tcpi_rtt > 0;
    Outcome::Connected {
        rtt_us: is_told.then_some(info.tcpi_rtt),
        syn_sent_again: is_told && info.tcpi_total_retrans > 0,
    }
}

#[cfg(not(target_os = "linux"))]
fn handshake(_: &TcpStream) -> Outcome {
    Outcome::Connected {
        rtt_us: None,
        syn_sent_again: false,
    }
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
            assert!(
                matches!(
                    begin(errno),
                    Outcome::TransientLocal(_) | Outcome::PermanentLocal(_)
                ),
                "errno {errno} became {:?}",
                begin(errno)
            );
        }
        assert_eq!(
            begin(libc::EMFILE),
            Outcome::TransientLocal(OwnError::ProcessDescriptors)
        );
        assert_eq!(
            begin(libc::EPERM),
            Outcome::PermanentLocal(Reason::LocalFirewall)
        );
    }

    #[test]
    fn a_connection_at_once_is_an_answer_although_the_poll_does_not_know_the_socket() {
        let poll = mio::Poll::new().unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let endpoint = listener.local_addr().unwrap();
        let options = SocketOptions::default();
        let mut socket = Socket::open(endpoint, &options, 0).unwrap();
        socket.register(poll.registry(), Token(0), true).unwrap();
        // connect() of a blocking socket returns when it is connected.
        SockRef::from(&socket.stream)
            .set_nonblocking(false)
            .unwrap();
        assert!(matches!(socket.connect(endpoint), Ok(true)));
        let answer = socket.connected(endpoint, &options);
        assert!(matches!(answer.outcome, Outcome::Connected { .. }));
        assert!(
            !socket
                .register_again(poll.registry(), Token(0), true)
                .unwrap()
        );
        // Another socket under the same number, as a preloaded library leaves it.
        let other = std::net::TcpStream::connect(endpoint).unwrap();
        put_under(&other, socket.fd());
        assert!(
            socket
                .register_again(poll.registry(), Token(0), true)
                .unwrap()
        );
        let error = socket.receive(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    }

    fn put_under(other: &std::net::TcpStream, fd: i32) {
        use std::os::fd::AsRawFd;
        // SAFETY: both descriptors are open, and `fd` goes on being owned by whoever owns it.
        assert_eq!(unsafe { libc::dup2(other.as_raw_fd(), fd) }, fd);
    }

    #[test]
    fn a_kept_socket_costs_eight_bytes() {
        // mio remembers more of a socket in debug builds.
        assert_eq!(
            size_of::<Option<Socket>>(),
            if cfg!(debug_assertions) { 24 } else { 8 }
        );
    }

    #[test]
    fn a_source_port_away_from_the_endpoint_is_found() {
        for port in [1, 1_024, 40_000, 65_535] {
            let endpoint = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
            let options = SocketOptions {
                source_v4: Some(Ipv4Addr::LOCALHOST),
                ..SocketOptions::default()
            };
            let socket = unconnected(endpoint, &options, 1).unwrap();
            assert_ne!(
                socket.local_addr().unwrap().as_socket().unwrap().port(),
                port
            );
        }
    }
}
