//! The deciding core: which endpoint is tried when, and what an answer means for it.
//!
//! It does no I/O, reads no clock and draws no random number: the time is a parameter, outcomes come in through
//! `handle_*`, and what to do comes out of `poll_*`. So a test can drive it through years of virtual network in a second.

mod budget;
mod pace;
mod rtt;
mod stats;
mod verdict;
mod wheel;

use std::collections::VecDeque;
use std::net::SocketAddr;

use slab::Slab;

use crate::plan::Plan;
use budget::Budget;
use pace::Pacer;
use rtt::Timeouts;

pub use budget::{Limits, MEMORY_SHARE, RESERVE, SOCKET_BYTES, SetBy};
pub use pace::{Rate, is_public};
pub use stats::Stats;
pub use verdict::{Finding, Outcome, OwnError, Reason, State, Time};
pub use wheel::Wheel;

/// The number of a probe's place: its entry in the wheel, its socket's place and its token in the poll.
pub type Slot = u32;

/// How a scan goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one attempt may take, in microseconds; at least 1.
    pub timeout_us: u64,
    /// Further attempts at an endpoint that stays silent.
    pub max_retries: u8,
    /// How fast attempts may begin; `None` for as fast as answers come.
    pub rate: Option<Rate>,
    /// Whether endpoints that were never taken up are told one by one when the scan is stopped, or only counted.
    pub tell_unscanned: bool,
}

/// One second, one retry, 10,000 attempts per second on the public network.
impl Default for Settings {
    fn default() -> Self {
        let per_s = std::num::NonZeroU32::new(10_000);
        Settings {
            timeout_us: 1_000_000,
            max_retries: 1,
            rate: per_s.map(|per_s| Rate { per_s, public_only: true }),
            tell_unscanned: false,
        }
    }
}

/// What to do for one attempt: connect to `endpoint` and keep the socket at `slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The socket's place.
    pub slot: Slot,
    /// Where to.
    pub endpoint: SocketAddr,
    /// Above 0: the last attempt met one of our own sockets; take a source port away from the endpoint's, this choice of
    /// several.
    pub avoid_self: u8,
}

/// A scan under way, without its sockets.
///
/// Call in each turn, with one reading of the clock: [`poll_expired`](Self::poll_expired) until it has no more, giving
/// each slot's [`Outcome::Silence`] to [`handle_outcome`](Self::handle_outcome); [`poll_connect`](Self::poll_connect)
/// until it has no more (or for as many as a turn should open), reporting what fails at once;
/// [`poll_finding`](Self::poll_finding) until it has no more; wait for events until
/// [`poll_timeout`](Self::poll_timeout); then hand in the outcomes.
#[derive(Debug)]
pub struct Scan {
    plan: Plan,
    settings: Settings,
    probes: Slab<Probe>,
    /// Probes without a socket whose turn it is: retries, and at most one that was just taken up and waits for the pacer.
    ready: VecDeque<Slot>,
    wheel: Wheel,
    timeouts: Timeouts,
    pacer: Pacer,
    paced_until: Option<Time>,
    budget: Budget,
    findings: VecDeque<Finding>,
    waiting_for_ports: usize,
    /// Where attempts got no answer last.
    lately_silent: VecDeque<SocketAddr>,
    stats: Stats,
    stopped: Option<(Reason, Time)>,
}

/// The attempts at one endpoint.
#[derive(Debug)]
struct Probe {
    endpoint: SocketAddr,
    started: Time,
    attempts: u16,
    own_failures: u8,
    avoid_self: u8,
    phase: Phase,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// In the ready queue.
    Ready,
    /// Has a socket, and a deadline in the wheel.
    InFlight,
    /// Waits in the wheel, without a socket, for our own side to recover.
    BackOff,
    /// The same, for a source port: others need not wait for that.
    BackOffForPort,
}

/// A failure on our own side is tried again after 10 ms, doubling to a second …
const BACK_OFF_US: u64 = 10_000;
const BACK_OFF_DOUBLINGS: u8 = 7;
/// … and this often, about 14 s in all, before the endpoint is called unscanned.
const OWN_FAILURES: u8 = 20;
/// So many probes may wait for a source port without taking the places of others.
const WAITING_FOR_PORTS: usize = 1_024;
/// So many silent endpoints are remembered for [`Scan::may_have_met`]: more than are given up in two turns of the loop.
const LATELY_SILENT: usize = 2_048;
/// After a stop, so many endpoints that were never taken up are told one by one at most; beyond, all are only counted.
const TOLD_UNSCANNED: u64 = 1 << 20;
/// The wheel's tick. epoll waits in whole milliseconds; a finer wheel would only wake up to wait again.
const TICK_US: u64 = 1_000;

