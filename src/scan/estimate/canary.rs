//! Canaries: ports that are known to answer and are asked once more, to see whether answers still
//! come at this rate. It knows counts and ranks of one host's ports, no rates and no times.

/// One host's ports that are known to answer, and when to ask one of them again.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Canaries {
    /// The ranks of those that refused last, or of open ones where none refuses.
    known: [u16; TAKE_TURNS],
    /// How many answered so far, and whether they refuse.
    answered: u8,
    refuses: bool,
    /// Canaries begun so far, and attempts since the last one that tell little themselves.
    begun: u16,
    since: u16,
}

/// So many ports take turns.
const TAKE_TURNS: usize = 4;
/// After so many attempts that tell little one goes to a port that is known to answer; sooner as
/// long as nobody knows what the rate does.
const EVERY: u32 = 24;
const SOON: u32 = 4;
/// At open ports the distance doubles whenever so many fell to each on average: a service notices.
const AT_OPEN: u32 = 8;
const MOST_DOUBLINGS: u32 = 12;

impl Canaries {
    /// The port of this rank answered.
    pub fn answered(&mut self, rank: u32, is_open: bool) {
        if is_open && self.refuses {
            return;
        }
        if !is_open && !self.refuses {
            (self.refuses, self.answered) = (true, 0);
        }
        self.known[usize::from(self.answered) % TAKE_TURNS] = rank as u16;
        self.answered = self.answered.saturating_add(1);
    }

    /// A canary begins.
    pub fn begin(&mut self) {
        (self.begun, self.since) = (self.begun.wrapping_add(1), 0);
    }

    /// Another attempt begins that tells little.
    pub fn wait(&mut self) {
        self.since = self.since.saturating_add(1);
    }

    /// The rank of the port to be asked now, if it is time.
    pub fn due(&self, often: bool) -> Option<u32> {
        let known = self.answered.min(TAKE_TURNS as u8);
        if known == 0 {
            return None;
        }
        let doublings = if self.refuses {
            0
        } else {
            u32::from(self.begun) / (AT_OPEN * u32::from(self.answered))
        };
        let first = if often { SOON } else { EVERY };
        let every = first << doublings.min(MOST_DOUBLINGS);
        // At uneven distances, or they may all fall into the gaps of a limit that passes every so
        // many.
        let after = every / 2 + u32::from(self.begun).wrapping_mul(0x9D) % every;
        (u32::from(self.since) >= after)
            .then(|| self.known[usize::from(self.begun) % usize::from(known)].into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The ports that are asked during so many attempts that tell little.
    fn asked(canaries: &mut Canaries, attempts: u32, often: bool) -> Vec<u32> {
        let one = |canaries: &mut Canaries| {
            canaries.wait();
            canaries.due(often).inspect(|_| canaries.begin())
        };
        (0..attempts).filter_map(|_| one(canaries)).collect()
    }

    #[test]
    fn ports_that_refuse_take_turns_for_ever() {
        let mut canaries = Canaries::default();
        assert!(
            asked(&mut canaries, 100, true).is_empty(),
            "nothing has answered"
        );
        [(7, true), (8, false), (9, true), (10, false)]
            .iter()
            .for_each(|&(rank, is_open)| canaries.answered(rank, is_open));
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
    fn open_ports_are_asked_less_and_less_often() {
        let count = |open: u32| {
            let mut canaries = Canaries::default();
            (0..open).for_each(|rank| canaries.answered(rank, true));
            asked(&mut canaries, 4_000, true).len()
        };
        assert!((30..80).contains(&count(1)), "{}", count(1));
        assert!(
            count(8) > 4 * count(1),
            "eight services share what one would notice: {} and {}",
            count(8),
            count(1)
        );
    }
}
