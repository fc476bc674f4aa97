//! Addresses that bring ports of their own (`192.0.2.5:80`, a URL), and how they are sorted so that
//! each address has one list of ports. It knows ranges and ports, no targets.

use std::collections::HashMap;
use std::sync::Arc;

use super::PortSet;
use super::addresses::{AddressSet, Pieces, Position, Ranges};
use super::shared_ports::SharedPorts;

/// A range of addresses, and the number of its set of ports.
type Piece<P> = (P, P, usize);

/// Addresses by their ports. An address may be in several lists.
#[derive(Clone, Debug, Default)]
pub(super) struct OwnPorts(HashMap<PortSet, Pieces>);

impl OwnPorts {
    /// The addresses that have these ports, so far.
    pub fn of(&mut self, ports: PortSet) -> &mut Pieces {
        self.0.entry(ports).or_default()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn pieces_mut(&mut self) -> impl Iterator<Item = &mut Pieces> {
        self.0.values_mut()
    }

    /// Everything without these ports.
    pub fn without(self, except: &PortSet) -> Self {
        let mut left = OwnPorts::default();
        for (ports, pieces) in self.0 {
            left.of(ports.without(except)).add_all(pieces);
        }
        left
    }

    /// Lists without a common address, with `main`, which have the `common` ports: where several
    /// meet, their ports are put together. The order follows from the addresses alone.
    pub fn lists(self, main: Pieces, common: PortSet) -> Vec<(AddressSet, SharedPorts)> {
        let common = Arc::new(common);
        if self.is_empty() {
            return vec![(main.merged(), SharedPorts::new(&common, &PortSet::none()))];
        }
        let mut v4 = Vec::new();
        let mut v6 = Vec::new();
        let mut sets = vec![PortSet::none()];
        let own = self
            .0
            .into_iter()
            .inspect(|(ports, _)| sets.push(ports.clone()));
        let all = std::iter::once(main).chain(own.map(|(_, pieces)| pieces));
        for (number, pieces) in all.enumerate() {
            let AddressSet { v4: own4, v6: own6 } = pieces.merged();
            v4.extend(own4.iter().map(|(first, last)| (first, last, number)));
            v6.extend(own6.iter().map(|(first, last)| (first, last, number)));
        }
        let mut lists = Lists::new(common, sets);
        split(v4, |first, last, numbers| {
            lists.of(numbers).0.push((first, last));
        });
        split(v6, |first, last, numbers| {
            lists.of(numbers).1.push((first, last));
        });
        lists.finish()
    }
}

/// The ranges of both families.
type BothFamilies = (Vec<(u32, u32)>, Vec<((u32, u128), (u32, u128))>);

/// The number of the addresses with the common ports.
const MAIN: usize = 0;

/// Lists that grow while addresses are sorted into them.
struct Lists {
    common: Arc<PortSet>,
    sets: Vec<PortSet>,
    /// Which list belongs to sets of ports that meet.
    by_numbers: HashMap<Vec<usize>, usize>,
    by_ports: HashMap<SharedPorts, usize>,
    lists: Vec<(BothFamilies, SharedPorts)>,
}

impl Lists {
    fn new(common: Arc<PortSet>, sets: Vec<PortSet>) -> Self {
        Lists {
            common,
            sets,
            by_numbers: HashMap::new(),
            by_ports: HashMap::new(),
            lists: Vec::new(),
        }
    }

    /// The list of addresses where the sets of these numbers meet.
    fn of(&mut self, numbers: &[usize]) -> &mut BothFamilies {
        let at = match self.by_numbers.get(numbers) {
            Some(&at) => at,
            None => {
                let ports = self.together(numbers);
                let at = *self.by_ports.entry(ports.clone()).or_insert_with(|| {
                    self.lists.push((BothFamilies::default(), ports));
                    self.lists.len() - 1
                });
                self.by_numbers.insert(numbers.into(), at);
                at
            }
        };
        &mut self.lists[at].0
    }

    fn together(&self, numbers: &[usize]) -> SharedPorts {
        let ports = numbers.iter().flat_map(|&number| self.sets[number].iter());
        let own: PortSet = ports.collect();
        if numbers.contains(&MAIN) {
            SharedPorts::new(&self.common, &own)
        } else {
            SharedPorts::from(own)
        }
    }

