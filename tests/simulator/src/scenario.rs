//! Kinds of networks: how many hosts, what their ports are, how far away they are, what is lost on
//! the way and who limits what. They are descriptions only; `network.rs` brings them to life.

/// As many sockets as a usual descriptor limit of 20,000 leaves.
pub const CAP: u32 = 19_990;

/// The ICMP errors that networks answer with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Icmp {
    HostUnreachable,
    AdminProhibited,
}

/// How long it takes from a SYN to its answer.
#[derive(Clone, Copy, Debug)]
pub enum Delay {
    /// Anything between these, evenly, in microseconds.
    Between(u64, u64),
    /// Most near the median, some far above: the logarithm's standard deviation is `sigma`. Half of
    /// that (by variance) is the host's own distance, half the packet's luck.
    LogNormal { median_us: f64, sigma: f64 },
}

/// A rate that is kept, and how much may come at once.
#[derive(Clone, Copy, Debug)]
pub struct Limit {
    pub per_s: f64,
    pub burst: f64,
}

/// When the network is away: all that is sent, or would arrive, is lost.
#[derive(Clone, Copy, Debug)]
pub struct Away {
    pub from_s: f64,
    pub for_s: f64,
    /// And again after this time.
    pub every_s: f64,
}

impl Away {
    pub const fn once(from_s: f64, for_s: f64) -> Option<Self> {
        Some(Away {
            from_s,
            for_s,
            every_s: f64::INFINITY,
        })
    }
}

/// A router on the way that remembers each connection, as NAT and firewalls do. When it has no
/// place left it drops the SYNs of new ones, whatever their host and port.
#[derive(Clone, Copy, Debug)]
pub struct StateTable {
    pub places: usize,
    /// For how long it remembers a connection that got no answer.
    pub unanswered_s: f64,
    /// Whether a SYN that is sent again begins that time anew, as with older kernels.
    pub is_renewed: bool,
    /// For how long it remembers one that was made and reset. A refused one is forgotten at once.
    pub reset_s: f64,
}

/// A host that shuts us out for a while when it gets SYNs faster than it likes.
#[derive(Clone, Copy, Debug)]
pub struct Ban {
    /// What it takes.
    pub over: Limit,
    pub for_s: f64,
    /// Whether a SYN that comes meanwhile begins that time anew.
    pub is_renewed: bool,
    /// Whether SYNs to open ports do not count, as a portscan detector has it.
    pub spares_open: bool,
    pub with: Shut,
    /// Of the addresses every so many-th does this, by their last byte.
    pub every: u8,
}

/// What a host that has shut us out makes of our SYNs.
#[derive(Clone, Copy, Debug)]
pub enum Shut {
    Dropped,
    Reset,
    /// Everything looks open.
    Accepted,
}

/// The scanner's own table of neighbours, where the network is on one of its links.
#[derive(Clone, Copy, Debug)]
pub struct NeighbourTable {
    /// What others leave of it.
    pub places: usize,
    /// What they seemed to leave when the scan began.
    pub room: u32,
}

/// A kind of network.
#[derive(Clone, Copy, Debug)]
pub struct Scenario {
    pub name: &'static str,
    /// What is scanned, as it would be typed.
    pub targets: &'static str,
    pub ports: u16,
    /// The share of addresses where somebody is.
    pub up: f64,
    /// Shares of their ports; the rest is silent.
    pub open: f64,
    pub closed: f64,
    pub rejected: f64,
    /// So many ports of each host that is up are open besides.
    pub services: u16,
    /// What ICMP says of the rejected ones, and of addresses where nobody is, if it says something.
    pub rejected_with: Icmp,
    pub nobody_with: Option<Icmp>,
    pub delay: Delay,
    /// The share that is lost, each way.
    pub loss: f64,
    /// Loss on every tenth address only.
    pub lossy_tenth: bool,
    /// What each host, or with `limited_tenth` every tenth, takes per second; SYNs above it are
    /// dropped.
    pub host_limit: Option<Limit>,
    pub limited_tenth: bool,
    /// How many resets each host sends per second; it withholds the others.
    pub reset_limit: Option<Limit>,
    /// A link that all SYNs go through, with a queue of `burst` packets.
    pub bottleneck: Option<Limit>,
    pub away: Option<Away>,
    pub state_table: Option<StateTable>,
    pub ban: Option<Ban>,
    /// What each open port takes: its server accepts so many connections per second, and `burst`
    /// more wait in its queue, one more than its backlog. Beyond them it is silent.
    pub accept_queue: Option<Limit>,
    pub neighbours: Option<NeighbourTable>,
    /// What it would take, in seconds, to ask everything as often as needed without ever waiting in
    /// vain.
    pub ideal_s: f64,
}

