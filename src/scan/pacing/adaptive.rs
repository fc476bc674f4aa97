//! The adaptive controller: a model of how many attempts per second a path, or one host, can take.
//! It knows rates, times and counts of answers; it knows no endpoint and no socket.
//!
//! A TCP sender learns from acknowledgements. Most ports send a scanner nothing, so silence proves
//! nothing. But some attempts are *informative samples*: their answer was nearly certain, because
//! nearly all ports of the host answer, or because this port has answered before. A port that
//! answers only when asked again is one, too: it shows a loss.
//!
//! A sequential test (Wald 1945, Page 1954) decides whether the samples bring the usual share of
//! answers or clearly less. If less, the controller cuts the rate to half of what got through, as a
//! trial. If that helps, what got through is the limit (the delivery rate of BBR, Cardwell et al.
//! 2016). If not, this share is always lost here, and the old rate returns.
//!
//! Some troubles pass by themselves, as when a machine or a radio link stalls for a moment. So a
//! limit must also explain what got through before.

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use super::gcra::Gcra;
use super::interval::{Evidence, Interval};
use super::thresholds::{
    baseline, evidence, growth, intervals, limit, rate, sample, trial, trouble,
};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::{Ending, Observation};
use crate::scan::time::Time;

/// The controller of one path or host.
#[derive(Clone, Debug)]
pub(super) struct Adaptive {
    per_s: f32,
    reason: PaceReason,
    gcra: Gcra,
    mode: Mode,
    /// The rate has held attempts back since its last change.
    was_limiting: bool,
    /// When blind growth was last considered, and how many answers came since.
    looked_at: Time,
    answers: u32,
    /// When the rate last changed, and the evidence since: from all informative samples, and from
    /// those whose answer was certain.
    changed_at: Time,
    heard: Evidence,
    heard_certain: Evidence,
    /// The evidence since the last judgement from ports that answered, at once or only when asked
    /// again.
    asked_again: Evidence,
    /// The odds against the rate (a logarithm, at least 0), since when they are above 0, and the
    /// evidence since then.
    against: f32,
    against_since: Time,
    against_heard: Evidence,
    /// The odds for the rate since it was last found to be fine.
    in_favour: f32,
    intervals: [Interval; intervals::KEPT],
    /// The number of the interval being sent, counted from 0.
    sending: u32,
    /// Intervals before this one were judged.
    judged: u32,
    /// Intervals up to this one were sent at another rate and say nothing about the present one.
    changed: u32,
    /// When the rate was last too high: attempts sent between these times were too many.
    too_fast: (Time, Time),
    /// The rate that got through when the path was last seen to lose, and how often it was
    /// confirmed.
    limit_per_s: f32,
    confirmed: u8,
    /// The highest rate since then that was fine.
    fine_per_s: f32,
    /// How many limits were met so far.
    met: u8,
    calm: Calm,
    /// How long the next trouble gets to pass by itself, because earlier ones did; and the odds
    /// that the present one has passed.
    hold_off_us: u64,
    relief: f32,
    /// The share of certain answers that comes at any rate: as far as is known; and as proven by a
    /// trial, or by a rate that held attempts back and was fine. Other loss may be due to the rates
    /// at which hosts are asked.
    baseline: f32,
    proven: f32,
}

/// What the controller is doing. `cut` starts a trial, `end_trial` ends it; `forget` starts over.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The path has shown no limit yet: the rate doubles.
    Startup,
    /// The rate stays just below a known limit, or grows back to it; a step above (`is_probing`)
    /// shows whether the limit is still there.
    Hold,
    /// The rate is cut, to see whether it was the reason for missing answers.
    Trial(Trial),
}

