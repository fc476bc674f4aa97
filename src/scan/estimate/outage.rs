//! When the whole network goes away: it must have answered, and then stay silent where answers were
//! all but certain, or this machine must have no way to it any more. It knows expectations and
//! times, no endpoints.

use crate::scan::time::Time;

/// Watches for outages, and says how fast to go while one lasts.
#[derive(Debug)]
pub(in crate::scan) struct Outages {
    /// One that lasts longer does not end.
    patience_us: u64,
    last_answer: Time,
    /// The answers that should have come since then.
    missing: f32,
    is_out: bool,
    /// Since when, and when this machine last had no way to send, if that is what it is.
    since: Time,
    barred_at: Option<Time>,
    /// What looked like one was none: answers take longer than attempts are given, and silence
    /// shows nothing.
    is_blind: bool,
    next_beat: Time,
    next_canary: Time,
    /// The last one: from the last answer before it to the first one after it.
    last: (Time, Time),
    pub count: u32,
    pub lasted_us: u64,
}

/// What the silence of an attempt means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::scan) enum Outage {
    /// Nothing in particular.
    None,
    /// The network is away: the attempt says nothing about its endpoint.
    Lasts,
    /// And it does not come back.
    TooLong,
}

/// What has ended, and what it means for what was learned before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// A moment only: behind it is the same network.
    Moment,
    /// What was learned of speed and loss is worth nothing.
    Outage,
}

/// With so many answers expected, none at all is no chance: e^-12.
const MISSING: f32 = 12.0;
/// While it lasts an attempt goes out this often, to see whether it is over.
const BEAT_US: u64 = 50_000;
/// The longer it has lasted, the more seldom.
const BEATS_DIVISOR: u64 = 64;
const BEAT_MOST_US: u64 = 500_000;
const CANARY_MOST_US: u64 = 8_000_000;
/// And is given so long for its answer, more than any timeout of a network that answers at all: one
/// that has only got slower than the timeout is not away, and is told from one that is.
const GIVEN_US: u64 = 1_000_000;
/// One that is shorter is a moment.
const MOMENT_US: u64 = 1_000_000;
/// What this machine has no way to any more may have lost answers for so long before.
const UNHEARD_US: u64 = 1_000_000;

impl Outages {
    pub fn new(patience_us: u64) -> Self {
        Outages {
            patience_us,
            last_answer: Time::default(),
            missing: 0.0,
            is_out: false,
            since: Time::default(),
            barred_at: None,
            is_blind: false,
            next_beat: Time::default(),
            next_canary: Time::default(),
            last: (Time::default(), Time::default()),
            count: 0,
            lasted_us: 0,
        }
    }

    /// Whether it is time to ask a port again that is known to answer, while an outage lasts: after
    /// 1, 2, 4 … s, since what is in the way may count whoever comes.
    pub fn canary_due(&mut self, now: Time) -> bool {
        let is_due = self.is_out && now >= self.next_canary;
        if is_due {
            let gap_us = now.us_since(self.since).clamp(MOMENT_US, CANARY_MOST_US);
            self.next_canary = now.plus_us(gap_us);
        }
        is_due
    }

    /// How long the last outage lasted.
    pub fn last_us(&self) -> u64 {
        self.last.1.us_since(self.last.0)
    }

    /// When the last outage began.
    pub fn last_began(&self) -> Time {
        self.last.0
    }

    /// When the next attempt may begin, if there is an outage: otherwise at once.
    pub fn wait_until(&self, now: Time) -> Option<Time> {
        (self.is_out && self.next_beat > now).then_some(self.next_beat)
    }

    /// Whether anything was answered since then.
    pub fn has_heard_since(&self, then: Time) -> bool {
        self.last_answer > then
    }

    /// A host that was taken to be away answers, only later than attempts are given.
    pub fn is_only_late(&mut self) {
        self.is_blind = true;
    }

    /// Whether silence shows nothing, since answers take longer than attempts are given.
    pub fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Whether there is an outage.
    pub fn lasts(&self) -> bool {
        self.is_out
    }

    /// An attempt begins, which would be given `timeout_us`; `is_absent`: its host is taken to have
    /// gone away alone. How long it is given.
    pub fn begin(&mut self, timeout_us: u64, is_absent: bool, now: Time) -> u64 {
        let beat_us = now.us_since(self.since) / BEATS_DIVISOR;
        self.next_beat = now.plus_us(beat_us.clamp(BEAT_US, BEAT_MOST_US));
        if self.is_out || is_absent {
            timeout_us.max(GIVEN_US)
        } else {
            timeout_us
        }
    }

    /// An answer came; `is_late`: only because its attempt was given longer than others are. What
    /// it ends, if there was an outage.
    pub fn answered(&mut self, is_late: bool, now: Time) -> Option<Ended> {
        self.last_answer = now;
        self.missing = 0.0;
        if !self.is_out {
            return None;
        }
        if is_late {
            (self.is_out, self.barred_at, self.is_blind) = (false, None, true);
            self.count -= 1;
            return Some(Ended::Outage);
        }
        Some(self.end(now))
    }

    fn end(&mut self, now: Time) -> Ended {
        let lasted_us = now.us_since(self.since);
        (self.is_out, self.barred_at, self.missing) = (false, None, 0.0);
        self.last = (self.since, now);
        self.lasted_us += lasted_us;
        if lasted_us < MOMENT_US {
            Ended::Moment
        } else {
            Ended::Outage
        }
    }

    /// An attempt that began at `started` was sent. What that ends, if this machine had no way to
    /// send.
    pub fn sent(&mut self, started: Time, now: Time) -> Option<Ended> {
        self.barred_at
            .is_some_and(|at| started > at)
            .then(|| self.end(now))
    }

