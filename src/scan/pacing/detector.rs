//! A sequential test of a rate (Wald 1945, Page 1954): do its informative samples bring the usual
//! share of answers, or clearly less? It adds up log-likelihood ratios (llr); what follows is the
//! controller's.

use super::interval::Evidence;
use super::thresholds::evidence;
use crate::scan::time::Time;

/// What the samples of one rate say. All numbers are log-likelihood ratios.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Detector {
    /// What speaks against the rate: a cumulative sum that does not fall below 0.
    cusum: f32,
    /// Since when the sum has been above 0, and the evidence since then.
    pub since: Time,
    pub heard: Evidence,
    /// What speaks for the rate since it was last found to be fine.
    in_favour: f32,
    /// What speaks for the present trouble having passed.
    relief: f32,
}

/// What follows from one more interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Not enough is known yet.
    Open,
    /// The rate is fine.
    Fine,
    /// Clearly too few answers come.
    TooFast,
    /// Too few had come since then, and now all come.
    Passed { since: Time },
}

impl Detector {
    /// Takes in what the interval that began at `began` says. The rate is too high from a sum of
    /// `enough` on.
    pub fn judge(&mut self, said: &Evidence, began: Time, enough: f32) -> Judgement {
        let llr = said.llr(evidence::OVERLOADED, 1.0);
        self.in_favour -= llr;
        if self.cusum == 0.0 {
            self.since = began;
            self.heard = Evidence::default();
        }
        self.cusum = (self.cusum + llr).max(0.0);
        self.heard.add(said);
        if self.cusum > enough {
            self.relief = if llr < 0.0 { self.relief - llr } else { 0.0 };
            if self.relief <= evidence::HELPED {
                return Judgement::TooFast;
            }
            self.clear();
            Judgement::Passed { since: self.since }
        } else if self.in_favour > evidence::FINE {
            self.in_favour = 0.0;
            Judgement::Fine
        } else {
            Judgement::Open
        }
    }

    /// What was heard until now says nothing of what comes.
    pub fn clear(&mut self) {
        self.cusum = 0.0;
        self.in_favour = 0.0;
    }

    /// The rate has changed: nothing is known of the new one.
    pub fn start_over(&mut self) {
        self.clear();
        self.relief = 0.0;
    }

    /// Whether something speaks against the rate.
    pub fn is_suspicious(&self) -> bool {
        self.cusum > evidence::FINE
    }

    /// Whether a path's rate would be found too high.
    pub fn is_alarmed(&self) -> bool {
        self.cusum > evidence::TOO_FAST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What intervals of ten samples each lead to, by how many of them are answered.
    fn check(answered: &[u32], expect: &[Judgement]) {
        let mut detector = Detector::default();
        let judged: Vec<Judgement> = (1..)
            .zip(answered)
            .map(|(second, &answered)| {
                let said = Evidence {
                    asked: 10,
                    expected: 9.8,
                    answered,
                };
                detector.judge(&said, Time::from_us(second * 1_000_000), 6.0)
            })
            .collect();
        assert_eq!(judged, expect, "{answered:?}");
    }

    #[test]
    fn it_needs_evidence_for_each_judgement() {
        use Judgement::{Fine, Open, Passed, TooFast};

        let since = |second: u64| Passed {
            since: Time::from_us(second * 1_000_000),
        };
        check(&[10, 10, 10], &[Fine, Fine, Fine]);
        // One loss in ten may be chance, and may go on to be more.
        check(&[9, 9, 10], &[Open, Open, Open]);
        check(&[7, 10], &[Open, Open]);
        check(&[6, 10], &[TooFast, Open]);
        // All answers have come back by themselves; the trouble began in the third second.
        check(
            &[10, 10, 4, 10, 10, 10],
            &[Fine, Fine, TooFast, TooFast, TooFast, since(3)],
        );
        // A loss in between starts the wait anew.
        check(&[3, 10, 10, 9, 10, 10], &[TooFast; 6]);
    }

    #[test]
    fn after_a_change_nothing_is_held_against_the_rate() {
        let said = Evidence {
            asked: 10,
            expected: 9.8,
            answered: 5,
        };
        let mut detector = Detector::default();
        detector.judge(&said, Time::default(), 6.0);
        assert!(detector.is_suspicious() && detector.is_alarmed());
        detector.start_over();
        assert!(!detector.is_suspicious() && !detector.is_alarmed());
    }
}
