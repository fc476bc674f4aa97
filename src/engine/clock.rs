//! The scan's clock: read once a turn, so that everything in a turn happens at the same time. It
//! also tells how late the loop woke up, and knows nothing of what was due then.

use std::time::Instant;

use crate::scan::{Histogram, Time};

/// Waking up this much later than planned means that this process was stopped or starved: answers
/// that arrived in the meantime are taken before anything is given up.
const OVERSLEPT_US: u64 = 5_000;
/// This much later, attempts may have run out of time while nobody looked.
const GAP_US: u64 = 500_000;

/// Time since the scan began, in this run of it and in earlier ones.
#[derive(Debug)]
pub(super) struct Clock {
    /// Since this run began, as last read.
    pub now: Time,
    /// When this run began, once it has.
    epoch: Option<Instant>,
    /// How long earlier runs took.
    before_us: u64,
    late: Histogram,
    overslept: bool,
}

impl Clock {
    pub fn new(before: Option<Time>) -> Self {
        Clock {
            now: Time::default(),
            epoch: None,
            before_us: before.map_or(0, |before| before.us),
            late: Histogram::default(),
            overslept: false,
        }
    }

    /// Starts the clock, once; says whether this was the first time.
    pub fn start(&mut self) -> bool {
        let is_first = self.epoch.is_none();
        self.epoch.get_or_insert_with(Instant::now);
        is_first
    }

    pub fn is_started(&self) -> bool {
        self.epoch.is_some()
    }

    pub fn read(&mut self) {
        if let Some(epoch) = self.epoch {
            self.now = Time::from_us(epoch.elapsed().as_micros() as u64);
        }
    }

    /// Reads the clock after a wait that was to end at `until`; with `by_itself` no event ended it
    /// early. Returns whether the wait was so much too long that attempts may have run out of time.
    pub fn wake(&mut self, until: Time, by_itself: bool) -> bool {
        self.read();
        let late_us = self.now.us_since(until);
        if by_itself {
            self.late.count(late_us);
        }
        // Not twice in a row: on a machine that is always late, time still has to run out.
        self.overslept = !self.overslept && late_us > OVERSLEPT_US;
        late_us > GAP_US
    }

    /// Whether the last wait was much too long.
    pub fn overslept(&self) -> bool {
        self.overslept
    }

    /// How late the loop woke up, each time that no event woke it.
    pub fn late(&self) -> &Histogram {
        &self.late
    }

    /// Time since the scan began, without the time between two runs of it.
    pub fn elapsed(&self) -> Time {
        self.reported(self.now)
    }

    /// A time of this run as reports show it: counted since the first run began.
    pub fn reported(&self, at: Time) -> Time {
        at.plus_us(self.before_us)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_runs_count_and_the_time_between_does_not() {
        let clock = Clock::new(Some(Time::from_us(7)));
        assert_eq!(clock.elapsed(), Time::from_us(7));
        assert_eq!(clock.reported(Time::from_us(5)), Time::from_us(12));
    }

    #[test]
    fn it_does_not_oversleep_twice_in_a_row() {
        let mut clock = Clock::new(None);
        clock.now = Time::from_us(10 * GAP_US);
        assert!(clock.wake(Time::default(), false) && clock.overslept());
        assert!(clock.wake(Time::default(), false) && !clock.overslept());
        assert!(!clock.wake(clock.now, false) && !clock.overslept());
    }

    #[test]
    fn it_starts_once() {
        let mut clock = Clock::new(None);
        assert!(clock.start() && !clock.start());
    }
}
