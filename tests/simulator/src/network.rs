//! A simulated network: what each address and port really is, when an answer comes, and what never
//! comes. The same network is played in virtual time and behind a TUN device (`tun.rs`), so that
//! both must agree. It knows no clock: time is handed in.
//!
//! What an endpoint is follows from the seed by hashing. What routers and hosts remember is in
//! `memory.rs`; for the bottleneck's queue one number is enough.

use std::net::{IpAddr, SocketAddr};

use fastrand::Rng;

use crate::memory::{Bans, Buckets, Connections};
use crate::scenario::{Away, Delay, Limit, Scenario, Shut, StateTable};

/// What an endpoint really is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Truth {
    Open,
    Closed,
    /// It answers with an ICMP error.
    Rejected,
    Silent,
}

/// What answers a SYN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Answer {
    SynAck,
    Rst,
    /// An ICMP error: the port is [rejected](Scenario::rejected_with).
    Rejected,
    /// An ICMP error: [nobody](Scenario::nobody_with) is at the address.
    Nobody,
}

/// A network under way.
#[derive(Clone, Debug)]
pub struct SimNetwork {
    pub scenario: Scenario,
    seed: u64,
    random: Rng,
    /// What limited hosts take.
    taken: Buckets<IpAddr>,
    /// The resets that hosts send.
    resets: Buckets<IpAddr>,
    connections: Connections,
    bans: Bans,
    accepted: Buckets<SocketAddr>,
    /// When the bottleneck will have sent all that is in its queue.
    free_at_us: f64,
    /// SYNs that were sent into it.
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

impl SimNetwork {
    pub fn new(scenario: Scenario, seed: u64) -> Self {
        SimNetwork {
            scenario,
            seed,
            random: Rng::with_seed(seed ^ 0x70),
            taken: Buckets::default(),
            resets: Buckets::default(),
            connections: Connections::default(),
            bans: Bans::default(),
            accepted: Buckets::default(),
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
            _ if self.is_service(endpoint) => Truth::Open,
            _ if at < open => Truth::Open,
            _ if at < open + closed => Truth::Closed,
            _ if at < open + closed + rejected => Truth::Rejected,
            _ => Truth::Silent,
        }
    }

    /// The services of a host are spread over its ports: one in each of as many stretches.
    fn is_service(&self, endpoint: SocketAddr) -> bool {
        let Scenario {
            services, ports, ..
        } = self.scenario;
        if services == 0 {
            return false;
        }
        let stretch = ports / services;
        let at = endpoint.port().saturating_sub(1);
        let number = at / stretch;
        let hash = self.hash(endpoint.ip(), 5 << 32 | u64::from(number));
        number < services && hash % u64::from(stretch) == u64::from(at % stretch)
    }

