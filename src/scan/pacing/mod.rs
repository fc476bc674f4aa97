//! How fast attempts may begin: the hard ceiling that the user set, and rate controllers that learn
//! what a path or a host takes. Nothing here knows an endpoint's state, or a socket.

mod adaptive;
mod aimd;
mod ceiling;
mod controller;
mod fixed;
mod gcra;
mod interval;

pub(super) use ceiling::{Pacer, WINDOW_US};
pub use ceiling::{Rate, is_public};
pub use controller::{Controller, Pace, PaceReason};
pub(super) use controller::{IntervalId, Prior, RateController};
pub(super) use interval::TELLING;
