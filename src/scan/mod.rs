//! The deciding core: which endpoint is tried when, and what an answer means for it.
//!
//! It does no I/O, reads no clock and draws no random number: the time is a parameter, outcomes
//! come in through `handle_*`, and what to do comes out of `poll_*`. So a test can drive it through
//! years of virtual network in a second.

mod absence;
mod budget;
mod endings;
mod estimate;
mod held;
mod hosts;
mod neighbours;
mod observation;
mod outcomes;
mod pacing;
mod presence;
mod probe;
mod settings;
mod snapshot;
mod stats;
mod time;
mod unanswered;
mod verdict;
mod wheel;

use std::collections::VecDeque;
use std::net::SocketAddr;

use slab::Slab;

use crate::plan::Plan;
use budget::Budget;
use estimate::{Expectations, Outages, RttEstimators, SharedLoss};
use held::Queued;
use hosts::{Allowed, Hosts, Link, Task};
use pacing::{IntervalId, Pacer, RateController};
use probe::{Phase, Probe, Purpose};
use unanswered::Unanswered;

pub use budget::{ASSUMED_NOFILE, Limits, MEMORY_SHARE, RESERVE, SOCKET_BYTES, SetBy};
pub use estimate::{Missed, SILENT_US, Timeouts};
pub use hosts::SILENT_PORTS;
pub use neighbours::Links;
pub use pacing::{Controller, Pace, PaceReason, Rate};
pub use settings::Settings;
pub use snapshot::{HostSnapshot, Snapshot};
pub use stats::{Histogram, Stats};
pub use time::{TICK_US, Time};
pub use verdict::{Event, Finding, HostDone, Outcome, OwnError, Reason, State};
pub use wheel::Wheel;

/// What a rate controller of one's own is made of: [`RateController`] and what it is told.
pub mod control {
    pub use super::estimate::{Ended, Wait};
    pub use super::observation::{Ending, Observation};
    pub use super::pacing::{IntervalId, PathView, Prior, RateController};
}

/// The number of a probe's place: its entry in the wheel, its socket's place and its token in the
/// poll.
pub type Slot = u32;

/// What to do for one attempt: connect to `endpoint` and keep the socket at `slot`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Connect {
    /// The socket's place.
    pub slot: Slot,
    /// Where to.
    pub endpoint: SocketAddr,
    /// Above 0: the last attempt met one of our own sockets; take a source port away from the
    /// endpoint's, this choice of several.
    pub avoid_self: u8,
    /// Whether it gets a datagram, too: each endpoint one, however many attempts there are.
    pub datagram: bool,
}

/// A scan under way, without its sockets.
///
/// Call in each turn, with one reading of the clock: [`poll_expired`](Self::poll_expired) until it
/// has no more, giving each slot's [`Outcome::Silence`] to
/// [`handle_outcome`](Self::handle_outcome); [`poll_connect`](Self::poll_connect) until it has no
/// more (or for as many as a turn should open), reporting what fails at once;
/// [`poll_finding`](Self::poll_finding) until it has no more; wait for events until
/// [`poll_timeout`](Self::poll_timeout); then hand in the outcomes.
#[derive(Debug)]
pub struct Scan {
    plan: Plan,
    settings: Settings,
    probes: Slab<Probe>,
    hosts: Hosts,
    wheel: Wheel,
    rtts: RttEstimators,
    pacer: Pacer,
    /// What finds the rate that the path to all hosts takes.
    path: Box<dyn RateController>,
    shared_loss: SharedLoss,
    expectations: Expectations,
    outages: Outages,
    unanswered: Unanswered,
    /// When the latest of the answered attempts was sent.
    proven_until: Time,
    /// Networks that this machine was found to have no way to, the last one first.
    no_routes: VecDeque<u64>,
    paced_until: Option<Time>,
    /// As long as nothing at all was heard no further attempt begins before this.
    again_at: Time,
    budget: Budget,
    events: VecDeque<Queued>,
    /// Probes that wait for our own side to recover, except those that only lack a source port.
    backing_off: u32,
    /// Probes that are [`Phase::Unsent`].
    unsent: usize,
    /// Probes at endpoints that have their verdict.
    without_verdict: u64,
    /// Where attempts got no answer last.
    lately_silent: VecDeque<SocketAddr>,
    stats: Stats,
    gap_until: Time,
    stopped: Option<(Reason, Time)>,
}

