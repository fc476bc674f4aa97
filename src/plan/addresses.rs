//! Sets of addresses as sorted ranges: collected, merged, subtracted, counted, and indexed. They
//! know numbers and zones, no targets and no ports.

use std::collections::BTreeSet;
use std::net::IpAddr;

use super::digest::Digest;

/// A position in the address space of one family, so that ranges of both families share their
/// arithmetic.
pub(super) trait Position: Copy + Ord {
    /// The next position, unless this is the last.
    fn next(self) -> Option<Self>;
    /// The previous position, unless this is the first.
    fn previous(self) -> Option<Self>;
    /// The number of positions in `self..=last`, at most `u128::MAX`.
    fn count_to(self, last: Self) -> u128;
    /// The position `offset` further on, which must exist.
    fn plus(self, offset: u64) -> Self;
}

impl Position for u32 {
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }
    fn previous(self) -> Option<Self> {
        self.checked_sub(1)
    }
    fn count_to(self, last: Self) -> u128 {
        u128::from(last - self) + 1
    }
    fn plus(self, offset: u64) -> Self {
        self + offset as u32
    }
}

/// An IPv6 address within its zone (scope id, 0 for none).
impl Position for (u32, u128) {
    fn next(self) -> Option<Self> {
        Some((self.0, self.1.checked_add(1)?))
    }
    fn previous(self) -> Option<Self> {
        Some((self.0, self.1.checked_sub(1)?))
    }
    fn count_to(self, last: Self) -> u128 {
        (last.1 - self.1).saturating_add(1)
    }
    fn plus(self, offset: u64) -> Self {
        (self.0, self.1 + u128::from(offset))
    }
}

/// Sorted ranges that neither touch nor overlap.
#[derive(Clone, Debug)]
pub(super) struct Ranges<P> {
    list: Vec<(P, P)>,
    before: Vec<u64>,
}

impl<P> Default for Ranges<P> {
    fn default() -> Self {
        Ranges {
            list: Vec::new(),
            before: Vec::new(),
        }
    }
}

impl<P: Position> Ranges<P> {
    pub fn new(mut list: Vec<(P, P)>) -> Self {
        list.sort_unstable();
        list.dedup_by(|next, kept| {
            let joins = next.0 <= kept.1 || kept.1.next() == Some(next.0);
            if joins {
                kept.1 = kept.1.max(next.1);
            }
            joins
        });
        list.shrink_to_fit();
        Ranges {
            list,
            before: Vec::new(),
        }
    }

    /// These ranges without `other`.
    pub fn without(&self, other: &Self) -> Self {
        let mut left = Vec::with_capacity(self.list.len());
        let mut holes = &other.list[..];
        for &(first, last) in &self.list {
            let mut from = Some(first);
            while let Some(start) = from {
                // Holes that end before this point cannot cut anything any more.
                holes = &holes[holes.partition_point(|hole| hole.1 < start)..];
                match holes.first() {
                    Some(hole) if hole.0 <= last => {
                        if let Some(end) = hole.0.previous().filter(|&end| end >= start) {
                            left.push((start, end));
                        }
                        from = hole.1.next().filter(|&next| next <= last);
                    }
                    _ => {
                        left.push((start, last));
                        from = None;
                    }
                }
            }
        }
        Ranges {
            list: left,
            before: Vec::new(),
        }
    }

    pub fn count(&self) -> u128 {
        self.list.iter().fold(0, |sum: u128, &(first, last)| {
            sum.saturating_add(first.count_to(last))
        })
    }

    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = (P, P)> + '_ {
        self.list.iter().copied()
    }

    /// Prepares [`nth`](Self::nth). The count must fit a u64.
    pub fn index(&mut self) {
        self.before.clear();
        let mut sum = 0;
        for &(first, last) in &self.list {
            self.before.push(sum);
            sum += first.count_to(last) as u64;
        }
    }

    /// The `index`-th position. `index` must be below the count, and [`index`](Self::index) must
    /// have been called.
    pub fn nth(&self, index: u64) -> P {
        let range = self.before.partition_point(|&before| before <= index) - 1;
        self.list[range].0.plus(index - self.before[range])
    }
}

/// The ranges of both families: IPv4 by address, IPv6 by zone and address.
#[derive(Clone, Debug, Default)]
pub(super) struct AddressSet {
    pub v4: Ranges<u32>,
    pub v6: Ranges<(u32, u128)>,
}

impl AddressSet {
    pub fn is_loopback(&self) -> bool {
        let v4 = |&(first, last): &(u32, u32)| first >> 24 == 127 && last >> 24 == 127;
        let v6 = |&(first, last): &((u32, u128), (u32, u128))| (first.1, last.1) == (1, 1);
        self.v4.list.iter().all(v4) && self.v6.list.iter().all(v6)
    }

    /// These addresses; those of IPv6 without a zone in every zone that `others` have, too.
    pub fn in_zones_of<'a>(self, others: impl Iterator<Item = &'a AddressSet>) -> Self {
        let ranges = others.flat_map(|set| &set.v6.list);
        let zones: BTreeSet<u32> = ranges.map(|(first, _)| first.0).collect();
        let zoneless = self.v6.list.iter().filter(|(first, _)| first.0 == 0);
        let everywhere = zoneless.flat_map(|&(first, last)| {
            zones
                .iter()
                .map(move |&zone| ((zone, first.1), (zone, last.1)))
        });
        AddressSet {
            v6: Ranges::new(everywhere.chain(self.v6.iter()).collect()),
            v4: self.v4,
        }
    }

    /// These addresses without `other`.
    pub fn without(&self, other: &Self) -> Self {
        AddressSet {
            v4: self.v4.without(&other.v4),
            v6: self.v6.without(&other.v6),
        }
    }

    pub fn count(&self) -> u128 {
        self.v4.count().saturating_add(self.v6.count())
    }

    pub fn add_to(&self, digest: &mut Digest) {
        digest.add(self.v4.list.len() as u64);
        self.v4
            .list
            .iter()
            .flat_map(|&(first, last)| [first, last])
            .for_each(|end| digest.add(end.into()));
        for (zone, address) in self.v6.list.iter().flat_map(|&(first, last)| [first, last]) {
            [zone.into(), (address >> 64) as u64, address as u64]
                .into_iter()
                .for_each(|word| digest.add(word));
        }
    }
}

