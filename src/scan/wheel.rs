//! A hierarchical timer wheel over slot numbers: when is which slot due?
//! It knows `u64` ticks and `u32` slots, no clock, no probe, no socket.

/// Timers for many slots: insert, cancel and expire cost the same however many there are, and none
/// of them allocates once the highest slot number has been seen.
///
/// Varghese and Lauck, "Hashed and Hierarchical Timing Wheels" (1987), their scheme 6: six levels
/// of 64 buckets, each bucket a list linked through the slots. A slot's level is that of the
/// highest bit in which its deadline differs from the current tick, so every entry of a level lies
/// ahead of the current place in it, and entries of lower levels are always due before those of
/// higher ones. An entry moves down at most once a level.
#[derive(Debug)]
pub struct Wheel {
    /// All ticks before this one are done with.
    now: u64,
    /// One bit per bucket that is not empty.
    occupied: [u64; LEVELS],
    heads: [[u32; BUCKETS]; LEVELS],
    links: Vec<Link>,
    len: usize,
}

const LEVEL_BITS: u32 = 6;
const BUCKETS: usize = 1 << LEVEL_BITS;
const LEVELS: usize = 6;
/// Deadlines beyond this wait here: with ticks of a millisecond, two years.
const LAST_TICK: u64 = (1 << (LEVEL_BITS * LEVELS as u32)) - 1;
const NONE: u32 = u32::MAX;
/// Marks `prev` as naming a bucket instead of a slot.
const IS_BUCKET: u32 = 1 << 31;

#[derive(Clone, Copy, Debug)]
struct Link {
    deadline: u64,
    /// The slot before, or `IS_BUCKET | level * BUCKETS + bucket` for the first of a list; `NONE`
    /// when not in the wheel.
    prev: u32,
    next: u32,
}

const UNLINKED: Link = Link {
    deadline: 0,
    prev: NONE,
    next: NONE,
};

impl Default for Wheel {
    fn default() -> Self {
        Wheel {
            now: 0,
            occupied: [0; LEVELS],
            heads: [[NONE; BUCKETS]; LEVELS],
            links: Vec::new(),
            len: 0,
        }
    }
}

impl Wheel {
    /// An empty wheel with room for so many slots; more of them cost a larger allocation.
    pub fn with_capacity(slots: usize) -> Self {
        Wheel {
            links: Vec::with_capacity(slots),
            ..Wheel::default()
        }
    }

    /// How many slots wait.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Makes `slot` due at tick `deadline`; at once, if that is past. The slot must not be waiting
    /// already.
    pub fn insert(&mut self, slot: u32, deadline: u64) {
        let at = slot as usize;
        if at >= self.links.len() {
            self.links.resize(at + 1, UNLINKED);
        }
        debug_assert!(
            self.links[at].prev == NONE && slot < IS_BUCKET,
            "slot {slot} waits already"
        );
        self.len += 1;
        self.link(slot, deadline.clamp(self.now, LAST_TICK));
    }

    /// Whether `slot` waits.
    pub fn holds(&self, slot: u32) -> bool {
        self.links
            .get(slot as usize)
            .is_some_and(|link| link.prev != NONE)
    }

    /// Takes `slot` out, if it waits.
    pub fn cancel(&mut self, slot: u32) {
        if self.holds(slot) {
            self.unlink(slot);
        }
    }

    /// The next slot that is due at tick `now` or before, in the order of deadlines; it waits no
    /// longer.
    pub fn pop_expired(&mut self, now: u64) -> Option<u32> {
        loop {
            let due = self.next_bucket().filter(|&(.., tick)| tick <= now);
            let Some((level, bucket, tick)) = due else {
                self.now = self.now.max(now.min(LAST_TICK));
                return None;
            };
            self.now = self.now.max(tick);
            let slot = self.heads[level][bucket];
            if level == 0 {
                self.unlink(slot);
                return Some(slot);
            }
            self.move_down(level, bucket);
        }
    }

    /// No slot is due before this tick; one may be due later only, because a higher level is known
    /// by its bucket.
    pub fn next_tick(&self) -> Option<u64> {
        self.next_bucket().map(|(.., tick)| tick)
    }

    /// The bucket that comes next, and the first tick it stands for.
    fn next_bucket(&self) -> Option<(usize, usize, u64)> {
        let level = self.occupied.iter().position(|&bits| bits != 0)?;
        let bucket = self.occupied[level].trailing_zeros();
        let above = LEVEL_BITS * (level as u32 + 1);
        let tick = self.now >> above << above | u64::from(bucket) << (above - LEVEL_BITS);
        Some((level, bucket as usize, tick))
    }

    /// Deals a bucket's entries out to the levels below, which they belong to now that its first
    /// tick has come.
    fn move_down(&mut self, level: usize, bucket: usize) {
        let mut slot = std::mem::replace(&mut self.heads[level][bucket], NONE);
        self.occupied[level] &= !(1 << bucket);
        while slot != NONE {
            let Link { deadline, next, .. } = self.links[slot as usize];
            self.link(slot, deadline);
            slot = next;
        }
    }

