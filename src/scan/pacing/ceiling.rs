//! The ceiling that the user sets (`--max-rate`): when the next attempt may begin. It never sleeps,
//! and knows of an attempt only whether it passes a router.

use std::num::NonZeroU32;

use super::gcra::Gcra;
use crate::scan::time::Time;

/// How many attempts may begin per second, and at which addresses that holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Attempts per second.
    pub per_s: NonZeroU32,
    /// Whether only what passes a router counts: this machine and its own links are exempt.
    pub routed_only: bool,
}

/// The rates that hold: for what passes a router, and for all.
#[derive(Debug, Default)]
pub(in crate::scan) struct Pacer {
    routed: Option<Limit>,
    all: Option<Limit>,
}

/// One rate.
#[derive(Debug)]
struct Limit {
    distance_ns: u64,
    gcra: Gcra,
    /// SYNs that the kernel will send on its own within the next span.
    announced: u64,
}

/// A burst of three times epoll's grain: a wake-up that comes a millisecond or two late, as on a
/// busy machine, costs nothing of the rate.
const BURST_NS: u64 = 3_000_000;
/// In no span of this length may more attempts begin than the rate allows, burst included.
pub(in crate::scan) const SPAN_US: u64 = 100_000;
const SPAN_NS: u64 = SPAN_US * 1_000;

/// SYNs that the kernel sends on its own cannot be held back. What they take beyond the rate delays
/// later attempts by this time at most.
const MOST_DEBT_NS: u64 = 1_000_000_000;

impl Limit {
    fn new(per_s: NonZeroU32) -> Self {
        Limit {
            distance_ns: distance_ns(u64::from(per_s.get())),
            gcra: Gcra::default(),
            announced: 0,
        }
    }

    /// When this many packets may be sent at once; `None` for now.
    fn wait_until(&self, packets: u64, now: Time) -> Option<Time> {
        let others_ns = (self.announced + packets - 1) * self.distance_ns;
        self.gcra.wait_behind(others_ns, BURST_NS, now)
    }

    fn begin(&mut self, now: Time) {
        self.gcra.begin(self.distance_ns, now);
        self.gcra.hasten(MOST_DEBT_NS.max(self.distance_ns), now);
    }
}

impl Pacer {
    pub fn new(rate: Option<Rate>) -> Self {
        let mut pacer = Pacer::default();
        if let Some(rate) = rate {
            *pacer.limit(rate.routed_only) = Some(Limit::new(rate.per_s));
        }
        pacer
    }

    fn limit(&mut self, routed_only: bool) -> &mut Option<Limit> {
        if routed_only {
            &mut self.routed
        } else {
            &mut self.all
        }
    }

    /// Replaces the rate for the same attempts from now on. All announced SYNs must be announced
    /// again, since they may count now and may not have counted before.
    pub fn change(&mut self, rate: Rate, now: Time) {
        let limit = self.limit(rate.routed_only).insert(Limit::new(rate.per_s));
        // What was sent at the old rate does not count against the new one.
        limit.gcra = Gcra::from_now(now);
        self.routed
            .iter_mut()
            .chain(&mut self.all)
            .for_each(|limit| limit.announced = 0);
    }

    /// When an attempt may begin, with or without a datagram; `None` for at once.
    pub fn wait_until(&self, is_routed: bool, with_datagram: bool, now: Time) -> Option<Time> {
        let packets = 1 + u64::from(with_datagram);
        let routed = self.routed.as_ref().filter(|_| is_routed);
        routed
            .into_iter()
            .chain(&self.all)
            .filter_map(|limit| limit.wait_until(packets, now))
            .max()
    }

    /// An attempt begins.
    pub fn begin(&mut self, is_routed: bool, now: Time) {
        self.counting(is_routed).for_each(|limit| limit.begin(now));
    }

    /// The kernel will send a SYN within the next span: keeps room for it.
    pub fn announce(&mut self, is_routed: bool) {
        self.counting(is_routed)
            .for_each(|limit| limit.announced += 1);
    }

    /// The kernel has sent an announced SYN, or will not send it.
    pub fn withdraw(&mut self, is_routed: bool) {
        self.counting(is_routed)
            .for_each(|limit| limit.announced -= 1);
    }

