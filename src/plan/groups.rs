//! Addresses that share a list of ports, and that list in its order. It knows sets and numbers,
//! nothing of targets.

use super::addresses::AddressSet;
use super::shared_ports::SharedPorts;
use super::top_ports::TOP_PORTS;
use super::{Order, Permutation, PlanError, Shard};

/// Addresses that share a list of ports.
#[derive(Clone, Debug)]
pub(super) struct Group {
    pub addresses: AddressSet,
    /// How many of them are IPv4; those come first.
    pub v4_addresses: u64,
    pub ports: PortList,
    /// How many addresses the groups before this one have.
    pub before: u64,
    /// How many endpoints they have.
    pub endpoints_before: u64,
    /// How many of their addresses this shard probes.
    pub mine_before: u64,
}

impl Group {
    /// The number within this group of the `index`-th address that a shard probes.
    pub fn nth_of(&self, shard: Shard, index: u64) -> u64 {
        let ports = self.ports.len() as u64;
        if ports >= shard.step() {
            // Each shard has some port of each address.
            return index;
        }
        (shard.first(self.endpoints_before) + index * shard.step()) / ports
    }
}

/// Groups in a row, and what they add up to.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub list: Vec<Group>,
    /// Addresses of all shards.
    pub addresses: u64,
    /// Endpoints of all shards.
    pub endpoints: u64,
    /// Addresses that this shard probes.
    pub mine: u64,
}

impl Groups {
    /// Adds a group, unless it is empty.
    pub fn add(
        &mut self,
        mut addresses: AddressSet,
        ports: SharedPorts,
        order: Order,
        shard: Shard,
    ) -> Result<(), PlanError> {
        let count = addresses.count();
        if count == 0 || ports.is_empty() {
            return Ok(());
        }
        let endpoints = count
            .checked_mul(ports.len() as u128)
            .and_then(|endpoints| u64::try_from(endpoints).ok());
        let total = endpoints.and_then(|endpoints| self.endpoints.checked_add(endpoints));
        let (Some(endpoints), Some(total)) = (endpoints, total) else {
            return Err(too_large(count, &ports));
        };
        let is_on_every_address = ports.len() as u64 >= shard.step();
        let mine = if is_on_every_address {
            count as u64
        } else {
            shard.count(self.endpoints, endpoints)
        };
        addresses.v4.index();
        addresses.v6.index();
        self.list.push(Group {
            v4_addresses: addresses.v4.count() as u64,
            addresses,
            ports: PortList::new(ports, order),
            before: self.addresses,
            endpoints_before: self.endpoints,
            mine_before: self.mine,
        });
        self.addresses += count as u64;
        self.endpoints = total;
        self.mine += mine;
        Ok(())
    }
}

fn too_large(addresses: u128, ports: &SharedPorts) -> PlanError {
    let addresses = if addresses > u128::MAX / 2 {
        "more than 2^127".into()
    } else {
        addresses.to_string()
    };
    PlanError::TooLarge {
        addresses,
        ports: ports.len(),
    }
}

/// Ports in the order in which each address is probed on them.
#[derive(Clone, Debug)]
pub(super) struct PortList {
    /// Probed first on every address: a host most likely answers on one of these.
    pub first: Vec<u16>,
    /// Their places among all ports, ascending.
    first_at: Vec<usize>,
    all: SharedPorts,
    /// How the rest is shuffled. Every address begins at another place of it.
    order: Option<Permutation>,
}

/// How many of a plan's ports are probed first: those most often open.
const FIRST_PORTS: usize = 8;

impl PortList {
    pub fn new(ports: SharedPorts, order: Order) -> Self {
        let Order::Random { seed } = order else {
            return PortList {
                first: Vec::new(),
                first_at: Vec::new(),
                all: ports,
                order: None,
            };
        };
        let first: Vec<u16> = TOP_PORTS
            .into_iter()
            .filter(|&port| ports.contains(port))
            .take(FIRST_PORTS)
            .collect();
        let mut first_at: Vec<usize> = first.iter().map(|&port| ports.rank(port)).collect();
        first_at.sort_unstable();
        let rest = ports.len() - first.len();
        PortList {
            first,
            first_at,
            all: ports,
            order: Some(Permutation::new(rest as u64, seed)),
        }
    }

    pub fn len(&self) -> usize {
        self.all.len()
    }

    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        let rest = self.all.iter().filter(|port| !self.first.contains(port));
        self.first.iter().copied().chain(rest)
    }

    /// The `rank`-th port of the address that `key` stands for.
    pub fn nth(&self, rank: usize, key: u64) -> u16 {
        if let Some(&port) = self.first.get(rank) {
            return port;
        }
        let rank = (rank - self.first.len()) as u64;
        let rest = (self.len() - self.first.len()) as u64;
        let place = self
            .order
            .map_or(rank, |order| order.apply((rank + key % rest) % rest));
        let past_first = |place, &at: &usize| place + usize::from(at <= place);
        self.all
            .nth(self.first_at.iter().fold(place as usize, past_first))
    }
}
