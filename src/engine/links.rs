//! What the kernel says of this machine's links (rtnetlink(7)): which networks need no router, how
//! full the neighbour tables are, who answers for an address. An ordinary user may ask all of it,
//! in containers too. It asks and translates; what follows is decided in [`scan`](crate::scan).

mod hardware;
mod tables;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::os::fd::AsRawFd;

use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use netlink_packet_core::{
    DefaultNla, Emitable, NLM_F_DUMP, NLM_F_REQUEST, NetlinkBuffer, NetlinkHeader, NlasIterator,
    Parseable,
};
use netlink_packet_route::AddressFamily;
use netlink_packet_route::link::{LinkFlags, LinkHeader};
use netlink_packet_route::neighbour::{
    NeighbourAddress, NeighbourAttribute, NeighbourMessage, NeighbourState,
};
use netlink_packet_route::neighbour_table::NeighbourTableMessage;
use netlink_packet_route::route::{RouteHeader, RouteType};
use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::socket::SocketOptions;
use crate::scan::{Links, Scan, Time};
pub(super) use hardware::HardwareLookup;
pub(super) use tables::neighbour_tables;

/// Tells of neighbours while a scan runs.
#[derive(Debug)]
pub(super) struct LinkMonitor {
    socket: Socket,
    /// Whether only a neighbour that has just answered counts as being there.
    is_strict: bool,
    /// The list of neighbours is asked for next, and not how full their tables are.
    asks_neighbours: bool,
    /// How often each table was full so far.
    fulls: HashMap<String, u64>,
}

/// Where the kernel does not say how large its tables are: half of what Linux has by default.
const UNKNOWN_ROOM: u32 = 512;
/// Room for what a burst of neighbours makes the kernel tell (it tells if even that is too little).
const RECEIVE_BYTES: usize = 1 << 20;
/// The kernel sends dumps in pages (NLMSG_GOODSIZE), and other messages are shorter.
const MESSAGE_BYTES: usize = 8 * 1024;

/// What this machine's links are, as sockets with these options see them. `is_strict`: an address
/// that was resolved once may be nobody's by now, so it is not taken for known.
///
/// # Errors
/// Without netlink (a sandbox may forbid it) what the system says; then nothing is known.
pub(super) fn links(options: &SocketOptions, is_strict: bool) -> io::Result<Links> {
    let socket = open()?;
    let mut resolved = Vec::new();
    let mut spare = [0; 2];
    dump(
        &socket,
        libc::RTM_GETNEIGH,
        &NeighbourMessage::default(),
        |payload| {
            let Some((address, state)) = neighbour(payload) else {
                return;
            };
            if state == NeighbourState::Failed {
                spare[usize::from(address.is_ipv6())] += 1;
            } else if is_fixed(state) || (is_resolved(state) && !is_strict) {
                resolved.push(address);
            }
        },
    )?;
    let mut without_neighbours = Vec::new();
    dump(
        &socket,
        libc::RTM_GETLINK,
        &LinkHeader::default(),
        |payload| {
            if let Ok(link) = LinkHeader::parse(payload)
                && link
                    .flags
                    .intersects(LinkFlags::Noarp | LinkFlags::Loopback)
            {
                without_neighbours.push(link.index);
            }
        },
    )?;
    let mut links = Links::default();
    dump(
        &socket,
        libc::RTM_GETROUTE,
        &RouteHeader::default(),
        |payload| {
            let Some(route) = Route::parse(payload) else {
                return;
            };
            links.known.extend(route.own_address());
            let on_link = route
                .direct()
                .filter(|(_, device)| !without_neighbours.contains(device));
            links.networks.extend(on_link.map(|(network, _)| network));
        },
    )?;
    let device = options.device.as_deref().and_then(index_of);
    let is_asked_there = |&(network, bits): &(IpAddr, u8)| {
        let inside = first_host(network, bits);
        asks_directly(&socket, inside, options, device).unwrap_or(true)
    };
    links.networks.sort_unstable();
    links.networks.dedup();
    links.networks.retain(is_asked_there);
    links.known.extend(resolved);
    links.room = tables::tables(&socket, spare).map(|table| match table {
        Some(table) => table.room,
        None => UNKNOWN_ROOM,
    });
    Ok(links)
}

