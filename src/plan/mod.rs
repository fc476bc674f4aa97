//! What is to be scanned: targets x ports, seen through a seeded bijection.
//!
//! A [`Plan`] computes its n-th address, and that address's n-th port, without storing them, so a
//! /8 costs no more memory than a /30. It resolves names only through the function it is given,
//! opens no socket, reads no clock, and knows nothing of attempts or answers.

mod digest;
mod permute;
mod ports;
mod services;
mod shard;
mod targets;
mod top_ports;

use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::sync::Arc;

pub use digest::Digest;
pub use permute::Permutation;
pub(crate) use permute::mix;
pub use ports::{PortError, PortSet};
pub use services::Services;
pub use shard::Shard;
use targets::{AddressSet, Pieces, octet_ranges};
pub use targets::{MAX_PIECES, OctetSet, Target, TargetError};

/// The order in which endpoints are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Addresses shuffled, and for each its ports, a few that are often open first; the same seed
    /// gives the same order.
    Random {
        /// Which of the orders.
        seed: u64,
    },
    /// Addresses ascending, for each its ports ascending.
    Sequential,
}

/// Which addresses count.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Family {
    /// IPv4 and IPv6.
    #[default]
    Both,
    /// IPv4 only.
    V4,
    /// IPv6 only.
    V6,
}

impl Family {
    fn takes(self, address: IpAddr) -> bool {
        match self {
            Family::Both => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

/// Why a plan could not be made.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A target was not understood.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No target was given at all.
    #[error("no target was given; write an address, a block such as 192.0.2.0/24, or a host name")]
    NoTargets,
    /// Targets were given, and nothing is left of them.
    #[error("nothing is left to scan: {why}")]
    NothingLeft {
        /// What took the targets away.
        why: String,
    },
    /// No target name could be looked up.
    #[error("nothing can be scanned: {0}")]
    Unresolved(Warning),
    /// No port was given, or all were excluded.
    #[error("no port is left to scan; --exclude-ports takes away all that -p names")]
    NoPorts,
    /// More endpoints than a u64 counts.
    #[error(
        "{addresses} addresses x {ports} ports are more than can be counted (2^64 - 1); write smaller blocks"
    )]
    TooLarge {
        /// How many addresses, or `more than 2^127`.
        addresses: String,
        /// How many ports each.
        ports: usize,
    },
    /// A name that has to be known, because it is excluded, is not.
    #[error(
        "the excluded name {name:?} could not be looked up ({error}); give its address, or leave it out"
    )]
    UnknownExclude {
        /// The name.
        name: String,
        /// What the resolver said.
        error: io::Error,
    },
}

/// Something that was left out of a plan, which the user should hear of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A name could not be looked up.
    Unresolved {
        /// The target as it was written.
        target: String,
        /// What the resolver said.
        error: String,
    },
    /// The target has no address of the family that was asked for.
    OtherFamily {
        /// The target as it was written.
        target: String,
    },
}

impl std::fmt::Display for Warning {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Warning::Unresolved { target, error } => write!(
                f,
                "{target:?} could not be looked up and is not scanned ({error})"
            ),
            Warning::OtherFamily { target } => write!(
                f,
                "not scanned, for -4 or -6 asks for the other family: {target}"
            ),
        }
    }
}

/// Looks a host name, or an IPv6 address with a zone, up: all its addresses, the preferred one
/// first. [`engine::resolve`](crate::engine::resolve) asks the system.
pub type Resolver<'a> = dyn FnMut(&str) -> io::Result<Vec<SocketAddr>> + 'a;

/// The names that targets were given by, for the addresses that they led to. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Names(Arc<HashMap<IpAddr, Box<str>>>);

impl Names {
    /// The name that was asked for, where `address` came from one; the first such name.
    pub fn get(&self, address: IpAddr) -> Option<&str> {
        self.0.get(&address).map(AsRef::as_ref)
    }
}

impl FromIterator<(IpAddr, Box<str>)> for Names {
    fn from_iter<I: IntoIterator<Item = (IpAddr, Box<str>)>>(names: I) -> Self {
        Names(Arc::new(names.into_iter().collect()))
    }
}

/// What reports tell of a plan.
#[derive(Clone, Debug)]
pub struct Outline {
    /// Endpoints to be probed.
    pub endpoints: u64,
    /// Addresses among them; one that has two lists of ports counts twice.
    pub addresses: u64,
    /// The longest list of ports.
    pub ports_per_address: usize,
    /// All ports that any address is probed on.
    pub ports: PortSet,
    /// The order of probing.
    pub order: Order,
    /// Which part of the plan this is.
    pub shard: Shard,
    /// The endpoints of all parts.
    pub endpoints_of_all: u64,
    /// The addresses of all parts.
    pub addresses_of_all: u64,
    /// Stands for the whole plan, of which this may be a part: targets, ports and order.
    pub digest: u64,
    /// What was left out, in words.
    pub warnings: Vec<String>,
    /// The names that were asked for.
    pub names: Names,
}

