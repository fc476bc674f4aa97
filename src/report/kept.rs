//! The hosts that a report tells of again at its end, in tables. What is kept is bounded, however
//! large the plan, and a checkpoint holds it. It knows hosts, no formats.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::host::Row;
use super::{HostReport, StateSet};

/// The most rows that are kept (about 6 MB); a banner counts as several. All rows are written to
/// each checkpoint.
const ROWS_KEPT: usize = 100_000;
/// The most bytes of a banner that a row keeps: enough for a line of a table.
pub(super) const BANNER_KEPT: usize = 288;

/// Finished hosts, and parts of hosts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Kept {
    /// By address, with port 0.
    hosts: BTreeMap<SocketAddr, HostReport>,
    /// What the rows of all hosts weigh.
    weight: usize,
    /// Rows that were to be kept, and that there was no room for.
    left_out: u64,
    /// Endpoints of all hosts that were told of, kept or not.
    told: u64,
}

impl Kept {
    /// Counts a host, or a part of one, that is told of.
    pub fn tell(&mut self, host: &HostReport) {
        let nobodys = host
            .counts
            .iter()
            .filter(|(reason, _)| !reason.leaves_nothing_out());
        self.told += nobodys.map(|&(_, count)| u64::from(count)).sum::<u64>();
    }

    /// Keeps a host, or a part of one. Only rows of the states that are `always` listed count as
    /// left out.
    pub fn keep(&mut self, host: &HostReport, always: StateSet) {
        let begun = || HostReport::unheard(host.address, host.first);
        let kept = self.hosts.entry(host.address).or_insert_with(begun);
        kept.hardware.clone_from(&host.hardware);
        for &(reason, count) in &host.counts {
            kept.count(reason, count);
        }
        for row in &host.rows {
            if self.weight < ROWS_KEPT {
                let row = with_short_banner(row);
                self.weight += row.weight();
                kept.rows.push(row);
            } else if always.lists(row.state()) {
                self.left_out += 1;
            }
        }
    }

    /// Sorts what is kept, when nothing more comes.
    pub fn finish(&mut self) {
        self.hosts.values_mut().for_each(HostReport::finish);
    }

    /// The hosts, by address.
    pub fn hosts(&self) -> impl Iterator<Item = &HostReport> {
        self.hosts.values()
    }

    /// What the rows weigh: a row without a banner is 1.
    pub fn weight(&self) -> usize {
        self.weight
    }

    /// How many rows there was no room for.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }

    /// How many endpoints were told of in hosts.
    pub fn told(&self) -> u64 {
        self.told
    }
}

/// A row that keeps no more of its banner than a line needs.
fn with_short_banner(row: &Row) -> Row {
    let banner = row.banner.as_deref();
    Row {
        banner: banner.map(|banner| banner[..banner.len().min(BANNER_KEPT)].into()),
        ..*row
    }
}
