//! Witnesses: attempts whose answer was all but certain, and what their answers and their silence
//! say of a rate. It counts; what follows from it is decided in `adaptive.rs`.

use crate::scan::time::Time;

/// An answer is as good as certain that was expected with this chance.
pub(in crate::scan) const CERTAIN: f32 = 0.98;
/// One that was expected with less tells little.
pub(in crate::scan) const TELLING: f32 = 0.6;

/// Attempts that were sent one after the other, and what came of them.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Interval {
    pub began: Time,
    pub ended: Time,
    /// When the last of them was sent.
    pub last: Time,
    pub sent: u32,
    /// The rate held attempts back.
    pub was_rate_limited: bool,
    /// Attempts at ports that have answered before, and at others that nearly all answer.
    pub certain: Evidence,
    pub telling: Evidence,
    /// First attempts of which nobody knew what to expect, and how many of them were answered.
    pub unknown: u32,
    pub unknown_answered: u32,
}

/// What witnesses have said.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Evidence {
    pub asked: u32,
    /// The answers that were expected of them, and those that came.
    pub expected: f32,
    pub answered: u32,
}

impl Interval {
    pub fn sent_per_s(&self) -> f32 {
        self.sent as f32 * 1e6 / self.ended.us_since(self.began).max(1) as f32
    }
}

impl Evidence {
    pub fn ask(&mut self, chance: f32) {
        self.asked += 1;
        self.expected += chance;
    }

    pub fn add(&mut self, other: &Evidence) {
        self.asked += other.asked;
        self.expected += other.expected;
        self.answered += other.answered;
    }

    /// The share of the expected answers that came.
    pub fn delivered(&self) -> f32 {
        (self.answered as f32 + 0.5) / (self.expected + 0.5)
    }

    /// The same, as high as it may be: three are expected where none comes in one case of twenty.
    pub fn delivered_at_most(&self) -> f32 {
        (self.answered as f32 + 3.0) / (self.expected + 0.5)
    }

    /// How much speaks for the share `bad` of the expected answers coming rather than `good`: the
    /// logarithm of the odds.
    pub fn odds(&self, bad: f32, good: f32) -> f32 {
        if self.asked == 0 {
            return 0.0;
        }
        let chance = (self.expected / self.asked as f32).min(CERTAIN);
        let silent = self.asked.saturating_sub(self.answered) as f32;
        self.answered as f32 * (bad / good).ln()
            + silent * ((1.0 - bad * chance) / (1.0 - good * chance)).ln()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn silence_speaks_the_louder_the_surer_an_answer_was() {
        let said = |asked, chance, answered| {
            let mut said = Evidence {
                answered,
                ..Evidence::default()
            };
            (0..asked).for_each(|_| said.ask(chance));
            said
        };
        assert!(said(20, 0.9, 18).odds(0.85, 1.0) < 0.0);
        assert!(said(20, 0.9, 12).odds(0.85, 1.0) > 0.0);
        assert!(said(20, 0.95, 10).odds(0.85, 1.0) > 2.0 * said(20, 0.7, 10).odds(0.85, 1.0));
        assert_eq!(Evidence::default().odds(0.85, 1.0), 0.0);
        // None came, of ten: it may have been three, not more.
        assert!((0.25..0.35).contains(&said(10, 1.0, 0).delivered_at_most()));
    }
}
