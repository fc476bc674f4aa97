//! When the whole network goes away: it must have answered, and then stay silent where answers were all but certain. It
//! knows expectations and times, no endpoints.

use super::verdict::Time;

/// Watches for outages, and says how fast to go while one lasts.
#[derive(Debug, Default)]
pub(super) struct Outages {
    last_answer: Time,
    /// The answers that should have come since then.
    missing: f32,
    state: State,
    next_beat: Time,
    pub count: u32,
    pub lasted_us: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum State {
    #[default]
    None,
    Out,
    /// It lasted too long: what is silent is taken for silent, until something answers.
    GivenUp,
}

/// With so many answers expected, none at all is no chance: e^-12.
const MISSING: f32 = 12.0;
/// While it lasts an attempt goes out this often, to see whether it is over.
const BEAT_US: u64 = 50_000;
/// It is waited for this long. A new lease, another mast or a router's restart take less.
const PATIENCE_US: u64 = 20_000_000;

impl Outages {
    /// When the next attempt may begin, if there is an outage: otherwise at once.
    pub fn wait_until(&self, now: Time) -> Option<Time> {
        (self.state == State::Out && self.next_beat > now).then_some(self.next_beat)
    }

    pub fn begin(&mut self, now: Time) {
        self.next_beat = now.plus_us(BEAT_US);
    }

    /// An answer came. Whether it ends an outage: then what was learned of speed and loss before is worth nothing.
    pub fn answered(&mut self, now: Time) -> bool {
        let ended = self.state != State::None;
        if ended {
            self.lasted_us += now.us_since(self.last_answer);
        }
        (self.last_answer, self.missing, self.state) = (now, 0.0, State::None);
        ended
    }

    /// An attempt that began at `started` brought no answer, which it should have with the chance `expected`. Whether an
    /// outage is the likelier reason: then the attempt says nothing about its endpoint.
    pub fn silent(&mut self, expected: f32, started: Time, now: Time) -> bool {
        if started > self.last_answer {
            self.missing += expected;
        }
        match self.state {
            State::None if self.missing >= MISSING => {
                self.state = State::Out;
                self.count += 1;
                true
            }
            State::Out if now.us_since(self.last_answer) > PATIENCE_US => {
                self.state = State::GivenUp;
                false
            }
            state => state == State::Out,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Time {
        Time::from_us(ms * 1_000)
    }

    #[test]
    fn an_outage_begins_where_silence_is_no_chance_and_ends_with_an_answer() {
        let mut outages = Outages::default();
        assert!(!outages.answered(at(100)));
        assert!((0..100).all(|_| !outages.silent(1.0, at(50), at(150))), "they were sent before the last answer");
        assert!((0..11).all(|_| !outages.silent(1.0, at(101), at(200))));
        assert!(outages.silent(1.0, at(101), at(200)) && outages.silent(0.0, at(101), at(201)));
        outages.begin(at(201));
        assert_eq!(outages.wait_until(at(202)), Some(at(251)));
        assert!(outages.answered(at(3_100)) && outages.wait_until(at(3_100)).is_none());
        assert_eq!((outages.count, outages.lasted_us), (1, 3_000_000));
    }

    #[test]
    fn patience_ends() {
        let mut outages = Outages::default();
        outages.answered(at(1));
        assert!(outages.silent(20.0, at(2), at(200)));
        assert!(outages.silent(1.0, at(2), at(20_000)));
        assert!(!outages.silent(1.0, at(2), at(20_002)) && !outages.silent(1.0, at(2), at(30_000)));
        assert!(outages.wait_until(at(30_000)).is_none());
    }
}
