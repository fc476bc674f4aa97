//! How many attempts an endpoint is worth, and how many open ports were probably missed: both
//! follow from the share of attempts at answering endpoints that were lost. It knows counts, no
//! addresses and no times.

/// Which share of attempts is lost, from endpoints that answered: of those that did, the share p
/// needed another attempt.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(in crate::scan) struct Loss {
    answers: u32,
    late: u32,
}

/// What is believed before anything was seen: as if 1 in 200 of this many attempts had been lost.
const PRIOR_ATTEMPTS: f32 = 50.0;
const PRIOR_LOSS: f32 = 0.005;
/// A host's loss is that of its latest answers, at least this many: it changes with our speed and
/// its load.
pub(in crate::scan) const LATELY: u32 = 64;
/// A host tells the others no more than this many answers' worth.
const SHARED: u32 = 32;
/// The loss that all share is that of this many of the latest answers.
const SHARED_LATELY: u32 = 512;
/// Loss on fewer hosts than this is theirs and not the path's.
const HOSTS_FOR_A_PATH: u32 = 3;

impl Loss {
    /// An endpoint answered. `is_late`: not the first attempt. `is_last`: an attempt after which it
    /// would have been given up; to compare it with what came before would leave out those that
    /// were. What was seen long ago fades where more than `remembered` answers came since.
    pub fn answered(&mut self, is_late: bool, is_last: bool, remembered: u32) {
        if self.answers > 2 * remembered {
            (self.answers, self.late) = (self.answers / 2, self.late.div_ceil(2));
        }
        self.answers += u32::from(!is_last);
        self.late += u32::from(is_late);
    }

    /// The share that is lost: what is believed, and with `deviations` above 0 what it may well be.
    /// What is believed before is known as well as from `known` attempts.
    fn believed(&self, prior: f32, known: f32, deviations: f32) -> f32 {
        let mean = ((self.late as f32 + PRIOR_ATTEMPTS * prior)
            / (self.answers as f32 + PRIOR_ATTEMPTS))
            .min(0.99);
        let deviation = (mean * (1.0 - mean) / (self.answers as f32 + known)).sqrt();
        (mean + deviations * deviation).min(0.99)
    }
}

/// The loss of the path that all hosts share, as far as several of them show it.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct SharedLoss {
    loss: Loss,
    lossy_hosts: u32,
}

impl SharedLoss {
    /// `host` has just counted an answer.
    pub fn answered(&mut self, host: &Loss, is_late: bool, is_last: bool) {
        self.lossy_hosts += u32::from(is_late && host.late == 1);
        if host.answers <= SHARED {
            self.loss.answered(is_late, is_last, SHARED_LATELY);
        }
    }

    /// What is believed of a host before it was heard, and from how many attempts that is known:
    /// loss on one or two hosts is not held against the others.
    fn prior(&self) -> (f32, f32) {
        if self.lossy_hosts < HOSTS_FOR_A_PATH {
            return (PRIOR_LOSS, PRIOR_ATTEMPTS);
        }
        (
            self.loss.believed(PRIOR_LOSS, PRIOR_ATTEMPTS, 0.0),
            (self.loss.answers as f32).max(PRIOR_ATTEMPTS),
        )
    }

    /// The chance that an attempt at an answering endpoint of `host` is lost.
    pub fn chance(&self, host: &Loss) -> f64 {
        let (prior, known) = self.prior();
        f64::from(host.believed(prior, known, 0.0))
    }

    /// The same, as high as it may well be. Where no loss was seen there is nothing to be careful
    /// about.
    fn high_chance(&self, host: &Loss) -> f64 {
        let (prior, known) = self.prior();
        f64::from(host.believed(prior, known, if host.late > 0 { 2.0 } else { 0.0 }))
    }

    /// No higher than this, in 95 of 100 cases: Wilson's interval (1927) over what this host and
    /// the others have shown.
    pub fn bound(&self, host: &Loss) -> f64 {
        let wilson = |lost: f64, attempts: f64| {
            let (attempts, z) = (attempts.max(1.0), 1.96);
            let share = (lost / attempts).min(1.0);
            let spread =
                z * (share * (1.0 - share) / attempts + z * z / (4.0 * attempts * attempts)).sqrt();
            (share + z * z / (2.0 * attempts) + spread) / (1.0 + z * z / attempts)
        };
        let (host, shared) = (
            (f64::from(host.late), f64::from(host.answers)),
            (f64::from(self.loss.late), f64::from(self.loss.answers)),
        );
        let both = wilson(host.0 + shared.0, host.1 + shared.1);
        if host.0 > 0.0 {
            both.max(wilson(host.0, host.1))
        } else {
            both
        }
    }

    /// How many attempts at an endpoint of `host` must stay silent, at least two, until the chance
    /// that it answers all the same is below `miss_rate`. `odds` is how many of the host's
    /// endpoints answer for each one that does not: the only silent one among a thousand is
    /// suspicious.
    pub fn attempts_needed(&self, host: &Loss, odds: f64, miss_rate: f64) -> u16 {
        // Half of it: what is measured lags behind what happens.
        let chance = (miss_rate / 2.0).max(1e-9) / odds.max(1.0);
        let needed = chance.ln() / self.high_chance(host).ln();
        needed.ceil().clamp(2.0, f64::from(u16::MAX)) as u16
    }
}