/// Addresses that share a list of ports.
#[derive(Clone, Debug)]
struct Group {
    addresses: AddressSet,
    v4_addresses: u64,
    ports: PortList,
    /// How many addresses and endpoints the groups before this one have, and how many addresses of
    /// this shard's.
    before: u64,
    endpoints_before: u64,
    mine_before: u64,
}

impl Group {
    /// The place among this group's addresses of the one that a shard probes `index`-th.
    fn nth_of(&self, shard: Shard, index: u64) -> u64 {
        let ports = self.ports.len() as u64;
        if ports >= shard.step() {
            // Each shard has some port of each address.
            return index;
        }
        (shard.first(self.endpoints_before) + index * shard.step()) / ports
    }
}

/// Ports in the order in which each of its addresses is probed on them.
#[derive(Clone, Debug)]
struct PortList {
    /// Asked first, everywhere: whoever is there most likely answers on one of these.
    first: Vec<u16>,
    rest: PortSet,
    /// How the rest is shuffled; every address begins at another place.
    order: Option<Permutation>,
}

/// To be raised whenever the order of endpoints changes: a seed then stands for another order, and
/// a shard for other endpoints.
const WALK: u64 = 1;
/// Addresses that [`Plan::len_from`] counts one by one at most: two seconds' work.
const MOST_COUNTED: u64 = 1 << 24;
/// So many of a plan's ports are asked first, the most often open ones first.
const FIRST_PORTS: usize = 8;

impl PortList {
    fn new(ports: PortSet, order: Order) -> Self {
        let Order::Random { seed } = order else {
            return PortList {
                first: Vec::new(),
                rest: ports,
                order: None,
            };
        };
        let first: Vec<u16> = top_ports::TOP_PORTS
            .into_iter()
            .filter(|&port| ports.contains(port))
            .take(FIRST_PORTS)
            .collect();
        let rest = ports.without(&first.iter().copied().collect());
        let order = Some(Permutation::new(rest.len() as u64, seed));
        PortList { first, rest, order }
    }

    fn len(&self) -> usize {
        self.first.len() + self.rest.len()
    }

    fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.first.iter().copied().chain(self.rest.iter())
    }

    fn nth(&self, rank: usize, key: u64) -> u16 {
        if let Some(&port) = self.first.get(rank) {
            return port;
        }
        let rank = (rank - self.first.len()) as u64;
        let rest = self.rest.len() as u64;
        self.rest.nth(
            self.order
                .map_or(rank, |order| order.apply((rank + key % rest) % rest)) as usize,
        )
    }
}

/// An address to be probed, and on how many ports.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The address, with its zone; the port is 0.
    pub address: SocketAddr,
    /// On how many ports it is probed, at least 1.
    pub ports: u32,
    group: u32,
    place: u64,
}

impl Host {
    /// Which of the plan's addresses it is, whatever the order; [`Plan::host_at`] has it back.
    pub fn place(&self) -> u64 {
        self.place
    }
}

/// Every endpoint to be probed, each once, in an order that is computed and not stored.
#[derive(Clone, Debug)]
pub struct Plan {
    groups: Vec<Group>,
    shard: Shard,
    /// Endpoints and addresses of this shard, and of all.
    len: u64,
    addresses: u64,
    len_of_all: u64,
    addresses_of_all: u64,
    order: Order,
    permutation: Permutation,
    names: Names,
    warnings: Vec<Warning>,
}

