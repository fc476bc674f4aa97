//! How things end: a probe with its verdict, a host when nothing of it is left, the whole scan when
//! it is stopped. The sums add up here.

use std::net::IpAddr;

use super::estimate::SharedLoss;
use super::held::Queued;
use super::hosts::{Host, HostId};
use super::probe::{Phase, Probe, Purpose};
use super::{Event, Finding, HostDone, Reason, Scan, Slot, State, Stats, Time};

/// The most endpoints never taken up that are told one by one after a stop. If there are more, all
/// are only counted.
const TOLD_UNSCANNED: u64 = 1 << 20;
/// The most endpoints kept that this machine could not send to. Further ones get their verdict at
/// once. Each keeps its host known, and there is room for twice as many hosts.
const MOST_UNSENT: usize = 4_096;

impl Scan {
    /// Stops the scan: nothing more is begun, and what has no verdict yet is unscanned for this
    /// `reason`. Attempts in flight come out of [`poll_expired`](Self::poll_expired) at once. A
    /// second stop changes nothing.
    pub fn handle_stop(&mut self, reason: Reason, now: Time) {
        debug_assert_eq!(reason.state(), State::Unscanned);
        if self.stopped.is_some() {
            return;
        }
        self.stopped = Some((reason, now));
        self.paced_until = None;
        for host in self.hosts.iter() {
            count_host(
                host,
                &self.shared_loss,
                self.hosts.silent_after(),
                &mut self.stats,
            );
        }
        self.emit_unsent(now);
        for slot in self.hosts.drain_waiting() {
            self.settle(slot, reason, now);
        }
        for (id, ranks) in self.hosts.drain_deferred() {
            for rank in ranks {
                let slot = self.reopen(id, rank.into(), 1);
                self.settle(slot, reason, now);
            }
        }
        let tells_each = self.settings.tell_unscanned
            && self.plan.len() - self.stats.begun <= TOLD_UNSCANNED
            && reason != Reason::OutOfMemory;
        if !tells_each {
            self.stats
                .settle(reason, self.plan.len() - self.stats.begun);
            self.stats.begun = self.plan.len();
        }
    }

    /// This machine could not send the probe at `slot`, however often it was tried. It may do so
    /// another day: a snapshot has the endpoint among those without a verdict, so it is told at the
    /// very end, when no snapshot follows.
    pub(super) fn keep_unsent(&mut self, slot: Slot, reason: Reason, now: Time) {
        let probe = &mut self.probes[slot as usize];
        let is_kept = self.unsent < MOST_UNSENT
            && probe.purpose == Purpose::Verdict
            && self.hosts.get(probe.host).has_place_to_spare();
        if !is_kept {
            return self.settle(slot, reason, now);
        }
        probe.phase = Phase::Unsent(reason);
        self.unsent += 1;
    }

    /// The probes that could not be sent, and why.
    pub(super) fn all_unsent(&self) -> impl Iterator<Item = (Slot, Reason)> {
        self.probes
            .iter()
            .filter_map(|(slot, probe)| match probe.phase {
                Phase::Unsent(reason) => Some((slot as Slot, reason)),
                _ => None,
            })
    }

    /// What could not be sent has its verdict now.
    fn emit_unsent(&mut self, now: Time) {
        let unsent: Vec<(Slot, Reason)> = self.all_unsent().collect();
        self.unsent = 0;
        for (slot, reason) in unsent {
            self.settle(slot, reason, now);
        }
    }

    /// Whether nothing is under way but what could not be sent.
    pub(super) fn is_nothing_under_way(&self) -> bool {
        self.probes.len() == self.unsent
    }

    /// Whether all is told but what this machine could not send: the last moment for a
    /// [`snapshot`](Self::snapshot). The next [`poll_event`](Self::poll_event) stops the scan.
    pub fn has_only_unsent(&self) -> bool {
        self.unsent > 0
            && self.events.is_empty()
            && self.is_nothing_under_way()
            && !self.hosts.want_turns()
            && self.hosts.poll_silent(true).is_none()
    }

    pub(super) fn settle(&mut self, slot: Slot, reason: Reason, now: Time) {
        self.conclude(slot, reason, None, None, now);
    }

    pub(super) fn conclude(
        &mut self,
        slot: Slot,
        reason: Reason,
        reason_ip: Option<IpAddr>,
        rtt_us: Option<u64>,
        now: Time,
    ) {
        let endpoint = self.endpoint_of(slot);
        let Probe {
            attempts,
            host: id,
            rank,
            purpose,
            started,
            ..
        } = self.probes.remove(slot as usize);
        self.without_verdict -= u64::from(purpose != Purpose::Verdict);
        match purpose {
            Purpose::SecondLook => self.handle_second_look(id, reason == Reason::SynAck),
            Purpose::Canary => {}
            Purpose::Verdict if reason.is_silence() && !self.is_final(id) => {
                self.hosts.get_mut(id).hold(rank, attempts, started);
                self.stats.held += 1;
            }
            // Told with its host.
            Purpose::Verdict if reason == Reason::HostUp && !self.settings.tell_unscanned => {
                self.stats.settle(reason, 1);
            }
            Purpose::Verdict => {
                self.stats.settle(reason, 1);
                self.emit(Event::Finding(Finding {
                    endpoint,
                    reason,
                    reason_ip,
                    rtt_us,
                    attempts,
                    banner: None,
                    at: now,
                }));
            }
        }
        if self.hosts.probe_ended(id) {
            self.finish_host(id, now);
        }
        // After a stop what they have left is counted already.
        while self.stopped.is_none()
            && let Some(silent) = self.hosts.poll_silent(false)
        {
            self.give_up_host(silent, now);
        }
    }

