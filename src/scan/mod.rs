//! The deciding core: which endpoint is tried when, and what an answer means for it.
//!
//! It does no I/O, reads no clock and draws no random number: the time is a parameter, outcomes come in through
//! `handle_*`, and what to do comes out of `poll_*`. So a test can drive it through years of virtual network in a second.

mod budget;
mod estimate;
mod hosts;
mod pacing;
mod snapshot;
mod stats;
mod verdict;
mod wheel;

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};

use slab::Slab;

use crate::plan::{Order, Plan};
use budget::Budget;
use estimate::{Clocks, Ended, Expectations, Expected, LATELY, Outage, Outages, SharedLoss, network_of};
use hosts::{ASKED_AGAIN, HostId, Hosts, Suspicion, Turn};
use pacing::{Answered, CohortId, Flow, Hope, Pacer};

pub use budget::{Limits, MEMORY_SHARE, RESERVE, SOCKET_BYTES, SetBy};
pub use estimate::{Missed, SILENT_US, Timeouts};
pub use hosts::SILENT_PORTS;
pub use pacing::{Pace, PaceReason, Rate, is_public};
pub use snapshot::{HostSnapshot, Snapshot};
pub use stats::{Histogram, Stats};
pub use verdict::{Finding, HostDone, News, Outcome, OwnError, Reason, State, Time};
pub use wheel::Wheel;

/// The number of a probe's place: its entry in the wheel, its socket's place and its token in the poll.
pub type Slot = u32;

/// How a scan goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one attempt may take.
    pub timeouts: Timeouts,
    /// An endpoint stays silent until the chance that it answers all the same is below this many in a million.
    pub miss_rate_ppm: u32,
    /// Further attempts at an endpoint that stays silent, at most.
    pub max_retries: u8,
    /// How fast attempts may begin, the kernel's own repetitions included; `None` for as fast as answers come.
    pub rate: Option<Rate>,
    /// Whether all ports are scanned of hosts that answer nothing, too.
    pub scan_silent: bool,
    /// Whether endpoints that were never taken up are told one by one, or only counted.
    pub tell_unscanned: bool,
    /// How long to listen at most for what an open port says first, in microseconds; `None` for not at all.
    pub banner_wait_us: Option<u64>,
    /// Whether each endpoint gets a datagram, too, which counts for the rate.
    pub sends_datagrams: bool,
}

/// With more addresses than this it pays to find out first who is there.
const MANY_ADDRESSES: u64 = 16;

impl Settings {
    /// Whether hosts that answer nothing are left out of a scan of so many addresses. In order one host is scanned after the other, and
    /// nothing is known of those to come.
    pub fn skips_silent(&self, order: Order, addresses: u64) -> bool {
        !self.scan_silent && matches!(order, Order::Random { .. }) && addresses > MANY_ADDRESSES
    }
}