impl Plan {
    /// Starts a plan.
    ///
    /// ```
    /// use portreeve::plan::{Plan, PortSet, Services, Target};
    /// let plan = Plan::builder()
    ///     .target(Target::parse("127.0.0.0/30")?)
    ///     .exclude(Target::parse("127.0.0.2")?)
    ///     .ports(PortSet::parse("80,443", &Services::built_in())?)
    ///     .build(&mut portreeve::engine::resolve)?;
    /// assert_eq!(plan.len(), 3 * 2);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn builder() -> PlanBuilder {
        PlanBuilder {
            addresses: Pieces::default(),
            targets: Vec::new(),
            excluded: Vec::new(),
            ports: None,
            excluded_ports: PortSet::none(),
            services: Services::built_in(),
            family: Family::Both,
            resolve_all: false,
            order: Order::Random { seed: 0 },
            shard: Shard::WHOLE,
        }
    }

    /// How many endpoints there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether a shard has no endpoint, because there are more shards than endpoints. A whole plan
    /// without any is an error when it is built.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many addresses there are. One that is scanned on two lists of ports (a URL's and the
    /// default's) counts twice.
    pub fn addresses(&self) -> u64 {
        self.addresses
    }

    /// What reports tell of it.
    pub fn outline(&self) -> Outline {
        Outline {
            endpoints: self.len,
            addresses: self.addresses,
            ports_per_address: self
                .groups
                .iter()
                .map(|group| group.ports.len())
                .max()
                .unwrap_or(0),
            ports: self
                .groups
                .iter()
                .flat_map(|group| group.ports.iter())
                .collect(),
            order: self.order,
            shard: self.shard,
            endpoints_of_all: self.len_of_all,
            addresses_of_all: self.addresses_of_all,
            digest: self.digest(),
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
            names: self.names.clone(),
        }
    }

    /// The same for two plans of the same targets, ports and order, whichever shards of it they
    /// are.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.add(WALK);
        match self.order {
            Order::Sequential => digest.add(0),
            Order::Random { seed } => [1, seed].into_iter().for_each(|number| digest.add(number)),
        }
        for group in &self.groups {
            digest.add(group.ports.len() as u64);
            group.ports.iter().for_each(|port| digest.add(port.into()));
            group.addresses.add_to(&mut digest);
        }
        digest.value()
    }

    /// The order endpoints are probed in.
    pub fn order(&self) -> Order {
        self.order
    }

    /// What was left out.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The names that were asked for, by address.
    pub fn names(&self) -> Names {
        self.names.clone()
    }

    /// Whether any endpoint is of the given family.
    pub fn has_family(&self, v6: bool) -> bool {
        self.groups.iter().any(|group| {
            if v6 {
                !group.addresses.v6.is_empty()
            } else {
                !group.addresses.v4.is_empty()
            }
        })
    }

    /// Whether all addresses are loopback ones, this machine's own (RFC 1122 3.2.1.3, RFC 4291
    /// 2.5.3).
    pub fn is_loopback(&self) -> bool {
        self.groups
            .iter()
            .all(|group| group.addresses.is_loopback())
    }

    /// Which part of the whole this is.
    pub fn shard(&self) -> Shard {
        self.shard
    }

    /// The address whose turn comes `index`-th. `index` must be below
    /// [`addresses`](Self::addresses).
    pub fn host(&self, index: u64) -> Host {
        let at = match self.order {
            Order::Random { .. } => self.permutation.apply(index),
            Order::Sequential => index,
        };
        let number = self.groups.partition_point(|group| group.mine_before <= at) - 1;
        let group = &self.groups[number];
        self.host_in(number, group.nth_of(self.shard, at - group.mine_before))
    }

    /// The address at this [place](Host::place), if this shard probes it.
    pub fn host_at(&self, place: u64) -> Option<Host> {
        let number = self.groups.partition_point(|group| group.before <= place) - 1;
        let is_there = place < self.addresses_of_all;
        is_there
            .then(|| self.host_in(number, place - self.groups[number].before))
            .filter(|host| host.ports > 0)
    }

    /// How many endpoints the addresses have whose turn comes `index`-th and later. `None` where
    /// addresses have different numbers of ports, and there are too many of them to count one by
    /// one.
    pub fn len_from(&self, index: u64) -> Option<u64> {
        let later = self.addresses.checked_sub(index)?;
        let ports = self.groups.first().map_or(0, |group| group.ports.len());
        if self.shard.is_whole() && self.groups.iter().all(|group| group.ports.len() == ports) {
            return Some(later * ports as u64);
        }
        let count = |indices: std::ops::Range<u64>| {
            indices
                .map(|index| u64::from(self.host(index).ports))
                .sum::<u64>()
        };
        match later.min(index) {
            MOST_COUNTED.. => None,
            fewest if fewest == later => Some(count(index..self.addresses)),
            _ => Some(self.len - count(0..index)),
        }
    }

    fn host_in(&self, number: usize, nth: u64) -> Host {
        let group = &self.groups[number];
        let address = if nth < group.v4_addresses {
            (Ipv4Addr::from(group.addresses.v4.nth(nth)), 0).into()
        } else {
            let (scope_id, bits) = group.addresses.v6.nth(nth - group.v4_addresses);
            SocketAddrV6::new(Ipv6Addr::from(bits), 0, 0, scope_id).into()
        };
        let ports = group.ports.len() as u64;
        let ports = self
            .shard
            .count(group.endpoints_before + nth * ports, ports) as u32;
        Host {
            address,
            ports,
            group: number as u32,
            place: group.before + nth,
        }
    }

    /// Which of an address's ports a shard probes first, by their rank in the whole plan.
    fn first_rank(&self, host: &Host) -> u64 {
        if self.shard.is_whole() {
            return 0;
        }
        let group = &self.groups[host.group as usize];
        self.shard
            .first(group.endpoints_before + (host.place - group.before) * group.ports.len() as u64)
    }

    /// The endpoint of `host` that is probed `rank`-th. `rank` must be below the host's number of
    /// ports.
    pub fn endpoint(&self, host: &Host, rank: u32) -> SocketAddr {
        let mut endpoint = host.address;
        let rank = self.first_rank(host) + u64::from(rank) * self.shard.step();
        // Every address begins at another place in the shuffled list.
        endpoint.set_port(
            self.groups[host.group as usize]
                .ports
                .nth(rank as usize, mix(host.place)),
        );
        endpoint
    }

    /// How many ports of `host` were chosen to be asked first because they are often open. What is
    /// asked after them is a fair sample of the others.
    pub fn chosen_ports(&self, host: &Host) -> u32 {
        let chosen = self.groups[host.group as usize].ports.first.len() as u64;
        chosen
            .saturating_sub(self.first_rank(host))
            .div_ceil(self.shard.step()) as u32
    }

    /// Every endpoint, one address after the other. (A scan takes many addresses in turn.)
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        (0..self.addresses).flat_map(move |index| {
            let host = self.host(index);
            (0..host.ports).map(move |rank| self.endpoint(&host, rank))
        })
    }
}

