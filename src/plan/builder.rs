//! From targets and ports to a plan: which addresses are probed on which ports. It looks names up
//! only through the function it is given.

use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::net::IpAddr;

use super::addresses::{AddressSet, Pieces};
use super::collector::{Collector, Resolver};
use super::groups::Groups;
use super::{Order, Plan, PlanError, PortSet, Services, Shard, Target, Warning};

/// Which address families are scanned.
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
    pub(super) fn takes(self, address: IpAddr) -> bool {
        match self {
            Family::Both => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        }
    }
}

impl fmt::Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Family::Both => "IPv4 and IPv6",
            Family::V4 => "IPv4",
            Family::V6 => "IPv6",
        })
    }
}

/// Collects what a plan is made of.
#[derive(Clone, Debug)]
pub struct PlanBuilder {
    /// Targets that are plain addresses and blocks: a file may hold millions.
    addresses: Pieces,
    /// The other targets.
    targets: Vec<Target>,
    excluded: Vec<Target>,
    warnings: Vec<Warning>,
    ports: Option<PortSet>,
    excluded_ports: PortSet,
    services: Services,
    family: Family,
    resolve_all: bool,
    order: Order,
    shard: Shard,
}

/// How many of the top ports are probed where no ports are given.
const TOP_PORTS: usize = 1_000;

impl PlanBuilder {
    pub(super) fn new() -> Self {
        PlanBuilder {
            addresses: Pieces::default(),
            targets: Vec::new(),
            excluded: Vec::new(),
            warnings: Vec::new(),
            ports: None,
            excluded_ports: PortSet::none(),
            services: Services::built_in(),
            family: Family::Both,
            resolve_all: false,
            order: Order::Random { seed: 0 },
            shard: Shard::WHOLE,
        }
    }

    /// Adds a target. An address named twice is scanned once.
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

    /// Excludes a target's addresses: all of them, where it is a name.
    pub fn exclude(mut self, target: Target) -> Self {
        self.excluded.push(target);
        self
    }

    /// Notes that this many targets were not understood, and what was wrong with the first.
    pub fn skipped(mut self, count: u64, first: &str) -> Self {
        let first = first.into();
        self.warnings.push(Warning::NotUnderstood { count, first });
        self
    }

    /// The ports to probe on every address. The default is the 1,000 top ports, and for a URL its
    /// own port.
    pub fn ports(mut self, ports: PortSet) -> Self {
        self.ports = Some(ports);
        self
    }

    /// Ports to exclude on every address.
    pub fn exclude_ports(mut self, ports: PortSet) -> Self {
        self.excluded_ports = ports;
        self
    }

    /// The names of services, which give a URL without a port its port.
    pub fn services(mut self, services: Services) -> Self {
        self.services = services;
        self
    }

    /// Scans only addresses of this family.
    pub fn family(mut self, family: Family) -> Self {
        self.family = family;
        self
    }

    /// Scans all addresses of a name, not only the first.
    pub fn resolve_all(mut self, all: bool) -> Self {
        self.resolve_all = all;
        self
    }

    /// The order of probing. The default is random with seed 0.
    pub fn order(mut self, order: Order) -> Self {
        self.order = order;
        self
    }

    /// Scans only this part of the plan. Parts belong together if everything else is the same,
    /// including the order's seed.
    pub fn shard(mut self, shard: Shard) -> Self {
        self.shard = shard;
        self
    }

    /// Builds the plan, looking names up with `resolve`.
    ///
    /// # Errors
    /// [`PlanError`]: no targets or ports, nothing left of them, or more endpoints than a u64
    /// counts. An unknown target name is a [warning](Plan::warnings), unless nothing else is left.
    pub fn build(mut self, resolve: &mut Resolver) -> Result<Plan, PlanError> {
        if self.targets.is_empty() && self.addresses.is_empty() && self.warnings.is_empty() {
            return Err(PlanError::NoTargets);
        }
        let mut included = Collector::new(resolve, self.family, self.resolve_all);
        let (main, by_url_port) = self.included(&mut included)?;
        let Collector {
            names,
            warnings: left_out,
            ..
        } = included;
        let warnings = [std::mem::take(&mut self.warnings), left_out].concat();
        let excluded = self.excluded(resolve)?;
        let lists = self.lists(main, by_url_port);
        if lists.iter().all(|(_, ports)| ports.is_empty()) {
            return Err(PlanError::NoPorts);
        }
        let mut groups = Groups::default();
        for (addresses, ports) in lists {
            groups.add(addresses.without(&excluded), ports, self.order, self.shard)?;
        }
        if groups.list.is_empty() {
            return Err(nothing_left(warnings));
        }
        Ok(Plan::new(
            groups,
            self.order,
            self.shard,
            names.into_iter().collect(),
            warnings,
        ))
    }

