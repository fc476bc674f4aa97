//! How fast attempts may go: a model of what a path, or one host, can take. It knows rates, times
//! and counts of answers; it knows no endpoint and no socket.
//!
//! A TCP sender learns from its acknowledgements. A scanner gets none from most ports, so silence
//! proves nothing. But some attempts are *witnesses*, whose answer was all but certain: nearly all
//! ports of that host answer, or this very port has answered before. And a port that answers only
//! when it is asked again is witness to a loss. What witnesses say is put to a sequential test
//! (Wald 1945, Page 1954): comes rather what usually comes, or clearly less? If less, the rate is
//! cut to half of what got through, to try whether that helps. If it does, what got through is the
//! limit (the delivery rate of BBR, Cardwell et al. 2016). If it does not, so much is always lost
//! here, and the rate is restored. And some troubles pass by themselves (a machine or a radio link
//! that stands still for a moment): a limit must explain what got through before, too.

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use super::gcra::Gcra;
use super::interval::{CERTAIN, Evidence, Interval, TELLING};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::{Ending, Observation};
use crate::scan::time::Time;

/// The pace of one path or host.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    per_s: f32,
    reason: PaceReason,
    gcra: Gcra,
    mode: Mode,
    /// The rate, not something else, held attempts back since it was last changed.
    was_limiting: bool,
    /// When blind growth was last considered, and the answers since then.
    looked_at: Time,
    answers: u32,
    /// When the rate was changed, and what witnesses have said since: all, and those whose answer
    /// was certain.
    changed_at: Time,
    heard: Evidence,
    heard_certain: Evidence,
    /// What was said since the last judgement by ports that answered, some of them only when asked
    /// again.
    asked_again: Evidence,
    /// How much speaks against the rate (the logarithm of the odds, at least 0), since when, and
    /// what was said since then.
    against: f32,
    against_since: Time,
    against_heard: Evidence,
    /// How much speaks for the rate since it was last found to be fine.
    in_favour: f32,
    intervals: [Interval; INTERVALS],
    /// The number of the interval that is being sent, counted from 0 for ever.
    sending: u32,
    /// Cohorts before this one were judged.
    judged: u32,
    /// Cohorts up to this one were sent at another rate and say nothing about this one.
    changed: u32,
    /// When the attempts were sent that were last found to have been too many.
    too_fast: (Time, Time),
    /// The rate that got through when the path was last seen to lose, and how often that was found
    /// again.
    limit_per_s: f32,
    confirmed: u8,
    /// The fastest that was sent since then and found to be fine.
    fine_per_s: f32,
    /// Limits met so far.
    met: u8,
    calm: Calm,
    /// Troubles have passed by themselves, and the next one gets this time to; how much speaks for
    /// that it has.
    hold_off_us: u64,
    relief: f32,
    /// The share of certain answers that comes at whatever rate, as far as is known, and as a trial
    /// has shown, or a rate that held attempts back and was fine: what is lost otherwise may be
    /// lost at hosts, to the rates that they are asked at.
    baseline: f32,
    proven: f32,
}

/// What the controller is about. `cut` leads into a trial, `end_trial` out of it; `forget` begins
/// anew.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The path has not been seen to lose yet: the rate doubles.
    Startup,
    /// The rate stays just below the limit that is known, or grows back to it; a step above it
    /// (`is_probing`) shows whether it is still there.
    Hold,
    /// The rate was cut, to see whether it was the reason.
    Trial(Trial),
}

/// The rate was cut: is the loss that was the reason gone?
#[derive(Clone, Copy, Debug)]
struct Trial {
    before: Before,
    /// What got through, or less where the rate was cut to less; and what a limit that is the
    /// reason can be at most.
    through_per_s: f32,
    limit_at_most_per_s: f32,
    /// The share of expected answers that comes now if the rate was the reason.
    predicted: f32,
    /// How much speaks for the loss being the same (the logarithm of the odds).
    same: f32,
    /// It was the same, and the rate was cut once more to be sure.
    is_second: bool,
    /// What was said without the ports that were asked again: of these only those count that
    /// answered.
    fair: Evidence,
    /// How much the attempts say that were sent before the cut and answered after it.
    afterthought: f32,
    /// The witnesses that were asked in all of the trouble.
    asked: u32,
}

impl Trial {
    /// Nearly everything comes.
    fn is_relieved(&self) -> bool {
        self.fair.asked >= WITNESSES_LEAST && self.fair.delivered() > RELIEVED
    }
}

/// What was so before the rate was cut.
#[derive(Clone, Copy, Debug)]
struct Before {
    per_s: f32,
    was_starting: bool,
    limit_per_s: f32,
    confirmed: u8,
    fine_per_s: f32,
    /// The share of the expected answers that came then.
    came: f32,
    /// How long it took to notice.
    noticed_us: u64,
    /// The rate had been fine for long, below a limit that was known.
    held: bool,
}

/// What got through since the last trouble, or since the beginning.
#[derive(Clone, Copy, Debug)]
struct Calm {
    since: Time,
    through: f32,
    /// A limit that was the reason of that trouble would be this, and could let more through than
    /// that now, having saved it up for so long.
    limit_per_s: f32,
    saved_s: f32,
}

impl Calm {
    /// Whether a limit explains what got through until now.
    fn allows(&self, limit_per_s: f32, now: Time) -> bool {
        let lasted_s = now.us_since(self.since) as f32 / 1e6 + self.saved_s;
        self.through < SAVED * limit_per_s.min(self.limit_per_s) * lasted_s
    }
}