/// Nothing is lost, limited or far away: to be changed in one or two places.
pub const PLAIN: Scenario = Scenario {
    name: "plain",
    targets: "10.9.1.2",
    ports: 1_000,
    up: 1.0,
    open: 0.1,
    closed: 0.9,
    rejected: 0.0,
    services: 0,
    rejected_with: Icmp::AdminProhibited,
    nobody_with: None,
    delay: Delay::Between(20_000, 20_000),
    loss: 0.0,
    lossy_tenth: false,
    host_limit: None,
    limited_tenth: false,
    reset_limit: None,
    bottleneck: None,
    away: None,
    state_table: None,
    ban: None,
    accept_queue: None,
    neighbours: None,
    ideal_s: 0.1,
};

/// Few hosts, with few ports that answer.
const SPARSE: Scenario = Scenario {
    name: "sparse",
    targets: "10.9.1.0/24",
    ports: 219,
    up: 0.3,
    open: 0.03,
    closed: 0.07,
    delay: Delay::LogNormal {
        median_us: 60_000.0,
        sigma: 0.5,
    },
    ideal_s: 3.0,
    ..PLAIN
};

/// The five networks that scanners are compared on.
pub const COMPARED: [Scenario; 5] = [
    Scenario {
        name: "lossy",
        targets: "10.9.1.0/28",
        delay: Delay::Between(20_000, 60_000),
        loss: 0.05,
        ideal_s: 1.0,
        ..PLAIN
    },
    Scenario {
        name: "narrow",
        targets: "10.9.1.0/24",
        ports: 400,
        bottleneck: Some(Limit {
            per_s: 20_000.0,
            burst: 200.0,
        }),
        ideal_s: 5.2,
        ..PLAIN
    },
    SPARSE,
    Scenario {
        name: "limited",
        host_limit: Some(Limit {
            per_s: 200.0,
            burst: 200.0,
        }),
        ideal_s: 4.0,
        ..PLAIN
    },
    Scenario {
        name: "silent",
        ports: 65_535,
        open: 5.0 / 65_535.0,
        closed: 0.0,
        delay: Delay::Between(300, 900),
        ideal_s: 1.5,
        ..PLAIN
    },
];