impl Scan {
    /// A scan of `plan` with at most `cap` sockets in flight (at least 1).
    pub fn new(plan: Plan, settings: Settings, cap: u32) -> Self {
        let cap = cap.max(1);
        Scan {
            stats: Stats::new(plan.len(), cap),
            plan,
            settings,
            probes: Slab::new(),
            ready: VecDeque::new(),
            wheel: Wheel::default(),
            timeouts: Timeouts::fixed(settings.timeout_us),
            pacer: Pacer::new(settings.rate),
            paced_until: None,
            budget: Budget::new(cap),
            findings: VecDeque::new(),
            waiting_for_ports: 0,
            lately_silent: VecDeque::new(),
            stopped: None,
        }
    }

    /// What is scanned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What has been counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether every endpoint has its verdict and every finding was taken.
    pub fn is_finished(&self) -> bool {
        self.probes.is_empty() && self.findings.is_empty() && self.stats.begun == self.plan.len()
    }

    /// Why the scan was stopped, if it was.
    pub fn stopped(&self) -> Option<Reason> {
        self.stopped.map(|(reason, _)| reason)
    }

    /// A slot whose attempt has run out of time, or was cut short by a stop: release its socket and report silence.
    pub fn poll_expired(&mut self, now: Time) -> Option<Slot> {
        let tick = if self.stopped.is_some() { u64::MAX } else { now.us / TICK_US };
        while let Some(slot) = self.wheel.pop_expired(tick) {
            let phase = std::mem::replace(&mut self.probes[slot as usize].phase, Phase::Ready);
            self.waiting_for_ports -= usize::from(phase == Phase::BackOffForPort);
            match (phase, self.stopped) {
                (Phase::InFlight, _) => {
                    self.probes[slot as usize].phase = Phase::InFlight;
                    return Some(slot);
                }
                (_, None) => self.ready.push_back(slot),
                (_, Some((reason, _))) => self.settle(slot, reason, now),
            }
        }
        None
    }

    /// The next attempt to begin, if one may begin now.
    pub fn poll_connect(&mut self, now: Time) -> Option<Connect> {
        if self.stopped.is_some() {
            return None;
        }
        self.paced_until = None;
        self.budget.grow(now);
        self.stats.cap = self.budget.cap();
        if self.stats.in_flight >= self.budget.cap() {
            return None;
        }
        let slot = self.ready.front().copied().or_else(|| self.take_up())?;
        let probe = &mut self.probes[slot as usize];
        self.paced_until = self.pacer.wait_until(probe.endpoint, now);
        if self.paced_until.is_some() {
            return None;
        }
        self.ready.pop_front();
        self.pacer.begin(probe.endpoint, now);
        (probe.phase, probe.started) = (Phase::InFlight, now);
        let deadline = now.plus_us(self.timeouts.attempt_us());
        // Rounded up, so that no attempt gets less than its time.
        self.wheel.insert(slot, deadline.us.div_ceil(TICK_US));
        self.stats.in_flight += 1;
        self.stats.peak_in_flight = self.stats.peak_in_flight.max(self.stats.in_flight);
        Some(Connect { slot, endpoint: probe.endpoint, avoid_self: probe.avoid_self })
    }

    /// Puts the plan's next endpoint into the ready queue, unless as many probes are under way as may be.
    fn take_up(&mut self) -> Option<Slot> {
        let places_taken = self.probes.len() - self.waiting_for_ports.min(WAITING_FOR_PORTS);
        if self.stats.begun == self.plan.len() || places_taken >= self.budget.cap() as usize {
            return None;
        }
        let endpoint = self.plan.endpoint(self.stats.begun);
        self.stats.begun += 1;
        let probe = Probe { endpoint, started: Time::default(), attempts: 0, own_failures: 0, avoid_self: 0, phase: Phase::Ready };
        let slot = self.probes.insert(probe) as Slot;
        self.ready.push_back(slot);
        Some(slot)
    }