    fn finish(self) -> Vec<(AddressSet, SharedPorts)> {
        let list = |((v4, v6), ports)| {
            let addresses = AddressSet {
                v4: Ranges::new(v4),
                v6: Ranges::new(v6),
            };
            (addresses, ports)
        };
        self.lists.into_iter().map(list).collect()
    }
}

/// Calls `each` with the ranges in which the same pieces lie on top of each other, ascending, and
/// with the sorted numbers of these pieces.
fn split<P: Position>(mut pieces: Vec<Piece<P>>, mut each: impl FnMut(P, P, &[usize])) {
    pieces.sort_unstable();
    let mut pieces = pieces.into_iter().peekable();
    let mut here: Vec<(P, usize)> = Vec::new();
    let mut from = None;
    while let Some(first) = from.or_else(|| pieces.peek().map(|piece| piece.0)) {
        while let Some((_, last, number)) = pieces.next_if(|piece| piece.0 <= first) {
            here.push((last, number));
        }
        let ends = here.iter().map(|&(last, _)| last);
        let next = pieces.peek().and_then(|piece| piece.0.previous());
        let Some(last) = ends.chain(next).min() else {
            break;
        };
        let mut numbers: Vec<usize> = here.iter().map(|&(_, number)| number).collect();
        numbers.sort_unstable();
        each(first, last, &numbers);
        here.retain(|&(end, _)| end > last);
        from = last.next().filter(|_| !here.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    /// Pieces as `first-last:number`, and what becomes of them.
    fn check(pieces: &[(u32, u32, usize)], expect: &str) {
        let mut told = Vec::new();
        split(pieces.to_vec(), |first, last, numbers| {
            told.push(format!("{first}-{last}:{numbers:?}"));
        });
        assert_eq!(told.join(" "), expect, "{pieces:?}");
    }

    #[test]
    fn ranges_that_overlap_are_cut() {
        check(&[], "");
        check(&[(5, 9, 0), (1, 2, 1)], "1-2:[1] 5-9:[0]");
        check(&[(1, 4, 0), (5, 9, 1)], "1-4:[0] 5-9:[1]");
        check(&[(1, 9, 0), (1, 9, 1)], "1-9:[0, 1]");
        check(&[(1, 9, 1), (3, 3, 0)], "1-2:[1] 3-3:[0, 1] 4-9:[1]");
        check(&[(1, 5, 0), (4, 9, 1)], "1-3:[0] 4-5:[0, 1] 6-9:[1]");
        check(
            &[(1, 9, 0), (2, 3, 1), (3, 9, 2)],
            "1-1:[0] 2-2:[0, 1] 3-3:[0, 1, 2] 4-9:[0, 2]",
        );
        check(
            &[(0, u32::MAX, 0), (u32::MAX, u32::MAX, 1)],
            "0-4294967294:[0] 4294967295-4294967295:[0, 1]",
        );
    }

    proptest! {
        #[test]
        fn each_address_has_one_list_of_all_its_ports(
            given in proptest::collection::vec((0..40u8, 24..=32u8, 1..=5u16), 0..12),
        ) {
            let mut own = OwnPorts::default();
            let mut main = Pieces::default();
            let mut expect: BTreeSet<(Ipv4Addr, u16)> = BTreeSet::new();
            for (last, prefix, port) in given {
                let address = Ipv4Addr::new(192, 0, 2, last);
                // Port 5 stands for those that are common.
                let (pieces, ports) = match port {
                    5 => (&mut main, &[1, 2][..]),
                    _ => (own.of(PortSet::from_iter([port])), &[port][..]),
                };
                pieces.add_block(address.into(), prefix, 0);
                let size = 1u32 << (32 - prefix);
                let first = address.to_bits() & !(size - 1);
                let all = (first..first + size).flat_map(|bits| {
                    ports.iter().map(move |&port| (Ipv4Addr::from_bits(bits), port))
                });
                expect.extend(all);
            }
            let mut addresses = 0;
            let mut told = BTreeSet::new();
            for (set, ports) in own.lists(main, PortSet::from_iter([1, 2])) {
                for bits in set.v4.iter().flat_map(|(first, last)| first..=last) {
                    addresses += 1;
                    told.extend(ports.iter().map(|port| (Ipv4Addr::from_bits(bits), port)));
                }
            }
            let different: BTreeSet<Ipv4Addr> = expect.iter().map(|&(address, _)| address).collect();
            prop_assert_eq!(addresses, different.len());
            prop_assert_eq!(told, expect);
        }
    }
}
