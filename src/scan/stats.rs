//! The counters of a scan. They add up: see [`Stats::settled`].

use std::net::SocketAddr;

use super::estimate::Missed;
use super::verdict::{OwnError, Reason, State};

/// What has been counted so far.
#[derive(Clone, Debug, PartialEq)]
pub struct Stats {
    /// Endpoints in the plan.
    pub planned: u64,
    /// Endpoints that were taken up; the rest was never tried.
    pub begun: u64,
    by_reason: [u64; Reason::ALL.len()],
    own_errors: [u64; OwnError::ALL.len()],
    /// Connection attempts that an answer or silence ended.
    pub attempts: u64,
    /// Attempts that were not an endpoint's first.
    pub retries: u64,
    /// Attempts at endpoints that answered in the end, all but the one that was answered: as far as
    /// is known, the network lost them.
    pub lost: u64,
    /// Attempts that do not count, because the network was away when their answers were due.
    pub voided: u64,
    /// Attempts at ports that had answered before, to see whether answers get lost at this rate;
    /// among `attempts`.
    pub controls: u64,
    /// How often the network went away.
    pub outages: u32,
    /// How long it was away in all, in microseconds, from the last answer before to the first one
    /// after.
    pub outage_us: u64,
    /// Round-trip times of all answers that belong to one SYN.
    pub rtt: Histogram,
    /// Open ports that were probably missed on hosts that answered …
    pub missed: Missed,
    /// … and on hosts that were never heard of, if any were left out.
    pub missed_hosts: Missed,
    /// Hosts that answered on a port, and are done with or were under way when the scan was
    /// stopped.
    pub hosts_answering: u64,
    /// Hosts that answered nothing, until the rest of their ports was left out.
    pub hosts_silent: u64,
    /// Addresses on this machine's own links that nobody answers for (ARP, NDP).
    pub hosts_absent: u64,
    /// How often a host that had answered shut us out for a while, and was asked more slowly then.
    pub hosts_held_off: u64,
    /// Hosts that stopped answering while others went on, and did not come back.
    pub hosts_away: u64,
    /// Hosts of which everything seems to be open, and still was when asked again: up to
    /// [`MOST_NAMED`](Self::MOST_NAMED).
    pub all_open: Vec<SocketAddr>,
    /// How many of them there are.
    pub hosts_all_open: u64,
    /// Silent endpoints that have no verdict yet, because it depends on whether their host is
    /// there.
    pub(super) held: u64,
    /// Connections to oneself that were seen through and probed again.
    pub self_connects: u64,
    /// Sockets in flight now.
    pub in_flight: u32,
    /// The most sockets that were in flight at once.
    pub peak_in_flight: u32,
    /// How many sockets may be in flight now.
    pub cap: u32,
    /// The smallest that the cap has been.
    pub lowest_cap: u32,
}

impl Stats {
    /// Hosts that [`all_open`](Self::all_open) names at most.
    pub const MOST_NAMED: usize = 64;

    pub(super) fn host_is_all_open(&mut self, address: SocketAddr) {
        self.hosts_all_open += 1;
        if self.all_open.len() < Self::MOST_NAMED {
            self.all_open.push(address);
        }
    }

    /// No more open ports than this were missed, in at least 95 of 100 scans; `None` where nothing
    /// has answered, so that nothing is known of the network.
    pub fn missed_at_most(&self) -> Option<u64> {
        let has_answers = self.in_state(State::Open) + self.with_reason(Reason::ConnRefused) > 0;
        has_answers.then(|| self.all_missed().at_most().min(self.unheard()))
    }

    /// Open ports that were probably missed on all hosts.
    pub(crate) fn all_missed(&self) -> Missed {
        let left_out = self.with_reason(Reason::SilentHost) as f64;
        Missed {
            expected: self.missed.expected + self.missed_hosts.expected.min(left_out),
            high: self.missed.high + self.missed_hosts.high.min(left_out),
        }
    }

    /// Endpoints that nothing came from, asked or left out: only those can have been missed.
    pub(crate) fn unheard(&self) -> u64 {
        self.silent() + self.with_reason(Reason::SilentHost) + self.held
    }

    /// Endpoints that stayed silent to their end.
    pub fn silent(&self) -> u64 {
        self.with_reason(Reason::NoResponse) + self.with_reason(Reason::NoSynAck)
    }

    /// The share of attempts at answering endpoints that was lost.
    pub fn loss(&self) -> f64 {
        let answered = self.in_state(State::Open) + self.with_reason(Reason::ConnRefused);
        self.lost as f64 / (self.lost + answered).max(1) as f64
    }