/// Timeouts from round-trip times, attempts from loss (one in a thousand missed, 10 retries at most), 10,000 attempts per
/// second on the public network.
impl Default for Settings {
    fn default() -> Self {
        let per_s = std::num::NonZeroU32::new(10_000);
        Settings {
            timeouts: Timeouts::default(),
            miss_rate_ppm: 1_000,
            max_retries: 10,
            rate: per_s.map(|per_s| Rate { per_s, public_only: true }),
            scan_silent: false,
            tell_unscanned: false,
            banner_wait_us: None,
            sends_datagrams: false,
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
    /// Whether it gets a datagram, too: each endpoint one, however many attempts there are.
    pub datagram: bool,
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
    hosts: Hosts,
    wheel: Wheel,
    clocks: Clocks,
    pacer: Pacer,
    /// The pace that the path to all hosts bears.
    all: Flow,
    shared_loss: SharedLoss,
    expectations: Expectations,
    outages: Outages,
    /// Networks that this machine was found to have no way to, the last one first.
    no_routes: VecDeque<u64>,
    paced_until: Option<Time>,
    /// As long as nothing at all was heard no further attempt begins before this.
    again_at: Time,
    budget: Budget,
    news: VecDeque<News>,
    /// Probes that wait for our own side to recover, except those that only lack a source port.
    backing_off: u32,
    /// Probes at endpoints that have their verdict.
    without_verdict: u64,
    /// Where attempts got no answer last.
    lately_silent: VecDeque<SocketAddr>,
    stats: Stats,
    now: Time,
    gap_until: Time,
    stopped: Option<(Reason, Time)>,
}

/// The attempts at one endpoint. There are many, so they are kept small.
#[derive(Debug)]
struct Probe {
    started: Time,
    /// How long the attempt may take, and how long before it the one before it began, in microseconds.
    timeout_us: u32,
    before_us: u32,
    host: HostId,
    rank: u16,
    port: u16,
    /// Which cohorts of the path's and the host's flow the attempt belongs to.
    cohorts: (CohortId, CohortId),
    expected: Expected,
    attempts: u16,
    own_failures: u8,
    /// Attempts that did not count.
    voids: u8,
    avoid_self: u8,
    purpose: Purpose,
    /// Whether the kernel will send its SYN again within a moment.
    is_syn_due: bool,
    phase: Phase,
}

impl Probe {
    fn new(host: HostId, rank: u32, port: u16, purpose: Purpose) -> Self {
        Probe {
            started: Time::default(),
            timeout_us: 0,
            before_us: 0,
            host,
            rank: rank as u16,
            port,
            cohorts: (0, 0),
            expected: Expected::default(),
            attempts: 0,
            own_failures: 0,
            voids: 0,
            avoid_self: 0,
            purpose,
            is_syn_due: false,
            phase: Phase::Ready,
        }
    }

    fn deadline(&self) -> Time {
        self.started.plus_us(self.timeout_us.into())
    }

    /// What its attempt is to bring.
    fn hope(&self) -> Hope {
        match self.purpose {
            Purpose::Control => Hope::Certain,
            _ => self.expected.chance().map_or(Hope::Unknown, Hope::Chance),
        }
    }

    /// When the attempt before this one began.
    fn started_before(&self) -> Time {
        Time::from_us(self.started.us.saturating_sub(self.before_us.into()))
    }
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// A verdict.
    Verdict,
    /// Whether the host calls everything open.
    SecondLook,
    /// Whether answers still come at this rate: one attempt at a port that is known to answer.
    Control,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Waits for its host's turn.
    Ready,
    /// Has a socket, and a deadline in the wheel.
    InFlight,
    /// Is open, and has its socket for as long as the port may say something.
    Listening,
    /// Waits in the wheel, without a socket, for our own side to recover.
    BackOff,
    /// The same, for a source port or a route: others need not wait for that.
    BackOffAlone,
}

/// A failure on our own side is tried again after 10 ms, doubling to a second …
const BACK_OFF_US: u64 = 10_000;
const BACK_OFF_DOUBLINGS: u8 = 7;
/// … and this often, about 14 s in all, before the endpoint is called unscanned.
const OWN_FAILURES: u8 = 20;
/// Where this machine has no way to a network that never answered, while it can send elsewhere, that is believed after so many failures:
/// 630 ms. An outage of its own shows sooner, at networks that answered.
const NO_ROUTE_FAILURES: u8 = 7;
/// So many networks are remembered for that.
const NO_ROUTES: usize = 64;
/// A port that has begun to speak has said what it says first when it stops for so long.
const QUIET_US: u64 = 500_000;
/// So many attempts at an endpoint may be lost to our own speed and not count.
const MOST_VOIDS: u8 = 10;
/// So many more probes than sockets may be under way: they wait for a slow host's turn.
const MORE_PROBES: usize = 1_024;
/// So many silent endpoints are remembered for [`Scan::may_have_met`]: more than are given up in two turns of the loop.
const LATELY_SILENT: usize = 512;
/// After a stop, so many endpoints that were never taken up are told one by one at most; beyond, all are only counted.
const TOLD_UNSCANNED: u64 = 1 << 20;
/// The wheel's tick, in microseconds. epoll waits in whole milliseconds; a finer wheel would only wake up to wait again.
pub const TICK_US: u64 = 1_000;
/// Linux sends a SYN again after one second, and then at whole seconds at most (tcp_syn_linear_timeouts, 1 + 2 + 4 before).
const KERNEL_SYN_US: u64 = 1_000_000;
/// From so many ports on it matters how fast they go, and ports that answer are asked again to find that out.
const CONTROLS_FROM: u64 = 16;
/// A port of a host that has not answered is asked this often at most, until it has; once, where others answer and there are enough
/// ports to find out by whether anybody is there: new ones are worth more than further attempts.
const ATTEMPTS_AT_NOBODY: u16 = 2;
/// From so many ports on, and early in the scan, a host's first answer shortens the time of the attempts that wait for it.
const MANY_WAITING: u32 = 256;
const EARLY_US: u64 = 3_000_000;

/// How many probes may be under way, about. Room for them is asked for at once: what is never touched takes no memory, while
/// a list that has to grow leaves its old place behind.
fn places(plan: &Plan, cap: u32) -> usize {
    (cap as usize + MORE_PROBES).min(plan.len().try_into().unwrap_or(usize::MAX))
}

impl Scan {
    /// A scan of `plan` with at most `cap` sockets in flight (at least 1).
    pub fn new(plan: Plan, settings: Settings, cap: u32) -> Self {
        let cap = cap.max(1);
        let places = places(&plan, cap);
        Scan {
            stats: Stats::new(plan.len(), cap),
            hosts: Hosts::new(&plan, settings.skips_silent(plan.order(), plan.addresses()), places),
            settings,
            probes: Slab::with_capacity(places),
            wheel: Wheel::with_capacity(places),
            clocks: Clocks::new(settings.timeouts),
            pacer: Pacer::new(settings.rate),
            all: if plan.is_loopback() { Flow::of_this_machine() } else { Flow::default() },
            shared_loss: SharedLoss::default(),
            expectations: Expectations::default(),
            outages: Outages::default(),
            no_routes: VecDeque::new(),
            paced_until: None,
            again_at: Time::default(),
            budget: Budget::new(cap),
            news: VecDeque::new(),
            backing_off: 0,
            without_verdict: 0,
            lately_silent: VecDeque::new(),
            now: Time::default(),
            gap_until: Time::default(),
            stopped: None,
            plan,
        }
    }

    /// A scan that goes on where another one was, which had counted `stats` until then. None if the snapshot was not taken of this plan,
    /// or does not add up with `stats`.
    pub fn resume(plan: Plan, settings: Settings, cap: u32, snapshot: &Snapshot, stats: Stats) -> Option<Self> {
        let mut scan = Scan::new(plan, settings, cap);
        if stats.planned != scan.plan.len() || !scan.hosts.restore(&scan.plan, snapshot) {
            return None;
        }
        let left: u64 = scan.hosts.iter().map(hosts::Host::without_verdict).sum();
        if scan.plan.len_from(snapshot.taken_up).is_some_and(|later| stats.settled().checked_add(left + later) != Some(stats.planned)) {
            return None;
        }
        let held = snapshot.hosts.iter().map(|host| host.held.len() as u64).sum::<u64>();
        let cap = scan.stats.cap;
        (scan.outages.count, scan.outages.lasted_us) = (stats.outages, stats.outage_us);
        scan.stats = stats;
        scan.stats.goes_on(held, cap)?;
        // Only a control or a second look was under way there.
        for id in scan.hosts.done() {
            scan.finish_host(id, Time::default());
        }
        Some(scan)
    }

    /// How far it is, for [`resume`](Self::resume). None as long as there is something to tell, or after a stop: what is told
    /// already would be missing in what was found, and told again.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let verdicts = self.probes.iter().filter(|(_, probe)| probe.purpose == Purpose::Verdict);
        let under_way = verdicts.map(|(_, probe)| (probe.host, probe.rank, probe.phase == Phase::Listening));
        (self.news.is_empty() && self.stopped.is_none()).then(|| self.hosts.snapshot(under_way))
    }

    /// What is scanned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What has been counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether every endpoint has its verdict and all news were taken.
    pub fn is_finished(&self) -> bool {
        self.probes.is_empty() && self.news.is_empty() && self.hosts.is_empty() && self.stats.settled() == self.plan.len()
    }

    /// Why the scan was stopped, if it was.
    pub fn stopped(&self) -> Option<Reason> {
        self.stopped.map(|(reason, _)| reason)
    }

    /// A slot whose attempt has run out of time, or was cut short by a stop: release its socket and report silence; or, if it
    /// [listens](Self::is_listening), that it has [heard](Self::handle_heard) all.
    pub fn poll_expired(&mut self, now: Time) -> Option<Slot> {
        let tick = if self.stopped.is_some() { u64::MAX } else { now.us / TICK_US };
        while let Some(slot) = self.wheel.pop_expired(tick) {
            let probe = &mut self.probes[slot as usize];
            match (probe.phase, self.stopped) {
                (Phase::InFlight, None) if probe.deadline().us > tick * TICK_US => self.expect_syn(slot, now),
                (Phase::InFlight | Phase::Listening, _) => return Some(slot),
                (phase, stopped) => {
                    probe.phase = Phase::Ready;
                    self.backing_off -= u32::from(phase == Phase::BackOff);
                    match stopped {
                        None => self.hosts.wait(self.probes[slot as usize].host, slot),
                        Some((reason, _)) => self.settle(slot, reason, now),
                    }
                }
            }
        }
        None
    }

    /// The kernel will soon send a SYN again, or does so now: that counts for the rate, too.
    fn expect_syn(&mut self, slot: Slot, now: Time) {
        let endpoint = self.endpoint_of(slot);
        let probe = &mut self.probes[slot as usize];
        probe.is_syn_due = !probe.is_syn_due;
        if probe.is_syn_due {
            self.pacer.announce(endpoint);
        } else {
            self.pacer.withdraw(endpoint);
            self.pacer.begin(endpoint, now);
        }
        self.insert_deadline(slot, now);
    }

    /// An attempt waits for its deadline, or for the kernel's next SYN if that comes first, and for the moment before it.
    fn insert_deadline(&mut self, slot: Slot, now: Time) {
        let probe = &self.probes[slot as usize];
        let lasted_us = now.us_since(probe.started);
        let ahead_us = if probe.is_syn_due { 0 } else { pacing::WINDOW_US };
        let syn = probe.started.plus_us(((lasted_us + ahead_us) / KERNEL_SYN_US + 1) * KERNEL_SYN_US);
        let next = if syn <= probe.deadline() { Time::from_us(syn.us - ahead_us) } else { probe.deadline() };
        // Rounded up, so that no attempt gets less than its time.
        self.wheel.insert(slot, next.us.div_ceil(TICK_US));
    }

    /// The next attempt to begin, if one may begin now.
    pub fn poll_connect(&mut self, now: Time) -> Option<Connect> {
        self.paced_until = None;
        if self.stopped.is_some() {
            return None;
        }
        self.budget.grow(now);
        self.stats.cap = self.budget.cap();
        if self.stats.in_flight >= self.budget.cap() {
            return None;
        }
        self.paced_until = self.outages.wait_until(now).or_else(|| self.all.wait_until(now));
        if self.paced_until.is_some() {
            return None;
        }
        let places = self.budget.cap() as usize + MORE_PROBES;
        let takes_up = self.stats.in_flight + self.backing_off < self.budget.cap() && self.probes.len() < places;
        let controls = (self.stats.begun >= CONTROLS_FROM).then(|| self.all.is_uncertain());
        // What our own side held back is not spread.
        let asks_again = !self.clocks.is_deaf(now) || self.again_at <= now || self.stats.own_errors().next().is_some();
        let Some((id, turn)) = self.hosts.turn(&self.plan, takes_up, asks_again, controls, now, TICK_US) else {
            self.paced_until = (!asks_again && self.hosts.want_turns()).then_some(self.again_at);
            return None;
        };
        let endpoint = match turn {
            Turn::Again(slot) => self.endpoint_of(slot),
            Turn::Port(rank) | Turn::Parked(rank) | Turn::Control(rank) => self.plan.endpoint(&self.hosts.get(id).plan, rank),
        };
        // A port's first attempt.
        let datagram = self.settings.sends_datagrams && matches!(turn, Turn::Port(_));
        self.paced_until = self.pacer.wait_until(endpoint, datagram, now);
        if self.paced_until.is_some() {
            return None;
        }
        if !matches!(turn, Turn::Port(_)) {
            self.again_at = self.clocks.spread(self.hosts.waiting() + self.hosts.parked(), now);
        }
        self.hosts.take(id, turn);
        let slot = match turn {
            Turn::Again(slot) => slot,
            Turn::Port(rank) => {
                self.stats.begun += 1;
                self.probes.insert(Probe::new(id, rank, endpoint.port(), Purpose::Verdict)) as Slot
            }
            Turn::Parked(rank) => self.reopen(id, rank, 1),
            Turn::Control(rank) => {
                self.without_verdict += 1;
                self.probes.insert(Probe::new(id, rank, endpoint.port(), Purpose::Control)) as Slot
            }
        };
        self.begin(slot, now);
        if datagram {
            self.pacer.begin(endpoint, now);
        }
        Some(Connect { slot, endpoint, avoid_self: self.probes[slot as usize].avoid_self, datagram })
    }

    /// The endpoint that a slot's probe is for.
    fn endpoint_of(&self, slot: Slot) -> SocketAddr {
        let probe = &self.probes[slot as usize];
        let mut endpoint = self.hosts.get(probe.host).plan.address;
        endpoint.set_port(probe.port);
        endpoint
    }

    fn begin(&mut self, slot: Slot, now: Time) {
        let probe = &mut self.probes[slot as usize];
        let asks_once = self.clocks.all().is_known() && self.hosts.asks_once(probe.host);
        let host = self.hosts.get_mut(probe.host);
        let attempt = probe.attempts.saturating_add(1);
        let (wait_all, wait) = (self.clocks.wait(self.clocks.all()), self.clocks.wait(host.rtt));
        let is_control = probe.purpose == Purpose::Control;
        let is_fresh = attempt == 1 && probe.voids == 0 && !is_control;
        let (expected, shares) = self.expectations.begin(host, probe.rank.into(), is_fresh, [wait_all, wait], now);
        probe.expected = expected;
        host.begins(expected.chance(), is_control);
        let is_first_limit = self.all.learn(shares.of_many, wait_all, None, now);
        let path = self.all.as_path(wait_all, now);
        let hope = probe.hope();
        let of_all = self.all.begin(hope, now);
        let of_host = host.flow.as_mut().map_or(0, |flow| {
            flow.learn(shares.of_host, wait, Some(&path), now);
            flow.begin(hope, now)
        });
        probe.cohorts = (of_all, of_host);
        // The only attempt gets as long as a last one.
        let which = if asks_once { ATTEMPTS_AT_NOBODY } else { attempt };
        let timeout_us = self.outages.begin(self.clocks.attempt_us(host.plan.address, host.rtt, which), now);
        probe.timeout_us = u32::try_from(timeout_us).unwrap_or(u32::MAX);
        probe.before_us = u32::try_from(now.us_since(probe.started)).unwrap_or(u32::MAX);
        (probe.phase, probe.started) = (Phase::InFlight, now);
        self.pacer.begin(host.plan.address, now);
        self.insert_deadline(slot, now);
        self.stats.in_flight += 1;
        self.stats.peak_in_flight = self.stats.peak_in_flight.max(self.stats.in_flight);
        if is_first_limit {
            // Until then it was too fast for anybody to be heard.
            let ports = self.hosts.start_over();
            self.stats.held -= ports;
            self.stats.begun -= ports;
        }
    }

    /// The next thing to tell. After a stop with `tell_unscanned`, also each endpoint that was never taken up.
    pub fn poll_news(&mut self) -> Option<News> {
        while self.news.is_empty() && self.probes.is_empty() && !self.is_finished() {
            if !self.tell_left() {
                break;
            }
        }
        self.news.pop_front()
    }

    /// The next thing found: [`poll_news`](Self::poll_news) without what is told of whole hosts.
    pub fn poll_finding(&mut self) -> Option<Finding> {
        loop {
            if let News::Finding(finding) = self.poll_news()? {
                return Some(finding);
            }
        }
    }

    /// What is left when nothing is under way: silent hosts, and after a stop what has no verdict. Whether there was something.
    fn tell_left(&mut self) -> bool {
        let Some((stop_reason, at)) = self.stopped else {
            let silent = if self.hosts.want_turns() { None } else { self.hosts.poll_silent(true) };
            silent.inspect(|&id| self.give_up_host(id, self.now));
            return silent.is_some();
        };
        if let Some((id, is_silent)) = self.hosts.poll_held() {
            self.tell_held(id, if is_silent { Reason::SilentHost } else { self.held_reason(id) }, at);
            return true;
        }
        // Where not each is told they are counted already.
        let tells_each = self.stats.settled() < self.plan.len();
        let Some((host, is_silent)) = self.hosts.poll_left(&self.plan, tells_each) else { return false };
        let reason = if is_silent { Reason::SilentHost } else { stop_reason };
        if tells_each {
            let left = host.untaken().count() as u64;
            self.stats.begun += left;
            self.stats.settle(reason, left);
        }
        self.tell_rest(&host, reason, tells_each, at);
        true
    }

    /// A host is done with, and `reason` is what became of the ports that were never taken up.
    fn tell_rest(&mut self, host: &hosts::Host, reason: Reason, tells_each: bool, at: Time) {
        if tells_each {
            self.news.extend(host.untaken().map(|rank| {
                let endpoint = self.plan.endpoint(&host.plan, rank);
                News::Finding(Finding { endpoint, reason, reason_ip: None, rtt_us: None, attempts: 0, banner: None, at })
            }));
        }
        self.news.push_back(News::HostDone(HostDone { address: host.plan.address, ports: host.plan.ports, rest: reason }));
    }

    /// When [`poll_expired`](Self::poll_expired) or [`poll_connect`](Self::poll_connect) will have something again if
    /// no outcome comes first; `None` when there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Time> {
        let time_of = |tick: u64| Time::from_us(tick * TICK_US);
        let expires = self.wheel.next_tick().map(time_of);
        if self.stopped.is_some() {
            return expires;
        }
        let grows = self.budget.grows_at().filter(|_| self.hosts.want_turns());
        // A host may have its turn, but all others and the path hold it up, or all sockets are in use.
        let is_full = self.stats.in_flight >= self.budget.cap();
        let turns = self.hosts.next_tick().map(time_of).filter(|_| !is_full).map(|turn| turn.max(self.paced_until.unwrap_or(turn)));
        [expires, grows, self.paced_until.or(turns)].into_iter().flatten().min()
    }

