//! How fast attempts may go: a model of what a path, or one host, can take. It knows rates, times and counts of answers;
//! it knows no endpoint and no socket.
//!
//! A TCP sender learns from its acknowledgements. A scanner gets none from most ports, so silence proves nothing. What can be
//! known is how many answers were to be *expected*: a host's ports come in random order, so the share that answers at
//! first is the share that answers later. When attempts that should have brought 100 answers bring 60, the rest was lost
//! at this speed, and 60 % of the speed is what gets through (the delivery rate of BBR, Cardwell et al. 2016, corrected
//! for ports that never answer). A share that is always lost is in the expectation already and slows nothing down.

use super::verdict::Time;

/// The pace of one path or host.
#[derive(Clone, Debug)]
pub(super) struct Flow {
    per_s: f32,
    /// When the next attempt would be due if all came evenly (GCRA, as in `pace.rs`).
    due_ns: u64,
    /// The path has not been seen to lose yet.
    is_starting: bool,
    /// The rate, not something else, held attempts back since it was last changed.
    was_limiting: bool,
    /// When blind growth was last considered, and the answers since then.
    looked_at: Time,
    answers: u32,
    /// When the rate was changed; since then answers to first attempts, and answers of endpoints with an attempt lost.
    changed_at: Time,
    heard: u32,
    heard_late: u32,
    /// Answers to repeated attempts of which the one before was lost at another rate.
    heard_again: u32,
    cohorts: [Cohort; COHORTS],
    /// The number of the cohort that is being sent, counted from 0 for ever.
    sending: u32,
    /// Cohorts before this one were judged.
    judged: u32,
    /// Cohorts before this one were sent at another rate and say nothing about this one.
    changed: u32,
    trial: Option<Trial>,
    /// When the attempts were sent that were last found to have been too many.
    too_fast: (Time, Time),
    /// The rate at which the path was last seen to lose.
    limit_per_s: f32,
    /// How many answers usually come for each that callers expect.
    usual: f32,
}

/// Attempts that were sent one after the other, and what came of them.
#[derive(Clone, Copy, Debug, Default)]
struct Cohort {
    began: Time,
    ended: Time,
    sent: u32,
    /// Answers that were expected when the attempts began, and how many of these attempts were answered.
    expected: f32,
    answered: u32,
    /// First attempts of which nobody knew what to expect, and how many of them were answered.
    unknown: u32,
    unknown_answered: u32,
}

/// The rate was cut: is the loss that was the reason gone?
#[derive(Clone, Copy, Debug)]
struct Trial {
    per_s: f32,
    delivered: f32,
    failures: u8,
}

const COHORTS: usize = 8;
/// The first rate, and a burst at once so that a small scan does not wait at all.
const FIRST_PER_S: f32 = 5_000.0;
const FIRST_BURST: f32 = 64.0;
/// No slower and no faster than this; and no faster than this as long as nothing is known to answer.
const LEAST_PER_S: f32 = 10.0;
const MOST_PER_S: f32 = 10e6;
const BLIND_PER_S: f32 = 100_000.0;
/// Attempts may be so early: one wake-up of epoll's grain must not fall behind.
const BURST_NS: u64 = 2_000_000;
/// Where nothing answers the rate doubles this often.
const BLIND_US: u64 = 25_000;
/// A cohort lasts for half of the time that an answer takes, and long enough to count.
const COHORT_LEAST: u32 = 16;
const COHORT_LONGEST_US: u64 = 500_000;
/// Judging needs this many answers to be expected; less than this share of them missing is none of the rate's business.
const EXPECTED_LEAST: f32 = 8.0;
const EXPECTED_LATER: f32 = 40.0;
const TOLERATED: f32 = 0.15;
/// Chance alone makes this many standard deviations once in 4,000 times.
const DEVIATIONS: f32 = 3.5;
/// So many answers to first attempts are needed to compare them with those to repeated ones.
const HEARD_LEAST: u32 = 16;
/// After this time it must have been seen whether endpoints have to be asked twice.
const UNCERTAIN_US: u64 = 1_000_000;
/// One judgement changes the rate by these factors: as long as no limit was met, on the way back to it, and near to it.
const FIRST_GROWTH: f32 = 2.0;
const GROWTH: f32 = 1.5;
const NEAR_GROWTH: f32 = 1.1;
const DEEPEST_CUT: f32 = 8.0;
/// How fast what is usual follows what is seen.
const USUAL_UP: f32 = 0.5;
const USUAL_DOWN: f32 = 0.1;
const USUAL_MOST: f32 = 2.0;