/// Collects what a plan is made of.
#[derive(Clone, Debug)]
pub struct PlanBuilder {
    /// Targets that are plain addresses and blocks: there may be millions in a file.
    addresses: Pieces,
    /// The others.
    targets: Vec<Target>,
    excluded: Vec<Target>,
    ports: Option<PortSet>,
    excluded_ports: PortSet,
    services: Services,
    family: Family,
    resolve_all: bool,
    order: Order,
    shard: Shard,
}

impl PlanBuilder {
    /// Adds a target. One named twice is scanned once.
    pub fn target(mut self, target: Target) -> Self {
        match target {
            Target::V4Block { address, prefix } => {
                self.addresses.add_block(address.into(), prefix, 0)
            }
            Target::V6Block {
                address,
                prefix,
                zone: None,
            } => self.addresses.add_block(address.into(), prefix, 0),
            other => self.targets.push(other),
        }
        self
    }

    /// Adds many targets.
    pub fn targets(self, targets: impl IntoIterator<Item = Target>) -> Self {
        targets.into_iter().fold(self, Self::target)
    }

    /// Leaves a target's addresses out; all the addresses, where it is a name.
    pub fn exclude(mut self, target: Target) -> Self {
        self.excluded.push(target);
        self
    }

    /// The ports to probe on every address. Without this: the 1,000 top ports, and for a URL its
    /// own.
    pub fn ports(mut self, ports: PortSet) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Ports to leave out everywhere.
    pub fn exclude_ports(mut self, ports: PortSet) -> Self {
        self.excluded_ports = ports;
        self
    }

    /// The names of services, for the port of a URL that has none.
    pub fn services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// Only addresses of this family.
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// All addresses of a name, not only the first.
    pub fn resolve_all(mut self, all: bool) -> Self {
        self.resolve_all = all;
        self
    }

