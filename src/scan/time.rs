//! Time as the scan knows it: a number that its caller hands in. No clock is read here.

/// Microseconds since the scan began. The scan takes time as a parameter and never asks for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Time {
    /// Microseconds since the scan began.
    pub us: u64,
}

impl Time {
    /// This long after the scan began.
    pub const fn from_us(us: u64) -> Self {
        Time { us }
    }

    /// `us` microseconds later, without overflow.
    pub const fn plus_us(self, us: u64) -> Self {
        Time {
            us: self.us.saturating_add(us),
        }
    }

    /// How many microseconds passed since `earlier`, 0 if it is later.
    pub const fn us_since(self, earlier: Time) -> u64 {
        self.us.saturating_sub(earlier.us)
    }
}

/// The wheel's tick, in microseconds. epoll waits in whole milliseconds; a finer wheel would only
/// wake up to wait again.
pub const TICK_US: u64 = 1_000;