impl Default for Calm {
    fn default() -> Self {
        Calm {
            since: Time::default(),
            through: 0.0,
            limit_per_s: MOST_PER_S,
            saved_s: FIRST_SAVED_S,
        }
    }
}

const INTERVALS: usize = 4;
/// The first rate, and a burst at once so that a small scan does not wait at all.
const FIRST_PER_S: f32 = 5_000.0;
const FIRST_BURST: f32 = 64.0;
/// No slower and no faster than this; and no faster than this as long as nothing is known to
/// answer.
const LEAST_PER_S: f32 = 10.0;
const MOST_PER_S: f32 = 10e6;
const BLIND_PER_S: f32 = 100_000.0;
/// Attempts may be so early: one wake-up of epoll's grain must not fall behind.
const BURST_NS: u64 = 2_000_000;
/// Where nothing answers the rate doubles this often.
const BLIND_US: u64 = 25_000;
/// An interval lasts for half of the time that an answer takes, and long enough to count.
const INTERVAL_LEAST: u32 = 16;
const INTERVAL_LONGEST_US: u64 = 500_000;
const WITNESSES_LEAST: u32 = 8;
/// After this time without any witness a rate is raised all the same.
const UNCERTAIN_US: u64 = 1_000_000;
/// The rate is too high when rather this share of the expected answers comes than all of them.
const OVERLOADED: f32 = 0.85;
/// The logarithms of the odds at which that is believed (more for one of many hosts, since some
/// would be cut by chance, and much more where it was not held to its rate), or its contrary, and
/// that a cut has helped, or not.
const TOO_FAST: f32 = 6.0;
const TOO_FAST_FOR_HOST: f32 = 9.0;
const TOO_FAST_UNHELD: f32 = 20.0;
const FINE: f32 = 1.3;
const HELPED: f32 = 4.0;
const NO_HELP: f32 = 6.0;
/// With so many answers expected, or after so long, a trial has taken long enough: then the more
/// likely is believed.
const TRIAL_MOST: f32 = 60.0;
const TRIAL_LONGEST_US: u64 = 5_000_000;
/// The rate of a trial, as a share of what got through: an estimate that is too high must not look
/// like a loss that stays. But it is no less than this share of what was sent, and then not all of
/// the loss is predicted to go away.
const TRIAL: f32 = 0.5;
const DEEPEST_CUT: f32 = 0.125;
const RELIEVED: f32 = 0.9;
/// Where less than this comes in a trial a second one makes sure that it is not the rate.
const BAD: f32 = 0.75;
/// And where less than this comes it is the rate, unless that is hardly any.
const HARDLY: f32 = 0.3;
/// So many times as much as before the cut comes: it has helped, whatever else is lost at any rate.
const MUCH_BETTER: f32 = 2.0;
/// A limit is not the reason for a trouble where so many times as much got through before as it
/// would have let through (at first it may have saved up for so long), or where so many times as
/// much comes in a trial as came before the cut.
const SAVED: f32 = 1.3;
const FIRST_SAVED_S: f32 = 1.0;
const CONTRADICTS: f32 = 1.2;
/// Nor one lower than a limit that was known, where that had held for so many witnesses and for so
/// long.
const HELD: f32 = 60.0;
const HELD_US: u64 = 500_000;
/// No longer than this is waited for a trouble to pass.
const HOLD_OFF_MOST_US: u64 = 400_000;
/// So much of the attempts before a cut confirms it, but not where so few witnesses were asked in
/// the trouble: then what got through is but a guess.
const CONFIRMED: f32 = 3.0;
const TELLING_LEAST: u32 = 16;
/// The rate grows so much where no limit was met, on the way back to just below the limit, and to
/// see whether it is there, or still there: after so many times the time of an answer, doubled each
/// time that it was found, and found not to be it above this.
const FIRST_GROWTH: f32 = 2.0;
const GROWTH: f32 = 1.5;
const BELOW: f32 = 0.92;
const FIRST_PROBE: f32 = 1.25;
const PROBE: f32 = 1.1;
const PROBE_AFTER: u64 = 8;
const MOST_CONFIRMED: u8 = 3;
const FORGET: f32 = 1.3;
/// The share of certain answers that comes is believed to be this at first, and how many of them
/// are needed to believe another: after a trial, and when the rate was fine.
const FIRST_BASELINE: f32 = 0.93;
const BASELINE_AFTER_TRIAL: f32 = 16.0;
const BASELINE_WHEN_FINE: f32 = 100.0;

impl Default for Adaptive {
    fn default() -> Self {
        Adaptive {
            per_s: FIRST_PER_S,
            reason: PaceReason::Start,
            gcra: Gcra::default(),
            mode: Mode::Startup,
            was_limiting: false,
            looked_at: Time::default(),
            answers: 0,
            changed_at: Time::default(),
            heard: Evidence::default(),
            heard_certain: Evidence::default(),
            asked_again: Evidence::default(),
            against: 0.0,
            against_since: Time::default(),
            against_heard: Evidence::default(),
            in_favour: 0.0,
            intervals: [Interval::default(); INTERVALS],
            sending: 0,
            judged: 0,
            changed: 0,
            too_fast: (Time::default(), Time::default()),
            limit_per_s: MOST_PER_S,
            confirmed: 0,
            fine_per_s: 0.0,
            met: 0,
            calm: Calm::default(),
            hold_off_us: 0,
            relief: 0.0,
            baseline: FIRST_BASELINE,
            proven: FIRST_BASELINE,
        }
    }
}