    /// The order of probing; without this, random with seed 0.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Only this part of the plan. Parts belong together if everything else is the same, the
    /// order's seed included.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = shard;
        self
    }

    /// Makes the plan, looking names up with `resolve`.
    ///
    /// # Errors
    /// [`PlanError`]: no targets or ports, nothing left of them, or more endpoints than a u64
    /// counts. A target name that is not known is a [warning](Plan::warnings), unless nothing else
    /// is left.
    pub fn build(mut self, resolve: &mut Resolver) -> Result<Plan, PlanError> {
        if self.targets.is_empty() && self.addresses.is_empty() {
            return Err(PlanError::NoTargets);
        }
        let ports = match &self.ports {
            Some(ports) => ports.without(&self.excluded_ports),
            None => PortSet::top(1000, &self.excluded_ports).unwrap_or_else(|_| PortSet::none()),
        };
        let mut collector = Collector {
            family: self.family,
            all: self.resolve_all,
            resolve,
            names: HashMap::new(),
            warnings: Vec::new(),
        };

        let mut main = collector.of_family(std::mem::take(&mut self.addresses));
        let mut by_url_port: HashMap<u16, Pieces> = HashMap::new();
        for target in &self.targets {
            let url_port = if self.ports.is_none() {
                self.url_port(target)
            } else {
                None
            };
            match url_port {
                Some(port) => collector.add(target, by_url_port.entry(port).or_default())?,
                None => collector.add(target, &mut main)?,
            }
        }
        let (names, warnings) = (
            Names(Arc::new(std::mem::take(&mut collector.names))),
            std::mem::take(&mut collector.warnings),
        );

        let mut excluded = Pieces::default();
        (collector.family, collector.all) = (Family::Both, true);
        for target in &self.excluded {
            collector.add(target, &mut excluded)?;
            if let Some(Warning::Unresolved { target, error }) = collector.warnings.pop() {
                return Err(PlanError::UnknownExclude {
                    name: target,
                    error: io::Error::other(error),
                });
            }
        }
        let excluded = excluded.merged();

        let main = main.merged();
        let mut url_ports: Vec<_> = by_url_port.into_iter().collect();
        url_ports.sort_unstable_by_key(|&(port, _)| port);
        let mut pairs = Vec::with_capacity(url_ports.len() + 1);
        pairs.extend(
            url_ports
                .into_iter()
                .filter(|&(port, _)| !self.excluded_ports.contains(port))
                .map(|(port, pieces)| {
                    let addresses = pieces.merged();
                    // What the main list probes on this port already is not probed twice.
                    (
                        if ports.contains(port) {
                            addresses.without(&main)
                        } else {
                            addresses
                        },
                        PortSet::from_iter([port]),
                    )
                }),
        );
        pairs.push((main, ports));
        if pairs.iter().all(|(_, ports)| ports.is_empty()) {
            return Err(PlanError::NoPorts);
        }

        let mut groups: Vec<Group> = Vec::new();
        let (mut len_of_all, mut addresses_of_all, mut addresses) = (0u64, 0u64, 0u64);
        for (set, ports) in pairs {
            let mut set = set.without(&excluded);
            let count = set.count();
            if count == 0 || ports.is_empty() {
                continue;
            }
            let endpoints = count
                .checked_mul(ports.len() as u128)
                .and_then(|n| u64::try_from(n).ok());
            let Some(after) = endpoints.and_then(|n| len_of_all.checked_add(n)) else {
                let addresses = if count > u128::MAX / 2 {
                    "more than 2^127".into()
                } else {
                    count.to_string()
                };
                return Err(PlanError::TooLarge {
                    addresses,
                    ports: ports.len(),
                });
            };
            set.v4.index();
            set.v6.index();
            groups.push(Group {
                v4_addresses: set.v4.count() as u64,
                addresses: set,
                ports: PortList::new(ports, self.order),
                before: addresses_of_all,
                endpoints_before: len_of_all,
                mine_before: addresses,
            });
            let ports = (after - len_of_all) / count as u64;
            let mine = self.shard.count(len_of_all, after - len_of_all);
            addresses += if ports >= self.shard.step() {
                count as u64
            } else {
                mine
            };
            len_of_all = after;
            addresses_of_all += count as u64;
        }
        if groups.is_empty() {
            let unresolved = warnings
                .iter()
                .find(|warning| matches!(warning, Warning::Unresolved { .. }));
            return Err(match (unresolved, warnings.first()) {
                (Some(warning), _) => PlanError::Unresolved(warning.clone()),
                (None, Some(warning)) => PlanError::NothingLeft {
                    why: warning.to_string(),
                },
                (None, None) => PlanError::NothingLeft {
                    why: "--exclude takes every target away".into(),
                },
            });
        }
        let seed = if let Order::Random { seed } = self.order {
            seed
        } else {
            0
        };
        Ok(Plan {
            groups,
            shard: self.shard,
            len: self.shard.share(len_of_all),
            addresses,
            len_of_all,
            addresses_of_all,
            order: self.order,
            permutation: Permutation::new(addresses, seed),
            names,
            warnings,
        })
    }

    fn url_port(&self, target: &Target) -> Option<u16> {
        let Target::Url { scheme, port, .. } = target else {
            return None;
        };
        port.or_else(|| self.services.matching(scheme).next())
    }
}

/// Turns targets into address pieces, noting names and what was left out.
struct Collector<'a, 'r> {
    family: Family,
    all: bool,
    resolve: &'a mut Resolver<'r>,
    names: HashMap<IpAddr, Box<str>>,
    warnings: Vec<Warning>,
}

impl Collector<'_, '_> {
    /// The addresses of the families asked for; says so if there were others.
    fn of_family(&mut self, mut addresses: Pieces) -> Pieces {
        let unwanted = match self.family {
            Family::Both => 0,
            Family::V4 => addresses.drop_v6(),
            Family::V6 => addresses.drop_v4(),
        };
        if unwanted > 0 {
            let other = if self.family == Family::V4 {
                "IPv6"
            } else {
                "IPv4"
            };
            self.warnings.push(Warning::OtherFamily {
                target: format!("the {other} addresses"),
            });
        }
        addresses
    }

