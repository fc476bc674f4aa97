//! What an attempt that has ended tells: made once, and handed to the estimators and then to the
//! rate controllers. It knows no host and no slot.

use super::estimate::Expected;
use super::pacing::Prior;
use super::time::Time;

/// How an attempt ended, as far as rates and loss are concerned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ending {
    /// Its endpoint answered.
    #[default]
    Answered,
    /// Nothing came in time.
    Silent,
    /// It tells nothing of the rate: it was never sent, or somebody on the way said no, which
    /// routers and firewalls do only so often.
    Discarded,
}

/// An attempt that has ended.
#[derive(Clone, Copy, Debug, Default)]
pub struct Observation {
    /// When it was sent.
    pub sent: Time,
    /// How it ended.
    pub ending: Ending,
    /// When the endpoint's attempt before it was sent, if there was one: that was lost.
    pub lost_at: Option<Time>,
    /// What it was to bring.
    pub prior: Prior,
    /// The same, for the samples that it belongs to.
    pub(super) expected: Expected,
    /// Attempts before it that stayed silent.
    pub silent: u16,
    /// Whether the kernel had to send it again.
    pub syn_sent_again: bool,
    /// The round trip in microseconds, where the answer belongs to one SYN for certain (Karn's
    /// rule).
    pub rtt_us: Option<u64>,
    /// Whether the port is open.
    pub is_open: bool,
}