    fn link(&mut self, slot: u32, deadline: u64) {
        let differs = (self.now ^ deadline) | 1;
        let level = ((u64::BITS - 1 - differs.leading_zeros()) / LEVEL_BITS) as usize;
        let bucket = (deadline >> (LEVEL_BITS * level as u32)) as usize % BUCKETS;
        let next = std::mem::replace(&mut self.heads[level][bucket], slot);
        if next != NONE {
            self.links[next as usize].prev = slot;
        }
        self.occupied[level] |= 1 << bucket;
        self.links[slot as usize] = Link {
            deadline,
            prev: IS_BUCKET | (level * BUCKETS + bucket) as u32,
            next,
        };
    }

    fn unlink(&mut self, slot: u32) {
        let Link { prev, next, .. } = std::mem::replace(&mut self.links[slot as usize], UNLINKED);
        if next != NONE {
            self.links[next as usize].prev = prev;
        }
        if prev & IS_BUCKET == 0 {
            self.links[prev as usize].next = next;
        } else {
            let (level, bucket) = (
                (prev ^ IS_BUCKET) as usize / BUCKETS,
                prev as usize % BUCKETS,
            );
            self.heads[level][bucket] = next;
            if next == NONE {
                self.occupied[level] &= !(1 << bucket);
            }
        }
        self.len -= 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    fn poll_to(wheel: &mut Wheel, tick: u64) -> Vec<u32> {
        std::iter::from_fn(|| wheel.pop_expired(tick)).collect()
    }

    #[test]
    fn due_exactly_at_the_tick_and_in_order() {
        let mut wheel = Wheel::default();
        for (slot, tick) in [(0, 5), (1, 64), (2, 4_096), (3, 63), (4, 65), (5, 262_144)] {
            wheel.insert(slot, tick);
        }
        assert_eq!(poll_to(&mut wheel, 4), [0u32; 0]);
        assert_eq!(poll_to(&mut wheel, 5), [0]);
        assert_eq!(poll_to(&mut wheel, 64), [3, 1]);
        assert_eq!(poll_to(&mut wheel, 4_095), [4]);
        assert_eq!(
            poll_to(&mut wheel, 1_000_000),
            [2, 5],
            "a long pause catches up in order"
        );
        assert!(wheel.is_empty() && wheel.next_tick().is_none());
    }

    #[test]
    fn the_past_is_due_at_once_and_the_far_future_is_kept() {
        let mut wheel = Wheel::default();
        assert_eq!(poll_to(&mut wheel, 1_000), [0u32; 0]);
        wheel.insert(7, 3);
        wheel.insert(8, u64::MAX);
        assert_eq!(wheel.next_tick(), Some(1_000));
        assert_eq!(poll_to(&mut wheel, 1_000), [7]);
        assert_eq!(poll_to(&mut wheel, LAST_TICK - 1), [0u32; 0]);
        assert_eq!(poll_to(&mut wheel, u64::MAX), [8]);
    }

    #[test]
    fn cancelling_what_does_not_wait_is_nothing() {
        let mut wheel = Wheel::default();
        wheel.cancel(3);
        wheel.insert(3, 10);
        wheel.cancel(3);
        wheel.cancel(3);
        assert_eq!(poll_to(&mut wheel, 100), [0u32; 0]);
    }

    /// Against a sorted map, over many seeds: the same slots come due, in the order of their
    /// deadlines.
    #[test]
    fn agrees_with_a_naive_model() {
        for seed in 0..200 {
            let mut random = fastrand::Rng::with_seed(seed);
            let (mut wheel, mut model, mut now) = (Wheel::default(), BTreeMap::new(), 0u64);
            for _ in 0..2_000 {
                let slot = random.u32(0..100);
                match random.u8(0..10) {
                    0..=5 => {
                        let ahead = 1u64 << random.u32(0..24);
                        let deadline = now + random.u64(0..ahead);
                        if let std::collections::btree_map::Entry::Vacant(free) = model.entry(slot)
                        {
                            free.insert(deadline);
                            wheel.insert(slot, deadline);
                        }
                    }
                    6..=7 => {
                        model.remove(&slot);
                        wheel.cancel(slot);
                    }
                    _ => {
                        let ahead = 1u64 << random.u32(0..20);
                        now += random.u64(0..ahead);
                        let due = poll_to(&mut wheel, now);
                        let deadlines: Vec<u64> = due
                            .iter()
                            .map(|slot| model.remove(slot).expect("due once"))
                            .collect();
                        assert!(
                            deadlines.is_sorted() && deadlines.iter().all(|&d| d <= now),
                            "seed {seed}"
                        );
                        assert!(
                            model.values().all(|&deadline| deadline > now),
                            "seed {seed}: one was left behind"
                        );
                        assert!(
                            wheel.next_tick().is_none_or(|tick| tick > now),
                            "seed {seed}"
                        );
                    }
                }
                assert_eq!(wheel.len(), model.len());
                let earliest = model.values().min().copied();
                assert!(
                    wheel.next_tick() <= earliest,
                    "seed {seed}: would wake too late"
                );
                assert_eq!(wheel.next_tick().is_none(), earliest.is_none());
            }
        }
    }

    #[test]
    fn a_waiting_slot_costs_sixteen_bytes() {
        assert_eq!(size_of::<Link>(), 16);
    }
}
