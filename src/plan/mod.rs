//! What is to be scanned: targets x ports, in an order that is computed and not stored.
//!
//! A [`Plan`] computes its n-th address, and that address's n-th port, so a /8 costs no more memory
//! than a /30. A plan resolves names only through the function it is given, opens no socket, reads
//! no clock, and knows nothing of attempts or answers.
//!
//! - From words to sets: `targets` with `octets` and `addresses`, `ports` with `services` and
//!   `top_ports`.
//! - From sets to a plan: `builder` with `collector`, `own_ports` (targets that bring theirs),
//!   `groups` (addresses that share a list of ports) and `errors`.
//! - The plan: `walk` (which endpoint comes when) with `permute` (the shuffled order), `shard`
//!   (which part of it), `outline` and `names` (what reports say of it), `digest` (which plan it
//!   is).

mod addresses;
mod builder;
mod collector;
mod digest;
mod errors;
#[cfg(test)]
mod fixture;
mod groups;
mod names;
mod octets;
mod outline;
mod own_ports;
mod permute;
mod ports;
mod services;
mod shard;
mod shared_ports;
mod targets;
mod top_ports;
mod walk;

pub use builder::{Family, PlanBuilder};
pub use collector::Resolver;
pub use digest::Digest;
pub use errors::{PlanError, Warning};
pub use names::{FoundName, Names};
pub use octets::{MAX_PIECES, OctetSet};
pub use outline::Outline;
pub use permute::Permutation;
pub(crate) use permute::mix;
pub use ports::{PortError, PortSet};
pub use services::Services;
pub use shard::Shard;
pub use targets::{Target, TargetError};
pub use walk::{Host, Order, Plan};