/// Ranges being collected, in any order, overlapping or not. They are merged now and then, so that
/// an address named a million times takes no more room than one named once.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    v4: Vec<(u32, u32)>,
    v6: Vec<((u32, u128), (u32, u128))>,
    merged_len: usize,
}

/// The IPv4-mapped IPv6 addresses, `::ffff:0:0/96` (RFC 4291 2.5.5.2): they stand for IPv4 hosts.
const MAPPED: (u128, u128) = (0xffff_0000_0000, 0xffff_ffff_ffff);
/// Fewer pieces than this are not worth merging early.
const FEW_PIECES: usize = 1 << 16;

impl Pieces {
    /// Adds the block of `prefix` bits around `address`. `scope_id` is for IPv6 only; 0 is none.
    pub fn add_block(&mut self, address: IpAddr, prefix: u8, scope_id: u32) {
        match address {
            IpAddr::V4(address) => {
                let free = u32::MAX.checked_shr(prefix.into()).unwrap_or(0);
                let first = u32::from(address) & !free;
                self.v4.push((first, first | free));
            }
            IpAddr::V6(address) => {
                let free = u128::MAX.checked_shr(prefix.into()).unwrap_or(0);
                let first = u128::from(address) & !free;
                let last = first | free;
                let mut add =
                    |first: u128, last: u128| self.v6.push(((scope_id, first), (scope_id, last)));
                let before = (first, last.min(MAPPED.0 - 1));
                let after = (first.max(MAPPED.1 + 1), last);
                for (first, last) in [before, after] {
                    if first <= last {
                        add(first, last);
                    }
                }
            }
        }
        self.merge_many();
    }

    fn merge_many(&mut self) {
        if self.v4.len() + self.v6.len() >= FEW_PIECES.max(2 * self.merged_len) {
            *self = std::mem::take(self).merged().into();
        }
    }

    /// Adds all of another collection.
    pub fn add_all(&mut self, other: Self) {
        if self.is_empty() {
            *self = other;
        } else {
            self.v4.extend(other.v4);
            self.v6.extend(other.v6);
        }
    }

    pub fn add_v4_ranges(&mut self, ranges: impl IntoIterator<Item = (u32, u32)>) {
        self.v4.extend(ranges);
        self.merge_many();
    }

    pub fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
    }

    /// Drops the IPv4 pieces and returns how many there were.
    pub fn drop_v4(&mut self) -> usize {
        std::mem::take(&mut self.v4).len()
    }

    /// Drops the IPv6 pieces and returns how many there were.
    pub fn drop_v6(&mut self) -> usize {
        std::mem::take(&mut self.v6).len()
    }

    pub fn merged(self) -> AddressSet {
        AddressSet {
            v4: Ranges::new(self.v4),
            v6: Ranges::new(self.v6),
        }
    }
}

impl From<AddressSet> for Pieces {
    fn from(set: AddressSet) -> Self {
        Pieces {
            merged_len: set.v4.list.len() + set.v6.list.len(),
            v4: set.v4.list,
            v6: set.v6.list,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ranges_agree_with_a_set(
            some in proptest::collection::vec((0..200u32, 0..20u32), 0..12),
            less in proptest::collection::vec((0..200u32, 0..20u32), 0..12),
        ) {
            let pieces = |list: &[(u32, u32)]| list.iter().map(|&(first, n)| (first, first + n)).collect::<Vec<_>>();
            let set = |list: &[(u32, u32)]| pieces(list).iter().flat_map(|&(a, b)| a..=b).collect::<std::collections::BTreeSet<_>>();
            let mut ranges = Ranges::new(pieces(&some)).without(&Ranges::new(pieces(&less)));
            ranges.index();
            let expect: Vec<u32> = set(&some).difference(&set(&less)).copied().collect();
            prop_assert_eq!(ranges.count(), expect.len() as u128);
            prop_assert_eq!((0..expect.len() as u64).map(|i| ranges.nth(i)).collect::<Vec<_>>(), expect);
        }
    }

    #[test]
    fn a_million_names_for_one_address_are_one_piece() {
        let mut pieces = Pieces::default();
        for i in 0..1_000_000u32 {
            pieces.add_block(Ipv4Addr::from(i % 4).into(), 32, 0);
        }
        assert!(
            pieces.v4.capacity() < 3 * FEW_PIECES,
            "{}",
            pieces.v4.capacity()
        );
        assert_eq!(pieces.merged().count(), 4);
    }

    #[test]
    fn the_ends_of_the_address_space_hold() {
        let all = Ranges::new(vec![(0, u32::MAX)]);
        assert_eq!(all.count(), 1 << 32);
        assert_eq!(all.without(&all).count(), 0);
        let v6 = Ranges::new(vec![((0, 0), (0, u128::MAX))]);
        assert_eq!(v6.count(), u128::MAX, "one too many for u128: saturated");
        assert_eq!(
            v6.without(&Ranges::new(vec![((0, 1), (0, u128::MAX))]))
                .count(),
            1
        );
    }
}
