//! Canaries: ports that are known to answer and are asked once more, to see whether answers still
//! come at this rate. It knows counts, times and ranks of one host's ports, no rates.

use crate::scan::time::Time;

/// One host's ports that are known to answer, and when to ask one of them again.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Canaries {
    /// Those that refused last, or open ones where none refuses.
    known: [Canary; TAKE_TURNS],
    /// How many answered so far, and whether they refuse.
    answered: u8,
    refuses: bool,
    /// One was silent.
    was_silent: bool,
    /// Canaries begun so far, and attempts since the last one that tell little themselves.
    begun: u16,
    since: u16,
}

/// A port that is known to answer.
#[derive(Clone, Copy, Debug, Default)]
struct Canary {
    rank: u16,
    /// How often it was connected to: in all, and lately.
    connections: u8,
    recent: u8,
    /// The second of the last time.
    last_s: u32,
}

/// A service that limits its visitors often shuts out whoever comes six times in 30 s, and longer
/// if they go on (`ufw limit`). So it is connected to this often, and then left alone for as long.
const RECENT_MOST: u8 = 5;
const RECENT_S: u32 = 30;
/// Of these, one connection is kept for the time when nothing else is left to ask.
const RESERVED: u8 = 1;
/// A silent one counts as so many more: a busy service soon has none left, and one that lost its
/// SYN to our own speed has.
const SILENCE_COSTS: u8 = 2;
/// So many ports take turns.
const TAKE_TURNS: usize = 4;
/// After so many attempts that tell little one goes to a port that is known to answer; sooner as
/// long as nobody knows what the rate does.
const EVERY: u32 = 24;
const SOON: u32 = 4;
/// At open ports, of which each has only so many, the distance doubles each time that all had their
/// turn: some have to be left for later.
const MOST_DOUBLINGS: u32 = 12;

impl Canary {
    fn connect(&mut self, now: Time) {
        self.recent = self.lately(now).saturating_add(1);
        self.connections = self.connections.saturating_add(1);
        self.last_s = second(now);
    }

    /// How many connections its service counts now: none if it has seen nothing of us for so long.
    fn lately(&self, now: Time) -> u8 {
        let is_rested = second(now).saturating_sub(self.last_s) > RECENT_S;
        if is_rested { 0 } else { self.recent }
    }

    /// How often its service may be connected to now, `most` times in all, and keep so many
    /// connections in reserve.
    fn left(&self, most: u8, reserved: u8, now: Time) -> u8 {
        let of_all = most.saturating_sub(self.connections);
        let of_recent = RECENT_MOST.saturating_sub(self.lately(now));
        of_all.min(of_recent).saturating_sub(reserved)
    }
}

