//! What is known of networks and hosts: round trips, loss, which share of ports answers, which
//! ports to ask again, outages. Counts and times go in, numbers come out; nothing here decides how
//! fast to go, or what an endpoint's verdict is.

mod canary;
mod loss;
mod outage;
mod response;
mod rtt;

pub(super) use canary::Canaries;
pub use loss::Missed;
pub(super) use loss::{LATELY, Loss, SharedLoss};
pub use outage::Ended;
pub(super) use outage::{Outage, Outages};
pub(super) use response::{Expectations, Expected, Question, Sample};
pub(super) use rtt::{Rtt, RttEstimators, network_of};
pub use rtt::{SILENT_US, Timeouts, Wait};
