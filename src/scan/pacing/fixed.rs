//! No rate control: attempts begin as fast as everything else allows, whatever is lost.

use super::controller::{IntervalId, Pace, PaceReason, PathView, Prior, RateController};
use crate::scan::estimate::{Ended, Wait};
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
        0
    }

    fn on_observation(&mut self, _: &Observation, _: IntervalId, _: Wait, _: Option<&PathView>) {}

    fn on_interval(&mut self, _: Option<f32>, _: Wait, _: Option<&PathView>, _: Time) -> bool {
        false
    }

    fn on_outage(&mut self, _ended: Ended, _now: Time) {}

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
            per_s: u32::MAX,
            reason: PaceReason::Start,
        }
    }
}
