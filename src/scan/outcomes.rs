//! What an outcome means: for the estimates, for the rates, and for the endpoint, which is tried
//! again or has its verdict. When a probe's turn comes is not decided here.

use std::net::{IpAddr, SocketAddr};

use super::estimate::{Ended, LATELY, Outage, network_of};
use super::hosts::{ASKED_AGAIN, Answer, HostId, Link, SHUT_OUT_US, Suspicion};
use super::observation::{Ending, Observation};
use super::pacing::IntervalId;
use super::probe::{Phase, Probe, Purpose};
use super::{
    ATTEMPTS_AT_NOBODY, KERNEL_SYN_US, Outcome, OwnError, Reason, Scan, Slot, TICK_US, Time,
};

/// A failure on our own side is tried again after 10 ms, doubling to a second …
const BACK_OFF_US: u64 = 10_000;
const BACK_OFF_DOUBLINGS: u8 = 7;
/// … and this often, about 14 s in all, before the endpoint is called unscanned.
const OWN_FAILURES: u8 = 20;
/// Where this machine has no way to a network that never answered, while it can send elsewhere,
/// that is believed after so many failures: 630 ms. An outage of its own shows sooner, at networks
/// that answered.
const NO_ROUTE_FAILURES: u8 = 7;
/// So many networks are remembered for that.
const NO_ROUTES: usize = 64;
/// A port that has begun to speak has said what it says first when it stops for so long.
const QUIET_US: u64 = 500_000;
/// So many attempts at an endpoint may be lost to our own speed and not count.
const MOST_DISCARDS: u8 = 10;
/// The kernel is asked so often for the neighbour that an attempt is for.
const MOST_ASKS: u8 = 3;
/// A silent port is asked at least this often where resets stay away and are ignored.
const ATTEMPTS_IN_DOUBT: u16 = 3;
/// What the silence of a port that has answered counts for, in answers that stayed away.
const SILENT_CANARY: f32 = 3.0;
/// So many silent endpoints are remembered for [`Scan::may_have_met`]: more than are given up in
/// two turns of the loop.
const LATELY_SILENT: usize = 512;
/// From so many ports on, and early in the scan, a host's first answer shortens the time of the
/// attempts that wait for it.
const MANY_WAITING: u32 = 256;
const EARLY_US: u64 = 3_000_000;
/// Where everything seems open, ports within so many first ones are asked again.
const LOOKS_AGAIN_WITHIN: u32 = 256;

impl Scan {
    /// The port at `slot`, which is listening, has said something; `is_all`: nothing more is to be
    /// waited for.
    pub fn handle_heard(&mut self, slot: Slot, is_all: bool, now: Time) {
        if !self.is_listening(slot) {
            return;
        }
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
        probe.phase = Phase::Listening;
        probe.started = now;
        // There is no attempt before this any more, and no other place is needed for the time that
        // its answer took.
        probe.before_us = u32::try_from(rtt_us).unwrap_or(u32::MAX);
        probe.timeout_us = u32::try_from(wait_us).unwrap_or(u32::MAX);
        self.wheel
            .insert(slot, probe.deadline().us.div_ceil(TICK_US));
        self.stats.in_flight += 1;
    }

