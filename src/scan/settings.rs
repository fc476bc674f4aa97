//! How a scan goes about its work, as its user wants it: values only.

use super::estimate::Timeouts;
use super::pacing::{Controller, Rate};
use crate::plan::Order;

/// How a scan goes about its work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// How long one attempt may take.
    pub timeouts: Timeouts,
    /// An endpoint stays silent until the chance that it answers all the same is below this many in
    /// a million.
    pub miss_rate_ppm: u32,
    /// Further attempts at an endpoint that stays silent, at most.
    pub max_retries: u8,
    /// How fast attempts may begin, the kernel's own repetitions included; `None` for as fast as
    /// answers come.
    pub rate: Option<Rate>,
    /// Whether all ports are scanned of hosts that answer nothing, too.
    pub scan_silent: bool,
    /// Whether the question is only who is there: a host is done with at its first answer.
    pub alive: bool,
    /// Whether it only matters which ports are open: where an open port shows that it is only
    /// resets that stay away, that slows nothing down. A silent port is [closed or
    /// filtered](super::State::NotOpen).
    pub open_only: bool,
    /// Whether endpoints that were never taken up are told one by one, or only counted.
    pub tell_unscanned: bool,
    /// How long to listen at most for what an open port says first, in microseconds; `None` for not
    /// at all.
    pub banner_wait_us: Option<u64>,
    /// Whether each endpoint gets a datagram, too, which counts for the rate.
    pub sends_datagrams: bool,
    /// How often an open port is connected to at most, the first time included, to see whether
    /// answers still come; 0: no port that answered is asked again, and 1: no open one.
    pub canaries: u8,
    /// How long a network that has stopped answering is waited for, in microseconds, before the
    /// rest is given up.
    pub patience_us: u64,
    /// How many attempts without an answer there may be at once, those of the last two minutes and
    /// those in flight; `None` for as many as get through.
    pub max_unanswered: Option<u32>,
    /// What finds the rate that the network takes.
    pub controller: Controller,
}

/// With more addresses than this it pays to find out first who is there.
const MANY_ADDRESSES: u64 = 16;

impl Settings {
    /// Whether a scan of this many addresses leaves out hosts that answer nothing. In order, one
    /// host is scanned after the other, and nothing is known of those to come.
    pub fn skips_silent(&self, order: Order, addresses: u64) -> bool {
        let is_large = matches!(order, Order::Random { .. }) && addresses > MANY_ADDRESSES;
        !self.scan_silent && (is_large || self.alive)
    }
}

/// Timeouts from round-trip times, attempts from loss (one in a thousand missed, 10 retries at
/// most), 10,000 attempts per second through routers.
impl Default for Settings {
    fn default() -> Self {
        let per_s = std::num::NonZeroU32::new(10_000);
        Settings {
            timeouts: Timeouts::default(),
            miss_rate_ppm: 1_000,
            max_retries: 10,
            rate: per_s.map(|per_s| Rate {
                per_s,
                routed_only: true,
            }),
            scan_silent: false,
            alive: false,
            open_only: false,
            tell_unscanned: false,
            banner_wait_us: None,
            sends_datagrams: false,
            canaries: 8,
            // A router remembers an unanswered connection for up to two minutes.
            patience_us: 130_000_000,
            max_unanswered: None,
            controller: Controller::default(),
        }
    }
}