/// The open ports that were probably missed, by the chances of loss and of hosts that were never
/// heard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Missed {
    /// The expected number.
    pub expected: f64,
    /// The same, with the loss as high as it may well be.
    pub high: f64,
}

impl Missed {
    /// A host is done with. Attempts at its answering endpoints were lost with one of `chances`:
    /// the expected one and a high one. Each of `silent` endpoints was tried `attempts` times, so
    /// of those that answer the share q = p^attempts is among them, and for every one that was
    /// heard q / (1 - q) were not.
    pub(in crate::scan) fn on_host(
        &mut self,
        chances: [f64; 2],
        attempts: u16,
        answered: f64,
        silent: f64,
        open: f64,
    ) {
        let [expected, high] = chances.map(|chance| {
            let unheard = chance.powi(attempts.into());
            (answered * unheard / (1.0 - unheard).max(1e-6)).min(silent) * open / answered
        });
        self.expected += expected;
        self.high += high;
    }

    /// Of a host's ports the share `answers` answered, and hosts are given up after `asked` silent
    /// ports. So it would have been given up with the chance q = (1 - answers)^asked, and for each
    /// host like it q / (1 - q) were (Horvitz and Thompson, 1952).
    pub(in crate::scan) fn with_hosts(&mut self, answers: f64, asked: u32, open: f64) {
        let unheard = (1.0 - answers).powi(asked as i32);
        let missed = open * unheard / (1.0 - unheard).max(1e-3);
        self.expected += missed;
        self.high += 2.0 * missed;
    }

    /// No more than this many, in at least 95 of 100 scans: the 97.5 % point of a Poisson count
    /// around the high estimate (Wilson and Hilferty, 1931).
    pub fn at_most(&self) -> u64 {
        if self.high < 0.025 {
            return 0;
        }
        let count = self.high + 1.0;
        let cube_root = 1.0 - 1.0 / (9.0 * count) + 1.96 / (3.0 * count.sqrt());
        (count * cube_root.powi(3)).floor() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn heard(answers: u32, is_late: impl Fn(u32) -> bool) -> Loss {
        let mut loss = Loss::default();
        (0..answers).for_each(|i| loss.answered(is_late(i), false, u32::MAX / 4));
        loss
    }

    #[test]
    fn attempts_follow_the_loss() {
        let needed = |loss: Loss| SharedLoss::default().attempts_needed(&loss, 1.0, 0.001);
        assert_eq!(needed(Loss::default()), 2, "nothing known");
        assert_eq!(needed(heard(10_000, |_| false)), 2, "never fewer");
        assert_eq!(needed(heard(10_000, |i| i % 100 == 0)), 2, "1 % lost");
        assert_eq!(needed(heard(10_000, |i| i % 10 == 0)), 4, "10 % lost");
        assert_eq!(needed(heard(10_000, |i| i % 3 == 0)), 8, "a third lost");
        assert!(needed(heard(5, |i| i == 0)) <= 5, "one late answer of five");
        assert_eq!(
            SharedLoss::default().attempts_needed(&Loss::default(), 1.0, 0.0),
            4
        );
        let lossy = heard(10_000, |i| i % 10 == 0);
        assert_eq!(
            SharedLoss::default().attempts_needed(&lossy, 1_000.0, 0.001),
            7,
            "a surprising silence"
        );
    }

    #[test]
    fn one_lossy_host_costs_the_others_nothing() {
        let mut shared = SharedLoss::default();
        let mut tell = |hosts: u32| {
            for _ in 0..hosts {
                let mut host = Loss::default();
                for i in 0..1_000 {
                    let is_late = i % 3 == 0;
                    host.answered(is_late, false, LATELY);
                    shared.answered(&host, is_late, false);
                }
            }
            shared.attempts_needed(&Loss::default(), 1.0, 0.001)
        };
        assert_eq!(tell(2), 2);
        assert!(tell(3) > 4, "a loss that five hosts have is the path's");
    }

    #[test]
    fn missed_ports_add_up() {
        let mut missed = Missed::default();
        assert_eq!(missed.at_most(), 0);
        missed.on_host([0.1, 0.12], 2, 990.0, 10_000.0, 99.0);
        assert!(
            (missed.expected - 1.0).abs() < 1e-6,
            "1 % of the answers was lost twice: {missed:?}"
        );
        assert!((2..10).contains(&missed.at_most()), "{missed:?}");
        missed.with_hosts(0.5, 1, 7.0);
        assert!(
            (missed.expected - 8.0).abs() < 1e-6,
            "as many hosts were not heard as were: {missed:?}"
        );
        let mut full = Missed::default();
        full.on_host([0.5, 0.9], 2, 1_000.0, 3.0, 1_000.0);
        assert!(full.expected <= 3.0, "no more than there are silent ones");
    }
}