/// How long things take, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wait {
    /// An answer comes within this time, or not at all.
    pub answer_us: u64,
    /// An attempt that gets none is given up after this time.
    pub retry_us: u64,
}

/// An attempt that was answered.
#[derive(Clone, Copy, Debug)]
pub(super) struct Answered {
    pub started: Time,
    /// When the endpoint's attempt before this one began, if there was one.
    pub lost_at: Option<Time>,
    /// What [`Flow::begin`] was told.
    pub expected: Option<f32>,
}

/// The number of a cohort, as an attempt remembers it.
pub(super) type CohortId = u32;

impl Default for Flow {
    fn default() -> Self {
        Flow {
            per_s: FIRST_PER_S,
            due_ns: 0,
            is_starting: true,
            was_limiting: false,
            looked_at: Time::default(),
            answers: 0,
            changed_at: Time::default(),
            heard: 0,
            heard_late: 0,
            heard_again: 0,
            cohorts: [Cohort::default(); COHORTS],
            sending: 0,
            judged: 0,
            changed: 0,
            trial: None,
            too_fast: (Time::default(), Time::default()),
            limit_per_s: MOST_PER_S,
            usual: 1.0,
        }
    }
}

impl Flow {
    /// When the next attempt may begin: `None` for at once.
    pub fn wait_until(&mut self, now: Time) -> Option<Time> {
        let burst_ns = if self.sending == 0 { (FIRST_BURST * self.interval_ns()) as u64 } else { BURST_NS };
        let earliest_ns = self.due_ns.saturating_sub(burst_ns);
        let waits = earliest_ns > now.us * 1_000;
        self.was_limiting |= waits;
        waits.then(|| Time::from_us(earliest_ns.div_ceil(1_000)))
    }

    /// An attempt begins that brings an answer with the chance `expected`, if anything is known of that.
    pub fn begin(&mut self, expected: Option<f32>, now: Time) -> CohortId {
        if self.due_ns == 0 {
            self.looked_at = now;
        }
        self.due_ns = self.due_ns.max(now.us * 1_000) + self.interval_ns() as u64;
        let cohort = &mut self.cohorts[self.sending as usize % COHORTS];
        if cohort.sent == 0 {
            // Idle time is no part of it.
            cohort.began = now;
        }
        cohort.sent += 1;
        match expected {
            Some(chance) => cohort.expected += chance * self.usual,
            None => cohort.unknown += 1,
        }
        self.sending
    }

    fn interval_ns(&self) -> f32 {
        1e9 / self.per_s
    }

    /// An answer came to an attempt.
    pub fn answered(&mut self, answered: &Answered, cohort: CohortId, wait: Wait) {
        let &Answered { started, lost_at, expected } = answered;
        self.answers += 1;
        // Only if both attempts, this one and one that was lost before, could be ones at this rate.
        if started >= self.changed_at.plus_us(2 * wait.retry_us) {
            match lost_at {
                None => self.heard += 1,
                Some(at) if at >= self.changed_at => self.heard_late += 1,
                Some(_) => self.heard_again += 1,
            }
        }
        if self.sending - cohort < COHORTS as u32 {
            let cohort = &mut self.cohorts[cohort as usize % COHORTS];
            match expected {
                None => cohort.unknown_answered += 1,
                Some(chance) => cohort.answered += u32::from(chance > 0.0),
            }
        }
    }

    /// The attempts that were sent so far say nothing about the path any more: it was away.
    pub fn forget(&mut self, now: Time) {
        let sending = self.sending + 1;
        *self =
            Flow { due_ns: now.us * 1_000, looked_at: now, changed_at: now, sending, judged: sending, changed: sending, ..Flow::default() };
    }

    /// Learns from what was answered. `share` is what first attempts bring of which nothing was known when they began.
    pub fn learn(&mut self, share: Option<f32>, wait: Wait, now: Time) {
        let cohort = &self.cohorts[self.sending as usize % COHORTS];
        let lasted_us = now.us_since(cohort.began);
        let tells = cohort.sent >= COHORT_LEAST && (self.is_starting || cohort.expected >= EXPECTED_LATER);
        if lasted_us >= wait.answer_us / 2 && (tells || (cohort.sent > 0 && lasted_us >= COHORT_LONGEST_US)) {
            self.next_cohort(now);
        }
        if self.judged < self.sending && now.us_since(self.cohorts[self.judged as usize % COHORTS].ended) >= wait.answer_us {
            self.judged += 1;
            if self.judged > self.changed {
                let cohort = self.cohorts[(self.judged - 1) as usize % COHORTS];
                self.judge(&cohort, share, now);
            }
        } else if now.us_since(self.looked_at) >= BLIND_US {
            self.grow_blindly(now);
        }
    }

