//! Hosts that had answered and have stopped: how that is noticed, what it teaches of their pace,
//! and what becomes of their ports if they stay away. It knows no sockets.

use super::estimate::Outage;
use super::hosts::{HostId, SHUT_OUT_US};
use super::{Reason, Scan, Slot, Time};

/// No answer is so sure that its absence is less likely than this.
const LEAST_CHANCE: f32 = 0.02;

impl Scan {
    /// An attempt was not answered, as happens with this `chance` while the host answers. After
    /// several of them, while others are answered, it has stopped.
    pub(super) fn doubt(&mut self, id: HostId, chance: f32, started: Time, now: Time) {
        if chance >= 1.0 || self.outages.is_blind() || self.says_nothing(id, started) {
            return;
        }
        let host = self.hosts.get_mut(id);
        if !host.has_answered() || host.contact.has_answered_since(started) {
            return;
        }
        host.contact.missed(chance.max(LEAST_CHANCE));
        if host.contact.is_absent() && self.outages.has_heard_since(started) {
            self.hosts.ask_whether_there(id, now);
        }
    }

    /// A canary was not answered. Where it is not the network that is away, that tells of loss, and
    /// that the host may have stopped answering; or, where the host answers others, only this
    /// service.
    pub(super) fn end_silent_canary(&mut self, slot: Slot, outage: Outage, now: Time) {
        let probe = &self.probes[slot as usize];
        let (id, rank, started) = (probe.host, probe.rank.into(), probe.started);
        if outage == Outage::None {
            self.count_canary(id, started, true);
            let loss = self.shared_loss.chance(&self.hosts.get(id).loss) as f32;
            self.doubt(id, loss, started, now);
            let says_nothing = self.says_nothing(id, started);
            let host = self.hosts.get_mut(id);
            if !says_nothing {
                host.contact.lost_canary(loss);
            }
            host.canaries.missed();
            if host.contact.has_answered_since(started) {
                host.canaries.shun(rank);
            }
        }
        self.hosts.was_not_told(id, outage != Outage::None, now);
        let contact = &self.hosts.get(id).contact;
        let (is_asking, asked_us) = (contact.is_asking(), contact.asked_us(now));
        self.count_attempt(slot);
        self.settle(slot, Reason::NoResponse, now);
        let is_over =
            asked_us > self.settings.patience_us || (is_asking && !self.hosts.can_ask(id));
        if outage == Outage::None && is_over {
            self.give_up_away(id, now);
        } else if is_asking && !self.asks_for_proof(id, now) && !self.hosts.can_prove(id, now) {
            self.hosts.end_asking(id);
            if self.hosts.is_done(id) {
                self.finish_host(id, now);
            }
        }
    }

    /// What shut us out was a full table on the way, or this host: the host if few attempts were
    /// unanswered and nobody else has answered.
    pub(super) fn learn_from_outage(&mut self, id: HostId, now: Time) {
        if self.outages.last_us() < SHUT_OUT_US {
            return;
        }
        if self.unanswered.may_fill_a_table() {
            self.unanswered.learn(self.outages.last_began(), now);
        } else if self.hosts.is_only_one(id) {
            self.hosts.get_mut(id).contact.slow_down(now);
            self.count_held_off(id);
        }
    }

    /// A host has shut us out: what was lost until now was not lost on the way.
    pub(super) fn count_held_off(&mut self, id: HostId) {
        self.stats.hosts_held_off += 1;
        let host = self.hosts.get_mut(id);
        host.loss = host.loss_when_heard;
    }

    /// A host that stopped answering does not come back: what has no verdict is left out.
    pub(super) fn give_up_away(&mut self, id: HostId, now: Time) {
        self.stats.hosts_away += 1;
        self.leave_out(id, Reason::HostAway, now);
    }

    /// A host is asked nothing more, for this `reason`.
    pub(super) fn leave_out(&mut self, id: HostId, reason: Reason, now: Time) {
        let held = self.hosts.get(id).held.len() as u32;
        self.emit_held(id, reason, now);
        self.hosts.get_mut(id).reopened(held, true);
        let waiting = self.hosts.give_up(id, reason);
        let deferred = self.hosts.drain_deferred_of(id);
        let is_idle = waiting.is_empty() && deferred.is_empty();
        for slot in waiting {
            self.settle(slot, reason, now);
        }
        for rank in deferred {
            let slot = self.reopen(id, rank.into(), 1);
            self.settle(slot, reason, now);
        }
        if is_idle && self.hosts.is_done(id) {
            self.finish_host(id, now);
        }
    }
}
