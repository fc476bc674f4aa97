//! The ports of a group of addresses: those that all groups have in common, kept once, and its own.
//! A list of URLs may have as many groups as lines. It knows numbers, no addresses and no order of
//! probing.

use std::hash::{Hash, Hasher};
use std::sync::Arc;

use super::PortSet;

/// A set of ports in two parts, of which one is shared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SharedPorts {
    common: Arc<PortSet>,
    /// None of these is a common one.
    own: PortSet,
}

impl SharedPorts {
    /// The ports of both sets.
    pub fn new(common: &Arc<PortSet>, own: &PortSet) -> Self {
        SharedPorts {
            common: common.clone(),
            own: own.without(common),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.common.len() + self.own.len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    pub fn contains(&self, port: u16) -> bool {
        self.own.contains(port) || self.common.contains(port)
    }

    /// The ports: the group's own, then the common ones.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.own.iter().chain(self.common.iter())
    }

    /// How many ports are below this one.
    pub fn rank(&self, port: u16) -> usize {
        self.own.rank(port) + self.common.rank(port)
    }

    /// The `index`-th smallest port; `index` must be below [`len`](Self::len).
    pub fn nth(&self, index: usize) -> u16 {
        match (self.common.is_empty(), self.own.is_empty()) {
            (_, true) => return self.common.nth(index),
            (true, _) => return self.own.nth(index),
            _ => {}
        }
        // So many of the group's own ports are at this place or before it.
        let mut own = 0..self.own.len();
        while !own.is_empty() {
            let middle = own.start + own.len() / 2;
            if self.rank(self.own.nth(middle)) <= index {
                own.start = middle + 1;
            } else {
                own.end = middle;
            }
        }
        let last = own.start.checked_sub(1).map(|last| self.own.nth(last));
        last.filter(|&port| self.rank(port) == index)
            .unwrap_or_else(|| self.common.nth(index - own.start))
    }
}

impl Hash for SharedPorts {
    /// The common ports may be thousands; mostly they are the same, or there are none.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.common.len().hash(state);
        self.own.hash(state);
    }
}

impl From<PortSet> for SharedPorts {
    fn from(ports: PortSet) -> Self {
        SharedPorts {
            common: PortSet::none().into(),
            own: ports,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn both_parts_are_one_set(
            common in proptest::collection::btree_set(0..40u16, 0..20),
            own in proptest::collection::btree_set(0..40u16, 0..20),
        ) {
            let set = |ports: &BTreeSet<u16>| ports.iter().copied().collect::<PortSet>();
            let both = SharedPorts::new(&Arc::new(set(&common)), &set(&own));
            let expect: Vec<u16> = common.union(&own).copied().collect();
            let in_order: Vec<u16> = (0..both.len()).map(|index| both.nth(index)).collect();
            prop_assert_eq!(&in_order, &expect);
            prop_assert_eq!(both.iter().collect::<BTreeSet<u16>>().len(), expect.len());
            for port in 0..=40 {
                prop_assert_eq!(both.contains(port), expect.contains(&port));
                prop_assert_eq!(both.rank(port), expect.iter().filter(|&&other| other < port).count());
            }
        }
    }
}
