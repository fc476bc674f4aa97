//! Which share of attempts brings an answer, as far as that is known: what `pacing` compares with
//! what comes. It knows counts and times, no host, no endpoint and no rate.
//!
//! A host's ports come in random order, so the first of them that are tried are a fair sample. Of
//! hosts that are hardly known, others tell: those that are there and those that may not be apart,
//! and ports that were chosen to be asked first apart from the others, because each of these has a
//! share of its own.

use super::rtt::Wait;
use crate::scan::time::Time;

/// How many first attempts in a row are a sample, of one host and of many.
const OF_HOST: u32 = 32;
const OF_MANY: u32 = 64;

/// What an attempt was expected to bring, and which samples it belongs to.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Expected {
    /// The chance of an answer; below 0 where nothing is known.
    chance: f32,
    /// Its rows in the sample of many and in the host's own.
    rows: (u8, u8),
    of_many: u8,
    /// Whether the chance is the host's own, and not what others are like.
    pub is_telling: bool,
}

impl Expected {
    pub fn chance(&self) -> Option<f32> {
        (self.chance >= 0.0).then_some(self.chance)
    }
}

/// What first attempts bring, on all hosts and on one.
#[derive(Clone, Copy, Debug)]
pub(in crate::scan) struct Shares {
    pub of_many: Option<f32>,
    pub of_host: Option<f32>,
}

/// What is asked, of which host.
#[derive(Clone, Copy, Debug)]
pub(in crate::scan) struct Question {
    /// It is the first attempt there, which samples look at.
    pub is_fresh: bool,
    /// Only open ports count as answers there, and nobody knows how many those are.
    pub ignores_resets: bool,
    /// The port was chosen to be asked first, and is no fair sample of the others.
    pub is_chosen: bool,
    /// The host's ports that answered, and those that were silent at least once and have not
    /// answered since.
    pub answered: u32,
    pub unheard: u32,
}

impl Question {
    /// Of the ports that were silent at least once, the share that would have to answer yet, if
    /// `share` of all do.
    fn missing(&self, share: f32) -> f32 {
        let tried = (self.answered + self.unheard) as f32;
        ((share * tried - self.answered as f32) / self.unheard.max(1) as f32).clamp(0.0, 1.0)
    }
}

/// The samples of many hosts: 1 for those that are not known to be there, 2 more for those that
/// are; of each the first for ports like others and the second for chosen ones.
#[derive(Debug, Default)]
pub(in crate::scan) struct Expectations {
    of_many: [Sample; 4],
}

impl Expectations {
    /// An attempt begins at a host with this sample of its own; answers come within these times, of
    /// all hosts and of this one.
    pub fn begin(
        &mut self,
        question: Question,
        sample: &mut Sample,
        [wait_all, wait]: [Wait; 2],
        now: Time,
    ) -> (Expected, Shares) {
        let Question {
            is_fresh,
            is_chosen,
            ..
        } = question;
        if question.ignores_resets {
            let (of_many, of_host) = (None, None);
            return (Expected::default(), Shares { of_many, of_host });
        }
        let is_present = question.answered > 0;
        let which = usize::from(is_present) * 2 + usize::from(is_chosen);
        let of_many = self.share_of(which, wait_all.answer_us, now);
        let others = of_many.filter(|_| is_present && !is_chosen);
        let of_host = sample.share(OF_HOST, others, wait.answer_us, now);
        let shares = Shares { of_many, of_host };
        if !is_fresh {
            // The share of answers that is still missing must come from those that were silent.
            let chance = question.missing(of_host.unwrap_or(0.0));
            return (
                Expected {
                    chance,
                    ..Expected::default()
                },
                shares,
            );
        }
        let own = of_host.filter(|_| !is_chosen);
        let rows = (
            self.of_many[which].begin(OF_MANY, now),
            if is_chosen {
                NO_ROW
            } else {
                sample.begin(OF_HOST, now)
            },
        );
        let expected = Expected {
            chance: own.or(of_many).unwrap_or(-1.0),
            rows,
            of_many: which as u8,
            is_telling: own.is_some(),
        };
        (expected, shares)
    }

    /// What to expect of hosts like these before they were sampled themselves: of hosts that are
    /// there what chosen ports brought, and of these what they brought where nobody was known to be
    /// there.
    fn share_of(&mut self, which: usize, answer_us: u64, now: Time) -> Option<f32> {
        let steps: &[usize] = match which {
            2 => &[1, 3, 2],
            3 => &[1, 3],
            0 => &[0],
            _ => &[1],
        };
        steps.iter().fold(None, |share, &step| {
            self.of_many[step].share(OF_MANY, share, answer_us, now)
        })
    }

    /// A fresh attempt was answered.
    pub fn answered(&mut self, expected: &Expected, sample: &mut Sample) {
        self.of_many[usize::from(expected.of_many)].answered(expected.rows.0);
        sample.answered(expected.rows.1);
    }
}

