//! The neighbour table of this machine, as a resource: an address on its own links has to be
//! resolved (ARP, NDP) before anything can be sent there, and the table has few places. It knows
//! addresses, places and times, no host and no probe.

use std::collections::{HashSet, VecDeque};
use std::net::IpAddr;

use super::time::Time;

/// What this machine knows of its own links when a scan begins.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The networks that need no router, each as an address and the length of its prefix in bits.
    pub networks: Vec<(IpAddr, u8)>,
    /// Addresses there that need no place: this machine's own, and those that are resolved.
    pub known: HashSet<IpAddr>,
    /// How many further addresses the kernel's tables have room for: IPv4's, and IPv6's.
    pub room: [u32; 2],
}

impl Links {
    /// Whether an address is on a link of this machine and not resolved yet.
    pub fn has_unknown(&self, address: IpAddr) -> bool {
        self.networks.iter().any(|&net| contains(net, address)) && !self.known.contains(&address)
    }

    /// Whether what is sent to an address passes no router: it stays on this machine or on one of
    /// its links. A link that leads everywhere is an uplink, whoever forwards there. Where the
    /// links are not known, only loopback and link-local addresses are sure to be ours.
    pub fn is_own(&self, address: IpAddr) -> bool {
        let mut networks = self.networks.iter().filter(|&&(_, bits)| bits > 0);
        never_passes_a_router(address)
            || self.known.contains(&address)
            || networks.any(|&net| contains(net, address))
    }
}

/// Loopback and link-local addresses (RFC 3927, 4291), and the unspecified one.
fn never_passes_a_router(address: IpAddr) -> bool {
    address.is_loopback()
        || address.is_unspecified()
        || match address {
            IpAddr::V4(v4) => v4.is_link_local(),
            IpAddr::V6(v6) => v6.is_unicast_link_local(),
        }
}

fn contains((network, bits): (IpAddr, u8), address: IpAddr) -> bool {
    let differ = match (network, address) {
        (IpAddr::V4(a), IpAddr::V4(b)) => u128::from(u32::from(a) ^ u32::from(b)) << 96,
        (IpAddr::V6(a), IpAddr::V6(b)) => u128::from(a) ^ u128::from(b),
        _ => return false,
    };
    differ.leading_zeros() >= bits.into()
}

/// Places in the kernel's tables: one for each address from its first attempt until the kernel may
/// use the place again.
#[derive(Debug, Default)]
pub(super) struct Neighbours {
    links: Links,
    tables: [Table; 2],
}

#[derive(Debug, Default)]
struct Table {
    /// How many may be taken, now and at most, and when that last changed.
    room: u32,
    most: u32,
    changed: Time,
    taken: u32,
    /// When places that nobody needs any more can be used again, the next one first.
    lingering: VecDeque<Time>,
}

/// An entry that was resolved cannot be replaced for this long (`neigh_forced_gc`).
const LINGER_US: u64 = 5_000_000;
/// What was taken may be in the way for so long, before less room can show, or more be tried: by
/// one in so many.
const ROUND_US: u64 = 4_000_000;
const GROWS_BY: u32 = 8;
/// Room for no fewer than this, however full the table seems.
const LEAST_ROOM: u32 = 16;

impl Neighbours {
    pub fn new(links: Links) -> Self {
        let table = |room: u32| Table {
            room: room.max(LEAST_ROOM),
            most: room.max(LEAST_ROOM),
            ..Table::default()
        };
        Neighbours {
            tables: links.room.map(table),
            links,
        }
    }

    /// Whether an address needs a place.
    pub fn needs_place(&self, address: IpAddr) -> bool {
        self.links.has_unknown(address)
    }

    /// Whether what is sent to an address passes no router.
    pub fn is_own(&self, address: IpAddr) -> bool {
        self.links.is_own(address)
    }

    /// Whether it is known which networks are on a link of this machine.
    pub fn are_known(&self) -> bool {
        !self.links.networks.is_empty()
    }

    /// Whether places are in use.
    pub fn are_used(&self) -> bool {
        self.tables.iter().any(|table| table.taken > 0)
    }

    fn table(&mut self, address: IpAddr) -> &mut Table {
        &mut self.tables[usize::from(address.is_ipv6())]
    }

    /// Whether there is a place for an address.
    pub fn has_place(&mut self, address: IpAddr, now: Time) -> bool {
        let table = self.table(address);
        while table.lingering.front().is_some_and(|&at| at <= now) {
            table.lingering.pop_front();
            table.taken -= 1;
        }
        if table.taken >= table.room && now.us_since(table.changed) >= ROUND_US {
            table.set_room(table.room + table.room / GROWS_BY, now);
        }
        table.taken < table.room
    }

    /// When a place will be free in a table that has none now, without anything else happening.
    pub fn frees_at(&self) -> Option<Time> {
        let full = self.tables.iter().filter(|table| table.taken >= table.room);
        full.filter_map(|table| table.lingering.front().copied())
            .min()
    }