/// Others of their kinds, and what else goes wrong in networks.
pub const OTHERS: [Scenario; 30] = [
    Scenario {
        name: "lossy 10",
        targets: "10.9.1.0/28",
        delay: Delay::Between(20_000, 60_000),
        loss: 0.10,
        ideal_s: 1.0,
        ..PLAIN
    },
    Scenario {
        name: "half limited",
        ports: 2_000,
        open: 0.1,
        closed: 0.4,
        host_limit: Some(Limit {
            per_s: 200.0,
            burst: 200.0,
        }),
        ideal_s: 14.0,
        ..PLAIN
    },
    Scenario {
        name: "limited 1000",
        ports: 10_000,
        host_limit: Some(Limit {
            per_s: 1000.0,
            burst: 100.0,
        }),
        ideal_s: 10.0,
        ..PLAIN
    },
    Scenario {
        name: "near",
        ports: 65_535,
        delay: Delay::Between(200, 300),
        ideal_s: 0.7,
        ..PLAIN
    },
    Scenario {
        name: "far",
        ports: 10_000,
        delay: Delay::Between(280_000, 320_000),
        ideal_s: 1.5,
        ..PLAIN
    },
    Scenario {
        name: "very far",
        ports: 2_000,
        delay: Delay::Between(1_200_000, 1_400_000),
        ideal_s: 5.0,
        ..PLAIN
    },
    Scenario {
        name: "very far hosts",
        targets: "10.9.1.0/27",
        ports: 200,
        delay: Delay::Between(1_400_000, 1_600_000),
        ideal_s: 5.0,
        ..PLAIN
    },
    Scenario {
        name: "very lossy",
        targets: "10.9.1.0/28",
        loss: 0.2,
        ideal_s: 1.5,
        ..PLAIN
    },
    Scenario {
        name: "lossy and filtered",
        targets: "10.9.1.0/28",
        open: 0.02,
        closed: 0.08,
        loss: 0.05,
        ideal_s: 1.0,
        ..PLAIN
    },
    Scenario {
        name: "one in ten lossy",
        targets: "10.9.1.0/27",
        open: 0.02,
        closed: 0.08,
        loss: 0.15,
        lossy_tenth: true,
        ideal_s: 1.0,
        ..PLAIN
    },
    Scenario {
        name: "narrow and filtered",
        targets: "10.9.1.0/26",
        open: 0.05,
        closed: 0.25,
        bottleneck: Some(Limit {
            per_s: 20_000.0,
            burst: 200.0,
        }),
        ideal_s: 5.5,
        ..PLAIN
    },
    Scenario {
        name: "very narrow",
        targets: "10.9.1.0/28",
        ports: 500,
        bottleneck: Some(Limit {
            per_s: 1_000.0,
            burst: 50.0,
        }),
        ideal_s: 8.0,
        ..PLAIN
    },
    Scenario {
        name: "narrow and lossy",
        targets: "10.9.1.0/26",
        ports: 500,
        loss: 0.03,
        bottleneck: Some(Limit {
            per_s: 10_000.0,
            burst: 100.0,
        }),
        ideal_s: 3.4,
        ..PLAIN
    },
    Scenario {
        name: "limited and filtered",
        ports: 3_000,
        open: 0.05,
        closed: 0.45,
        host_limit: Some(Limit {
            per_s: 500.0,
            burst: 100.0,
        }),
        ideal_s: 9.0,
        ..PLAIN
    },
    Scenario {
        name: "small, limited",
        ports: 168,
        closed: 0.4,
        host_limit: Some(Limit {
            per_s: 271.0,
            burst: 27.0,
        }),
        ideal_s: 0.9,
        ..PLAIN
    },
    Scenario {
        name: "60 ports, limited",
        ports: 60,
        closed: 0.4,
        host_limit: Some(Limit {
            per_s: 50.0,
            burst: 10.0,
        }),
        ideal_s: 1.8,
        ..PLAIN
    },
    Scenario {
        name: "sparse and narrow",
        bottleneck: Some(Limit {
            per_s: 5_000.0,
            burst: 100.0,
        }),
        ideal_s: 8.7,
        ..SPARSE
    },
    Scenario {
        name: "one in ten limited",
        targets: "10.9.1.0/26",
        host_limit: Some(Limit {
            per_s: 200.0,
            burst: 100.0,
        }),
        limited_tenth: true,
        ideal_s: 4.5,
        ..PLAIN
    },
    Scenario {
        name: "rejecting",
        ports: 10_000,
        open: 0.001,
        closed: 0.0,
        rejected: 0.5,
        ideal_s: 0.5,
        ..PLAIN
    },
    Scenario {
        name: "narrow, rejecting",
        targets: "10.9.0.0/23",
        ports: 32,
        open: 0.36,
        closed: 0.0,
        rejected: 0.64,
        loss: 0.05,
        bottleneck: Some(Limit {
            per_s: 901.0,
            burst: 50.0,
        }),
        ideal_s: 20.0,
        ..PLAIN
    },
    Scenario {
        name: "no such hosts",
        nobody_with: Some(Icmp::HostUnreachable),
        ideal_s: 3.0,
        ..SPARSE
    },
    Scenario {
        name: "all open",
        ports: 5_000,
        open: 1.0,
        closed: 0.0,
        ideal_s: 0.3,
        ..PLAIN
    },
    Scenario {
        name: "limited services",
        open: 0.04,
        closed: 0.0,
        delay: Delay::Between(300, 900),
        host_limit: Some(Limit {
            per_s: 200.0,
            burst: 50.0,
        }),
        ideal_s: 10.0,
        ..PLAIN
    },
    Scenario {
        name: "silent, away for 1 s",
        ports: 65_535,
        open: 40.0 / 65_535.0,
        closed: 0.0,
        delay: Delay::Between(300, 900),
        away: Away::once(0.2, 1.0),
        ideal_s: 2.5,
        ..PLAIN
    },
    Scenario {
        name: "away for 3 s",
        targets: "10.9.1.0/26",
        bottleneck: Some(Limit {
            per_s: 20_000.0,
            burst: 200.0,
        }),
        away: Away::once(1.0, 3.0),
        ideal_s: 6.5,
        ..PLAIN
    },
    Scenario {
        name: "stalls",
        targets: "10.9.1.0/25",
        away: Some(Away {
            from_s: 0.3,
            for_s: 0.04,
            every_s: 0.4,
        }),
        ideal_s: 1.3,
        ..PLAIN
    },
    Scenario {
        name: "narrow, stalls",
        targets: "10.9.1.0/24",
        ports: 400,
        bottleneck: Some(Limit {
            per_s: 20_000.0,
            burst: 200.0,
        }),
        away: Some(Away {
            from_s: 1.5,
            for_s: 0.05,
            every_s: 1.7,
        }),
        ideal_s: 5.4,
        ..PLAIN
    },
    Scenario {
        name: "nobody",
        targets: "10.9.1.0/24",
        up: 0.0,
        ideal_s: 3.0,
        ..PLAIN
    },
    Scenario {
        name: "few of many",
        targets: "10.9.0.0/20",
        up: 0.02,
        open: 0.05,
        closed: 0.95,
        delay: Delay::LogNormal {
            median_us: 30_000.0,
            sigma: 0.5,
        },
        ideal_s: 7.0,
        ..PLAIN
    },
    Scenario {
        name: "IPv6",
        targets: "fd09::1:0/122",
        open: 0.02,
        closed: 0.18,
        loss: 0.02,
        ideal_s: 1.5,
        ..PLAIN
    },
];