    /// The limits that hold for an attempt.
    fn counting(&mut self, is_routed: bool) -> impl Iterator<Item = &mut Limit> {
        let routed = self.routed.as_mut().filter(|_| is_routed);
        routed.into_iter().chain(&mut self.all)
    }
}

/// The distance between attempts at which no span has more than its share, a burst included: n
/// attempts take n - 1 distances less the burst. Where the share is a handful of attempts,
/// that would cost much of the rate, so one more may pass.
fn distance_ns(per_s: u64) -> u64 {
    let in_span = per_s * SPAN_NS / 1_000_000_000;
    if in_span < 20 {
        1_000_000_000 / per_s
    } else {
        (SPAN_NS + BURST_NS) / (in_span - 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pacer(per_s: u32, routed_only: bool) -> Pacer {
        Pacer::new(NonZeroU32::new(per_s).map(|per_s| Rate { per_s, routed_only }))
    }

    /// How many attempts begin in `ms` milliseconds if the pacer is asked every `every_us`.
    fn begun(pacer: &mut Pacer, ms: u64, every_us: u64) -> u64 {
        let mut count = 0;
        for us in (0..ms * 1_000).step_by(every_us as usize) {
            while pacer.wait_until(true, false, Time::from_us(us)).is_none() {
                pacer.begin(true, Time::from_us(us));
                count += 1;
            }
        }
        count
    }

    #[test]
    fn the_rate_is_kept_whatever_the_wake_ups() {
        for (rate, every_us) in [
            (1, 1_000),
            (1_000, 1_000),
            (10_000, 1_000),
            (10_000, 50),
            (1_000_000, 500),
        ] {
            let count = begun(&mut pacer(rate, true), 2_000, every_us);
            let expect = u64::from(rate) * 2;
            assert!(
                count <= expect + 2 && count >= expect * 96 / 100,
                "{count} of {expect} at {rate}/s"
            );
        }
    }

    #[test]
    fn idle_time_is_not_saved_up() {
        let mut pacer = pacer(1_000, true);
        pacer.begin(true, Time::from_us(0));
        let later = Time::from_us(60_000_000);
        let burst = (0..100)
            .take_while(|_| {
                pacer
                    .wait_until(true, false, later)
                    .is_none()
                    .then(|| pacer.begin(true, later))
                    .is_some()
            })
            .count();
        assert!(burst <= 3, "{burst} at once after a minute's idling");
    }

    #[test]
    fn a_rate_for_all_leaves_the_one_through_routers_as_it_is() {
        let mut pacer = pacer(1_000, true);
        pacer.change(
            Rate {
                per_s: NonZeroU32::new(100_000).unwrap(),
                routed_only: false,
            },
            Time::default(),
        );
        let count = begun(&mut pacer, 1_000, 100);
        assert!((960..=1_004).contains(&count), "{count}");
    }

    #[test]
    fn a_new_rate_holds_at_once() {
        let mut pacer = pacer(1, false);
        // The kernel has sent many SYNs on its own.
        (0..5_000).for_each(|_| pacer.begin(true, Time::default()));
        assert!(
            pacer.wait_until(true, false, Time::default()) <= Some(Time::from_us(1_000_000)),
            "it is not held against us for ever"
        );
        pacer.change(
            Rate {
                per_s: NonZeroU32::new(1_000).unwrap(),
                routed_only: false,
            },
            Time::from_us(10),
        );
        assert_eq!(pacer.wait_until(true, false, Time::from_us(10)), None);
    }

    #[test]
    fn what_passes_no_router_is_exempt_unless_asked_for() {
        let now = Time::default();
        let (mut exempt, mut strict) = (pacer(1, true), pacer(1, false));
        for _ in 0..10 {
            exempt.begin(false, now);
            strict.begin(false, now);
        }
        assert_eq!(exempt.wait_until(false, false, now), None);
        assert_eq!(
            exempt.wait_until(true, false, now),
            None,
            "that counts for nobody else"
        );
        assert!(strict.wait_until(false, false, now).is_some());
        exempt.begin(true, now);
        assert!(exempt.wait_until(true, false, now).is_some());
    }
}
