//! A probe: the attempts at one endpoint until its verdict. It knows its own attempt, and of its
//! host only the number.

use super::estimate::Expected;
use super::hosts::HostId;
use super::observation::Observation;
use super::pacing::{IntervalId, Prior};
use super::time::Time;
use super::verdict::Reason;

/// The attempts at one endpoint. There are many, so they are kept small.
#[derive(Debug)]
pub(super) struct Probe {
    pub started: Time,
    /// How long the attempt may take, and how long before it the one before it began, in
    /// microseconds.
    pub timeout_us: u32,
    pub before_us: u32,
    pub host: HostId,
    pub rank: u16,
    pub port: u16,
    /// Which intervals of the path's and the host's controller the attempt belongs to.
    pub intervals: (IntervalId, IntervalId),
    pub expected: Expected,
    pub attempts: u16,
    pub own_failures: u8,
    /// Attempts that did not count.
    pub discards: u8,
    pub avoid_self: u8,
    pub purpose: Purpose,
    /// Whether the kernel will send its SYN again within a moment.
    pub is_syn_due: bool,
    pub phase: Phase,
}

impl Probe {
    pub fn new(host: HostId, rank: u32, port: u16, purpose: Purpose) -> Self {
        Probe {
            started: Time::default(),
            timeout_us: 0,
            before_us: 0,
            host,
            rank: rank as u16,
            port,
            intervals: Default::default(),
            expected: Expected::default(),
            attempts: 0,
            own_failures: 0,
            discards: 0,
            avoid_self: 0,
            purpose,
            is_syn_due: false,
            phase: Phase::Ready,
        }
    }

    pub fn deadline(&self) -> Time {
        self.started.plus_us(self.timeout_us.into())
    }

    /// Its attempts until now say nothing. They are no first ones, either.
    pub fn forget_silence(&mut self) {
        self.attempts = 0;
        self.discards = self.discards.saturating_add(1);
    }

    /// What its attempt is to bring.
    pub fn prior(&self) -> Prior {
        match self.purpose {
            Purpose::Canary => Prior::Certain,
            _ => self.expected.chance().map_or(Prior::Unknown, Prior::Chance),
        }
    }

    /// When the attempt before this one began.
    fn started_before(&self) -> Time {
        Time::from_us(self.started.us.saturating_sub(self.before_us.into()))
    }

    /// What its answer tells, as far as the attempt itself knows; `silent` attempts had stayed
    /// silent before it.
    pub fn observation(&self, silent: u16) -> Observation {
        let lost_at = (silent > 0).then(|| self.started_before());
        let (prior, expected) = (self.prior(), self.expected);
        Observation {
            sent: self.started,
            lost_at,
            prior,
            expected,
            silent,
            ..Observation::default()
        }
    }
}

/// What a probe is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A verdict.
    Verdict,
    /// Whether the host calls everything open.
    SecondLook,
    /// Whether answers still come at this rate: one attempt at a port that is known to answer.
    Canary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Waits for its host's turn.
    Ready,
    /// Has a socket, and a deadline in the wheel.
    InFlight,
    /// Is open, and has its socket for as long as the port may say something.
    Listening,
    /// Waits in the wheel, without a socket, for our own side to recover.
    BackOff,
    /// The same, for a source port or a route: others need not wait for that.
    BackOffAlone,
    /// This machine could not send it, for this reason. That is told last of all.
    Unsent(Reason),
}
