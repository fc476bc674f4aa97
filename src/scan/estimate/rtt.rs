//! How long an attempt may take: round-trip times, smoothed for each host, each network and all,
//! and the timeouts that follow. It knows addresses and durations, no probes and no rates.

use std::net::{IpAddr, SocketAddr};

use crate::scan::time::Time;

/// The bounds of an attempt's time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timeouts {
    /// Every attempt takes this long, in microseconds, whatever was measured.
    pub fixed_us: Option<u64>,
    /// No attempt gets less, in microseconds.
    pub min_us: u64,
    /// No attempt gets more, in microseconds.
    pub max_us: u64,
}

/// 100 ms to 3 s. Few hosts are slower than 100 ms by surprise; a path slower than 3 s is not worth
/// waiting for.
impl Default for Timeouts {
    fn default() -> Self {
        Timeouts {
            fixed_us: None,
            min_us: 100_000,
            max_us: 3_000_000,
        }
    }
}

/// The first attempt into a network that has not answered yet.
const UNKNOWN_US: u64 = 300_000;
/// The next ones. Below a second, at which the kernel sends a second SYN by itself.
const UNKNOWN_AGAIN_US: u64 = 950_000;
/// What both attempts at a silent port take as long as no round trip is known.
pub const SILENT_US: u64 = UNKNOWN_US + UNKNOWN_AGAIN_US;
/// While nothing at all has answered, this many first attempts wait longer: the network may be
/// slower than that.
const PATIENT: u32 = 32;
const PATIENT_US: u64 = 2_000_000;

/// A smoothed round-trip time and its variation (RFC 6298, section 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::scan) struct Rtt {
    smoothed_us: u32,
    variation_us: u32,
}

/// How long things take, in microseconds.
#[derive(Clone, Copy, Debug)]
pub struct Wait {
    /// An answer comes within this time, or not at all.
    pub answer_us: u64,
    /// An attempt that gets none is given up after this time.
    pub retry_us: u64,
}

/// RFC 6298's G, the grain of the clock: epoll waits in whole milliseconds.
const GRAIN_US: u64 = 1_000;
/// Nearer hosts are not judged faster than this: our own turns of the loop are in what is measured.
const QUICK_US: u64 = 2_000;
/// Longer ones count as this.
const LONGEST_US: u64 = 60_000_000;

impl Rtt {
    pub fn sample(&mut self, us: u64) {
        let us = us.clamp(1, LONGEST_US) as i64;
        if !self.is_known() {
            (self.smoothed_us, self.variation_us) = (us as u32, (us / 2) as u32);
            return;
        }
        let (smoothed, variation) = (i64::from(self.smoothed_us), i64::from(self.variation_us));
        self.variation_us = (variation + ((smoothed - us).abs() - variation) / 4) as u32;
        self.smoothed_us = (smoothed + (us - smoothed) / 8).max(1) as u32;
    }

    pub fn is_known(&self) -> bool {
        self.smoothed_us > 0
    }

    pub fn smoothed_us(&self) -> u64 {
        u64::from(self.smoothed_us)
    }

    /// RFC 6298's RTO, before any bounds.
    fn timeout_us(&self) -> u64 {
        self.smoothed_us() + (4 * u64::from(self.variation_us)).max(GRAIN_US)
    }
}

/// The estimates for networks and for all, and what follows for an attempt.
#[derive(Debug)]
pub(in crate::scan) struct RttEstimators {
    timeouts: Timeouts,
    all: Rtt,
    /// One estimate for each place; a network that hashes to the place of another takes it over.
    networks: Vec<(u64, Rtt)>,
    patient: u32,
    /// Answers came, but only later than a second: nobody knows which SYN they belong to.
    is_slow: bool,
}

/// A power of two; 16 bytes each.
const NETWORKS: usize = 1_024;

impl RttEstimators {
    pub fn new(timeouts: Timeouts) -> Self {
        RttEstimators {
            timeouts,
            all: Rtt::default(),
            networks: Vec::new(),
            patient: 0,
            is_slow: false,
        }
    }

    /// An answer that belongs to exactly one SYN came after `us`.
    pub fn sample(&mut self, address: SocketAddr, us: u64) {
        self.all.sample(us);
        let network = network_of(address.ip());
        if self.networks.is_empty() {
            self.networks.resize(NETWORKS, (0, Rtt::default()));
        }
        let place = &mut self.networks[place_of(network)];
        if place.0 != network {
            *place = (network, Rtt::default());
        }
        place.1.sample(us);
    }

