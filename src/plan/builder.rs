//! From targets and ports to a plan: which addresses are probed on which ports. It looks names up
//! only through the function it is given.

use std::collections::HashSet;
use std::fmt;
use std::io;
use std::net::IpAddr;

use super::addresses::{AddressSet, Pieces};
use super::collector::{Collector, Resolver};
use super::groups::Groups;
use super::own_ports::OwnPorts;
use super::shared_ports::SharedPorts;
use super::{FoundName, Names, Order, Plan, PlanError, PortSet, Services, Shard, Target, Warning};

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
    /// Targets that are plain addresses, blocks and ranges: a file may hold millions.
    addresses: Pieces,
    /// The same with ports of their own: a list of open ports may hold as many.
    with_ports: OwnPorts,
    /// The other targets.
    targets: Vec<Target>,
    excluded: Vec<Target>,
    /// Exclusions that are plain, too.
    excluded_addresses: Pieces,
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
            with_ports: OwnPorts::default(),
            targets: Vec::new(),
            excluded: Vec::new(),
            excluded_addresses: Pieces::default(),
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

    /// Adds a target. An address named twice is scanned once, on all ports that were named.
    pub fn target(mut self, target: Target) -> Self {
        let (host, ports) = match &target {
            Target::WithPorts { host, ports } => (&**host, Some(ports)),
            target => (target, None),
        };
        let pieces = match ports {
            Some(ports) => self.with_ports.of(ports.clone()),
            None => &mut self.addresses,
        };
        if !add_plain(host, pieces) {
            self.targets.push(target);
        }
        self
    }

    /// Adds many targets.
    pub fn targets(self, targets: impl IntoIterator<Item = Target>) -> Self {
        targets.into_iter().fold(self, Self::target)
    }

    /// Excludes a target's addresses: all of them, where it is a name.
    pub fn exclude(mut self, target: Target) -> Self {
        if !add_plain(&target, &mut self.excluded_addresses) {
            self.excluded.push(target);
        }
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

    /// What [`build`](Self::build) looks up, each once: names, and addresses with a zone.
    pub fn names(&self) -> Vec<String> {
        let all = self.targets.iter().chain(&self.excluded);
        let mut names: Vec<String> = all.filter_map(Target::looked_up).collect();
        let mut seen = HashSet::new();
        names.retain(|name| seen.insert(name.clone()));
        names
    }

    /// Builds the plan, looking names up with `resolve`.
    ///
    /// # Errors
    /// [`PlanError`]: no targets or ports, nothing left of them, or more endpoints than a u64
    /// counts. An unknown target name is a [warning](Plan::warnings), unless nothing else is left.
    pub fn build(mut self, resolve: &mut Resolver) -> Result<Plan, PlanError> {
        let is_empty =
            self.targets.is_empty() && self.addresses.is_empty() && self.with_ports.is_empty();
        if is_empty && self.warnings.is_empty() {
            return Err(PlanError::NoTargets);
        }
        let mut included = Collector::new(resolve, self.family, self.resolve_all);
        let mut names = Vec::new();
        let (main, own) = self.included(&mut included, &mut names)?;
        let names: Names = names.into_iter().collect();
        let mut warnings = std::mem::take(&mut self.warnings);
        warnings.extend(included.into_warnings());
        warnings.extend(one_address(&names));
        let excluded = self.excluded(resolve)?;
        let lists = self.lists(main, own);
        let zones = lists.iter().map(|(addresses, _)| addresses);
        let excluded = excluded.in_zones_of(zones);
        if !lists.is_empty() && lists.iter().all(|(_, ports)| ports.is_empty()) {
            return Err(PlanError::NoPorts);
        }
        let mut groups = Groups::default();
        for (addresses, ports) in lists {
            groups.add(addresses.without(&excluded), ports, self.order, self.shard)?;
        }
        if groups.list.is_empty() {
            return Err(nothing_left(warnings));
        }
        Ok(Plan::new(groups, self.order, self.shard, names, warnings))
    }

    /// The targets' addresses: those to be probed on the main list of ports, and those with ports
    /// of their own. If ports are chosen, the latter are among the former, too.
    fn included(
        &mut self,
        collector: &mut Collector,
        names: &mut Vec<FoundName>,
    ) -> Result<(Pieces, OwnPorts), PlanError> {
        let mut main = std::mem::take(&mut self.addresses);
        let mut own = std::mem::take(&mut self.with_ports);
        collector.drop_other_family(own.pieces_mut().chain([&mut main]));
        for target in &self.targets {
            let ports = self.own_ports(target);
            let pieces = match &ports {
                Some(ports) => own.of(ports.clone()),
                None => &mut main,
            };
            collector.add(target, pieces)?;
            let found = collector.names.drain(..);
            names.extend(found.map(|(address, name)| (address, name, ports.clone())));
        }
        if self.ports.is_some() {
            own.pieces_mut()
                .for_each(|pieces| main.add_all(pieces.clone()));
        }
        Ok((main, own))
    }

    /// The ports that a target brings. A URL implies one, unless ports are chosen.
    fn own_ports(&self, target: &Target) -> Option<PortSet> {
        match target {
            Target::WithPorts { ports, .. } => Some(ports.clone()),
            Target::Url { scheme, port, .. } if self.ports.is_none() => {
                let port = port.or_else(|| self.services.matching(scheme).next())?;
                Some(PortSet::from_iter([port]))
            }
            _ => None,
        }
    }

    fn excluded(&mut self, resolve: &mut Resolver) -> Result<AddressSet, PlanError> {
        let mut collector = Collector::of_exclusions(resolve);
        let mut excluded = std::mem::take(&mut self.excluded_addresses);
        for target in &self.excluded {
            target.check_exclusion()?;
            collector.add(target, &mut excluded)?;
            // An address that is not known cannot be excluded.
            if let Some(warning) = collector.warnings.pop() {
                let error = match &warning {
                    Warning::Unresolved { error, .. } => error.clone(),
                    other => other.to_string(),
                };
                return Err(PlanError::UnknownExclude {
                    name: target.to_string(),
                    error: io::Error::other(error),
                });
            }
        }
        Ok(excluded.merged())
    }

    /// The addresses with their ports, each address in one list.
    fn lists(&self, main: Pieces, own: OwnPorts) -> Vec<(AddressSet, SharedPorts)> {
        let ports = match &self.ports {
            Some(ports) => ports.clone(),
            None => {
                PortSet::top(TOP_PORTS, &self.excluded_ports).unwrap_or_else(|_| PortSet::none())
            }
        };
        let without = &self.excluded_ports;
        own.without(without).lists(main, ports.without(without))
    }
}