    /// The targets' addresses: those to be probed on the main list of ports, and those of URLs by
    /// the port that each URL implies.
    fn included(
        &mut self,
        collector: &mut Collector,
    ) -> Result<(Pieces, BTreeMap<u16, Pieces>), PlanError> {
        let mut main = collector.of_family(std::mem::take(&mut self.addresses));
        let mut by_url_port: BTreeMap<u16, Pieces> = BTreeMap::new();
        for target in &self.targets {
            match self.url_port(target) {
                Some(port) => collector.add(target, by_url_port.entry(port).or_default())?,
                None => collector.add(target, &mut main)?,
            }
        }
        Ok((main, by_url_port))
    }

    /// The port that a URL implies, unless ports are given.
    fn url_port(&self, target: &Target) -> Option<u16> {
        let (None, Target::Url { scheme, port, .. }) = (&self.ports, target) else {
            return None;
        };
        port.or_else(|| self.services.matching(scheme).next())
    }

    fn excluded(&self, resolve: &mut Resolver) -> Result<AddressSet, PlanError> {
        let mut collector = Collector::new(resolve, Family::Both, true);
        let mut excluded = Pieces::default();
        for target in &self.excluded {
            collector.add(target, &mut excluded)?;
            // An address that is not known cannot be excluded.
            if let Some(Warning::Unresolved { target, error }) = collector.warnings.pop() {
                return Err(PlanError::UnknownExclude {
                    name: target,
                    error: io::Error::other(error),
                });
            }
        }
        Ok(excluded.merged())
    }

    /// The addresses with their ports, URLs first. No address is probed twice on a port.
    fn lists(
        &self,
        main: Pieces,
        by_url_port: BTreeMap<u16, Pieces>,
    ) -> Vec<(AddressSet, PortSet)> {
        let ports = match &self.ports {
            Some(ports) => ports.without(&self.excluded_ports),
            None => {
                PortSet::top(TOP_PORTS, &self.excluded_ports).unwrap_or_else(|_| PortSet::none())
            }
        };
        let main = main.merged();
        let mut lists = Vec::with_capacity(by_url_port.len() + 1);
        for (port, pieces) in by_url_port {
            if self.excluded_ports.contains(port) {
                continue;
            }
            let mut addresses = pieces.merged();
            if ports.contains(port) {
                addresses = addresses.without(&main);
            }
            lists.push((addresses, PortSet::from_iter([port])));
        }
        lists.push((main, ports));
        lists
    }
}

/// Why no address is left.
fn nothing_left(warnings: Vec<Warning>) -> PlanError {
    let mut first = None;
    for warning in warnings {
        if matches!(warning, Warning::Unresolved { .. }) {
            return PlanError::Unresolved(warning);
        }
        first.get_or_insert(warning);
    }
    first.map_or(PlanError::AllExcluded, PlanError::NothingLeft)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::fixture::{endpoints, no_names, ports, targets};

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

    fn refuses(builder: PlanBuilder, part: &str) {
        let error = builder.build(&mut no_names).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    }

    #[test]
    fn what_cannot_be_planned_is_said() {
        refuses(Plan::builder(), "no target");
        refuses(
            targets("127.0.0.1").exclude(Target::parse("127.0.0.0/8").unwrap()),
            "every target is excluded",
        );
        refuses(targets("nope.test"), "could not be looked up");
        refuses(targets("::1").family(Family::V4), "only IPv4 was asked for");
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
}
