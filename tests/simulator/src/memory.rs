//! What routers and hosts remember of what they were sent: rates, connections, and whom they have
//! shut out. It is told the limits and the time; it knows neither clock nor scenario.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::hash::Hash;
use std::net::{IpAddr, SocketAddr};

use crate::scenario::{Ban, Limit, StateTable};

/// A token bucket for each of many.
#[derive(Clone, Debug)]
pub struct Buckets<K>(HashMap<K, (f64, u64)>);

impl<K> Default for Buckets<K> {
    fn default() -> Self {
        Buckets(HashMap::new())
    }
}

impl<K: Eq + Hash> Buckets<K> {
    /// Whether there is something left.
    pub fn has(&mut self, of: K, limit: Limit, now_us: u64) -> bool {
        *self.fill(of, limit, now_us) >= 1.0
    }

    /// The same, and then it is one less.
    pub fn take(&mut self, of: K, limit: Limit, now_us: u64) -> bool {
        let tokens = self.fill(of, limit, now_us);
        let takes = *tokens >= 1.0;
        *tokens -= f64::from(u8::from(takes));
        takes
    }

    fn fill(&mut self, of: K, Limit { per_s, burst }: Limit, now_us: u64) -> &mut f64 {
        let (tokens, at_us) = self.0.entry(of).or_insert((burst, now_us));
        *tokens = (*tokens + now_us.saturating_sub(*at_us) as f64 * per_s / 1e6).min(burst);
        *at_us = now_us.max(*at_us);
        tokens
    }
}

/// Where to, and which one of the connections there.
type Connection = (SocketAddr, u64);

/// The entries of a [`StateTable`].
#[derive(Clone, Debug, Default)]
pub struct Connections {
    until_us: HashMap<Connection, u64>,
    /// When each entry ends, the next one first. One that was renewed is here for each time.
    ends: BinaryHeap<Reverse<(u64, Connection)>>,
}

impl Connections {
    /// Whether a SYN gets through: its connection has an entry, or there is a place for one.
    pub fn keep(&mut self, table: StateTable, connection: Connection, now_us: u64) -> bool {
        self.forget(now_us);
        let is_known = self.until_us.contains_key(&connection);
        let begins = !is_known && self.until_us.len() < table.places;
        if begins || (is_known && table.is_renewed) {
            self.set(connection, now_us, table.unanswered_s);
        }
        is_known || begins
    }

    /// The connection was answered: it is remembered for so long from then on.
    pub fn answered(&mut self, connection: Connection, at_us: u64, lasts_s: f64) {
        self.set(connection, at_us, lasts_s);
    }

    fn set(&mut self, connection: Connection, from_us: u64, for_s: f64) {
        let until_us = from_us + (for_s * 1e6) as u64;
        self.until_us.insert(connection, until_us);
        self.ends.push(Reverse((until_us, connection)));
    }

    fn forget(&mut self, now_us: u64) {
        while let Some(&Reverse((end_us, connection))) = self.ends.peek()
            && end_us <= now_us
        {
            self.ends.pop();
            if self.until_us.get(&connection) == Some(&end_us) {
                self.until_us.remove(&connection);
            }
        }
    }
}

/// Hosts that shut us out.
#[derive(Clone, Debug, Default)]
pub struct Bans {
    seen: Buckets<IpAddr>,
    until_us: HashMap<IpAddr, u64>,
}

impl Bans {
    /// Whether a SYN to this host comes from somebody who is shut out: by now, if not before.
    pub fn shuts_out(&mut self, ban: Ban, ip: IpAddr, to_open: bool, now_us: u64) -> bool {
        if !last_byte(ip).is_multiple_of(ban.every) {
            return false;
        }
        let until_us = self.until_us.entry(ip).or_default();
        let was_shut = now_us < *until_us;
        let counts = !(ban.spares_open && to_open);
        let is_too_fast = !was_shut && counts && !self.seen.take(ip, ban.over, now_us);
        if is_too_fast || (was_shut && ban.is_renewed) {
            *until_us = now_us + (ban.for_s * 1e6) as u64;
        }
        was_shut || is_too_fast
    }
}

