//! What every rate controller is asked and told. It knows rates and times, no endpoint and no
//! socket.

use super::{adaptive::Adaptive, aimd::Aimd, fixed::Fixed};
use crate::scan::estimate::{Ended, Wait};
use crate::scan::observation::Observation;
use crate::scan::time::Time;

/// Decides how fast attempts may begin. One controls the path to all hosts, and each host with many
/// ports has one of its own; an attempt begins when both allow it.
///
/// For each attempt, the scan asks [`next_send`](Self::next_send) until it says "now", and calls
/// [`on_interval`](Self::on_interval) and [`on_sent`](Self::on_sent). When the attempt has ended,
/// it calls [`on_observation`](Self::on_observation). [`Controller`] names those that are built in;
/// [`Scan::set_path_controller`](crate::scan::Scan::set_path_controller) takes any other.
pub trait RateController: std::fmt::Debug {
    /// When the next attempt may begin: `None` for at once.
    fn next_send(&mut self, now: Time) -> Option<Time>;

    /// An attempt begins, expected to bring `prior`. Returns what comes back with its observation:
    /// the interval that the attempt belongs to, if the controller counts by intervals.
    fn on_sent(&mut self, prior: Prior, now: Time) -> IntervalId;

    /// An attempt of interval `id` has ended. `wait` is how long answers take. `path` is what the
    /// path's controller [shows](Self::view) to those of hosts, and `None` for the path's own.
    fn on_observation(
        &mut self,
        seen: &Observation,
        id: IntervalId,
        wait: Wait,
        path: Option<&PathView>,
    );

    /// Draws conclusions from intervals whose answers must all have come. `share` is the share of
    /// answers to first attempts that began without an expectation. Returns whether the first limit
    /// was met just now; the scan then starts over with what was silent.
    fn on_interval(
        &mut self,
        _share: Option<f32>,
        _wait: Wait,
        _path: Option<&PathView>,
        _now: Time,
    ) -> bool {
        false
    }

    /// The network was away: what was sent until now says nothing about its rates.
    fn on_outage(&mut self, _ended: Ended, _now: Time) {}

    /// What the controllers of hosts need to know of the path that they share.
    fn view(&self, _wait: Wait, _now: Time) -> PathView {
        PathView::default()
    }

    /// Whether an attempt sent at this time was probably lost because the rate was too high.
    fn was_too_fast(&self, _sent: Time) -> bool {
        false
    }

    /// Whether more informative samples are needed to judge the rate.
    fn is_uncertain(&self) -> bool {
        false
    }

    /// The rate, and the reason for its last change.
    fn pace(&self) -> Pace;
}

/// Which rate controller a scan uses.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Controller {
    /// Finds the rate that path and hosts can take (docs/PACING.md).
    #[default]
    Adaptive,
    /// A congestion window that answers open and losses close, as in nmap: for comparison.
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

    /// A controller for a path. On loopback the kernel answers within the call, so there is no
    /// limit to look for.
    pub(in crate::scan) fn of_path(self, is_this_machine: bool) -> Box<dyn RateController> {
        match self {
            Controller::Adaptive if is_this_machine => Box::new(Adaptive::of_this_machine()),
            _ => self.of_host(),
        }
    }

    /// A controller for a host.
    pub(in crate::scan) fn of_host(self) -> Box<dyn RateController> {
        match self {
            Controller::Adaptive => Box::new(Adaptive::default()),
            Controller::Aimd => Box::new(Aimd::default()),
            Controller::Fixed => Box::new(Fixed),
        }
    }
}

/// What an attempt is expected to bring.
#[derive(Clone, Copy, Debug, Default)]
pub enum Prior {
    /// Unknown.
    #[default]
    Unknown,
    /// An answer, with this chance.
    Chance(f32),
    /// An answer: the port has answered before.
    Certain,
}

/// The number of an interval, which an attempt carries from its beginning to its observation. It
/// means something only to the controller that gave it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IntervalId(pub u32);

/// What the controller of a host needs to know of the path that the host shares with others.
#[derive(Clone, Copy, Debug, Default)]
pub struct PathView {
    /// The share of certain answers that comes at any rate, 0 to 1.
    pub baseline: f32,
    /// Whether the path may be losing: such loss is not held against its hosts.
    pub is_suspect: bool,
    /// Until when its rate was found too high. Nor is what was lost until then.
    pub too_fast_until: Time,
    /// The share of the expected answers that comes at present, as far as is known yet.
    pub comes: f32,
}

/// The rate that the path is believed to take, and the reason for its last change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Attempts per second.
    pub per_s: u32,
    /// The reason.
    pub reason: PaceReason,
}

/// Why a pace changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PaceReason {
    /// Nothing was learned yet, or everything was forgotten after an outage.
    Start,
    /// Nothing speaks against going faster.
    Faster,
    /// Answers are missing: a trial at a lower rate.
    Trial,
    /// The rate was too high: what got through is the limit.
    Limit,
    /// The rate was not the reason for the missing answers and has its old value again.
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
