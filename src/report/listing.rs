//! Which states a report lists one by one, and which it only counts. It knows states and counts,
//! no findings.

use super::StateSet;
use crate::scan::State;

/// A host's ports in a state are few if there are no more of them than this, as in nmap.
pub const FEW_PORTS: u32 = 25;

/// Which ports of a host are listed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The states that are always listed.
    pub always: StateSet,
    /// Whether a state is listed, too, if the host has [few](FEW_PORTS) ports in it.
    pub few: bool,
}

impl Listing {
    /// These states and no others.
    pub fn only(states: StateSet) -> Self {
        Listing {
            always: states,
            few: false,
        }
    }

    /// These states, and each other state that the host has few ports in.
    pub fn or_few(states: StateSet) -> Self {
        Listing {
            always: states,
            few: true,
        }
    }

    /// What either lists.
    pub fn or(self, other: Listing) -> Listing {
        Listing {
            always: self.always.or(other.always),
            few: self.few || other.few,
        }
    }

    /// Whether a state is listed if a host has `count` ports in it.
    pub fn lists(self, state: State, ports: u32) -> bool {
        self.always.lists(state) || (self.few && ports <= FEW_PORTS)
    }
}
