//! Slowing a running scan down and hurrying it, by a tenth at a time. What is slowed down is what the scan does, whatever
//! holds it back; what is hurried is the rate it was given, since nothing else is a matter of choice.

use std::num::NonZeroU32;

use portreeve::engine::RateHandle;
use portreeve::report::{Progress, grouped};
use portreeve::scan::Rate;

/// The rate of a running scan.
pub struct Throttle {
    handle: RateHandle,
    rate: Option<Rate>,
    /// Attempts begun until a second ago or more, and the time then.
    before: (u64, u64),
    /// Attempts begun per second since then.
    per_s: u64,
}

const SECOND_US: u64 = 1_000_000;

impl Throttle {
    pub fn new(handle: RateHandle, rate: Option<Rate>) -> Self {
        Throttle { handle, rate, before: (0, 0), per_s: 0 }
    }

    /// Looks how fast the scan is.
    pub fn look(&mut self, progress: &Progress) {
        let begun = progress.stats.attempts + progress.stats.voided + u64::from(progress.stats.in_flight);
        let (begun_before, before_us) = self.before;
        let passed_us = progress.elapsed.us - before_us;
        let has_passed = passed_us >= SECOND_US;
        // Less than a second tells little, but in the first one there is nothing else.
        if has_passed || before_us == 0 {
            self.per_s = begun.saturating_sub(begun_before) * SECOND_US / passed_us.max(1);
        }
        if has_passed {
            self.before = (begun, progress.elapsed.us);
        }
    }

    /// Slows the scan down by a tenth of what it does; says what holds now.
    pub fn slower(&mut self) -> String {
        let allowed = self.rate.filter(|rate| !rate.public_only).map_or(u64::MAX, |rate| rate.per_s.get().into());
        match self.per_s.min(allowed) {
            0 => "nothing is being sent, so nothing can be slowed down".into(),
            does => self.set(does - (does / 10).max(1), false),
        }
    }

    /// Allows a tenth more than before; says what holds now.
    pub fn faster(&mut self) -> String {
        match self.rate {
            None => "no rate is set; the network alone holds the scan back".into(),
            Some(rate) => self.set(u64::from(rate.per_s.get()) + u64::from(rate.per_s.get() / 10).max(1), rate.public_only),
        }
    }

    fn set(&mut self, per_s: u64, public_only: bool) -> String {
        let per_s = NonZeroU32::new(u32::try_from(per_s).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        self.rate = Some(Rate { per_s, public_only });
        self.handle.set(self.rate);
        // A second press counts from here and not from what was before the first one.
        self.per_s = self.per_s.min(per_s.get().into());
        let whom = if public_only { " towards public addresses" } else { "" };
        format!("at most {} attempts per second{whom} from now on", grouped(per_s.get().into()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(rate: Option<(u32, bool)>, does: u64) -> Throttle {
        let rate = rate.and_then(|(per_s, public_only)| Some(Rate { per_s: NonZeroU32::new(per_s)?, public_only }));
        Throttle { per_s: does, ..Throttle::new(RateHandle::default(), rate) }
    }

    fn per_s(throttle: &Throttle) -> Option<(u32, bool)> {
        throttle.rate.map(|rate| (rate.per_s.get(), rate.public_only))
    }

    #[test]
    fn slower_is_a_tenth_less_than_what_is_done() {
        for (rate, does, then, after) in [
            (None, 50_000, 45_000, 40_500),
            (Some((10_000, true)), 50_000, 45_000, 40_500),
            (Some((1_000, false)), 1_000, 900, 810),
            (Some((1_000, false)), 200, 180, 162),
            (None, 1, 1, 1),
        ] {
            let mut throttle = throttle(rate, does);
            let said = throttle.slower();
            assert_eq!(per_s(&throttle), Some((then, false)), "{said}");
            throttle.slower();
            assert_eq!(per_s(&throttle), Some((after, false)), "{rate:?} {does}");
        }
    }

    #[test]
    fn faster_is_a_tenth_more_than_what_is_allowed() {
        for (rate, then) in [(Some((1_000, false)), Some((1_100, false))), (Some((3, true)), Some((4, true))), (None, None)] {
            let mut throttle = throttle(rate, 10);
            throttle.faster();
            assert_eq!(per_s(&throttle), then);
        }
        let mut idle = throttle(None, 0);
        idle.slower();
        assert_eq!(per_s(&idle), None);
        let mut fastest = throttle(Some((u32::MAX, false)), 10);
        fastest.faster();
        assert_eq!(per_s(&fastest), Some((u32::MAX, false)));
    }
}