    /// Whether something in the network of this address has answered.
    pub fn has_heard(&self, address: SocketAddr) -> bool {
        let network = network_of(address.ip());
        self.networks
            .get(place_of(network))
            .is_some_and(|place| place.0 == network && place.1.is_known())
    }

    /// An answer came that may belong to the kernel's own second SYN (Karn's rule: that is no
    /// sample).
    pub fn ambiguous(&mut self) {
        self.is_slow = true;
    }

    /// Nothing was heard at all yet, and the attempts that wait longest for it have not ended:
    /// silence proves nothing.
    pub fn is_deaf(&self, now: Time) -> bool {
        self.timeouts.fixed_us.is_none()
            && !self.all.is_known()
            && !self.is_slow
            && now.us < PATIENT_US.min(self.timeouts.max_us)
    }

    /// When the next of this many further attempts is to begin. They spread over the time in which
    /// nothing proves anything, so that a host that takes few at a time hears some of them.
    pub fn spread(&self, attempts: usize, now: Time) -> Time {
        now.plus_us(PATIENT_US.saturating_sub(now.us) / attempts.max(1) as u64)
    }

    pub fn all(&self) -> Rtt {
        self.all
    }

    /// The time for the attempt number `attempt`, from 1, at a host at `address`, in microseconds.
    /// All after the first get half as much again: the estimate may be too low for this endpoint.
    pub fn attempt_us(&mut self, address: SocketAddr, host: Rtt, attempt: u16) -> u64 {
        if let Some(fixed_us) = self.timeouts.fixed_us {
            return fixed_us;
        }
        let network = network_of(address.ip());
        let of_network = self
            .networks
            .get(place_of(network))
            .filter(|place| place.0 == network)
            .map(|place| place.1);
        let known = [Some(host), of_network]
            .into_iter()
            .flatten()
            .find(Rtt::is_known);
        let us = match known {
            Some(rtt) => self.bounded_us(rtt) * if attempt > 1 { 3 } else { 2 } / 2,
            None => self.unknown_us(attempt).max(self.all.timeout_us()),
        };
        us.clamp(self.timeouts.min_us, self.timeouts.max_us)
    }

    fn unknown_us(&mut self, attempt: u16) -> u64 {
        let is_patient = attempt <= 1 && !self.all.is_known() && self.patient < PATIENT;
        self.patient += u32::from(is_patient);
        match attempt {
            _ if self.is_slow => self.timeouts.max_us,
            _ if is_patient => PATIENT_US,
            ..=1 => UNKNOWN_US,
            _ => UNKNOWN_AGAIN_US,
        }
    }

    /// At least what an attempt gets at a host of whose network nothing is known.
    pub fn patient_us(&self, us: u64) -> u64 {
        match self.timeouts.fixed_us {
            Some(fixed_us) => fixed_us,
            None => us.max(UNKNOWN_AGAIN_US).min(self.timeouts.max_us),
        }
    }

    /// How long a first attempt may take at a host of which nothing is known, where others have
    /// answered.
    pub fn stranger_us(&self) -> u64 {
        let us = UNKNOWN_US
            .max(self.all.timeout_us())
            .clamp(self.timeouts.min_us, self.timeouts.max_us);
        self.timeouts.fixed_us.unwrap_or(us)
    }

    /// An attempt that was given less than this proves nothing, as is known by now.
    pub fn least_us(&self, host: Rtt) -> u64 {
        if self.timeouts.fixed_us.is_some() {
            return 0;
        }
        match (host.is_known(), self.is_slow && !self.all.is_known()) {
            (true, _) => host.timeout_us().min(self.timeouts.max_us) * 3 / 4,
            (false, true) => self.timeouts.max_us,
            (false, false) => 0,
        }
    }

    /// What a rate controller has to know.
    pub fn wait(&self, rtt: Rtt) -> Wait {
        // Answers that take longer than a second are no samples: they may take as long as any.
        let is_unmeasured = self.is_slow && !rtt.is_known() && self.timeouts.fixed_us.is_none();
        let retry_us = if is_unmeasured {
            self.timeouts.max_us
        } else {
            self.bounded_us(rtt)
        };
        let answer_us = rtt.smoothed_us() + (4 * u64::from(rtt.variation_us)).max(QUICK_US);
        Wait {
            answer_us: if rtt.is_known() {
                answer_us.min(retry_us)
            } else {
                retry_us
            },
            retry_us,
        }
    }