    pub(crate) fn new(planned: u64, cap: u32) -> Self {
        Stats {
            planned,
            begun: 0,
            by_reason: [0; Reason::ALL.len()],
            own_errors: [0; OwnError::ALL.len()],
            attempts: 0,
            retries: 0,
            lost: 0,
            voided: 0,
            controls: 0,
            outages: 0,
            outage_us: 0,
            rtt: Histogram::default(),
            missed: Missed::default(),
            missed_hosts: Missed::default(),
            hosts_answering: 0,
            hosts_silent: 0,
            hosts_absent: 0,
            hosts_held_off: 0,
            hosts_away: 0,
            all_open: Vec::new(),
            hosts_all_open: 0,
            held: 0,
            self_connects: 0,
            in_flight: 0,
            peak_in_flight: 0,
            cap,
            lowest_cap: cap,
        }
    }

    /// What a scan that goes on begins with, where so many endpoints were silent and have no
    /// verdict yet; `None` where that cannot be.
    pub(super) fn goes_on(&mut self, held: u64, cap: u32) -> Option<()> {
        self.begun = self
            .settled()
            .checked_add(held)
            .filter(|&begun| begun <= self.planned)?;
        self.held = held;
        self.in_flight = 0;
        self.cap = cap;
        self.lowest_cap = cap;
        Some(())
    }

    /// Endpoints that ended for this reason.
    pub fn with_reason(&self, reason: Reason) -> u64 {
        self.by_reason[reason as usize]
    }

    /// Endpoints that ended in this state.
    pub fn in_state(&self, state: State) -> u64 {
        self.reasons(state).map(|(_, count)| count).sum()
    }

    /// The states that every scan has, and the one that only those have that ask what is open.
    pub fn told_states(&self) -> impl Iterator<Item = State> {
        let has_not_open = self.in_state(State::NotOpen) > 0;
        let is_told = move |&state: &State| state != State::NotOpen || has_not_open;
        State::ALL.into_iter().filter(is_told)
    }

    /// The reasons for a state that occurred, and how often.
    pub fn reasons(&self, state: State) -> impl Iterator<Item = (Reason, u64)> + '_ {
        let counted = Reason::ALL
            .into_iter()
            .map(|reason| (reason, self.with_reason(reason)));
        counted.filter(move |&(reason, count)| reason.state() == state && count > 0)
    }

    /// Failures on our own side that occurred, and how often. Each of them sent its probe back.
    pub fn own_errors(&self) -> impl Iterator<Item = (OwnError, u64)> + '_ {
        OwnError::ALL
            .into_iter()
            .map(|error| (error, self.own_errors[error as usize]))
            .filter(|&(_, count)| count > 0)
    }

    /// Adds what a part of the same scan has counted, all but its endpoints, and the hosts that
    /// answered: those may be in several parts.
    #[cfg(feature = "cli")]
    pub(crate) fn add(&mut self, part: &Stats) {
        let reasons = self.by_reason.iter_mut().zip(part.by_reason);
        let own_errors = self.own_errors.iter_mut().zip(part.own_errors);
        let others = [
            (&mut self.begun, part.begun),
            (&mut self.attempts, part.attempts),
            (&mut self.retries, part.retries),
            (&mut self.lost, part.lost),
            (&mut self.voided, part.voided),
            (&mut self.controls, part.controls),
            (&mut self.outage_us, part.outage_us),
            (&mut self.self_connects, part.self_connects),
            (&mut self.hosts_held_off, part.hosts_held_off),
            (&mut self.hosts_away, part.hosts_away),
        ];
        reasons
            .chain(own_errors)
            .chain(others)
            .for_each(|(sum, count)| *sum = sum.saturating_add(count));
        self.outages = self.outages.saturating_add(part.outages);
        self.rtt.add(&part.rtt);
        self.missed.expected += part.missed.expected;
        self.missed.high += part.missed.high;
        self.hosts_silent = self.hosts_silent.max(part.hosts_silent);
        self.hosts_absent = self.hosts_absent.max(part.hosts_absent);
        part.all_open.iter().for_each(|&host| {
            if !self.all_open.contains(&host) {
                self.host_is_all_open(host);
            }
        });
        self.peak_in_flight = self.peak_in_flight.max(part.peak_in_flight);
        self.lowest_cap = self.lowest_cap.max(part.lowest_cap);
    }

    /// Gives this verdict to one of the endpoints that were not scanned, if there is one.
    #[cfg(feature = "cli")]
    pub(crate) fn settle_unscanned(&mut self, reason: Reason) {
        let unscanned = self.reasons(State::Unscanned).next();
        if let Some((unscanned, _)) = unscanned {
            self.by_reason[unscanned as usize] -= 1;
            self.settle(reason, 1);
        }
    }

    /// Endpoints that have a verdict. When a scan is over this equals [`planned`](Self::planned).
    pub fn settled(&self) -> u64 {
        self.by_reason
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    pub(crate) fn settle(&mut self, reason: Reason, count: u64) {
        self.by_reason[reason as usize] += count;
    }

    pub(crate) fn own_error(&mut self, error: OwnError, count: u64) {
        self.own_errors[error as usize] += count;
    }
}

