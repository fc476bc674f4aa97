//! How fast a scan is, and how much of it is left: in attempts, because a port that stays silent is
//! asked twice and has no verdict until its host is done. It reads no clock.

use std::collections::VecDeque;

use portreeve::report::Progress;
use portreeve::scan::{State, Stats};

/// The rate is that of the last seconds: this many moments, this far apart.
const MOMENTS: usize = 10;
const APART_US: u64 = 500_000;

/// Attempts counted at some moments of late.
#[derive(Default)]
pub struct Lately {
    moments: VecDeque<(u64, u64)>,
}

/// How far a scan is.
#[derive(Debug, PartialEq)]
pub struct Remaining {
    /// Attempts that ended per second.
    pub per_s: f64,
    /// The part that is done.
    pub share: f64,
    /// Seconds left, if that can be said.
    pub seconds: Option<f64>,
}

impl Lately {
    /// Looks at the counters now.
    pub fn look(&mut self, progress: &Progress) -> Remaining {
        let now = (progress.elapsed.us, progress.stats.attempts);
        let (since_us, since) = self.moments.front().copied().unwrap_or_default();
        let per_s = (now.1 - since) as f64 * 1e6 / (now.0 - since_us).max(1) as f64;
        if self
            .moments
            .back()
            .is_none_or(|last| now.0 - last.0 >= APART_US)
        {
            self.moments.push_back(now);
        }
        if self.moments.len() > MOMENTS {
            self.moments.pop_front();
        }
        let left = attempts_left(progress.stats);
        Remaining {
            per_s,
            share: left.map_or(0.0, |left| now.1 as f64 / (now.1 as f64 + left).max(1.0)),
            seconds: left.filter(|_| per_s > 0.0).map(|left| left / per_s),
        }
    }
}

/// Attempts that the rest of the plan takes if it is like what was tried so far.
fn attempts_left(stats: &Stats) -> Option<f64> {
    let silent = stats.silent();
    let answered = stats.in_state(State::Open)
        + stats.in_state(State::Closed)
        + stats.in_state(State::Filtered)
        + stats.in_state(State::NotOpen)
        - silent;
    let under_way = stats.begun.saturating_sub(stats.settled());
    let spent = stats.attempts.saturating_sub(answered + 2 * silent);
    let owed = (2 * under_way).saturating_sub(spent) as f64;
    let each = (stats.attempts as f64 + owed) / stats.begun as f64;
    (stats.attempts > 0).then(|| (stats.planned - stats.begun) as f64 * each + owed)
}

#[cfg(test)]
mod tests {
    use portreeve::plan::{Plan, PortSet, Target};
    use portreeve::scan::{Outcome, Scan, Settings, Time};

    use super::*;

    /// A silent host has no verdict for any port before its last one, and each port is asked twice.
    #[test]
    fn silent_ports_count_as_they_are_asked() {
        let ports: PortSet = (1..=1_000).collect();
        let plan = Plan::builder()
            .target(Target::parse("192.0.2.1").unwrap())
            .ports(ports)
            .build(&mut |_| Ok(Vec::new()))
            .unwrap();
        let settings = Settings {
            scan_silent: true,
            ..Settings::default()
        };
        let mut scan = Scan::new(plan, settings, 10);
        let mut lately = Lately::default();
        for tick in 0..1_500 {
            let now = Time::from_us(tick * 100_000);
            while let Some(slot) = scan.poll_expired(now) {
                scan.handle_outcome(slot, Outcome::Silence, now);
            }
            while scan.poll_connect(now).is_some() {}
            let stats = scan.stats();
            let remaining = lately.look(&Progress {
                stats,
                elapsed: now,
                pace: scan.pace(),
            });
            let true_share = stats.attempts as f64 / 2_000.0;
            assert!(
                (remaining.share - true_share).abs() < 0.01,
                "{remaining:?}, {true_share}"
            );
        }
        assert_eq!(scan.stats().attempts, 2_000);
    }
}