    /// No port of a host is left. Where it has not answered, its ports may have been asked only
    /// once.
    pub(super) fn finish_host(&mut self, id: HostId, now: Time) {
        if self.stopped.is_none() && self.asked_too_little(id) {
            return if self.hosts.get(id).is_silent() {
                self.give_up_host(id, now)
            } else {
                self.reopen_held(id, false)
            };
        }
        if self.stopped.is_none() && self.lacks_witness(id) {
            self.count_resets(id, now);
            return self.reopen_held(id, true);
        }
        if self.stopped.is_none() && self.asks_sample(id) {
            return self.ask_sample(id, now);
        }
        self.end_sample(id, now);
        if self.stopped.is_none() && self.asks_for_proof(id, now) {
            return self.hosts.ask_whether_there(id, now);
        }
        self.emit_held(id, self.held_reason(id), now);
        // After a stop they are all counted.
        if self.stopped.is_none() {
            count_host(
                self.hosts.get(id),
                &self.shared_loss,
                self.hosts.silent_after(),
                &mut self.stats,
            );
        }
        if let Some(reason) = self.hosts.get(id).ended {
            // After a stop what it has left is counted already, and told with that of others.
            return match self.stopped {
                Some(_) => {}
                None => self.drop_host(id, reason, now),
            };
        }
        let host = self.hosts.remove(id, now);
        self.emit_rest(&host, Reason::NoResponse, false, now);
    }

    /// Nobody seems to be there: none of its ports was scanned as it should be.
    fn give_up_host(&mut self, id: HostId, now: Time) {
        self.stats.hosts_silent += 1;
        self.drop_host(id, Reason::SilentHost, now);
    }

    /// Nobody on our own link answers for the address that the attempt at `slot` was for.
    pub(super) fn give_up_absent(&mut self, slot: Slot, now: Time) {
        let probe = self.probes.remove(slot as usize);
        let (id, attempts) = (probe.host, probe.attempts);
        self.hosts
            .get_mut(id)
            .hold(probe.rank, attempts, probe.started);
        self.stats.held += 1;
        self.stats.hosts_absent += 1;
        self.drop_host(id, Reason::NoNeighbor, now);
    }

    fn drop_host(&mut self, id: HostId, reason: Reason, now: Time) {
        self.emit_held(id, reason, now);
        let host = self.hosts.remove(id, now);
        let left = host.untaken().count() as u64;
        self.stats.begun += left;
        self.stats.settle(reason, left);
        self.emit_rest(&host, reason, self.settings.tell_unscanned, now);
    }

    /// What is left when nothing is under way: silent hosts, and after a stop what has no verdict.
    /// Whether there was something.
    pub(super) fn emit_left(&mut self, now: Time) -> bool {
        let Some((stop_reason, at)) = self.stopped else {
            let silent = if self.hosts.want_turns() {
                None
            } else {
                self.hosts.poll_silent(true)
            };
            if let Some(id) = silent {
                self.give_up_host(id, now);
                return true;
            }
            let unsent = self.all_unsent().next();
            let last = unsent.filter(|_| !self.hosts.want_turns());
            last.inspect(|&(_, reason)| self.handle_stop(reason, now));
            return last.is_some();
        };
        if let Some((id, is_silent)) = self.hosts.poll_held() {
            self.emit_held(
                id,
                if is_silent {
                    Reason::SilentHost
                } else {
                    self.held_reason(id)
                },
                at,
            );
            return true;
        }
        // Where not each is told they are counted already.
        let tells_each = self.stats.settled() < self.plan.len();
        let Some((host, is_silent)) = self.hosts.poll_left(&self.plan, tells_each) else {
            return false;
        };
        let reason = if is_silent {
            Reason::SilentHost
        } else {
            stop_reason
        };
        if tells_each {
            let left = host.untaken().count() as u64;
            self.stats.begun += left;
            self.stats.settle(reason, left);
        }
        self.emit_rest(&host, reason, tells_each, at);
        true
    }

    fn emit(&mut self, event: Event) {
        self.events.push_back(Queued::Event(event));
    }

    /// A host is done with, and `reason` is what became of the ports that were never taken up.
    fn emit_rest(&mut self, host: &Host, reason: Reason, tells_each: bool, at: Time) {
        if tells_each {
            self.events.extend(host.untaken().map(|rank| {
                let endpoint = self.plan.endpoint(&host.plan, rank);
                Queued::Event(Event::Finding(Finding {
                    endpoint,
                    reason,
                    reason_ip: None,
                    rtt_us: None,
                    attempts: 0,
                    banner: None,
                    at,
                }))
            }));
        }
        self.emit(Event::HostDone(HostDone {
            address: host.plan.address,
            ports: host.plan.ports,
            rest: reason,
        }));
    }
}

/// Counts a host if it answered, and adds how many of its open ports were probably taken for silent
/// ones, and how many are on hosts like it that were never heard of.
fn count_host(host: &Host, shared: &SharedLoss, silent_after: Option<u32>, stats: &mut Stats) {
    let (open, answered) = (f64::from(host.open), f64::from(host.answered));
    let is_up = host.ended == Some(Reason::HostUp);
    stats.hosts_answering += u64::from(is_up || host.has_answered());
    if is_up || host.answered == 0 {
        return;
    }
    if host.silent > 0 {
        let chances = [shared.chance(&host.loss), shared.bound(&host.loss)];
        stats.missed.on_host(
            chances,
            host.silent_attempts,
            answered,
            f64::from(host.silent),
            open,
        );
    }
    if let Some(asked) = silent_after.filter(|&asked| asked < host.plan.ports) {
        stats
            .missed_hosts
            .with_hosts(host.answering_share(), asked, open);
    }
}
