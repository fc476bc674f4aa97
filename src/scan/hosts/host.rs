//! One host under way: what is known of it, and where it waits. It knows counts and ranks of its
//! own ports, no other host and no probe.

use std::collections::VecDeque;

use super::contact::Contact;
use crate::plan;
use crate::scan::Slot;
use crate::scan::estimate::{Canaries, LATELY, Loss, Question, Rtt, Sample};
use crate::scan::pacing::{RateController, TELLING};
use crate::scan::snapshot::HostSnapshot;
use crate::scan::time::Time;
use crate::scan::verdict::Reason;

/// So many ports of a host that may not be there are asked as patiently as if nothing were known of
/// its network: a neighbour's round trip is a guess, and no bound.
const PATIENT_PORTS: u32 = 4;
/// So many ports of a host that has not answered yet are under way at once.
const LOOKAHEAD: u32 = 64;
/// Ports of which nearly all are open: from so many on the host is suspected of calling everything
/// open.
const MANY_OPEN: u32 = 64;
/// So many canaries are left for each proof to come that it still answers, and one more: some may
/// be lost.
const PROOF_CANARIES: u32 = 2;
/// From one in so many on, resets that come only when asked again show that others stay away.
const LATE_RESETS: u32 = 20;
/// Nobody's slot.
pub(super) const NOBODY: Slot = Slot::MAX;

/// Whether somebody is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Presence {
    /// Nothing has answered, and not much was asked.
    Unknown,
    /// Something has answered.
    Present,
    /// Nothing has answered so often that it is probably nobody.
    Silent,
}

/// How far it is known whether anybody on our own link answers for its address (ARP, NDP).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scan) enum Link {
    /// It is behind a router, or needs no answer for another reason.
    Beyond,
    /// It is on the link and not resolved yet.
    Unasked,
    /// An attempt is under way, which the kernel sends when it is resolved.
    Asked,
    /// Somebody answers for it.
    Resolved,
    /// Nobody does.
    Vacant,
}

/// Where a host waits for its next turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// In the queue of those whose turn comes.
    Queue,
    /// In the wheel, until its rate lets it go on.
    Wheel,
    /// Nowhere: what is under way has to come back first, or nothing is left to take up.
    Away,
    /// In the queue of the silent ones.
    SilentQueue,
}

/// A host under way.
#[derive(Debug)]
pub(in crate::scan) struct Host {
    pub plan: plan::Host,
    pub rtt: Rtt,
    pub loss: Loss,
    /// None where there are too few ports to overrun it, or where the path has no other host.
    pub controller: Option<Box<dyn RateController>>,
    /// Probes that wait for its turn: the first and the last of a list linked through
    /// `Hosts::links`.
    pub(super) waiting_first: Slot,
    pub(super) waiting_last: Slot,
    /// Ranks of ports that were silent once, and wait for their second attempt without a probe.
    pub(super) deferred: VecDeque<u16>,
    /// The fewest attempts at one of them that say something.
    pub(super) deferred_attempts: u16,
    /// Its next port, and those before it that come first: a scan that was broken off had taken
    /// them up.
    pub(super) next: u32,
    pub(super) left: Vec<u16>,
    /// Ports taken up that have no verdict yet.
    pub(super) under_way: u32,
    pub(super) presence: Presence,
    pub(super) link: Link,
    /// Whether what is sent there passes a router, as far as is known.
    pub is_routed: bool,
    /// Whether it has a place in the neighbour table.
    pub(super) has_place: bool,
    pub(super) place: Place,
    /// Ports that answered, those of them that are open, and those that ended silent.
    pub answered: u32,
    pub open: u32,
    pub silent: u32,
    /// Whether resets that come or stay away tell nothing of rates and loss. How many ports refused
    /// all the same, and how many of them only when asked again.
    pub ignores_resets: bool,
    resets: u32,
    late_resets: u32,
    /// Ports that have been silent at least once and have not answered since, and those that
    /// refused.
    pub(super) unheard: u32,
    /// The fewest attempts after which a port ended silent.
    pub silent_attempts: u16,
    /// The least time that the last attempt at one of them was given, in microseconds.
    shortest_us: u32,
    /// Ranks of ports that ended silent while nobody knew whether the host is there, or since it
    /// last answered; the fewest attempts at one of them, and when the last one was sent.
    pub held: Vec<u16>,
    pub held_attempts: u16,
    pub held_sent: Time,
    pub contact: Contact,
    pub sampling: Sampling,
    /// It answered when all of its ports had been asked.
    pub was_proven: bool,
    /// What its loss seemed to be when it last answered.
    pub loss_when_heard: Loss,
    /// Why no port is taken up any more: it stopped answering and did not come back, or it is known
    /// to be there and that was the question.
    pub ended: Option<Reason>,
    pub canaries: Canaries,
    /// Ports asked first because they are often open.
    chosen: u32,
    /// Which share of its ports answers at first.
    pub sample: Sample,
    /// Whether it seems to call everything open.
    pub suspicion: Suspicion,
}

