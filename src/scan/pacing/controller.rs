//! What every rate controller is asked and told, whatever it makes of it. One controls the path to
//! all hosts, and one each host that has many ports; an attempt needs the consent of both.

use super::{adaptive::Adaptive, aimd::Aimd, fixed::Fixed};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::Observation;
use crate::scan::time::Time;

/// Decides how fast attempts may begin, on the path to all hosts or at one host.
///
/// For each attempt [`next_send`](Self::next_send) is asked until it says "now", then
/// [`on_interval`](Self::on_interval) and [`on_sent`](Self::on_sent) are called; later, if it is
/// answered, [`on_observation`](Self::on_observation).
pub(in crate::scan) trait RateController: std::fmt::Debug {
    /// When the next attempt may begin: `None` for at once.
    fn next_send(&mut self, now: Time) -> Option<Time>;

    /// An attempt begins, which is to bring this. The number that its observation carries.
    fn on_sent(&mut self, prior: Prior, now: Time) -> IntervalId;

    /// An attempt of interval `id` was answered. Answers take as long as `wait` says; `path` is
    /// what is known of the path, for the controller of a host.
    fn on_observation(
        &mut self,
        seen: &Observation,
        id: IntervalId,
        wait: Wait,
        path: Option<&PathView>,
    );

    /// Draws conclusions from intervals whose answers must all have come. `share` is what first
    /// attempts bring of which nothing was known when they began. Whether the first limit was met
    /// just now.
    fn on_interval(
        &mut self,
        share: Option<f32>,
        wait: Wait,
        path: Option<&PathView>,
        now: Time,
    ) -> bool;

    /// The network was away: what was sent until now says nothing about it any more.
    fn on_outage(&mut self, ended: Ended, now: Time);

    /// What the controllers of hosts have to know of the path that they share.
    fn view(&self, wait: Wait, now: Time) -> PathView;

    /// Whether an attempt that was sent then was probably lost to the rate.
    fn was_too_fast(&self, sent: Time) -> bool;

    /// Whether more has to be asked to know what comes of the rate.
    fn is_uncertain(&self) -> bool;

    /// The rate, and why.
    fn pace(&self) -> Pace;
}

/// Which rate controller a scan uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// Finds the rate that path and host can take (docs/PACING.md).
    #[default]
    Adaptive,
    /// A congestion window that answers open and losses close, in nmap's manner: for comparisons.
    Aimd,
    /// As fast as sockets and `--max-rate` allow, whatever is lost: for experiments.
    Fixed,
}

impl Controller {
    /// All of them.
    pub const ALL: [Controller; 3] = [Controller::Adaptive, Controller::Aimd, Controller::Fixed];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            Controller::Adaptive => "adaptive",
            Controller::Aimd => "aimd",
            Controller::Fixed => "fixed",
        }
    }

    /// One for a path, which may lead no further than to this machine itself, where the kernel
    /// answers before it has finished asking: there is nothing to feel one's way into.
    pub(in crate::scan) fn of_path(self, is_this_machine: bool) -> Box<dyn RateController> {
        match self {
            Controller::Adaptive if is_this_machine => Box::new(Adaptive::of_this_machine()),
            _ => self.of_host(),
        }
    }

    /// One for a host.
    pub(in crate::scan) fn of_host(self) -> Box<dyn RateController> {
        match self {
            Controller::Adaptive => Box::new(Adaptive::default()),
            Controller::Aimd => Box::new(Aimd::default()),
            Controller::Fixed => Box::new(Fixed),
        }
    }
}

/// What an attempt is to bring.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) enum Prior {
    /// Nobody knows.
    #[default]
    Unknown,
    /// An answer, with this chance.
    Chance(f32),
    /// An answer: the port has answered before.
    Certain,
}

/// The number of an interval, as an attempt remembers it.
pub(in crate::scan) type IntervalId = u32;

/// What the controller of a host has to know of the path that the host shares with others.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct PathView {
    /// The share of certain answers that comes at whatever rate.
    pub baseline: f32,
    /// It may be losing, or was found to until then: that is not held against its hosts.
    pub is_suspect: bool,
    pub too_fast_until: Time,
    /// The share of the expected answers that comes just now, as far as can be seen yet.
    pub comes: f32,
}

/// How fast attempts may go by what the path takes, and what it was last changed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Attempts per second.
    pub per_s: u32,
    /// The reason.
    pub reason: PaceReason,
}

/// Why a pace was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceReason {
    /// Nothing was learned yet, or all was forgotten while the network was away.
    Start,
    /// Nothing speaks against going faster.
    Faster,
    /// Answers are missing: a trial at a lower rate.
    Trial,
    /// The rate was too high: what got through is the limit.
    Limit,
    /// The rate was not the reason for what was missing, and has its old value again.
    NotTheRate,
}

impl PaceReason {
    /// The word used in reports and traces.
    pub fn as_str(self) -> &'static str {
        match self {
            PaceReason::Start => "start",
            PaceReason::Faster => "faster",
            PaceReason::Trial => "trial",
            PaceReason::Limit => "limit",
            PaceReason::NotTheRate => "not-the-rate",
        }
    }
}