    /// This machine has no way to send an attempt; `has_worked`: it had one to that network.
    pub fn barred(&mut self, has_worked: bool, now: Time) -> Outage {
        if !self.is_out && !has_worked {
            return Outage::None;
        }
        self.barred_at = Some(now);
        let unheard = Time::from_us(now.us.saturating_sub(UNHEARD_US));
        self.goes_on(self.last_answer.max(unheard), now)
    }

    /// Whether an attempt that began then fell into the last one.
    pub fn had(&self, started: Time) -> bool {
        self.last.0 < started && started < self.last.1
    }

    /// An attempt that began at `started` brought no answer, which it should have with the chance
    /// `expected`.
    pub fn silent(&mut self, expected: f32, started: Time, now: Time) -> Outage {
        if started > self.last_answer && !self.is_blind {
            self.missing += expected;
        }
        if !self.is_out && self.missing < MISSING {
            return Outage::None;
        }
        self.goes_on(self.last_answer, now)
    }

    /// The outage lasts, since then if it has just begun.
    fn goes_on(&mut self, since: Time, now: Time) -> Outage {
        if !std::mem::replace(&mut self.is_out, true) {
            (self.count, self.since) = (self.count + 1, since);
            self.next_canary = now.plus_us(MOMENT_US);
            return Outage::Lasts;
        }
        if now.us_since(self.since) <= self.patience_us {
            return Outage::Lasts;
        }
        self.end(now);
        Outage::TooLong
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    #[test]
    fn an_outage_begins_where_silence_is_no_chance_and_ends_with_an_answer() {
        let mut outages = Outages::new(20_000_000);
        assert_eq!(outages.answered(false, at(100)), None);
        assert!(
            (0..100).all(|_| outages.silent(1.0, at(50), at(150)) == Outage::None),
            "they were sent before the last answer"
        );
        assert!((0..11).all(|_| outages.silent(1.0, at(101), at(200)) == Outage::None));
        assert_eq!(
            [1.0, 0.0].map(|expected| outages.silent(expected, at(101), at(200))),
            [Outage::Lasts; 2]
        );
        assert_eq!(
            [7, 2_000_000].map(|timeout_us| outages.begin(timeout_us, false, at(201))),
            [GIVEN_US, 2_000_000]
        );
        assert_eq!(outages.wait_until(at(202)), Some(at(251)));
        assert_eq!(
            (
                outages.answered(false, at(3_100)),
                outages.wait_until(at(3_100))
            ),
            (Some(Ended::Outage), None)
        );
        assert_eq!(
            [99, 100, 101, 3_099, 3_100].map(|ms| outages.had(at(ms))),
            [false, false, true, true, false]
        );
        assert_eq!(outages.begin(7, false, at(3_100)), 7);
        assert_eq!((outages.count, outages.lasted_us), (1, 3_000_000));
    }

    #[test]
    fn answers_that_are_late_are_no_outage() {
        let mut outages = Outages::new(20_000_000);
        outages.answered(false, at(1));
        assert_eq!(outages.silent(20.0, at(2), at(200)), Outage::Lasts);
        assert_eq!(outages.answered(true, at(300)), Some(Ended::Outage));
        assert_eq!(
            (
                outages.silent(20.0, at(301), at(400)),
                outages.count,
                outages.lasted_us
            ),
            (Outage::None, 0, 0)
        );
    }

    #[test]
    fn a_moment_is_told_from_an_outage() {
        for (ms, ended) in [(999, Ended::Moment), (1_000, Ended::Outage)] {
            let mut outages = Outages::new(20_000_000);
            outages.answered(false, at(1));
            assert_eq!(outages.silent(20.0, at(2), at(200)), Outage::Lasts);
            assert_eq!(outages.answered(false, at(1 + ms)), Some(ended));
        }
    }

    #[test]
    fn no_way_to_send_is_an_outage_where_there_was_one() {
        let mut outages = Outages::new(20_000_000);
        assert_eq!(
            outages.barred(false, at(1)),
            Outage::None,
            "there never was"
        );
        outages.answered(false, at(100));
        assert_eq!(
            [
                outages.barred(true, at(5_000)),
                outages.barred(false, at(5_050))
            ],
            [Outage::Lasts; 2]
        );
        assert_eq!(
            (
                outages.sent(at(4_999), at(5_100)),
                outages.sent(at(5_050), at(5_100))
            ),
            (None, None),
            "sent before"
        );
        assert_eq!(outages.sent(at(5_100), at(5_200)), Some(Ended::Outage));
        assert_eq!(
            [3_999, 4_001, 5_199, 5_200].map(|ms| outages.had(at(ms))),
            [false, true, true, false]
        );
        assert_eq!(
            (
                outages.sent(at(5_300), at(5_400)),
                outages.count,
                outages.lasted_us
            ),
            (None, 1, 1_200_000)
        );
        assert_eq!(outages.barred(true, at(30_000)), Outage::Lasts);
        assert_eq!(outages.barred(true, at(49_000)), Outage::Lasts);
        assert_eq!(
            outages.barred(true, at(49_001)),
            Outage::TooLong,
            "20 s from when answers may have been lost"
        );
    }

    #[test]
    fn patience_ends() {
        let mut outages = Outages::new(20_000_000);
        outages.answered(false, at(1));
        assert_eq!(outages.silent(20.0, at(2), at(200)), Outage::Lasts);
        assert_eq!(outages.silent(1.0, at(2), at(20_000)), Outage::Lasts);
        assert_eq!(outages.silent(1.0, at(2), at(20_002)), Outage::TooLong);
        assert_eq!(
            (
                outages.wait_until(at(20_002)),
                outages.count,
                outages.lasted_us
            ),
            (None, 1, 20_001_000)
        );
    }
}
