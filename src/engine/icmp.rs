//! ICMP errors from a socket's error queue, which need no privileges (Linux >= 5.8): what they mean
//! and who sent them. It decides nothing about a probe. On other systems the queue is always empty.

use std::net::IpAddr;

use crate::scan::Reason;

/// An ICMP error: what it says about the endpoint, and who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct IcmpError {
    pub reason: Reason,
    pub by: Option<IpAddr>,
}

/// The reason for an ICMP type and code (RFC 792, RFC 1812 5.2.7.1). `None`: not an answer about
/// the endpoint.
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn reason_v4(kind: u8, code: u8) -> Option<Reason> {
    Some(match (kind, code) {
        (3, 0) => Reason::NetUnreach,
        (3, 1) => Reason::HostUnreach,
        (3, 2) => Reason::ProtoUnreach,
        (3, 3) => Reason::PortUnreach,
        // "Fragmentation needed" lowers the path's MTU; the kernel retries by itself.
        (3, 4) => return None,
        (3, 9) => Reason::NetProhibited,
        (3, 10) => Reason::HostProhibited,
        (3, 13) => Reason::AdminProhibited,
        (3, _) => Reason::DestUnreach,
        (11, _) => Reason::TimeExceeded,
        (12, _) => Reason::ParamProblem,
        _ => return None,
    })
}

/// The reason for an ICMPv6 type and code (RFC 4443).
#[cfg_attr(not(target_os = "linux"), allow(dead_code))]
fn reason_v6(kind: u8, code: u8) -> Option<Reason> {
    Some(match (kind, code) {
        (1, 0) => Reason::NoRoute,
        (1, 1 | 5) => Reason::AdminProhibited,
        (1, 2) => Reason::BeyondScope,
        (1, 3) => Reason::HostUnreach,
        (1, 4) => Reason::PortUnreach,
        (1, 6) => Reason::RejectRoute,
        (1, _) => Reason::DestUnreach,
        (3, _) => Reason::TimeExceeded,
        (4, _) => Reason::ParamProblem,
        _ => return None,
    })
}

#[cfg(target_os = "linux")]
pub(super) use linux::{ask_for_errors, take_error};

#[cfg(target_os = "linux")]
mod linux {
    use socket2::Socket;
    use std::mem::{size_of, zeroed};
    use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
    use std::os::fd::AsRawFd;

    use super::super::socket::turn_on;
    use super::{IcmpError, reason_v4, reason_v6};

    /// Asks the kernel to queue ICMP errors for this socket. Linux queues them for a connecting
    /// TCP socket even without the option (IPv4, 6.18), but ip(7) and ipv6(7) promise it only with
    /// the option.
    pub fn ask_for_errors(socket: &Socket, v6: bool) {
        let (level, option) = if v6 {
            (libc::SOL_IPV6, libc::IPV6_RECVERR)
        } else {
            (libc::SOL_IP, libc::IP_RECVERR)
        };
        // A failure leaves the queue empty, which every reader has to handle anyway.
        let _ = turn_on(socket, level, option);
    }

    /// Aligned for the control messages that the kernel writes into it, and far larger than the
    /// error and its two addresses.
    #[repr(align(8))]
    struct Control([u8; 512]);

    /// The next ICMP error in the queue that says something about `endpoint`; errors before it are
    /// dropped. A reused socket may still have an error of an attempt that timed out, so the error
    /// must quote this destination.
    pub fn take_error(socket: &impl AsRawFd, endpoint: SocketAddr) -> Option<IcmpError> {
        // Bounded: a hostile network could keep a socket's queue full.
        let entries = (0..16).map_while(|_| receive(socket));
        entries
            .filter(|(destination, _)| destination.is_none_or(|quoted| concerns(quoted, endpoint)))
            .find_map(|(_, error)| error)
    }

    /// Whether an error about `quoted` is about `endpoint`. The unspecified address stands for any
    /// of this machine's own.
    fn concerns(quoted: SocketAddr, endpoint: SocketAddr) -> bool {
        quoted.port() == endpoint.port()
            && (quoted.ip() == endpoint.ip() || endpoint.ip().is_unspecified())
    }

