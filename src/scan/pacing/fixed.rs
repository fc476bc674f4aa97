//! No rate control: attempts begin as fast as everything else allows, whatever is lost.

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use crate::scan::estimate::Wait;
use crate::scan::observation::Observation;
use crate::scan::time::Time;

/// Learns nothing and holds nothing back.
#[derive(Debug)]
pub(super) struct Fixed;

impl RateController for Fixed {
    fn next_send(&mut self, _now: Time) -> Option<Time> {
        None
    }

    fn on_sent(&mut self, _prior: Prior, _now: Time) -> IntervalId {
        IntervalId::default()
    }

    fn on_observation(&mut self, _: &Observation, _: IntervalId, _: Wait, _: Option<&PathView>) {}

    fn pace(&self) -> Pace {
        Pace {
            per_s: u32::MAX,
            reason: PaceReason::Start,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::estimate::Ended;
    use crate::scan::observation::Ending;
    use crate::scan::pacing::Controller;

    #[test]
    fn nothing_holds_attempts_back_whatever_is_lost() {
        let mut fixed = Controller::Fixed.of_path(false);
        let wait = Wait {
            answer_us: 20_000,
            retry_us: 100_000,
        };
        for us in 1..=1_000 {
            let now = Time::from_us(us);
            assert_eq!(fixed.next_send(now), None);
            assert!(!fixed.on_interval(Some(1.0), wait, None, now), "no limit");
            let id = fixed.on_sent(Prior::Certain, now);
            let lost = Observation {
                sent: now,
                ending: Ending::Silent,
                prior: Prior::Certain,
                ..Observation::default()
            };
            fixed.on_observation(&lost, id, wait, None);
            assert!(!fixed.was_too_fast(now));
        }
        fixed.on_outage(Ended::Outage, Time::from_us(1_001));
        assert_eq!(fixed.next_send(Time::from_us(1_001)), None);
        assert_eq!(fixed.pace().per_s, u32::MAX);
        assert!(!fixed.is_uncertain());
    }
}