/// A socket that asks.
fn open() -> io::Result<Socket> {
    let socket = Socket::new(NETLINK_ROUTE)?;
    // The kernel answers within the call that asks.
    socket.set_non_blocking(true)?;
    Ok(socket)
}

impl LinkMonitor {
    /// Has the poll tell when there is something to [`take`](Self::take).
    pub fn new(registry: &Registry, token: Token, is_strict: bool) -> io::Result<Self> {
        let mut socket = Socket::new(NETLINK_ROUTE)?;
        socket.bind(&SocketAddr::new(0, 0))?;
        socket.add_membership(libc::RTNLGRP_NEIGH)?;
        // As much as this user may have; that too much has come is told, too.
        let _ = socket.set_rx_buf_sz(RECEIVE_BYTES as libc::c_int);
        socket.set_non_blocking(true)?;
        registry.register(
            &mut SourceFd(&socket.as_raw_fd()),
            token,
            Interest::READABLE,
        )?;
        Ok(LinkMonitor {
            socket,
            is_strict,
            asks_neighbours: is_strict,
            fulls: HashMap::new(),
        })
    }

    /// Asks how full the tables are, and, in turns with that, for neighbours that answered before
    /// they were asked; the kernel answers one question at a time, through the poll.
    pub fn ask(&mut self) {
        // One that fails is made up for by the next.
        let _ = if self.asks_neighbours {
            ask(
                &self.socket,
                libc::RTM_GETNEIGH,
                &NeighbourMessage::default(),
            )
        } else {
            ask(
                &self.socket,
                libc::RTM_GETNEIGHTBL,
                &NeighbourTableMessage::default(),
            )
        };
        self.asks_neighbours = self.is_strict && !self.asks_neighbours;
    }

