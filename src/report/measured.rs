//! What the engine measures beside the scan's own counters: the phases of its loop, the notices it
//! sent, what the kernel has room for, and this machine's own ports. Only the values are defined
//! here, because a summary carries them and reports show them; how they are measured is the
//! engine's business.

use std::net::SocketAddr;

use crate::scan::Reason;

/// The phases of one turn of the loop, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Attempts that have timed out are given up.
    Expire,
    /// Attempts begin.
    Open,
    /// Findings are reported.
    Tell,
    /// The loop waits on the system's event queue.
    Wait,
    /// Events are handled.
    Settle,
}

impl Phase {
    /// All of them, in their order.
    pub const ALL: [Phase; 5] = [
        Phase::Expire,
        Phase::Open,
        Phase::Tell,
        Phase::Wait,
        Phase::Settle,
    ];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Expire => "expire",
            Phase::Open => "open",
            Phase::Tell => "tell",
            Phase::Wait => "wait",
            Phase::Settle => "settle",
        }
    }
}

/// How often a phase ran, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseCost {
    /// How often.
    pub calls: u64,
    /// Nanoseconds in all.
    pub ns: u64,
}

/// Where the loop's time went: a cost for each phase, in the order of [`Phase::ALL`].
pub type Profile = [PhaseCost; Phase::ALL.len()];

/// One of the kernel's tables of neighbours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeighbourTable {
    /// The places that cannot be had at once.
    pub used: u32,
    /// All places (`gc_thresh3`).
    pub most: u32,
    /// How many of them a scan takes at once: some are left to others.
    pub room: u32,
}

impl NeighbourTable {
    /// How long the kernel asks for an address where nobody is, and keeps its place meanwhile.
    pub const UNUSED_S: u32 = 3;
}

/// The addresses of a plan that are on a link of this machine and need a place in a neighbour table
/// of the kernel. Of each pair the first is IPv4's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OnLink {
    /// How many there are.
    pub addresses: [u64; 2],
    /// The tables, where the kernel tells.
    pub tables: [Option<NeighbourTable>; 2],
}

/// The connections that this machine's own firewall tracks (`nf_conntrack`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tracking {
    /// How many there are.
    pub count: u64,
    /// The most there can be.
    pub most: u64,
}

impl Tracking {
    /// How long an attempt that nobody answers is tracked (`nf_conntrack_tcp_timeout_syn_sent`).
    pub const UNANSWERED_S: u32 = 120;

    /// How many attempts without an answer fit in beside what is tracked, with an eighth of that
    /// left to others.
    pub fn room(self) -> u64 {
        let free = self.most.saturating_sub(self.count);
        free - free / 8
    }
}

/// How many [notices](crate::engine::Options::notice) were sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// On connections.
    pub connections: u64,
    /// As datagrams.
    pub datagrams: u64,
    /// Those that the system refused to send.
    pub failed: u64,
    /// Those that printers would have printed, and were not sent.
    pub withheld: u64,
}

impl Notices {
    /// The sum of both.
    #[must_use]
    pub fn plus(self, other: Notices) -> Notices {
        Notices {
            connections: self.connections + other.connections,
            datagrams: self.datagrams + other.datagrams,
            failed: self.failed + other.failed,
            withheld: self.withheld + other.withheld,
        }
    }
}

/// This machine's own ports: those that were found open, and those that were not although something
/// listens there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCheck {
    /// In the order of addresses and ports.
    pub ports: Vec<LocalPort>,
    /// How many more there are.
    pub untold: u64,
}

/// One of this machine's own ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPort {
    /// Address and port.
    pub endpoint: SocketAddr,
    /// What the scan found there.
    pub reason: Reason,
    /// Whether the kernel lists a socket that listens there.
    pub listens: bool,
    /// The owner of that socket, name and process, if this user may see it. Processes choose their
    /// own names.
    pub owner: Option<String>,
}

/// The longest banner that is kept, in bytes. The connection is closed once this much has arrived.
pub const BANNER_BYTES: usize = 1_024;
