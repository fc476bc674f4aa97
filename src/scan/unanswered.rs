//! Attempts that got no answer, as a resource: a router or firewall on the way remembers each of
//! them for up to two minutes, and its table has places for only so many. It knows counts and
//! times, no addresses.

use std::collections::VecDeque;

use super::time::Time;

/// Attempts without an answer lately, and how many there may be.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// By the second in which they were sent, the oldest first.
    by_second: VecDeque<(u64, u32)>,
    total: u32,
    /// So many were remembered, at most, when an answer came: all of them had a place.
    had_places: u32,
    /// When a table was last found to be full, and when that was told.
    full_at: Time,
    told_at: Time,
    ceiling: Option<Ceiling>,
}

/// How many may be remembered at once, and for how long each is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ceiling {
    most: u32,
    lasts_s: u64,
}

/// What Linux remembers of an unanswered connection (`nf_conntrack_tcp_timeout_syn_sent`); home
/// routers take 30 s to this.
const REMEMBERED_S: u64 = 120;
/// As many as this may have filled a table.
const TABLE_LEAST: u32 = 512;
/// No fewer than this at once, whatever was learned.
const LEAST: u32 = 64;
/// Where only attempts in flight stand in the way, one of them ends soon.
const SOON_US: u64 = 10_000;

impl Unanswered {
    /// With a ceiling that the user knows.
    pub fn new(most: Option<u32>) -> Self {
        let ceiling = most.map(|most| Ceiling {
            most: most.max(1),
            lasts_s: REMEMBERED_S,
        });
        Unanswered {
            ceiling,
            ..Unanswered::default()
        }
    }

    /// An attempt that was sent then got no answer.
    pub fn count(&mut self, sent: Time) {
        let second = sent.us / 1_000_000;
        match self.by_second.back_mut() {
            Some((last, count)) if *last >= second => *count += 1,
            _ => self.by_second.push_back((second, 1)),
        }
        self.total += 1;
    }

    /// An answer came while so many attempts were in flight.
    pub fn heard(&mut self, in_flight: u32) {
        self.had_places = self.had_places.max(self.total + in_flight);
    }

    fn forget_before(&mut self, second: u64) {
        while let Some(&(oldest, count)) = self.by_second.front()
            && oldest < second
        {
            self.by_second.pop_front();
            self.total -= count;
        }
    }

    /// When the next attempt may begin beside those in flight: `None` for at once.
    pub fn wait_until(&mut self, in_flight: u32, now: Time) -> Option<Time> {
        let lasts_s = self.ceiling.map_or(REMEMBERED_S, |ceiling| ceiling.lasts_s);
        self.forget_before((now.us / 1_000_000).saturating_sub(lasts_s));
        let most = self.ceiling?.most;
        if self.total + in_flight < most {
            return None;
        }
        let frees_at = self
            .by_second
            .front()
            .map(|&(second, _)| Time::from_us((second + lasts_s + 1) * 1_000_000));
        match frees_at {
            Some(at) if self.total >= most => Some(at),
            _ => Some(now.plus_us(SOON_US)),
        }
    }

    /// Whether there were enough to fill a router's table, while answers still came: those of the
    /// smallest ones have about a thousand places.
    pub fn may_fill_a_table(&self) -> bool {
        self.had_places >= TABLE_LEAST
    }

    /// The network was away since `began`, and is back. If it was a full table, that has places for
    /// what was remembered when an answer last came, and remembers for as long as it took to come
    /// back. Half of what filled it is for others.
    pub fn learn(&mut self, began: Time, now: Time) {
        // If nothing was heard between two outages, only a few places had become free.
        let is_still_full = began <= self.told_at;
        if !is_still_full {
            self.full_at = began;
        }
        let known = self.ceiling.unwrap_or(Ceiling {
            most: self.had_places,
            lasts_s: 0,
        });
        let most = match is_still_full {
            true => known.most,
            false => (known.most / 2).max(LEAST),
        };
        let lasted_s = now.us_since(self.full_at).div_ceil(1_000_000);
        let lasts_s = known.lasts_s.max(lasted_s.min(REMEMBERED_S));
        self.ceiling = Some(Ceiling { most, lasts_s });
        self.told_at = now;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    #[test]
    fn a_ceiling_holds_for_what_is_remembered_and_in_flight() {
        let mut unanswered = Unanswered::new(Some(10));
        assert_eq!(unanswered.wait_until(9, at(0)), None);
        assert_eq!(unanswered.wait_until(10, at(0)), Some(at(10)));
        (0..10).for_each(|_| unanswered.count(at(500)));
        assert_eq!(unanswered.wait_until(0, at(1_000)), Some(at(121_000)));
        assert_eq!(unanswered.wait_until(0, at(121_000)), None);
    }

    #[test]
    fn half_of_what_filled_a_table_is_left_to_others() {
        let mut unanswered = Unanswered::new(None);
        unanswered.heard(511);
        assert!(!unanswered.may_fill_a_table());
        (0..4_000).for_each(|_| unanswered.count(at(100)));
        unanswered.heard(96);
        (0..4_000).for_each(|_| unanswered.count(at(200)));
        assert!(unanswered.may_fill_a_table());
        assert_eq!(unanswered.wait_until(9_999, at(200)), None, "nobody knows");
        let mut learn = |began_ms, ended_ms, most, lasts_s| {
            unanswered.learn(at(began_ms), at(ended_ms));
            assert_eq!(unanswered.ceiling, Some(Ceiling { most, lasts_s }));
        };
        learn(100, 12_100, 2_048, 12);
        // Something that answered was forgotten sooner.
        learn(12_100, 30_050, 2_048, 30);
        learn(50_000, 90_000, 1_024, 40);
        assert_eq!(unanswered.wait_until(0, at(39_900)), Some(at(41_000)));
        assert_eq!(unanswered.wait_until(1_023, at(41_000)), None);
    }
}
