//! A plan: every endpoint once, in an order that is computed and not stored. It knows sets of
//! addresses and ports, nothing of how they were named.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use super::groups::{Group, Groups};
use super::permute::mix;
use super::{Digest, Names, Outline, Permutation, PlanBuilder, Shard, Warning};

/// The order in which endpoints are probed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// Addresses shuffled; the ports of each shuffled, too, behind a few that are often open. The
    /// same seed gives the same order.
    Random {
        /// Selects the order.
        seed: u64,
    },
    /// Addresses ascending, and the ports of each ascending.
    Sequential,
}

/// An address to be probed, and the number of its ports.
#[derive(Clone, Copy, Debug)]
pub struct Host {
    /// The address, with its zone; the port is 0.
    pub address: SocketAddr,
    /// How many of its ports are probed, at least 1.
    pub ports: u32,
    group: u32,
    place: u64,
}

impl Host {
    /// The address's number in the plan, whatever the order. [`Plan::host_at`] is the inverse.
    pub fn place(&self) -> u64 {
        self.place
    }
}

/// Every endpoint to be probed, each once, in an order that is computed and not stored.
#[derive(Clone, Debug)]
pub struct Plan {
    groups: Vec<Group>,
    shard: Shard,
    /// Endpoints of this shard.
    len: u64,
    /// Addresses of this shard.
    addresses: u64,
    /// Endpoints of all shards.
    len_of_all: u64,
    /// Addresses of all shards.
    addresses_of_all: u64,
    order: Order,
    permutation: Permutation,
    names: Names,
    warnings: Vec<Warning>,
}

/// The version of the order of endpoints. Raise it whenever that order changes, because seeds and
/// shards then stand for other endpoints.
const WALK: u64 = 1;

/// The most addresses that [`Plan::len_from`] counts one by one: two seconds of work.
const MOST_COUNTED: u64 = 1 << 24;

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
        PlanBuilder::new()
    }

    pub(super) fn new(
        groups: Groups,
        order: Order,
        shard: Shard,
        names: Names,
        warnings: Vec<Warning>,
    ) -> Self {
        let seed = match order {
            Order::Random { seed } => seed,
            Order::Sequential => 0,
        };
        Plan {
            shard,
            len: shard.share(groups.endpoints),
            addresses: groups.mine,
            len_of_all: groups.endpoints,
            addresses_of_all: groups.addresses,
            order,
            permutation: Permutation::new(groups.mine, seed),
            groups: groups.list,
            names,
            warnings,
        }
    }

    /// How many endpoints there are.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is no endpoint. Only a shard can be empty, where there are more shards than
    /// endpoints; an empty whole plan is an error when it is built.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many addresses there are.
    pub fn addresses(&self) -> u64 {
        self.addresses
    }

    /// What reports say of it.
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
            targets_digest: Some(self.targets_digest()),
            warnings: self.warnings.iter().map(ToString::to_string).collect(),
            names: self.names.clone(),
        }
    }

    /// Identifies the whole plan: equal for plans of the same targets, ports and order, whatever
    /// their shards.
    pub fn digest(&self) -> u64 {
        let mut digest = Digest::default();
        digest.add(WALK);
        match self.order {
            Order::Sequential => digest.add(0),
            Order::Random { seed } => {
                digest.add(1);
                digest.add(seed);
            }
        }
        for group in &self.groups {
            digest.add(group.ports.len() as u64);
            group.ports.iter().for_each(|port| digest.add(port.into()));
            group.addresses.add_to(&mut digest);
        }
        digest.value()
    }

    /// Identifies the addresses: equal for plans of the same targets, whatever their order, their
    /// shards and the ports that all addresses share. Ports that targets bring of their own count.
    pub fn targets_digest(&self) -> u64 {
        let mut digest = Digest::default();
        let bring_ports = self.groups.len() > 1;
        for group in &self.groups {
            if bring_ports {
                digest.add(group.ports.len() as u64);
                group.ports.iter().for_each(|port| digest.add(port.into()));
            }
            group.addresses.add_to(&mut digest);
        }
        digest.value()
    }

    /// The order in which endpoints are probed.
    pub fn order(&self) -> Order {
        self.order
    }

    /// What was left out.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The names that targets were given by, for their addresses.
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

    /// The `index`-th address in the order of probing. `index` must be below
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

    /// How many endpoints the `index`-th address and all later ones have. `None` where addresses
    /// have different numbers of ports and are too many to count one by one.
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

    /// The rank in the whole plan of the first port of an address that this shard probes.
    fn first_rank(&self, host: &Host) -> u64 {
        if self.shard.is_whole() {
            return 0;
        }
        let group = &self.groups[host.group as usize];
        self.shard
            .first(group.endpoints_before + (host.place - group.before) * group.ports.len() as u64)
    }

    /// The `rank`-th endpoint of `host` in the order of probing. `rank` must be below the host's
    /// number of ports.
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

    /// How many ports of `host` come first because they are often open. The ports after them are a
    /// fair sample of the rest.
    pub fn chosen_ports(&self, host: &Host) -> u32 {
        let chosen = self.groups[host.group as usize].ports.first.len() as u64;
        chosen
            .saturating_sub(self.first_rank(host))
            .div_ceil(self.shard.step()) as u32
    }

    /// Every endpoint, one address after the other. (A scan interleaves many addresses.)
    pub fn endpoints(&self) -> impl Iterator<Item = SocketAddr> + '_ {
        (0..self.addresses).flat_map(move |index| {
            let host = self.host(index);
            (0..host.ports).map(move |rank| self.endpoint(&host, rank))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::plan::Target;
    use crate::plan::fixture::{endpoints, no_names, ports, targets};

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

    #[test]
    fn the_digest_of_targets_knows_neither_order_nor_common_ports() {
        let of = |builder: PlanBuilder| builder.build(&mut no_names).unwrap().targets_digest();
        let plain = || targets("127.0.0.0/30 ::1").ports(ports("1-10"));
        assert_eq!(of(plain()), of(plain().order(Order::Random { seed: 1 })));
        assert_eq!(of(plain()), of(plain().ports(ports("80"))));
        assert_eq!(of(plain()), of(plain().shard(Shard::new(1, 5).unwrap())));
        let own = |list: &str| of(targets(list).ports(ports("80")));
        let others = [
            of(plain()),
            of(targets("127.0.0.0/30").ports(ports("1-10"))),
            own("127.0.0.0/30 [::1]:22"),
            own("127.0.0.0/30 [::1]:23"),
        ];
        assert_eq!(BTreeSet::from(others).len(), 4);
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
