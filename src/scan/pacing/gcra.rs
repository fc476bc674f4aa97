//! The generic cell rate algorithm (ITU-T I.371). Its state is one number: when the next attempt is
//! due if all come evenly. It knows neither where the rate comes from nor what it limits.

use crate::scan::time::Time;

/// Spaces attempts evenly, except that they may run ahead by a burst.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::scan) struct Gcra {
    due_ns: u64,
}

impl Gcra {
    /// Starts at `now`, with nothing saved up.
    pub fn from_now(now: Time) -> Self {
        Gcra {
            due_ns: now.us * 1_000,
        }
    }

    /// Whether no attempt has begun yet.
    pub fn is_fresh(&self) -> bool {
        self.due_ns == 0
    }

    /// When the next attempt may begin, at most `burst_ns` before it is due; `None` for at once.
    pub fn wait_until(&self, burst_ns: u64, now: Time) -> Option<Time> {
        self.wait_behind(0, burst_ns, now)
    }

    /// The same, behind others that take this long.
    pub fn wait_behind(&self, others_ns: u64, burst_ns: u64, now: Time) -> Option<Time> {
        let earliest_ns = (self.due_ns + others_ns).saturating_sub(burst_ns);
        (earliest_ns > now.us * 1_000).then(|| Time::from_us(earliest_ns.div_ceil(1_000)))
    }

    /// An attempt begins; the next one is due `gap_ns` later.
    pub fn begin(&mut self, gap_ns: u64, now: Time) {
        self.due_ns = self.due_ns.max(now.us * 1_000) + gap_ns;
    }

    /// The next attempt waits at most this long, whatever was due.
    pub fn hasten(&mut self, gap_ns: u64, now: Time) {
        self.due_ns = self.due_ns.min(now.us * 1_000 + gap_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_even_but_for_a_burst() {
        let mut gcra = Gcra::from_now(Time::from_us(100));
        let mut begun = Vec::new();
        for us in 100..200 {
            let now = Time::from_us(us);
            while gcra.wait_until(20_000, now).is_none() {
                gcra.begin(10_000, now);
                begun.push(us);
            }
        }
        assert_eq!(begun[..3], [100; 3], "20 µs early");
        assert_eq!(begun[3..5], [110, 120], "then one each 10 µs");
        gcra.begin(1_000_000, Time::from_us(200));
        gcra.hasten(5_000, Time::from_us(200));
        assert_eq!(
            gcra.wait_until(0, Time::from_us(200)),
            Some(Time::from_us(205))
        );
    }
}