    /// Whether an attempt that began then was probably lost to the rate.
    pub fn was_too_fast(&self, started: Time) -> bool {
        (self.too_fast.0..self.too_fast.1).contains(&started)
    }

    fn next_cohort(&mut self, now: Time) {
        self.cohorts[self.sending as usize % COHORTS].ended = now;
        self.sending += 1;
        self.judged = self.judged.max(self.sending.saturating_sub(COHORTS as u32 - 1));
        self.cohorts[self.sending as usize % COHORTS] = Cohort { began: now, ..Cohort::default() };
    }

    /// Where nothing answers, nothing can be learned, and there is no reason to stay slow either.
    fn grow_blindly(&mut self, now: Time) {
        if self.is_starting && self.answers == 0 && self.per_s < BLIND_PER_S {
            self.grow(FIRST_GROWTH, now);
            self.per_s = self.per_s.min(BLIND_PER_S);
        }
        (self.answers, self.looked_at) = (0, now);
    }

    fn judge(&mut self, cohort: &Cohort, share: Option<f32>, now: Time) {
        let (mut expected, mut answered) = (cohort.expected, cohort.answered);
        if let Some(share) = share {
            expected += share * self.usual * cohort.unknown as f32;
            answered += cohort.unknown_answered;
        }
        // Either way tells: answers that were expected of these attempts, and endpoints that had to be asked twice.
        let of_expected = (expected >= EXPECTED_LEAST).then(|| (answered as f32 / expected, expected));
        // Where hardly any first attempt is made, those count that were lost at another rate and are answered at this one.
        let in_time = if self.heard >= HEARD_LEAST { self.heard } else { self.heard + self.heard_again };
        let heard = (in_time + self.heard_late) as f32;
        let of_twice = (in_time >= HEARD_LEAST / 2 && in_time + self.heard_late >= HEARD_LEAST)
            .then(|| (in_time as f32 / heard / self.usual.min(1.0), heard));
        let Some((delivered, of)) = [of_expected, of_twice].into_iter().flatten().min_by(|a, b| a.0.total_cmp(&b.0)) else {
            if self.is_starting || now.us_since(self.changed_at) > UNCERTAIN_US {
                let factor = if self.is_starting { FIRST_GROWTH } else { GROWTH };
                self.grow(factor.min(BLIND_PER_S / self.per_s).max(1.0), now);
            }
            return;
        };
        if delivered < 1.0 - TOLERATED - DEVIATIONS / of.sqrt() {
            return self.cut(cohort, delivered, now);
        }
        self.trial = None;
        if let Some((delivered, _)) = of_expected {
            // What callers expect is cautious, and learned in good times and bad: only the change counts.
            let step = if delivered > 1.0 { USUAL_UP } else { USUAL_DOWN };
            self.usual = (self.usual * (1.0 + (delivered - 1.0) * step)).min(USUAL_MOST);
        }
        // What is expected may have been learned too fast for the path. Asking twice is the surer sign, and the later one.
        if !self.is_starting && of_twice.is_none() && now.us_since(self.changed_at) <= UNCERTAIN_US {
            return;
        }
        let is_near = self.per_s * GROWTH > self.limit_per_s;
        self.grow(
            if self.is_starting {
                FIRST_GROWTH
            } else if is_near {
                NEAR_GROWTH
            } else {
                GROWTH
            },
            now,
        );
    }

    /// Goes faster, unless it was not the rate that held attempts back.
    fn grow(&mut self, factor: f32, now: Time) {
        if self.was_limiting {
            self.change(self.per_s * factor, now);
        }
    }

    fn change(&mut self, per_s: f32, now: Time) {
        self.per_s = per_s.clamp(LEAST_PER_S, MOST_PER_S);
        // What is due at the old rate need not wait longer than at the new one.
        self.due_ns = self.due_ns.min(now.us * 1_000 + self.interval_ns() as u64);
        self.was_limiting = false;
        (self.heard, self.heard_late, self.heard_again) = (0, 0, 0);
        // What was sent until now says nothing about the rate from now on.
        (self.changed, self.changed_at) = (self.sending + 1, now);
        self.next_cohort(now);
    }