    /// Takes in what became of the attempt at `slot`. Its socket must be released already, or be so
    /// before the next [`poll_connect`](Self::poll_connect), unless it is now
    /// [listening](Self::is_listening). Slots without an attempt in flight are ignored.
    pub fn handle_outcome(&mut self, slot: Slot, outcome: Outcome, now: Time) {
        if !self.is_in_flight(slot) {
            return;
        }
        self.wheel.cancel(slot);
        if std::mem::take(&mut self.probes[slot as usize].is_syn_due) {
            let id = self.probes[slot as usize].host;
            self.pacer.withdraw(self.hosts.get(id).is_routed);
        }
        self.stats.in_flight -= 1;
        let ending = self.ending(slot, outcome);
        if ending != Ending::Answered && self.is_needless(self.probes[slot as usize].host) {
            self.observe_end(slot, Ending::Discarded, now);
            self.count_attempt(slot);
            return self.settle(slot, Reason::HostUp, now);
        }
        if ending != Ending::Answered {
            self.observe_end(slot, ending, now);
        }
        if let Outcome::TransientLocal(error) = outcome {
            return self.send_back(slot, error, now);
        }
        self.budget.progress();
        match outcome {
            Outcome::PermanentLocal(Reason::NoLocalRoute) if self.stopped.is_none() => {
                return self.handle_no_route(slot, now);
            }
            Outcome::PermanentLocal(reason) => return self.settle(slot, reason, now),
            Outcome::SelfConnected => return self.try_another_source(slot, now),
            _ => {}
        }
        let probe = &mut self.probes[slot as usize];
        probe.own_failures = 0;
        let (id, started) = (probe.host, probe.started);
        if let Some(ended) = self.outages.sent(started, now) {
            self.end_outage(ended, now);
        }
        if outcome == Outcome::NoNeighbour {
            return self.handle_no_neighbour(slot, now);
        }
        if outcome == Outcome::Silence
            || (outcome.is_own_silence() && self.hosts.get(id).has_answered())
        {
            return self.handle_silence(slot, now);
        }
        self.hosts.ask_ended(id, Link::Resolved);
        let silent = self.count_attempt(slot);
        let seen = self.probes[slot as usize].observation(silent);
        let own_us = now.us_since(started);
        match outcome {
            Outcome::Connected {
                rtt_us,
                syn_sent_again,
            } => {
                let answered_us = rtt_us.map_or(own_us, u64::from);
                let rtt_us =
                    (!syn_sent_again && answered_us < KERNEL_SYN_US).then_some(answered_us);
                self.observe(
                    slot,
                    &Observation {
                        rtt_us,
                        syn_sent_again,
                        is_open: true,
                        ..seen
                    },
                    now,
                );
                let is_verdict = self.probes[slot as usize].purpose == Purpose::Verdict;
                match self
                    .settings
                    .banner_wait_us
                    .filter(|_| is_verdict && self.stopped.is_none())
                {
                    Some(wait_us) => self.listen(slot, answered_us, wait_us, now),
                    None => self.conclude(slot, Reason::SynAck, None, Some(answered_us), now),
                }
            }
            Outcome::Refused => {
                // From a second on it may belong to the kernel's own second SYN.
                let rtt_us = Some(own_us).filter(|&us| us < KERNEL_SYN_US);
                let seen = Observation {
                    rtt_us,
                    ending,
                    ..seen
                };
                self.observe(slot, &seen, now);
                self.conclude(slot, Reason::ConnRefused, None, Some(own_us), now);
            }
            Outcome::Unreachable { reason, by } => {
                self.handle_unreachable(slot, reason, by, now);
                self.conclude(slot, reason, by, Some(own_us), now);
            }
            Outcome::Silence
            | Outcome::NoNeighbour
            | Outcome::SelfConnected
            | Outcome::PermanentLocal(_)
            | Outcome::TransientLocal(_) => {}
        }
    }

    /// What an outcome is for the rate controllers. Many systems send only so many resets a second:
    /// where they are ignored, they tell as little of the rate as ICMP errors do. One from a port
    /// that was open before is an answer all the same.
    fn ending(&self, slot: Slot, outcome: Outcome) -> Ending {
        let probe = &self.probes[slot as usize];
        let is_ignored = outcome == Outcome::Refused
            && probe.purpose == Purpose::Verdict
            && self.hosts.get(probe.host).ignores_resets;
        if is_ignored {
            Ending::Discarded
        } else {
            outcome.ending()
        }
    }

