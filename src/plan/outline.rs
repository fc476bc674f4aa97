//! What reports say of a plan. It holds values and computes nothing.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::{Order, PortSet, Shard};

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
    /// What was left out, in words.
    pub warnings: Vec<String>,
    /// The names that targets were given by.
    pub names: Names,
}

/// The names that targets were given by, for the addresses that they resolved to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<HashMap<IpAddr, Box<str>>>);

impl Names {
    /// The name that led to `address`, the first one if there are several.
    pub fn get(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(AsRef::as_ref)
    }
}

impl FromIterator<(IpAddr, Box<str>)> for Names {
    fn from_iter<I: IntoIterator<Item = (IpAddr, Box<str>)>>(names: I) -> Self {
        Names(Arc::new(names.into_iter().collect()))
    }
}
