//! What one report says of an endpoint, and what it does not say. It knows verdicts and counts; it
//! reads no format and compares nothing.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::plan::PortSet;
use crate::report::host::without_port;
use crate::scan::{Reason, State};

/// A state, and why, if this version knows the word for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Verdict {
    /// The state.
    pub state: State,
    /// The reason: nmap has some that no connect scan has.
    pub reason: Option<Reason>,
}

impl From<Reason> for Verdict {
    fn from(reason: Reason) -> Self {
        Verdict {
            state: reason.state(),
            reason: Some(reason),
        }
    }
}

/// What a report says of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    /// Open, closed or filtered.
    Is(Verdict),
    /// Closed or filtered: it is among ports that were only counted.
    NotOpen,
    /// A list of what may be open has it.
    Expected,
    /// A list of what may be open does not have it.
    NotExpected,
    /// Nothing.
    NotKnown(Gap),
}

/// Why a report says nothing of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Gap {
    /// It was not scanned.
    Unscanned(Option<Reason>),
    /// Its plan does not have it, or that cannot be told.
    NotPlanned,
    /// It is among ports that were only counted, some of which were not scanned.
    NotListed,
    /// Its host did not answer at all.
    Silent,
    /// The scan was broken off.
    BrokenOff,
}

/// Whether a host is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// It answered.
    Up,
    /// It was asked, and nobody answered.
    Silent,
    /// Nobody knows.
    Unknown,
}

/// A port that a report lists.
#[derive(Debug)]
pub(super) struct Listed {
    pub port: u16,
    pub verdict: Verdict,
    /// What it said first, escaped.
    pub banner: Option<Box<str>>,
}

/// What a report says of a host.
#[derive(Debug, Default)]
pub(super) struct Host {
    pub name: Option<Box<str>>,
    /// By port, each once.
    pub listed: Vec<Listed>,
    /// The ports that are counted and not listed, by verdict; `None` if that is not told.
    pub rest: Option<Vec<(Verdict, u32)>>,
    /// What the report itself says of the host, if it says so.
    pub status: Option<Presence>,
}

impl Host {
    /// Sorts what is listed. Of several records of a port, the last one holds: a scan was continued
    /// in the same file.
    pub fn sort(&mut self) {
        self.listed.reverse();
        self.listed.sort_by_key(|listed| listed.port);
        self.listed.dedup_by_key(|listed| listed.port);
        self.listed.shrink_to_fit();
    }

    /// Takes those that are listed off the rest, which counted all ports.
    pub fn take_listed_off(&mut self) {
        let Some(rest) = &mut self.rest else { return };
        for listed in &self.listed {
            let counted = rest.iter_mut().find(|(it, _)| *it == listed.verdict);
            if let Some((_, count)) = counted {
                *count = count.saturating_sub(1);
            }
        }
        rest.retain(|&(_, count)| count > 0);
    }

    fn verdicts(&self) -> impl Iterator<Item = Verdict> {
        let rest = self.rest.iter().flatten().map(|&(verdict, _)| verdict);
        self.listed.iter().map(|listed| listed.verdict).chain(rest)
    }

    /// How many ports were planned, if that is told.
    fn planned(&self) -> Option<u64> {
        let rest = self.rest.as_ref()?;
        let counted: u64 = rest.iter().map(|&(_, count)| u64::from(count)).sum();
        Some(self.listed.len() as u64 + counted)
    }

    pub fn listed(&self, port: u16) -> Option<&Listed> {
        let at = self
            .listed
            .binary_search_by_key(&port, |listed| listed.port);
        at.ok().map(|at| &self.listed[at])
    }

    pub fn open_ports(&self) -> PortSet {
        let open = |listed: &&Listed| listed.verdict.state == State::Open;
        self.listed
            .iter()
            .filter(open)
            .map(|listed| listed.port)
            .collect()
    }

    fn presence(&self) -> Presence {
        let shows_up = |verdict: Verdict| {
            matches!(verdict.state, State::Open | State::Closed)
                || verdict.reason.is_some_and(Reason::speaks_for_presence)
        };
        let is_nobody = |verdict: Verdict| match (verdict.state, verdict.reason) {
            (State::Filtered | State::NotOpen, reason) => reason.is_some(),
            (_, reason) => reason.is_some_and(Reason::is_nobody),
        };
        let has_all = self.planned().is_some_and(|ports| ports > 0);
        match self.status {
            _ if self.verdicts().any(shows_up) => Presence::Up,
            Some(status) => status,
            None if has_all && self.verdicts().all(is_nobody) => Presence::Silent,
            None => Presence::Unknown,
        }
    }

