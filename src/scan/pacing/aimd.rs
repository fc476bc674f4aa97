//! Additive increase, multiplicative decrease, in the manner of nmap (`timing.cc`): a window of
//! attempts in flight that grows with answers and shrinks with losses (Jacobson 1988). It exists
//! for comparison: it takes random loss for congestion, and silence starves it. Canaries stand for
//! nmap's timing pings, but are frequent, so their answers do not count three times. It knows
//! counts and times, no host and no socket.

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::{Ending, Observation};
use crate::scan::time::{TICK_US, Time};

/// A congestion window, counted in attempts.
#[derive(Debug)]
pub(super) struct Aimd {
    window: f32,
    /// Up to this the window grows by whole attempts (slow start), above it by one each window.
    threshold: f32,
    in_flight: u32,
    /// All attempts that ended, and those that were answered: where few are, each counts for more.
    ended: u32,
    answered: u32,
    /// The latest time it was asked, and that of the latest drop. Losses come in batches: attempts
    /// sent before a drop was noticed do not shrink the window again.
    now: Time,
    dropped_at: Time,
    /// How long an answer takes: with the window it gives the rate.
    answer_us: u64,
    reason: PaceReason,
}

/// nmap's first window, threshold and largest window, in attempts, and the largest weight of an
/// answer (`scan_performance_vars::init`, up to `-T3`).
const FIRST_WINDOW: f32 = 10.0;
const FIRST_THRESHOLD: f32 = 75.0;
const MOST_WINDOW: f32 = 300.0;
const MOST_SCALE: f32 = 50.0;
/// What a drop leaves of the path's window, and of a host's, in attempts.
const PATH_DECREASE: f32 = 0.5;
const LEAST_WINDOW: f32 = 1.0;
/// What a drop leaves of the attempts in flight as a threshold, and the least threshold.
const THRESHOLD_SHARE: f32 = 1.0 / 1.5;
const LEAST_THRESHOLD: f32 = 2.0;

impl Default for Aimd {
    fn default() -> Self {
        Aimd {
            window: FIRST_WINDOW,
            threshold: FIRST_THRESHOLD,
            in_flight: 0,
            ended: 0,
            answered: 0,
            now: Time::default(),
            dropped_at: Time::default(),
            answer_us: 0,
            reason: PaceReason::Start,
        }
    }
}

impl Aimd {
    fn grow(&mut self) {
        let scale = (self.ended as f32 / self.answered as f32).min(MOST_SCALE);
        let window = if self.window < self.threshold {
            (self.window + scale).min(self.threshold)
        } else {
            self.window + scale / self.window
        };
        self.window = window.min(MOST_WINDOW);
        self.reason = PaceReason::Faster;
    }

    /// An attempt was dropped. A host starts again at one attempt, the path at half its window.
    fn shrink(&mut self, is_path: bool) {
        let threshold = (self.in_flight as f32 * THRESHOLD_SHARE).floor();
        self.threshold = threshold.max(LEAST_THRESHOLD);
        let window = if is_path {
            self.window * PATH_DECREASE
        } else {
            LEAST_WINDOW
        };
        self.window = window.max(LEAST_WINDOW);
        self.dropped_at = self.now;
        self.reason = PaceReason::Limit;
    }
}

impl RateController for Aimd {
    fn next_send(&mut self, now: Time) -> Option<Time> {
        self.now = now;
        // An attempt that ends makes room; the loop asks again after each.
        (self.in_flight as f32 >= self.window).then(|| now.plus_us(TICK_US))
    }

    fn on_sent(&mut self, _prior: Prior, now: Time) -> IntervalId {
        self.now = now;
        self.in_flight += 1;
        IntervalId::default()
    }

    fn on_observation(
        &mut self,
        seen: &Observation,
        _id: IntervalId,
        _wait: Wait,
        path: Option<&PathView>,
    ) {
        self.in_flight -= 1;
        self.ended += 1;
        let shows_drop = match seen.ending {
            // The attempt before it was lost.
            Ending::Answered => seen.lost_at.is_some(),
            // A canary should have been answered.
            Ending::Silent => matches!(seen.prior, Prior::Certain),
            Ending::Discarded => false,
        };
        if shows_drop && seen.sent > self.dropped_at {
            self.shrink(path.is_none());
        }
        // As in nmap, an answer counts even if it shows a drop.
        if seen.ending == Ending::Answered {
            self.answered += 1;
            self.grow();
        }
    }

