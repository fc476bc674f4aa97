//! The scan's clock: read once a turn, so that everything in a turn happens at the same time. It
//! also tells how late the loop woke up, and knows nothing of what was due then.

use std::time::{Instant, SystemTime};

use crate::scan::{Histogram, Time};

/// Waking up this much later than planned means that this process was stopped or starved: answers
/// that arrived in the meantime are taken before anything is given up.
const OVERSLEPT_US: u64 = 5_000;
/// This much later, attempts may have run out of time while nobody looked.
const GAP_US: u64 = 500_000;

/// Time since the scan began, in this run of it and in earlier ones.
#[derive(Debug)]
pub(super) struct Clock {
    /// Since this run began, as last read. The machine's sleep does not count.
    pub now: Time,
    /// When this run began, once it has.
    epoch: Option<Instant>,
    /// When the first run began, by the clock on the wall.
    started_at: Option<SystemTime>,
    /// How long earlier runs took.
    before_us: u64,
    /// The time between runs.
    between_us: u64,
    /// How long the machine had slept when this run began, and has slept since.
    asleep_before_us: u64,
    asleep_us: u64,
    late: Histogram,
    overslept: bool,
}

impl Clock {
    /// `before`: when the first run began, and how long earlier runs took.
    pub fn new(before: Option<(SystemTime, Time)>) -> Self {
        let (started_at, before) = before.unzip();
        Clock {
            now: Time::default(),
            epoch: None,
            started_at,
            before_us: before.map_or(0, |before| before.us),
            between_us: 0,
            asleep_before_us: 0,
            asleep_us: 0,
            late: Histogram::default(),
            overslept: false,
        }
    }

    /// Starts the clock, once; says whether this was the first time.
    pub fn start(&mut self) -> bool {
        let is_first = self.epoch.is_none();
        if is_first {
            self.epoch = Some(Instant::now());
            self.start_at(SystemTime::now());
            self.asleep_before_us = asleep_us();
        }
        is_first
    }

    fn start_at(&mut self, now: SystemTime) {
        let started_at = *self.started_at.get_or_insert(now);
        // A clock on the wall may have been set back.
        let passed = now.duration_since(started_at).unwrap_or_default();
        self.between_us = (passed.as_micros() as u64).saturating_sub(self.before_us);
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
    /// early. Returns whether attempts may have run out of time while nobody looked: the wait was
    /// far too long, or the machine slept.
    pub fn wake(&mut self, until: Time, by_itself: bool) -> bool {
        self.read();
        let late_us = self.now.us_since(until);
        if by_itself {
            self.late.count(late_us);
        }
        // Not twice in a row: on a machine that is always late, time still has to run out.
        self.overslept = !self.overslept && late_us > OVERSLEPT_US;
        let slept_us = self.sleep(asleep_us());
        late_us > GAP_US || slept_us > GAP_US
    }

    /// Takes in how long the machine has slept in all. Returns how much of that is new.
    fn sleep(&mut self, asleep_us: u64) -> u64 {
        let asleep_us = asleep_us.saturating_sub(self.asleep_before_us);
        let news_us = asleep_us.saturating_sub(self.asleep_us);
        self.asleep_us += news_us;
        news_us
    }

    /// Whether the last wait was much too long.
    pub fn overslept(&self) -> bool {
        self.overslept
    }

    /// How late the loop woke up, each time that no event woke it.
    pub fn late(&self) -> &Histogram {
        &self.late
    }

    /// When the first run began; if none has, now.
    pub fn started_at(&self) -> SystemTime {
        self.started_at.unwrap_or_else(SystemTime::now)
    }

    /// Time since the scan began, without the machine's sleep and the time between two runs.
    pub fn elapsed(&self) -> Time {
        self.now.plus_us(self.before_us)
    }

    /// A time of this run as reports show it: by the clock on the wall, counted since the first run
    /// began.
    pub fn reported(&self, at: Time) -> Time {
        at.plus_us(self.before_us + self.between_us + self.asleep_us)
    }
}

/// How long the machine has slept (suspend, hibernate) since it was booted: CLOCK_BOOTTIME counts
/// it, and the clock behind `Instant` does not.
#[cfg(target_os = "linux")]
fn asleep_us() -> u64 {
    let read_us = |clock| {
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: clock_gettime only writes the struct behind the pointer, which outlives the call.
        let is_known = unsafe { libc::clock_gettime(clock, &mut time) } == 0;
        is_known.then_some(time.tv_sec as u64 * 1_000_000 + time.tv_nsec as u64 / 1_000)
    };
    // In this order a pause between the two calls is no sleep.
    let with_sleep = read_us(libc::CLOCK_BOOTTIME).unwrap_or(0);
    with_sleep.saturating_sub(read_us(libc::CLOCK_MONOTONIC).unwrap_or(0))
}

#[cfg(not(target_os = "linux"))]
fn asleep_us() -> u64 {
    0
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn reports_are_dated_by_the_wall_and_only_work_counts() {
        let began = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000);
        let mut clock = Clock::new(Some((began, Time::from_us(7))));
        // The next day.
        clock.start_at(began + Duration::from_micros(1_007));
        assert_eq!(clock.reported(Time::from_us(5)), Time::from_us(1_012));
        clock.asleep_before_us = 9;
        assert_eq!(
            [9, 109, 100, 159].map(|in_all| clock.sleep(in_all)),
            [0, 100, 0, 50]
        );
        assert_eq!(clock.reported(Time::from_us(5)), Time::from_us(1_162));
        assert_eq!(clock.elapsed(), Time::from_us(7));
        assert_eq!(clock.started_at(), began);
        // A wall clock that was set back.
        clock.start_at(SystemTime::UNIX_EPOCH);
        assert_eq!(clock.between_us, 0);
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
