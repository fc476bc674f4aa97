//! Findings kept back until their host is done with, for formats that tell host by host. What is
//! kept is bounded: the hosts that a scan has under way at once (8,192), and [`ROWS_HELD`] findings
//! in all; beyond that a host is told in parts. It knows findings, no sockets.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use super::StateSet;
use crate::scan::{Finding, HostDone, Reason, State, Time};

/// So many findings are kept back at most, for all hosts together, a banner counting as several: a
/// /24 with a thousand ports each, in 10 MiB.
pub const ROWS_HELD: usize = 1 << 18;

/// A port of a host, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Row {
    /// The port.
    pub port: u16,
    /// Why it has its state.
    pub reason: Reason,
    /// Who sent the ICMP error that decided.
    #[cfg_attr(
        feature = "cli",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub reason_ip: Option<IpAddr>,
    /// What it said.
    #[cfg_attr(
        feature = "cli",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub banner: Option<Box<[u8]>>,
}

impl Row {
    /// What a finding says of its port.
    pub fn of(finding: &Finding) -> Self {
        Row {
            port: finding.endpoint.port(),
            reason: finding.reason,
            reason_ip: finding.reason_ip,
            banner: finding.banner.clone(),
        }
    }

    /// How many rows without a banner take as much memory.
    fn weight(&self) -> usize {
        1 + self
            .banner
            .as_ref()
            .map_or(0, |banner| banner.len().div_ceil(size_of::<Row>()))
    }
}

/// What was found on a host.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct HostReport {
    /// Its address, with its zone; the port is 0.
    pub address: SocketAddr,
    /// How many of its ports ended for which reason: all of them, once the host is done with.
    pub counts: Vec<(Reason, u32)>,
    /// The findings of the states that are listed, by port.
    pub rows: Vec<Row>,
    /// When the first and the last of its endpoints was decided.
    pub first: Time,
    /// See `first`.
    pub last: Time,
    /// Whether more is to come: there were too many rows to wait for the others. Counts are in the
    /// last part.
    pub is_part: bool,
}

impl HostReport {
    /// The first reason of those that only the host itself can give, if it gave one: then it is up.
    pub fn answered_by(&self) -> Option<Reason> {
        let reasons = || {
            self.counts
                .iter()
                .map(|&(reason, _)| reason)
                .chain(self.rows.iter().map(|row| row.reason))
        };
        reasons()
            .filter(|reason| matches!(reason.state(), State::Open | State::Closed))
            .min_by_key(|&reason| reason as usize)
    }

    pub(super) fn unheard(address: SocketAddr, at: Time) -> Self {
        HostReport {
            address,
            counts: Vec::new(),
            rows: Vec::new(),
            first: at,
            last: at,
            is_part: false,
        }
    }

    fn weight(&self) -> usize {
        self.rows.iter().map(Row::weight).sum()
    }

    /// How many of its ports are in this state.
    pub fn in_state(&self, state: State) -> u32 {
        self.counts
            .iter()
            .filter(|(reason, _)| reason.state() == state)
            .map(|(_, count)| count)
            .sum()
    }

    pub(super) fn count(&mut self, reason: Reason, count: u32) {
        match self.counts.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, counted)) => *counted = counted.saturating_add(count),
            None => self.counts.push((reason, count)),
        }
    }

    pub(super) fn finish(&mut self) {
        self.rows.sort_unstable_by_key(|row| row.port);
        self.counts
            .sort_unstable_by_key(|&(reason, _)| reason as usize);
    }
}

/// The address of an endpoint, as hosts are known by it.
pub(super) fn without_port(mut endpoint: SocketAddr) -> SocketAddr {
    endpoint.set_port(0);
    endpoint
}

/// The hosts under way.
#[derive(Clone, Debug)]
pub struct ByHost {
    show: StateSet,
    hosts: HashMap<SocketAddr, Box<HostReport>>,
    rows: usize,
}

impl ByHost {
    /// Keeps the findings of these states one by one; the others are counted.
    pub fn new(show: StateSet) -> Self {
        ByHost {
            show,
            hosts: HashMap::new(),
            rows: 0,
        }
    }

    /// Takes back what was kept when a scan was broken off.
    pub fn restore(&mut self, hosts: &[HostReport]) {
        self.rows += hosts.iter().map(HostReport::weight).sum::<usize>();
        self.hosts
            .extend(hosts.iter().map(|host| (host.address, host.clone().into())));
    }

    /// All that is kept, in no particular order.
    pub fn hosts(&self) -> impl Iterator<Item = &HostReport> {
        self.hosts.values().map(Box::as_ref)
    }