    /// Slows down to what got through. If that does not help, twice, the rate was not the reason.
    fn cut(&mut self, cohort: &Cohort, delivered: f32, now: Time) {
        let sent_per_s = cohort.sent as f32 * 1e6 / cohort.ended.us_since(cohort.began).max(1) as f32;
        let (before_per_s, failures) = match self.trial {
            Some(trial) if delivered < trial.delivered * 1.25 + 0.02 => (trial.per_s, trial.failures + 1),
            Some(trial) => (trial.per_s, 0),
            None => (sent_per_s, 0),
        };
        self.is_starting = false;
        if failures >= 2 {
            (self.trial, self.limit_per_s) = (None, MOST_PER_S);
            self.usual *= delivered.max(0.01);
            return self.change(before_per_s, now);
        }
        self.trial = Some(Trial { per_s: before_per_s, delivered, failures });
        // Since this rate was set, and since the one before if that was too fast, too.
        let since = if self.too_fast.1 >= self.changed_at { self.too_fast.0 } else { self.changed_at };
        self.too_fast = (since, now);
        self.limit_per_s = sent_per_s;
        self.change((sent_per_s * delivered).max(sent_per_s / DEEPEST_CUT).min(self.per_s), now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT: Wait = Wait { answer_us: 25_000, retry_us: 100_000 };

    /// First attempts on a path that takes so many per second and answers after 20 ms, except the share that it always loses;
    /// as many as the flow lets begin, for so many seconds. Returns the rate of the last second.
    fn drive(flow: &mut Flow, capacity_per_s: f64, lost: f64, seconds: u64) -> f64 {
        let mut random = fastrand::Rng::with_seed(1);
        let mut answers: std::collections::VecDeque<(u64, Time, CohortId)> = std::collections::VecDeque::new();
        let (mut room, mut last) = (0.0f64, 0);
        for ms in 0..seconds * 1_000 {
            let now = Time::from_us(ms * 1_000);
            room = (room + capacity_per_s / 1e3).min(capacity_per_s / 100.0);
            while answers.front().is_some_and(|&(at, ..)| at <= ms) {
                let (_, started, cohort) = answers.pop_front().expect("it is there");
                flow.answered(&Answered { started, lost_at: None, expected: Some(0.5) }, cohort, WAIT);
            }
            // No machine sends more than this in a millisecond.
            for _ in 0..200 {
                if flow.wait_until(now).is_some() {
                    break;
                }
                flow.learn(None, WAIT, now);
                let cohort = flow.begin(Some(0.5), now);
                last += u64::from(ms >= (seconds - 1) * 1_000);
                let passes = room >= 1.0;
                room -= f64::from(u8::from(passes));
                if passes && random.bool() && random.f64() >= lost {
                    answers.push_back((ms + 20, now, cohort));
                }
            }
        }
        last as f64
    }

    #[test]
    fn a_wide_path_is_filled_and_a_narrow_one_is_noticed() {
        assert!(drive(&mut Flow::default(), 1e9, 0.0, 2) > 150_000.0);
        // First attempts alone, half of which are never answered, are the hardest to tell from loss; what comes of it in whole
        // scans is in tests/towns.txt.
        let mut flow = Flow::default();
        drive(&mut flow, 20_000.0, 0.0, 1);
        assert!(!flow.is_starting && flow.limit_per_s > 20_000.0 && flow.limit_per_s < MOST_PER_S, "{flow:?}");
    }

    #[test]
    fn what_is_always_lost_slows_nothing_down_for_good() {
        assert!(drive(&mut Flow::default(), 1e9, 0.3, 10) > 100_000.0);
    }

    #[test]
    fn silence_from_the_start_is_no_reason_to_stay_slow_nor_to_flood() {
        let mut flow = Flow::default();
        let begun = |flow: &mut Flow, from_ms: u64, to_ms: u64| -> u64 {
            let times = (from_ms..to_ms).map(|ms| Time::from_us(ms * 1_000));
            times
                .map(|now| {
                    (0..1_000)
                        .take_while(|_| {
                            flow.wait_until(now)
                                .is_none()
                                .then(|| {
                                    flow.learn(None, WAIT, now);
                                    flow.begin(None, now)
                                })
                                .is_some()
                        })
                        .count() as u64
                })
                .sum()
        };
        assert!((64..300).contains(&begun(&mut flow, 0, 20)), "the first burst, and little more");
        let second = begun(&mut flow, 20, 1_020);
        assert!((60_000..=101_000).contains(&second), "{second} attempts in the first second");
    }

    #[test]
    fn attempts_at_a_rate_that_was_too_much_are_known() {
        let mut flow = Flow::default();
        drive(&mut flow, 500.0, 0.0, 1);
        assert!(flow.was_too_fast(Time::from_us(30_000)) || flow.too_fast.1 > Time::from_us(30_000), "{:?}", flow.too_fast);
        assert!(!flow.was_too_fast(Time::from_us(2_000_000)));
    }
}
