//! The numbers by which the adaptive controller decides, grouped by what they decide. It holds
//! values only; how they are used is in `adaptive/`, `detector.rs` and `interval.rs`.
//!
//! Each entry gives its unit and where its value comes from:
//! - a paper, a formula, or the kernel;
//! - *decision N*: docs/decisions/ records what the simulated networks do without it;
//! - *towns*: judgement, checked on the table that `cargo test --test towns table` compares. No
//!   record of other values exists.
//!
//! Evidence is counted in log-likelihood ratios (llr, natural logarithms), as in Wald's sequential
//! test (1945). By his formula, a test that decides at 6 is wrong in at most one of e^6 = 400
//! cases.

/// Which attempts say something about a rate.
pub(in crate::scan) mod sample {
    /// The chance that a port answers that has answered before, unless the path loses the answer.
    /// Towns.
    pub const CERTAIN: f32 = 0.98;
    /// The least chance of an answer with which an attempt is a sample. Towns.
    pub const TELLING: f32 = 0.6;
}

/// The rates that are allowed.
pub(super) mod rate {
    /// The first rate, in attempts per second. Towns.
    pub const FIRST_PER_S: f32 = 5_000.0;
    /// The first burst, in attempts, so that a small scan does not wait. Towns.
    pub const FIRST_BURST: f32 = 64.0;
    /// The lowest rate, in attempts per second. Towns.
    pub const LEAST_PER_S: f32 = 10.0;
    /// The highest rate, in attempts per second; also stands for "no limit known". Towns.
    pub const MOST_PER_S: f32 = 10e6;
    /// The highest rate without any informative sample, in attempts per second. It is what one
    /// processor does on loopback (docs/PERFORMANCE.md).
    pub const BLIND_PER_S: f32 = 100_000.0;
    /// How early an attempt may begin, in nanoseconds: twice epoll's grain of 1 ms, so that one
    /// wake-up per grain keeps the rate.
    pub const BURST_NS: u64 = 2_000_000;
}

/// How fast a rate grows.
pub(super) mod growth {
    /// The factor while no limit has been met: one doubling per interval, as in TCP's slow start
    /// (Jacobson 1988).
    pub const IN_STARTUP: f32 = 2.0;
    /// The factor on the way back to a known limit. Towns.
    pub const IN_HOLD: f32 = 1.5;
    /// How often the rate doubles while nothing answers, in microseconds. Towns.
    pub const BLIND_US: u64 = 25_000;
    /// After this time without any informative sample a rate grows all the same, in microseconds.
    /// Towns.
    pub const UNCERTAIN_US: u64 = 1_000_000;
}

/// How attempts are grouped into intervals. An interval lasts at least half the time of an answer.
pub(super) mod intervals {
    /// How many are remembered: the one being sent and those whose answers are still coming.
    pub const KEPT: usize = 4;
    /// The fewest attempts in an interval. Towns.
    pub const LEAST_SENT: u32 = 16;
    /// The fewest informative samples in an interval, except in startup; also the fewest from which
    /// a rate counts as known, or a trial as relieved. Towns.
    pub const LEAST_SAMPLES: u32 = 8;
    /// The longest wait for that many, in microseconds. Towns.
    pub const LONGEST_US: u64 = 500_000;
}

/// How much evidence a conclusion needs, as log-likelihood ratios (llr).
pub(super) mod evidence {
    /// The share of the expected answers that comes if the rate is too high; the test compares it
    /// with all of them. Towns.
    pub const OVERLOADED: f32 = 0.85;
    /// The llr that the path's rate is too high. Towns.
    pub const TOO_FAST: f32 = 6.0;
    /// The llr that a host's rate is too high. More than for the path: of many hosts some would be
    /// cut by chance. Towns.
    pub const TOO_FAST_FOR_HOST: f32 = 9.0;
    /// The llr that a host's rate is too high although it held no attempt back. Towns.
    pub const TOO_FAST_UNHELD: f32 = 20.0;
    /// The llr that the rate is fine. Towns.
    pub const FINE: f32 = 1.3;
    /// The llr that a cut has helped, or that the answers have returned without one. Towns.
    pub const HELPED: f32 = 4.0;
    /// The llr that a cut has not helped. Towns.
    pub const NO_HELP: f32 = 6.0;
    /// The llr at which the attempts sent before a cut confirm it. Towns.
    pub const CONFIRMED: f32 = 3.0;
    /// The fewest informative samples in a trouble for the limit to be confirmed: with fewer, what
    /// got through is only a guess. Towns.
    pub const CONFIRMED_SAMPLES: u32 = 16;
}

