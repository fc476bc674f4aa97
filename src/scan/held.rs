//! Silent ports whose verdict waits: until it is known whether their host is there at all, or
//! whether it still answered when they were asked. It knows no sockets and no pace.

use super::estimate::Ended;
use super::hosts::{HostId, Lapse, Sampling};
use super::{ATTEMPTS_AT_NOBODY, CANARIES_FROM, Event, Finding, Reason, Scan, Time};
use crate::plan::{self, Plan};

/// How many silent ports are asked once more, so slowly that hardly any limit minds.
const SAMPLE: usize = 16;
const SAMPLE_GAP_US: u64 = 50_000;
/// The most silent ports that get a probe at once when they are asked again. Of further ones only
/// the ranks are kept.
const MOST_PROBES: usize = 512;

/// What waits to be told, in order.
#[derive(Clone, Debug)]
pub(super) enum Queued {
    Event(Event),
    /// Silent ports of a host. There may be tens of thousands, so they are told out of here.
    Held(Held),
}

#[derive(Clone, Debug)]
pub(super) struct Held {
    host: plan::Host,
    ranks: std::vec::IntoIter<u16>,
    reason: Reason,
    attempts: u16,
    at: Time,
}

impl Held {
    /// The next one, and whether it is the last.
    fn next(&mut self, plan: &Plan) -> Option<(Finding, bool)> {
        let rank = self.ranks.next()?;
        let finding = Finding {
            endpoint: plan.endpoint(&self.host, rank.into()),
            reason: self.reason,
            reason_ip: None,
            rtt_us: None,
            attempts: self.attempts,
            banner: None,
            at: self.at,
        };
        Some((finding, self.ranks.len() == 0))
    }
}

impl Scan {
    /// The next event.
    pub(super) fn next_event(&mut self) -> Option<Event> {
        let mut held = match self.events.pop_front()? {
            Queued::Event(event) => return Some(event),
            Queued::Held(held) => held,
        };
        let (finding, is_last) = held.next(&self.plan)?;
        if !is_last {
            self.events.push_front(Queued::Held(held));
        }
        Some(Event::Finding(finding))
    }

    /// Whether the silence of a host's port is its verdict, with nothing left that could prove it.
    pub(super) fn is_final(&self, id: HostId) -> bool {
        let host = self.hosts.get(id);
        let cannot_prove = host.proves_nothing(self.hosts.most_connections());
        (host.sampling == Sampling::Done && cannot_prove) || self.outages.is_blind()
    }

    /// Whether a host must show that it still answers before its silent ports are told. Any host's
    /// answer since then will do if the ports are few, since a few fill no table and hardly call
    /// for a ban; or if its services must be left alone for now, and nothing speaks against it.
    pub(super) fn asks_for_proof(&self, id: HostId, now: Time) -> bool {
        let host = self.hosts.get(id);
        let are_few = (host.held.len() as u64) < CANARIES_FROM;
        let most = self.hosts.most_connections();
        let is_doubted = host.contact.is_doubted();
        let has_to_wait = host.canaries.last(most, now).is_none() && !is_doubted;
        let is_proven = (host.was_proven && !is_doubted)
            || ((are_few || has_to_wait) && self.proven_until >= host.held_sent);
        let may_ask = host.is_present() && !host.held.is_empty() && !self.is_final(id);
        may_ask && !is_proven
    }

    /// Whether nothing shows that a host's silent ports were not lost to the rate: then resets have
    /// to be waited for after all.
    pub(super) fn lacks_witness(&self, id: HostId) -> bool {
        let host = self.hosts.get(id);
        !host.held.is_empty() && host.lacks_witness(self.hosts.most_connections())
    }

    /// From now on a host's resets tell of rates and loss after all: the rate is learned anew.
    pub(super) fn count_resets(&mut self, id: HostId, now: Time) {
        let is_alone = self.plan.addresses() == 1;
        let host = self.hosts.get_mut(id);
        host.count_resets();
        let path = is_alone.then_some(&mut self.path);
        if let Some(controller) = host.controller.as_mut().or(path) {
            controller.on_outage(Ended::Outage, now);
        }
    }

    /// Whether a few of a host's silent ports are to be asked once more, slowly, before they are
    /// told: canaries cannot tell whether answers were lost to the rate.
    pub(super) fn asks_sample(&self, id: HostId) -> bool {
        let host = self.hosts.get(id);
        host.is_present()
            && host.sampling == Sampling::Not
            && host.held.len() >= 2 * SAMPLE
            && host.held_attempts > 1
            && host.canaries.leave_doubts()
            && host.canaries.were_silent(self.hosts.most_connections())
    }

    /// Asks them.
    pub(super) fn ask_sample(&mut self, id: HostId, now: Time) {
        let host = self.hosts.get_mut(id);
        host.sampling = Sampling::Asking;
        host.contact.ask_each(SAMPLE_GAP_US, now);
        let (sample, attempts) = (host.take_sample(SAMPLE), host.held_attempts);
        host.reopened(sample.len() as u32, false);
        self.stats.held -= sample.len() as u64;
        self.hosts.ask_all_again(id, sample, attempts - 1);
    }