fn last_byte(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(v4) => v4.octets()[3],
        IpAddr::V6(v6) => v6.octets()[15],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::Shut;

    const TABLE: StateTable = StateTable {
        places: 2,
        unanswered_s: 30.0,
        is_renewed: false,
        reset_s: 10.0,
    };

    /// Whether SYNs of these connections pass, each in its second.
    fn pass<const N: usize>(table: StateTable, syns: [(u64, u64); N]) -> [bool; N] {
        let mut connections = Connections::default();
        syns.map(|(number, s)| connections.keep(table, connection(number), s * 1_000_000))
    }

    fn connection(number: u64) -> Connection {
        (SocketAddr::from(([10, 9, 1, 2], 80)), number)
    }

    #[test]
    fn a_full_table_takes_nothing_new_until_an_entry_ends() {
        assert_eq!(
            pass(
                TABLE,
                [(1, 0), (2, 10), (3, 29), (1, 29), (3, 30), (4, 39), (4, 40)]
            ),
            [true, true, false, true, true, false, true]
        );
        let renewed = StateTable {
            is_renewed: true,
            ..TABLE
        };
        assert_eq!(
            pass(
                renewed,
                [(1, 0), (2, 10), (1, 29), (3, 39), (3, 40), (4, 58), (4, 59)]
            ),
            [true, true, true, false, true, false, true]
        );
    }

    #[test]
    fn an_answer_ends_an_entry_sooner() {
        let mut connections = Connections::default();
        assert!(connections.keep(TABLE, connection(1), 0));
        assert!(connections.keep(TABLE, connection(2), 0));
        connections.answered(connection(1), 1_000_000, 10.0);
        assert!(!connections.keep(TABLE, connection(3), 10_999_999));
        assert!(connections.keep(TABLE, connection(3), 11_000_000));
    }

    const BAN: Ban = Ban {
        over: Limit {
            per_s: 1.0,
            burst: 2.0,
        },
        for_s: 30.0,
        is_renewed: false,
        spares_open: false,
        with: Shut::Dropped,
        every: 1,
    };

    /// Whether SYNs at these seconds to a closed port of the host meet a ban.
    fn shut_out<const N: usize>(ban: Ban, last: u8, at_s: [u64; N]) -> [bool; N] {
        let mut bans = Bans::default();
        let ip = IpAddr::from([10, 9, 1, last]);
        at_s.map(|s| bans.shuts_out(ban, ip, false, s * 1_000_000))
    }

    #[test]
    fn who_is_too_fast_is_shut_out_for_a_time() {
        assert_eq!(
            shut_out(BAN, 2, [0, 0, 1, 2, 3]),
            [false; 5],
            "as fast as it takes"
        );
        assert_eq!(
            shut_out(BAN, 2, [0, 0, 0, 29, 30]),
            [false, false, true, true, false]
        );
        let renewed = Ban {
            is_renewed: true,
            ..BAN
        };
        assert_eq!(
            shut_out(renewed, 2, [0, 0, 0, 29, 58, 88]),
            [false, false, true, true, true, false]
        );
    }

    #[test]
    fn a_detector_of_scans_spares_open_ports_until_it_shuts() {
        let mut bans = Bans::default();
        let detector = Ban {
            spares_open: true,
            ..BAN
        };
        let mut is_shut =
            |to_open| bans.shuts_out(detector, IpAddr::from([10, 9, 1, 2]), to_open, 0);
        assert_eq!([true; 9].map(&mut is_shut), [false; 9]);
        assert_eq!([false; 3].map(&mut is_shut), [false, false, true]);
        assert!(is_shut(true));
    }

    #[test]
    fn one_of_eight_shuts_us_out() {
        let eighth = Ban { every: 8, ..BAN };
        assert_eq!(shut_out(eighth, 8, [0; 3]), [false, false, true]);
        assert_eq!(shut_out(eighth, 9, [0; 3]), [false; 3]);
    }
}
