//! On how many addresses each port is open. A port that is open on nearly every address of a plan
//! hardly belongs to all of them: something on the way answers in their place, and hosts that
//! answered on nothing else may not be there. Both are known at the end only. It knows findings, no
//! formats.

use std::collections::BTreeMap;

use crate::scan::{Finding, State};

/// This many addresses may well have the same services …
const MANY_ADDRESSES: u64 = 16;
/// … but this percentage of a block hardly has, if the rest is empty.
const NEARLY_ALL_PERCENT: u64 = 95;

/// This many addresses hardly have nothing else.
const ADDRESSES_IN_DOUBT: u32 = 64;
/// Hosts with more open ports are not looked at …
pub(super) const MOST_OPEN: usize = 64;
/// … nor are further kinds of hosts once this many are known, by their open ports.
const MOST_KINDS: usize = 1_024;

/// Counts open ports over all addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct OpenPorts {
    /// On how many addresses each port is open.
    addresses: BTreeMap<u16, u32>,
    /// How many hosts answered on just these ports, and all of them are open. Sorted.
    hosts: Vec<(Vec<u16>, u32)>,
}

/// A port that is open on nearly every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
pub struct OpenEverywhere {
    /// The port.
    pub port: u16,
    /// On how many addresses it is open.
    pub addresses: u32,
}

impl OpenPorts {
    /// Counts a finding, if it is an open port.
    pub fn add(&mut self, finding: &Finding) {
        if finding.state() == State::Open {
            *self.addresses.entry(finding.endpoint.port()).or_default() += 1;
        }
    }

    /// Counts a host that is done and has answered on these ports only, all of them open.
    pub fn add_host(&mut self, mut ports: Vec<u16>) {
        if ports.is_empty() || ports.len() > MOST_OPEN {
            return;
        }
        ports.sort_unstable();
        match self.hosts.binary_search_by(|(known, _)| known.cmp(&ports)) {
            Ok(at) => self.hosts[at].1 += 1,
            Err(at) if self.hosts.len() < MOST_KINDS => self.hosts.insert(at, (ports, 1)),
            Err(_) => {}
        }
    }

    /// How many hosts at least have answered on ports of `everywhere` only, if these are many: a
    /// list of web servers may well have nothing else.
    pub fn hosts_on_only(&self, everywhere: &[OpenEverywhere]) -> u64 {
        let is_everywhere = |port| {
            let mut many = everywhere
                .iter()
                .filter(|it| it.addresses >= ADDRESSES_IN_DOUBT);
            many.any(|other| other.port == port)
        };
        let hosts = self.hosts.iter();
        hosts
            .filter(|(ports, _)| ports.iter().copied().all(is_everywhere))
            .map(|&(_, count)| u64::from(count))
            .sum()
    }

    /// The ports that are open on nearly all of a plan's addresses, if these are many.
    pub fn everywhere(&self, addresses: u64) -> Vec<OpenEverywhere> {
        let is_nearly_all = |open: u64| {
            open >= MANY_ADDRESSES && open * 100 >= addresses.saturating_mul(NEARLY_ALL_PERCENT)
        };
        let counts = self.addresses.iter();
        counts
            .filter(|(_, open)| is_nearly_all(u64::from(**open)))
            .map(|(&port, &addresses)| OpenEverywhere { port, addresses })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Reason, Time};

    fn check(open: u32, of: u64, expect: bool) {
        let mut ports = OpenPorts::default();
        let found = |host: u32, reason| Finding {
            endpoint: ((0x0a00_0000 + host).to_be_bytes(), 25).into(),
            reason,
            reason_ip: None,
            rtt_us: None,
            attempts: 1,
            banner: None,
            at: Time::default(),
        };
        (0..open).for_each(|host| ports.add(&found(host, Reason::SynAck)));
        (0..99).for_each(|host| ports.add(&found(open + host, Reason::ConnRefused)));
        let everywhere = OpenEverywhere {
            port: 25,
            addresses: open,
        };
        let expect: Vec<_> = expect.then_some(everywhere).into_iter().collect();
        assert_eq!(ports.everywhere(of), expect, "{open} of {of}");
    }

    #[test]
    fn hosts_that_answered_elsewhere_are_there() {
        let mut ports = OpenPorts::default();
        for open in [&[25, 2_000][..], &[2_000, 25], &[25], &[25, 80], &[], &[22]] {
            ports.add_host(open.to_vec());
        }
        ports.add_host((0..65).collect());
        let everywhere = [25, 2_000].map(|port| OpenEverywhere {
            port,
            addresses: 64,
        });
        assert_eq!(ports.hosts_on_only(&everywhere), 3);
        let few = everywhere.map(|it| OpenEverywhere {
            addresses: 63,
            ..it
        });
        assert_eq!(ports.hosts_on_only(&few), 0);
        assert_eq!(ports.hosts_on_only(&[]), 0);
        for port in 0..u16::MAX {
            ports.add_host(vec![port]);
        }
        assert_eq!(ports.hosts.len(), MOST_KINDS);
    }

    #[test]
    fn open_nearly_everywhere_is_more_than_often_open() {
        check(512, 512, true);
        check(487, 512, true);
        check(486, 512, false);
        check(16, 16, true);
        check(15, 15, false);
        check(0, 0, false);
    }
}