    fn on_interval(&mut self, _: Option<f32>, wait: Wait, _: Option<&PathView>, _: Time) -> bool {
        self.answer_us = wait.answer_us;
        false
    }

    fn on_outage(&mut self, _ended: Ended, _now: Time) {
        *self = Aimd {
            in_flight: self.in_flight,
            now: self.now,
            ..Aimd::default()
        };
    }

    fn pace(&self) -> Pace {
        Pace {
            per_s: (self.window * 1e6 / self.answer_us.max(1) as f32) as u32,
            reason: self.reason,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Wait = Wait {
        answer_us: 20_000,
        retry_us: 100_000,
    };

    /// What comes of an attempt: an answer, an answer to a retry, silence, or silence of a canary.
    #[derive(Clone, Copy, Debug)]
    enum End {
        Answer,
        Retry,
        Silence,
        Canary,
    }
    use End::{Answer, Canary, Retry, Silence};

    fn seen(end: End, sent: Time) -> Observation {
        let is_canary = matches!(end, Canary);
        Observation {
            sent,
            ending: match end {
                Answer | Retry => Ending::Answered,
                Silence | Canary => Ending::Silent,
            },
            lost_at: matches!(end, Retry).then_some(sent),
            prior: if is_canary {
                Prior::Certain
            } else {
                Prior::Unknown
            },
            ..Observation::default()
        }
    }

    /// The window after these attempts, each ended before the next one begins.
    fn check(ends: &[End], is_path: bool, window: f32) {
        let mut aimd = Aimd::default();
        let view = PathView::default();
        for (n, &end) in ends.iter().enumerate() {
            let sent = Time::from_us(2 * n as u64 + 1);
            aimd.on_sent(Prior::Unknown, sent);
            let seen = seen(end, sent);
            aimd.on_observation(&seen, IntervalId(0), WAIT, (!is_path).then_some(&view));
        }
        assert!((aimd.window - window).abs() < 0.01, "{ends:?}: {aimd:?}");
    }

    #[test]
    fn answers_open_the_window_and_losses_close_it() {
        check(&[], true, 10.0);
        check(&[Answer; 5], true, 15.0);
        check(&[Silence; 5], true, 10.0);
        check(&[Silence, Answer], true, 12.0);
        // Half of 12, above the threshold of 2, and one window's share for the answer.
        check(&[Answer, Answer, Retry], true, 6.0 + 1.0 / 6.0);
        check(&[Answer, Answer, Canary], true, 6.0);
        check(&[Answer, Answer, Canary], false, 1.0);
        check(&[Retry], false, 2.0);
        // Above the threshold of 2 it grows by one each window.
        check(&[Retry, Answer], false, 2.5);
    }

    #[test]
    fn slow_start_ends_at_the_threshold_however_much_an_answer_weighs() {
        let mut ends = [Silence; 1_000];
        ends[990..].fill(Answer);
        check(&ends[..991], true, 60.0);
        check(&ends[..992], true, 75.0);
        check(&ends[..993], true, 75.0 + 50.0 / 75.0);
        check(&[Answer; 60_000], true, MOST_WINDOW);
    }

    #[test]
    fn losses_of_one_batch_shrink_the_window_once() {
        let mut aimd = Aimd::default();
        (1..=9).for_each(|us| _ = aimd.on_sent(Prior::Certain, Time::from_us(us)));
        let lose = |aimd: &mut Aimd, us| {
            aimd.on_observation(&seen(Canary, Time::from_us(us)), IntervalId(0), WAIT, None);
            aimd.window
        };
        assert_eq!(lose(&mut aimd, 1), 5.0);
        assert_eq!(aimd.threshold, 5.0, "two thirds of the 8 in flight");
        assert_eq!(
            lose(&mut aimd, 9),
            5.0,
            "it was sent before that was noticed"
        );
        aimd.on_sent(Prior::Certain, Time::from_us(10));
        assert_eq!(lose(&mut aimd, 10), 2.5);
    }

    #[test]
    fn the_window_holds_attempts_back_until_others_end() {
        let mut aimd = Aimd::default();
        let now = Time::from_us(1);
        for _ in 0..10 {
            assert_eq!(aimd.next_send(now), None);
            aimd.on_sent(Prior::Unknown, now);
        }
        assert!(aimd.next_send(now).is_some());
        let silent = Observation {
            ending: Ending::Silent,
            ..Observation::default()
        };
        aimd.on_observation(&silent, IntervalId(0), WAIT, None);
        assert_eq!(aimd.next_send(now), None);
    }
}