    pub fn take(&mut self, address: IpAddr) {
        self.table(address).taken += 1;
    }

    /// An address is done with. Where nobody answered for it, its place is free.
    pub fn leave(&mut self, address: IpAddr, was_resolved: bool, now: Time) {
        let table = self.table(address);
        if was_resolved {
            table.lingering.push_back(now.plus_us(LINGER_US));
        } else {
            table.taken -= 1;
        }
    }

    /// A table was full all the same: others use it, too. It stays so for as long as what was taken
    /// until then is asked for, however much less is taken now.
    pub fn was_full(&mut self, now: Time) {
        let may_shrink = |table: &&mut Table| {
            table.room == table.most || now.us_since(table.changed) >= ROUND_US
        };
        for table in self.tables.iter_mut().filter(may_shrink) {
            table.set_room(table.room / 2, now);
        }
    }
}

impl Table {
    fn set_room(&mut self, room: u32, now: Time) {
        self.room = room.clamp(LEAST_ROOM, self.most);
        self.changed = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn neighbours(room: u32) -> Neighbours {
        Neighbours::new(Links {
            networks: vec![(ip("192.0.2.128"), 25), (ip("2001:db8::"), 64)],
            known: HashSet::from([ip("192.0.2.129")]),
            room: [room, room],
        })
    }

    #[test]
    fn addresses_on_a_link_are_told_from_others() {
        for (address, needs) in [
            ("192.0.2.127", false),
            ("192.0.2.128", true),
            ("192.0.2.129", false),
            ("192.0.2.255", true),
            ("2001:db8::ffff", true),
            ("2001:db8:0:1::", false),
        ] {
            assert_eq!(neighbours(1).needs_place(ip(address)), needs, "{address}");
        }
        assert!(contains((ip("0.0.0.0"), 0), ip("203.0.113.9")));
    }

    #[test]
    fn what_passes_a_router_is_told_from_what_does_not() {
        let links = Links {
            networks: vec![(ip("0.0.0.0"), 0), (ip("10.1.0.0"), 16)],
            known: HashSet::from([ip("192.168.7.1")]),
            room: [1, 1],
        };
        for (address, nobody_tells, told) in [
            ("127.0.0.1", true, true),
            ("::1", true, true),
            ("169.254.1.1", true, true),
            ("fe80::1", true, true),
            ("10.1.2.3", false, true),
            ("192.168.7.1", false, true),
            ("10.2.0.1", false, false),
            ("192.168.7.2", false, false),
            ("fd00::1", false, false),
            ("203.0.113.1", false, false),
        ] {
            assert_eq!(
                Links::default().is_own(ip(address)),
                nobody_tells,
                "{address}"
            );
            assert_eq!(links.is_own(ip(address)), told, "{address}");
        }
    }

    #[test]
    fn places_are_taken_and_come_back() {
        let at = |ms: u64| Time::from_us(ms * 1_000);
        let (mut table, one, other) = (neighbours(LEAST_ROOM), ip("192.0.2.130"), ip("2001:db8::"));
        (0..LEAST_ROOM).for_each(|_| table.take(one));
        assert!(!table.has_place(one, at(0)));
        assert!(table.has_place(other, at(0)), "IPv6 has its own table");
        assert_eq!(table.frees_at(), None, "nobody has left");
        table.leave(one, false, at(3_000));
        assert!(table.has_place(one, at(3_000)), "nobody was there");
        table.take(one);
        table.leave(one, true, at(4_000));
        assert_eq!(table.frees_at(), Some(at(9_000)));
        assert!(!table.has_place(one, at(8_999)));
        assert!(table.has_place(one, at(9_000)));
    }

    #[test]
    fn a_table_that_was_full_is_used_less_for_a_while() {
        let at = |ms: u64| Time::from_us(ms * 1_000);
        let (mut table, one) = (neighbours(100), ip("192.0.2.130"));
        (0..100).for_each(|_| table.take(one));
        let check = |table: &mut Neighbours, ms, was_full: bool, expect| {
            if was_full {
                table.was_full(at(ms));
            }
            table.has_place(one, at(ms));
            assert_eq!(table.tables[0].room, expect, "{ms}");
        };
        check(&mut table, 100, true, 50);
        check(&mut table, 1_000, true, 50);
        check(&mut table, 4_100, true, 25);
        check(&mut table, 8_000, false, 25);
        check(&mut table, 8_100, false, 28);
        check(&mut table, 8_200, false, 28);
        check(&mut table, 12_100, false, 31);
        check(&mut table, 20_000, true, LEAST_ROOM);
        check(&mut table, 24_000, true, LEAST_ROOM);
        (0..100).for_each(|_| table.leave(one, false, at(25_000)));
        (7..100).for_each(|round| check(&mut table, 4_000 * round, false, LEAST_ROOM));
    }
}