    fn add(&mut self, target: &Target, pieces: &mut Pieces) -> Result<(), PlanError> {
        let added = match target {
            Target::V4Block { address, prefix } => {
                self.add_block((*address).into(), *prefix, 0, pieces)
            }
            Target::V4Octets(octets) if self.family.takes(Ipv4Addr::UNSPECIFIED.into()) => {
                pieces.add_v4_ranges(
                    octet_ranges(octets)
                        .ok_or_else(|| TargetError::TooScattered(target.to_string()))?,
                );
                true
            }
            Target::V4Octets(_) => false,
            Target::V6Block {
                address,
                prefix,
                zone: None,
            } => self.add_block((*address).into(), *prefix, 0, pieces),
            Target::V6Block {
                address,
                prefix,
                zone: Some(zone),
            } => {
                return self.add_looked_up(
                    target,
                    &format!("{address}%{zone}"),
                    Some(*prefix),
                    None,
                    pieces,
                );
            }
            Target::Name { name, prefix } => {
                return self.add_looked_up(target, name, *prefix, Some(name), pieces);
            }
            Target::Url { host, .. } => return self.add(host, pieces),
        };
        if !added {
            self.warnings.push(Warning::OtherFamily {
                target: target.to_string(),
            });
        }
        Ok(())
    }

    fn add_block(
        &mut self,
        address: IpAddr,
        prefix: u8,
        scope_id: u32,
        pieces: &mut Pieces,
    ) -> bool {
        let takes = self.family.takes(address);
        if takes {
            pieces.add_block(address, prefix, scope_id);
        }
        takes
    }