    /// The next thing found. After a stop with `tell_unscanned`, also each endpoint that was never taken up.
    pub fn poll_finding(&mut self) -> Option<Finding> {
        self.findings.pop_front().or_else(|| {
            let (reason, at) = self.stopped.filter(|_| self.stats.begun < self.plan.len())?;
            let endpoint = self.plan.endpoint(self.stats.begun);
            self.stats.begun += 1;
            self.stats.settle(reason, 1);
            Some(Finding { endpoint, reason, reason_ip: None, rtt_us: None, attempts: 0, at })
        })
    }

    /// When [`poll_expired`](Self::poll_expired) or [`poll_connect`](Self::poll_connect) will have something again if
    /// no outcome comes first; `None` when there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Time> {
        let expires = self.wheel.next_tick().map(|tick| Time::from_us(tick * TICK_US));
        let wants_more = !self.ready.is_empty() || self.stats.begun < self.plan.len();
        let grows = self.budget.grows_at().filter(|_| wants_more && self.stopped.is_none());
        [expires, grows, self.paced_until].into_iter().flatten().min()
    }

    /// Whether `slot` has an attempt in flight: events for others are stale and mean nothing.
    pub fn is_in_flight(&self, slot: Slot) -> bool {
        self.endpoint(slot).is_some()
    }

    /// Where the attempt at `slot` goes, if one is in flight.
    pub fn endpoint(&self, slot: Slot) -> Option<SocketAddr> {
        self.probes.get(slot as usize).filter(|probe| probe.phase == Phase::InFlight).map(|probe| probe.endpoint)
    }

    /// Takes in what became of the attempt at `slot`. Its socket must be released already, or be so before the next
    /// [`poll_connect`](Self::poll_connect). Slots without an attempt in flight are ignored.
    pub fn handle_outcome(&mut self, slot: Slot, outcome: Outcome, now: Time) {
        if !self.is_in_flight(slot) {
            return;
        }
        self.wheel.cancel(slot);
        self.stats.in_flight -= 1;
        if let Outcome::Own(error) = outcome {
            return self.send_back(slot, error, now);
        }
        self.budget.progress();
        match outcome {
            Outcome::Barred(reason) => return self.settle(slot, reason, now),
            Outcome::SelfConnected => return self.try_another_source(slot, now),
            _ => {}
        }
        let probe = &mut self.probes[slot as usize];
        probe.own_failures = 0;
        probe.attempts = probe.attempts.saturating_add(1);
        self.stats.attempts += 1;
        self.stats.retries += u64::from(probe.attempts > 1);
        let own_us = now.us_since(probe.started);
        match outcome {
            Outcome::Connected { rtt_us } => self.conclude(slot, Reason::SynAck, None, Some(rtt_us.map_or(own_us, u64::from)), now),
            Outcome::Refused => self.conclude(slot, Reason::ConnRefused, None, Some(own_us), now),
            Outcome::Unreachable { reason, by } => self.conclude(slot, reason, by, Some(own_us), now),
            _ => self.handle_silence(slot, now),
        }
    }

    fn handle_silence(&mut self, slot: Slot, now: Time) {
        let probe = &mut self.probes[slot as usize];
        if self.lately_silent.len() == LATELY_SILENT {
            self.lately_silent.pop_front();
        }
        self.lately_silent.push_back(probe.endpoint);
        match self.stopped {
            Some((reason, _)) => self.settle(slot, reason, now),
            None if probe.attempts > u16::from(self.settings.max_retries) => self.settle(slot, Reason::NoResponse, now),
            None => {
                probe.phase = Phase::Ready;
                self.ready.push_back(slot);
            }
        }
    }

    /// A failure on our own side says nothing of the target: the probe waits and is tried again, with fewer at once.
    fn send_back(&mut self, slot: Slot, error: OwnError, now: Time) {
        self.stats.own_error(error);
        self.budget.shrink(error, self.stats.in_flight, now);
        self.stats.cap = self.budget.cap();
        self.stats.lowest_cap = self.stats.lowest_cap.min(self.stats.cap);
        if self.budget.is_stalled(self.stats.in_flight, now) {
            self.handle_stop(error.reason(), now);
        }
        let probe = &mut self.probes[slot as usize];
        probe.own_failures += 1;
        if probe.avoid_self > 0 {
            // The ports of that choice may all be taken.
            probe.avoid_self = probe.avoid_self.saturating_add(1);
        }
        match self.stopped {
            Some((reason, _)) => self.settle(slot, reason, now),
            None if probe.own_failures >= OWN_FAILURES => self.settle(slot, error.reason(), now),
            None => {
                let for_port = error.reason() == Reason::NoSourcePort;
                probe.phase = if for_port { Phase::BackOffForPort } else { Phase::BackOff };
                self.waiting_for_ports += usize::from(for_port);
                let wait_us = BACK_OFF_US << (probe.own_failures - 1).min(BACK_OFF_DOUBLINGS);
                self.wheel.insert(slot, now.plus_us(wait_us.min(1_000_000)).us.div_ceil(TICK_US));
            }
        }
    }

    fn try_another_source(&mut self, slot: Slot, now: Time) {
        self.stats.self_connects += 1;
        let probe = &mut self.probes[slot as usize];
        probe.avoid_self = probe.avoid_self.saturating_add(1);
        if probe.avoid_self > 2 * OWN_FAILURES || self.stopped.is_some() {
            return self.settle(slot, self.stopped().unwrap_or(Reason::NoSourcePort), now);
        }
        probe.phase = Phase::Ready;
        self.ready.push_front(slot);
    }

    /// Whether a connection that comes from `local`, an address of this machine, may be one with an attempt of ours: one at
    /// `local`, under way or given up a moment ago. Looks at all probes: for rare questions.
    pub fn may_have_met(&self, local: SocketAddr) -> bool {
        // The unspecified address stands for this machine's own.
        let is_there = |at: SocketAddr| at.port() == local.port() && (at.ip() == local.ip() || at.ip().is_unspecified());
        self.probes.iter().any(|(_, probe)| is_there(probe.endpoint)) || self.lately_silent.iter().any(|&at| is_there(at))
    }

    /// Stops the scan: nothing more is begun, and what has no verdict yet is unscanned for this `reason`. Attempts in
    /// flight come out of [`poll_expired`](Self::poll_expired) at once. A second stop changes nothing.
    pub fn handle_stop(&mut self, reason: Reason, now: Time) {
        debug_assert_eq!(reason.state(), State::Unscanned);
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some((reason, now));
        self.paced_until = None;
        for slot in std::mem::take(&mut self.ready) {
            self.settle(slot, reason, now);
        }
        if !self.settings.tell_unscanned || self.plan.len() - self.stats.begun > TOLD_UNSCANNED {
            self.stats.settle(reason, self.plan.len() - self.stats.begun);
            self.stats.begun = self.plan.len();
        }
    }

    fn settle(&mut self, slot: Slot, reason: Reason, now: Time) {
        self.conclude(slot, reason, None, None, now);
    }

    fn conclude(&mut self, slot: Slot, reason: Reason, reason_ip: Option<std::net::IpAddr>, rtt_us: Option<u64>, now: Time) {
        let probe = self.probes.remove(slot as usize);
        self.stats.settle(reason, 1);
        let Probe { endpoint, attempts, .. } = probe;
        self.findings.push_back(Finding { endpoint, reason, reason_ip, rtt_us, attempts, at: now });
    }

    /// Panics where the books do not balance, at whatever moment.
    pub fn check_invariants(&self) {
        let in_phase = |phase| self.probes.iter().filter(|(_, probe)| probe.phase == phase).count();
        let (ready, in_flight, for_ports) = (in_phase(Phase::Ready), in_phase(Phase::InFlight), in_phase(Phase::BackOffForPort));
        let back_off = in_phase(Phase::BackOff) + for_ports;
        assert_eq!(for_ports, self.waiting_for_ports, "waiting for ports is miscounted");
        assert_eq!(ready, self.ready.len(), "the ready queue holds other probes than those that are ready");
        assert_eq!(in_flight, self.stats.in_flight as usize, "in flight is miscounted");
        assert_eq!(in_flight + back_off, self.wheel.len(), "a probe has no deadline, or a deadline no probe");
        assert_eq!(self.stats.settled() + self.probes.len() as u64, self.stats.begun, "an endpoint was lost or counted twice");
    }

    /// Panics where the scan would never wake up, or at once again. For the moment before the wait, when nothing more
    /// can be begun.
    pub fn check_before_wait(&self, now: Time) {
        self.check_invariants();
        let wakes = self.stats.in_flight > 0 || self.poll_timeout().is_some();
        assert!(wakes || self.is_finished(), "nothing will ever wake this scan up");
        assert!(self.poll_timeout().is_none_or(|next| next > now), "the next turn is due already");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Order, PortSet, Target};

    fn scan(ports: std::ops::RangeInclusive<u16>, settings: Settings, cap: u32) -> Scan {
        let plan = Plan::builder().target(Target::parse("127.0.0.1").unwrap()).ports(ports.collect::<PortSet>()).order(Order::Sequential);
        Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), settings, cap)
    }

    fn connect(scan: &mut Scan, ms: u64) -> Slot {
        scan.poll_connect(at(ms)).expect("an attempt").slot
    }

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    fn reasons(scan: &mut Scan) -> Vec<Reason> {
        std::iter::from_fn(|| scan.poll_finding()).map(|finding| finding.reason).collect()
    }

    #[test]
    fn silence_is_tried_again_and_then_filtered() {
        let mut scan = scan(1..=1, Settings::default(), 10);
        for ms in [0, 1_000] {
            let slot = connect(&mut scan, ms);
            let wakes_at = scan.poll_timeout().expect("a deadline");
            assert!(at(ms) < wakes_at && wakes_at <= at(ms + 1_000));
            assert_eq!(scan.poll_expired(at(ms + 999)), None, "not before its time");
            assert_eq!(scan.poll_expired(at(ms + 1_000)), Some(slot));
            scan.handle_outcome(slot, Outcome::Silence, at(ms + 1_000));
            scan.check_invariants();
        }
        let finding = scan.poll_finding().expect("a verdict");
        assert_eq!((finding.reason, finding.attempts, finding.rtt_us), (Reason::NoResponse, 2, None));
        assert!(scan.is_finished());
        assert_eq!((scan.stats().attempts, scan.stats().retries), (2, 1));
    }

    #[test]
    fn own_failures_send_back_shrink_and_lose_nothing() {
        let mut scan = scan(1..=3, Settings::default(), 100);
        let first = connect(&mut scan, 0);
        let second = connect(&mut scan, 0);
        scan.handle_outcome(second, Outcome::Own(OwnError::ProcessDescriptors), at(0));
        assert_eq!(scan.stats().cap, 1, "one was in flight when the kernel said no");
        assert_eq!(scan.poll_connect(at(5)), None, "no spinning");
        scan.handle_outcome(first, Outcome::Refused, at(5));
        assert_eq!(scan.poll_connect(at(5)), None, "the one that failed takes the only place");
        assert_eq!(scan.poll_expired(at(10)), None);
        assert_eq!(connect(&mut scan, 10), second);
        scan.handle_outcome(second, Outcome::Refused, at(11));
        connect(&mut scan, 11);
        scan.check_invariants();
        assert_eq!(reasons(&mut scan), [Reason::ConnRefused; 2]);
    }

    #[test]
    fn a_lasting_shortage_ends_in_unscanned_not_in_a_loop() {
        let mut scan = scan(1..=500, Settings::default(), 100);
        let (mut now, mut calls) = (Time::default(), 0);
        while !scan.is_finished() {
            while let Some(connect) = scan.poll_connect(now) {
                calls += 1;
                scan.handle_outcome(connect.slot, Outcome::Own(OwnError::ProcessDescriptors), now);
                scan.check_invariants();
            }
            reasons(&mut scan);
            if let Some(next) = scan.poll_timeout() {
                assert!(next > now);
                now = next;
            }
            assert_eq!(scan.poll_expired(now), None);
        }
        assert_eq!(scan.stats().with_reason(Reason::OutOfDescriptors), 500);
        assert!(now.us < 30_000_000 && calls < 100, "{calls} calls in {now:?}");
    }

    #[test]
    fn what_waits_for_a_source_port_does_not_keep_others_waiting() {
        let mut scan = scan(1..=200, Settings::default(), 100);
        let mut now = Time::default();
        while !scan.is_finished() && now < at(1_000) {
            while let Some(connect) = scan.poll_connect(now) {
                let starved = connect.endpoint.port() <= 100;
                let outcome = if starved { Outcome::Own(OwnError::SourcePorts) } else { Outcome::Refused };
                scan.handle_outcome(connect.slot, outcome, now);
                scan.check_invariants();
            }
            reasons(&mut scan);
            now = scan.poll_timeout().unwrap_or(now);
            scan.poll_expired(now);
        }
        assert_eq!(scan.stats().in_state(State::Closed), 100, "within a second, while the others still wait");
    }

    #[test]
    fn the_most_retries_there_are_end_too() {
        let mut scan = scan(1..=1, Settings { max_retries: u8::MAX, ..Settings::default() }, 1);
        for second in 0..=255 {
            let slot = connect(&mut scan, second * 1_000);
            scan.handle_outcome(slot, Outcome::Silence, at(second * 1_000 + 1_000));
        }
        assert_eq!(reasons(&mut scan), [Reason::NoResponse]);
    }

    #[test]
    fn a_self_connect_is_probed_again_from_elsewhere() {
        let mut scan = scan(1..=1, Settings::default(), 10);
        let slot = connect(&mut scan, 0);
        scan.handle_outcome(slot, Outcome::SelfConnected, at(0));
        let again = scan.poll_connect(at(0)).expect("tried again");
        assert_eq!(again.avoid_self, 1);
        scan.handle_outcome(again.slot, Outcome::Refused, at(0));
        assert_eq!(reasons(&mut scan), [Reason::ConnRefused]);
        assert_eq!((scan.stats().self_connects, scan.stats().attempts), (1, 1));
    }

    #[test]
    fn a_source_is_suspicious_where_an_attempt_is_or_was_lately() {
        let mut scan = scan(1..=2, Settings { max_retries: 0, ..Settings::default() }, 1);
        let from = |text: &str| text.parse::<SocketAddr>().unwrap();
        let slot = connect(&mut scan, 0);
        assert!(scan.may_have_met(from("127.0.0.1:1")) && !scan.may_have_met(from("127.0.0.1:2")));
        assert!(!scan.may_have_met(from("127.0.0.2:1")), "another address's port is no matter");
        scan.handle_outcome(slot, Outcome::Silence, at(1_000));
        assert!(scan.may_have_met(from("127.0.0.1:1")), "given up a moment ago");

        let plan = Plan::builder().target(Target::parse("0.0.0.0").unwrap()).ports([9].into_iter().collect());
        let mut here = Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), Settings::default(), 1);
        connect(&mut here, 0);
        assert!(here.may_have_met(from("127.0.0.1:9")), "0.0.0.0 is this machine under another name");
    }

    #[test]
    fn a_stop_accounts_for_everything() {
        for tell_unscanned in [false, true] {
            let mut scan = scan(1..=100, Settings { tell_unscanned, ..Settings::default() }, 10);
            let slots: Vec<Slot> = std::iter::from_fn(|| scan.poll_connect(at(0))).map(|c| c.slot).collect();
            scan.handle_outcome(slots[0], Outcome::Connected { rtt_us: Some(7) }, at(1));
            scan.handle_outcome(slots[1], Outcome::Own(OwnError::Memory), at(1));
            scan.handle_stop(Reason::Interrupted, at(2));
            scan.handle_stop(Reason::LocalError, at(2));
            while let Some(slot) = scan.poll_expired(at(2)) {
                scan.handle_outcome(slot, Outcome::Silence, at(2));
            }
            let told = reasons(&mut scan);
            assert_eq!(told.len(), if tell_unscanned { 100 } else { 10 });
            assert!(scan.is_finished());
            scan.check_invariants();
            assert_eq!((scan.stats().in_state(State::Open), scan.stats().with_reason(Reason::Interrupted)), (1, 99));
        }
    }

    #[test]
    fn stale_outcomes_mean_nothing() {
        let mut scan = scan(1..=2, Settings::default(), 10);
        let slot = connect(&mut scan, 0);
        scan.handle_outcome(slot, Outcome::Refused, at(0));
        scan.handle_outcome(slot, Outcome::Connected { rtt_us: None }, at(0));
        scan.handle_outcome(77, Outcome::Refused, at(0));
        scan.check_invariants();
        assert_eq!(reasons(&mut scan), [Reason::ConnRefused]);
    }

    #[test]
    fn the_rate_is_asked_for_each_attempt() {
        let rate = Rate { per_s: std::num::NonZeroU32::new(100).unwrap(), public_only: false };
        let mut scan = scan(1..=100, Settings { rate: Some(rate), ..Settings::default() }, 100);
        let mut begun = Vec::new();
        let mut now = Time::default();
        while begun.len() < 100 {
            while let Some(connect) = scan.poll_connect(now) {
                begun.push(now);
                scan.handle_outcome(connect.slot, Outcome::Refused, now);
            }
            now = scan.poll_timeout().unwrap_or(now);
            scan.check_invariants();
        }
        assert!(begun[99].us.abs_diff(990_000) < 30_000, "the last began at {:?}", begun[99]);
    }

    #[test]
    fn a_probe_in_flight_costs_few_bytes() {
        assert!(size_of::<Probe>() <= 48, "{} bytes", size_of::<Probe>());
    }
}