/// A port's answer, as far as its host's counts are concerned.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Answer {
    /// Attempts before it that were silent.
    pub silent: u16,
    /// Whether something was lost before it came.
    pub is_late: bool,
    /// Whether it came at the last attempt that the port would have had.
    pub is_last: bool,
    pub is_open: bool,
}

/// How far the question is whether a host calls everything open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scan) enum Suspicion {
    /// No reason for it.
    None,
    /// So many of its ports are being asked again, and so many of those were open again.
    Asking { asked: u8, open: u8 },
    /// Nothing to it.
    Cleared,
    /// It does.
    Confirmed,
}

/// Whether a few of its silent ports are asked once more, slowly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scan) enum Sampling {
    /// Not yet, or not since one of them answered.
    Not,
    /// They are being asked.
    Asking,
    /// None of them answered.
    Done,
}

/// So many ports are asked again.
pub(in crate::scan) const ASKED_AGAIN: u8 = 3;

impl Host {
    pub(super) fn new(
        plan: plan::Host,
        chosen: u32,
        is_wanted_anyway: bool,
        controller: Option<Box<dyn RateController>>,
    ) -> Self {
        Host {
            plan,
            rtt: Rtt::default(),
            loss: Loss::default(),
            controller,
            waiting_first: NOBODY,
            waiting_last: NOBODY,
            deferred: VecDeque::new(),
            deferred_attempts: 0,
            next: 0,
            left: Vec::new(),
            under_way: 0,
            presence: if is_wanted_anyway {
                Presence::Present
            } else {
                Presence::Unknown
            },
            link: Link::Beyond,
            is_routed: true,
            has_place: false,
            place: Place::Away,
            answered: 0,
            open: 0,
            silent: 0,
            ignores_resets: false,
            resets: 0,
            late_resets: 0,
            unheard: 0,
            silent_attempts: u16::MAX,
            shortest_us: u32::MAX,
            held: Vec::new(),
            held_attempts: u16::MAX,
            held_sent: Time::default(),
            contact: Contact::default(),
            sampling: Sampling::Not,
            was_proven: false,
            loss_when_heard: Loss::default(),
            ended: None,
            canaries: Canaries::default(),
            chosen,
            sample: Sample::default(),
            suspicion: Suspicion::None,
        }
    }

    /// Whether a further port may be taken up: of a host that may not be there not too many at
    /// once.
    pub(super) fn may_take_up(&self) -> bool {
        let most = match (self.link, self.presence) {
            (Link::Unasked, _) => 1,
            (Link::Asked | Link::Vacant, _) => 0,
            (_, Presence::Unknown) => LOOKAHEAD,
            _ => u32::MAX,
        };
        self.has_more() && self.under_way < most
    }

    /// Whether a port under way may stay so to the end without being in the way of others.
    pub fn has_place_to_spare(&self) -> bool {
        self.is_present() || self.under_way < LOOKAHEAD / 2
    }

    pub(super) fn has_more(&self) -> bool {
        self.ended.is_none() && (self.next < self.plan.ports || !self.left.is_empty())
    }

    pub(super) fn is_done(&self) -> bool {
        self.under_way == 0 && !self.has_more() && !self.contact.is_asking()
    }

