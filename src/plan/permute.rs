//! A seeded bijection over `0..len`: the order of a plan, without storing it. It knows numbers
//! only, no addresses and no ports.

/// A permutation of `0..len` that takes no memory: the i-th element is computed from `i` and the
/// seed.
///
/// A Feistel network over the smallest number of bits, even or odd, that holds `len`. Values past
/// the end are shuffled again until they fall inside (cycle walking; Black and Rogaway, "Ciphers
/// with Arbitrary Finite Domains", 2002). On average that takes fewer than two steps, because the
/// domain is less than twice `len`. It scatters well; it is not meant to be secret.
#[derive(Clone, Copy, Debug)]
pub struct Permutation {
    len: u64,
    left_bits: u32,
    right_bits: u32,
    keys: [u64; ROUNDS],
}

/// Six half-rounds. With four, neighbours in a small domain still showed in the tests' count of
/// ascending steps.
const ROUNDS: usize = 6;

impl Permutation {
    /// The permutation of `0..len` that `seed` selects. `len` may be anything from 0 to `u64::MAX`.
    pub fn new(len: u64, seed: u64) -> Self {
        let bits = (u64::BITS - len.saturating_sub(1).leading_zeros()).max(2);
        let mut state = seed;
        let keys = std::array::from_fn(|_| {
            state = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
            mix(state)
        });
        Permutation {
            len,
            left_bits: bits / 2,
            right_bits: bits - bits / 2,
            keys,
        }
    }

    /// The image of `index`, which must be below `len`: the walk ends only inside the domain.
    pub fn apply(&self, index: u64) -> u64 {
        debug_assert!(
            index < self.len,
            "index {index} is outside of 0..{}",
            self.len
        );
        let mut at = index;
        loop {
            at = self.shuffle(at);
            if at < self.len {
                return at;
            }
        }
    }

    fn shuffle(&self, at: u64) -> u64 {
        let left_mask = (1 << self.left_bits) - 1;
        let right_mask = (1 << self.right_bits) - 1;
        let mut left = at >> self.right_bits;
        let mut right = at & right_mask;
        for keys in self.keys.chunks_exact(2) {
            left ^= mix(right ^ keys[0]) & left_mask;
            right ^= mix(left ^ keys[1]) & right_mask;
        }
        left << self.right_bits | right
    }
}

/// The finalizer of SplitMix64 (Steele, Lea and Flood, 2014).
pub(crate) fn mix(mut x: u64) -> u64 {
    x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    x ^ (x >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_a_bijection(len: u64, seed: u64) {
        let permutation = Permutation::new(len, seed);
        let mut seen = vec![false; len as usize];
        for index in 0..len {
            let at = permutation.apply(index) as usize;
            assert!(!seen[at], "{at} came twice (len {len}, seed {seed})");
            seen[at] = true;
        }
    }

    #[test]
    fn every_small_length_and_some_large_ones_are_bijections() {
        for len in 0..3_000 {
            is_a_bijection(len, len ^ 0x55);
        }
        for len in [65_535, 65_536, 65_537, 1_000_003] {
            is_a_bijection(len, 7);
        }
    }

    #[test]
    fn long_domains_stay_inside_and_do_not_repeat() {
        for len in [1 << 40, (1 << 40) + 1, u64::MAX] {
            let permutation = Permutation::new(len, 3);
            let mut seen = std::collections::HashSet::new();
            for index in (0..50_000).chain(len - 50_000..len) {
                let at = permutation.apply(index);
                assert!(at < len && seen.insert(at));
            }
        }
    }

    #[test]
    fn seeds_differ_and_order_is_scattered() {
        let one = Permutation::new(10_000, 1);
        let two = Permutation::new(10_000, 2);
        let same = (0..10_000)
            .filter(|&i| one.apply(i) == two.apply(i))
            .count();
        assert!(same < 20, "{same} of 10,000 places agree between two seeds");
        for seed in 0..20 {
            let order = Permutation::new(1_000, seed);
            let ascending = (1..1_000)
                .filter(|&i| order.apply(i) > order.apply(i - 1))
                .count();
            assert!(
                (400..600).contains(&ascending),
                "{ascending} ascending steps of 999 with seed {seed}"
            );
        }
    }
}
