//! A simulated network: what each address and port really is, how long an answer takes, what is
//! lost on the way and who limits what. The same town is played in virtual time (`virtual_time.rs`)
//! and behind a TUN device (`network.rs`), so that both must agree.
//!
//! It remembers no connection: what an endpoint is follows from the seed by hashing. It keeps one
//! bucket for each limited host, and one number for the bottleneck's queue.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;
use portreeve::scan::Reason;

/// As many sockets as a usual descriptor limit of 20,000 leaves.
pub const CAP: u32 = 19_990;

/// What an endpoint really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    Open,
    Closed,
    /// An ICMP error says so.
    Rejected,
    Silent,
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
    /// What ICMP says of the rejected ones, and of addresses where nobody is, if it says something.
    pub rejected_with: Reason,
    pub nobody_with: Option<Reason>,
    pub delay: Delay,
    /// The share that is lost, each way.
    pub loss: f64,
    /// Loss on every tenth address only.
    pub lossy_tenth: bool,
    /// What each host, or with `limited_tenth` every tenth, takes per second; SYNs above it are
    /// dropped.
    pub host_limit: Option<Limit>,
    pub limited_tenth: bool,
    /// A link that all SYNs go through, with a queue of `burst` packets.
    pub bottleneck: Option<Limit>,
    pub away: Option<Away>,
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
    rejected_with: Reason::AdminProhibited,
    nobody_with: None,
    delay: Delay::Between(20_000, 20_000),
    loss: 0.0,
    lossy_tenth: false,
    host_limit: None,
    limited_tenth: false,
    bottleneck: None,
    away: None,
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
pub const OTHERS: [Scenario; 28] = [
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
        nobody_with: Some(Reason::HostUnreach),
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

/// The scenario of this name.
pub fn named(name: &str) -> Option<&'static Scenario> {
    COMPARED
        .iter()
        .chain(&OTHERS)
        .find(|scenario| scenario.name == name)
}

/// What a town answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    SynAck,
    Rst,
    Rejected,
    Nobody,
}

/// A network under way.
#[derive(Clone, Debug)]
pub struct Town {
    pub scenario: Scenario,
    seed: u64,
    random: Rng,
    /// For each limited host: what is left in its bucket, and when that was so.
    buckets: HashMap<IpAddr, (f64, u64)>,
    /// When the bottleneck will have sent all that is in its queue.
    free_at_us: f64,
    /// SYNs that came as far as the town.
    pub syns: u64,
}

