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

mod trial;

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use super::detector::{Detector, Judgement};
use super::gcra::Gcra;
use super::interval::{Evidence, Interval};
use super::thresholds::{baseline, evidence, growth, intervals, limit, rate, sample, trouble};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::{Ending, Observation};
use crate::scan::time::Time;
use trial::Trial;

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
    detector: Detector,
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
    /// How long the next trouble gets to pass by itself, because earlier ones did.
    hold_off_us: u64,
    /// The share of certain answers that comes at any rate: as far as is known; and as proven by a
    /// trial, or by a rate that held attempts back and was fine. Other loss may be due to the rates
    /// at which hosts are asked.
    baseline: f32,
    proven: f32,
}

/// What the controller is doing. `trial` starts and ends trials; `forget` starts over.
#[derive(Clone, Copy, Debug)]
enum Mode {
    /// The path has shown no limit yet: the rate doubles.
    Startup,
    /// The rate stays just below a known limit, or grows back to it; a step above it
    /// (`is_above_limit`) shows whether it is still there.
    Hold,
    /// The rate is cut, to see whether it was the reason for missing answers.
    Trial(Trial),
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
            detector: Detector::default(),
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
            self.looked_at = now;
            self.calm.since = now;
        }
        self.gcra.begin(self.gap_ns() as u64, now);
        let baseline = self.baseline;
        let interval = self.interval(self.sending);
        if interval.sent == 0 {
            // Idle time is not part of it.
            interval.began = now;
        }
        interval.sent += 1;
        interval.last = now;
        match prior {
            Prior::Unknown => interval.unknown += 1,
            Prior::Chance(chance) if chance >= sample::TELLING => interval.telling.ask(chance),
            Prior::Chance(_) => {}
            Prior::Certain => interval.certain.ask(sample::CERTAIN * baseline),
        }
        IntervalId(self.sending)
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
        if self.sending - id.0 < intervals::KEPT as u32 {
            let interval = self.interval(id.0);
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
            || self.detector.is_suspicious()
            || (self.is_above_limit() && may_find_out);
        PathView {
            baseline: self.proven,
            is_suspect,
            too_fast_until: self.too_fast.1,
            comes: self.comes(wait, now),
        }
    }

    fn was_too_fast(&self, started: Time) -> bool {
        let is_still = self.trial().is_some_and(Trial::may_be_too_fast);
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

    fn interval(&mut self, number: u32) -> &mut Interval {
        &mut self.intervals[number as usize % intervals::KEPT]
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

    fn is_starting(&self) -> bool {
        matches!(self.mode, Mode::Startup)
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
        self.answers = 0;
        self.looked_at = now;
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
                return self.detector.clear();
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
        let enough = match (path, interval.was_rate_limited) {
            (None, _) => evidence::TOO_FAST,
            (Some(_), true) => evidence::TOO_FAST_FOR_HOST,
            (Some(_), false) => evidence::TOO_FAST_UNHELD,
        };
        match self.detector.judge(&said, interval.began, enough) {
            Judgement::Passed { since } => self.too_fast = (since, interval.began),
            Judgement::TooFast => {
                let is_long = now.us_since(self.detector.since) >= self.hold_off_us;
                if is_long && !path.is_some_and(|path| self.is_explained_by(path)) {
                    self.slow_down(interval, &certain, now);
                }
            }
            Judgement::Fine => self.is_fine(interval, wait, now),
            Judgement::Open => {}
        }
    }

    /// Whether the path's present loss explains that of this host. The path's next interval would
    /// show it, but may end after the host's.
    fn is_explained_by(&self, path: &PathView) -> bool {
        let heard = Evidence {
            expected: self.detector.heard.expected * path.comes,
            ..self.detector.heard
        };
        heard.llr(evidence::OVERLOADED, 1.0) < evidence::TOO_FAST
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
                self.limit_per_s = rate::MOST_PER_S;
                self.confirmed = 0;
            }
        }
    }

    /// Whether the rate is a step above the limit.
    fn is_above_limit(&self) -> bool {
        self.per_s > (1.0 + limit::BELOW) / 2.0 * self.limit_per_s
    }

    /// Raises the rate, if the rate is what holds attempts back.
    fn grow(&mut self, factor: f32, now: Time) {
        if self.was_limiting && !self.detector.is_alarmed() {
            self.change(self.per_s * factor, PaceReason::Faster, now);
        }
    }

    fn change(&mut self, per_s: f32, reason: PaceReason, now: Time) {
        self.per_s = per_s.clamp(rate::LEAST_PER_S, rate::MOST_PER_S);
        self.reason = reason;
        self.gcra.hasten(self.gap_ns() as u64, now);
        self.was_limiting = false;
        self.heard = Evidence::default();
        self.heard_certain = Evidence::default();
        self.asked_again = Evidence::default();
        self.detector.start_over();
        // What was sent until now says nothing about the new rate.
        self.changed = self.sending + 1;
        self.changed_at = now;
        self.next_interval(now);
    }

    /// Too many answers are missing. What follows depends on where the rate is.
    fn slow_down(&mut self, interval: &Interval, certain: &Evidence, now: Time) {
        if !interval.was_rate_limited && interval.sent_per_s() < self.fine_per_s / 2.0 {
            // A rate twice as high was fine, so the rate is not the reason.
            self.learn_baseline(certain, baseline::AFTER_TRIAL);
            self.detector.clear();
        } else if self.is_above_limit() {
            let through_per_s = interval.sent_per_s() * self.detector.heard.delivered();
            // A limit that was confirmed more than once does not fall far at once.
            let least_per_s = if self.confirmed > 1 {
                limit::BELOW * self.limit_per_s
            } else {
                rate::LEAST_PER_S
            };
            self.limit_per_s = (self.limit_per_s * through_per_s).sqrt().max(least_per_s);
            self.confirmed = (self.confirmed + 1).min(limit::MOST_CONFIRMED);
            self.too_fast = (self.detector.since, now);
            self.change(limit::BELOW * self.limit_per_s, PaceReason::Limit, now);
        } else {
            self.cut(interval, self.detector.heard, now);
        }
    }

    /// Learns which share of the certain answers comes at any rate. `needed` is the weight of what
    /// was believed before, in expected answers.
    fn learn_baseline(&mut self, certain: &Evidence, needed: f32) {
        let weight = certain.expected / (certain.expected + needed);
        self.baseline =
            (self.baseline * (1.0 + (certain.delivered() - 1.0) * weight)).clamp(0.01, 1.0);
    }
}

#[cfg(test)]
mod tests;
