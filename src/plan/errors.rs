//! Why a plan cannot be built, and what was left out of one. The messages speak of values; which
//! option to type is for the caller to say.

use std::fmt;
use std::io;
use std::net::IpAddr;

use super::{Family, TargetError};

/// Why a plan could not be built.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// A target was not understood.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No target was given at all.
    #[error("no target was given; write an address, a block such as 192.0.2.0/24, or a host name")]
    NoTargets,
    /// Every target is excluded.
    #[error("nothing is left to scan: every target is excluded")]
    AllExcluded,
    /// No target has an address of the family that was asked for.
    #[error("nothing is left to scan: {0}")]
    NothingLeft(Warning),
    /// No target name could be looked up.
    #[error("nothing can be scanned: {0}")]
    Unresolved(Warning),
    /// No port was given, or all were excluded.
    #[error("no port is left to scan: every port is excluded")]
    NoPorts,
    /// More endpoints than a u64 counts.
    #[error(
        "{addresses} addresses x {ports} ports are more than can be counted (2^64 - 1); write smaller blocks"
    )]
    TooLarge {
        /// How many addresses, or `more than 2^127`.
        addresses: String,
        /// How many ports each has.
        ports: usize,
    },
    /// An excluded name could not be looked up.
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

/// Something that was left out of a plan, which the user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// A name could not be looked up.
    Unresolved {
        /// The target as it was written.
        target: String,
        /// What the resolver said.
        error: String,
    },
    /// Targets that were not understood.
    NotUnderstood {
        /// How many.
        count: u64,
        /// What was wrong with the first one.
        first: String,
    },
    /// A name that leads to this machine: names are blocked in that way.
    OwnMachine {
        /// The target as it was written.
        target: String,
        /// What it leads to.
        address: IpAddr,
    },
    /// Names that have more addresses than are scanned.
    MoreAddresses {
        /// How many names.
        count: usize,
        /// The first of them.
        name: String,
        /// What is not scanned of it.
        others: Vec<IpAddr>,
    },
    /// Names that lead to one address, which is scanned once.
    OneAddress {
        /// How many addresses have several names.
        count: usize,
        /// The first of them.
        address: IpAddr,
        /// Its names.
        names: Vec<String>,
    },
    /// The target has no address of the family that was asked for.
    OtherFamily {
        /// The target as it was written.
        target: String,
        /// The family that was asked for.
        wanted: Family,
    },
}

impl Warning {
    /// Whether something that was asked for is not scanned.
    pub fn is_loss(&self) -> bool {
        !matches!(
            self,
            Warning::MoreAddresses { .. } | Warning::OneAddress { .. }
        )
    }
}

/// A list of a few, and how many more there are.
fn listed(all: &[impl fmt::Display]) -> String {
    const MOST: usize = 5;
    let mut told: Vec<String> = all.iter().take(MOST).map(ToString::to_string).collect();
    if all.len() > MOST {
        told.push(format!("{} more", all.len() - MOST));
    }
    told.join(", ")
}

/// How many others are like the first of `count`.
fn more(count: usize, one: &str, several: &str) -> String {
    match count.saturating_sub(1) {
        0 => String::new(),
        1 => format!("; 1 {one} several"),
        others => format!("; {others} {several} several"),
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::Unresolved { target, error } => write!(
                f,
                "{target:?} could not be looked up and is not scanned ({error})"
            ),
            Warning::NotUnderstood { count: 1, first } => {
                write!(f, "1 target was not understood and is not scanned: {first}")
            }
            Warning::NotUnderstood { count, first } => write!(
                f,
                "{count} targets were not understood and are not scanned, the first of them: {first}"
            ),
            Warning::OwnMachine { target, address } => write!(
                f,
                "{target:?} leads to {address}, which is this machine, and is not scanned"
            ),
            Warning::MoreAddresses {
                count,
                name,
                others,
            } => {
                let more = more(*count, "other name has", "other names have");
                write!(f, "not scanned of {name}: {}{more}", listed(others))
            }
            Warning::OneAddress {
                count,
                address,
                names,
            } => {
                let more = more(*count, "other address has", "other addresses have");
                let names = listed(names);
                write!(f, "one address, scanned once: {address} is {names}{more}")
            }
            Warning::OtherFamily { target, wanted } => write!(
                f,
                "not scanned, because only {wanted} was asked for: {target}"
            ),
        }
    }
}
