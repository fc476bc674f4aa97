//! Canaries: ports that are known to answer and are asked once more, to see whether answers still
//! come at this rate. It knows counts and ranks of one host's ports, no rates and no times.

/// One host's ports that are known to answer, and when to ask one of them again.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Canaries {
    /// Those that refused last, or open ones where none refuses.
    known: [Canary; TAKE_TURNS],
    /// How many answered so far, and whether they refuse.
    answered: u8,
    refuses: bool,
    /// Canaries begun so far, and attempts since the last one that tell little themselves.
    begun: u16,
    since: u16,
}

/// A port that is known to answer.
#[derive(Clone, Copy, Debug, Default)]
struct Canary {
    rank: u16,
    /// How often it was connected to.
    connections: u8,
}

/// So many ports take turns.
const TAKE_TURNS: usize = 4;
/// After so many attempts that tell little one goes to a port that is known to answer; sooner as
/// long as nobody knows what the rate does.
const EVERY: u32 = 24;
const SOON: u32 = 4;
/// At open ports, of which each has only so many, the distance doubles each time that all had their
/// turn: some have to be left for later.
const MOST_DOUBLINGS: u32 = 12;

impl Canaries {
    /// How many take turns.
    fn taking_turns(&self) -> usize {
        usize::from(self.answered).min(TAKE_TURNS)
    }

    /// The place of the port of this rank, if it takes turns.
    fn canary(&mut self, rank: u32) -> Option<&mut Canary> {
        self.known
            .iter_mut()
            .find(|canary| u32::from(canary.rank) == rank)
    }

    /// The port of this rank answered.
    pub fn answered(&mut self, rank: u32, is_open: bool) {
        if is_open && self.refuses {
            return;
        }
        if !is_open && !self.refuses {
            *self = Canaries {
                refuses: true,
                begun: self.begun,
                since: self.since,
                ..Canaries::default()
            };
        }
        self.known[usize::from(self.answered) % TAKE_TURNS] = Canary {
            rank: rank as u16,
            connections: 1,
        };
        self.answered = self.answered.saturating_add(1);
    }

    /// A canary begins at the port of this rank.
    pub fn begin(&mut self, rank: u32) {
        self.begun = self.begun.wrapping_add(1);
        self.since = 0;
        if let Some(canary) = self.canary(rank) {
            canary.connections = canary.connections.saturating_add(1);
        }
    }

    /// A canary begins while nothing gets through: no service will notice.
    pub fn begin_unheard(&mut self) {
        self.begun = self.begun.wrapping_add(1);
    }

    /// Another attempt begins that tells little.
    pub fn wait(&mut self) {
        self.since = self.since.saturating_add(1);
    }

    /// An open port stayed silent while others answered: that its service is busy says nothing of
    /// the path, and it is left alone.
    pub fn retire(&mut self, rank: u32) {
        if !self.refuses
            && let Some(canary) = self.canary(rank)
        {
            canary.connections = u8::MAX;
        }
    }

    /// One of the ports that are known to answer, another one each time that one is begun.
    pub fn any(&self) -> Option<u32> {
        let known = self.taking_turns();
        (known > 0).then(|| self.known[usize::from(self.begun) % known].rank.into())
    }

    /// The rank of the port to be asked now, if it is time. A service is connected to `most` times
    /// in all; ports that refuse have none that could mind.
    pub fn due(&self, often: bool, most: u8) -> Option<u32> {
        let known = self.taking_turns();
        if known == 0 || most == 0 {
            return None;
        }
        let doublings = if self.refuses {
            0
        } else {
            u32::from(self.begun) / u32::from(self.answered)
        };
        let first = if often { SOON } else { EVERY };
        let every = first << doublings.min(MOST_DOUBLINGS);
        // At uneven distances, or they may all fall into the gaps of a limit that passes every so
        // many.
        let after = every / 2 + u32::from(self.begun).wrapping_mul(0x9D) % every;
        if u32::from(self.since) < after {
            return None;
        }
        (0..known)
            .map(|turn| &self.known[(usize::from(self.begun) + turn) % known])
            .find(|canary| self.refuses || canary.connections < most)
            .map(|canary| canary.rank.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u8 = 8;

    /// The ports that are asked during so many attempts that tell little.
    fn asked(canaries: &mut Canaries, attempts: u64, often: bool) -> Vec<u32> {
        let one = |_| {
            canaries.wait();
            let due = canaries.due(often, MOST);
            due.inspect(|&rank| canaries.begin(rank))
        };
        (1..=attempts).filter_map(one).collect()
    }

    fn answered(canaries: &mut Canaries, answers: &[(u32, bool)]) {
        for &(rank, is_open) in answers {
            canaries.answered(rank, is_open);
        }
    }

    #[test]
    fn ports_that_refuse_take_turns_for_ever() {
        let mut canaries = Canaries::default();
        assert!(
            asked(&mut canaries, 100, true).is_empty(),
            "nothing has answered"
        );
        answered(
            &mut canaries,
            &[(7, true), (8, false), (9, true), (10, false)],
        );
        let asked = asked(&mut canaries, 2_400, false);
        assert!(
            (90..=110).contains(&asked.len()),
            "one in 24: {}",
            asked.len()
        );
        assert!(
            asked.chunks(2).all(|turn| turn == [8, 10] || turn == [8]),
            "open ports are left alone where others refuse: {asked:?}"
        );
    }

    #[test]
    fn a_service_is_connected_to_a_few_times_and_no_more() {
        for ports in [1, 3] {
            let mut canaries = Canaries::default();
            (0..ports).for_each(|rank| canaries.answered(rank, true));
            let of = |asked: &[u32], rank| asked.iter().filter(|&&other| other == rank).count();
            let all = asked(&mut canaries, 100_000, true);
            assert!(
                (0..ports).all(|rank| of(&all, rank) == usize::from(MOST) - 1),
                "eight in all, the first one included: {all:?}"
            );
        }
    }

    #[test]
    fn a_busy_service_is_left_alone() {
        let mut canaries = Canaries::default();
        answered(&mut canaries, &[(1, true), (2, true)]);
        canaries.retire(2);
        assert!(
            asked(&mut canaries, 3_000, true)
                .iter()
                .all(|&rank| rank == 1)
        );
        answered(&mut canaries, &[(3, false)]);
        canaries.retire(3);
        assert!(
            !asked(&mut canaries, 3_000, true).is_empty(),
            "the kernel refuses, and is not busy"
        );
        assert_eq!(canaries.due(true, 0), None);
    }
}