impl RateController for Adaptive {
    fn next_send(&mut self, now: Time) -> Option<Time> {
        let burst_ns = if self.sending == 0 {
            (FIRST_BURST * self.gap_ns()) as u64
        } else {
            BURST_NS
        };
        let until = self.gcra.wait_until(burst_ns, now);
        self.was_limiting |= until.is_some();
        self.interval(self.sending).was_rate_limited |= until.is_some();
        until
    }

    fn on_sent(&mut self, prior: Prior, now: Time) -> IntervalId {
        if self.gcra.is_fresh() {
            (self.looked_at, self.calm.since) = (now, now);
        }
        self.gcra.begin(self.gap_ns() as u64, now);
        let baseline = self.baseline;
        let interval = self.interval(self.sending);
        if interval.sent == 0 {
            // Idle time is no part of it.
            interval.began = now;
        }
        (interval.sent, interval.last) = (interval.sent + 1, now);
        match prior {
            Prior::Unknown => interval.unknown += 1,
            Prior::Chance(chance) if chance >= TELLING => interval.telling.ask(chance),
            Prior::Chance(_) => {}
            Prior::Certain => interval.certain.ask(CERTAIN * baseline),
        }
        self.sending
    }

    fn on_observation(
        &mut self,
        seen: &Observation,
        id: IntervalId,
        wait: Wait,
        path: Option<&PathView>,
    ) {
        if seen.ending != Ending::Answered {
            // Witnesses are counted when their answers must have come.
            return;
        }
        let &Observation {
            sent,
            lost_at,
            prior,
            ..
        } = seen;
        self.answers += 1;
        // Only if both attempts, this one and one that was lost before, could be ones at this rate,
        // and not lost by the path. After a flood nearly all attempts are repeated ones: then those
        // that come count, too, or only the lost ones of them would.
        let since = self
            .changed_at
            .max(path.map_or(Time::default(), |path| path.too_fast_until));
        let was_lost_before = lost_at.is_some_and(|at| at < since);
        // A canary that is answered counts here, too; without that rates were cut more often for
        // nothing than they were too high.
        if sent >= since.plus_us(2 * wait.retry_us) && (!was_lost_before || self.is_in_trial()) {
            self.asked_again.ask(CERTAIN * self.baseline);
            self.asked_again.answered += u32::from(lost_at.is_none() || was_lost_before);
        }
        if self.sending - id < INTERVALS as u32 {
            let interval = self.interval(id);
            match prior {
                Prior::Unknown => interval.unknown_answered += 1,
                Prior::Chance(chance) => interval.telling.answered += u32::from(chance >= TELLING),
                Prior::Certain => interval.certain.answered += 1,
            }
        }
    }

    fn on_interval(
        &mut self,
        share: Option<f32>,
        wait: Wait,
        path: Option<&PathView>,
        now: Time,
    ) -> bool {
        let (is_starting, met) = (self.is_starting(), self.met);
        let interval = self.interval(self.sending);
        let lasted_us = now.us_since(interval.began);
        let tells = interval.sent >= INTERVAL_LEAST
            && (is_starting || interval.certain.asked + interval.telling.asked >= WITNESSES_LEAST);
        if lasted_us >= wait.answer_us / 2
            && (tells || (interval.sent > 0 && lasted_us >= INTERVAL_LONGEST_US))
        {
            self.next_interval(now);
        }
        let is_one_due = self.is_one_due(wait, now);
        while self.is_one_due(wait, now) {
            let interval = *self.interval(self.judged);
            self.judged += 1;
            if self.judged > self.changed {
                self.judge(&interval, share, path, wait, now);
            } else {
                self.think_again(&interval, now);
            }
        }
        if !is_one_due && now.us_since(self.looked_at) >= BLIND_US {
            self.grow_blindly(now);
        }
        met == 0 && self.met > 0
    }

    fn on_outage(&mut self, ended: Ended, now: Time) {
        let limit_per_s = self
            .trial()
            .map_or(self.limit_per_s, |trial| trial.before.limit_per_s);
        let holds =
            ended == Ended::Moment && limit_per_s < MOST_PER_S && self.baseline >= FIRST_BASELINE;
        match self.trial() {
            _ if !holds => self.forget(now),
            Some(&Trial { before, .. }) => self.pass(before, before.per_s, now),
            None => self.change(self.per_s, self.reason, now),
        }
    }

    fn view(&self, wait: Wait, now: Time) -> PathView {
        let may_find_out = self.was_limiting || now.us_since(self.changed_at) < UNCERTAIN_US;
        let is_suspect =
            self.is_in_trial() || self.against > FINE || (self.is_probing() && may_find_out);
        PathView {
            baseline: self.proven,
            is_suspect,
            too_fast_until: self.too_fast.1,
            comes: self.comes(wait, now),
        }
    }

    fn was_too_fast(&self, started: Time) -> bool {
        let is_still = self
            .trial()
            .is_some_and(|trial| trial.predicted < RELIEVED || trial.is_second);
        started >= self.too_fast.0 && (started < self.too_fast.1 || is_still)
    }

    fn is_uncertain(&self) -> bool {
        self.is_in_trial() || self.heard.asked < WITNESSES_LEAST
    }

    fn pace(&self) -> Pace {
        Pace {
            per_s: self.per_s as u32,
            reason: self.reason,
        }
    }
}