/// A home router's.
const STATE_TABLE: StateTable = StateTable {
    places: 4_096,
    unanswered_s: 30.0,
    is_renewed: false,
    reset_s: 10.0,
};

/// Ten thousand ports of a host behind it: five are open and the others silent.
const BEHIND_A_TABLE: Scenario = Scenario {
    name: "state table",
    ports: 10_000,
    open: 0.0,
    closed: 0.0,
    services: 5,
    delay: Delay::Between(5_000, 10_000),
    state_table: Some(STATE_TABLE),
    // Two attempts at each silent port fill it five times, and four times it is waited for.
    ideal_s: 120.0,
    ..PLAIN
};

/// Half a minute for whoever sends more than 20 SYNs a second.
const BAN: Ban = Ban {
    over: Limit {
        per_s: 20.0,
        burst: 100.0,
    },
    for_s: 30.0,
    is_renewed: false,
    spares_open: false,
    with: Shut::Dropped,
    every: 1,
};

/// A thousand ports of a host that bans: three are open, and the others refuse.
const BANNING: Scenario = Scenario {
    name: "ban",
    open: 0.0,
    closed: 1.0,
    services: 3,
    delay: Delay::Between(300, 900),
    ban: Some(BAN),
    ideal_s: 45.0,
    ..PLAIN
};

