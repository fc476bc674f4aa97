//! The counters of a scan. They add up: see [`Stats::settled`].

use super::verdict::{OwnError, Reason, State};

/// What has been counted so far.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stats {
    /// Endpoints in the plan.
    pub planned: u64,
    /// Endpoints that were taken up; the rest was never tried.
    pub begun: u64,
    by_reason: [u64; Reason::ALL.len()],
    own_errors: [u64; OwnError::ALL.len()],
    /// Connection attempts that an answer or silence ended.
    pub attempts: u64,
    /// Attempts that were not an endpoint's first.
    pub retries: u64,
    /// Connections to oneself that were seen through and probed again.
    pub self_connects: u64,
    /// Sockets in flight now.
    pub in_flight: u32,
    /// The most sockets that were in flight at once.
    pub peak_in_flight: u32,
    /// How many sockets may be in flight now.
    pub cap: u32,
    /// The smallest that the cap has been.
    pub lowest_cap: u32,
}

impl Stats {
    pub(super) fn new(planned: u64, cap: u32) -> Self {
        Stats {
            planned,
            begun: 0,
            by_reason: [0; Reason::ALL.len()],
            own_errors: [0; OwnError::ALL.len()],
            attempts: 0,
            retries: 0,
            self_connects: 0,
            in_flight: 0,
            peak_in_flight: 0,
            cap,
            lowest_cap: cap,
        }
    }

    /// Endpoints that ended for this reason.
    pub fn with_reason(&self, reason: Reason) -> u64 {
        self.by_reason[reason as usize]
    }

    /// Endpoints that ended in this state.
    pub fn in_state(&self, state: State) -> u64 {
        self.reasons(state).map(|(_, count)| count).sum()
    }

    /// The reasons for a state that occurred, and how often.
    pub fn reasons(&self, state: State) -> impl Iterator<Item = (Reason, u64)> + '_ {
        let counted = Reason::ALL.into_iter().map(|reason| (reason, self.with_reason(reason)));
        counted.filter(move |&(reason, count)| reason.state() == state && count > 0)
    }

    /// Failures on our own side that occurred, and how often. Each of them sent its probe back.
    pub fn own_errors(&self) -> impl Iterator<Item = (OwnError, u64)> + '_ {
        OwnError::ALL.into_iter().map(|error| (error, self.own_errors[error as usize])).filter(|&(_, count)| count > 0)
    }

    /// Endpoints that have a verdict. When a scan is over this equals [`planned`](Self::planned).
    pub fn settled(&self) -> u64 {
        self.by_reason.iter().sum()
    }

    pub(super) fn settle(&mut self, reason: Reason, count: u64) {
        self.by_reason[reason as usize] += count;
    }

    pub(super) fn own_error(&mut self, error: OwnError) {
        self.own_errors[error as usize] += 1;
    }
}