    /// Keeps a finding. If there are too many now, returns a part of what was kept.
    pub fn add(&mut self, finding: &Finding) -> Option<HostReport> {
        let &Finding {
            endpoint,
            reason,
            at,
            ..
        } = finding;
        let address = without_port(endpoint);
        let host = self
            .hosts
            .entry(address)
            .or_insert_with(|| HostReport::unheard(address, at).into());
        host.last = at;
        host.count(reason, 1);
        if self.show.lists(reason.state()) {
            let row = Row::of(finding);
            self.rows += row.weight();
            host.rows.push(row);
        }
        if self.rows > ROWS_HELD {
            self.part()
        } else {
            None
        }
    }

    /// The rows of the host that has the most.
    fn part(&mut self) -> Option<HostReport> {
        let host = self.hosts.values_mut().max_by_key(|host| host.weight())?;
        self.rows -= host.weight();
        let rows = std::mem::take(&mut host.rows);
        let mut part = HostReport {
            counts: Vec::new(),
            rows,
            is_part: true,
            ..**host
        };
        part.finish();
        Some(part)
    }

    /// What was kept of a host that is done with.
    pub fn take(&mut self, done: &HostDone, at: Time) -> HostReport {
        let mut host = self
            .hosts
            .remove(&done.address)
            .map_or_else(|| HostReport::unheard(done.address, at), |host| *host);
        self.rows -= host.weight();
        let told: u32 = host.counts.iter().map(|(_, count)| count).sum();
        if told < done.ports {
            host.count(done.rest, done.ports - told);
        }
        host.finish();
        host
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn finding(endpoint: &str, reason: Reason, ms: u64) -> Finding {
        let endpoint = endpoint.parse().expect("an endpoint");
        let at = Time::from_us(ms * 1_000);
        Finding {
            endpoint,
            reason,
            reason_ip: None,
            rtt_us: None,
            attempts: 1,
            banner: None,
            at,
        }
    }

    #[test]
    fn a_host_is_told_when_it_is_done_and_adds_up() {
        let mut hosts = ByHost::new(StateSet::states([State::Open]));
        for (endpoint, reason) in [
            ("192.0.2.1:9", Reason::SynAck),
            ("192.0.2.2:1", Reason::NoResponse),
            ("192.0.2.1:5", Reason::SynAck),
            ("192.0.2.1:6", Reason::ConnRefused),
        ] {
            assert_eq!(hosts.add(&finding(endpoint, reason, 7)), None);
        }
        let done = HostDone {
            address: "192.0.2.1:0".parse().unwrap(),
            ports: 10,
            rest: Reason::Interrupted,
        };
        let host = hosts.take(&done, Time::default());
        assert_eq!(
            host.counts,
            [
                (Reason::SynAck, 2),
                (Reason::ConnRefused, 1),
                (Reason::Interrupted, 7)
            ]
        );
        assert_eq!(
            host.rows.iter().map(|row| row.port).collect::<Vec<_>>(),
            [5, 9]
        );
        assert_eq!(
            (host.answered_by(), host.in_state(State::Open)),
            (Some(Reason::SynAck), 2)
        );
        let silent = hosts.take(
            &HostDone {
                address: "192.0.2.2:0".parse().unwrap(),
                ports: 1,
                rest: Reason::Interrupted,
            },
            Time::default(),
        );
        assert_eq!(
            (silent.answered_by(), hosts.hosts().count(), hosts.rows),
            (None, 0, 0)
        );
    }

    #[test]
    fn what_is_kept_is_bounded() {
        let mut hosts = ByHost::new(StateSet::states(State::ALL));
        let mut told = 0;
        for host in 1..=6 {
            for port in 1..=60_000 {
                if let Some(part) = hosts.add(&finding(
                    &format!("192.0.2.{host}:{port}"),
                    Reason::ConnRefused,
                    1,
                )) {
                    assert!(part.is_part && part.counts.is_empty());
                    told += part.rows.len();
                }
                assert!(hosts.rows <= ROWS_HELD);
            }
        }
        for host in 1..=6 {
            let address = format!("192.0.2.{host}:0").parse().unwrap();
            let last = hosts.take(
                &HostDone {
                    address,
                    ports: 60_000,
                    rest: Reason::Interrupted,
                },
                Time::default(),
            );
            assert_eq!(last.counts, [(Reason::ConnRefused, 60_000)]);
            told += last.rows.len();
        }
        assert_eq!((told, hosts.rows), (360_000, 0));
    }
}