    /// How long an answer may be under way, as far as is known of `rtt`.
    pub fn bounded_us(&self, rtt: Rtt) -> u64 {
        let us = if rtt.is_known() {
            rtt.timeout_us()
        } else {
            UNKNOWN_US
        };
        self.timeouts
            .fixed_us
            .unwrap_or_else(|| us.clamp(self.timeouts.min_us, self.timeouts.max_us))
    }
}

/// The /24 or /64 that an address belongs to, as a number that is never 0.
pub(in crate::scan) fn network_of(address: IpAddr) -> u64 {
    match address {
        IpAddr::V4(v4) => 1 << 32 | u64::from(u32::from(v4) >> 8),
        IpAddr::V6(v6) => (u128::from(v6) >> 64) as u64 | 1 << 63,
    }
}

fn place_of(network: u64) -> usize {
    // Fibonacci hashing (Knuth, The Art of Computer Programming, 6.4).
    (network.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> (u64::BITS - NETWORKS.trailing_zeros()))
        as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rtt(samples: &[u64]) -> Rtt {
        let mut rtt = Rtt::default();
        samples.iter().for_each(|&us| rtt.sample(us));
        rtt
    }

    #[test]
    fn smoothed_as_rfc_6298_has_it() {
        assert_eq!(
            rtt(&[40_000]),
            Rtt {
                smoothed_us: 40_000,
                variation_us: 20_000
            }
        );
        assert_eq!(
            rtt(&[40_000, 80_000]),
            Rtt {
                smoothed_us: 45_000,
                variation_us: 25_000
            }
        );
        assert_eq!(rtt(&[40_000]).timeout_us(), 120_000);
        assert_eq!(
            rtt(&[20_000; 100]).timeout_us(),
            21_000,
            "no less than the clock's grain above it"
        );
        assert!(rtt(&[0, u64::MAX, 0]).timeout_us() < 10 * LONGEST_US);
    }

    #[test]
    fn a_host_asks_its_network_and_then_all() {
        let mut clocks = RttEstimators::new(Timeouts::default());
        let at = |text: &str| SocketAddr::new(text.parse().unwrap(), 0);
        let (near, far, none) = (at("192.0.2.1"), at("198.51.100.1"), Rtt::default());
        assert!((0..PATIENT).all(|_| clocks.attempt_us(near, none, 1) == PATIENT_US));
        assert_eq!(
            [1, 2].map(|attempt| clocks.attempt_us(near, none, attempt)),
            [UNKNOWN_US, UNKNOWN_AGAIN_US]
        );
        clocks.sample(near, 100_000);
        assert_eq!(
            clocks.attempt_us(at("192.0.2.200"), none, 1),
            300_000,
            "the network's"
        );
        assert_eq!(clocks.attempt_us(at("192.0.2.200"), none, 2), 450_000);
        assert_eq!(
            clocks.attempt_us(at("192.0.2.200"), rtt(&[1_000]), 1),
            100_000,
            "the host's own, and --min-timeout"
        );
        assert_eq!(
            clocks.attempt_us(far, none, 1),
            UNKNOWN_US,
            "elsewhere nothing is known"
        );
        clocks.sample(near, 2_000_000);
        assert!(
            clocks.attempt_us(far, none, 1) > 2_000_000,
            "all others are slow, so it may be"
        );
        assert_eq!(
            clocks.attempt_us(near, rtt(&[50_000_000]), 9),
            3_000_000,
            "--max-timeout"
        );
        let mut fixed = RttEstimators::new(Timeouts {
            fixed_us: Some(7),
            ..Timeouts::default()
        });
        assert_eq!(fixed.attempt_us(near, rtt(&[50_000]), 3), 7);
    }

    #[test]
    fn a_path_slower_than_a_second_is_found_out() {
        let mut clocks = RttEstimators::new(Timeouts::default());
        let at = SocketAddr::new("192.0.2.1".parse().unwrap(), 0);
        assert_eq!(clocks.least_us(Rtt::default()), 0);
        clocks.ambiguous();
        assert_eq!(clocks.attempt_us(at, Rtt::default(), 1), 3_000_000);
        assert_eq!(
            clocks.least_us(Rtt::default()),
            3_000_000,
            "what was given less proves nothing"
        );
    }

    #[test]
    fn networks_are_told_apart_in_bounded_memory() {
        let mut clocks = RttEstimators::new(Timeouts::default());
        for high in 0..=255u8 {
            for low in 0..=255u8 {
                clocks.sample(SocketAddr::new([10, high, low, 1].into(), 0), 1_000);
            }
        }
        assert_eq!(clocks.networks.len(), NETWORKS);
        assert!(size_of::<(u64, Rtt)>() == 16);
    }
}