    /// Tells the scan what the kernel has told.
    pub fn take(&mut self, scan: &mut Scan, now: Time) {
        let mut buffer = vec![0; MESSAGE_BYTES];
        loop {
            match self.socket.recv(&mut &mut buffer[..], 0) {
                Ok(length) => self.told(&buffer[..length], scan, now),
                // More came than there was room for: look at all that is there.
                Err(error) if error.raw_os_error() == Some(libc::ENOBUFS) => {
                    let _ = ask(
                        &self.socket,
                        libc::RTM_GETNEIGH,
                        &NeighbourMessage::default(),
                    );
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn told(&mut self, bytes: &[u8], scan: &mut Scan, now: Time) {
        for (kind, payload) in messages(bytes) {
            match kind {
                libc::RTM_NEWNEIGH => {
                    let Some((address, state)) = neighbour(payload) else {
                        continue;
                    };
                    let is_there = match self.is_strict {
                        true => state == NeighbourState::Reachable,
                        false => is_resolved(state),
                    };
                    if is_there || state == NeighbourState::Failed {
                        scan.handle_neighbour(address, is_there, now);
                    }
                }
                libc::RTM_NEWNEIGHTBL => {
                    let Some(table) = tables::table(payload) else {
                        continue;
                    };
                    let before = self.fulls.insert(table.name, table.fulls);
                    if before.is_some_and(|before| before < table.fulls) {
                        scan.handle_neighbours_full(now);
                    }
                }
                _ => {}
            }
        }
    }
}

fn is_resolved(state: NeighbourState) -> bool {
    use NeighbourState::*;
    matches!(state, Reachable | Stale | Delay | Probe | Permanent | Noarp)
}

/// Whether somebody wrote the entry by hand, which the kernel never checks.
fn is_fixed(state: NeighbourState) -> bool {
    matches!(state, NeighbourState::Permanent | NeighbourState::Noarp)
}

/// Sends a request to the kernel.
fn send(socket: &Socket, kind: u16, flags: u16, message: &impl Emitable) -> io::Result<()> {
    let mut header = NetlinkHeader::default();
    header.length = (size_of::<libc::nlmsghdr>() + message.buffer_len()) as u32;
    header.message_type = kind;
    header.flags = NLM_F_REQUEST | flags;
    let mut bytes = vec![0; header.length as usize];
    header.emit(&mut bytes);
    message.emit(&mut bytes[header.buffer_len()..]);
    socket
        .send_to(&bytes, &SocketAddr::new(0, 0), 0)
        .map(|_| ())
}

/// Asks for all there is.
fn ask(socket: &Socket, kind: u16, message: &impl Emitable) -> io::Result<()> {
    send(socket, kind, NLM_F_DUMP, message)
}

/// The messages in what was received: kind and payload.
fn messages(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let packet = NetlinkBuffer::new_checked(bytes).ok()?;
        let length = packet.length() as usize;
        let (kind, payload) = (packet.message_type(), &bytes[..length]);
        // Each begins at a multiple of four (NLMSG_ALIGN).
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some((kind, &payload[size_of::<libc::nlmsghdr>()..]))
    })
}

/// Asks for all there is, and hands on the payload of each message that comes.
fn dump(
    socket: &Socket,
    kind: u16,
    message: &impl Emitable,
    mut each: impl FnMut(&[u8]),
) -> io::Result<()> {
    ask(socket, kind, message)?;
    let mut buffer = vec![0; MESSAGE_BYTES];
    loop {
        let length = socket.recv(&mut &mut buffer[..], 0)?;
        for (kind, payload) in messages(&buffer[..length]) {
            match i32::from(kind) {
                libc::NLMSG_DONE => return Ok(()),
                libc::NLMSG_ERROR => return Err(io::ErrorKind::Unsupported.into()),
                _ => each(payload),
            }
        }
    }
}

/// A neighbour's address and its state.
fn neighbour(payload: &[u8]) -> Option<(IpAddr, NeighbourState)> {
    let message = NeighbourMessage::parse(payload).ok()?;
    let address = message
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            NeighbourAttribute::Destination(NeighbourAddress::Inet(v4)) => Some(IpAddr::from(*v4)),
            NeighbourAttribute::Destination(NeighbourAddress::Inet6(v6)) => Some(IpAddr::from(*v6)),
            _ => None,
        })?;
    Some((address, message.header.state))
}

/// What is needed of a route: of the many attributes that a route may have only three kinds are
/// looked at.
struct Route {
    header: RouteHeader,
    destination: IpAddr,
    device: Option<u32>,
    has_router: bool,
}

impl Route {
    fn parse(payload: &[u8]) -> Option<Self> {
        let header = RouteHeader::parse(payload).ok()?;
        let mut route = Route {
            destination: match header.address_family {
                AddressFamily::Inet => Ipv4Addr::UNSPECIFIED.into(),
                AddressFamily::Inet6 => Ipv6Addr::UNSPECIFIED.into(),
                _ => return None,
            },
            device: None,
            has_router: false,
            header,
        };
        let attributes = payload.get(route.header.buffer_len()..)?;
        for attribute in NlasIterator::new(attributes).map_while(Result::ok) {
            let value = attribute.value();
            match attribute.kind() {
                libc::RTA_DST => route.destination = address(value)?,
                libc::RTA_OIF => route.device = Some(u32::from_ne_bytes(value.try_into().ok()?)),
                libc::RTA_GATEWAY | libc::RTA_MULTIPATH | RTA_VIA => route.has_router = true,
                _ => {}
            }
        }
        Some(route)
    }

    /// This machine's own address, if that is what the route leads to.
    fn own_address(&self) -> Option<IpAddr> {
        use RouteType::*;
        matches!(self.header.kind, Local | Broadcast | Anycast | Multicast)
            .then_some(self.destination)
    }