impl Adaptive {
    /// Towards ourselves, where the kernel answers before it has finished asking: there is nothing
    /// to feel one's way into.
    pub fn of_this_machine() -> Self {
        Adaptive {
            per_s: BLIND_PER_S,
            ..Adaptive::default()
        }
    }

    fn gap_ns(&self) -> f32 {
        1e9 / self.per_s
    }

    fn interval(&mut self, id: IntervalId) -> &mut Interval {
        &mut self.intervals[id as usize % INTERVALS]
    }

    fn forget(&mut self, now: Time) {
        let sending = self.sending + 1;
        let nothing = Adaptive {
            gcra: Gcra::from_now(now),
            looked_at: now,
            changed_at: now,
            ..Adaptive::default()
        };
        let calm = Calm {
            since: now,
            ..Calm::default()
        };
        *self = Adaptive {
            calm,
            sending,
            judged: sending,
            changed: sending,
            ..nothing
        };
    }

    /// Whether all answers to an interval have come that will.
    fn is_one_due(&mut self, wait: Wait, now: Time) -> bool {
        self.judged < self.sending
            && now.us_since(self.interval(self.judged).last) >= wait.answer_us
    }

    fn trial(&self) -> Option<&Trial> {
        if let Mode::Trial(trial) = &self.mode {
            Some(trial)
        } else {
            None
        }
    }

    fn is_in_trial(&self) -> bool {
        self.trial().is_some()
    }

    fn is_starting(&self) -> bool {
        matches!(self.mode, Mode::Startup)
    }

    fn end_trial(&mut self, starts_again: bool) {
        self.mode = if starts_again {
            Mode::Startup
        } else {
            Mode::Hold
        };
    }

    /// The share of the expected answers that comes to the interval that is judged next, by that
    /// part of it whose time is over.
    fn comes(&self, wait: Wait, now: Time) -> f32 {
        let interval = &self.intervals[self.judged as usize % INTERVALS];
        let (lasted_us, over_us) = (
            interval.last.us_since(interval.began),
            now.us_since(interval.began.plus_us(wait.answer_us)),
        );
        let mut said = interval.telling;
        said.add(&interval.certain);
        said.expected *= (over_us as f32 / lasted_us.max(1) as f32).min(1.0);
        said.delivered().min(1.0)
    }

    fn next_interval(&mut self, now: Time) {
        self.interval(self.sending).ended = now;
        self.sending += 1;
        self.judged = self
            .judged
            .max(self.sending.saturating_sub(INTERVALS as u32 - 1));
        *self.interval(self.sending) = Interval {
            began: now,
            ..Interval::default()
        };
    }

    /// Where nothing answers, nothing can be learned, and there is no reason to stay slow either.
    fn grow_blindly(&mut self, now: Time) {
        if self.is_starting() && self.answers == 0 && self.per_s < BLIND_PER_S {
            self.grow(FIRST_GROWTH, now);
            self.per_s = self.per_s.min(BLIND_PER_S);
        }
        (self.answers, self.looked_at) = (0, now);
    }

    fn judge(
        &mut self,
        interval: &Interval,
        share: Option<f32>,
        path: Option<&PathView>,
        wait: Wait,
        now: Time,
    ) {
        let (mut said, mut certain) = (interval.telling, interval.certain);
        certain.add(&std::mem::take(&mut self.asked_again));
        if let Some(path) = path {
            if path.is_suspect || interval.began <= path.too_fast_until {
                (self.against, self.in_favour) = (0.0, 0.0);
                return;
            }
            certain.expected *= (path.baseline / self.baseline).min(1.0);
        }
        said.add(&certain);
        if let Some(share) = share.filter(|&share| share >= TELLING) {
            let expected = share * interval.unknown as f32;
            said.add(&Evidence {
                asked: interval.unknown,
                expected,
                answered: interval.unknown_answered,
            });
        }
        self.heard.add(&said);
        self.heard_certain.add(&certain);
        if self.is_in_trial() {
            return self.try_out(interval, &said, now);
        }
        if said.asked == 0 {
            return self.grow_unwatched(now);
        }
        self.calm.through += interval.sent as f32 * said.delivered().min(1.0);
        let odds = said.odds(OVERLOADED, 1.0);
        self.in_favour -= odds;
        if self.against == 0.0 {
            (self.against_since, self.against_heard) = (interval.began, Evidence::default());
        }
        self.against = (self.against + odds).max(0.0);
        self.against_heard.add(&said);
        let enough = match (path, interval.was_rate_limited) {
            (None, _) => TOO_FAST,
            (Some(_), true) => TOO_FAST_FOR_HOST,
            (Some(_), false) => TOO_FAST_UNHELD,
        };
        if self.against > enough {
            self.relief = if odds < 0.0 { self.relief - odds } else { 0.0 };
            if self.relief > HELPED {
                // It has passed.
                self.too_fast = (self.against_since, interval.began);
                (self.against, self.in_favour) = (0.0, 0.0);
            } else if now.us_since(self.against_since) >= self.hold_off_us
                && !path.is_some_and(|path| self.is_explained_by(path))
            {
                self.slow_down(interval, &certain, now);
            }
        } else if self.in_favour > FINE {
            self.is_fine(interval, wait, now);
        }
    }

    /// Whether the path loses about as much just now. It would be found out with its next interval,
    /// which may be after the host's.
    fn is_explained_by(&self, path: &PathView) -> bool {
        let heard = Evidence {
            expected: self.against_heard.expected * path.comes,
            ..self.against_heard
        };
        heard.odds(OVERLOADED, 1.0) < TOO_FAST
    }

