//! Why a plan cannot be built, and what was left out of one. The messages speak of values; which
//! option to type is for the caller to say.

use std::fmt;
use std::io;

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
    /// The target has no address of the family that was asked for.
    OtherFamily {
        /// The target as it was written.
        target: String,
        /// The family that was asked for.
        wanted: Family,
    },
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
            Warning::OtherFamily { target, wanted } => write!(
                f,
                "not scanned, because only {wanted} was asked for: {target}"
            ),
        }
    }
}