    /// What it says of a planned port that it does not list.
    fn said_of_rest(&self) -> Said {
        let rest = self.rest.as_deref().unwrap_or_default();
        let only = match *rest {
            [] => return Said::NotKnown(Gap::NotPlanned),
            [(verdict, _)] => verdict.reason,
            _ => None,
        };
        let has = |state: State| rest.iter().any(|(verdict, _)| verdict.state == state);
        match State::ALL.map(has) {
            [false, false, false, false, _] => Said::NotKnown(Gap::Unscanned(only)),
            [.., true] => Said::NotKnown(Gap::NotListed),
            [true, false, false, false, _] => Said::of(State::Open, only),
            [true, ..] => Said::NotKnown(Gap::NotListed),
            [_, true, false, false, _] => Said::of(State::Closed, only),
            [_, false, true, false, _] => Said::of(State::Filtered, only),
            _ => Said::NotOpen,
        }
    }
}

impl Said {
    fn of(state: State, reason: Option<Reason>) -> Self {
        match state {
            State::Unscanned => Said::NotKnown(Gap::Unscanned(reason)),
            State::NotOpen => Said::NotOpen,
            state => Said::Is(Verdict { state, reason }),
        }
    }

    /// Whether the port is, or should be, open; `None` if that is not known.
    pub fn is_open(self) -> Option<bool> {
        match self {
            Said::Is(verdict) => Some(verdict.state == State::Open),
            Said::Expected => Some(true),
            Said::NotOpen | Said::NotExpected => Some(false),
            Said::NotKnown(_) => None,
        }
    }
}

/// One of two reports that are compared.
#[derive(Debug)]
pub struct Side {
    /// What messages call it.
    pub name: String,
    /// When its scan began.
    pub started_at: Option<SystemTime>,
    /// What is missing from it, in words.
    pub lack: Option<String>,
    /// Whether some of its silent ports may be open.
    pub may_have_missed: bool,
    /// Stands for its targets.
    pub(super) targets: Option<String>,
    /// Every port that is planned on some host.
    pub(super) ports: PortSet,
    /// Whether its scan came to its end, so that hosts that are not told did not answer.
    pub(super) is_complete: bool,
    /// Whether it is a list of what may be open.
    pub(super) is_list: bool,
    pub(super) hosts: BTreeMap<SocketAddr, Host>,
}

impl Side {
    pub(super) fn new(name: String) -> Self {
        Side {
            name,
            started_at: None,
            lack: None,
            may_have_missed: false,
            targets: None,
            ports: PortSet::none(),
            is_complete: false,
            is_list: false,
            hosts: BTreeMap::new(),
        }
    }

    /// A list of what may be open: these endpoints, and nothing else.
    pub fn expected(name: &str, endpoints: impl IntoIterator<Item = SocketAddr>) -> Self {
        let mut side = Side::new(name.into());
        side.is_list = true;
        for endpoint in endpoints {
            side.host(endpoint).listed.push(Listed {
                port: endpoint.port(),
                verdict: Reason::SynAck.into(),
                banner: None,
            });
        }
        side.hosts.values_mut().for_each(Host::sort);
        side
    }

    pub(super) fn host(&mut self, address: SocketAddr) -> &mut Host {
        self.hosts.entry(without_port(address)).or_default()
    }

    /// Whether both were to scan the same addresses.
    pub(super) fn has_targets_of(&self, other: &Side) -> bool {
        self.targets.is_some() && self.targets == other.targets
    }

    /// Whether a host is there. `is_planned`: the host is one of the targets.
    pub(super) fn presence(&self, address: SocketAddr, is_planned: bool) -> Presence {
        match self.hosts.get(&address) {
            Some(host) => host.presence(),
            None if is_planned && self.is_complete => Presence::Silent,
            None => Presence::Unknown,
        }
    }

    /// What it says of an endpoint. `is_planned`: the host is one of the targets.
    pub(super) fn said(&self, address: SocketAddr, port: u16, is_planned: bool) -> Said {
        let host = self.hosts.get(&address);
        let listed = host.and_then(|host| host.listed(port));
        match (self.is_list, listed, host) {
            (true, Some(_), _) => Said::Expected,
            (true, None, _) => Said::NotExpected,
            (_, Some(listed), _) => Said::of(listed.verdict.state, listed.verdict.reason),
            (_, _, Some(host)) if host.presence() == Presence::Silent => {
                Said::NotKnown(Gap::Silent)
            }
            (_, _, host) if !self.plans(host, port, is_planned) => Said::NotKnown(Gap::NotPlanned),
            (_, _, Some(host)) if host.rest.is_some() => host.said_of_rest(),
            (_, _, Some(_)) if self.is_complete => Said::NotKnown(Gap::NotListed),
            (_, _, None) if self.is_complete => Said::NotKnown(Gap::Silent),
            _ => Said::NotKnown(Gap::BrokenOff),
        }
    }

    /// Whether an endpoint is known to be in its plan. A host may have less ports than others.
    fn plans(&self, host: Option<&Host>, port: u16, is_planned: bool) -> bool {
        let has_all = || host.and_then(Host::planned) == Some(self.ports.len() as u64);
        self.ports.contains(port) && (is_planned || has_all())
    }
}
