//! What the loop shows at its tracing points (`trace.rs`): each attempt's end, and what has changed
//! since the last turn. It changes nothing but its own memory of that.

use std::io;

use crate::scan::{Outcome, Pace, Scan, Slot, TICK_US, Time};
use crate::trace;

/// What was traced last.
#[derive(Debug)]
pub(super) struct Traced {
    wheel_at: Time,
    cap: u32,
    pace: Pace,
    /// Until when a rate holds the next attempt back.
    held_until: Option<Time>,
}

impl Traced {
    pub fn new(scan: &Scan) -> Self {
        Traced {
            wheel_at: Time::default(),
            cap: scan.stats().cap,
            pace: scan.pace(),
            held_until: None,
        }
    }

    /// Traces what a turn has changed, and what the wait after it is for. `expired` attempts ran
    /// out of time in it.
    pub fn turn(&mut self, scan: &Scan, now: Time, expired: u32) {
        let ticks = now.us / TICK_US - self.wheel_at.us / TICK_US;
        self.wheel_at = now;
        if ticks > 0 {
            trace::wheel_advance(ticks, expired);
        }
        let cap = scan.stats().cap;
        if cap > self.cap {
            trace::cap_change(self.cap, cap, "recovered");
        }
        self.cap = cap;
        let pace = scan.pace();
        if pace != self.pace {
            trace::pace_change(self.pace, pace);
        }
        self.pace = pace;
        let held_until = scan.paced_until();
        if let Some(until) = held_until.filter(|_| held_until != self.held_until) {
            trace::rate_wait(until.us_since(now));
        }
        self.held_until = held_until;
    }

    /// Traces that an outcome has lowered the cap, if it has.
    pub fn cap_after(&mut self, outcome: Outcome, scan: &Scan) {
        let cap = scan.stats().cap;
        if cap < self.cap
            && let Outcome::TransientLocal(error) = outcome
        {
            trace::cap_change(self.cap, cap, error.as_str());
            self.cap = cap;
        }
    }
}

/// What to trace of the attempt in `slot`, which ends with this outcome.
pub(super) fn ended(
    scan: &Scan,
    slot: Slot,
    outcome: Outcome,
    error: Option<&io::Error>,
    now: Time,
) -> trace::Ended {
    let (number, began) = scan.attempt(slot).unwrap_or_default();
    let took_us = now.us_since(began) as i64;
    let (errno, rtt_us) = match outcome {
        Outcome::Connected { rtt_us, .. } => (0, rtt_us.map_or(took_us, i64::from)),
        Outcome::SelfConnected => (libc::EISCONN, -1),
        Outcome::Refused => (libc::ECONNREFUSED, took_us),
        Outcome::Unreachable { .. } | Outcome::NoNeighbour => (libc::EHOSTUNREACH, took_us),
        Outcome::Silence => (libc::ETIMEDOUT, -1),
        Outcome::TransientLocal(_) | Outcome::PermanentLocal(_) => (0, -1),
    };
    let endpoint = scan.endpoint(slot).unwrap_or_else(|| ([0u8; 4], 0).into());
    trace::Ended {
        endpoint,
        number,
        slot,
        errno: error.and_then(io::Error::raw_os_error).unwrap_or(errno),
        rtt_us,
    }
}