/// How often which time was seen, in steps of a ninth at most.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Histogram {
    buckets: [u64; BUCKETS],
    sum_us: u64,
}

/// Eight for each doubling, up to 2^26 microseconds: a minute.
const BUCKETS: usize = 8 * 26;

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            buckets: [0; BUCKETS],
            sum_us: 0,
        }
    }
}

impl Histogram {
    /// Counts one more time, in microseconds.
    pub fn count(&mut self, us: u64) {
        self.buckets[Self::bucket(us)] += 1;
        self.sum_us = self.sum_us.saturating_add(us);
    }

    /// How many times were counted.
    pub fn samples(&self) -> u64 {
        self.buckets
            .iter()
            .fold(0, |sum, &count| sum.saturating_add(count))
    }

    /// All of them together, in microseconds.
    pub fn sum_us(&self) -> u64 {
        self.sum_us
    }

    /// The times by the one that each bucket's do not exceed, and how many those are; empty ones
    /// are left out.
    pub fn buckets(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        (0..BUCKETS)
            .map(|bucket| (Self::end(bucket), self.buckets[bucket]))
            .filter(|&(_, count)| count > 0)
    }

    /// From what [`buckets`](Self::buckets) has told. Their sum is that of the middles.
    pub fn from_buckets(buckets: &[(u64, u64)]) -> Self {
        let mut times = Histogram::default();
        for &(end_us, count) in buckets {
            let bucket = &mut times.buckets[Self::bucket(end_us.saturating_sub(1))];
            *bucket = bucket.saturating_add(count);
            times.sum_us = times
                .sum_us
                .saturating_add(count.saturating_mul(end_us / 18 * 17));
        }
        times
    }

    #[cfg(feature = "cli")]
    fn add(&mut self, other: &Histogram) {
        self.buckets
            .iter_mut()
            .zip(other.buckets)
            .for_each(|(sum, count)| *sum = sum.saturating_add(count));
        self.sum_us = self.sum_us.saturating_add(other.sum_us);
    }

    /// Where a bucket ends: no less than the samples in it.
    fn end(bucket: usize) -> u64 {
        (9 + bucket as u64 % 8) << (bucket / 8)
    }

    fn bucket(us: u64) -> usize {
        let us = us.max(8);
        let exponent = us.ilog2();
        let step = (us >> (exponent - 3)) & 7;
        ((exponent as usize - 3) * 8 + step as usize).min(BUCKETS - 1)
    }

    /// The time in microseconds that the share `quantile` of the samples does not exceed; `None`
    /// without samples.
    pub fn quantile_us(&self, quantile: f64) -> Option<u64> {
        let wanted = ((self.samples() as f64 * quantile).ceil() as u64).max(1);
        let mut seen = 0;
        let bucket = self.buckets.iter().position(|&count| {
            seen += count;
            seen >= wanted
        })?;
        Some(Self::end(bucket))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_missed_than_were_silent() {
        let mut stats = Stats::new(3, 1);
        stats.missed.high = 0.5;
        stats.settle(Reason::ConnRefused, 1);
        assert_eq!(stats.missed_at_most(), Some(0));
        stats.settle(Reason::NoResponse, 1);
        assert_eq!(stats.missed_at_most(), Some(1));
        stats.missed_hosts.high = 0.5;
        assert_eq!(stats.missed_at_most(), Some(1), "none was left out");
        stats.settle(Reason::SilentHost, 90);
        assert_eq!(stats.missed_at_most(), Some(5));
    }

    #[test]
    fn quantiles_are_within_a_ninth() {
        let mut rtt = Histogram::default();
        assert_eq!(rtt.quantile_us(0.5), None);
        (0..1_000u64).for_each(|i| rtt.count(1_000 + i * 100));
        for (quantile, us) in [(0.5, 51_000.0), (0.99, 100_000.0), (0.0, 1_000.0)] {
            let found = rtt.quantile_us(quantile).expect("samples") as f64;
            assert!((found / us - 1.0).abs() < 0.13, "{found} for {us}");
        }
        rtt.count(0);
        let again = Histogram::from_buckets(&rtt.buckets().collect::<Vec<_>>());
        assert_eq!(again.buckets, rtt.buckets);
        assert!(
            (again.sum_us as f64 / rtt.sum_us as f64 - 1.0).abs() < 0.06,
            "{} for {}",
            again.sum_us,
            rtt.sum_us
        );
        rtt.count(u64::MAX);
        assert_eq!(Histogram::bucket(u64::MAX), BUCKETS - 1);
    }
}
