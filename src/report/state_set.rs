//! Which states a report lists one by one. It knows states, no findings.

use crate::scan::State;

/// The states whose findings are listed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSet([bool; State::ALL.len()]);

impl StateSet {
    /// The set of these states.
    pub fn states(states: impl IntoIterator<Item = State>) -> Self {
        let mut set = StateSet([false; State::ALL.len()]);
        for state in states {
            set.0[state as usize] = true;
        }
        set
    }

    /// The states in either set.
    pub fn or(self, other: StateSet) -> StateSet {
        StateSet(std::array::from_fn(|state| self.0[state] || other.0[state]))
    }

    /// The states in both sets.
    pub fn and(self, other: StateSet) -> StateSet {
        StateSet(std::array::from_fn(|state| self.0[state] && other.0[state]))
    }

    /// Whether findings of this state are listed.
    pub fn lists(self, state: State) -> bool {
        self.0[state as usize]
    }
}
