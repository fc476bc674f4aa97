//! What was found on one host: its findings, and how many ports have which reason. It knows
//! neither a sink nor when the host is done.

use std::net::{IpAddr, SocketAddr};

use super::{Hardware, Listing};
use crate::scan::{Finding, Reason, State, Time};

/// A port of a host, and its result.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Row {
    /// The port.
    pub port: u16,
    /// Why the port has its state.
    pub reason: Reason,
    /// The sender of the ICMP error that decided.
    #[cfg_attr(
        feature = "cli",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub reason_ip: Option<IpAddr>,
    /// The round-trip time in microseconds, if it is known.
    #[cfg_attr(
        feature = "cli",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub rtt_us: Option<u64>,
    /// The banner.
    #[cfg_attr(
        feature = "cli",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub banner: Option<Box<[u8]>>,
}

impl Row {
    /// The row of a finding.
    pub fn of(finding: &Finding) -> Self {
        Row {
            port: finding.endpoint.port(),
            reason: finding.reason,
            reason_ip: finding.reason_ip,
            rtt_us: finding.rtt_us,
            banner: finding.banner.clone(),
        }
    }

    /// The port's state.
    pub fn state(&self) -> State {
        self.reason.state()
    }

    /// The memory that it takes, counted in rows without a banner.
    pub(super) fn weight(&self) -> usize {
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
    /// The host's address, with its zone; the port is 0.
    pub address: SocketAddr,
    /// How many ports have which reason: all of them, once the host is finished.
    pub counts: Vec<(Reason, u32)>,
    /// The findings of the listed states, by port.
    pub rows: Vec<Row>,
    /// When the first of its endpoints got its verdict.
    pub first: Time,
    /// When the last one did.
    pub last: Time,
    /// Whether more parts follow, because there were too many rows. The last part has the counts.
    pub is_part: bool,
    /// What answers for it, if it is on a link of this machine: known once the host is finished.
    #[cfg_attr(
        feature = "cli",
        serde(default, skip_serializing_if = "Option::is_none")
    )]
    pub hardware: Option<Hardware>,
}

impl HostReport {
    /// The first reason that only the host itself can give, if it gave one. Then the host is up.
    pub fn answered_by(&self) -> Option<Reason> {
        let is_answer = |reason: &Reason| matches!(reason.state(), State::Open | State::Closed);
        self.first_reason(is_answer).or_else(|| {
            let is_up = |reason: &Reason| *reason == Reason::HostUp;
            self.first_reason(is_up)?;
            let is_icmp =
                |reason: &Reason| reason.state() == State::Filtered && reason.speaks_for_presence();
            self.first_reason(is_icmp).or(Some(Reason::HostUp))
        })
    }

    fn first_reason(&self, is_one: impl Fn(&Reason) -> bool) -> Option<Reason> {
        let counted = self.counts.iter().map(|&(reason, _)| reason);
        let listed = self.rows.iter().map(|row| row.reason);
        let all = counted.chain(listed).filter(is_one);
        all.min_by_key(|&reason| reason as usize)
    }

    /// In a word of nmap's how it is known that the host is up, if it is: what one of its ports
    /// answered, or that it answers for its address on a link of this machine.
    pub fn up_by(&self) -> Option<&'static str> {
        Some(match self.answered_by()? {
            Reason::HostUp if self.address.is_ipv4() => "arp-response",
            Reason::HostUp => "nd-response",
            reason => reason.as_str(),
        })
    }

    pub(super) fn unheard(address: SocketAddr, at: Time) -> Self {
        HostReport {
            address,
            counts: Vec::new(),
            rows: Vec::new(),
            first: at,
            last: at,
            is_part: false,
            hardware: None,
        }
    }

    /// Whether anything was found out about it.
    pub(super) fn has_verdict(&self) -> bool {
        let mut reasons = self.counts.iter().map(|(reason, _)| reason);
        reasons.any(|reason| reason.state() != State::Unscanned || *reason == Reason::HostUp)
    }

    /// Whether nothing was closed, and others were asked than those that are open.
    pub(super) fn is_mostly_silent(&self) -> bool {
        let silent = self.in_state(State::Filtered) + self.in_state(State::NotOpen);
        self.in_state(State::Closed) == 0 && silent > 0
    }

    /// How many of its findings are in memory or in the file.
    pub(super) fn known(&self, listing: Listing) -> usize {
        let states = State::ALL.map(|state| (state, self.in_state(state)));
        let known = states
            .into_iter()
            .filter(|&(state, count)| listing.lists(state, count));
        known.map(|(_, count)| count as usize).sum()
    }

    pub(super) fn weight(&self) -> usize {
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

    /// Whether its ports in this state are listed one by one. Few ports are counted all the same if
    /// not all of them are known: some may be in another part, or in no report.
    pub fn lists(&self, listing: Listing, state: State) -> bool {
        let count = self.in_state(state);
        let known = || self.rows.iter().filter(|row| row.state() == state).count();
        listing.always.lists(state) || (listing.lists(state, count) && known() == count as usize)
    }

    /// The ports that are listed one by one.
    pub fn listed(&self, listing: Listing) -> impl Iterator<Item = &Row> {
        let lists = State::ALL.map(|state| self.lists(listing, state));
        self.rows
            .iter()
            .filter(move |row| lists[row.state() as usize])
    }

    /// How many ports are only counted, by their reasons.
    pub fn unlisted(&self, listing: Listing) -> impl Iterator<Item = &(Reason, u32)> {
        let counts = self.counts.iter();
        counts.filter(move |(reason, _)| !self.lists(listing, reason.state()))
    }

    /// Forgets the ports of a state that turn out not to be few.
    pub(super) fn fold(&mut self, state: State) {
        self.rows.retain(|row| row.state() != state);
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

/// The address of an endpoint, with port 0, as hosts are known by.
pub(super) fn without_port(mut endpoint: SocketAddr) -> SocketAddr {
    endpoint.set_port(0);
    endpoint
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_of_which_something_is_known_have_verdicts() {
        for (reason, expect) in [
            (Reason::SynAck, true),
            (Reason::NoResponse, true),
            (Reason::NoNeighbor, false),
            (Reason::Interrupted, false),
        ] {
            let address = "192.0.2.1:0".parse().unwrap();
            let mut host = HostReport::unheard(address, Time::default());
            host.count(Reason::SilentHost, 1);
            host.count(reason, 1);
            assert_eq!(host.has_verdict(), expect, "{reason:?}");
        }
    }
}