/// A warning of the addresses that several names led to.
fn one_address(names: &Names) -> Option<Warning> {
    let shared = names.shared();
    let &address = shared.first()?;
    Some(Warning::OneAddress {
        count: shared.len(),
        address,
        names: names.all(address).map(String::from).collect(),
    })
}

/// Adds a target that is nothing but a block or a range; returns whether it is.
fn add_plain(target: &Target, pieces: &mut Pieces) -> bool {
    match *target {
        Target::V4Block { address, prefix } => pieces.add_block(address.into(), prefix, 0),
        Target::V6Block {
            address,
            prefix,
            zone: None,
        } => pieces.add_block(address.into(), prefix, 0),
        Target::V4Range { first, last } => {
            pieces.add_v4_ranges([(first.to_bits(), last.to_bits())]);
        }
        _ => return false,
    }
    true
}

/// Why no address is left.
fn nothing_left(warnings: Vec<Warning>) -> PlanError {
    let mut first = None;
    for warning in warnings.into_iter().filter(Warning::is_loss) {
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
    fn targets_bring_ports_and_chosen_ones_are_added() {
        let own = || targets("127.0.0.1:80,22 [::1]:9 127.0.0.1:81 127.0.0.0/31:7");
        assert_eq!(
            endpoints(own()),
            [
                "127.0.0.0:7",
                "127.0.0.1:7",
                "127.0.0.1:22",
                "127.0.0.1:80",
                "127.0.0.1:81",
                "[::1]:9"
            ]
        );
        let chosen = own().ports(ports("1")).exclude_ports(ports("7,80"));
        assert_eq!(
            endpoints(chosen),
            [
                "127.0.0.0:1",
                "127.0.0.1:1",
                "127.0.0.1:22",
                "127.0.0.1:81",
                "[::1]:1",
                "[::1]:9"
            ]
        );
        let mixed = endpoints(targets("127.0.0.1 127.0.0.1:5 127.0.0.2:5"));
        assert_eq!(mixed.len(), 1_001 + 1);
        let names = targets("two.test:5 127.0.0.1-127.0.0.2:6").family(Family::V4);
        assert_eq!(
            endpoints(names),
            ["127.0.0.1:6", "127.0.0.2:6", "192.0.2.9:5"]
        );
        let plan = targets("127.0.0.1:5 127.0.0.1:6 127.0.0.1:7")
            .build(&mut no_names)
            .unwrap();
        assert_eq!((plan.addresses(), plan.len()), (1, 3), "it is one host");
    }

    #[test]
    fn names_families_zones_and_excludes() {
        let one = ports("1");
        assert_eq!(
            endpoints(targets("two.test").ports(one.clone())),
            ["[2001:db8::1]:1"]
        );
        assert_eq!(
            endpoints(targets("two.test").ports(one.clone()).family(Family::V4)),
            ["192.0.2.9:1"]
        );
        assert_eq!(
            endpoints(targets("two.test").ports(one.clone()).resolve_all(true)),
            ["192.0.2.9:1", "[2001:db8::1]:1"]
        );
        assert_eq!(
            endpoints(targets("two.test/31").ports(one.clone()).family(Family::V4)),
            ["192.0.2.8:1", "192.0.2.9:1"]
        );
        assert_eq!(
            endpoints(targets("fe80::1%7").ports(one.clone())),
            ["[fe80::1%7]:1"]
        );
        let excluded = targets("192.0.2.8/31 2001:db8::1")
            .ports(one)
            .exclude(Target::parse("two.test").unwrap());
        assert_eq!(endpoints(excluded), ["192.0.2.8:1"]);
        let plan = targets("two.test nope.test").build(&mut no_names).unwrap();
        assert_eq!(
            plan.names().get("2001:db8::1".parse().unwrap()),
            Some("two.test")
        );
        assert_eq!(plan.warnings().len(), 2);
    }

    fn warnings(list: &str) -> String {
        let plan = targets(list)
            .ports(ports("1"))
            .build(&mut no_names)
            .unwrap();
        let warnings: Vec<String> = plan.warnings().iter().map(ToString::to_string).collect();
        warnings.join("\n")
    }

    #[test]
    fn a_name_that_leads_to_this_machine_is_not_scanned() {
        assert_eq!(
            warnings("blocked.test 192.0.2.1"),
            "\"blocked.test\" leads to 0.0.0.0, which is this machine, and is not scanned"
        );
        assert!(warnings("here.test 192.0.2.1").contains("127.0.1.1"));
        assert_eq!(warnings("here-too.test"), "", "another address is good");
        assert_eq!(endpoints(targets("here-too.test:5")), ["192.0.2.9:5"]);
        assert_eq!(endpoints(targets("127.0.1.1:5")), ["127.0.1.1:5"]);
        refuses(
            targets("blocked.test"),
            "nothing is left to scan: \"blocked",
        );
        let excluded = |name: &str| {
            targets("127.0.0.0/30 127.0.1.1")
                .ports(ports("1"))
                .exclude(Target::parse(name).unwrap())
        };
        assert_eq!(endpoints(excluded("here.test")).len(), 4);
        refuses(excluded("blocked.test"), "excluded name \"blocked.test\"");
    }

    #[test]
    fn what_a_name_has_beside_what_is_scanned_is_told() {
        assert_eq!(endpoints(targets("localhost:5")), ["127.0.0.1:5"]);
        assert_eq!(warnings("localhost"), "not scanned of localhost: ::1");
        assert_eq!(warnings("127.0.0.1 twin.test"), "");
        let both = warnings("localhost two.test");
        assert!(
            both.ends_with("localhost: ::1; 1 other name has several"),
            "{both}"
        );
        let builder = targets("localhost").ports(ports("1")).family(Family::V4);
        assert_eq!(builder.build(&mut no_names).unwrap().warnings(), []);
    }

    #[test]
    fn names_of_one_address_are_all_known() {
        assert_eq!(
            warnings("twin.test other.test twin.test"),
            "one address, scanned once: 192.0.2.9 is twin.test, other.test"
        );
        let plan = targets("http://twin.test:80/ http://other.test:22/")
            .build(&mut no_names)
            .unwrap();
        let name = |port| {
            plan.names()
                .of(([192, 0, 2, 9], port).into())
                .map(String::from)
        };
        assert_eq!(name(80).as_deref(), Some("twin.test"));
        assert_eq!(name(22).as_deref(), Some("other.test"));
        let builder = targets("a.test http://a.test/ b.test fe80::1%7 ::1")
            .exclude(Target::parse("b.test/24").unwrap());
        assert_eq!(builder.names(), ["a.test", "b.test", "fe80::1%7"]);
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
            targets("127.0.0.1").exclude(Target::parse("127.0.0.1:5").unwrap()),
            "whole addresses are left out",
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