    /// Counts the attempt that has ended. Returns how many there were before it.
    pub(super) fn count_attempt(&mut self, slot: Slot) -> u16 {
        let probe = &mut self.probes[slot as usize];
        let before = probe.attempts;
        probe.attempts = before.saturating_add(1);
        self.stats.attempts += 1;
        self.stats.controls += u64::from(probe.purpose == Purpose::Canary);
        self.stats.retries += u64::from(before > 0);
        before
    }

    /// The endpoint itself answered: estimators first, then the rate controllers, the path's before
    /// the host's, then what follows for the host. An answer that tells nothing of the rate shows
    /// only that the host is there, and how far away.
    fn observe(&mut self, slot: Slot, seen: &Observation, now: Time) {
        let &Probe {
            host: id,
            rank,
            purpose,
            intervals,
            ..
        } = &self.probes[slot as usize];
        // Measured timeouts grow with the answers; those that the user fixed do not.
        let is_late = self
            .settings
            .timeouts
            .fixed_us
            .is_some_and(|fixed_us| now.us_since(seen.sent) > fixed_us);
        if is_late && self.hosts.get(id).is_absent() {
            self.outages.is_only_late();
        }
        if !self.outages.lasts() {
            self.unanswered.heard(self.stats.in_flight);
        }
        if let Some(ended) = self.outages.answered(is_late, now) {
            self.end_outage(ended, now);
            // One that was only slowness has not ended.
            if !is_late {
                self.learn_from_outage(id, now);
            }
        }
        let tells = seen.ending == Ending::Answered;
        if purpose == Purpose::Verdict && tells {
            self.observe_sample(id, now);
        }
        if tells {
            self.proven_until = self.proven_until.max(seen.sent);
        }
        let is_canary = purpose == Purpose::Canary;
        let is_proof = tells && self.hosts.is_proof(id, is_canary);
        self.observe_contact(id, seen.sent, is_proof, now);
        // Before this answer changes what is known of the rate.
        let was_flooded = seen.lost_at.is_some_and(|at| self.says_nothing(id, at));
        let (is_first_of_all, is_first_of_host) = self.observe_round_trip(id, seen);
        if tells {
            self.observe_rates(id, intervals, seen, now);
        }
        match purpose {
            Purpose::Canary => return self.count_canary(id, seen.sent, false),
            Purpose::SecondLook => return,
            Purpose::Verdict => {}
        }
        if tells {
            self.observe_loss(id, rank.into(), seen, was_flooded, now);
        } else {
            self.hosts.get_mut(id).reset(seen.silent);
        }
        if seen.is_open && self.stopped.is_none() && self.hosts.get(id).has_first_witness() {
            self.reopen_held(id, true);
        }
        if is_first_of_all {
            self.shorten_waits(self.rtts.stranger_us(), |_| true, now);
        }
        if is_first_of_host {
            self.forget_haste(slot);
        }
        let host = self.hosts.get(id);
        let has_many_waiting = host.taken_up() >= MANY_WAITING || now.us < EARLY_US;
        if is_first_of_host && has_many_waiting {
            self.shorten_waits(
                self.rtts.bounded_us(host.rtt),
                |probe| probe.host == id,
                now,
            );
        }
        self.hear(id, rank.into(), now);
        if self.stopped.is_none() && self.hosts.get(id).becomes_suspicious() {
            self.look_again(id);
        }
    }

    /// A host is farther than its network made believe: silence before this answer says nothing.
    fn forget_haste(&mut self, answered: Slot) {
        let id = self.probes[answered as usize].host;
        let host = self.hosts.get_mut(id);
        let least_us = self.rtts.least_us(host.rtt);
        let own = self.probes.iter_mut().filter(|(slot, probe)| {
            let is_other = probe.host == id && *slot != answered as usize;
            let is_hasty = u64::from(probe.timeout_us) < least_us;
            is_other && is_hasty && probe.attempts > 0 && probe.purpose == Purpose::Verdict
        });
        for (_, probe) in own {
            probe.forget_silence();
            host.forgets_silence();
        }
    }

