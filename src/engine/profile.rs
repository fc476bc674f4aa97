//! How long each phase of the loop takes. Reading the clock costs, so it is done only for who asks.
//! It knows nothing of what the phases do.

use std::time::Instant;

use crate::report::{Phase, Profile};

/// Measures from one phase's end to the next one's.
#[derive(Debug)]
pub(super) struct Stopwatch {
    since: Instant,
    profile: Profile,
}

impl Stopwatch {
    pub fn start() -> Self {
        Stopwatch {
            since: Instant::now(),
            profile: Profile::default(),
        }
    }

    /// A phase is over: the time since the last one belongs to it.
    pub fn lap(&mut self, phase: Phase) {
        let now = Instant::now();
        let cost = &mut self.profile[phase as usize];
        cost.calls += 1;
        cost.ns += now.duration_since(self.since).as_nanos() as u64;
        self.since = now;
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }
}