/// The finalizer of SplitMix64.
fn mix(mut x: u64) -> u64 {
    x = x.wrapping_add(0x9E37_79B9_7F4A_7C15);
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

/// A number from 0 to 1 out of a hash.
fn unit(hash: u64) -> f64 {
    (hash >> 11) as f64 / (1u64 << 53) as f64
}

/// A normally distributed number out of two even ones (Box and Muller, 1958).
fn normal(a: f64, b: f64) -> f64 {
    (-2.0 * a.max(1e-12).ln()).sqrt() * (std::f64::consts::TAU * b).cos()
}

impl Town {
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        Town {
            scenario,
            seed,
            random: Rng::with_seed(seed ^ 0x70),
            buckets: HashMap::new(),
            free_at_us: 0.0,
            syns: 0,
        }
    }

    fn hash(&self, ip: IpAddr, salt: u64) -> u64 {
        let bits = match ip {
            IpAddr::V4(v4) => u128::from(u32::from(v4)),
            IpAddr::V6(v6) => u128::from(v6),
        };
        mix(mix(mix(mix(self.seed) ^ bits as u64) ^ (bits >> 64) as u64) ^ salt)
    }

    fn is_tenth(&self, ip: IpAddr) -> bool {
        self.hash(ip, 1).is_multiple_of(10)
    }

    pub fn is_up(&self, ip: IpAddr) -> bool {
        unit(self.hash(ip, 2)) < self.scenario.up
    }

    pub fn truth(&self, endpoint: SocketAddr) -> Truth {
        if !self.is_up(endpoint.ip()) {
            return Truth::Silent;
        }
        let Scenario {
            open,
            closed,
            rejected,
            ..
        } = self.scenario;
        let at = unit(self.hash(endpoint.ip(), 1 << 16 | u64::from(endpoint.port())));
        match at {
            _ if at < open => Truth::Open,
            _ if at < open + closed => Truth::Closed,
            _ if at < open + closed + rejected => Truth::Rejected,
            _ => Truth::Silent,
        }
    }

    fn delay_us(&mut self, ip: IpAddr) -> u64 {
        match self.scenario.delay {
            Delay::Between(least, most) => self.random.u64(least..=most),
            Delay::LogNormal { median_us, sigma } => {
                let half = sigma / std::f64::consts::SQRT_2;
                let host = normal(unit(self.hash(ip, 3)), unit(self.hash(ip, 4)));
                let packet = normal(self.random.f64(), self.random.f64());
                (median_us * (half * (host + packet)).exp()) as u64
            }
        }
    }

    fn is_lost(&mut self, ip: IpAddr) -> bool {
        let loss = self.scenario.loss;
        loss > 0.0 && self.random.f64() < loss && (!self.scenario.lossy_tenth || self.is_tenth(ip))
    }

    fn is_away(&self, now_us: u64) -> bool {
        self.scenario.away.is_some_and(
            |Away {
                 from_s,
                 for_s,
                 every_s,
             }| {
                let since_s = now_us as f64 / 1e6 - from_s;
                since_s >= 0.0 && since_s % every_s < for_s
            },
        )
    }

    /// A SYN comes at `now_us`: when its answer arrives and what it is, if there will be one.
    pub fn syn(&mut self, endpoint: SocketAddr, now_us: u64) -> Option<(u64, Answer)> {
        self.syns += 1;
        let ip = endpoint.ip();
        if self.is_away(now_us) || self.is_lost(ip) {
            return None;
        }
        let queued_us = self.pass_bottleneck(now_us)?;
        let is_up = self.is_up(ip);
        if is_up && !self.host_takes(ip, now_us + queued_us) {
            return None;
        }
        let answer = match self.truth(endpoint) {
            Truth::Open => Answer::SynAck,
            Truth::Closed => Answer::Rst,
            Truth::Rejected => Answer::Rejected,
            Truth::Silent if !is_up && self.scenario.nobody_with.is_some() => Answer::Nobody,
            Truth::Silent => return None,
        };
        let at_us = now_us + queued_us + self.delay_us(ip);
        if self.is_lost(ip) || self.is_away(at_us) {
            None
        } else {
            Some((at_us, answer))
        }
    }

    /// How long the packet waits in the queue; `None` where that is full.
    fn pass_bottleneck(&mut self, now_us: u64) -> Option<u64> {
        let Some(Limit { per_s, burst }) = self.scenario.bottleneck else {
            return Some(0);
        };
        let waits_us = (self.free_at_us - now_us as f64).max(0.0);
        if waits_us * per_s / 1e6 >= burst {
            return None;
        }
        self.free_at_us = now_us as f64 + waits_us + 1e6 / per_s;
        Some(waits_us as u64)
    }

    fn host_takes(&mut self, ip: IpAddr, now_us: u64) -> bool {
        let Some(Limit { per_s, burst }) = self.scenario.host_limit else {
            return true;
        };
        if self.scenario.limited_tenth && !self.is_tenth(ip) {
            return true;
        }
        let (tokens, at_us) = self.buckets.entry(ip).or_insert((burst, now_us));
        *tokens = (*tokens + now_us.saturating_sub(*at_us) as f64 * per_s / 1e6).min(burst);
        *at_us = now_us.max(*at_us);
        let takes = *tokens >= 1.0;
        *tokens -= f64::from(u8::from(takes));
        takes
    }
}

/// How well a scan did, verdict by verdict.
#[derive(Clone, Debug, Default)]
pub struct Score {
    /// What was said of endpoints that are open, closed, rejected, silent: open, closed, filtered,
    /// unscanned.
    pub said: [[u64; 4]; 4],
}

impl Score {
    /// `state` is the position in `State::ALL`.
    pub fn count(&mut self, truth: Truth, state: usize) {
        self.said[truth as usize][state] += 1;
    }

    /// The share of open ports that was found.
    pub fn recall(&self) -> f64 {
        let [found, ..] = self.said[Truth::Open as usize];
        let open: u64 = self.said[Truth::Open as usize].iter().sum();
        if open == 0 {
            1.0
        } else {
            found as f64 / open as f64
        }
    }

    /// Open ports that were not found.
    pub fn missed(&self) -> u64 {
        self.said[Truth::Open as usize][1..].iter().sum()
    }

    /// Verdicts that are wrong whatever was lost: open or closed that is not.
    pub fn invented(&self) -> u64 {
        let said_open: u64 = self.said[1..].iter().map(|said| said[0]).sum();
        let said_closed: u64 = [0, 2, 3].map(|truth| self.said[truth][1]).iter().sum();
        said_open + said_closed
    }
}
