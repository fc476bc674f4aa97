//! The kernel's neighbour tables: how full they are, and how much of them a scan may take. It
//! asks and computes; who needs a place is decided in [`scan`](crate::scan).

use std::io;

use netlink_packet_core::Parseable;
use netlink_packet_route::neighbour::{NeighbourMessage, NeighbourState};
use netlink_packet_route::neighbour_table::{NeighbourTableAttribute, NeighbourTableMessage};
use netlink_sys::Socket;

use super::{dump, neighbour, open};
use crate::report::NeighbourTable;

/// What the kernel says of one table of neighbours.
#[derive(Debug, Default)]
pub(super) struct Table {
    pub name: String,
    most: u32,
    entries: u32,
    /// How often it was full so far.
    pub fulls: u64,
}

/// The names of IPv4's table, and IPv6's.
const NAMES: [&str; 2] = ["arp_cache", "ndisc_cache"];
/// The part of a table that is left to others.
const OTHERS_DIVISOR: u32 = 8;
/// Most of a table may be entries that the kernel replaces at once: no less than this part of it is
/// tried, and if it was full then, that is noticed.
const LEAST_DIVISOR: u32 = 4;

/// Both tables, IPv4's and IPv6's. `None` where the kernel does not tell.
pub(in crate::engine) fn neighbour_tables() -> [Option<NeighbourTable>; 2] {
    let ask = || {
        let socket = open()?;
        let mut spare = [0; 2];
        let question = NeighbourMessage::default();
        dump(&socket, libc::RTM_GETNEIGH, &question, |payload| {
            if let Some((address, NeighbourState::Failed)) = neighbour(payload) {
                spare[usize::from(address.is_ipv6())] += 1;
            }
        })?;
        io::Result::Ok(tables(&socket, spare))
    };
    ask().unwrap_or_default()
}

/// The same, with how many entries can be replaced at once: IPv4's, and IPv6's.
pub(super) fn tables(socket: &Socket, spare: [u32; 2]) -> [Option<NeighbourTable>; 2] {
    let mut tables = Vec::new();
    let question = NeighbourTableMessage::default();
    // Some sandboxes know links and routes, but no tables.
    let _ = dump(socket, libc::RTM_GETNEIGHTBL, &question, |payload| {
        tables.extend(table(payload));
    });
    [0, 1].map(|family| {
        let table = tables.iter().find(|table| table.name == NAMES[family])?;
        let used = table.entries.saturating_sub(spare[family]);
        Some(NeighbourTable {
            used,
            most: table.most,
            room: room(table.most, used),
        })
    })
}

/// How many more addresses a table can hold beside those of others.
fn room(most: u32, used: u32) -> u32 {
    let free = (most - most / OTHERS_DIVISOR).saturating_sub(used);
    free.max(most / LEAST_DIVISOR)
}

pub(super) fn table(payload: &[u8]) -> Option<Table> {
    let message = NeighbourTableMessage::parse(payload).ok()?;
    let mut table = Table::default();
    for attribute in message.attributes {
        match attribute {
            NeighbourTableAttribute::Name(name) => table.name = name,
            NeighbourTableAttribute::Threshold3(most) => table.most = most,
            NeighbourTableAttribute::Config(config) => table.entries = config.entries,
            NeighbourTableAttribute::Stats(stats) => table.fulls = stats.table_fulls,
            _ => {}
        }
    }
    // Each device has a message of its own, which has only parameters.
    (table.most > 0).then_some(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn some_of_a_table_is_left_to_others() {
        for (most, used, expect) in [
            (1_024, 0, 896),
            (1_024, 96, 800),
            (1_024, 1_024, 256),
            (8, 0, 7),
            (1, 1, 0),
        ] {
            assert_eq!(room(most, used), expect, "{used} of {most}");
        }
    }
}
