//! Slows a running scan down or speeds it up, by a tenth at a time: a tenth of its rate limit, or
//! where none applies to all addresses, of its actual rate. The limit for what passes a router
//! still applies.

use std::num::NonZeroU32;

use portreeve::engine::RateHandle;
use portreeve::report::{Progress, grouped};
use portreeve::scan::Rate;

/// The rates of a running scan.
pub struct Throttle {
    handle: RateHandle,
    routed_per_s: Option<u32>,
    all_per_s: Option<u32>,
    /// The number of attempts begun at least a second ago, and the time of that count.
    before: (u64, u64),
    /// Attempts begun per second since then.
    does_per_s: u64,
}

const SECOND_US: u64 = 1_000_000;
/// Too early to say how fast a scan is.
const FIRST_LOOK_US: u64 = 100_000;

impl Throttle {
    pub fn new(handle: RateHandle, rate: Option<Rate>) -> Self {
        let limit = |routed_only| {
            rate.filter(|rate| rate.routed_only == routed_only)
                .map(|rate| rate.per_s.get())
        };
        Throttle {
            handle,
            routed_per_s: limit(true),
            all_per_s: limit(false),
            before: (0, 0),
            does_per_s: 0,
        }
    }

    /// Measures how fast the scan is.
    pub fn look(&mut self, progress: &Progress) {
        let begun =
            progress.stats.attempts + progress.stats.voided + u64::from(progress.stats.in_flight);
        let (begun_before, before_us) = self.before;
        let passed_us = progress.elapsed.us - before_us;
        let has_passed = passed_us >= SECOND_US;
        // Less than a second says little, but in the first second there is nothing else.
        if has_passed || (before_us == 0 && passed_us >= FIRST_LOOK_US) {
            self.does_per_s = begun.saturating_sub(begun_before) * SECOND_US / passed_us;
        }
        if has_passed {
            self.before = (begun, progress.elapsed.us);
        }
    }

    /// Slows the scan down by a tenth, and says what limits apply now.
    pub fn slower(&mut self) -> String {
        match self.all_per_s.map_or(self.does_per_s, u64::from) {
            0 => "nothing is being sent, so nothing can be slowed down".into(),
            per_s => self.set(per_s - (per_s / 10).max(1), false),
        }
    }

    /// Allows a tenth more than before, and says what limits apply now.
    pub fn faster(&mut self) -> String {
        let more = |per_s: u32| u64::from(per_s) + u64::from(per_s / 10).max(1);
        match (self.all_per_s, self.routed_per_s) {
            (Some(all), _) => self.set(more(all), false),
            (None, Some(routed)) => self.set(more(routed), true),
            (None, None) => "no rate is set; the network alone holds the scan back".into(),
        }
    }

    fn set(&mut self, per_s: u64, routed_only: bool) -> String {
        let per_s =
            NonZeroU32::new(u32::try_from(per_s).unwrap_or(u32::MAX)).unwrap_or(NonZeroU32::MIN);
        let limit = if routed_only {
            &mut self.routed_per_s
        } else {
            &mut self.all_per_s
        };
        *limit = Some(per_s.get());
        self.handle.set(Rate { per_s, routed_only });
        let limit = |per_s: Option<u32>, whom: &str| {
            per_s.map(|per_s| format!("{} attempts per second{whom}", grouped(per_s.into())))
        };
        let limits = [
            limit(self.all_per_s, ""),
            limit(self.routed_per_s, " through routers"),
        ];
        format!(
            "at most {} from now on",
            limits
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join(", and ")
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn throttle(rate: Option<(u32, bool)>, does_per_s: u64) -> Throttle {
        let rate = rate.and_then(|(per_s, routed_only)| {
            Some(Rate {
                per_s: NonZeroU32::new(per_s)?,
                routed_only,
            })
        });
        Throttle {
            does_per_s,
            ..Throttle::new(RateHandle::default(), rate)
        }
    }

    #[test]
    fn slower_is_a_tenth_less() {
        for (rate, does, then, after) in [
            (None, 50_000, 45_000, 40_500),
            (Some((10_000, true)), 50_000, 45_000, 40_500),
            (Some((1_000, false)), 1_000, 900, 810),
            (Some((1_000, false)), 200, 900, 810),
            (Some((1, false)), 0, 1, 1),
        ] {
            let mut throttle = throttle(rate, does);
            let routed = throttle.routed_per_s;
            let said = throttle.slower();
            assert_eq!(throttle.all_per_s, Some(then), "{said}");
            throttle.slower();
            assert_eq!(
                (throttle.all_per_s, throttle.routed_per_s),
                (Some(after), routed),
                "{rate:?} {does}"
            );
        }
        let mut idle = throttle(None, 0);
        idle.slower();
        assert_eq!(idle.all_per_s, None);
    }

    #[test]
    fn faster_is_a_tenth_more_than_what_is_allowed() {
        for (rate, all, routed) in [
            (Some((1_000, false)), Some(1_100), None),
            (Some((3, true)), None, Some(4)),
            (None, None, None),
        ] {
            let mut throttle = throttle(rate, 10);
            throttle.faster();
            assert_eq!((throttle.all_per_s, throttle.routed_per_s), (all, routed));
        }
        let mut fastest = throttle(Some((u32::MAX, false)), 10);
        fastest.faster();
        assert_eq!(fastest.all_per_s, Some(u32::MAX));
    }

    #[test]
    fn both_limits_are_said() {
        let mut throttle = throttle(Some((10_000, true)), 1_000);
        assert_eq!(
            throttle.slower(),
            "at most 900 attempts per second, and 10,000 attempts per second through routers from now on"
        );
    }
}