fn second(now: Time) -> u32 {
    u32::try_from(now.us / 1_000_000).unwrap_or(u32::MAX)
}

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
    pub fn answered(&mut self, rank: u32, is_open: bool, now: Time) {
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
            recent: 1,
            last_s: second(now),
        };
        self.answered = self.answered.saturating_add(1);
    }

    /// Those that take turns, and whether they refuse.
    pub fn known(&self) -> (Vec<u16>, bool) {
        let known = &self.known[..self.taking_turns()];
        let ranks = known.iter().map(|canary| canary.rank).collect();
        (ranks, self.refuses)
    }

    /// Those of an earlier scan: it may have been a moment ago, and connected to each just once.
    pub fn known_before(ranks: &[u16], refuses: bool) -> Self {
        let mut canaries = Canaries::default();
        for &rank in ranks {
            canaries.answered(rank.into(), !refuses, Time::default());
        }
        canaries
    }

    /// A canary begins at the port of this rank.
    pub fn begin(&mut self, rank: u32, now: Time) {
        self.begun = self.begun.wrapping_add(1);
        self.since = 0;
        if let Some(canary) = self.canary(rank) {
            canary.connect(now);
        }
    }

    /// A canary begins while nothing gets through: no service will notice.
    pub fn begin_unheard(&mut self) {
        self.begun = self.begun.wrapping_add(1);
    }

    /// Whether all are services, which may be asked too seldom to show all that is lost.
    pub fn leave_doubts(&self) -> bool {
        self.answered > 0 && !self.refuses
    }

    /// One was silent.
    pub fn missed(&mut self) {
        self.was_silent = true;
    }

    /// Whether one was silent, or none may be asked any more.
    pub fn were_silent(&self, most: u8) -> bool {
        self.was_silent || !self.are_left(most)
    }

    /// Whether one may be asked now, and others are left for later.
    pub fn is_ready(&self, most: u8, now: Time) -> bool {
        self.next(most, RESERVED, now).is_some()
    }

    /// Another attempt begins that tells little.
    pub fn wait(&mut self) {
        self.since = self.since.saturating_add(1);
    }

    /// An open port stayed silent while others answered. A busy service says nothing of
    /// the path, and it is left alone the sooner.
    pub fn shun(&mut self, rank: u32) {
        if !self.refuses
            && let Some(canary) = self.canary(rank)
        {
            canary.connections = canary.connections.saturating_add(SILENCE_COSTS);
        }
    }

    /// One of the ports that are known to answer, another one each time that one is begun.
    pub fn any(&self) -> Option<u32> {
        let known = self.taking_turns();
        (known > 0).then(|| self.known[usize::from(self.begun) % known].rank.into())
    }

    /// The rank of the port to be asked now, if it is time. A service is connected to `most` times
    /// in all; ports that refuse have none that could mind.
    pub fn due(&self, often: bool, most: u8, now: Time) -> Option<u32> {
        if self.answered == 0 {
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
        self.next(most, RESERVED, now)
    }

    /// The rank of the port to be asked when nothing else of the host is left, to see whether it
    /// still answers.
    pub fn last(&self, most: u8, now: Time) -> Option<u32> {
        self.next(most, 0, now)
    }

    /// Whether one can be asked now or later.
    pub fn are_left(&self, most: u8) -> bool {
        self.last(most, Time::from_us(u64::MAX)).is_some()
    }

    /// How many connections may be made now, at most; some are left for later.
    pub fn left(&self, most: u8, now: Time) -> u32 {
        let known = &self.known[..self.taking_turns()];
        let left = |canary: &Canary| u32::from(canary.left(most, RESERVED, now));
        known.iter().map(left).sum()
    }

    fn next(&self, most: u8, reserved: u8, now: Time) -> Option<u32> {
        let known = self.taking_turns();
        (0..known)
            .map(|turn| &self.known[(usize::from(self.begun) + turn) % known])
            .find(|canary| {
                let is_left = canary.left(most, reserved, now) > 0;
                most > 0 && (self.refuses || is_left)
            })
            .map(|canary| canary.rank.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u8 = 8;

    fn at(s: u64) -> Time {
        Time::from_us(s * 1_000_000)
    }

    /// The ports that are asked during so many attempts that tell little, a thousand in a second,
    /// from this second on.
    fn asked_from(s: u64, canaries: &mut Canaries, attempts: u64, often: bool) -> Vec<u32> {
        let one = |attempt| {
            canaries.wait();
            let now = at(s + attempt / 1_000);
            let due = canaries.due(often, MOST, now);
            due.inspect(|&rank| canaries.begin(rank, now))
        };
        (1..=attempts).filter_map(one).collect()
    }

    fn asked(canaries: &mut Canaries, attempts: u64, often: bool) -> Vec<u32> {
        asked_from(0, canaries, attempts, often)
    }

    fn answered(canaries: &mut Canaries, answers: &[(u32, bool)]) {
        for &(rank, is_open) in answers {
            canaries.answered(rank, is_open, at(0));
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
            (0..ports).for_each(|rank| canaries.answered(rank, true, at(0)));
            let mut all = Vec::new();
            // How often each has been connected to by then, the first time included.
            let mut check = |s, attempts, expect| {
                all.extend(asked_from(s, &mut canaries, attempts, true));
                let of = |rank| 1 + all.iter().filter(|&&other| other == rank).count();
                assert!(
                    (0..ports).all(|rank| of(rank) == expect),
                    "{expect}: {all:?}"
                );
            };
            check(0, 20_000, 4);
            check(60, 20_000, 7);
            check(120, 100_000, 7);
        }
    }

    #[test]
    fn a_busy_service_is_left_alone() {
        let mut canaries = Canaries::default();
        answered(&mut canaries, &[(1, true), (2, true)]);
        canaries.shun(2);
        assert!(asked(&mut canaries.clone(), 3_000, true).contains(&2));
        (0..2).for_each(|_| canaries.shun(2));
        assert!(
            asked(&mut canaries, 3_000, true)
                .iter()
                .all(|&rank| rank == 1)
        );
        answered(&mut canaries, &[(3, false)]);
        canaries.shun(3);
        assert!(
            !asked(&mut canaries, 3_000, true).is_empty(),
            "the kernel refuses, and is not busy"
        );
        assert_eq!(canaries.due(true, 0, at(9)), None);
    }
}