    fn add_looked_up(
        &mut self,
        target: &Target,
        text: &str,
        prefix: Option<u8>,
        name: Option<&str>,
        pieces: &mut Pieces,
    ) -> Result<(), PlanError> {
        let found = match (self.resolve)(text) {
            Ok(found) => found,
            Err(error) => {
                self.warnings.push(Warning::Unresolved {
                    target: target.to_string(),
                    error: error.to_string(),
                });
                return Ok(());
            }
        };
        let mut added = 0;
        for address in found
            .into_iter()
            .filter(|found| self.family.takes(found.ip().to_canonical()))
        {
            let scope_id = if let SocketAddr::V6(v6) = address {
                v6.scope_id()
            } else {
                0
            };
            let ip = address.ip().to_canonical();
            let longest = if ip.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.unwrap_or(longest);
            if prefix > longest {
                return Err(TargetError::Prefix {
                    text: target.to_string(),
                    prefix: prefix.to_string(),
                    family: "IPv4",
                    longest,
                }
                .into());
            }
            pieces.add_block(ip, prefix, scope_id);
            if let Some(name) = name {
                self.names.entry(ip).or_insert_with(|| name.into());
            }
            added += 1;
            if !self.all {
                break;
            }
        }
        if added == 0 {
            self.warnings.push(Warning::OtherFamily {
                target: target.to_string(),
            });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn no_names(name: &str) -> io::Result<Vec<SocketAddr>> {
        match name {
            "two.test" => Ok(vec![
                "[::1]:0".parse().unwrap(),
                "127.0.0.9:0".parse().unwrap(),
            ]),
            "fe80::1%7" => Ok(vec![
                SocketAddrV6::new("fe80::1".parse().unwrap(), 0, 0, 7).into(),
            ]),
            _ => Err(io::Error::other("no such name")),
        }
    }

    fn targets(list: &str) -> PlanBuilder {
        Plan::builder().targets(list.split(' ').map(|text| Target::parse(text).unwrap()))
    }

    fn ports(list: &str) -> PortSet {
        PortSet::parse(list, &Services::built_in()).unwrap()
    }

    fn endpoints(builder: PlanBuilder) -> Vec<String> {
        let plan = builder
            .order(Order::Sequential)
            .build(&mut no_names)
            .unwrap();
        plan.endpoints()
            .map(|endpoint| endpoint.to_string())
            .collect()
    }

    #[test]
    fn loopback_is_known_when_it_is_all_there_is() {
        for (targets, is_loopback) in [
            (&["127.0.0.0/30", "127.255.0.1", "::1"][..], true),
            (&["127.0.0.1", "192.0.2.1"], false),
            (&["126.255.255.255"], false),
            (&["::1", "::2"], false),
        ] {
            let targets: Vec<Target> = targets
                .iter()
                .map(|text| Target::parse(text).unwrap())
                .collect();
            let plan = Plan::builder()
                .targets(targets.clone())
                .build(&mut |_| Ok(Vec::new()))
                .unwrap();
            assert_eq!(plan.is_loopback(), is_loopback, "{targets:?}");
        }
    }

    #[test]
    fn each_endpoint_comes_once_in_either_order() {
        let builder =
            targets("127.0.0.1 127.0.0.0/30 ::1 127.0.0.1-2 ::/127").ports(ports("1-10,20"));
        let in_order = endpoints(builder.clone());
        let plan = builder
            .order(Order::Random { seed: 9 })
            .build(&mut no_names)
            .unwrap();
        let random: Vec<_> = plan
            .endpoints()
            .map(|endpoint| endpoint.to_string())
            .collect();
        assert_eq!(in_order.len(), (4 + 2) * 11);
        assert_ne!(in_order, random);
        let set: BTreeSet<_> = random.iter().collect();
        assert_eq!(set, in_order.iter().collect());
    }

    #[test]
    fn a_url_brings_its_port_unless_ports_are_given() {
        assert_eq!(
            endpoints(targets("http://127.0.0.1:8081/x")),
            ["127.0.0.1:8081"]
        );
        assert_eq!(endpoints(targets("https://127.0.0.1/")), ["127.0.0.1:443"]);
        assert_eq!(
            endpoints(targets("https://127.0.0.1/").ports(ports("22"))),
            ["127.0.0.1:22"]
        );
        let mixed = endpoints(targets("http://127.0.0.1:80 http://127.0.0.1:5 127.0.0.1"));
        assert_eq!(
            mixed.len(),
            1_001,
            "port 80 is among the top 1,000 already, port 5 is not"
        );
    }

    #[test]
    fn names_families_zones_and_excludes() {
        let one = ports("1");
        assert_eq!(
            endpoints(targets("two.test").ports(one.clone())),
            ["[::1]:1"]
        );
        assert_eq!(
            endpoints(targets("two.test").ports(one.clone()).family(Family::V4)),
            ["127.0.0.9:1"]
        );
        assert_eq!(
            endpoints(targets("two.test").ports(one.clone()).resolve_all(true)),
            ["127.0.0.9:1", "[::1]:1"]
        );
        assert_eq!(
            endpoints(targets("two.test/31").ports(one.clone()).family(Family::V4)),
            ["127.0.0.8:1", "127.0.0.9:1"]
        );
        assert_eq!(
            endpoints(targets("fe80::1%7").ports(one.clone())),
            ["[fe80::1%7]:1"]
        );
        let excluded = targets("127.0.0.8/31 ::1")
            .ports(one)
            .exclude(Target::parse("two.test").unwrap());
        assert_eq!(endpoints(excluded), ["127.0.0.8:1"]);
        let plan = targets("two.test nope.test").build(&mut no_names).unwrap();
        assert_eq!(plan.names().get("::1".parse().unwrap()), Some("two.test"));
        assert_eq!(plan.warnings().len(), 1);
    }

    #[test]
    fn shards_share_a_plan_evenly() {
        let builders = [
            targets("127.0.0.0/29 ::1 http://127.0.0.9:5 http://127.0.0.1:5").ports(ports("1-10")),
            targets("127.0.0.0/24 http://127.0.1.0:5 https://127.0.2.0/")
                .exclude_ports(ports("100-65535")),
            targets("127.0.0.0/24").ports(ports("80")),
            targets("127.0.0.1").ports(ports("1-100")),
        ];
        for (builder, of) in builders
            .iter()
            .flat_map(|builder| [1, 2, 3, 7, 16, 1_000].map(|of| (builder, of)))
        {
            for order in [Order::Sequential, Order::Random { seed: 5 }] {
                let builder = builder.clone().order(order);
                let whole = builder.clone().build(&mut no_names).unwrap();
                let mut all = Vec::new();
                for number in 1..=of {
                    let shard = Shard::new(number, of).unwrap();
                    let plan = builder.clone().shard(shard).build(&mut no_names).unwrap();
                    let mine: Vec<_> = plan.endpoints().collect();
                    assert_eq!(
                        (mine.len() as u64, plan.digest()),
                        (plan.len(), whole.digest()),
                        "{shard}"
                    );
                    assert!(
                        (whole.len() / u64::from(of)..=whole.len().div_ceil(of.into()))
                            .contains(&plan.len()),
                        "{shard}"
                    );
                    for index in 0..plan.addresses() {
                        let host = plan.host(index);
                        let again = plan.host_at(host.place()).expect("a place of its own");
                        assert!(
                            host.ports > 0 && plan.chosen_ports(&host) <= host.ports,
                            "{shard}"
                        );
                        assert_eq!(
                            plan.endpoint(&again, host.ports - 1),
                            plan.endpoint(&host, host.ports - 1)
                        );
                    }
                    all.extend(mine);
                }
                let set: BTreeSet<_> = all.iter().copied().collect();
                assert_eq!(
                    (all.len() as u64, set),
                    (whole.len(), whole.endpoints().collect()),
                    "{of} shards"
                );
            }
        }
    }

    #[test]
    fn what_is_left_of_a_plan_is_counted_from_either_end() {
        for list in [
            "192.0.2.0/28",
            "192.0.2.0/28 http://192.0.2.9:8080 https://192.0.2.200",
        ] {
            for number in 1..=5 {
                let plan = targets(list)
                    .ports(ports("1-7"))
                    .shard(Shard::new(number, 5).unwrap())
                    .build(&mut no_names)
                    .unwrap();
                for index in 0..=plan.addresses() {
                    let left: u64 = (index..plan.addresses())
                        .map(|index| u64::from(plan.host(index).ports))
                        .sum();
                    assert_eq!(
                        plan.len_from(index),
                        Some(left),
                        "{list}, shard {number}, from {index}"
                    );
                }
                assert_eq!(plan.len_from(plan.addresses() + 1), None);
            }
        }
        let whole = targets("0.0.0.0/0")
            .ports(ports("1-1000"))
            .build(&mut no_names)
            .unwrap();
        assert_eq!(whole.len_from(1), Some(whole.len() - 1_000));
    }

    #[test]
    fn a_digest_stands_for_one_plan() {
        let of = |builder: PlanBuilder| builder.build(&mut no_names).unwrap().digest();
        let plain = || targets("127.0.0.0/30 ::1").ports(ports("1-10"));
        // Shards and checkpoints of another release must not be taken for ours: whoever changes
        // this raises WALK.
        assert_eq!(
            of(plain()),
            948_642_876_912_020_010,
            "the order of endpoints or the digest itself has changed"
        );
        assert_eq!(
            of(plain()),
            of(targets("127.0.0.0-3 ::1/128").ports(ports("1-5,6-10")))
        );
        let others = [
            targets("127.0.0.0/30").ports(ports("1-10")),
            targets("127.0.0.0/30 ::1").ports(ports("1-11")),
            plain().order(Order::Random { seed: 1 }),
            plain().order(Order::Sequential),
        ];
        let digests: BTreeSet<u64> = others.into_iter().map(of).chain([of(plain())]).collect();
        assert_eq!(digests.len(), 5);
        let walk: Vec<u16> = plain()
            .build(&mut no_names)
            .unwrap()
            .endpoints()
            .take(12)
            .map(|endpoint| endpoint.port())
            .collect();
        assert_eq!(
            walk,
            [7, 9, 1, 3, 6, 4, 5, 2, 8, 10, 7, 9],
            "the order of endpoints has changed: raise WALK"
        );
    }

    fn refuses(builder: PlanBuilder, part: &str) {
        let error = builder.build(&mut no_names).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn an_exclude_without_a_zone_holds_in_every_zone() {
        let excluded = |text: &str| {
            let builder = targets("fe80::1%7 ::1")
                .ports(ports("1"))
                .exclude(Target::parse(text).unwrap());
            endpoints(builder)
        };
        assert_eq!(excluded("fe80::/10"), ["[::1]:1"]);
        assert_eq!(excluded("fe80::1"), ["[::1]:1"]);
        assert_eq!(excluded("::1"), ["[fe80::1%7]:1"]);
    }

    #[test]
    fn ipv4_in_ipv6_clothes_is_not_ipv6() {
        let plan = targets("::ffff:0:0/95")
            .ports(ports("1"))
            .build(&mut no_names)
            .unwrap();
        assert_eq!(plan.len(), 1 << 32, "::fffe:0:0/96 is left");
        assert_eq!(
            endpoints(targets("::ffff:127.0.0.1/128 127.0.0.1").ports(ports("1"))),
            ["127.0.0.1:1"]
        );
    }

    #[test]
    fn what_cannot_be_planned_is_said() {
        refuses(Plan::builder(), "no target");
        refuses(
            targets("127.0.0.1").exclude(Target::parse("127.0.0.0/8").unwrap()),
            "--exclude takes every target",
        );
        refuses(targets("nope.test"), "could not be looked up");
        refuses(
            targets("::1").family(Family::V4),
            "asks for the other family",
        );
        refuses(
            targets("127.0.0.1").exclude(Target::parse("nope.test").unwrap()),
            "excluded name \"nope.test\"",
        );
        refuses(
            targets("127.0.0.1")
                .ports(ports("1-9"))
                .exclude_ports(ports("-")),
            "no port is left",
        );
        refuses(targets("::/0"), "more than 2^127 addresses");
        refuses(
            targets("2001:db8::/64"),
            "18446744073709551616 addresses x 1000 ports",
        );
        refuses(targets("0-255.0-255.0-255.1"), "separate ranges");
        refuses(targets("two.test/64").family(Family::V4), "/64");
    }

    #[test]
    fn a_large_plan_is_small() {
        let plan = targets("10.0.0.0/8 2001:db8::/100")
            .ports(ports("-"))
            .build(&mut no_names)
            .unwrap();
        assert_eq!(plan.len(), ((1 << 24) + (1 << 28)) * 65_535);
        assert_eq!(plan.groups[0].addresses.v4.count(), 1 << 24);
        plan.endpoint(&plan.host(plan.addresses() - 1), 65_534);
    }
}