    /// The port to be taken up next, by its rank.
    pub(super) fn next_rank(&self) -> u32 {
        self.left.last().map_or(self.next, |&rank| rank.into())
    }

    pub(super) fn take_next(&mut self) {
        if self.left.pop().is_none() {
            self.next += 1;
        }
    }

    /// The ports that were never taken up, by their ranks.
    pub fn untaken(&self) -> impl Iterator<Item = u32> + '_ {
        self.left
            .iter()
            .map(|&rank| rank.into())
            .chain(self.next..self.plan.ports)
    }

    /// As it was when the snapshot was taken; none that fits no host.
    pub(super) fn restored(self, snapshot: &HostSnapshot) -> Option<Self> {
        let presence = match (snapshot.is_present, snapshot.is_silent) {
            (true, _) => Presence::Present,
            (false, true) => Presence::Silent,
            (false, false) => self.presence,
        };
        snapshot.fits(self.plan.ports).then(|| Host {
            next: snapshot.taken_up,
            left: snapshot.left.clone(),
            held: snapshot.held.clone(),
            held_attempts: snapshot.silent_attempts,
            silent_attempts: snapshot.silent_attempts,
            presence,
            suspicion: if snapshot.was_doubted {
                Suspicion::Cleared
            } else {
                Suspicion::None
            },
            answered: snapshot.answered,
            open: snapshot.open,
            silent: snapshot.silent,
            resets: snapshot.resets,
            unheard: snapshot.silent + snapshot.resets,
            canaries: Canaries::known_before(&snapshot.known, snapshot.known_refuse),
            ..self
        })
    }

    /// Its ports that have no verdict yet, if none is under way.
    pub fn without_verdict(&self) -> u64 {
        self.left.len() as u64 + self.held.len() as u64 + u64::from(self.plan.ports - self.next)
    }

    /// What an attempt at the port of this rank asks.
    pub fn question(&self, rank: u32, is_fresh: bool) -> Question {
        Question {
            is_fresh,
            ignores_resets: self.ignores_resets,
            is_chosen: self.is_chosen(rank),
            answered: self.answered,
            unheard: self.unheard,
        }
    }

    /// Whether the port of this rank was chosen to be asked first, because it is often open.
    pub fn is_chosen(&self, rank: u32) -> bool {
        rank < self.chosen
    }

    /// How many ports answered for each that was silent so far.
    pub fn odds(&self) -> f64 {
        (f64::from(self.answered) + 0.5) / (f64::from(self.unheard) + 0.5)
    }

    /// The share of ports that answer, of those that came to an end.
    pub fn answering_share(&self) -> f64 {
        let answered = self.answered + self.resets;
        (f64::from(answered) + 0.5) / (f64::from(answered + self.silent) + 1.0)
    }

    /// A port stayed silent to its end, after so many attempts, the last of which was given this
    /// long.
    pub fn ended_silent(&mut self, attempts: u16, given_us: u64) {
        self.silent += 1;
        self.silent_attempts = self.silent_attempts.min(attempts);
        let given_us = u32::try_from(given_us).unwrap_or(u32::MAX);
        self.shortest_us = self.shortest_us.min(given_us);
    }

    /// Whether a port that ended silent was given less time than an answer takes, as is known by
    /// now.
    pub fn was_hasty(&self, least_us: u64) -> bool {
        u64::from(self.shortest_us) < least_us
    }

    /// Whether nothing is known yet of how far it is but what others of its network suggest, and an
    /// attempt at the port of this rank is to be given the time for a host that is farther: a last
    /// attempt, and where it is not sure that somebody is there, those at a few ports.
    pub fn is_stranger_at(&self, rank: u32, is_first_attempt: bool) -> bool {
        let is_patient = if self.is_present() {
            !is_first_attempt
        } else {
            rank < PATIENT_PORTS
        };
        is_patient && !self.has_answered() && !self.rtt.is_known()
    }

    /// So many ports that had ended silent are asked again; `anew`: as if they had not been asked.
    pub fn reopened(&mut self, ports: u32, anew: bool) {
        self.silent -= ports;
        if self.silent == 0 {
            self.silent_attempts = u16::MAX;
            self.shortest_us = u32::MAX;
        }
        if anew {
            self.unheard -= ports;
        }
    }

    /// A port that was silent and has no verdict yet counts as not asked.
    pub fn forgets_silence(&mut self) {
        self.unheard -= 1;
    }

    /// A port stayed silent to its end, after so many attempts, and its verdict has to wait; the
    /// last of them was sent then.
    pub fn hold(&mut self, rank: u16, attempts: u16, sent: Time) {
        self.held.push(rank);
        self.held_attempts = self.held_attempts.min(attempts);
        self.held_sent = self.held_sent.max(sent);
    }

    /// The last attempt at each of them may say nothing. As a loss it counts all the same: the
    /// doubt may be wrong. Whether there are others.
    pub fn discount_held(&mut self) -> bool {
        let has_others = self.held_attempts > 1;
        self.held_attempts -= u16::from(has_others);
        has_others
    }

    /// So many of them, evenly spread.
    pub fn take_sample(&mut self, most: usize) -> Vec<u16> {
        let every = self.held.len().div_ceil(most.max(1)).max(1);
        let (mut at, mut sample) = (0, Vec::with_capacity(most));
        self.held.retain(|&rank| {
            at += 1;
            let is_taken = at % every == 0;
            if is_taken {
                sample.push(rank);
            }
            !is_taken
        });
        sample
    }

    /// These ports are to be asked again in their turn, after so many attempts.
    pub(super) fn defer(&mut self, ranks: impl IntoIterator<Item = u16>, attempts: u16) {
        self.deferred_attempts = if self.deferred.is_empty() {
            attempts
        } else {
            attempts.min(self.deferred_attempts)
        };
        self.deferred.extend(ranks);
    }

    /// So many attempts at a port whose turn comes again say something.
    pub fn deferred_attempts(&self) -> u16 {
        self.deferred_attempts
    }

    /// Those ports, and the fewest attempts at one of them.
    pub fn take_held(&mut self) -> (Vec<u16>, u16) {
        let attempts = std::mem::replace(&mut self.held_attempts, u16::MAX);
        (std::mem::take(&mut self.held), attempts)
    }

    /// Whether a port that stays silent may be called so at once: nothing shows whether the host
    /// still answers.
    pub fn proves_nothing(&self, most_connections: u8) -> bool {
        self.is_present() && !self.canaries.are_left(most_connections)
    }

    /// Whether an answer shows that others would have been answered as well. Where only services
    /// answer, one of them may get through where hardly anything does: a canary has to show it.
    pub fn is_proof(&self, is_canary: bool, most_connections: u8) -> bool {
        let is_known = self.open > 0 || !self.ignores_resets;
        is_canary
            || self.contact.is_asking()
            || (is_known
                && !(self.canaries.leave_doubts() && self.canaries.are_left(most_connections)))
    }

    /// Whether it has to prove that it still answers before it is asked anything else. Where its
    /// services have to be left alone for now it has not, if nothing speaks against it.
    pub fn has_to_prove(&self, most_connections: u8, now: Time) -> bool {
        self.is_present()
            && self.is_unproven()
            && (self.contact.is_doubted()
                || (self.contact.may_be_rushed() && self.canaries.are_left(most_connections))
                || self.contact.awaits_canary()
                || (self.withholds_resets() && self.canaries.last(most_connections, now).is_some())
                || self.canaries.is_ready(most_connections, now))
    }

    /// Whether it was asked so much since it last proved that it still answers.
    pub(super) fn is_unproven(&self) -> bool {
        self.contact.is_unproven() && self.canaries.leave_doubts()
    }

    /// Whether it has stopped answering, as far as is known.
    pub fn is_absent(&self) -> bool {
        self.contact.is_asking() && self.contact.is_absent()
    }

    /// Whether it was given up.
    pub fn is_silent(&self) -> bool {
        self.presence == Presence::Silent
    }

    /// Whether it has answered.
    pub fn is_present(&self) -> bool {
        self.presence == Presence::Present
    }

    /// How far it is, if these ranks are under way: `open` of them have answered, and will have to
    /// do so again.
    pub(super) fn snapshot(&self, under_way: Vec<u16>, open: u32) -> HostSnapshot {
        // What waits only for a proof is asked again: who asks then has not heard the host yet.
        let (unproven, held) = if self.is_present() {
            (self.held.clone(), Vec::new())
        } else {
            (Vec::new(), self.held.clone())
        };
        let silent = self.silent - unproven.len() as u32;
        let (mut known, known_refuse) = self.canaries.known();
        known.retain(|rank| !under_way.contains(rank));
        HostSnapshot {
            place: self.plan.place(),
            taken_up: self.next,
            left: [
                self.left.clone(),
                under_way,
                self.deferred.iter().copied().collect(),
                unproven,
            ]
            .concat(),
            held,
            silent_attempts: self.silent_attempts,
            is_present: self.presence == Presence::Present,
            is_silent: self.presence == Presence::Silent,
            was_doubted: matches!(self.suspicion, Suspicion::Cleared | Suspicion::Confirmed),
            answered: self.answered - open,
            open: self.open - open,
            silent,
            resets: self.resets,
            known,
            known_refuse,
        }
    }

    /// Ports that were taken up so far.
    pub fn taken_up(&self) -> u32 {
        self.next
    }

    /// Whether any of its ports has answered.
    pub fn has_answered(&self) -> bool {
        self.answered + self.resets > 0
    }

    /// A port refused, after so many attempts that were silent, and that tells nothing of rates and
    /// loss.
    pub fn reset(&mut self, silent: u16) {
        self.resets += 1;
        self.late_resets += u32::from(silent > 0);
        self.unheard += u32::from(silent == 0);
    }

    /// Whether resets stay away, and no open port that may be asked again shows that it is only
    /// them.
    pub fn lacks_witness(&self, most_connections: u8) -> bool {
        self.withholds_resets()
            && (self.open == 0 || most_connections < 2 || self.contact.is_unproven())
    }

    /// Whether resets stay away, and are ignored.
    pub fn withholds_resets(&self) -> bool {
        self.ignores_resets && LATE_RESETS * self.late_resets > self.resets
    }

    /// Whether its first open port has just answered: until then nothing showed whether others got
    /// through.
    pub fn has_first_witness(&self) -> bool {
        self.ignores_resets && self.open == 1 && !self.held.is_empty()
    }

    /// Only open ports are to tell of rates and loss.
    pub(super) fn ignore_resets(&mut self) {
        self.ignores_resets = true;
        self.contact = Contact::with_long_windows();
    }

    /// From now on resets tell of rates and loss after all.
    pub fn count_resets(&mut self) {
        self.ignores_resets = false;
        self.contact.forget_rate();
    }

    /// A port's first attempt was not answered by the port.
    pub fn first_is_silent(&mut self) {
        self.unheard += 1;
    }

    /// A port answered.
    pub fn answer(&mut self, answer: Answer) {
        self.answered += 1;
        self.open += u32::from(answer.is_open);
        self.unheard -= u32::from(answer.silent > 0);
        self.loss.answered(answer.is_late, answer.is_last, LATELY);
    }

    /// An attempt begins that brings an answer with this chance, if that is known.
    pub fn begins(&mut self, chance: Option<f32>) {
        if chance.is_none_or(|chance| chance < TELLING) {
            self.canaries.wait();
        }
    }

    /// Whether it is time to ask a port again that is known to answer, and which.
    pub(super) fn canary_due(&self, often: bool, most: u8, now: Time) -> Option<u32> {
        let controller = self.controller.as_ref();
        let is_uncertain = controller.is_some_and(|own| own.is_uncertain());
        // Services may be asked so seldom that enough has to be left for the proofs to come.
        let left = || self.canaries.left(most, now);
        let untaken = self.plan.ports - self.next + self.left.len() as u32;
        let proofs = || PROOF_CANARIES * (1 + self.contact.proofs_to_come(untaken));
        if self.canaries.leave_doubts() && left() <= proofs() {
            return None;
        }
        self.canaries.due(often || is_uncertain, most, now)
    }

    /// Whether nearly everything it answered was open, for the first time.
    pub fn becomes_suspicious(&self) -> bool {
        let answered = self.answered + self.resets;
        self.suspicion == Suspicion::None
            && self.open >= MANY_OPEN
            && self.open >= answered - answered / 16
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{Plan, Target};

    /// A host with this many ports that has not answered yet.
    fn host(ports: u16) -> Host {
        let plan = Plan::builder()
            .target(Target::parse("192.0.2.7").expect("a target"))
            .ports((1..=ports).collect())
            .build(&mut |_| unreachable!("no names"))
            .expect("a plan");
        let host = plan.host_at(0).expect("the only one");
        Host::new(host, 0, false, None)
    }

    /// The ports of these ranks answer their first attempt.
    fn answers(host: &mut Host, ranks: std::ops::Range<u32>, is_open: bool) {
        ranks.for_each(|rank| {
            host.answer(Answer {
                is_open,
                ..Answer::default()
            });
            host.canaries.answered(rank, is_open, Time::default());
        });
    }

    #[test]
    fn ports_under_way_depend_on_link_and_presence() {
        // How many ports may be under way at once, of 100.
        let check = |link, presence, expect: u32| {
            let mut host = host(100);
            host.link = link;
            host.presence = presence;
            while host.may_take_up() {
                host.take_next();
                host.under_way += 1;
            }
            assert_eq!(host.under_way, expect, "{link:?} {presence:?}");
        };
        for link in [Link::Beyond, Link::Resolved] {
            check(link, Presence::Unknown, LOOKAHEAD);
            check(link, Presence::Present, 100);
            check(link, Presence::Silent, 100);
        }
        for presence in [Presence::Unknown, Presence::Present, Presence::Silent] {
            check(Link::Unasked, presence, 1);
            check(Link::Asked, presence, 0);
            check(Link::Vacant, presence, 0);
        }
    }

    #[test]
    fn ports_left_by_an_earlier_scan_come_first() {
        let mut host = host(5);
        host.next = 3;
        host.left = vec![0, 2];
        let mut taken = Vec::new();
        while host.has_more() {
            taken.push(host.next_rank());
            host.take_next();
        }
        assert_eq!(taken, [2, 0, 3, 4]);
        assert!(host.is_done());
    }

    #[test]
    fn odds_and_shares_of_answers() {
        // Ports that answered at once, that answered a retry, that ended silent and that were only
        // silent once so far; answers per silent port, and the share of answers among the ended.
        let check = |[at_once, late, silent, once]: [u32; 4], odds: f64, share: f64| {
            let mut host = host(1_000);
            answers(&mut host, 0..at_once, false);
            (0..late + silent + once).for_each(|_| host.first_is_silent());
            let lost = Answer {
                silent: 1,
                is_late: true,
                ..Answer::default()
            };
            (0..late).for_each(|_| host.answer(lost));
            (0..silent).for_each(|_| host.ended_silent(2, 100_000));
            let case = [at_once, late, silent, once];
            assert!(
                (host.odds() - odds).abs() < 1e-9,
                "{case:?}: {}",
                host.odds()
            );
            let answering = host.answering_share();
            assert!((answering - share).abs() < 1e-9, "{case:?}: {answering}");
        };
        check([0, 0, 0, 0], 1.0, 0.5);
        check([7, 0, 0, 0], 15.0, 7.5 / 8.0);
        check([0, 0, 7, 0], 1.0 / 15.0, 0.5 / 8.0);
        // A port that answered a retry is no longer silent.
        check([2, 2, 4, 0], 1.0, 0.5);
        // One that has not ended counts for the odds only.
        check([4, 0, 0, 4], 1.0, 0.9);
    }

    #[test]
    fn silent_ports_that_are_asked_again_have_not_ended() {
        let mut host = host(10);
        host.ended_silent(3, 100_000);
        host.ended_silent(2, 100_000);
        assert_eq!((host.silent, host.silent_attempts), (2, 2));
        host.reopened(2, false);
        assert_eq!((host.silent, host.silent_attempts), (0, u16::MAX));
    }

    #[test]
    fn canaries_come_after_attempts_that_tell_little() {
        // Whether a canary is due once 100 attempts with this chance of an answer have begun.
        let check = |has_answered: bool, chance: Option<f32>, expect: Option<u32>| {
            let mut host = host(1_000);
            answers(&mut host, 7..7 + u32::from(has_answered), false);
            (0..100).for_each(|_| host.begins(chance));
            assert_eq!(
                host.canary_due(false, 8, Time::default()),
                expect,
                "{has_answered} {chance:?}"
            );
            host.canaries.begin(0, Time::default());
            assert_eq!(
                host.canary_due(false, 8, Time::default()),
                None,
                "it has just begun"
            );
        };
        check(false, None, None);
        check(true, None, Some(7));
        check(true, Some(TELLING - 0.1), Some(7));
        check(true, Some(TELLING), None);
    }

    #[test]
    fn a_host_is_suspected_once_where_nearly_everything_is_open() {
        let check = |suspicion, open: u32, closed: u32, expect: bool| {
            let mut host = host(1_000);
            host.suspicion = suspicion;
            answers(&mut host, 0..open, true);
            answers(&mut host, open..open + closed, false);
            let is_suspicious = host.becomes_suspicious();
            assert_eq!(is_suspicious, expect, "{suspicion:?} {open} {closed}");
        };
        check(Suspicion::None, MANY_OPEN - 1, 0, false);
        check(Suspicion::None, MANY_OPEN, 0, true);
        // One in sixteen may be closed.
        check(Suspicion::None, 75, 5, true);
        check(Suspicion::None, 74, 6, false);
        let asking = Suspicion::Asking { asked: 1, open: 1 };
        for suspicion in [asking, Suspicion::Cleared, Suspicion::Confirmed] {
            check(suspicion, 1_000, 0, false);
        }
    }

    #[test]
    fn a_snapshot_brings_back_what_it_was_taken_of() {
        // 20 ports were taken up: 6 answered, 3 ended silent, 2 of them held, 11 are under way.
        let check = |presence, suspicion, expect_suspicion| {
            let mut before = host(100);
            before.next = 20;
            before.presence = presence;
            before.suspicion = suspicion;
            answers(&mut before, 0..4, true);
            answers(&mut before, 4..6, false);
            (0..3).for_each(|_| before.ended_silent(2, 100_000));
            before.held = vec![6, 7];
            before.deferred = (9..12).collect();

            let snapshot = before.snapshot((12..20).collect(), 0);
            let after = host(100).restored(&snapshot).expect("it fits");
            assert_eq!(after.presence, presence);
            assert_eq!(after.suspicion, expect_suspicion);
            // Who asks next has not heard the host yet, so held ports prove nothing any more.
            let unproven = if presence == Presence::Present { 2 } else { 0 };
            assert_eq!([after.answered, after.open], [6, 4]);
            assert_eq!([after.silent, after.unheard], [3 - unproven; 2]);
            assert_eq!(after.silent_attempts, 2);
            assert_eq!(after.without_verdict(), 11 + 2 + 80);
            assert_eq!(after.under_way, 0);
            assert!(!after.proves_nothing(8), "it is known who can tell");
            assert_eq!(after.untaken().count(), 11 + 80 + unproven as usize);
            assert_eq!(after.snapshot(Vec::new(), 0), snapshot);
        };
        let asking = Suspicion::Asking { asked: 2, open: 2 };
        for presence in [Presence::Unknown, Presence::Present, Presence::Silent] {
            check(presence, Suspicion::None, Suspicion::None);
            check(presence, asking, Suspicion::None);
            check(presence, Suspicion::Cleared, Suspicion::Cleared);
            check(presence, Suspicion::Confirmed, Suspicion::Cleared);
        }
    }

    #[test]
    fn open_ports_under_way_answer_again_after_a_restart() {
        let mut host = host(10);
        host.next = 3;
        answers(&mut host, 0..3, true);
        let snapshot = host.snapshot(vec![1], 1);
        assert_eq!((snapshot.answered, snapshot.open), (2, 2));
    }

    #[test]
    fn a_snapshot_of_another_host_is_refused() {
        let snapshot = HostSnapshot {
            taken_up: 50,
            ..HostSnapshot::default()
        };
        assert!(host(50).restored(&snapshot).is_some());
        assert!(host(49).restored(&snapshot).is_none());
    }
}
