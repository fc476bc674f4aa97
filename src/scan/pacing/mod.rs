//! How fast attempts may begin: the hard ceiling that the user set, and a controller that learns
//! what a path or a host takes. Nothing here knows an endpoint's state, or a socket.

mod adaptive;
mod ceiling;
mod interval;

pub(super) use adaptive::{Adaptive, IntervalId, Prior};
pub use adaptive::{Pace, PaceReason};
pub(super) use ceiling::{Pacer, WINDOW_US};
pub use ceiling::{Rate, is_public};
pub(super) use interval::TELLING;
