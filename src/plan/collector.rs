//! Turns targets into addresses, looking names up, and notes what was left out. It knows no ports.

use std::collections::HashMap;
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
    /// The first name that led to each address.
    pub names: HashMap<IpAddr, Box<str>>,
    pub warnings: Vec<Warning>,
}

impl<'a, 'r> Collector<'a, 'r> {
    pub fn new(resolve: &'a mut Resolver<'r>, family: Family, all: bool) -> Self {
        Collector {
            resolve,
            family,
            all,
            names: HashMap::new(),
            warnings: Vec::new(),
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
            Target::V6Block {
                address,
                prefix,
                zone: Some(zone),
            } => {
                let text = format!("{address}%{zone}");
                self.add_looked_up(target, &text, Some(*prefix), None, pieces)
            }
            Target::Name { name, prefix } => {
                self.add_looked_up(target, name, *prefix, Some(name), pieces)
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
            self.other_family(target.to_string());
        }
        Ok(())
    }

    fn other_family(&mut self, target: String) {
        self.warnings.push(Warning::OtherFamily {
            target,
            wanted: self.family,
        });
    }
}