/// The share of first attempts that bring an answer, counted row by row. A row is judged when the
/// last of it must have been answered; until it is given up takes longer.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Sample {
    /// Which row it is, so that a latecomer does not count for the next one.
    row: u8,
    begun: u32,
    answered: u32,
    last_begun: Time,
    share: f32,
    /// The share, as low as it may well be: a few answers of many attempts may be chance.
    low_share: f32,
    /// How many attempts the share comes from; 0 where it is not known.
    weight: u32,
}

/// More attempts than this tell no more.
const MOST_WEIGHT: u32 = 512;
/// No row of any sample.
const NO_ROW: u8 = 0;

impl Sample {
    /// A first attempt begins: which row it belongs to.
    fn begin(&mut self, size: u32, now: Time) -> u8 {
        if self.begun == size {
            return NO_ROW;
        }
        if self.begun == 0 {
            self.row = self.row.wrapping_add(1).max(NO_ROW + 1);
        }
        self.begun += 1;
        self.last_begun = now;
        self.row
    }

    fn answered(&mut self, row: u8) {
        self.answered += u32::from(row == self.row && row != NO_ROW);
    }

    /// The share, as low as it may well be; `prior`, what others are like, where it is not known.
    /// An answer takes no longer than `answer_us`.
    fn share(&mut self, size: u32, prior: Option<f32>, answer_us: u64, now: Time) -> Option<f32> {
        if self.begun == size
            && (self.answered == size || now.us_since(self.last_begun) >= answer_us)
        {
            let share = self.answered as f32 / size as f32;
            let known = if self.weight > 0 {
                self.share
            } else {
                prior.unwrap_or(share)
            };
            let weight = (self.weight + size).min(MOST_WEIGHT);
            let share = learned(known, share);
            let low_share = (share - 2.0 * (share * (1.0 - share) / weight as f32).sqrt()).max(0.0);
            *self = Sample {
                row: self.row,
                share,
                low_share,
                weight,
                ..Sample::default()
            };
        }
        if self.weight == 0 {
            prior
        } else {
            Some(self.low_share)
        }
    }
}

/// A share after another sample: later ones may be spoilt by our own speed, so more is believed
/// sooner than less.
fn learned(known: f32, share: f32) -> f32 {
    known + (share - known) * if share > known { 0.5 } else { 0.25 }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER_US: u64 = 1_000;

    fn at(us: u64) -> Time {
        Time::from_us(us)
    }

    /// A row of `size` attempts, one each microsecond, of which the first `answered` are answered;
    /// then the share, when it is known.
    fn row(sample: &mut Sample, size: u32, answered: u32, from_us: u64) -> Option<f32> {
        let rows: Vec<u8> = (0..size)
            .map(|n| sample.begin(size, at(from_us + u64::from(n))))
            .collect();
        let before = sample.share(size, None, ANSWER_US, at(from_us + u64::from(size)));
        assert!(
            answered == size || sample.weight > 0 || before.is_none(),
            "known before its time"
        );
        rows.iter()
            .take(answered as usize)
            .for_each(|&row| sample.answered(row));
        sample.share(
            size,
            None,
            ANSWER_US,
            at(from_us + u64::from(size) + ANSWER_US),
        )
    }

    #[test]
    fn a_share_is_as_low_as_it_may_well_be() {
        for (answered, least, most) in [
            (0, 0.0, 0.0),
            (8, 0.05, 0.15),
            (16, 0.3, 0.4),
            (32, 1.0, 1.0),
        ] {
            let share = row(&mut Sample::default(), 32, answered, 0).expect("a share");
            assert!(
                (least..=most).contains(&share),
                "{share} where {answered} of 32 answer"
            );
        }
    }

    #[test]
    fn more_is_believed_sooner_than_less() {
        let (mut rises, mut falls) = (Sample::default(), Sample::default());
        let (low, high) = (row(&mut rises, 32, 8, 0), row(&mut falls, 32, 32, 0));
        let risen = row(&mut rises, 32, 32, 10_000)
            .zip(low)
            .map(|(now, then)| now - then);
        let fallen = row(&mut falls, 32, 8, 10_000)
            .zip(high)
            .map(|(now, then)| then - now);
        assert!(risen > fallen, "{risen:?} up, {fallen:?} down");
    }

    #[test]
    fn a_latecomer_does_not_count_for_the_next_row() {
        let mut sample = Sample::default();
        let late = sample.begin(32, at(0));
        (1..32).for_each(|us| _ = sample.begin(32, at(us)));
        assert_eq!(sample.begin(32, at(40)), NO_ROW, "the row is full");
        assert_eq!(sample.share(32, None, ANSWER_US, at(2_000)), Some(0.0));
        sample.begin(32, at(2_001));
        sample.answered(late);
        assert_eq!(sample.answered, 0);
    }

    #[test]
    fn of_silent_ports_as_many_answer_as_are_missing() {
        for (answered, unheard, share, missing) in [
            (0, 0, 0.5, 0.0),
            (50, 50, 0.5, 0.0),
            (40, 60, 0.5, 10.0 / 60.0),
            (10, 1, 1.0, 1.0),
        ] {
            let question = Question {
                is_fresh: false,
                ignores_resets: false,
                is_chosen: false,
                answered,
                unheard,
            };
            assert!(
                (question.missing(share) - missing).abs() < 1e-6,
                "{question:?}"
            );
        }
    }
}