/// Five services of 20,000 ports, whose servers do not accept just now; all other ports are silent.
const BUSY: Scenario = Scenario {
    name: "accept queue",
    ports: 20_000,
    open: 0.0,
    closed: 0.0,
    services: 5,
    delay: Delay::Between(300, 900),
    accept_queue: Some(Limit {
        per_s: 0.0,
        burst: 17.0,
    }),
    ideal_s: 1.0,
    ..PLAIN
};

/// Those that remember what they were sent, and are other networks after a fast scan than before.
pub const REMEMBERING: [Scenario; 13] = [
    BEHIND_A_TABLE,
    Scenario {
        name: "state table, 120 s",
        state_table: Some(StateTable {
            unanswered_s: 120.0,
            ..STATE_TABLE
        }),
        ideal_s: 480.0,
        ..BEHIND_A_TABLE
    },
    Scenario {
        name: "state table, 3 hosts",
        targets: "10.9.1.2 10.9.1.3 10.9.1.4",
        ports: 4_000,
        ideal_s: 150.0,
        ..BEHIND_A_TABLE
    },
    BANNING,
    Scenario {
        name: "ban, silent ports",
        closed: 0.0,
        ideal_s: 95.0,
        ..BANNING
    },
    Scenario {
        name: "ban, renewed",
        ban: Some(Ban {
            is_renewed: true,
            ..BAN
        }),
        ..BANNING
    },
    Scenario {
        name: "ban, closed ports only",
        ban: Some(Ban {
            spares_open: true,
            ..BAN
        }),
        ..BANNING
    },
    Scenario {
        name: "ban, reset",
        ban: Some(Ban {
            with: Shut::Reset,
            ..BAN
        }),
        ..BANNING
    },
    Scenario {
        name: "ban, accepted",
        ban: Some(Ban {
            with: Shut::Accepted,
            ..BAN
        }),
        ..BANNING
    },
    Scenario {
        name: "ban by one of 8",
        targets: "10.9.1.0/29",
        ban: Some(Ban { every: 8, ..BAN }),
        ..BANNING
    },
    BUSY,
    Scenario {
        name: "one busy service",
        ports: 1_000,
        services: 1,
        accept_queue: Some(Limit {
            per_s: 0.0,
            burst: 6.0,
        }),
        ideal_s: 0.5,
        ..BUSY
    },
    Scenario {
        name: "one slow service",
        ports: 1_000,
        services: 1,
        accept_queue: Some(Limit {
            per_s: 0.2,
            burst: 6.0,
        }),
        ideal_s: 0.5,
        ..BUSY
    },
];

/// A few hosts on a link of our own, and a table that nobody else uses. Asking whether somebody has
/// an address takes a place for 3 s.
const NEIGHBOURS: Scenario = Scenario {
    name: "on-link /20",
    targets: "10.9.0.0/20",
    ports: 2,
    up: 0.001,
    open: 0.0,
    closed: 0.0,
    services: 2,
    delay: Delay::Between(300, 900),
    neighbours: Some(NeighbourTable {
        places: 1_024,
        room: 896,
    }),
    ideal_s: 12.0,
    ..PLAIN
};

/// Networks on a link of our own: no router, but a table of neighbours. For virtual time only.
pub const ON_LINK: [Scenario; 4] = [
    NEIGHBOURS,
    Scenario {
        name: "on-link /20, shared",
        neighbours: Some(NeighbourTable {
            places: 400,
            room: 896,
        }),
        ideal_s: 30.7,
        ..NEIGHBOURS
    },
    Scenario {
        name: "on-link /21, half up",
        targets: "10.9.0.0/21",
        up: 0.5,
        // Who is there has a place for 5 s.
        ideal_s: 8.0,
        ..NEIGHBOURS
    },
    Scenario {
        name: "on-link /16",
        targets: "10.9.0.0/16",
        ideal_s: 192.0,
        ..NEIGHBOURS
    },
];

/// The scenario of this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    COMPARED
        .iter()
        .chain(&OTHERS)
        .chain(&REMEMBERING)
        .find(|scenario| scenario.name == name)
}
