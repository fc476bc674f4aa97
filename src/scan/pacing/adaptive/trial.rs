//! Trials: the rate is cut, to see whether it was the reason for missing answers. All ways into a
//! trial and out of it are here.

use super::{Adaptive, Calm, Mode};
use crate::scan::pacing::controller::PaceReason;
use crate::scan::pacing::interval::{Evidence, Interval};
use crate::scan::pacing::thresholds::{baseline, evidence, intervals, limit, rate, trial, trouble};
use crate::scan::time::Time;

/// A time at a reduced rate: does the loss stay?
#[derive(Clone, Copy, Debug)]
pub(super) struct Trial {
    pub before: Before,
    /// What got through, or the rate of the trial if that is higher; and the highest limit that
    /// could be the reason. Both in attempts per second.
    through_per_s: f32,
    limit_at_most_per_s: f32,
    /// The share of the expected answers that comes in the trial if the rate was the reason.
    predicted: f32,
    /// The log-likelihood ratio (llr) that the loss stays the same.
    same: f32,
    /// The loss stayed the same, and the rate was cut once more to be sure.
    is_second: bool,
    /// The evidence without ports that were asked again, since of these only those that answer
    /// are counted.
    fair: Evidence,
    /// The llr against the old rate, from attempts sent before the cut and judged after it.
    afterthought: f32,
    /// How many informative samples the whole trouble had.
    asked: u32,
}

impl Trial {
    /// Whether its own rate may still be too high.
    pub fn may_be_too_fast(&self) -> bool {
        self.predicted < trial::RELIEVED || self.is_second
    }

    /// Whether nearly everything comes.
    fn is_relieved(&self) -> bool {
        self.fair.asked >= intervals::LEAST_SAMPLES && self.fair.delivered() > trial::RELIEVED
    }
}

/// The state before the rate was cut.
#[derive(Clone, Copy, Debug)]
pub(super) struct Before {
    pub per_s: f32,
    was_starting: bool,
    pub limit_per_s: f32,
    confirmed: u8,
    fine_per_s: f32,
    /// The share of the expected answers that came.
    came: f32,
    /// How long it took to notice the trouble.
    noticed_us: u64,
    /// The rate had been fine for long, below a known limit.
    was_fine: bool,
}

impl Adaptive {
    pub(super) fn trial(&self) -> Option<&Trial> {
        if let Mode::Trial(trial) = &self.mode {
            Some(trial)
        } else {
            None
        }
    }

    pub(super) fn is_in_trial(&self) -> bool {
        self.trial().is_some()
    }

    /// Starts a trial: cuts the rate to less than what got through.
    pub(super) fn cut(&mut self, interval: &Interval, heard: Evidence, now: Time) {
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
            noticed_us: now.us_since(self.detector.since),
            was_fine: limit_per_s < rate::MOST_PER_S
                && self.heard.expected - heard.expected >= trouble::HELD
                && self.detector.since.us_since(self.changed_at) >= trouble::HELD_US,
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
        self.too_fast = (self.detector.since, now);
        self.confirmed = 0;
        self.limit_per_s = through_per_s;
        self.fine_per_s = 0.0;
        self.change((sent_per_s * share).min(self.per_s), PaceReason::Trial, now);
    }

    /// Attempts sent before the cut and judged after it may confirm the cut, or undo it.
    pub(super) fn think_again(&mut self, interval: &Interval, now: Time) {
        let is_last = self.judged == self.changed;
        let Mode::Trial(trial) = &mut self.mode else {
            return;
        };
        if trial.is_second {
            return;
        }
        let llr = interval.telling.llr(evidence::OVERLOADED, 1.0)
            + interval.certain.llr(evidence::OVERLOADED, 1.0);
        trial.afterthought += llr;
        trial.asked += interval.telling.asked + interval.certain.asked;
        let before = trial.before;
        if llr < -evidence::HELPED && interval.sent_per_s() > limit::BELOW * before.per_s {
            self.too_fast.1 = interval.began;
            return self.pass(before, before.per_s, now);
        }
        if is_last && trial.afterthought > evidence::CONFIRMED {
            self.confirmed = 1;
        }
    }

    /// The trouble has passed, and the rate was not the reason. The next trouble gets time to pass.
    pub(super) fn pass(&mut self, before: Before, per_s: f32, now: Time) {
        self.leave(before.was_starting);
        self.limit_per_s = before.limit_per_s;
        self.confirmed = before.confirmed;
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

    /// In a trial: has the cut helped?
    pub(super) fn try_out(&mut self, interval: &Interval, said: &Evidence, now: Time) {
        let Mode::Trial(trial) = &mut self.mode else {
            return;
        };
        trial.same += said.llr(evidence::OVERLOADED * trial.predicted, trial.predicted);
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
            self.detector.since = self.too_fast.0;
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
            self.end_trial(&trial, is_same, now);
        }
    }

    /// Whether a limit explains both what got through before the trouble and what comes now.
    fn can_be_limit(&self, trial: &Trial, comes_per_s: f32) -> bool {
        let limit_per_s = trial.limit_at_most_per_s;
        !trial.before.was_fine
            && comes_per_s < trouble::CONTRADICTS * limit_per_s
            && self.calm.allows(limit_per_s, self.too_fast.0)
    }

    /// Ends the trial: the rate was the reason, or it was not.
    fn end_trial(&mut self, trial: &Trial, is_same: bool, now: Time) {
        let before = trial.before;
        let is_much_better = self.heard.delivered() >= trial::MUCH_BETTER * before.came;
        self.leave(before.was_starting && is_same && !is_much_better);
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

    fn leave(&mut self, starts_again: bool) {
        self.mode = if starts_again {
            Mode::Startup
        } else {
            Mode::Hold
        };
    }
}
