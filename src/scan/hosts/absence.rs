//! Hosts that may have stopped answering: what they are asked, and what becomes of their turns. It
//! knows turns and times, no verdicts.

use super::contact::Lapse;
use super::host::{NOBODY, Presence};
use super::{HostId, Hosts, Task};
use crate::scan::Slot;
use crate::scan::time::Time;
use crate::scan::verdict::Reason;

impl Hosts {
    /// What a host should do while it is asked whether it still answers. If no canary is left, a
    /// port without a verdict serves as well.
    pub(super) fn asking_task(&mut self, id: HostId, is_out: bool, now: Time) -> Option<Task> {
        let host = &mut self.slab[id.key()];
        if host.contact.asks_at().is_some_and(|at| at > now) {
            return None;
        }
        // Where nothing gets through, no service hears that it is asked once more.
        let is_away = is_out || host.contact.is_doubted();
        let unheard = || host.canaries.any().filter(|_| is_away);
        let canary = host.canaries.last(self.most_connections, now);
        if let Some(rank) = canary.or_else(unheard) {
            return Some(Task::Canary(rank));
        }
        host.contact.ask_later(now);
        if host.canaries.are_left(self.most_connections) {
            return None;
        }
        match host.deferred.front() {
            _ if host.waiting_first != NOBODY => Some(Task::Again(host.waiting_first)),
            Some(&rank) => Some(Task::Deferred(rank.into())),
            None => host.has_more().then(|| Task::Port(host.next_rank())),
        }
    }

    /// Whether there is anything to ask a host that may have stopped answering.
    pub fn can_ask(&self, id: HostId) -> bool {
        let host = self.get(id);
        host.canaries.are_left(self.most_connections)
            || host.waiting_first != NOBODY
            || !host.deferred.is_empty()
            || host.has_more()
    }

    /// Whether a host that is being asked has to prove that it still answers, and can do so now.
    pub fn can_prove(&self, id: HostId, now: Time) -> bool {
        let host = self.get(id);
        host.is_unproven() && host.canaries.last(self.most_connections, now).is_some()
    }

    /// A host is to be asked whether it still answers, before anything else.
    pub fn ask_whether_there(&mut self, id: HostId, now: Time) {
        self.slab[id.key()].contact.ask(now);
        self.place(id);
    }

    /// Nothing is left to be proven by a host.
    pub fn end_asking(&mut self, id: HostId) {
        self.slab[id.key()].contact.end_asking();
        self.take_out(id);
        self.place(id);
    }

    /// The network was away since `began`: no host is to blame for what was missing. Returns the
    /// hosts whose held ports were asked since then.
    pub fn forgive(&mut self, began: Time, was_long: bool) -> Vec<HostId> {
        let mut held = Vec::new();
        for (id, host) in &mut self.slab {
            host.contact.forgive(was_long);
            if was_long && !host.contact.has_answered_since(began) {
                host.loss = host.loss_when_heard;
            }
            if host.is_present() && !host.held.is_empty() && host.held_sent > began {
                held.push(HostId::of(id));
            }
        }
        held
    }

    /// Whether no other host under way has answered.
    pub fn is_only_one(&self, id: HostId) -> bool {
        self.slab
            .iter()
            .all(|(other, host)| HostId::of(other) == id || !host.has_answered())
    }

    /// A host is asked nothing more, for this `reason`. Returns its probes that waited.
    pub fn give_up(&mut self, id: HostId, reason: Reason) -> Vec<Slot> {
        let host = &mut self.slab[id.key()];
        self.active -= usize::from(host.presence != Presence::Silent && host.has_more());
        host.ended = Some(reason);
        host.contact.end_asking();
        self.take_out(id);
        self.drain_waiting_of(id)
    }

    /// A host did not answer whether it still does; `is_out`: nobody did.
    pub fn was_not_told(&mut self, id: HostId, is_out: bool, now: Time) {
        self.slab[id.key()].contact.ask_ended(is_out, now);
        if self.get(id).contact.is_asking() {
            self.take_out(id);
            self.place(id);
        }
    }

    /// A host answered. Returns why it had not for a while, if so.
    pub fn answered(&mut self, id: HostId, sent: Time, is_proof: bool, now: Time) -> Lapse {
        let contact = &self.get(id).contact;
        let was_asking = contact.is_asking();
        // That takes a look at all hosts.
        let is_alone = was_asking && contact.is_doubted() && self.is_only_one(id);
        let contact = &mut self.slab[id.key()].contact;
        let lapse = contact.answered(sent, is_proof, is_alone, now);
        if was_asking {
            self.take_out(id);
            self.place(id);
        }
        lapse
    }
}