    /// There are answers, but no witnesses among them.
    fn grow_unwatched(&mut self, now: Time) {
        if self.is_starting() || now.us_since(self.changed_at) > UNCERTAIN_US {
            let factor = if self.is_starting() {
                FIRST_GROWTH
            } else {
                GROWTH
            };
            self.grow(factor.min(BLIND_PER_S / self.per_s).max(1.0), now);
        }
    }

    /// The rate can be borne, as far as is known.
    fn is_fine(&mut self, interval: &Interval, wait: Wait, now: Time) {
        self.in_favour = 0.0;
        self.fine_per_s = self.fine_per_s.max(interval.sent_per_s());
        let below_per_s = BELOW * self.limit_per_s;
        if self.per_s <= 1.01 * below_per_s {
            let certain = std::mem::take(&mut self.heard_certain);
            self.learn_baseline(&certain, BASELINE_WHEN_FINE);
            if interval.was_rate_limited {
                self.proven = self.baseline;
            }
        }
        let probe_after_us = if self.confirmed == 0 {
            0
        } else {
            (PROBE_AFTER * wait.answer_us) << self.confirmed
        };
        if self.is_starting() {
            self.grow(FIRST_GROWTH, now);
        } else if self.per_s < 0.99 * below_per_s {
            self.grow(GROWTH.min(below_per_s / self.per_s), now);
        } else if now.us_since(self.changed_at) >= probe_after_us {
            self.grow(
                if self.confirmed == 0 {
                    FIRST_PROBE
                } else {
                    PROBE
                },
                now,
            );
            if self.per_s > FORGET * self.limit_per_s {
                (self.limit_per_s, self.confirmed) = (MOST_PER_S, 0);
            }
        }
    }

    /// Whether the rate is one to see whether a limit is still there.
    fn is_probing(&self) -> bool {
        self.per_s > (1.0 + BELOW) / 2.0 * self.limit_per_s
    }

    /// Goes faster, unless it was not the rate that held attempts back.
    fn grow(&mut self, factor: f32, now: Time) {
        if self.was_limiting && self.against <= TOO_FAST {
            self.change(self.per_s * factor, PaceReason::Faster, now);
        }
    }

    fn change(&mut self, per_s: f32, reason: PaceReason, now: Time) {
        (self.per_s, self.reason) = (per_s.clamp(LEAST_PER_S, MOST_PER_S), reason);
        self.gcra.hasten(self.gap_ns() as u64, now);
        self.was_limiting = false;
        (self.heard, self.heard_certain, self.asked_again) = Default::default();
        (self.against, self.in_favour, self.relief) = (0.0, 0.0, 0.0);
        // What was sent until now says nothing about the rate from now on.
        (self.changed, self.changed_at) = (self.sending + 1, now);
        self.next_interval(now);
    }

    /// Witnesses miss answers: what follows depends on where the rate is.
    fn slow_down(&mut self, interval: &Interval, certain: &Evidence, now: Time) {
        if !interval.was_rate_limited && interval.sent_per_s() < self.fine_per_s / 2.0 {
            // It was faster before, and that was fine.
            self.learn_baseline(certain, BASELINE_AFTER_TRIAL);
            (self.against, self.in_favour) = (0.0, 0.0);
        } else if self.is_probing() {
            let through_per_s = interval.sent_per_s() * self.against_heard.delivered();
            // One that was found again and again is not much lower all at once.
            let least_per_s = if self.confirmed > 1 {
                BELOW * self.limit_per_s
            } else {
                LEAST_PER_S
            };
            self.limit_per_s = (self.limit_per_s * through_per_s).sqrt().max(least_per_s);
            self.confirmed = (self.confirmed + 1).min(MOST_CONFIRMED);
            self.too_fast = (self.against_since, now);
            self.change(BELOW * self.limit_per_s, PaceReason::Limit, now);
        } else {
            self.cut(interval, self.against_heard, now);
        }
    }

    /// Cuts the rate to less than what got through, to see whether that helps.
    fn cut(&mut self, interval: &Interval, heard: Evidence, now: Time) {
        let sent_per_s = interval.sent_per_s();
        let delivered = heard.delivered().min(1.0);
        let share = (delivered * TRIAL).max(DEEPEST_CUT);
        let through_per_s = (sent_per_s * delivered.max(share)).min(self.per_s);
        let Adaptive {
            per_s,
            limit_per_s,
            confirmed,
            fine_per_s,
            ..
        } = *self;
        let first = Before {
            per_s,
            was_starting: self.is_starting(),
            limit_per_s,
            confirmed,
            fine_per_s,
            came: delivered,
            noticed_us: now.us_since(self.against_since),
            held: limit_per_s < MOST_PER_S
                && self.heard.expected - heard.expected >= HELD
                && self.against_since.us_since(self.changed_at) >= HELD_US,
        };
        // Where it was cut already and not by enough, what was before that counts.
        let (before, limit_at_most_per_s) = self.trial().map_or((first, MOST_PER_S), |trial| {
            (trial.before, trial.limit_at_most_per_s)
        });
        self.mode = Mode::Trial(Trial {
            before,
            through_per_s,
            limit_at_most_per_s: limit_at_most_per_s.min(sent_per_s * heard.delivered_at_most()),
            predicted: (delivered / share).min(1.0),
            same: 0.0,
            is_second: false,
            fair: Evidence::default(),
            afterthought: 0.0,
            asked: heard.asked,
        });
        self.too_fast = (self.against_since, now);
        (self.confirmed, self.limit_per_s, self.fine_per_s) = (0, through_per_s, 0.0);
        self.change((sent_per_s * share).min(self.per_s), PaceReason::Trial, now);
    }

