//! Who answers for a host on a link of this machine: the hardware address in the kernel's neighbour
//! table, asked for when the host is done. It asks for one host at a time, and remembers none.

use std::io;
use std::net::{IpAddr, SocketAddr};

use netlink_packet_core::Parseable;
use netlink_packet_route::AddressFamily;
use netlink_packet_route::neighbour::{NeighbourAddress, NeighbourAttribute, NeighbourMessage};
use netlink_sys::Socket;

use super::{index_of, open, receive, route_to, send};
use crate::engine::socket::SocketOptions;
use crate::engine::vendors::Vendors;
use crate::report::{Hardware, MacAddress};

/// Asks the kernel for hardware addresses.
#[derive(Debug)]
pub(in crate::engine) struct HardwareLookup {
    socket: Socket,
    options: SocketOptions,
    device: Option<u32>,
    vendors: Vendors,
}

impl HardwareLookup {
    /// For hosts that sockets with these options reach.
    pub fn new(options: &SocketOptions) -> io::Result<Self> {
        Ok(HardwareLookup {
            socket: open()?,
            options: options.clone(),
            device: options.device.as_deref().and_then(index_of),
            vendors: Vendors::default(),
        })
    }

    /// What answers for a host; nothing if it is behind a router.
    pub fn of(&mut self, host: SocketAddr) -> Option<Hardware> {
        let zone = match host {
            SocketAddr::V6(v6) => Some(v6.scope_id()).filter(|&zone| zone > 0),
            SocketAddr::V4(_) => None,
        };
        let address = host.ip();
        let device = zone.or(self.device);
        let route = route_to(&self.socket, address, &self.options, device).ok()??;
        let (_, device) = route.direct()?;
        let mac = self.ask(address, device)?;
        let vendor = self.vendors.of(mac);
        Some(Hardware { mac, vendor })
    }

    fn ask(&self, address: IpAddr, device: u32) -> Option<MacAddress> {
        let (family, destination) = match address {
            IpAddr::V4(v4) => (AddressFamily::Inet, NeighbourAddress::Inet(v4)),
            IpAddr::V6(v6) => (AddressFamily::Inet6, NeighbourAddress::Inet6(v6)),
        };
        let mut question = NeighbourMessage::default();
        question.header.family = family;
        question.header.ifindex = device;
        question.attributes = vec![NeighbourAttribute::Destination(destination)];
        send(&self.socket, libc::RTM_GETNEIGH, 0, &question).ok()?;
        let answer = receive(&self.socket, libc::RTM_NEWNEIGH).ok()??;
        let neighbour = NeighbourMessage::parse(&answer).ok()?;
        let mac = |attribute: &NeighbourAttribute| match attribute {
            NeighbourAttribute::LinkLayerAddress(bytes) => {
                bytes[..].try_into().ok().map(MacAddress)
            }
            _ => None,
        };
        neighbour.attributes.iter().find_map(mac)
    }
}