    /// How fast attempts may go by what the path takes.
    pub fn pace(&self) -> Pace {
        self.all.pace()
    }

    /// How fast attempts may begin from now on: towards public addresses, or towards all. The other limit, if there is one,
    /// holds beside it.
    pub fn set_rate(&mut self, rate: Rate, now: Time) {
        self.pacer.change(rate, now);
        for (_, probe) in self.probes.iter().filter(|(_, probe)| probe.is_syn_due) {
            self.pacer.announce(self.hosts.get(probe.host).plan.address);
        }
    }

    /// Until when a rate holds the next attempt back, if one does.
    pub fn paced_until(&self) -> Option<Time> {
        self.paced_until
    }

    /// Whether `slot` has an attempt in flight: events for others are stale and mean nothing.
    pub fn is_in_flight(&self, slot: Slot) -> bool {
        self.probes.get(slot as usize).is_some_and(|probe| probe.phase == Phase::InFlight)
    }

    /// Where the attempt at `slot` goes, if one is in flight.
    pub fn endpoint(&self, slot: Slot) -> Option<SocketAddr> {
        self.is_in_flight(slot).then(|| self.endpoint_of(slot))
    }

    /// Which one of its endpoint's attempts is in flight at `slot`, counted from 1, and when it began.
    pub fn attempt(&self, slot: Slot) -> Option<(u16, Time)> {
        self.is_in_flight(slot).then(|| &self.probes[slot as usize]).map(|probe| (probe.attempts.saturating_add(1), probe.started))
    }

