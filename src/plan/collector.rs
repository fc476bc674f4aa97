//! Turns targets into addresses, looking names up, and notes what was left out. It knows no ports.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use super::addresses::Pieces;
use super::octets::{OctetSet, octet_ranges};
use super::{Family, PlanError, Target, TargetError, Warning};

/// Looks up a host name, or an IPv6 address with a zone: all its addresses, the preferred one
/// first. [`engine::resolve`](crate::engine::resolve) asks the system.
pub type Resolver<'a> = dyn FnMut(&str) -> io::Result<Vec<SocketAddr>> + 'a;

/// Collects the addresses of targets.
pub(super) struct Collector<'a, 'r> {
    resolve: &'a mut Resolver<'r>,
    family: Family,
    /// All addresses of a name, not only the first.
    all: bool,
    /// Also this machine's own addresses under other names.
    takes_own: bool,
    /// The names that led to addresses, since they were taken last.
    pub names: Vec<(IpAddr, Box<str>)>,
    pub warnings: Vec<Warning>,
    /// Names of which not all addresses are taken: the first one, with the others, and how many.
    more: Option<(String, Vec<IpAddr>)>,
    more_count: usize,
}

impl<'a, 'r> Collector<'a, 'r> {
    /// Collects what is to be scanned.
    pub fn new(resolve: &'a mut Resolver<'r>, family: Family, all: bool) -> Self {
        Collector {
            resolve,
            family,
            all,
            takes_own: false,
            names: Vec::new(),
            warnings: Vec::new(),
            more: None,
            more_count: 0,
        }
    }

    /// Collects what is to be left out: everything that a name may mean.
    pub fn of_exclusions(resolve: &'a mut Resolver<'r>) -> Self {
        Collector {
            takes_own: true,
            ..Self::new(resolve, Family::Both, true)
        }
    }

    /// Drops the addresses of a family that is not wanted, with one warning.
    pub fn drop_other_family<'p>(&mut self, all: impl Iterator<Item = &'p mut Pieces>) {
        let (drop, other): (fn(&mut Pieces) -> usize, _) = match self.family {
            Family::Both => return,
            Family::V4 => (Pieces::drop_v6, "IPv6"),
            Family::V6 => (Pieces::drop_v4, "IPv4"),
        };
        if all.map(drop).sum::<usize>() > 0 {
            self.other_family(format!("the {other} addresses"));
        }
    }

    /// Adds a target's addresses to `pieces`.
    pub fn add(&mut self, target: &Target, pieces: &mut Pieces) -> Result<(), PlanError> {
        match target {
            Target::V4Block { address, prefix } => {
                self.add_block(target, (*address).into(), *prefix, pieces);
                Ok(())
            }
            Target::V4Range { first, last } => {
                let ends = (u32::from(*first), u32::from(*last));
                self.add_v4_ranges(target, vec![ends], pieces);
                Ok(())
            }
            Target::V4Octets(octets) => self.add_octets(target, octets, pieces),
            Target::V6Block {
                address,
                prefix,
                zone: None,
            } => {
                self.add_block(target, (*address).into(), *prefix, pieces);
                Ok(())
            }
            Target::V6Block { prefix, .. } => {
                self.add_looked_up(target, Some(*prefix), None, pieces)
            }
            Target::Name { name, prefix } => {
                self.add_looked_up(target, *prefix, Some(name), pieces)
            }
            Target::WithPorts { host, .. } | Target::Url { host, .. } => self.add(host, pieces),
        }
    }

    fn add_block(&mut self, target: &Target, address: IpAddr, prefix: u8, pieces: &mut Pieces) {
        if self.family.takes(address) {
            pieces.add_block(address, prefix, 0);
        } else {
            self.other_family(target.to_string());
        }
    }

    fn add_octets(
        &mut self,
        target: &Target,
        octets: &[OctetSet; 4],
        pieces: &mut Pieces,
    ) -> Result<(), PlanError> {
        let ranges =
            octet_ranges(octets).ok_or_else(|| TargetError::TooScattered(target.to_string()))?;
        self.add_v4_ranges(target, ranges, pieces);
        Ok(())
    }

    fn add_v4_ranges(&mut self, target: &Target, ranges: Vec<(u32, u32)>, pieces: &mut Pieces) {
        if self.family.takes(Ipv4Addr::UNSPECIFIED.into()) {
            pieces.add_v4_ranges(ranges);
        } else {
            self.other_family(target.to_string());
        }
    }

    fn add_looked_up(
        &mut self,
        target: &Target,
        prefix: Option<u8>,
        name: Option<&str>,
        pieces: &mut Pieces,
    ) -> Result<(), PlanError> {
        let text = target.looked_up().unwrap_or_default();
        let mut found = match (self.resolve)(&text) {
            Ok(found) => found,
            Err(error) => {
                self.warnings.push(Warning::Unresolved {
                    target: target.to_string(),
                    error: error.to_string(),
                });
                return Ok(());
            }
        };
        found.retain(|found| self.family.takes(found.ip().to_canonical()));
        if found.is_empty() {
            self.other_family(target.to_string());
            return Ok(());
        }
        if let Some(name) = name {
            let own = found[0].ip();
            found.retain(|found| !self.is_blocked(name, found.ip().to_canonical()));
            if found.is_empty() {
                self.warnings.push(Warning::OwnMachine {
                    target: target.to_string(),
                    address: own,
                });
                return Ok(());
            }
            self.choose(name, &mut found);
        }
        for address in found {
            self.add_found(target, prefix, address, pieces)?;
            if let Some(name) = name {
                self.names.push((address.ip().to_canonical(), name.into()));
            }
        }
        Ok(())
    }

    /// Whether a name was given this address to make it unreachable, as filters of names do. It
    /// would be this machine's ports that are told under that name.
    fn is_blocked(&self, name: &str, address: IpAddr) -> bool {
        let is_own = address.is_loopback() && !is_localhost(name);
        address.is_unspecified() || (is_own && !self.takes_own)
    }

    /// Leaves one address of a name, unless all are wanted. What listens on localhost mostly
    /// listens on IPv4.
    fn choose(&mut self, name: &str, found: &mut Vec<SocketAddr>) {
        if is_localhost(name) {
            found.sort_by_key(SocketAddr::is_ipv6);
        }
        let others = if self.all {
            Vec::new()
        } else {
            found.split_off(1)
        };
        if !others.is_empty() {
            let others = others.iter().map(|other| other.ip().to_canonical());
            self.more_count += 1;
            self.more
                .get_or_insert_with(|| (name.into(), others.collect()));
        }
    }

    fn add_found(
        &self,
        target: &Target,
        prefix: Option<u8>,
        address: SocketAddr,
        pieces: &mut Pieces,
    ) -> Result<(), PlanError> {
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
        Ok(())
    }

    /// All warnings, with those that only the end shows.
    pub fn into_warnings(mut self) -> Vec<Warning> {
        if let Some((name, others)) = self.more {
            self.warnings.push(Warning::MoreAddresses {
                count: self.more_count,
                name,
                others,
            });
        }
        self.warnings
    }

    fn other_family(&mut self, target: String) {
        self.warnings.push(Warning::OtherFamily {
            target,
            wanted: self.family,
        });
    }
}

/// Whether a name stands for this machine by its very words (RFC 6761 section 6.3).
fn is_localhost(name: &str) -> bool {
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost")
}
