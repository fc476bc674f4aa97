//! What reports say of a plan. It holds values and computes nothing.

use super::{Names, Order, PortSet, Shard};

/// What reports say of a plan.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Endpoints to be probed.
    pub endpoints: u64,
    /// Their addresses.
    pub addresses: u64,
    /// The longest list of ports.
    pub ports_per_address: usize,
    /// Every port that is probed on any address.
    pub ports: PortSet,
    /// The order of probing.
    pub order: Order,
    /// Which shard of the plan this is.
    pub shard: Shard,
    /// The endpoints of all shards.
    pub endpoints_of_all: u64,
    /// The addresses of all shards.
    pub addresses_of_all: u64,
    /// Identifies the whole plan: targets, ports and order. See
    /// [`Plan::digest`](super::Plan::digest).
    pub digest: u64,
    /// Identifies the targets, whatever the order. See
    /// [`Plan::targets_digest`](super::Plan::targets_digest). Unknown in reports of older versions.
    pub targets_digest: Option<u64>,
    /// What was left out, in words.
    pub warnings: Vec<String>,
    /// The names that targets were given by.
    pub names: Names,
}
