//! The scanning kernel's table of neighbours (ARP), as Linux keeps it: an address of an own link is
//! asked for before anything can be sent there, and while it is, it has a place that nobody else
//! gets. It knows addresses and times, no ports, and not who scans. For virtual time only: behind a
//! TUN device there are no neighbours.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, HashMap};
use std::net::IpAddr;

use crate::scenario::NeighbourTable;

/// What becomes of a packet to a neighbour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    /// It leaves at this time, in microseconds.
    At(u64),
    /// At this time it is known that nobody has the address.
    ToNobody(u64),
    /// The table is full, and nothing on a socket will tell.
    Dropped,
}

/// What the kernel tells whoever listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum News {
    Present(IpAddr),
    Absent(IpAddr),
    /// The table was full since the last look at it.
    Full,
}

/// From the question to the answer.
const ANSWERED_US: u64 = 500;
/// Three questions, a second apart.
const NOBODY_US: u64 = 3_000_000;
/// An entry that was resolved is not replaced for this long.
const FRESH_US: u64 = 5_000_000;
/// How often somebody looks whether the table was full.
const LOOK_US: u64 = 100_000;

/// The table under way.
#[derive(Debug)]
pub struct Neighbours {
    table: NeighbourTable,
    /// From when on it is known of an address whether somebody has it, and whether somebody has.
    entries: HashMap<IpAddr, (u64, bool)>,
    /// When each entry may be replaced.
    replaceable: BTreeSet<(u64, IpAddr)>,
    news: BinaryHeap<Reverse<(u64, News)>>,
    /// The last look that shows a full table.
    looks_us: u64,
}

impl Neighbours {
    pub fn new(table: NeighbourTable) -> Self {
        Neighbours {
            table,
            entries: HashMap::new(),
            replaceable: BTreeSet::new(),
            news: BinaryHeap::new(),
            looks_us: 0,
        }
    }

    /// A packet is sent to an address that somebody has or nobody.
    pub fn send(&mut self, to: IpAddr, is_up: bool, now_us: u64) -> Sent {
        if let Some(&(known_us, false)) = self.entries.get(&to)
            && known_us <= now_us
        {
            self.remove((known_us, to));
        }
        if !self.entries.contains_key(&to) {
            if !self.make_room(now_us) {
                self.was_full(now_us);
                return Sent::Dropped;
            }
            self.ask(to, is_up, now_us);
        }
        match self.entries[&to] {
            (known_us, true) => Sent::At(now_us.max(known_us)),
            (known_us, false) => Sent::ToNobody(known_us),
        }
    }

    fn ask(&mut self, to: IpAddr, is_up: bool, now_us: u64) {
        let (known_us, stays_us, news) = if is_up {
            (now_us + ANSWERED_US, FRESH_US, News::Present(to))
        } else {
            (now_us + NOBODY_US, 0, News::Absent(to))
        };
        self.entries.insert(to, (known_us, is_up));
        self.replaceable.insert((known_us + stays_us, to));
        self.news.push(Reverse((known_us, news)));
    }

    fn make_room(&mut self, now_us: u64) -> bool {
        if self.entries.len() < self.table.places {
            return true;
        }
        let oldest = self.replaceable.first().copied();
        let oldest = oldest.filter(|&(at_us, _)| at_us <= now_us);
        oldest.map(|entry| self.remove(entry)).is_some()
    }

    fn remove(&mut self, (at_us, address): (u64, IpAddr)) {
        self.replaceable.remove(&(at_us, address));
        self.entries.remove(&address);
    }

    /// The next look will show it.
    fn was_full(&mut self, now_us: u64) {
        let looks_us = (now_us / LOOK_US + 1) * LOOK_US;
        if looks_us > self.looks_us {
            self.looks_us = looks_us;
            self.news.push(Reverse((looks_us, News::Full)));
        }
    }

    /// When there is something to tell.
    pub fn next_us(&self) -> Option<u64> {
        self.news.peek().map(|Reverse((at_us, _))| *at_us)
    }

    /// What there is to tell by now.
    pub fn take(&mut self, now_us: u64) -> Option<News> {
        self.next_us().filter(|&at_us| at_us <= now_us)?;
        self.news.pop().map(|Reverse((_, news))| news)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn neighbours(places: usize) -> Neighbours {
        Neighbours::new(NeighbourTable { places, room: 0 })
    }

    fn ip(last: u8) -> IpAddr {
        [10, 9, 1, last].into()
    }

    #[test]
    fn what_is_sent_waits_until_the_address_is_known() {
        let mut table = neighbours(9);
        assert_eq!(table.send(ip(1), true, 0), Sent::At(500));
        assert_eq!(table.send(ip(1), true, 100), Sent::At(500));
        assert_eq!(table.send(ip(1), true, 900), Sent::At(900));
        assert_eq!(table.send(ip(2), false, 900), Sent::ToNobody(3_000_900));
        assert_eq!(table.send(ip(2), false, 1_000), Sent::ToNobody(3_000_900));
        assert_eq!(
            table.send(ip(2), false, 4_000_000),
            Sent::ToNobody(7_000_000),
            "it is asked again"
        );
        assert_eq!(table.take(499), None);
        let told: Vec<News> = std::iter::from_fn(|| table.take(7_000_000)).collect();
        let nobody = News::Absent(ip(2));
        assert_eq!(told, [News::Present(ip(1)), nobody, nobody]);
    }

    #[test]
    fn a_full_table_drops_what_is_new_until_an_entry_may_be_replaced() {
        let mut table = neighbours(2);
        assert_eq!(table.send(ip(1), true, 0), Sent::At(500));
        assert_eq!(table.send(ip(2), false, 0), Sent::ToNobody(3_000_000));
        assert_eq!(table.send(ip(3), true, 2_900_000), Sent::Dropped);
        assert_eq!(table.send(ip(3), true, 2_910_000), Sent::Dropped);
        assert_eq!(table.send(ip(3), true, 3_000_000), Sent::At(3_000_500));
        assert_eq!(table.send(ip(4), true, 5_000_499), Sent::Dropped);
        assert_eq!(table.send(ip(4), true, 5_000_500), Sent::At(5_001_000));
        let fulls = std::iter::from_fn(|| table.take(9_000_000));
        assert_eq!(fulls.filter(|news| *news == News::Full).count(), 2, "looks");
    }
}