    /// Whether `slot` is connected and waits for what the port says.
    pub fn is_listening(&self, slot: Slot) -> bool {
        self.probes.get(slot as usize).is_some_and(|probe| probe.phase == Phase::Listening)
    }

    /// The port that `slot` listens to.
    pub fn listens_to(&self, slot: Slot) -> Option<SocketAddr> {
        self.is_listening(slot).then(|| self.endpoint_of(slot))
    }

    /// Whether the socket at `slot` is in use.
    pub fn holds_socket(&self, slot: Slot) -> bool {
        self.is_in_flight(slot) || self.is_listening(slot)
    }

    /// The port at `slot`, which is listening, has said something; `is_all`: nothing more is to be waited for.
    pub fn handle_heard(&mut self, slot: Slot, is_all: bool, now: Time) {
        if !self.is_listening(slot) {
            return;
        }
        self.now = now;
        self.wheel.cancel(slot);
        let probe = &self.probes[slot as usize];
        if !is_all {
            let until = probe.deadline().min(now.plus_us(QUIET_US));
            return self.wheel.insert(slot, until.us.div_ceil(TICK_US));
        }
        self.stats.in_flight -= 1;
        let rtt_us = u64::from(probe.before_us);
        self.conclude(slot, Reason::SynAck, None, Some(rtt_us), now);
    }

    /// The port is open. Its verdict waits for what it has to say.
    fn listen(&mut self, slot: Slot, rtt_us: u64, wait_us: u64, now: Time) {
        let probe = &mut self.probes[slot as usize];
        (probe.phase, probe.started) = (Phase::Listening, now);
        // There is no attempt before this any more, and no other place is needed for the time that its answer took.
        probe.before_us = u32::try_from(rtt_us).unwrap_or(u32::MAX);
        probe.timeout_us = u32::try_from(wait_us).unwrap_or(u32::MAX);
        self.wheel.insert(slot, probe.deadline().us.div_ceil(TICK_US));
        self.stats.in_flight += 1;
    }

    /// Takes in what became of the attempt at `slot`. Its socket must be released already, or be so before the next
    /// [`poll_connect`](Self::poll_connect), unless it is now [listening](Self::is_listening). Slots without an attempt in flight
    /// are ignored.
    pub fn handle_outcome(&mut self, slot: Slot, outcome: Outcome, now: Time) {
        if !self.is_in_flight(slot) {
            return;
        }
        self.now = now;
        self.wheel.cancel(slot);
        if std::mem::take(&mut self.probes[slot as usize].is_syn_due) {
            self.pacer.withdraw(self.endpoint_of(slot));
        }
        self.stats.in_flight -= 1;
        if let Outcome::Own(error) = outcome {
            return self.send_back(slot, error, now);
        }
        self.budget.progress();
        match outcome {
            Outcome::Barred(Reason::NoLocalRoute) if self.stopped.is_none() => return self.handle_no_route(slot, now),
            Outcome::Barred(reason) => return self.settle(slot, reason, now),
            Outcome::SelfConnected => return self.try_another_source(slot, now),
            _ => {}
        }
        let probe = &mut self.probes[slot as usize];
        probe.own_failures = 0;
        let (id, started) = (probe.host, probe.started);
        if let Some(ended) = self.outages.sent(started, now) {
            self.end_outage(ended, now);
        }
        if outcome == Outcome::Silence || (outcome.is_own_silence() && self.hosts.get(id).answered > 0) {
            return self.handle_silence(slot, now);
        }
        let lost = self.count_attempt(slot);
        let own_us = now.us_since(self.probes[slot as usize].started);
        match outcome {
            Outcome::Connected { rtt_us, syn_sent_again } => {
                let rtt_us = rtt_us.map_or(own_us, u64::from);
                let sample = (!syn_sent_again && rtt_us < KERNEL_SYN_US).then_some(rtt_us);
                self.handle_answer(slot, lost, syn_sent_again, sample, true, now);
                let is_verdict = self.probes[slot as usize].purpose == Purpose::Verdict;
                match self.settings.banner_wait_us.filter(|_| is_verdict && self.stopped.is_none()) {
                    Some(wait_us) => self.listen(slot, rtt_us, wait_us, now),
                    None => self.conclude(slot, Reason::SynAck, None, Some(rtt_us), now),
                }
            }
            Outcome::Refused => {
                // Karn's rule: from a second on it may belong to the kernel's own second SYN.
                self.handle_answer(slot, lost, false, Some(own_us).filter(|&us| us < KERNEL_SYN_US), false, now);
                self.conclude(slot, Reason::ConnRefused, None, Some(own_us), now);
            }
            Outcome::Unreachable { reason, by } => {
                self.handle_unreachable(slot, reason, now);
                self.conclude(slot, reason, by, Some(own_us), now);
            }
            Outcome::Silence | Outcome::SelfConnected | Outcome::Barred(_) | Outcome::Own(_) => {}
        }
    }

    /// Counts the attempt that has ended. Returns how many there were before it.
    fn count_attempt(&mut self, slot: Slot) -> u16 {
        let probe = &mut self.probes[slot as usize];
        let before = probe.attempts;
        probe.attempts = before.saturating_add(1);
        self.stats.attempts += 1;
        self.stats.controls += u64::from(probe.purpose == Purpose::Control);
        self.stats.retries += u64::from(before > 0);
        before
    }