/// A time at a reduced rate: does the loss stay?
#[derive(Clone, Copy, Debug)]
struct Trial {
    before: Before,
    /// What got through, or the rate of the trial if that is higher; and the highest limit that
    /// could be the reason. Both in attempts per second.
    through_per_s: f32,
    limit_at_most_per_s: f32,
    /// The share of the expected answers that comes in the trial if the rate was the reason.
    predicted: f32,
    /// The odds that the loss stays the same (a logarithm).
    same: f32,
    /// The loss stayed the same, and the rate was cut once more to be sure.
    is_second: bool,
    /// The evidence without ports that were asked again, since of these only those that answer
    /// are counted.
    fair: Evidence,
    /// The odds against the old rate from attempts sent before the cut and judged after it.
    afterthought: f32,
    /// How many informative samples the whole trouble had.
    asked: u32,
}

impl Trial {
    /// Whether nearly everything comes.
    fn is_relieved(&self) -> bool {
        self.fair.asked >= intervals::LEAST_SAMPLES && self.fair.delivered() > trial::RELIEVED
    }
}

/// The state before the rate was cut.
#[derive(Clone, Copy, Debug)]
struct Before {
    per_s: f32,
    was_starting: bool,
    limit_per_s: f32,
    confirmed: u8,
    fine_per_s: f32,
    /// The share of the expected answers that came.
    came: f32,
    /// How long it took to notice the trouble.
    noticed_us: u64,
    /// The rate had been fine for long, below a known limit.
    held: bool,
}

/// What got through since the last trouble, or since the start.
#[derive(Clone, Copy, Debug)]
struct Calm {
    since: Time,
    through: f32,
    /// The limit, if one was the reason for that trouble, and for how long it may have saved up
    /// capacity.
    limit_per_s: f32,
    saved_s: f32,
}

impl Calm {
    /// Whether a limit of this rate can have let through what got through until now.
    fn allows(&self, limit_per_s: f32, now: Time) -> bool {
        let lasted_s = now.us_since(self.since) as f32 / 1e6 + self.saved_s;
        self.through < trouble::SAVED * limit_per_s.min(self.limit_per_s) * lasted_s
    }
}

impl Default for Calm {
    fn default() -> Self {
        Calm {
            since: Time::default(),
            through: 0.0,
            limit_per_s: rate::MOST_PER_S,
            saved_s: trouble::FIRST_SAVED_S,
        }
    }
}

impl Default for Adaptive {
    fn default() -> Self {
        Adaptive {
            per_s: rate::FIRST_PER_S,
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
            intervals: [Interval::default(); intervals::KEPT],
            sending: 0,
            judged: 0,
            changed: 0,
            too_fast: (Time::default(), Time::default()),
            limit_per_s: rate::MOST_PER_S,
            confirmed: 0,
            fine_per_s: 0.0,
            met: 0,
            calm: Calm::default(),
            hold_off_us: 0,
            relief: 0.0,
            baseline: baseline::FIRST,
            proven: baseline::FIRST,
        }
    }
}