    /// Whether it is the first measured round trip of all, and of its host.
    fn observe_round_trip(&mut self, id: HostId, seen: &Observation) -> (bool, bool) {
        let host = self.hosts.get_mut(id);
        let Some(us) = seen.rtt_us else {
            self.rtts.ambiguous();
            return (false, false);
        };
        let is_first = (!self.rtts.all().is_known(), !host.rtt.is_known());
        host.rtt.sample(us);
        self.rtts.sample(host.plan.address, us);
        self.stats.rtt.count(us);
        is_first
    }

    /// The attempt was not answered by its endpoint: that only the rate controllers have to know.
    fn observe_end(&mut self, slot: Slot, ending: Ending, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, intervals) = (probe.host, probe.intervals);
        let seen = Observation {
            ending,
            ..probe.observation(0)
        };
        self.observe_rates(id, intervals, &seen, now);
    }

    fn observe_rates(
        &mut self,
        id: HostId,
        (of_path, of_host): (IntervalId, IntervalId),
        seen: &Observation,
        now: Time,
    ) {
        let host = self.hosts.get_mut(id);
        let wait_all = self.rtts.wait(self.rtts.all());
        self.path.on_observation(seen, of_path, wait_all, None);
        if let Some(own) = &mut host.controller {
            let path = self.path.view(wait_all, now);
            own.on_observation(seen, of_host, self.rtts.wait(host.rtt), Some(&path));
        }
    }

    /// `was_flooded`: what it lost before was lost to our own speed, which is no loss of the
    /// network's.
    fn observe_loss(
        &mut self,
        id: HostId,
        rank: u32,
        seen: &Observation,
        was_flooded: bool,
        now: Time,
    ) {
        let host = self.hosts.get_mut(id);
        if seen.lost_at.is_none() {
            self.expectations.answered(&seen.expected, &mut host.sample);
            if !host.is_chosen(rank) {
                host.contact.fresh_answered();
            }
        }
        self.stats.lost += u64::from(seen.silent) + u64::from(seen.syn_sent_again);
        let is_late = (seen.silent > 0 && !was_flooded) || seen.syn_sent_again;
        let is_last = seen.silent >= u16::from(self.settings.max_retries);
        host.answer(Answer {
            silent: seen.silent,
            is_late,
            is_last,
            is_open: seen.is_open,
        });
        host.canaries.answered(rank, seen.is_open, now);
        self.shared_loss.answered(&host.loss, is_late, is_last);
    }

    fn end_outage(&mut self, ended: Ended, now: Time) {
        self.stats.outage_us = self.outages.lasted_us;
        let of_hosts = self
            .hosts
            .iter_mut()
            .filter_map(|host| host.controller.as_mut());
        of_hosts
            .chain([&mut self.path])
            .for_each(|controller| controller.on_outage(ended, now));
        let began = self.outages.last_began();
        let was_long = self.outages.last_us() >= SHUT_OUT_US;
        for id in self.hosts.forgive(began, was_long) {
            self.reopen_held(id, true);
        }
    }

    /// Somebody on the way said no. Routers and firewalls limit how often they do, so that tells
    /// nothing of the speed.
    fn handle_unreachable(&mut self, slot: Slot, reason: Reason, by: Option<IpAddr>, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, rank) = (probe.host, u32::from(probe.rank));
        if probe.purpose != Purpose::Verdict {
            return;
        }
        if probe.attempts == 1 {
            self.hosts.get_mut(id).first_is_silent();
        }
        // Where that is the question, a router that speaks for its hosts proves none of them.
        let is_own = || by == Some(self.hosts.get(id).plan.address.ip());
        if reason.speaks_for_presence() && (!self.settings.alive || is_own()) {
            self.hear(id, rank, now);
        } else {
            self.hosts.get_mut(id).silent += 1;
        }
    }

    /// A host is there. What was held back until that was known is told.
    fn hear(&mut self, id: HostId, rank: u32, now: Time) {
        if self.settings.alive {
            return self.end_present(id, Some(rank), now);
        }
        if !self.hosts.heard(id, Some(rank)) {
            return;
        }
        let has_enough = !self.was_hasty(id) && self.was_asked_enough(id);
        if has_enough || self.stopped.is_some() {
            self.emit_held(id, self.held_reason(id), now);
        } else {
            self.reopen_held(id, self.was_hasty(id));
        }
    }

    /// Whether silent ports of a host were given less time than its answers take.
    fn was_hasty(&self, id: HostId) -> bool {
        let host = self.hosts.get(id);
        host.was_hasty(self.rtts.least_us(host.rtt))
    }

    /// A new probe for a port of which so many attempts were silent, and others said nothing.
    pub(super) fn reopen(&mut self, id: HostId, rank: u32, attempts: u16) -> Slot {
        let port = self.plan.endpoint(&self.hosts.get(id).plan, rank).port();
        self.probes.insert(Probe {
            attempts,
            discards: u8::from(attempts == 0),
            ..Probe::new(id, rank, port, Purpose::Verdict)
        }) as Slot
    }

    /// The first answer of all, or of a host that many attempts wait for: `those` need not wait as
    /// long as where nothing is known.
    pub(super) fn shorten_waits(
        &mut self,
        timeout_us: u64,
        those: impl Fn(&Probe) -> bool,
        now: Time,
    ) {
        let waiting = self
            .probes
            .iter()
            .filter(|(_, probe)| probe.phase == Phase::InFlight && those(probe));
        let slots: Vec<Slot> = waiting.map(|(slot, _)| slot as Slot).collect();
        for slot in slots {
            self.shorten_wait(slot, timeout_us, now);
        }
    }

    fn shorten_wait(&mut self, slot: Slot, timeout_us: u64, now: Time) {
        // Not the one whose answer this is, and not one that waits for our own link.
        let link = self.hosts.link(self.probes[slot as usize].host);
        if !self.wheel.holds(slot) || link == Link::Asked {
            return;
        }
        let probe = &mut self.probes[slot as usize];
        // At least until now: what is over is over in the next turn.
        let least_us = now.us_since(probe.started).max(timeout_us);
        probe.timeout_us = probe
            .timeout_us
            .min(u32::try_from(least_us).unwrap_or(u32::MAX));
        self.wheel.cancel(slot);
        self.insert_deadline(slot, now);
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
            Purpose::Canary => SILENT_CANARY,
            _ => probe
                .expected
                .chance()
                .filter(|_| probe.expected.is_telling)
                .unwrap_or(0.0),
        };
        self.unanswered.count(started);
        let outage = self.outages.silent(expected, started, now);
        self.note_outages();
        let is_canary = self.probes[slot as usize].purpose == Purpose::Canary;
        match outage {
            Outage::TooLong => {
                self.count_attempt(slot);
                return self.give_up_network(slot, now);
            }
            _ if is_canary => return self.end_silent_canary(slot, outage, now),
            Outage::Lasts => return self.discard(slot),
            Outage::None => {}
        }
        self.doubt(id, 1.0 - expected, started, now);
        // It was asked in a canary's place.
        let host = self.hosts.get(id);
        if host.contact.is_doubted() && host.contact.asked_us(now) > self.settings.patience_us {
            self.give_up_away(id, now);
        }
        if let Some(reason) = self.hosts.get(id).ended {
            self.count_attempt(slot);
            return self.settle(slot, reason, now);
        }
        if self.hosts.get(id).is_absent() {
            return self.discard(slot);
        }
        if self.hosts.link(id) == Link::Vacant {
            self.count_attempt(slot);
            return self.give_up_absent(slot, now);
        }
        // Nobody may have listened, or it may have been lost to our own speed: then it says
        // nothing, either.
        let discards = self.probes[slot as usize].discards;
        let is_void = discards < MOST_DISCARDS && self.says_nothing(id, started);
        // The kernel has not told whether it was sent at all.
        if self.hosts.link(id) == Link::Asked {
            let ended = match is_void || discards < MOST_ASKS {
                true => Link::Unasked,
                false => Link::Beyond,
            };
            self.hosts.ask_ended(id, ended);
            return self.discard(slot);
        }
        if is_void {
            return self.discard(slot);
        }
        // Meanwhile answers may have turned out to take longer than this attempt was given.
        if given_us < self.rtts.least_us(self.hosts.get(id).rtt) {
            return self.discard(slot);
        }
        if self.rtts.is_deaf(now) && self.probes[slot as usize].attempts > 0 {
            return self.discard(slot);
        }
        let before = self.count_attempt(slot);
        if before == 0 && self.probes[slot as usize].purpose == Purpose::Verdict {
            self.first_is_silent(slot, now);
        }
        let most = match self.hosts.get(id).is_present() {
            true => u16::MAX,
            false if self.rtts.all().is_known() && self.hosts.asks_once(id) => 1,
            false => ATTEMPTS_AT_NOBODY,
        };
        let needed = self.attempts_needed(id).min(most);
        if before + 1 < needed {
            return self.wait_or_defer(slot);
        }
        if self.probes[slot as usize].purpose == Purpose::Verdict {
            self.hosts.get_mut(id).ended_silent(before + 1, given_us);
        }
        self.settle(slot, self.silence(), now);
    }

    /// What a port is called that stayed silent.
    pub(super) fn silence(&self) -> Reason {
        if self.settings.open_only {
            Reason::NoSynAck
        } else {
            Reason::NoResponse
        }
    }

    /// A port's first attempt was silent. Where only services answer no answer may come for long;
    /// too long, and the host is asked whether it still answers.
    fn first_is_silent(&mut self, slot: Slot, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, rank, started) = (probe.host, u32::from(probe.rank), probe.started);
        let most_connections = self.hosts.most_connections();
        let host = self.hosts.get_mut(id);
        host.first_is_silent();
        // Only a canary can tell whether that was chance.
        let can_tell = host.canaries.leave_doubts() && host.canaries.are_left(most_connections);
        let is_too_long = can_tell && !host.is_chosen(rank) && host.contact.fresh_silent(started);
        if is_too_long && host.canaries.last(most_connections, now).is_some() {
            self.hosts.ask_whether_there(id, now);
        }
    }

    /// The network does not come back.
    fn give_up_network(&mut self, slot: Slot, now: Time) {
        self.handle_stop(Reason::NetworkAway, now);
        self.settle(slot, Reason::NetworkAway, now);
    }

    /// This machine has no way to the endpoint. Where it had one that is an outage of its own;
    /// elsewhere it is believed when it stays so for a moment, since that outage may have just
    /// begun.
    fn handle_no_route(&mut self, slot: Slot, now: Time) {
        let address = self.endpoint_of(slot);
        let host = self.probes[slot as usize].host;
        let has_worked = self.hosts.get(host).has_answered() || self.rtts.has_heard(address);
        let outage = self.outages.barred(has_worked, now);
        self.note_outages();
        match outage {
            Outage::Lasts => return self.discard(slot),
            Outage::TooLong => return self.give_up_network(slot, now),
            Outage::None => {}
        }
        let probe = &mut self.probes[slot as usize];
        probe.own_failures += 1;
        let network = network_of(address.ip());
        let is_known = self.no_routes.contains(&network);
        if !is_known && self.stats.attempts > 0 && probe.own_failures < NO_ROUTE_FAILURES {
            return self.back_off(slot, false, now);
        }
        if !is_known {
            self.no_routes.truncate(NO_ROUTES - 1);
            self.no_routes.push_front(network);
        }
        self.keep_unsent(slot, Reason::NoLocalRoute, now);
    }

    /// Somebody on our own link answers for this address, or nobody does. An attempt that waited
    /// for that is sent just now, or never will be.
    pub fn handle_neighbour(&mut self, address: IpAddr, is_there: bool, now: Time) {
        let Some((id, slot)) = self.hosts.asked(address) else {
            return;
        };
        if !self.is_in_flight(slot) {
            return self.hosts.ask_ended(id, Link::Unasked);
        }
        let timeout_us = if is_there {
            self.hosts.ask_ended(id, Link::Resolved);
            if self.settings.alive {
                return self.end_present(id, None, now);
            }
            self.hosts.heard(id, None);
            let host = self.hosts.get(id);
            let (address, rtt) = (host.plan.address, host.rtt);
            self.rtts.attempt_us(address, rtt, ATTEMPTS_AT_NOBODY)
        } else {
            self.hosts.ask_ended(id, Link::Vacant);
            0
        };
        let lasted_us = now.us_since(self.probes[slot as usize].started);
        self.shorten_wait(slot, lasted_us + timeout_us, now);
    }

    /// The kernel's neighbour table was full at some time since the last call: attempts on our own
    /// links may not have been sent, and nothing on their sockets tells.
    pub fn handle_neighbours_full(&mut self, now: Time) {
        if self.hosts.neighbours().are_known() {
            self.hosts.neighbours().was_full(now);
            self.handle_gap(now);
        }
    }

    /// This machine found nobody on its link to send the attempt to.
    fn handle_no_neighbour(&mut self, slot: Slot, now: Time) {
        let id = self.probes[slot as usize].host;
        if self.hosts.get(id).has_answered() || self.hosts.link(id) == Link::Resolved {
            return self.handle_silence(slot, now);
        }
        let is_on_link = matches!(self.hosts.link(id), Link::Asked | Link::Vacant);
        if self.hosts.neighbours().are_known() && !is_on_link {
            // It is the router that is not there.
            return self.handle_no_route(slot, now);
        }
        if self.outages.lasts() {
            return self.discard(slot);
        }
        self.count_attempt(slot);
        self.give_up_absent(slot, now);
    }

    fn note_outages(&mut self) {
        (self.stats.outages, self.stats.outage_us) = (self.outages.count, self.outages.lasted_us);
    }

    /// Whether an attempt that began then may have been lost to our own speed, or while nobody
    /// listened.
    pub(super) fn says_nothing(&self, id: HostId, started: Time) -> bool {
        let controller = self.hosts.get(id).controller.as_ref();
        started < self.gap_until
            || self.outages.had(started)
            || self.path.was_too_fast(started)
            || controller.is_some_and(|own| own.was_too_fast(started))
    }

    /// A canary was answered, or not: what that tells of loss. Both alike do not count while the
    /// rate is too high, or the share would be wrong.
    pub(super) fn count_canary(&mut self, id: HostId, started: Time, is_lost: bool) {
        if !self.says_nothing(id, started) {
            let host = self.hosts.get_mut(id);
            host.loss.answered(is_lost, false, LATELY);
            self.shared_loss.answered(&host.loss, is_lost, false);
        }
    }

    /// So many attempts at a port of this host have to stay silent.
    pub(super) fn attempts_needed(&self, id: HostId) -> u16 {
        let host = self.hosts.get(id);
        let needed = self.shared_loss.attempts_needed(
            &host.loss,
            host.odds(),
            f64::from(self.settings.miss_rate_ppm) / 1e6,
        );
        // Where resets stay away only few answers show how much is lost.
        let least = if host.withholds_resets() {
            ATTEMPTS_IN_DOUBT
        } else {
            1
        };
        needed
            .max(least)
            .min(u16::from(self.settings.max_retries) + 1)
    }

    /// The attempt says nothing about its endpoint: it is made again and does not count.
    fn discard(&mut self, slot: Slot) {
        let discards = &mut self.probes[slot as usize].discards;
        *discards = discards.saturating_add(1);
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
    fn wait_or_defer(&mut self, slot: Slot) {
        let &Probe {
            host: id,
            rank,
            attempts,
            purpose,
            ..
        } = &self.probes[slot as usize];
        let host = self.hosts.get(id);
        if attempts > 1 || purpose != Purpose::Verdict || !host.is_present() || host.rtt.is_known()
        {
            return self.wait(slot);
        }
        self.probes.remove(slot as usize);
        self.hosts.defer(id, rank);
    }

    /// Nearly all ports of a host are open: a few are asked again. They are early ones, when it may
    /// have been honest still, but not the very first, which are often open in truth.
    fn look_again(&mut self, id: HostId) {
        let host = self.hosts.get_mut(id);
        host.suspicion = Suspicion::Asking { asked: 0, open: 0 };
        let (plan, first) = (
            host.plan,
            host.taken_up().min(LOOKS_AGAIN_WITHIN) - u32::from(ASKED_AGAIN),
        );
        for rank in first..first + u32::from(ASKED_AGAIN) {
            let port = self.plan.endpoint(&plan, rank).port();
            let slot = self
                .probes
                .insert(Probe::new(id, rank, port, Purpose::SecondLook))
                as Slot;
            self.without_verdict += 1;
            self.hosts.ask_again(id);
            self.hosts.wait(id, slot);
        }
    }

    /// What a second look at an endpoint has shown.
    pub(super) fn handle_second_look(&mut self, id: HostId, is_open: bool) {
        let host = self.hosts.get_mut(id);
        let Suspicion::Asking { asked, open } = host.suspicion else {
            return;
        };
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

    /// A failure on our own side says nothing of the target: the probe waits and is tried again,
    /// with fewer at once.
    fn send_back(&mut self, slot: Slot, error: OwnError, now: Time) {
        self.stats.own_error(error, 1);
        self.budget.failed(error, self.stats.in_flight, now);
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
            None if probe.own_failures >= OWN_FAILURES => {
                self.keep_unsent(slot, error.reason(), now)
            }
            None => self.back_off(slot, error.reason() != Reason::NoSourcePort, now),
        }
    }

    /// The probe waits without a socket; `holds_others`: what it lacks all others need, too.
    fn back_off(&mut self, slot: Slot, holds_others: bool, now: Time) {
        let probe = &mut self.probes[slot as usize];
        probe.phase = if holds_others {
            Phase::BackOff
        } else {
            Phase::BackOffAlone
        };
        self.backing_off += u32::from(holds_others);
        let wait_us = BACK_OFF_US << (probe.own_failures - 1).min(BACK_OFF_DOUBLINGS);
        self.wheel.insert(
            slot,
            now.plus_us(wait_us.min(1_000_000)).us.div_ceil(TICK_US),
        );
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

    /// Whether a connection that comes from `local`, an address of this machine, may be one with an
    /// attempt of ours: one at
    /// `local`, under way or given up a moment ago. Looks at all probes: for rare questions.
    pub fn may_have_met(&self, local: SocketAddr) -> bool {
        // The unspecified address stands for this machine's own.
        let is_there = |at: SocketAddr| {
            at.port() == local.port() && (at.ip() == local.ip() || at.ip().is_unspecified())
        };
        self.probes
            .iter()
            .any(|(slot, _)| is_there(self.endpoint_of(slot as Slot)))
            || self.lately_silent.iter().any(|&at| is_there(at))
    }

    /// This process, or the whole machine, has not run for a while before `now`: what was under way
    /// may have been answered without anybody there to hear it, so its silence does not count.
    pub fn handle_gap(&mut self, now: Time) {
        self.gap_until = now;
    }
}