    /// Whether what it does depends on what it was sent before, so that even a SYN that the kernel
    /// sends again changes something.
    pub fn remembers(&self) -> bool {
        let Scenario {
            state_table,
            ban,
            accept_queue,
            neighbours,
            ..
        } = self.scenario;
        state_table.is_some() || ban.is_some() || accept_queue.is_some() || neighbours.is_some()
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

    /// A SYN comes at `now_us`: when its answer arrives and what it is, if there will be one. The
    /// number tells its connection from others to the same endpoint.
    pub fn syn(
        &mut self,
        endpoint: SocketAddr,
        connection: u64,
        now_us: u64,
    ) -> Option<(u64, Answer)> {
        self.syns += 1;
        let ip = endpoint.ip();
        if self.is_away(now_us) || !self.is_kept(endpoint, connection, now_us) || self.is_lost(ip) {
            return None;
        }
        let queued_us = self.pass_bottleneck(now_us)?;
        let is_up = self.is_up(ip);
        if is_up && !self.host_takes(ip, now_us + queued_us) {
            return None;
        }
        let truth = self.truth(endpoint);
        let (is_open, arrives_us) = (truth == Truth::Open, now_us + queued_us);
        let ban = self.scenario.ban;
        let shut = ban.filter(|&ban| is_up && self.bans.shuts_out(ban, ip, is_open, arrives_us));
        let answer = match shut.map(|ban| ban.with) {
            Some(Shut::Dropped) => return None,
            Some(Shut::Reset) => Answer::Rst,
            Some(Shut::Accepted) => Answer::SynAck,
            None => self.honest(truth, is_up)?,
        };
        let limit = self.scenario.reset_limit.filter(|_| answer == Answer::Rst);
        if limit.is_some_and(|limit| !self.resets.take(ip, limit, arrives_us)) {
            return None;
        }
        let queue = self.scenario.accept_queue;
        let queue = queue.filter(|_| is_open && shut.is_none());
        if queue.is_some_and(|queue| !self.accepted.has(endpoint, queue, arrives_us)) {
            return None;
        }
        let at_us = arrives_us + self.delay_us(ip);
        if self.is_lost(ip) || self.is_away(at_us) {
            return None;
        }
        if let Some(queue) = queue {
            self.accepted.take(endpoint, queue, arrives_us);
        }
        if let Some(table) = self.scenario.state_table
            && let Some(lasts_s) = remembered_s(table, answer)
        {
            let connection = (endpoint, connection);
            self.connections.answered(connection, at_us, lasts_s);
        }
        Some((at_us, answer))
    }

    fn honest(&self, truth: Truth, is_up: bool) -> Option<Answer> {
        match truth {
            Truth::Open => Some(Answer::SynAck),
            Truth::Closed => Some(Answer::Rst),
            Truth::Rejected => Some(Answer::Rejected),
            Truth::Silent if !is_up && self.scenario.nobody_with.is_some() => Some(Answer::Nobody),
            Truth::Silent => None,
        }
    }

    /// Whether a router on the way lets the SYN through.
    fn is_kept(&mut self, endpoint: SocketAddr, connection: u64, now_us: u64) -> bool {
        let table = self.scenario.state_table;
        table.is_none_or(|table| self.connections.keep(table, (endpoint, connection), now_us))
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
        let is_limited = !self.scenario.limited_tenth || self.is_tenth(ip);
        let limit = self.scenario.host_limit.filter(|_| is_limited);
        limit.is_none_or(|limit| self.taken.take(ip, limit, now_us))
    }
}

/// How long a connection with this answer is remembered. An ICMP error changes nothing.
fn remembered_s(table: StateTable, answer: Answer) -> Option<f64> {
    match answer {
        Answer::SynAck => Some(table.reset_s),
        Answer::Rst => Some(0.0),
        Answer::Rejected | Answer::Nobody => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario::{Ban, PLAIN, REMEMBERING};

    fn endpoint(port: u16) -> SocketAddr {
        SocketAddr::from(([10, 9, 1, 2], port))
    }

    #[test]
    fn each_host_has_as_many_services_as_are_said() {
        for ports in [5, 14, 10_000] {
            let scenario = Scenario {
                ports,
                ..REMEMBERING[0]
            };
            for seed in 0..100 {
                let network = SimNetwork::new(scenario, seed);
                let is_open = |&port: &u16| network.truth(endpoint(port)) == Truth::Open;
                let open = (1..=ports).filter(is_open).count();
                assert_eq!(open, 5, "of {ports}, seed {seed}");
            }
        }
    }

    #[test]
    fn a_full_table_drops_what_is_new_on_the_way_to_open_ports_too() {
        let mut network = SimNetwork::new(
            Scenario {
                open: 0.0,
                closed: 1.0,
                services: 2,
                ports: 4,
                state_table: Some(StateTable {
                    places: 2,
                    unanswered_s: 30.0,
                    is_renewed: false,
                    reset_s: 10.0,
                }),
                ..PLAIN
            },
            1,
        );
        let is_open = |&port: &u16| network.truth(endpoint(port)) == Truth::Open;
        let (open, closed): (Vec<u16>, Vec<u16>) = (1..=4).partition(is_open);
        let mut is_answered = |port, connection, s: u64| {
            let answer = network.syn(endpoint(port), connection, s * 1_000_000);
            answer.is_some()
        };
        assert!(is_answered(closed[0], 0, 0), "it is forgotten at once");
        assert!(is_answered(open[0], 1, 1) && is_answered(open[0], 2, 1));
        assert!(!is_answered(open[1], 3, 11), "those are remembered");
        assert!(is_answered(open[0], 1, 11), "it is known");
        assert!(is_answered(open[1], 4, 12) && !is_answered(closed[0], 5, 12));
    }

    #[test]
    fn who_is_shut_out_is_not_told_the_truth() {
        for (with, answer) in [
            (Shut::Dropped, None),
            (Shut::Reset, Some(Answer::Rst)),
            (Shut::Accepted, Some(Answer::SynAck)),
        ] {
            let over = Limit {
                per_s: 0.0,
                burst: 1.0,
            };
            let ban = Ban {
                over,
                for_s: 30.0,
                is_renewed: false,
                spares_open: false,
                with,
                every: 1,
            };
            let scenario = Scenario {
                open: 0.0,
                closed: 0.0,
                ban: Some(ban),
                ..PLAIN
            };
            let mut network = SimNetwork::new(scenario, 1);
            assert_eq!(network.syn(endpoint(80), 1, 0), None, "it is silent");
            let told = network.syn(endpoint(80), 2, 0);
            assert_eq!(told.map(|(_, answer)| answer), answer);
        }
    }

    #[test]
    fn a_full_queue_is_silent_until_somebody_accepts() {
        let queue = Limit {
            per_s: 0.5,
            burst: 2.0,
        };
        let scenario = Scenario {
            closed: 0.0,
            open: 0.0,
            services: 1_000,
            accept_queue: Some(queue),
            ..PLAIN
        };
        let mut network = SimNetwork::new(scenario, 1);
        let mut is_answered = |port, connection, s: u64| {
            let answer = network.syn(endpoint(port), connection, s * 1_000_000);
            answer.is_some()
        };
        assert!(is_answered(80, 1, 0) && is_answered(80, 2, 0));
        assert!(!is_answered(80, 3, 1));
        assert!(is_answered(443, 4, 1), "each service has its own");
        assert!(is_answered(80, 3, 2), "one was accepted");
        assert!(!is_answered(80, 5, 2));
    }
}