/// How many more probes than sockets may be under way: those that wait for a slow host's turn.
const MORE_PROBES: usize = 1_024;
/// Linux sends a SYN again after one second, and then at whole seconds at most
/// (tcp_syn_linear_timeouts, 1 + 2 + 4 before).
const KERNEL_SYN_US: u64 = 1_000_000;
/// For an attempt at a host on our own link, the kernel first resolves the address, with three
/// requests a second apart. If its table was full at first, it asks with its second SYN, a second
/// later.
const ASK_US: u64 = 4_200_000;
/// From this many ports on the rate matters, and canaries are sent to learn it.
const CANARIES_FROM: u64 = 16;
/// The most attempts at a port of a host that has not answered. It is one, if other hosts answer
/// and this one has ports enough to show whether it exists: a new port tells more than another
/// attempt.
const ATTEMPTS_AT_NOBODY: u16 = 2;

/// About how many probes may be under way. Room for all is allocated at once: memory that is never
/// touched costs nothing, and a list that grows leaves its old place behind.
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
            hosts: Hosts::new(&plan, &settings, places),
            settings,
            probes: Slab::with_capacity(places),
            wheel: Wheel::with_capacity(places),
            rtts: RttEstimators::new(settings.timeouts),
            pacer: Pacer::new(settings.rate),
            path: settings.controller.of_path(plan.is_loopback()),
            shared_loss: SharedLoss::default(),
            expectations: Expectations::default(),
            outages: Outages::new(settings.patience_us),
            unanswered: Unanswered::new(settings.max_unanswered),
            proven_until: Time::default(),
            no_routes: VecDeque::new(),
            paced_until: None,
            again_at: Time::default(),
            budget: Budget::new(cap),
            events: VecDeque::new(),
            backing_off: 0,
            unsent: 0,
            without_verdict: 0,
            lately_silent: VecDeque::new(),
            gap_until: Time::default(),
            stopped: None,
            plan,
        }
    }

    /// A scan that goes on where another one was, which had counted `stats` until then. None if the
    /// snapshot was not taken of this plan, or does not add up with `stats`.
    pub fn resume(
        plan: Plan,
        settings: Settings,
        cap: u32,
        snapshot: &Snapshot,
        stats: Stats,
    ) -> Option<Self> {
        let mut scan = Scan::new(plan, settings, cap);
        if stats.planned != scan.plan.len() || !scan.hosts.restore(&scan.plan, snapshot) {
            return None;
        }
        let left: u64 = scan.hosts.iter().map(hosts::Host::without_verdict).sum();
        if scan
            .plan
            .len_from(snapshot.taken_up)
            .is_some_and(|later| stats.settled().checked_add(left + later) != Some(stats.planned))
        {
            return None;
        }
        let held = snapshot
            .hosts
            .iter()
            .map(|host| host.held.len() as u64)
            .sum::<u64>();
        let cap = scan.stats.cap;
        (scan.outages.count, scan.outages.lasted_us) = (stats.outages, stats.outage_us);
        scan.stats = stats;
        scan.stats.goes_on(held, cap)?;
        // Only a canary or a second look was under way there.
        for id in scan.hosts.done() {
            scan.finish_host(id, Time::default());
        }
        Some(scan)
    }

    /// How far it is, for [`resume`](Self::resume). None as long as there is something to tell, or
    /// after a stop: what is told already would be missing in what was found, and told again.
    pub fn snapshot(&self) -> Option<Snapshot> {
        let verdicts = self
            .probes
            .iter()
            .filter(|(_, probe)| probe.purpose == Purpose::Verdict);
        let under_way =
            verdicts.map(|(_, probe)| (probe.host, probe.rank, probe.phase == Phase::Listening));
        (self.events.is_empty() && self.stopped.is_none()).then(|| self.hosts.snapshot(under_way))
    }

    /// Replaces what finds the rate that the path takes, before the first attempt. Hosts keep what
    /// [`Settings::controller`] says; with [`Controller::Fixed`] they have none.
    pub fn set_path_controller(&mut self, controller: Box<dyn RateController>) {
        self.path = controller;
    }

    /// Tells what this machine knows of its own links, before anything else.
    pub fn set_links(&mut self, links: Links) {
        self.hosts.set_links(links);
    }

    /// Whether it matters just now how full the kernel's neighbour tables are.
    pub fn uses_neighbours(&self) -> bool {
        self.hosts.uses_neighbours()
    }

    /// What is scanned.
    pub fn plan(&self) -> &Plan {
        &self.plan
    }

    /// What has been counted so far.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Whether every endpoint has its verdict and all events were taken.
    pub fn is_finished(&self) -> bool {
        self.probes.is_empty()
            && self.events.is_empty()
            && self.hosts.is_empty()
            && self.stats.settled() == self.plan.len()
    }

    /// Why the scan was stopped, if it was.
    pub fn stopped(&self) -> Option<Reason> {
        self.stopped.map(|(reason, _)| reason)
    }

    /// A slot whose attempt has run out of time, or was cut short by a stop: release its socket and
    /// report silence; or, if it [listens](Self::is_listening), that it has
    /// [heard](Self::handle_heard) all.
    pub fn poll_expired(&mut self, now: Time) -> Option<Slot> {
        let tick = if self.stopped.is_some() {
            u64::MAX
        } else {
            now.us / TICK_US
        };
        while let Some(slot) = self.wheel.pop_expired(tick) {
            let probe = &mut self.probes[slot as usize];
            match (probe.phase, self.stopped) {
                (Phase::InFlight, None) if probe.deadline().us > tick * TICK_US => {
                    self.expect_syn(slot, now)
                }
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
        let probe = &mut self.probes[slot as usize];
        let is_routed = self.hosts.get(probe.host).is_routed;
        probe.is_syn_due = !probe.is_syn_due;
        if probe.is_syn_due {
            self.pacer.announce(is_routed);
        } else {
            self.pacer.withdraw(is_routed);
            self.pacer.begin(is_routed, now);
        }
        self.insert_deadline(slot, now);
    }

    /// An attempt waits for its deadline, or for the kernel's next SYN if that comes first, and for
    /// the moment before it.
    fn insert_deadline(&mut self, slot: Slot, now: Time) {
        let probe = &self.probes[slot as usize];
        let lasted_us = now.us_since(probe.started);
        let ahead_us = if probe.is_syn_due { 0 } else { pacing::SPAN_US };
        let syn = probe
            .started
            .plus_us(((lasted_us + ahead_us) / KERNEL_SYN_US + 1) * KERNEL_SYN_US);
        let next = if syn <= probe.deadline() {
            Time::from_us(syn.us - ahead_us)
        } else {
            probe.deadline()
        };
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
        self.paced_until = self
            .outages
            .wait_until(now)
            .or_else(|| self.path.next_send(now))
            .or_else(|| self.unanswered_until(now));
        if self.paced_until.is_some() {
            return None;
        }
        let places = self.budget.cap() as usize + MORE_PROBES;
        let takes_up = self.stats.in_flight + self.backing_off < self.budget.cap()
            && self.probes.len() - self.unsent < places;
        // What our own side held back is not spread.
        let asks_again = !self.rtts.is_deaf(now)
            || self.again_at <= now
            || self.stats.own_errors().next().is_some();
        let allowed = Allowed {
            takes_up,
            asks_again,
            canaries: (self.stats.begun >= CANARIES_FROM).then(|| self.path.is_uncertain()),
            is_out: self.outages.lasts(),
        };
        let is_canary_due = self.outages.canary_due(now);
        let canary = is_canary_due.then(|| self.hosts.any_canary()).flatten();
        let Some((id, task)) = canary.or_else(|| self.hosts.next_task(&self.plan, allowed, now))
        else {
            self.paced_until = (!asks_again && self.hosts.want_turns()).then_some(self.again_at);
            return None;
        };
        let endpoint = match task {
            Task::Again(slot) => self.endpoint_of(slot),
            Task::Port(rank) | Task::Deferred(rank) | Task::Canary(rank) => {
                self.plan.endpoint(&self.hosts.get(id).plan, rank)
            }
        };
        // A port's first attempt.
        let datagram = self.settings.sends_datagrams && matches!(task, Task::Port(_));
        let is_routed = self.hosts.get(id).is_routed;
        self.paced_until = self.pacer.wait_until(is_routed, datagram, now);
        if self.paced_until.is_some() {
            return None;
        }
        if !matches!(task, Task::Port(_)) {
            self.again_at = self
                .rtts
                .spread(self.hosts.waiting() + self.hosts.deferred(), now);
        }
        self.hosts.take(id, task);
        let slot = match task {
            Task::Again(slot) => slot,
            Task::Port(rank) => {
                self.stats.begun += 1;
                self.probes
                    .insert(Probe::new(id, rank, endpoint.port(), Purpose::Verdict))
                    as Slot
            }
            Task::Deferred(rank) => {
                let attempts = self.hosts.get(id).deferred_attempts();
                self.reopen(id, rank, attempts)
            }
            Task::Canary(rank) => {
                self.without_verdict += 1;
                self.probes
                    .insert(Probe::new(id, rank, endpoint.port(), Purpose::Canary))
                    as Slot
            }
        };
        self.begin(slot, now);
        if datagram {
            self.pacer.begin(is_routed, now);
        }
        Some(Connect {
            slot,
            endpoint,
            avoid_self: self.probes[slot as usize].avoid_self,
            datagram,
        })
    }

    /// Until when what stayed unanswered holds the next attempt back. Nobody remembers what does
    /// not get through.
    fn unanswered_until(&mut self, now: Time) -> Option<Time> {
        if self.outages.lasts() {
            return None;
        }
        self.unanswered.wait_until(self.stats.in_flight, now)
    }

    /// The endpoint that a slot's probe is for.
    fn endpoint_of(&self, slot: Slot) -> SocketAddr {
        let probe = &self.probes[slot as usize];
        let mut endpoint = self.hosts.get(probe.host).plan.address;
        endpoint.set_port(probe.port);
        endpoint
    }

    fn begin(&mut self, slot: Slot, now: Time) {
        self.budget.begins();
        let probe = &mut self.probes[slot as usize];
        let asks_once = self.rtts.all().is_known() && self.hosts.asks_once(probe.host);
        let is_asked = self.hosts.link(probe.host) == Link::Asked;
        let host = self.hosts.get_mut(probe.host);
        let attempt = probe.attempts.saturating_add(1);
        let (wait_all, wait) = (self.rtts.wait(self.rtts.all()), self.rtts.wait(host.rtt));
        let is_canary = probe.purpose == Purpose::Canary;
        let is_fresh = attempt == 1 && probe.discards == 0 && !is_canary;
        let (expected, shares) = self.expectations.begin(
            host.question(probe.rank.into(), is_fresh),
            &mut host.sample,
            [wait_all, wait],
            now,
        );
        probe.expected = expected;
        host.contact.begin(now);
        if is_canary {
            host.contact.begin_canary(now);
        }
        match probe.purpose {
            Purpose::Canary if self.outages.lasts() => host.canaries.begin_unheard(),
            Purpose::Canary => host.canaries.begin(probe.rank.into(), now),
            _ => host.begins(expected.chance()),
        }
        let is_first_limit = self.path.on_interval(shares.of_many, wait_all, None, now);
        let path = self.path.view(wait_all, now);
        let prior = probe.prior();
        let of_all = self.path.on_sent(prior, now);
        let of_host = host
            .controller
            .as_mut()
            .map_or(IntervalId::default(), |own| {
                own.on_interval(shares.of_host, wait, Some(&path), now);
                own.on_sent(prior, now)
            });
        probe.intervals = (of_all, of_host);
        // The only attempt gets as long as a last one.
        let which = if asks_once {
            ATTEMPTS_AT_NOBODY
        } else {
            attempt
        };
        let mut attempt_us = self.rtts.attempt_us(host.plan.address, host.rtt, which);
        if host.is_stranger_at(probe.rank.into(), attempt == 1) {
            attempt_us = self.rtts.patient_us(attempt_us);
        }
        if is_asked {
            attempt_us = ASK_US;
        }
        let timeout_us = self.outages.begin(attempt_us, host.is_absent(), now);
        probe.timeout_us = u32::try_from(timeout_us).unwrap_or(u32::MAX);
        probe.before_us = u32::try_from(now.us_since(probe.started)).unwrap_or(u32::MAX);
        probe.phase = Phase::InFlight;
        probe.started = now;
        self.pacer.begin(host.is_routed, now);
        self.insert_deadline(slot, now);
        self.stats.in_flight += 1;
        self.stats.peak_in_flight = self.stats.peak_in_flight.max(self.stats.in_flight);
        if is_asked {
            self.hosts.asks(self.probes[slot as usize].host, slot);
        }
        if is_first_limit {
            // Until then it was too fast for anybody to be heard.
            let ports = self.hosts.start_over();
            self.stats.held -= ports;
            self.stats.begun -= ports;
        }
    }

    /// The next thing to tell. After a stop with `tell_unscanned`, also each endpoint that was
    /// never taken up.
    pub fn poll_event(&mut self, now: Time) -> Option<Event> {
        while self.events.is_empty() && self.is_nothing_under_way() && !self.is_finished() {
            if !self.emit_left(now) {
                break;
            }
        }
        self.next_event()
    }

    /// The next thing found: [`poll_event`](Self::poll_event) without what is told of whole hosts.
    pub fn poll_finding(&mut self, now: Time) -> Option<Finding> {
        loop {
            if let Event::Finding(finding) = self.poll_event(now)? {
                return Some(finding);
            }
        }
    }

    /// When [`poll_expired`](Self::poll_expired) or [`poll_connect`](Self::poll_connect) will have
    /// something again if no outcome comes first; `None` when there is nothing to wait for.
    pub fn poll_timeout(&self) -> Option<Time> {
        let time_of = |tick: u64| Time::from_us(tick * TICK_US);
        let expires = self.wheel.next_tick().map(time_of);
        if self.stopped.is_some() {
            return expires;
        }
        let grows = self.budget.grows_at().filter(|_| self.hosts.want_turns());
        // A host may have its turn, but all others and the path hold it up, or all sockets are in
        // use.
        let is_full = self.stats.in_flight >= self.budget.cap();
        let turns = self
            .hosts
            .next_tick()
            .map(time_of)
            .filter(|_| !is_full)
            .map(|turn| turn.max(self.paced_until.unwrap_or(turn)));
        let admits = self.hosts.admits_at().filter(|_| !is_full);
        [expires, grows, admits, self.paced_until.or(turns)]
            .into_iter()
            .flatten()
            .min()
    }

    /// How fast attempts may go by what the path takes.
    pub fn pace(&self) -> Pace {
        self.path.pace()
    }

    /// How fast attempts may begin from now on: those that pass a router, or all. The other limit,
    /// if there is one, holds beside it.
    pub fn set_rate(&mut self, rate: Rate, now: Time) {
        self.pacer.change(rate, now);
        for (_, probe) in self.probes.iter().filter(|(_, probe)| probe.is_syn_due) {
            self.pacer.announce(self.hosts.get(probe.host).is_routed);
        }
    }

    /// Until when a rate holds the next attempt back, if one does.
    pub fn paced_until(&self) -> Option<Time> {
        self.paced_until
    }

    /// Whether `slot` has an attempt in flight: events for others are stale and mean nothing.
    pub fn is_in_flight(&self, slot: Slot) -> bool {
        self.probes
            .get(slot as usize)
            .is_some_and(|probe| probe.phase == Phase::InFlight)
    }

    /// Where the attempt at `slot` goes, if one is in flight.
    pub fn endpoint(&self, slot: Slot) -> Option<SocketAddr> {
        self.is_in_flight(slot).then(|| self.endpoint_of(slot))
    }

    /// Which one of its endpoint's attempts is in flight at `slot`, counted from 1, and when it
    /// began.
    pub fn attempt(&self, slot: Slot) -> Option<(u16, Time)> {
        self.is_in_flight(slot)
            .then(|| &self.probes[slot as usize])
            .map(|probe| (probe.attempts.saturating_add(1), probe.started))
    }

    /// Whether `slot` is connected and waits for what the port says.
    pub fn is_listening(&self, slot: Slot) -> bool {
        self.probes
            .get(slot as usize)
            .is_some_and(|probe| probe.phase == Phase::Listening)
    }

    /// The port that `slot` listens to.
    pub fn listens_to(&self, slot: Slot) -> Option<SocketAddr> {
        self.is_listening(slot).then(|| self.endpoint_of(slot))
    }

    /// Whether the socket at `slot` is in use.
    pub fn holds_socket(&self, slot: Slot) -> bool {
        self.is_in_flight(slot) || self.is_listening(slot)
    }

    /// Panics where the books do not balance, at whatever moment.
    pub fn check_invariants(&self) {
        let in_phase = |phase| {
            self.probes
                .iter()
                .filter(|(_, probe)| probe.phase == phase)
                .count()
        };
        let (ready, in_flight, back_off) = (
            in_phase(Phase::Ready),
            in_phase(Phase::InFlight),
            in_phase(Phase::BackOff),
        );
        assert_eq!(
            back_off, self.backing_off as usize,
            "backing off is miscounted"
        );
        assert_eq!(
            ready,
            self.hosts.waiting(),
            "other probes wait for their turn than those that are ready"
        );
        let in_flight = in_flight + in_phase(Phase::Listening);
        assert_eq!(
            in_flight, self.stats.in_flight as usize,
            "in flight is miscounted"
        );
        assert_eq!(
            self.all_unsent().count(),
            self.unsent,
            "unsent is miscounted"
        );
        let timed = in_flight + back_off + in_phase(Phase::BackOffAlone);
        assert_eq!(
            timed,
            self.wheel.len(),
            "a probe has no deadline, or a deadline no probe"
        );
        let known = self.stats.settled()
            + self.stats.held
            + (self.probes.len() + self.hosts.deferred()) as u64
            - self.without_verdict;
        assert_eq!(
            known, self.stats.begun,
            "an endpoint was lost or counted twice"
        );
    }

    /// Panics where the scan would never wake up, or at once again. For the moment before the wait,
    /// when nothing more can be begun.
    pub fn check_before_wait(&self, now: Time) {
        self.check_invariants();
        let wakes = self.stats.in_flight > 0 || self.poll_timeout().is_some();
        assert!(
            wakes || self.is_finished(),
            "nothing will ever wake this scan up"
        );
        assert!(
            self.poll_timeout().is_none_or(|next| next > now),
            "the next turn is due already"
        );
    }
}

#[cfg(test)]
mod tests;