/// How a trial goes, and what it concludes.
pub(super) mod trial {
    /// The rate of a trial, as a share of what got through: an estimate that is too high must not
    /// look like a loss that stays. Towns.
    pub const RATE: f32 = 0.5;
    /// The lowest rate of a trial, as a share of what was sent. Below it, the cut is not expected
    /// to remove all of the loss. Towns.
    pub const DEEPEST_CUT: f32 = 0.125;
    /// With this many answers expected, a trial is over and the likelier side wins. Towns.
    pub const MOST_EXPECTED: f32 = 60.0;
    /// The longest trial, in microseconds; then, too, the likelier side wins. Towns.
    pub const LONGEST_US: u64 = 5_000_000;
    /// Above this share of the expected answers, nearly everything comes. Towns.
    pub const RELIEVED: f32 = 0.9;
    /// Below this share of the expected answers, a second trial makes sure that the rate is not the
    /// reason. Decision 2: without it 92.6 % are found behind 50/s.
    pub const BAD: f32 = 0.75;
    /// Below this share of the expected answers, the rate is the reason and is cut again. Decision
    /// 5, together with other changes.
    pub const HARDLY: f32 = 0.3;
    /// At this many times the share that came before the cut, the cut has helped, whatever else is
    /// lost. Towns.
    pub const MUCH_BETTER: f32 = 2.0;
}

/// When a trouble has passed by itself, so that no limit was the reason.
pub(super) mod trouble {
    /// No limit is the reason if this many times as much got through before as it would have let
    /// through. Decision 4.
    pub const SAVED: f32 = 1.3;
    /// How long a limit may have saved up when the scan begins, in seconds. Towns.
    pub const FIRST_SAVED_S: f32 = 1.0;
    /// No limit is the reason if this many times as much comes in a trial as it lets through.
    /// Decision 4.
    pub const CONTRADICTS: f32 = 1.2;
    /// A limit that held for this many expected answers is not replaced by a lower one. Towns.
    pub const HELD: f32 = 60.0;
    /// It must have held for this time, too, in microseconds. Towns.
    pub const HELD_US: u64 = 500_000;
    /// The longest wait for a trouble to pass, in microseconds. Decision 4.
    pub const LONGEST_HOLD_OFF_US: u64 = 400_000;
}

/// How a known limit is kept and tried.
pub(super) mod limit {
    /// The rate below a limit, as a share of it. Towns.
    pub const BELOW: f32 = 0.92;
    /// The step above a limit that is not confirmed, as a factor. Towns.
    pub const FIRST_STEP: f32 = 1.25;
    /// The step above a confirmed limit, as a factor. Towns.
    pub const STEP: f32 = 1.1;
    /// The time until the next step, in times of an answer. It doubles with each confirmation.
    /// Towns.
    pub const STEP_AFTER: u64 = 8;
    /// The most confirmations that count: 64 times the time of an answer. Towns.
    pub const MOST_CONFIRMED: u8 = 3;
    /// A rate that is fine at this many times the limit shows that the limit is gone. Towns.
    pub const FORGET: f32 = 1.3;
}

/// Which share of the certain answers comes at any rate.
pub(super) mod baseline {
    /// The share that is believed at first. Decision 2: with 98 % *lossy 10* takes 5.5 times the
    /// ideal.
    pub const FIRST: f32 = 0.93;
    /// What the old share weighs against the answers of a trial, in expected answers. Towns.
    pub const AFTER_TRIAL: f32 = 16.0;
    /// The same, when the rate was fine. Towns.
    pub const WHEN_FINE: f32 = 100.0;
}