    /// The endpoint itself answered: what that tells of times, loss and speed.
    fn handle_answer(&mut self, slot: Slot, silent: u16, syn_sent_again: bool, rtt_us: Option<u64>, is_open: bool, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, rank, is_first) = (probe.host, u32::from(probe.rank), probe.attempts == 1);
        let (started, expected, lost_at) = (probe.started, probe.expected, Some(probe.started_before()).filter(|_| !is_first));
        let (of_all, of_host) = probe.cohorts;
        let (hope, purpose) = (probe.hope(), probe.purpose);
        // Measured timeouts grow with the answers; those that the user fixed do not.
        let is_late = self.settings.timeouts.fixed_us.is_some_and(|fixed_us| now.us_since(started) > fixed_us);
        if let Some(ended) = self.outages.answered(is_late, now) {
            self.end_outage(ended, now);
        }
        // What was lost to our own speed is no loss of the network's.
        let was_flooded = lost_at.is_some_and(|at| self.says_nothing(id, at));
        let host = self.hosts.get_mut(id);
        let (was_known, is_first_ever) = (host.rtt.is_known(), !self.clocks.all().is_known());
        match rtt_us {
            Some(us) => {
                host.rtt.sample(us);
                self.clocks.sample(host.plan.address, us);
                self.stats.rtt.count(us);
            }
            None => self.clocks.ambiguous(),
        }
        let rtt = host.rtt;
        let answered = Answered { started, lost_at, hope };
        self.all.answered(&answered, of_all, self.clocks.wait(self.clocks.all()), None);
        if let Some(flow) = &mut host.flow {
            flow.answered(&answered, of_host, self.clocks.wait(rtt), Some(&self.all));
        }
        if purpose == Purpose::Control {
            return self.count_control(id, started, false);
        }
        if purpose != Purpose::Verdict {
            return;
        }
        if is_first {
            self.expectations.answered(&expected, host);
        }
        self.stats.lost += u64::from(silent) + u64::from(syn_sent_again);
        let is_late = (silent > 0 && !was_flooded) || syn_sent_again;
        let is_last = silent >= u16::from(self.settings.max_retries);
        host.answer(silent, is_late, is_last, is_open, rank);
        self.shared_loss.answered(&host.loss, is_late, is_last);
        let has_many_waiting = host.taken_up() >= MANY_WAITING || now.us < EARLY_US;
        if is_first_ever && self.clocks.all().is_known() {
            self.shorten_waits(self.clocks.stranger_us(), |_| true, now);
        }
        if !was_known && rtt.is_known() && has_many_waiting {
            self.shorten_waits(self.clocks.bounded_us(rtt), |probe| probe.host == id, now);
        }
        self.hear(id, rank, now);
        if self.stopped.is_none() && self.hosts.get(id).becomes_suspicious() {
            self.look_again(id);
        }
    }

    fn end_outage(&mut self, ended: Ended, now: Time) {
        self.stats.outage_us = self.outages.lasted_us;
        let of_hosts = self.hosts.iter_mut().filter_map(|host| host.flow.as_deref_mut());
        of_hosts.chain([&mut self.all]).for_each(|flow| flow.was_away(ended, now));
    }

    /// Somebody on the way said no. Routers and firewalls limit how often they do, so that tells nothing of the speed.
    fn handle_unreachable(&mut self, slot: Slot, reason: Reason, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, rank) = (probe.host, u32::from(probe.rank));
        if probe.purpose != Purpose::Verdict {
            return;
        }
        if probe.attempts == 1 {
            self.hosts.get_mut(id).first_is_silent();
        }
        if reason.speaks_for_presence() {
            self.hear(id, rank, now);
        } else {
            self.hosts.get_mut(id).silent += 1;
        }
    }

    /// A host is there. What was held back until that was known is told.
    fn hear(&mut self, id: HostId, rank: u32, now: Time) {
        if !self.hosts.heard(id, rank) {
            return;
        }
        if self.hosts.get(id).silent_attempts >= self.attempts_needed(id) || self.stopped.is_some() {
            self.tell_held(id, self.held_reason(id), now);
        } else {
            self.reopen_held(id);
        }
    }

    /// A new probe for a port of which so many attempts were silent.
    fn reopen(&mut self, id: HostId, rank: u32, attempts: u16) -> Slot {
        let port = self.plan.endpoint(&self.hosts.get(id).plan, rank).port();
        self.probes.insert(Probe { attempts, ..Probe::new(id, rank, port, Purpose::Verdict) }) as Slot
    }

    /// Ports were given up sooner because nobody seemed to be there: they go on where they were.
    fn reopen_held(&mut self, id: HostId) {
        let host = self.hosts.get_mut(id);
        let (held, attempts) = (std::mem::take(&mut host.held), host.silent_attempts);
        host.reopened(held.len() as u32);
        self.stats.held -= held.len() as u64;
        for rank in held {
            let slot = self.reopen(id, rank.into(), attempts);
            self.hosts.ask_again(id);
            self.hosts.wait(id, slot);
        }
    }

    /// Tells the verdict on a host's silent ports, which waited for whether it is there at all.
    fn tell_held(&mut self, id: HostId, reason: Reason, now: Time) {
        let host = self.hosts.get_mut(id);
        let held = std::mem::take(&mut host.held);
        let (plan, attempts) = (host.plan, host.silent_attempts);
        self.stats.held -= held.len() as u64;
        self.stats.settle(reason, held.len() as u64);
        if reason == Reason::SilentHost && !self.settings.tell_unscanned {
            return;
        }
        for rank in held {
            let endpoint = self.plan.endpoint(&plan, rank.into());
            let finding = Finding { endpoint, reason, reason_ip: None, rtt_us: None, attempts, banner: None, at: now };
            self.news.push_back(News::Finding(finding));
        }
    }

    /// The first answer of all, or of a host that many attempts wait for: `those` need not wait as long as where nothing is known.
    fn shorten_waits(&mut self, timeout_us: u64, those: impl Fn(&Probe) -> bool, now: Time) {
        let waiting = self.probes.iter().filter(|(_, probe)| probe.phase == Phase::InFlight && those(probe));
        let slots: Vec<Slot> = waiting.map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            // Not the one whose answer this is.
            if !self.wheel.holds(slot) {
                continue;
            }
            let probe = &mut self.probes[slot as usize];
            // At least until now: what is over is over in the next turn.
            let least_us = now.us_since(probe.started).max(timeout_us);
            probe.timeout_us = probe.timeout_us.min(u32::try_from(least_us).unwrap_or(u32::MAX));
            self.wheel.cancel(slot);
            self.insert_deadline(slot, now);
        }
    }

    fn handle_silence(&mut self, slot: Slot, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, started, given_us) = (probe.host, probe.started, u64::from(probe.timeout_us));
        let endpoint = self.endpoint_of(slot);
        if self.lately_silent.len() == LATELY_SILENT {
            self.lately_silent.pop_front();
        }
        self.lately_silent.push_back(endpoint);
        if let Some((reason, _)) = self.stopped {
            self.count_attempt(slot);
            return self.settle(slot, reason, now);
        }
        let probe = &self.probes[slot as usize];
        let expected = match probe.purpose {
            Purpose::Control => 1.0,
            _ => probe.expected.chance().filter(|_| probe.expected.is_telling).unwrap_or(0.0),
        };
        let outage = self.outages.silent(expected, started, now);
        self.note_outages();
        match outage {
            Outage::None if self.probes[slot as usize].purpose == Purpose::Control => {
                self.count_control(id, started, true);
                self.count_attempt(slot);
                return self.settle(slot, Reason::NoResponse, now);
            }
            Outage::None => {}
            Outage::Lasts => return self.void(slot),
            Outage::TooLong => {
                self.count_attempt(slot);
                return self.give_up_network(slot, now);
            }
        }
        // Nobody may have listened, or it may have been lost to our own speed: then it says nothing, either.
        if self.says_nothing(id, started) && self.probes[slot as usize].voids < MOST_VOIDS {
            return self.void(slot);
        }
        // Meanwhile answers may have turned out to take longer than this attempt was given.
        if given_us < self.clocks.least_us(self.hosts.get(id).rtt) {
            return self.void(slot);
        }
        if self.clocks.is_deaf(now) && self.probes[slot as usize].attempts > 0 {
            return self.void(slot);
        }
        let before = self.count_attempt(slot);
        if before == 0 && self.probes[slot as usize].purpose == Purpose::Verdict {
            self.hosts.get_mut(id).first_is_silent();
        }
        let most = match self.hosts.get(id).is_present() {
            true => u16::MAX,
            false if self.clocks.all().is_known() && self.hosts.asks_once(id) => 1,
            false => ATTEMPTS_AT_NOBODY,
        };
        let needed = self.attempts_needed(id).min(most);
        if before + 1 < needed {
            return self.wait_or_park(slot);
        }
        if self.probes[slot as usize].purpose == Purpose::Verdict {
            self.hosts.get_mut(id).ended_silent(before + 1);
        }
        self.settle(slot, Reason::NoResponse, now);
    }

    /// The network does not come back.
    fn give_up_network(&mut self, slot: Slot, now: Time) {
        self.handle_stop(Reason::NetworkAway, now);
        self.settle(slot, Reason::NetworkAway, now);
    }

    /// This machine has no way to the endpoint. Where it had one that is an outage of its own; elsewhere it is believed when it stays so
    /// for a moment, since that outage may have just begun.
    fn handle_no_route(&mut self, slot: Slot, now: Time) {
        let address = self.endpoint_of(slot);
        let host = self.probes[slot as usize].host;
        let has_worked = self.hosts.get(host).answered > 0 || self.clocks.has_heard(address);
        let outage = self.outages.barred(has_worked, now);
        self.note_outages();
        match outage {
            Outage::Lasts => return self.void(slot),
            Outage::TooLong => return self.give_up_network(slot, now),
            Outage::None => {}
        }
        let probe = &mut self.probes[slot as usize];
        probe.own_failures += 1;
        let network = network_of(address.ip());
        let is_believed = self.stats.attempts == 0 || probe.own_failures >= NO_ROUTE_FAILURES || self.no_routes.contains(&network);
        if !is_believed {
            return self.back_off(slot, false, now);
        }
        if !self.no_routes.contains(&network) {
            self.no_routes.truncate(NO_ROUTES - 1);
            self.no_routes.push_front(network);
        }
        self.settle(slot, Reason::NoLocalRoute, now);
    }

    fn note_outages(&mut self) {
        (self.stats.outages, self.stats.outage_us) = (self.outages.count, self.outages.lasted_us);
    }

    /// Whether an attempt that began then may have been lost to our own speed, or while nobody listened.
    fn says_nothing(&self, id: HostId, started: Time) -> bool {
        let flow = self.hosts.get(id).flow.as_ref();
        started < self.gap_until
            || self.outages.had(started)
            || self.all.was_too_fast(started)
            || flow.is_some_and(|flow| flow.was_too_fast(started))
    }

    /// A control was answered, or not: what that tells of loss. Both alike do not count while the rate is too high, or the share would be
    /// wrong.
    fn count_control(&mut self, id: HostId, started: Time, is_lost: bool) {
        if !self.says_nothing(id, started) {
            let host = self.hosts.get_mut(id);
            host.loss.answered(is_lost, false, LATELY);
            self.shared_loss.answered(&host.loss, is_lost, false);
        }
    }

    /// So many attempts at a port of this host have to stay silent.
    fn attempts_needed(&self, id: HostId) -> u16 {
        let host = self.hosts.get(id);
        let needed = self.shared_loss.attempts_needed(&host.loss, host.odds(), f64::from(self.settings.miss_rate_ppm) / 1e6);
        needed.min(u16::from(self.settings.max_retries) + 1)
    }

    /// The attempt says nothing about its endpoint: it is made again and does not count.
    fn void(&mut self, slot: Slot) {
        let voids = &mut self.probes[slot as usize].voids;
        *voids = voids.saturating_add(1);
        self.stats.voided += 1;
        self.wait(slot);
    }

    /// The probe has to wait for its host's turn.
    fn wait(&mut self, slot: Slot) {
        let probe = &mut self.probes[slot as usize];
        probe.phase = Phase::Ready;
        self.hosts.wait(probe.host, slot);
    }

    /// The same; but a probe of which nothing is to be remembered gives up its place.
    fn wait_or_park(&mut self, slot: Slot) {
        let &Probe { host: id, rank, attempts, purpose, .. } = &self.probes[slot as usize];
        let host = self.hosts.get(id);
        if attempts > 1 || purpose != Purpose::Verdict || !host.is_present() || host.rtt.is_known() {
            return self.wait(slot);
        }
        self.probes.remove(slot as usize);
        self.hosts.park(id, rank);
    }

    /// Nearly all ports of a host are open: a few of the first ones are asked again, when it may have been honest still.
    fn look_again(&mut self, id: HostId) {
        let host = self.hosts.get_mut(id);
        host.suspicion = Suspicion::Asking { asked: 0, open: 0 };
        let (plan, first) = (host.plan, host.taken_up().min(MANY_WAITING) - u32::from(ASKED_AGAIN));
        for rank in first..first + u32::from(ASKED_AGAIN) {
            let port = self.plan.endpoint(&plan, rank).port();
            let slot = self.probes.insert(Probe::new(id, rank, port, Purpose::SecondLook)) as Slot;
            self.without_verdict += 1;
            self.hosts.ask_again(id);
            self.hosts.wait(id, slot);
        }
    }

    /// What a second look at an endpoint has shown.
    fn handle_second_look(&mut self, id: HostId, is_open: bool) {
        let host = self.hosts.get_mut(id);
        let Suspicion::Asking { asked, open } = host.suspicion else { return };
        let (asked, open) = (asked + 1, open + u8::from(is_open));
        host.suspicion = match (asked, open) {
            (ASKED_AGAIN, ASKED_AGAIN) => Suspicion::Confirmed,
            (ASKED_AGAIN, _) => Suspicion::Cleared,
            _ => Suspicion::Asking { asked, open },
        };
        if host.suspicion == Suspicion::Confirmed {
            self.stats.host_is_all_open(host.plan.address);
        }
    }

    /// A failure on our own side says nothing of the target: the probe waits and is tried again, with fewer at once.
    fn send_back(&mut self, slot: Slot, error: OwnError, now: Time) {
        self.stats.own_error(error, 1);
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
            None => self.back_off(slot, error.reason() != Reason::NoSourcePort, now),
        }
    }

    /// The probe waits without a socket; `holds_others`: what it lacks all others need, too.
    fn back_off(&mut self, slot: Slot, holds_others: bool, now: Time) {
        let probe = &mut self.probes[slot as usize];
        probe.phase = if holds_others { Phase::BackOff } else { Phase::BackOffAlone };
        self.backing_off += u32::from(holds_others);
        let wait_us = BACK_OFF_US << (probe.own_failures - 1).min(BACK_OFF_DOUBLINGS);
        self.wheel.insert(slot, now.plus_us(wait_us.min(1_000_000)).us.div_ceil(TICK_US));
    }

    fn try_another_source(&mut self, slot: Slot, now: Time) {
        self.stats.self_connects += 1;
        let probe = &mut self.probes[slot as usize];
        probe.avoid_self = probe.avoid_self.saturating_add(1);
        if probe.avoid_self > 2 * OWN_FAILURES || self.stopped.is_some() {
            return self.settle(slot, self.stopped().unwrap_or(Reason::NoSourcePort), now);
        }
        self.wait(slot);
    }

    /// Whether a connection that comes from `local`, an address of this machine, may be one with an attempt of ours: one at
    /// `local`, under way or given up a moment ago. Looks at all probes: for rare questions.
    pub fn may_have_met(&self, local: SocketAddr) -> bool {
        // The unspecified address stands for this machine's own.
        let is_there = |at: SocketAddr| at.port() == local.port() && (at.ip() == local.ip() || at.ip().is_unspecified());
        self.probes.iter().any(|(slot, _)| is_there(self.endpoint_of(slot as Slot))) || self.lately_silent.iter().any(|&at| is_there(at))
    }

    /// This process, or the whole machine, has not run for a while before `now`: what was under way may have been answered
    /// without anybody there to hear it, so its silence does not count.
    pub fn handle_gap(&mut self, now: Time) {
        self.gap_until = now;
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
        for slot in self.hosts.drain_waiting() {
            self.settle(slot, reason, now);
        }
        for (id, ranks) in self.hosts.drain_parked() {
            for rank in ranks {
                let slot = self.reopen(id, rank.into(), 1);
                self.settle(slot, reason, now);
            }
        }
        for host in self.hosts.iter() {
            count_host(host, &self.shared_loss, self.hosts.silent_after(), &mut self.stats);
        }
        if !self.settings.tell_unscanned || self.plan.len() - self.stats.begun > TOLD_UNSCANNED {
            self.stats.settle(reason, self.plan.len() - self.stats.begun);
            self.stats.begun = self.plan.len();
        }
    }

    fn settle(&mut self, slot: Slot, reason: Reason, now: Time) {
        self.conclude(slot, reason, None, None, now);
    }

    fn conclude(&mut self, slot: Slot, reason: Reason, reason_ip: Option<IpAddr>, rtt_us: Option<u64>, now: Time) {
        let endpoint = self.endpoint_of(slot);
        let Probe { attempts, host: id, rank, purpose, .. } = self.probes.remove(slot as usize);
        self.without_verdict -= u64::from(purpose != Purpose::Verdict);
        match purpose {
            Purpose::SecondLook => self.handle_second_look(id, reason == Reason::SynAck),
            Purpose::Control => {}
            Purpose::Verdict if reason == Reason::NoResponse && !self.hosts.get(id).is_present() => {
                self.hosts.get_mut(id).held.push(rank);
                self.stats.held += 1;
            }
            Purpose::Verdict => {
                self.stats.settle(reason, 1);
                self.news.push_back(News::Finding(Finding { endpoint, reason, reason_ip, rtt_us, attempts, banner: None, at: now }));
            }
        }
        if self.hosts.settled(id) {
            self.finish_host(id, now);
        }
        // After a stop what they have left is counted already.
        while self.stopped.is_none()
            && let Some(silent) = self.hosts.poll_silent(false)
        {
            self.give_up_host(silent, now);
        }
    }

    /// Whether silent ports of a host that has not answered were asked too seldom for a verdict.
    fn asked_too_little(&self, id: HostId) -> bool {
        let host = self.hosts.get(id);
        !host.held.is_empty() && host.silent_attempts < ATTEMPTS_AT_NOBODY.min(u16::from(self.settings.max_retries) + 1)
    }

    /// What became of silent ports of a host that has not answered, when it is over.
    fn held_reason(&self, id: HostId) -> Reason {
        match self.stopped {
            Some((reason, _)) if self.asked_too_little(id) => reason,
            _ => Reason::NoResponse,
        }
    }

    /// No port of a host is left. Where it has not answered, its ports may have been asked only once.
    fn finish_host(&mut self, id: HostId, now: Time) {
        if self.stopped.is_none() && self.asked_too_little(id) {
            return if self.hosts.get(id).is_silent() { self.give_up_host(id, now) } else { self.reopen_held(id) };
        }
        self.tell_held(id, self.held_reason(id), now);
        let host = self.hosts.remove(id);
        // After a stop they are all counted.
        if self.stopped.is_none() {
            count_host(&host, &self.shared_loss, self.hosts.silent_after(), &mut self.stats);
        }
        self.tell_rest(&host, Reason::NoResponse, false, now);
    }

    /// Nobody seems to be there: none of its ports was scanned as it should be.
    fn give_up_host(&mut self, id: HostId, now: Time) {
        self.tell_held(id, Reason::SilentHost, now);
        let host = self.hosts.remove(id);
        let left = host.untaken().count() as u64;
        self.stats.hosts_silent += 1;
        self.stats.begun += left;
        self.stats.settle(Reason::SilentHost, left);
        self.tell_rest(&host, Reason::SilentHost, self.settings.tell_unscanned, now);
    }

    /// Panics where the books do not balance, at whatever moment.
    pub fn check_invariants(&self) {
        let in_phase = |phase| self.probes.iter().filter(|(_, probe)| probe.phase == phase).count();
        let (ready, in_flight, back_off) = (in_phase(Phase::Ready), in_phase(Phase::InFlight), in_phase(Phase::BackOff));
        assert_eq!(back_off, self.backing_off as usize, "backing off is miscounted");
        assert_eq!(ready, self.hosts.waiting(), "other probes wait for their turn than those that are ready");
        let in_flight = in_flight + in_phase(Phase::Listening);
        assert_eq!(in_flight, self.stats.in_flight as usize, "in flight is miscounted");
        let timed = in_flight + back_off + in_phase(Phase::BackOffAlone);
        assert_eq!(timed, self.wheel.len(), "a probe has no deadline, or a deadline no probe");
        let known = self.stats.settled() + self.stats.held + (self.probes.len() + self.hosts.parked()) as u64 - self.without_verdict;
        assert_eq!(known, self.stats.begun, "an endpoint was lost or counted twice");
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

/// Counts a host if it answered, and adds how many of its open ports were probably taken for silent ones, and how many are on hosts like
/// it that were never heard of.
fn count_host(host: &hosts::Host, shared: &SharedLoss, silent_after: Option<u32>, stats: &mut Stats) {
    let (open, answered) = (f64::from(host.open), f64::from(host.answered));
    if host.answered == 0 {
        return;
    }
    stats.hosts_answering += 1;
    if host.silent > 0 {
        let chances = [shared.chance(&host.loss), shared.bound(&host.loss)];
        stats.missed.on_host(chances, host.silent_attempts, answered, f64::from(host.silent), open);
    }
    if let Some(asked) = silent_after.filter(|&asked| asked < host.plan.ports) {
        stats.missed.with_hosts(host.answering_share(), asked, open);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PortSet, Target};

    fn scan(ports: std::ops::RangeInclusive<u16>, settings: Settings, cap: u32) -> Scan {
        let plan = Plan::builder().target(Target::parse("127.0.0.1").unwrap()).ports(ports.collect::<PortSet>()).order(Order::Sequential);
        Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), settings, cap)
    }

    fn fixed(ms: u64, max_retries: u8) -> Settings {
        Settings { timeouts: Timeouts { fixed_us: Some(ms * 1_000), ..Timeouts::default() }, max_retries, ..Settings::default() }
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
        let mut scan = scan(1..=1, fixed(1_000, 1), 10);
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
        let done = HostDone { address: "127.0.0.1:0".parse().unwrap(), ports: 1, rest: Reason::NoResponse };
        assert_eq!((scan.poll_news(), scan.is_finished()), (Some(News::HostDone(done)), true));
        assert_eq!((scan.stats().attempts, scan.stats().retries), (2, 1));
    }

    const CONNECTED: Outcome = Outcome::Connected { rtt_us: Some(7), syn_sent_again: false };

    fn listening(wait_ms: u64) -> Settings {
        Settings { banner_wait_us: Some(wait_ms * 1_000), ..fixed(1_000, 0) }
    }

    #[test]
    fn an_open_port_is_listened_to_for_its_time_and_no_longer() {
        let mut scan = scan(1..=3, listening(2_000), 2);
        let (mute, chatty) = (connect(&mut scan, 0), connect(&mut scan, 0));
        scan.handle_outcome(mute, CONNECTED, at(10));
        scan.handle_outcome(chatty, CONNECTED, at(10));
        assert!(scan.is_listening(mute) && scan.poll_finding().is_none(), "the verdict waits");
        assert_eq!(scan.poll_connect(at(20)), None, "its socket counts");
        // One more byte every 300 ms would never end.
        for ms in (100..=1_900).step_by(300) {
            assert_eq!(scan.poll_expired(at(ms)), None);
            scan.handle_heard(chatty, false, at(ms));
            scan.check_invariants();
        }
        let over: Vec<Slot> = std::iter::from_fn(|| scan.poll_expired(at(2_010))).collect();
        assert_eq!(over.len(), 2);
        over.into_iter().for_each(|slot| scan.handle_heard(slot, true, at(2_010)));
        let findings: Vec<Finding> = std::iter::from_fn(|| scan.poll_finding()).collect();
        assert!(findings.iter().all(|finding| (finding.reason, finding.rtt_us) == (Reason::SynAck, Some(7))), "{findings:?}");
        // What has said its say is not waited for; and a stop takes no verdict away.
        let last = connect(&mut scan, 2_020);
        scan.handle_outcome(last, CONNECTED, at(2_030));
        scan.handle_heard(last, false, at(2_030));
        assert_eq!(scan.poll_expired(at(2_529)), None);
        scan.handle_stop(Reason::Interrupted, at(2_529));
        assert_eq!(scan.poll_expired(at(2_529)), Some(last));
        scan.handle_heard(last, true, at(2_529));
        assert_eq!((reasons(&mut scan), scan.is_finished()), (vec![Reason::SynAck], true));
    }

    #[test]
    fn a_port_that_was_listened_to_at_the_end_is_asked_again() {
        let settings = listening(2_000);
        let mut first = scan(1..=1, settings, 1);
        let mut from = None;
        for _ in 0..3 {
            let slot = connect(&mut first, 0);
            first.handle_outcome(slot, CONNECTED, at(1));
            let snapshot = first.snapshot().expect("nothing is untold");
            assert_eq!(*from.get_or_insert(snapshot.clone()), snapshot, "it adds up");
            first = Scan::resume(first.plan().clone(), settings, 1, &snapshot, first.stats().clone()).expect("the same plan");
        }
    }

    #[test]
    fn a_snapshot_that_does_not_add_up_is_refused() {
        let mut first = scan(1..=9, Settings::default(), 1);
        let slot = connect(&mut first, 0);
        first.handle_outcome(slot, Outcome::Refused, at(1));
        connect(&mut first, 1);
        assert_eq!(reasons(&mut first), [Reason::ConnRefused]);
        let good = first.snapshot().expect("nothing is untold");
        let resume = |change: fn(&mut Snapshot, &mut Stats)| {
            let (mut snapshot, mut stats) = (good.clone(), first.stats().clone());
            change(&mut snapshot, &mut stats);
            Scan::resume(first.plan().clone(), Settings::default(), 1, &snapshot, stats).is_some()
        };
        assert!(resume(|_, _| {}));
        assert!(!resume(|snapshot, _| snapshot.hosts.clear()), "nothing would be left, and never an end");
        assert!(!resume(|snapshot, _| snapshot.hosts.extend(snapshot.hosts.clone())));
        assert!(!resume(|snapshot, _| snapshot.hosts[0].taken_up += 1));
        assert!(!resume(|_, stats| stats.settle(Reason::SynAck, 1)));
        assert!(!resume(|_, stats| stats.settle(Reason::SynAck, u64::MAX - 1)));
    }

    #[test]
    fn each_endpoint_gets_one_datagram_which_counts_for_the_rate() {
        let per_s = std::num::NonZeroU32::new(10);
        let rate = per_s.map(|per_s| Rate { per_s, public_only: false });
        let mut scan = scan(1..=2, Settings { sends_datagrams: true, rate, ..fixed(10, 1) }, 2);
        let (mut attempts, mut datagrams, mut last) = (0, 0, 0);
        for ms in 0..2_000 {
            while let Some(slot) = scan.poll_expired(at(ms)) {
                scan.handle_outcome(slot, Outcome::Silence, at(ms));
            }
            while let Some(connect) = scan.poll_connect(at(ms)) {
                (attempts, datagrams, last) = (attempts + 1, datagrams + u32::from(connect.datagram), ms);
            }
        }
        assert_eq!((attempts, datagrams), (4, 2));
        assert!(last >= 399, "six packets at ten a second were sent within {last} ms");
    }

    /// A full queue may drop every fourth packet: of no host all of them.
    #[test]
    fn hosts_do_not_come_round_in_step() {
        let plan = Plan::builder().target(Target::parse("127.0.0.0/27").unwrap()).ports((1..=500).collect());
        let settings = Settings { rate: None, scan_silent: true, ..Settings::default() };
        let mut scan = Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), settings, 100);
        let mut in_step = std::collections::HashMap::<IpAddr, [u32; 4]>::new();
        for turn in 0..8_000 {
            let now = Time::from_us(turn * 100);
            let connect = scan.poll_connect(now).expect("a turn");
            scan.handle_outcome(connect.slot, Outcome::Refused, now);
            in_step.entry(connect.endpoint.ip()).or_default()[turn as usize % 4] += 1;
        }
        assert!(in_step.len() == 32 && in_step.values().flatten().all(|turns| (30..110).contains(turns)), "{in_step:?}");
    }

    #[test]
    fn this_machine_is_not_felt_out() {
        let begun_in_10_ms = |target: &str| {
            let plan = Plan::builder().target(Target::parse(target).unwrap()).ports((1..=5_000).collect());
            let settings = Settings { rate: None, ..Settings::default() };
            let mut scan = Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), settings, 10_000);
            (0..100).map(|tenth| std::iter::from_fn(|| scan.poll_connect(Time::from_us(tenth * 100))).count()).sum::<usize>()
        };
        assert!(begun_in_10_ms("127.0.0.1") >= 990 && begun_in_10_ms("192.0.2.1") <= 120);
    }

    #[test]
    fn as_long_as_nothing_was_heard_further_attempts_are_spread() {
        let mut scan = scan(1..=400, Settings { rate: None, ..Settings::default() }, 1_000);
        let mut begun = [0; 20];
        for ms in 0..2_000 {
            while let Some(slot) = scan.poll_expired(at(ms)) {
                scan.handle_outcome(slot, Outcome::Silence, at(ms));
            }
            begun[ms as usize / 100] += std::iter::from_fn(|| scan.poll_connect(at(ms))).count();
            scan.check_before_wait(at(ms));
        }
        assert_eq!(begun[0], 400, "each port's first attempt");
        let spread = &begun[3..19];
        assert!(spread.iter().all(|count| (5..60).contains(count)), "{spread:?} in each tenth of a second");
    }

    #[test]
    fn a_rate_that_is_changed_counts_what_was_announced() {
        let rate = |per_s, public_only| Rate { per_s: std::num::NonZeroU32::new(per_s).unwrap(), public_only };
        let mut scan = scan(1..=2, Settings { rate: None, ..fixed(3_000, 0) }, 1);
        connect(&mut scan, 0);
        assert_eq!(scan.poll_expired(at(900)), None, "the kernel's second SYN is near");
        scan.set_rate(rate(1, false), at(900));
        assert_eq!(scan.poll_expired(at(1_000)), None, "and sent");
        assert_eq!(scan.poll_expired(at(1_900)), None, "the third is near");
        scan.set_rate(rate(1, true), at(1_900));
        let slot = scan.poll_expired(at(3_000)).expect("its time is over");
        scan.set_rate(rate(1_000, false), at(3_000));
        scan.handle_outcome(slot, Outcome::Silence, at(3_000));
        connect(&mut scan, 3_000);
        scan.check_invariants();
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
    fn retries_end_where_they_are_limited() {
        for (max_retries, attempts) in [(0, 1), (1, 2), (100, 4)] {
            let mut scan = scan(1..=1, Settings { miss_rate_ppm: 0, ..fixed(1_000, max_retries) }, 1);
            for second in 0..attempts {
                let slot = connect(&mut scan, second * 1_000);
                scan.handle_outcome(slot, Outcome::Silence, at(second * 1_000 + 1_000));
            }
            assert_eq!(reasons(&mut scan), [Reason::NoResponse], "{max_retries} retries");
        }
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
            scan.handle_outcome(slots[0], Outcome::Connected { rtt_us: Some(7), syn_sent_again: false }, at(1));
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
    fn a_first_attempt_that_the_kernel_repeated_was_never_silent() {
        let mut scan = scan(1..=2, fixed(3_000, 1), 10);
        for _ in 0..2 {
            let slot = connect(&mut scan, 0);
            scan.handle_outcome(slot, Outcome::Connected { rtt_us: Some(9), syn_sent_again: true }, at(1_100));
        }
        assert_eq!((scan.stats().lost, scan.stats().attempts), (2, 2));
        assert_eq!(reasons(&mut scan), [Reason::SynAck; 2]);
    }

    #[test]
    fn nobody_is_asked_again_after_a_stop() {
        let mut scan = scan(1..=200, Settings::default(), 200);
        let slots: Vec<Slot> = std::iter::from_fn(|| scan.poll_connect(at(0))).map(|connect| connect.slot).collect();
        assert!(slots.len() >= 64, "the first burst");
        scan.handle_stop(Reason::Interrupted, at(1));
        slots.iter().for_each(|&slot| scan.handle_outcome(slot, Outcome::Connected { rtt_us: Some(9), syn_sent_again: false }, at(1)));
        assert_eq!(reasons(&mut scan).len(), slots.len());
        assert!(scan.is_finished());
    }

    #[test]
    fn silence_does_not_count_where_nobody_listened() {
        let mut scan = scan(1..=1, fixed(1_000, 0), 10);
        let slot = connect(&mut scan, 0);
        scan.handle_gap(at(5_000));
        scan.handle_outcome(slot, Outcome::Silence, at(5_000));
        scan.check_invariants();
        let slot = connect(&mut scan, 5_000);
        scan.handle_outcome(slot, Outcome::Silence, at(6_000));
        assert_eq!(reasons(&mut scan), [Reason::NoResponse]);
        assert_eq!((scan.stats().attempts, scan.stats().voided), (1, 1));
    }

    #[test]
    fn stale_outcomes_mean_nothing() {
        let mut scan = scan(1..=2, Settings::default(), 10);
        let slot = connect(&mut scan, 0);
        scan.handle_outcome(slot, Outcome::Refused, at(0));
        scan.handle_outcome(slot, Outcome::Connected { rtt_us: None, syn_sent_again: false }, at(0));
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
    fn what_is_under_way_costs_few_bytes() {
        assert!(size_of::<Probe>() <= 56, "{} bytes", size_of::<Probe>());
        assert!(size_of::<hosts::Host>() <= 248, "{} bytes", size_of::<hosts::Host>());
        assert!(size_of::<Flow>() <= 512, "{} bytes", size_of::<Flow>());
    }
}