    /// None of them answered, or none were to be asked.
    pub(super) fn end_sample(&mut self, id: HostId, now: Time) {
        let host = self.hosts.get_mut(id);
        if host.sampling == Sampling::Asking {
            host.contact.ask_each(0, now);
        }
        host.sampling = Sampling::Done;
    }

    /// A port answered. If it is one of the sample, answers were lost to the rate.
    pub(super) fn observe_sample(&mut self, id: HostId, now: Time) {
        let host = self.hosts.get_mut(id);
        if host.sampling != Sampling::Asking || self.stopped.is_some() {
            return;
        }
        host.sampling = Sampling::Not;
        host.contact.ask_slower(SAMPLE_GAP_US, now);
        self.reopen_held(id, true);
    }

    /// The host still answers. If that `shows` that others would have been answered as well, it
    /// proves the silence of what was sent before, unless so many answers were missing that the
    /// host, or the way to it, must have been silent.
    pub(super) fn observe_contact(&mut self, id: HostId, sent: Time, shows: bool, now: Time) {
        let host = self.hosts.get(id);
        let was_absent = host.contact.is_absent();
        let (is_waiting, is_proof) = (!host.held.is_empty(), shows && sent >= host.held_sent);
        let (was_asked, was_doubted) = (host.contact.is_asking(), host.contact.is_doubted());
        let lapse = self.hosts.answered(id, sent, shows, now);
        let is_doubted = was_doubted || lapse == Lapse::Rate;
        if lapse == Lapse::Absence {
            self.count_held_off(id);
            if let Some(own) = &mut self.hosts.get_mut(id).controller {
                own.on_outage(Ended::Outage, now);
            }
        }
        let host = self.hosts.get(id);
        if host.ignores_resets && host.contact.was_rushed() {
            // It is not only resets that stay away.
            self.count_resets(id, now);
        }
        let host = self.hosts.get_mut(id);
        host.loss_when_heard = host.loss;
        if !is_waiting || !self.hosts.get(id).is_present() || self.stopped.is_some() {
            return;
        }
        let host = self.hosts.get_mut(id);
        host.was_proven |= was_asked && is_proof;
        let anew = was_absent || (is_doubted && !host.discount_held());
        if is_doubted || (is_proof && !self.was_asked_enough(id)) {
            self.reopen_held(id, anew);
        } else if is_proof {
            self.emit_held(id, self.silence(), now);
        }
    }

    /// Whether a host's silent ports had as many attempts as they need, as is known by now.
    pub(super) fn was_asked_enough(&self, id: HostId) -> bool {
        self.hosts.get(id).held_attempts >= self.attempts_needed(id)
    }

    /// Silent ports are asked again: where they were, because they were given up sooner, or `anew`,
    /// because their silence said nothing.
    pub(super) fn reopen_held(&mut self, id: HostId, anew: bool) {
        let host = self.hosts.get_mut(id);
        let (held, attempts) = host.take_held();
        host.reopened(held.len() as u32, anew);
        host.was_proven &= !anew;
        self.stats.held -= held.len() as u64;
        let attempts = if anew { 0 } else { attempts };
        if held.len() > MOST_PROBES {
            return self.hosts.ask_all_again(id, held, attempts);
        }
        for rank in held {
            let slot = self.reopen(id, rank.into(), attempts);
            self.hosts.ask_again(id);
            self.hosts.wait(id, slot);
        }
    }

    /// Whether silent ports of a host that has not answered were asked too seldom for a verdict.
    pub(super) fn asked_too_little(&self, id: HostId) -> bool {
        let host = self.hosts.get(id);
        !host.held.is_empty()
            && !host.is_present()
            && host.held_attempts < ATTEMPTS_AT_NOBODY.min(u16::from(self.settings.max_retries) + 1)
    }

    /// What became of silent ports of a host that has not answered, when it is over.
    pub(super) fn held_reason(&self, id: HostId) -> Reason {
        let host = self.hosts.get(id);
        match self.stopped {
            Some((reason, _)) if self.asked_too_little(id) || !self.is_final(id) => reason,
            None if host.is_present() && host.contact.is_doubted() => Reason::HostAway,
            _ => self.silence(),
        }
    }

    /// Tells the verdict on a host's silent ports, which waited for whether it is there at all.
    pub(super) fn emit_held(&mut self, id: HostId, reason: Reason, now: Time) {
        let host = self.hosts.get_mut(id);
        let (plan, (held, attempts)) = (host.plan, host.take_held());
        self.stats.held -= held.len() as u64;
        self.stats.settle(reason, held.len() as u64);
        if reason.leaves_nothing_out() && !self.settings.tell_unscanned {
            return;
        }
        if !held.is_empty() {
            self.events.push_back(Queued::Held(Held {
                host: plan,
                ranks: held.into_iter(),
                reason,
                attempts,
                at: now,
            }));
        }
    }
}
