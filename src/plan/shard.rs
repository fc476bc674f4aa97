//! Which part of a plan a machine scans, where several share it. It knows numbers only: endpoints
//! counted from 0 through the whole plan.

use std::fmt;
use std::num::NonZeroU32;

/// One of `of` parts of a plan. Any run of `of` consecutive endpoints has one of each part, so the
/// parts are disjoint, cover the plan, and differ by at most one endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Shard {
    number: u32,
    of: NonZeroU32,
}

impl Shard {
    /// The whole plan.
    pub const WHOLE: Shard = Shard {
        number: 1,
        of: NonZeroU32::MIN,
    };

    /// The part with this number, counted from 1; `None` if there is no such part.
    pub fn new(number: u32, of: u32) -> Option<Self> {
        let of = NonZeroU32::new(of)?;
        (1..=of.get())
            .contains(&number)
            .then_some(Shard { number, of })
    }

    /// The part's number, counted from 1.
    pub fn number(self) -> u32 {
        self.number
    }

    /// How many parts there are.
    pub fn of(self) -> u32 {
        self.of.get()
    }

    /// Whether this is the whole plan.
    pub fn is_whole(self) -> bool {
        self.of == NonZeroU32::MIN
    }

    /// How many of a plan's endpoints this part has.
    pub fn share(self, endpoints: u64) -> u64 {
        self.count(0, endpoints)
    }

    pub(super) fn step(self) -> u64 {
        self.of.get().into()
    }

    /// The distance from endpoint number `before` to this part's next endpoint.
    pub(super) fn first(self, before: u64) -> u64 {
        let step = self.step();
        (u64::from(self.number) - 1 + (step - before % step)) % step
    }

    /// How many of the `len` endpoints after the first `before` belong to this part.
    pub(super) fn count(self, before: u64, len: u64) -> u64 {
        len.saturating_sub(self.first(before)).div_ceil(self.step())
    }
}

/// `3/16`.
impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.number, self.of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_disjoint_complete_and_even() {
        for of in [1, 2, 3, 7, 16, 1_000, u32::MAX] {
            for (before, len) in [(0, 0), (0, 1), (5, 40), (u64::MAX / 2, 1_000)] {
                let numbers = if of > 1_000 { of - 2_000..=of } else { 1..=of };
                let count = |number| Shard::new(number, of).expect("a shard").count(before, len);
                let counts: Vec<u64> = numbers.map(count).collect();
                if of <= 1_000 {
                    assert_eq!(counts.iter().sum::<u64>(), len);
                }
                assert!(
                    counts.iter().max().unwrap() - counts.iter().min().unwrap() <= 1,
                    "{of}: {counts:?}"
                );
            }
        }
        assert_eq!(Shard::new(3, 4).unwrap().first(2), 0);
        assert_eq!(Shard::new(3, 4).unwrap().first(3), 3);
        assert_eq!(
            (Shard::new(0, 4), Shard::new(5, 4), Shard::new(1, 0)),
            (None, None, None)
        );
    }
}
