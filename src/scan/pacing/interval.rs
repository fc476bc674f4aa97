//! Informative samples: attempts whose answer was nearly certain, and what their answers and their
//! silence say about a rate. It counts; the controller decides what follows.

use super::thresholds::sample::CERTAIN;
use crate::scan::time::Time;

/// Attempts sent one after the other that are judged together, and what came of them.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Interval {
    pub began: Time,
    pub ended: Time,
    /// When the last of them was sent.
    pub last: Time,
    pub sent: u32,
    /// Whether the rate held attempts back.
    pub was_rate_limited: bool,
    /// Attempts at ports that have answered before, and at other ports of which nearly all answer.
    pub certain: Evidence,
    pub telling: Evidence,
    /// First attempts without an expectation, and how many of them were answered.
    pub unknown: u32,
    pub unknown_answered: u32,
}

/// What informative samples say.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Evidence {
    pub asked: u32,
    /// The answers expected of them, and those that came.
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

    /// The highest share that is likely. By the rule of three, three expected answers all stay away
    /// in one case of twenty.
    pub fn delivered_at_most(&self) -> f32 {
        (self.answered as f32 + 3.0) / (self.expected + 0.5)
    }

    /// The log-likelihood ratio that the share `bad` of the expected answers comes rather than the
    /// share `good`.
    pub fn llr(&self, bad: f32, good: f32) -> f32 {
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
        assert!(said(20, 0.9, 18).llr(0.85, 1.0) < 0.0);
        assert!(said(20, 0.9, 12).llr(0.85, 1.0) > 0.0);
        assert!(said(20, 0.95, 10).llr(0.85, 1.0) > 2.0 * said(20, 0.7, 10).llr(0.85, 1.0));
        assert_eq!(Evidence::default().llr(0.85, 1.0), 0.0);
        // None of ten came: the share may be 30 %, not more.
        assert!((0.25..0.35).contains(&said(10, 1.0, 0).delivered_at_most()));
    }
}