    /// The network that the route leads to without a router, and the device.
    fn direct(&self) -> Option<((IpAddr, u8), u32)> {
        let is_direct = self.header.kind == RouteType::Unicast && !self.has_router;
        let bits = self.header.destination_prefix_length;
        is_direct.then_some(((self.destination, bits), self.device?))
    }
}

/// rtnetlink.h; libc does not have it.
const RTA_VIA: u16 = 18;

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    v4.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from))
        .ok()
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The question for a route.
struct RouteQuery {
    header: RouteHeader,
    attributes: Vec<DefaultNla>,
}

impl Emitable for RouteQuery {
    fn buffer_len(&self) -> usize {
        self.header.buffer_len() + self.attributes.as_slice().buffer_len()
    }

    fn emit(&self, buffer: &mut [u8]) {
        let (header, attributes) = buffer.split_at_mut(self.header.buffer_len());
        self.header.emit(header);
        self.attributes.as_slice().emit(attributes);
    }
}

/// An address in a network that may be a host's.
fn first_host(network: IpAddr, bits: u8) -> IpAddr {
    match network {
        IpAddr::V4(v4) if bits < 31 => Ipv4Addr::from(u32::from(v4) | 1).into(),
        IpAddr::V6(v6) if bits < 127 => Ipv6Addr::from(u128::from(v6) | 1).into(),
        other => other,
    }
}

/// Whether sockets with these options reach an address without a router: policy rules may send them
/// elsewhere. `None` where the kernel does not say.
fn asks_directly(
    socket: &Socket,
    address: IpAddr,
    options: &SocketOptions,
    device: Option<u32>,
) -> Option<bool> {
    let route = route_to(socket, address, options, device).ok()?;
    // Our own address answers as well: it is on the link.
    Some(route.is_some_and(|route| route.direct().is_some() || route.own_address().is_some()))
}

/// The route that sockets with these options take to an address, if there is one.
fn route_to(
    socket: &Socket,
    address: IpAddr,
    options: &SocketOptions,
    device: Option<u32>,
) -> io::Result<Option<Route>> {
    let (family, bits, source) = match address {
        IpAddr::V4(_) => (AddressFamily::Inet, 32, options.source_v4.map(IpAddr::from)),
        IpAddr::V6(_) => (
            AddressFamily::Inet6,
            128,
            options.source_v6.map(IpAddr::from),
        ),
    };
    let mut message = RouteQuery {
        header: RouteHeader {
            address_family: family,
            destination_prefix_length: bits,
            source_prefix_length: source.map_or(0, |_| bits),
            ..RouteHeader::default()
        },
        attributes: vec![DefaultNla::new(libc::RTA_DST, octets(address))],
    };
    let source = source.map(|source| DefaultNla::new(libc::RTA_SRC, octets(source)));
    message.attributes.extend(source);
    let device = device.map(|index| DefaultNla::new(libc::RTA_OIF, index.to_ne_bytes().to_vec()));
    message.attributes.extend(device);
    send(socket, libc::RTM_GETROUTE, 0, &message)?;
    match receive(socket, libc::RTM_NEWROUTE)? {
        Some(payload) => Route::parse(&payload)
            .map(Some)
            .ok_or_else(|| io::ErrorKind::InvalidData.into()),
        None => Ok(None),
    }
}

/// The payload of the one answer to a question, if it is of this kind and no error.
fn receive(socket: &Socket, expected: u16) -> io::Result<Option<Vec<u8>>> {
    let mut buffer = vec![0; MESSAGE_BYTES];
    let length = socket.recv(&mut &mut buffer[..], 0)?;
    let answer = messages(&buffer[..length]).next();
    Ok(answer
        .filter(|&(kind, _)| kind == expected)
        .map(|(_, payload)| payload.to_vec()))
}

fn index_of(device: &str) -> Option<u32> {
    let name = std::ffi::CString::new(device).ok()?;
    // SAFETY: the name is a C string that outlives the call.
    let index = unsafe { libc::if_nametoindex(name.as_ptr()) };
    (index > 0).then_some(index)
}