    /// Attempts that were sent before the cut, and answered or not after it: they may confirm it.
    fn think_again(&mut self, interval: &Interval, now: Time) {
        let is_last = self.judged == self.changed;
        let Mode::Trial(trial) = &mut self.mode else {
            return;
        };
        if trial.is_second {
            return;
        }
        let odds = interval.telling.odds(OVERLOADED, 1.0) + interval.certain.odds(OVERLOADED, 1.0);
        trial.afterthought += odds;
        trial.asked += interval.telling.asked + interval.certain.asked;
        let before = trial.before;
        if odds < -HELPED && interval.sent_per_s() > BELOW * before.per_s {
            self.too_fast.1 = interval.began;
            return self.pass(before, before.per_s, now);
        }
        if is_last && trial.afterthought > CONFIRMED {
            self.confirmed = 1;
        }
    }

    /// The trouble has passed, and the rate was not the reason. The next one gets time to pass.
    fn pass(&mut self, before: Before, per_s: f32, now: Time) {
        self.end_trial(before.was_starting);
        (self.limit_per_s, self.confirmed) = (before.limit_per_s, before.confirmed);
        self.calm = Calm {
            limit_per_s: before.per_s * before.came,
            ..self.calm_from(now)
        };
        self.hold_off_us = self
            .hold_off_us
            .max(2 * before.noticed_us)
            .min(HOLD_OFF_MOST_US);
        self.change(per_s, PaceReason::NotTheRate, now);
    }

    /// What got through is counted anew: a limit may have saved up since the trouble began.
    fn calm_from(&self, now: Time) -> Calm {
        Calm {
            since: now,
            saved_s: now.us_since(self.too_fast.0) as f32 / 1e6,
            ..Calm::default()
        }
    }

    /// So many of the certain answers come at whatever rate.
    fn learn_baseline(&mut self, certain: &Evidence, needed: f32) {
        let weight = certain.expected / (certain.expected + needed);
        self.baseline =
            (self.baseline * (1.0 + (certain.delivered() - 1.0) * weight)).clamp(0.01, 1.0);
    }

    /// The rate was cut: whether that has helped.
    fn try_out(&mut self, interval: &Interval, said: &Evidence, now: Time) {
        let Mode::Trial(trial) = &mut self.mode else {
            return;
        };
        trial.same += said.odds(OVERLOADED * trial.predicted, trial.predicted);
        trial.fair.add(&interval.telling);
        trial.fair.add(&interval.certain);
        let trial = *trial;
        let is_over =
            self.heard.expected > TRIAL_MOST || now.us_since(self.changed_at) > TRIAL_LONGEST_US;
        let is_same = trial.same > if is_over { 0.0 } else { NO_HELP };
        if !is_same && !is_over && trial.same > -HELPED {
            return;
        }
        let comes = self.heard.delivered();
        let comes_per_s = interval.sent_per_s().min(self.per_s);
        let hardly_comes = comes < HARDLY && self.per_s > 2.0 * LEAST_PER_S;
        if !is_same && trial.is_relieved() && !self.can_be_limit(&trial, comes_per_s) {
            let before = trial.before;
            self.pass(
                before,
                before.fine_per_s.min(before.per_s).max(comes_per_s),
                now,
            );
        } else if hardly_comes || (!is_same && trial.predicted < RELIEVED) {
            // It has helped as far as it could. All of this time was too fast.
            self.against_since = self.too_fast.0;
            self.cut(interval, self.heard, now);
        } else if is_same && !trial.is_second && comes < BAD {
            self.mode = Mode::Trial(Trial {
                is_second: true,
                same: 0.0,
                fair: Evidence::default(),
                ..trial
            });
            self.change(self.per_s / 2.0, PaceReason::Trial, now);
        } else {
            self.conclude(&trial, is_same, now);
        }
    }

    /// Whether a limit explains both what came before the trouble and what comes now.
    fn can_be_limit(&self, trial: &Trial, comes_per_s: f32) -> bool {
        let limit_per_s = trial.limit_at_most_per_s;
        !trial.before.held
            && comes_per_s < CONTRADICTS * limit_per_s
            && self.calm.allows(limit_per_s, self.too_fast.0)
    }

