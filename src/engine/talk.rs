//! What is said on open connections: our notice, and the port's banner. It knows sockets and bytes;
//! it neither decides how long to listen nor shows what was heard.

use std::collections::HashMap;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

use socket2::SockAddr;

use super::socket::{self, Socket, SocketOptions};
use crate::report::{BANNER_BYTES, Notices};

/// The longest notice, in bytes. It fits into one packet on any path (RFC 8200: 1,280 bytes), and
/// into a new connection's buffer at once.
pub const NOTICE_BYTES: usize = 512;
/// Descriptors for sending datagrams: one for each family.
pub(super) const DATAGRAM_SOCKETS: u64 = 2;
/// Whatever is sent to these ports, printers put on paper: LPD (RFC 1179), and the raw ports, as
/// nmap has them.
const PRINTERS: [RangeInclusive<u16>; 2] = [515..=515, 9_100..=9_107];

/// What a scan says and hears.
#[derive(Debug, Default)]
pub(super) struct Talk {
    notice: Box<[u8]>,
    tells_printers: bool,
    /// For IPv4 and IPv6, opened when they are needed.
    datagrams: [Option<socket2::Socket>; 2],
    /// What each port has said, until its finding is told.
    heard: HashMap<SocketAddr, Vec<u8>>,
    pub notices: Notices,
}

impl Talk {
    pub fn new(notice: Option<Box<[u8]>>, tells_printers: bool) -> Self {
        Talk {
            notice: notice.unwrap_or_default(),
            tells_printers,
            ..Talk::default()
        }
    }

    pub fn has_notice(&self) -> bool {
        !self.notice.is_empty()
    }

    /// Whether the notice is kept from a port, because paper would come out of it.
    fn withholds(&mut self, from: SocketAddr) -> bool {
        let is_printer = PRINTERS.iter().any(|ports| ports.contains(&from.port()));
        let withholds = is_printer && !self.tells_printers;
        self.notices.withheld += u64::from(withholds);
        withholds
    }

    /// Sends the notice on a new connection.
    pub fn greet(&mut self, endpoint: SocketAddr, socket: &Socket) {
        if self.has_notice() && !self.withholds(endpoint) {
            let is_sent =
                matches!(socket.send(&self.notice), Ok(length) if length == self.notice.len());
            let count = if is_sent {
                &mut self.notices.connections
            } else {
                &mut self.notices.failed
            };
            *count += 1;
        }
    }

    /// Sends the notice to a port as a datagram. It is tried only once: nothing depends on it.
    pub fn send_datagram(&mut self, to: SocketAddr, options: &SocketOptions) {
        if self.withholds(to) {
            return;
        }
        let is_sent = self.try_datagram(to, options).is_ok();
        let count = if is_sent {
            &mut self.notices.datagrams
        } else {
            &mut self.notices.failed
        };
        *count += 1;
    }

    fn try_datagram(&mut self, to: SocketAddr, options: &SocketOptions) -> io::Result<usize> {
        let place = &mut self.datagrams[usize::from(to.is_ipv6())];
        let socket = match place {
            Some(socket) => socket,
            None => place.insert(socket::for_datagrams(to, options)?),
        };
        socket.send_to(&self.notice, &SockAddr::from(to))
    }

    /// Reads what the port at `endpoint` has said. Returns whether there was anything new, and
    /// whether that is all.
    pub fn listen(&mut self, endpoint: SocketAddr, socket: &Socket) -> (bool, bool) {
        let mut buffer = [0; BANNER_BYTES];
        let mut length = self.heard.get(&endpoint).map_or(0, Vec::len);
        let before = length;
        let is_all = loop {
            match socket.receive(&mut buffer[..BANNER_BYTES - length]) {
                Ok(0) => break true,
                Ok(more) => {
                    self.heard
                        .entry(endpoint)
                        .or_default()
                        .extend_from_slice(&buffer[..more]);
                    length += more;
                    if length == BANNER_BYTES {
                        break true;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break false,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                // Reset: no more will come.
                Err(_) => break true,
            }
        };
        (length > before, is_all)
    }

    /// Takes what the port at `endpoint` has said.
    pub fn take(&mut self, endpoint: SocketAddr) -> Option<Box<[u8]>> {
        // Mostly there is nothing to look for, so do not hash.
        if self.heard.is_empty() {
            None
        } else {
            self.heard.remove(&endpoint).map(Vec::into_boxed_slice)
        }
    }
}