    /// One entry of the queue: the destination of the packet that caused it, and the error, if it
    /// says something about that destination.
    // glibc counts these lengths in usize, musl in u32.
    #[allow(clippy::unnecessary_cast)]
    fn receive(socket: &impl AsRawFd) -> Option<(Option<SocketAddr>, Option<IcmpError>)> {
        let mut control = Control([0; 512]);
        let mut name = [0u8; size_of::<libc::sockaddr_in6>()];
        // SAFETY: msghdr is plain data, for which all zeroes is a value (no name, no buffers).
        let mut message: libc::msghdr = unsafe { zeroed() };
        message.msg_name = name.as_mut_ptr().cast();
        message.msg_namelen = name.len() as libc::socklen_t;
        message.msg_control = control.0.as_mut_ptr().cast();
        message.msg_controllen = control.0.len() as _;
        // SAFETY: `message` points at `name` and `control`, with their lengths; all outlive the
        // call. There is no data buffer.
        let received = unsafe {
            libc::recvmsg(
                socket.as_raw_fd(),
                &mut message,
                libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT,
            )
        };
        if received < 0 {
            return None;
        }
        // SAFETY: the kernel filled `control` and set msg_controllen; CMSG_FIRSTHDR and CMSG_NXTHDR
        // stay within it.
        let mut header = unsafe { libc::CMSG_FIRSTHDR(&message) };
        while !header.is_null() {
            // SAFETY: the kernel wrote a whole, aligned cmsghdr at each place that those macros
            // yield.
            let cmsg = unsafe { &*header };
            if matches!(
                (cmsg.cmsg_level, cmsg.cmsg_type),
                (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
            ) {
                // SAFETY: CMSG_DATA is inside the message, and its length counts the header.
                let data = unsafe {
                    let start = libc::CMSG_DATA(header);
                    std::slice::from_raw_parts(
                        start,
                        (cmsg.cmsg_len as usize)
                            .saturating_sub(start.offset_from(header.cast()) as usize),
                    )
                };
                return Some((address(&name), parse(data)));
            }
            // SAFETY: as for CMSG_FIRSTHDR.
            header = unsafe { libc::CMSG_NXTHDR(&message, header) };
        }
        Some((None, None))
    }

    /// A `sock_extended_err` (errqueue.h: errno u32, origin u8, type u8, code u8, pad u8, info u32,
    /// data u32), followed by the sender's address.
    fn parse(data: &[u8]) -> Option<IcmpError> {
        const ERROR_BYTES: usize = size_of::<libc::sock_extended_err>();
        let origin = *data.get(4)?;
        let kind = *data.get(5)?;
        let code = *data.get(6)?;
        let reason = match origin {
            libc::SO_EE_ORIGIN_ICMP => reason_v4(kind, code),
            libc::SO_EE_ORIGIN_ICMP6 => reason_v6(kind, code),
            _ => None,
        }?;
        Some(IcmpError {
            reason,
            by: data.get(ERROR_BYTES..).and_then(address).map(|by| by.ip()),
        })
    }

    /// The address in the bytes of a sockaddr_in or sockaddr_in6.
    fn address(sockaddr: &[u8]) -> Option<SocketAddr> {
        let family = u16::from_ne_bytes(*sockaddr.first_chunk()?);
        let port = u16::from_be_bytes(*sockaddr.get(2..)?.first_chunk()?);
        let ip: IpAddr = match i32::from(family) {
            libc::AF_INET => Ipv4Addr::from(*sockaddr.get(4..)?.first_chunk::<4>()?).into(),
            libc::AF_INET6 => {
                Ipv6Addr::from(*sockaddr.get(8..)?.first_chunk::<16>()?).to_canonical()
            }
            _ => return None,
        };
        Some(SocketAddr::new(ip, port))
    }

    #[cfg(test)]
    mod tests {
        use super::*;
        use crate::scan::Reason;

        #[test]
        fn an_error_about_another_attempt_does_not_count() {
            let endpoint: SocketAddr = "192.0.2.1:80".parse().unwrap();
            assert!(
                concerns(endpoint, endpoint) && concerns(endpoint, "0.0.0.0:80".parse().unwrap())
            );
            assert!(!concerns("192.0.2.1:81".parse().unwrap(), endpoint));
            assert!(!concerns("192.0.2.2:80".parse().unwrap(), endpoint));
        }

        #[test]
        fn a_queue_entry_is_read_and_a_short_one_is_no_panic() {
            let mut entry = vec![
                113,
                0,
                0,
                0,
                libc::SO_EE_ORIGIN_ICMP,
                3,
                13,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
                0,
            ];
            entry.extend((libc::AF_INET as u16).to_ne_bytes());
            entry.extend([0, 0, 192, 0, 2, 1, 0, 0, 0, 0, 0, 0, 0, 0]);
            let expect = IcmpError {
                reason: Reason::AdminProhibited,
                by: Some("192.0.2.1".parse().unwrap()),
            };
            assert_eq!(parse(&entry), Some(expect));
            for length in 0..entry.len() {
                let _ = parse(&entry[..length]);
            }
            entry[4] = libc::SO_EE_ORIGIN_LOCAL;
            assert_eq!(parse(&entry), None, "our own side's errors are no ICMP");
        }
    }
}

/// No error queue on this system.
#[cfg(not(target_os = "linux"))]
pub(super) fn ask_for_errors(_: &socket2::Socket, _: bool) {}

/// No error queue on this system: SO_ERROR is all there is.
#[cfg(not(target_os = "linux"))]
pub(super) fn take_error(_: &mio::net::TcpStream, _: std::net::SocketAddr) -> Option<IcmpError> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_unreachable_code_is_filtered_and_none_is_closed() {
        use crate::scan::State::Filtered;
        for code in (0..=255).filter(|&code| code != 4) {
            assert!(
                reason_v4(3, code).is_some_and(|reason| reason.state() == Filtered),
                "3/{code}"
            );
        }
        for code in 0..=255 {
            assert!(
                reason_v6(1, code).is_some_and(|reason| reason.state() == Filtered),
                "1/{code}"
            );
        }
        assert_eq!(reason_v4(3, 4), None);
        assert_eq!(reason_v4(5, 1), None, "a redirect is no answer");
        assert_eq!(reason_v6(2, 0), None, "packet too big is no answer");
    }
}
