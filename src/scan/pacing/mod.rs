//! How fast attempts may begin: the ceiling that the user sets, and rate controllers that learn
//! what a path or a host takes. Nothing here knows the state of an endpoint, or a socket.

mod adaptive;
mod aimd;
mod ceiling;
mod controller;
mod detector;
mod fixed;
mod gcra;
mod interval;
mod thresholds;

pub use ceiling::Rate;
pub(super) use ceiling::{Pacer, SPAN_US};
pub use controller::{Controller, IntervalId, Pace, PaceReason, PathView, Prior, RateController};
pub(super) use gcra::Gcra;
pub(super) use thresholds::sample::TELLING;
