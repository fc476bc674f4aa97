//! Additive increase, multiplicative decrease, in the manner of nmap (`timing.cc`): a window of
//! attempts in flight that grows with answers and shrinks with losses (Jacobson 1988). It is here
//! for comparison: it takes random loss for congestion, and silence starves it.

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::{Ending, Observation};
use crate::scan::time::{TICK_US, Time};

/// A congestion window, counted in attempts.
#[derive(Debug)]
pub(super) struct Aimd {
    window: f32,
    /// Below this the window grows by whole attempts (slow start), above it by one each window.
    threshold: f32,
    in_flight: u32,
    /// All attempts that ended, and those that were answered: where few are, each counts for more.
    ended: u32,
    answered: u32,
    /// Attempts sent before this cannot shrink the window again.
    shrunk_at: Time,
    answer_us: u64,
    reason: PaceReason,
}

/// nmap's first window, threshold, largest window, and largest weight of one answer.
const FIRST_WINDOW: f32 = 10.0;
const FIRST_THRESHOLD: f32 = 75.0;
const MOST_WINDOW: f32 = 300.0;
const MOST_SCALE: f32 = 50.0;
/// What a loss leaves of the path's window, and of the attempts in flight as a threshold.
const PATH_DECREASE: f32 = 0.5;
const THRESHOLD_SHARE: f32 = 1.0 / 1.5;

impl Default for Aimd {
    fn default() -> Self {
        Aimd {
            window: FIRST_WINDOW,
            threshold: FIRST_THRESHOLD,
            in_flight: 0,
            ended: 0,
            answered: 0,
            shrunk_at: Time::default(),
            answer_us: 0,
            reason: PaceReason::Start,
        }
    }
}

impl Aimd {
    fn grow(&mut self) {
        let scale = (self.ended as f32 / self.answered as f32).min(MOST_SCALE);
        let step = if self.window < self.threshold {
            scale
        } else {
            scale / self.window
        };
        self.window = (self.window + step).min(MOST_WINDOW);
        self.reason = PaceReason::Faster;
    }

    /// Something was lost. A host begins again at one attempt, the path at half its window.
    fn shrink(&mut self, is_path: bool, sent: Time) {
        self.threshold = (self.in_flight as f32 * THRESHOLD_SHARE).max(2.0);
        let least = if is_path {
            self.window * PATH_DECREASE
        } else {
            1.0
        };
        self.window = least.max(1.0);
        self.shrunk_at = sent;
        self.reason = PaceReason::Limit;
    }
}

impl RateController for Aimd {
    fn next_send(&mut self, now: Time) -> Option<Time> {
        // It is an ending that makes room, and the loop looks again after each.
        (self.in_flight as f32 >= self.window).then(|| now.plus_us(TICK_US))
    }

    fn on_sent(&mut self, _prior: Prior, _now: Time) -> IntervalId {
        self.in_flight += 1;
        0
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
        self.answered += u32::from(seen.ending == Ending::Answered);
        let is_lost = match seen.ending {
            Ending::Answered => seen.lost_at.is_some_and(|at| at >= self.shrunk_at),
            Ending::Silent => matches!(seen.prior, Prior::Certain) && seen.sent >= self.shrunk_at,
            Ending::Discarded => false,
        };
        if is_lost {
            self.shrink(path.is_none(), seen.sent);
        } else if seen.ending == Ending::Answered {
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
            ..Aimd::default()
        };
    }

    fn view(&self, _wait: Wait, _now: Time) -> PathView {
        PathView::default()
    }

    fn was_too_fast(&self, _sent: Time) -> bool {
        false
    }

    fn is_uncertain(&self) -> bool {
        false
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

    /// The window after so many attempts, each ended as said before the next one begins.
    fn check(endings: &[(Ending, bool)], is_path: bool, window: f32) {
        let mut aimd = Aimd::default();
        for (n, &(ending, was_lost)) in endings.iter().enumerate() {
            let sent = Time::from_us(n as u64 + 1);
            aimd.on_sent(Prior::Unknown, sent);
            let seen = Observation {
                sent,
                ending,
                lost_at: was_lost.then_some(sent),
                ..Observation::default()
            };
            let view = PathView::default();
            aimd.on_observation(&seen, 0, WAIT, (!is_path).then_some(&view));
        }
        assert!((aimd.window - window).abs() < 0.01, "{endings:?}: {aimd:?}");
    }

    #[test]
    fn answers_open_the_window_and_losses_close_it() {
        let (answered, lost) = ((Ending::Answered, false), (Ending::Answered, true));
        check(&[], true, 10.0);
        check(&[answered; 5], true, 15.0);
        check(&[(Ending::Silent, false); 5], true, 10.0);
        check(&[(Ending::Silent, false), answered], true, 12.0);
        check(&[answered, answered, lost], true, 6.0);
        check(&[answered, answered, lost], false, 1.0);
        // Above the threshold of 2 it grows by one each window.
        check(&[lost, answered, answered], false, 2.5);
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
        aimd.on_observation(&silent, 0, WAIT, None);
        assert_eq!(aimd.next_send(now), None);
    }
}