impl RateController for Adaptive {
    fn next_send(&mut self, now: Time) -> Option<Time> {
        let burst_ns = if self.sending == 0 {
            (rate::FIRST_BURST * self.gap_ns()) as u64
        } else {
            rate::BURST_NS
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
            // Idle time is not part of it.
            interval.began = now;
        }
        (interval.sent, interval.last) = (interval.sent + 1, now);
        match prior {
            Prior::Unknown => interval.unknown += 1,
            Prior::Chance(chance) if chance >= sample::TELLING => interval.telling.ask(chance),
            Prior::Chance(_) => {}
            Prior::Certain => interval.certain.ask(sample::CERTAIN * baseline),
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
            // Silence counts in `judge`, when all answers must have come.
            return;
        }
        let &Observation {
            sent,
            lost_at,
            prior,
            ..
        } = seen;
        self.answers += 1;
        // A retry tells something only if both attempts were sent at this rate and the path was
        // not losing. In a trial after a flood nearly all attempts are retries; there their answers
        // count as answers, or only losses would count.
        let since = self
            .changed_at
            .max(path.map_or(Time::default(), |path| path.too_fast_until));
        let was_lost_before = lost_at.is_some_and(|at| at < since);
        // Answered canaries count here, too: without them, more rates were cut in vain than were
        // too high.
        if sent >= since.plus_us(2 * wait.retry_us) && (!was_lost_before || self.is_in_trial()) {
            self.asked_again.ask(sample::CERTAIN * self.baseline);
            self.asked_again.answered += u32::from(lost_at.is_none() || was_lost_before);
        }
        if self.sending - id < intervals::KEPT as u32 {
            let interval = self.interval(id);
            match prior {
                Prior::Unknown => interval.unknown_answered += 1,
                Prior::Chance(chance) => {
                    interval.telling.answered += u32::from(chance >= sample::TELLING)
                }
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
        let tells = interval.sent >= intervals::LEAST_SENT
            && (is_starting
                || interval.certain.asked + interval.telling.asked >= intervals::LEAST_SAMPLES);
        if lasted_us >= wait.answer_us / 2
            && (tells || (interval.sent > 0 && lasted_us >= intervals::LONGEST_US))
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
        if !is_one_due && now.us_since(self.looked_at) >= growth::BLIND_US {
            self.grow_blindly(now);
        }
        met == 0 && self.met > 0
    }

    fn on_outage(&mut self, ended: Ended, now: Time) {
        let limit_per_s = self
            .trial()
            .map_or(self.limit_per_s, |trial| trial.before.limit_per_s);
        let holds = ended == Ended::Moment
            && limit_per_s < rate::MOST_PER_S
            && self.baseline >= baseline::FIRST;
        match self.trial() {
            _ if !holds => self.forget(now),
            Some(&Trial { before, .. }) => self.pass(before, before.per_s, now),
            None => self.change(self.per_s, self.reason, now),
        }
    }

    fn view(&self, wait: Wait, now: Time) -> PathView {
        let may_find_out =
            self.was_limiting || now.us_since(self.changed_at) < growth::UNCERTAIN_US;
        let is_suspect = self.is_in_trial()
            || self.against > evidence::FINE
            || (self.is_probing() && may_find_out);
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
            .is_some_and(|trial| trial.predicted < trial::RELIEVED || trial.is_second);
        started >= self.too_fast.0 && (started < self.too_fast.1 || is_still)
    }

    fn is_uncertain(&self) -> bool {
        self.is_in_trial() || self.heard.asked < intervals::LEAST_SAMPLES
    }

    fn pace(&self) -> Pace {
        Pace {
            per_s: self.per_s as u32,
            reason: self.reason,
        }
    }
}

impl Adaptive {
    /// For loopback: the kernel answers within the call, so there is no limit to look for.
    pub fn of_this_machine() -> Self {
        Adaptive {
            per_s: rate::BLIND_PER_S,
            ..Adaptive::default()
        }
    }

    fn gap_ns(&self) -> f32 {
        1e9 / self.per_s
    }

    fn interval(&mut self, id: IntervalId) -> &mut Interval {
        &mut self.intervals[id as usize % intervals::KEPT]
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

    /// Whether an interval can be judged: all its answers must have come by now.
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

    /// The share of the expected answers that comes to the interval to be judged next, from the
    /// part of it whose time is over.
    fn comes(&self, wait: Wait, now: Time) -> f32 {
        let interval = &self.intervals[self.judged as usize % intervals::KEPT];
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
            .max(self.sending.saturating_sub(intervals::KEPT as u32 - 1));
        *self.interval(self.sending) = Interval {
            began: now,
            ..Interval::default()
        };
    }

    /// Where nothing answers, nothing can be learned, and nothing speaks for staying slow.
    fn grow_blindly(&mut self, now: Time) {
        if self.is_starting() && self.answers == 0 && self.per_s < rate::BLIND_PER_S {
            self.grow(growth::IN_STARTUP, now);
            self.per_s = self.per_s.min(rate::BLIND_PER_S);
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
        if let Some(share) = share.filter(|&share| share >= sample::TELLING) {
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
        let odds = said.odds(evidence::OVERLOADED, 1.0);
        self.in_favour -= odds;
        if self.against == 0.0 {
            (self.against_since, self.against_heard) = (interval.began, Evidence::default());
        }
        self.against = (self.against + odds).max(0.0);
        self.against_heard.add(&said);
        let enough = match (path, interval.was_rate_limited) {
            (None, _) => evidence::TOO_FAST,
            (Some(_), true) => evidence::TOO_FAST_FOR_HOST,
            (Some(_), false) => evidence::TOO_FAST_UNHELD,
        };
        if self.against > enough {
            self.relief = if odds < 0.0 { self.relief - odds } else { 0.0 };
            if self.relief > evidence::HELPED {
                // The trouble has passed.
                self.too_fast = (self.against_since, interval.began);
                (self.against, self.in_favour) = (0.0, 0.0);
            } else if now.us_since(self.against_since) >= self.hold_off_us
                && !path.is_some_and(|path| self.is_explained_by(path))
            {
                self.slow_down(interval, &certain, now);
            }
        } else if self.in_favour > evidence::FINE {
            self.is_fine(interval, wait, now);
        }
    }

    /// Whether the path's present loss explains that of this host. The path's next interval would
    /// show it, but may end after the host's.
    fn is_explained_by(&self, path: &PathView) -> bool {
        let heard = Evidence {
            expected: self.against_heard.expected * path.comes,
            ..self.against_heard
        };
        heard.odds(evidence::OVERLOADED, 1.0) < evidence::TOO_FAST
    }

    /// Answers come, but none to an informative sample.
    fn grow_unwatched(&mut self, now: Time) {
        if self.is_starting() || now.us_since(self.changed_at) > growth::UNCERTAIN_US {
            let factor = if self.is_starting() {
                growth::IN_STARTUP
            } else {
                growth::IN_HOLD
            };
            self.grow(factor.min(rate::BLIND_PER_S / self.per_s).max(1.0), now);
        }
    }

    /// The rate is fine, as far as the evidence goes.
    fn is_fine(&mut self, interval: &Interval, wait: Wait, now: Time) {
        self.in_favour = 0.0;
        self.fine_per_s = self.fine_per_s.max(interval.sent_per_s());
        let below_per_s = limit::BELOW * self.limit_per_s;
        if self.per_s <= 1.01 * below_per_s {
            let certain = std::mem::take(&mut self.heard_certain);
            self.learn_baseline(&certain, baseline::WHEN_FINE);
            if interval.was_rate_limited {
                self.proven = self.baseline;
            }
        }
        let probe_after_us = if self.confirmed == 0 {
            0
        } else {
            (limit::STEP_AFTER * wait.answer_us) << self.confirmed
        };
        if self.is_starting() {
            self.grow(growth::IN_STARTUP, now);
        } else if self.per_s < 0.99 * below_per_s {
            self.grow(growth::IN_HOLD.min(below_per_s / self.per_s), now);
        } else if now.us_since(self.changed_at) >= probe_after_us {
            self.grow(
                if self.confirmed == 0 {
                    limit::FIRST_STEP
                } else {
                    limit::STEP
                },
                now,
            );
            if self.per_s > limit::FORGET * self.limit_per_s {
                (self.limit_per_s, self.confirmed) = (rate::MOST_PER_S, 0);
            }
        }
    }

    /// Whether the rate is a step above the limit.
    fn is_probing(&self) -> bool {
        self.per_s > (1.0 + limit::BELOW) / 2.0 * self.limit_per_s
    }

    /// Raises the rate, if the rate is what holds attempts back.
    fn grow(&mut self, factor: f32, now: Time) {
        if self.was_limiting && self.against <= evidence::TOO_FAST {
            self.change(self.per_s * factor, PaceReason::Faster, now);
        }
    }

    fn change(&mut self, per_s: f32, reason: PaceReason, now: Time) {
        (self.per_s, self.reason) = (per_s.clamp(rate::LEAST_PER_S, rate::MOST_PER_S), reason);
        self.gcra.hasten(self.gap_ns() as u64, now);
        self.was_limiting = false;
        (self.heard, self.heard_certain, self.asked_again) = Default::default();
        (self.against, self.in_favour, self.relief) = (0.0, 0.0, 0.0);
        // What was sent until now says nothing about the new rate.
        (self.changed, self.changed_at) = (self.sending + 1, now);
        self.next_interval(now);
    }

    /// Too many answers are missing. What follows depends on where the rate is.
    fn slow_down(&mut self, interval: &Interval, certain: &Evidence, now: Time) {
        if !interval.was_rate_limited && interval.sent_per_s() < self.fine_per_s / 2.0 {
            // A rate twice as high was fine, so the rate is not the reason.
            self.learn_baseline(certain, baseline::AFTER_TRIAL);
            (self.against, self.in_favour) = (0.0, 0.0);
        } else if self.is_probing() {
            let through_per_s = interval.sent_per_s() * self.against_heard.delivered();
            // A limit that was confirmed more than once does not fall far at once.
            let least_per_s = if self.confirmed > 1 {
                limit::BELOW * self.limit_per_s
            } else {
                rate::LEAST_PER_S
            };
            self.limit_per_s = (self.limit_per_s * through_per_s).sqrt().max(least_per_s);
            self.confirmed = (self.confirmed + 1).min(limit::MOST_CONFIRMED);
            self.too_fast = (self.against_since, now);
            self.change(limit::BELOW * self.limit_per_s, PaceReason::Limit, now);
        } else {
            self.cut(interval, self.against_heard, now);
        }
    }

    /// Starts a trial: cuts the rate to less than what got through.
    fn cut(&mut self, interval: &Interval, heard: Evidence, now: Time) {
        let sent_per_s = interval.sent_per_s();
        let delivered = heard.delivered().min(1.0);
        let share = (delivered * trial::RATE).max(trial::DEEPEST_CUT);
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
            held: limit_per_s < rate::MOST_PER_S
                && self.heard.expected - heard.expected >= trouble::HELD
                && self.against_since.us_since(self.changed_at) >= trouble::HELD_US,
        };
        // If an earlier cut was not enough, the state before the first cut counts.
        let (before, limit_at_most_per_s) =
            self.trial().map_or((first, rate::MOST_PER_S), |trial| {
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

    /// Attempts sent before the cut and judged after it may confirm the cut, or undo it.
    fn think_again(&mut self, interval: &Interval, now: Time) {
        let is_last = self.judged == self.changed;
        let Mode::Trial(trial) = &mut self.mode else {
            return;
        };
        if trial.is_second {
            return;
        }
        let odds = interval.telling.odds(evidence::OVERLOADED, 1.0)
            + interval.certain.odds(evidence::OVERLOADED, 1.0);
        trial.afterthought += odds;
        trial.asked += interval.telling.asked + interval.certain.asked;
        let before = trial.before;
        if odds < -evidence::HELPED && interval.sent_per_s() > limit::BELOW * before.per_s {
            self.too_fast.1 = interval.began;
            return self.pass(before, before.per_s, now);
        }
        if is_last && trial.afterthought > evidence::CONFIRMED {
            self.confirmed = 1;
        }
    }

    /// The trouble has passed, and the rate was not the reason. The next trouble gets time to pass.
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
            .min(trouble::LONGEST_HOLD_OFF_US);
        self.change(per_s, PaceReason::NotTheRate, now);
    }

    /// Counts anew what gets through: a limit may have saved up since the trouble began.
    fn calm_from(&self, now: Time) -> Calm {
        Calm {
            since: now,
            saved_s: now.us_since(self.too_fast.0) as f32 / 1e6,
            ..Calm::default()
        }
    }

    /// Learns which share of the certain answers comes at any rate. `needed` is the weight of what
    /// was believed before, in expected answers.
    fn learn_baseline(&mut self, certain: &Evidence, needed: f32) {
        let weight = certain.expected / (certain.expected + needed);
        self.baseline =
            (self.baseline * (1.0 + (certain.delivered() - 1.0) * weight)).clamp(0.01, 1.0);
    }

    /// In a trial: has the cut helped?
    fn try_out(&mut self, interval: &Interval, said: &Evidence, now: Time) {
        let Mode::Trial(trial) = &mut self.mode else {
            return;
        };
        trial.same += said.odds(evidence::OVERLOADED * trial.predicted, trial.predicted);
        trial.fair.add(&interval.telling);
        trial.fair.add(&interval.certain);
        let trial = *trial;
        let is_over = self.heard.expected > trial::MOST_EXPECTED
            || now.us_since(self.changed_at) > trial::LONGEST_US;
        let is_same = trial.same > if is_over { 0.0 } else { evidence::NO_HELP };
        if !is_same && !is_over && trial.same > -evidence::HELPED {
            return;
        }
        let comes = self.heard.delivered();
        let comes_per_s = interval.sent_per_s().min(self.per_s);
        let hardly_comes = comes < trial::HARDLY && self.per_s > 2.0 * rate::LEAST_PER_S;
        if !is_same && trial.is_relieved() && !self.can_be_limit(&trial, comes_per_s) {
            let before = trial.before;
            self.pass(
                before,
                before.fine_per_s.min(before.per_s).max(comes_per_s),
                now,
            );
        } else if hardly_comes || (!is_same && trial.predicted < trial::RELIEVED) {
            // It has helped as far as it could, but the rate was too high all this time.
            self.against_since = self.too_fast.0;
            self.cut(interval, self.heard, now);
        } else if is_same && !trial.is_second && comes < trial::BAD {
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

    /// Whether a limit explains both what got through before the trouble and what comes now.
    fn can_be_limit(&self, trial: &Trial, comes_per_s: f32) -> bool {
        let limit_per_s = trial.limit_at_most_per_s;
        !trial.before.held
            && comes_per_s < trouble::CONTRADICTS * limit_per_s
            && self.calm.allows(limit_per_s, self.too_fast.0)
    }

    /// Ends the trial: the rate was the reason, or it was not.
    fn conclude(&mut self, trial: &Trial, is_same: bool, now: Time) {
        let before = trial.before;
        let is_much_better = self.heard.delivered() >= trial::MUCH_BETTER * before.came;
        self.end_trial(before.was_starting && is_same && !is_much_better);
        let (certain, baseline) = (self.heard_certain, self.baseline);
        self.learn_baseline(&certain, baseline::AFTER_TRIAL);
        if !is_same {
            self.baseline = self.baseline.max(baseline);
        }
        self.proven = self.baseline;
        if is_same && !is_much_better {
            self.limit_per_s = rate::MOST_PER_S;
            // Nor was what was lost before the trial.
            self.too_fast = (Time::default(), Time::default());
            return self.change(before.per_s, PaceReason::NotTheRate, now);
        }
        self.calm = self.calm_from(now);
        self.hold_off_us = 0;
        self.fine_per_s = self.per_s;
        self.met = self.met.saturating_add(1);
        self.confirmed = if trial.asked < evidence::CONFIRMED_SAMPLES {
            0
        } else {
            self.confirmed
                .max((self.met - 1).min(limit::MOST_CONFIRMED))
        };
        self.change(trial.through_per_s * limit::BELOW, PaceReason::Limit, now);
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

    /// Attempts on a path that takes `capacity_per_s`, answers after 20 ms and always loses the
    /// share `lost`. Half of the ports answer, one attempt in eight is a canary, and what is lost
    /// is asked again. As many begin as the controller allows, for this many seconds. Returns how
    /// many began in each of the last five, and the share of these that was above the capacity.
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

    /// A path that saves up unused capacity for `saves_s` and lets nothing pass in the
    /// milliseconds for which `is_away`.
    struct Way {
        capacity_per_s: f64,
        saves_s: f64,
        lost: f64,
        is_away: fn(u64) -> bool,
    }

    fn drive_through(flow: &mut Adaptive, way: &Way, seconds: u64) -> (f64, f64) {
        drive_and_look(flow, way, seconds, &mut |_| {})
    }

    /// The same; `look` sees the controller each millisecond.
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
            // No machine sends more in a millisecond.
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
        // A hundred attempts in 10 ms, at a moment when half of them must have been answered.
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