    /// The trial is over: the rate was the reason, or it was not.
    fn conclude(&mut self, trial: &Trial, is_same: bool, now: Time) {
        let before = trial.before;
        let is_much_better = self.heard.delivered() >= MUCH_BETTER * before.came;
        self.end_trial(before.was_starting && is_same && !is_much_better);
        let (certain, baseline) = (self.heard_certain, self.baseline);
        self.learn_baseline(&certain, BASELINE_AFTER_TRIAL);
        if !is_same {
            self.baseline = self.baseline.max(baseline);
        }
        self.proven = self.baseline;
        if is_same && !is_much_better {
            self.limit_per_s = MOST_PER_S;
            // What was lost before the trial was not lost to the rate, either.
            self.too_fast = (Time::default(), Time::default());
            return self.change(before.per_s, PaceReason::NotTheRate, now);
        }
        self.calm = self.calm_from(now);
        self.hold_off_us = 0;
        self.fine_per_s = self.per_s;
        self.met = self.met.saturating_add(1);
        self.confirmed = if trial.asked < TELLING_LEAST {
            0
        } else {
            self.confirmed.max((self.met - 1).min(MOST_CONFIRMED))
        };
        self.change(trial.through_per_s * BELOW, PaceReason::Limit, now);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use super::*;

    const WAIT: Wait = Wait {
        answer_us: 25_000,
        retry_us: 100_000,
    };

    /// Attempts on a path that takes so many per second and answers after 20 ms, except the share
    /// that it always loses; half of the ports answer, one attempt in eight goes to one that is
    /// known to, and what is lost is asked again. As many as the flow lets begin, for so many
    /// seconds. Returns how many began in each of the last five, and the share of these that the
    /// path did not take.
    fn drive(flow: &mut Adaptive, capacity_per_s: f64, lost: f64, seconds: u64) -> (f64, f64) {
        drive_through(
            flow,
            &Way {
                capacity_per_s,
                saves_s: 0.01,
                lost,
                is_away: |_| false,
            },
            seconds,
        )
    }

    /// A path that saves up for so long what it could have taken, and where nothing passes in some
    /// milliseconds.
    struct Way {
        capacity_per_s: f64,
        saves_s: f64,
        lost: f64,
        is_away: fn(u64) -> bool,
    }

    fn drive_through(flow: &mut Adaptive, way: &Way, seconds: u64) -> (f64, f64) {
        drive_and_look(flow, way, seconds, &mut |_| {})
    }

    /// `look` sees it each millisecond.
    fn drive_and_look(
        flow: &mut Adaptive,
        way: &Way,
        seconds: u64,
        look: &mut dyn FnMut(&Adaptive),
    ) -> (f64, f64) {
        let &Way {
            capacity_per_s,
            saves_s,
            lost,
            is_away,
        } = way;
        let mut random = fastrand::Rng::with_seed(1);
        let mut answers: VecDeque<(u64, Observation, IntervalId)> = VecDeque::new();
        let mut again: VecDeque<(u64, Time)> = VecDeque::new();
        let (mut room, mut last, mut begun, mut dropped) = (0.0f64, 0u32, 0, 0u32);
        for ms in 0..seconds * 1_000 {
            let now = Time::from_us(ms * 1_000);
            room = (room + capacity_per_s / 1e3).min((capacity_per_s * saves_s).max(10.0));
            while answers.front().is_some_and(|&(at, ..)| at <= ms) {
                let (_, answered, interval) = answers.pop_front().expect("it is there");
                flow.on_observation(&answered, interval, WAIT, None);
            }
            look(flow);
            // No machine sends more than this in a millisecond.
            for _ in 0..200 {
                if flow.next_send(now).is_some() {
                    break;
                }
                flow.on_interval(None, WAIT, None, now);
                begun += 1;
                let is_canary = begun % 8 == 0;
                let lost_at = again
                    .front()
                    .is_some_and(|&(at, _)| at <= ms && !is_canary)
                    .then(|| again.pop_front().expect("it is there").1);
                let (prior, answers_at_all) = match lost_at {
                    Some(_) => (Prior::Chance(0.1), true),
                    None if is_canary => (Prior::Certain, true),
                    None => (Prior::Chance(0.5), random.bool()),
                };
                let interval = flow.on_sent(prior, now);
                let is_late = ms >= seconds.saturating_sub(5) * 1_000;
                last += u32::from(is_late);
                let passes = room >= 1.0;
                room -= f64::from(u8::from(passes));
                dropped += u32::from(is_late && !passes);
                if answers_at_all && passes && !is_away(ms) && random.f64() >= lost {
                    answers.push_back((
                        ms + 20,
                        Observation {
                            sent: now,
                            lost_at,
                            prior,
                            ..Observation::default()
                        },
                        interval,
                    ));
                } else if answers_at_all && !matches!(prior, Prior::Certain) {
                    again.push_back((ms + 100, now));
                }
            }
        }
        (f64::from(last) / 5.0, f64::from(dropped) / f64::from(last))
    }

    #[test]
    fn a_wide_path_is_filled() {
        assert!(drive(&mut Adaptive::default(), 1e9, 0.0, 5).0 > 150_000.0);
    }

    #[test]
    fn a_narrow_path_is_filled_and_not_overrun() {
        for capacity_per_s in [200.0, 2_000.0, 20_000.0] {
            for lost in [0.0, 0.1, 0.3] {
                let (last, dropped) = drive(&mut Adaptive::default(), capacity_per_s, lost, 30);
                let case = format!(
                    "{last}/s where {capacity_per_s}/s pass and {lost} is lost; {dropped} did not get through"
                );
                assert!(
                    (0.7..1.15).contains(&(last / capacity_per_s)) && dropped < 0.15,
                    "{case}"
                );
            }
        }
    }

    #[test]
    fn each_mode_leads_where_it_should() {
        let stalls: fn(u64) -> bool = |ms| (1_000..1_150).contains(&ms);
        let never: fn(u64) -> bool = |_| false;
        for (capacity_per_s, lost, is_away, expect) in [
            (1e9, 0.0, never, &["startup"][..]),
            (
                2_000.0,
                0.0,
                never,
                &["startup", "trial", "hold", "hold and probe"],
            ),
            (1e9, 0.3, never, &["startup", "trial", "startup"]),
            (1e9, 0.0, stalls, &["startup", "trial", "startup"]),
        ] {
            let mut flow = Adaptive::default();
            let mut seen: Vec<&str> = Vec::new();
            let way = Way {
                capacity_per_s,
                saves_s: 0.01,
                lost,
                is_away,
            };
            drive_and_look(&mut flow, &way, 10, &mut |flow| {
                let mode = match flow.mode {
                    Mode::Startup => "startup",
                    Mode::Trial(_) => "trial",
                    Mode::Hold if flow.is_probing() => "hold and probe",
                    Mode::Hold => "hold",
                };
                if seen.last() != Some(&mode) {
                    seen.push(mode);
                }
            });
            assert!(
                seen.starts_with(expect),
                "{expect:?} where {capacity_per_s}/s pass and {lost} is lost: {seen:?}"
            );
        }
        let mut flow = Adaptive::default();
        drive(&mut flow, 2_000.0, 0.0, 5);
        assert!(!flow.is_starting());
        flow.on_outage(Ended::Outage, Time::from_us(5_000_000));
        assert!(flow.is_starting(), "after an outage all is learned anew");
    }

    #[test]
    fn what_is_always_lost_slows_nothing_down_for_good() {
        for lost in [0.1, 0.3, 0.6] {
            let last = drive(&mut Adaptive::default(), 1e9, lost, 10).0;
            assert!(last > 100_000.0, "{last}/s where {lost} is lost");
        }
    }

    #[test]
    fn a_limit_that_saves_up_is_found() {
        for capacity_per_s in [200.0, 2_000.0] {
            let way = Way {
                capacity_per_s,
                saves_s: 1.0,
                lost: 0.0,
                is_away: |_| false,
            };
            let (last, dropped) = drive_through(&mut Adaptive::default(), &way, 30);
            let case =
                format!("{last}/s where {capacity_per_s}/s pass; {dropped} did not get through");
            assert!(
                (0.7..1.15).contains(&(last / capacity_per_s)) && dropped < 0.15,
                "{case}"
            );
        }
    }

    #[test]
    fn troubles_that_pass_slow_nothing_down_for_good() {
        let stalls: [fn(u64) -> bool; 4] = [
            |ms| ms % 500 < 40,
            |ms| ms % 1_000 < 100,
            |ms| ms % 2_000 < 200,
            |ms| ms % 1_000 < 5,
        ];
        for is_away in stalls {
            for (capacity_per_s, least_per_s) in [(20_000.0, 14_000.0), (1e9, 100_000.0)] {
                let way = Way {
                    capacity_per_s,
                    saves_s: 0.01,
                    lost: 0.0,
                    is_away,
                };
                let (last, _) = drive_through(&mut Adaptive::default(), &way, 20);
                assert!(last > least_per_s, "{last}/s where {capacity_per_s}/s pass");
            }
        }
    }

    #[test]
    fn silence_from_the_start_is_no_reason_to_stay_slow_nor_to_flood() {
        let mut flow = Adaptive::default();
        let begun = |flow: &mut Adaptive, from_ms: u64, to_ms: u64| -> u64 {
            let times = (from_ms..to_ms).map(|ms| Time::from_us(ms * 1_000));
            times
                .map(|now| {
                    (0..1_000)
                        .take_while(|_| {
                            flow.next_send(now)
                                .is_none()
                                .then(|| {
                                    flow.on_interval(None, WAIT, None, now);
                                    flow.on_sent(Prior::Unknown, now)
                                })
                                .is_some()
                        })
                        .count() as u64
                })
                .sum()
        };
        assert!(
            (64..300).contains(&begun(&mut flow, 0, 20)),
            "the first burst, and little more"
        );
        let second = begun(&mut flow, 20, 1_020);
        assert!(
            (60_000..=101_000).contains(&second),
            "{second} attempts in the first second"
        );
    }

    #[test]
    fn what_the_path_loses_at_the_time_is_no_limit_of_a_host() {
        let heard = Evidence {
            asked: 20,
            expected: 20.0,
            answered: 4,
        };
        let host = Adaptive {
            against_heard: heard,
            ..Adaptive::default()
        };
        // A hundred attempts in 10 ms, and then a moment at which the time of half of them is over.
        for (answered, explains) in [(49, false), (40, false), (20, true), (0, true)] {
            let mut path = Adaptive::default();
            (0..100)
                .for_each(|n| _ = path.on_sent(Prior::Chance(1.0), Time::from_us(1_000 + n * 100)));
            let answer = |at| Observation {
                sent: Time::from_us(at),
                lost_at: None,
                prior: Prior::Chance(1.0),
                ..Observation::default()
            };
            (0..answered)
                .for_each(|n| path.on_observation(&answer(1_000 + n * 100), 0, WAIT, None));
            let seen = path.view(WAIT, Time::from_us(6_000 + WAIT.answer_us));
            assert_eq!(
                host.is_explained_by(&seen),
                explains,
                "{answered} of 50 answered: {seen:?}"
            );
        }
    }

    #[test]
    fn attempts_at_a_rate_that_was_too_much_are_known() {
        let mut flow = Adaptive::default();
        drive(&mut flow, 500.0, 0.0, 3);
        assert!(
            flow.was_too_fast(Time::from_us(30_000)) || flow.too_fast.1 > Time::from_us(30_000),
            "{:?}",
            flow.too_fast
        );
        assert!(!flow.was_too_fast(Time::from_us(3_000_000)));
    }

    #[test]
    fn thousands_of_hosts_have_one() {
        let bytes = size_of::<Adaptive>();
        assert!(bytes <= 512, "{bytes} bytes");
    }
}
