//! How long each phase of the loop takes. Reading the clock costs time, so this is measured only on
//! request. It knows nothing of what the phases do.

use std::time::Instant;

use crate::report::{Phase, Profile};

/// Measures from the end of one phase to the end of the next.
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

    /// A phase is over: the time since the last one ended is its own.
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
