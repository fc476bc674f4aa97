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
const TABLE_LEAST: u32 = 512;
/// An outage that lasts this long may have been a full table.
const TABLE_LEAST_US: u64 = 5_000_000;
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

    fn forget_before(&mut self, second: u64) {
        while let Some(&(oldest, count)) = self.by_second.front()
            && oldest < second
        {
            self.by_second.pop_front();
            self.total -= count;
        }
    }

    /// When the next attempt may begin beside so many in flight: `None` for at once.
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

    /// Whether there were enough lately to fill a router's table: those of the smallest ones have
    /// about a thousand places.
    pub fn may_fill_a_table(&self) -> bool {
        self.total >= TABLE_LEAST
    }

    /// The network was away for so long, and is back. If it was a full table, it holds no more than
    /// what was unanswered, for as long as that took; half of that leaves the rest to others.
    pub fn learn(&mut self, away_us: u64) {
        if away_us < TABLE_LEAST_US {
            return;
        }
        let before = self.ceiling.unwrap_or(Ceiling {
            most: self.total,
            lasts_s: 0,
        });
        let lasts_s = away_us.div_ceil(1_000_000).min(REMEMBERED_S);
        self.ceiling = Some(Ceiling {
            most: (before.most / 2).max(LEAST),
            lasts_s: before.lasts_s.max(lasts_s),
        });
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
        (0..4_000).for_each(|_| unanswered.count(at(100)));
        assert_eq!(unanswered.wait_until(9_999, at(200)), None, "nobody knows");
        unanswered.learn(4_999_999);
        assert_eq!(unanswered.wait_until(9_999, at(200)), None, "a moment");
        unanswered.learn(30_000_000);
        assert_eq!(
            unanswered.ceiling,
            Some(Ceiling {
                most: 2_000,
                lasts_s: 30
            })
        );
        assert_eq!(unanswered.wait_until(0, at(30_200)), Some(at(31_000)));
        assert_eq!(unanswered.wait_until(1_999, at(31_000)), None);
        unanswered.learn(40_000_000);
        assert_eq!(unanswered.wait_until(1_000, at(32_000)), Some(at(32_010)));
    }
}
