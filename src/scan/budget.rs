//! How many sockets may be in flight: the cap that follows from the machine's limits, and how it
//! gives way when the kernel says no. It computes with numbers it is given; reading them from the
//! system is the engine's.

use super::time::Time;
use super::verdict::{OwnError, Reason};

/// What the machine and the user allow, as read before the scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// RLIMIT_NOFILE after it was raised; `u64::MAX` for no limit. `None` where the system does not
    /// tell (a sandbox): then [`ASSUMED_NOFILE`] stands for it.
    pub nofile: Option<u64>,
    /// Descriptors that were open before the scan.
    pub already_open: u64,
    /// `--max-fds`.
    pub max_fds: Option<u32>,
    /// Bytes of memory that are available to this process, where the system tells.
    pub available_bytes: Option<u64>,
    /// Bytes that TCP may still take before the kernel feels pressure (`net.ipv4.tcp_mem`), where
    /// the system tells.
    pub tcp_available_bytes: Option<u64>,
}

/// The descriptor limit where the system does not tell: the smallest that systems come with. If it
/// is less, the kernel says so.
pub const ASSUMED_NOFILE: u64 = 256;

/// Descriptors that are kept free, and for what.
pub const RESERVE: [(&str, u64); 2] = [
    ("reading the system's state while the scan runs", 1),
    ("what the C library may open behind our back", 3),
];

/// Kernel memory of one socket that waits for an answer: 5 KiB of objects and one page with the
/// queued SYN (20,000 of them took 180 MB on Linux 6.18).
pub const SOCKET_BYTES: u64 = 9 * 1024;
/// The part of it that TCP's own account sees: that page.
const SOCKET_TCP_BYTES: u64 = 4 * 1024;
/// Never more than one part in this many of what is available.
pub const MEMORY_SHARE: u64 = 4;
/// Where nothing else limits, for instance RLIM_INFINITY on a large machine: as many as one host
/// has ports.
const ENOUGH: u64 = 65_536;

/// Which of the limits decided the cap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SetBy {
    /// RLIMIT_NOFILE, less what is open and the reserve.
    Nofile,
    /// `--max-fds`.
    MaxFds,
    /// A share of the available memory.
    Memory,
    /// A share of what the kernel gives to TCP.
    TcpMemory,
    /// None of them: more sockets than one host has ports gain nothing.
    Enough,
}

impl SetBy {
    /// All of them.
    pub const ALL: [SetBy; 5] = [
        SetBy::Nofile,
        SetBy::MaxFds,
        SetBy::Memory,
        SetBy::TcpMemory,
        SetBy::Enough,
    ];

    /// The limit's name in reports.
    pub fn as_str(self) -> &'static str {
        match self {
            SetBy::Nofile => "RLIMIT_NOFILE",
            SetBy::MaxFds => "--max-fds",
            SetBy::Memory => "available memory",
            SetBy::TcpMemory => "tcp_mem",
            SetBy::Enough => "built-in maximum",
        }
    }
}

impl Limits {
    /// How many sockets may be in flight at most, at least 1, and which limit says so.
    pub fn cap(&self) -> (u32, SetBy) {
        let known = SetBy::ALL
            .into_iter()
            .filter_map(|set_by| Some((self.sockets(set_by)?, set_by)));
        let (cap, set_by) = known
            .min_by_key(|&(cap, _)| cap)
            .unwrap_or((1, SetBy::Enough));
        (cap.clamp(1, ENOUGH) as u32, set_by)
    }

    /// How many sockets this limit alone allows; `None` where it is not known, or there is none.
    pub fn sockets(&self, limit: SetBy) -> Option<u64> {
        let reserve: u64 = RESERVE.iter().map(|&(_, count)| count).sum();
        match limit {
            SetBy::Nofile if self.nofile == Some(u64::MAX) => None,
            SetBy::Nofile => Some(
                self.nofile
                    .unwrap_or(ASSUMED_NOFILE)
                    .saturating_sub(self.already_open)
                    .saturating_sub(reserve),
            ),
            SetBy::MaxFds => self.max_fds.map(u64::from),
            SetBy::Memory => self
                .available_bytes
                .map(|bytes| bytes / MEMORY_SHARE / SOCKET_BYTES),
            SetBy::TcpMemory => self
                .tcp_available_bytes
                .map(|bytes| bytes / MEMORY_SHARE / SOCKET_TCP_BYTES),
            SetBy::Enough => Some(ENOUGH),
        }
    }
}

/// The cap while the scan runs: it shrinks to what the kernel can bear and grows again.
#[derive(Debug)]
pub(super) struct Budget {
    limit: u32,
    cap: u32,
    /// The latest 16 attempts, a bit for each: 1 for one that failed on our own side.
    recent: u16,
    grows_at: Time,
    grows_gently: bool,
    stalled_since: Option<Time>,
}

/// The cap shrinks when the latest 16 attempts have all failed. Where too many sockets are the
/// reason they do so at once, at the cost of 16 calls. A kernel that says no now and then, however
/// few there are, would bring the cap to 1 for good: of failures by chance, one attempt in four,
/// 16 come in a row once in four billion attempts.
const ALL_FAILED: u16 = u16::MAX;
/// After shrinking the cap stays for a second, then grows each second. Where descriptors ran out it
/// doubles, since a step that was too bold costs one failed call; where memory or ports ran out
/// others suffer too, and it grows by an eighth.
const GROWTH_STEP_US: u64 = 1_000_000;
const GENTLE_DIVISOR: u32 = 8;
const LEAST_FOR_PORTS: u32 = 16;
/// With nothing in flight and every attempt failing on our own side for this long, waiting longer
/// is not scanning.
const STALL_US: u64 = 10_000_000;

impl Budget {
    pub fn new(limit: u32) -> Self {
        Budget {
            limit,
            cap: limit,
            recent: 0,
            grows_at: Time::default(),
            grows_gently: false,
            stalled_since: None,
        }
    }

    pub fn cap(&self) -> u32 {
        self.cap
    }

    /// An attempt begins.
    pub fn begins(&mut self) {
        self.recent <<= 1;
    }

    /// The kernel said no to an attempt, the latest one or nearly so, while `in_flight` others were
    /// held. Failed attempts go back and are made again; if all fail, there are too many.
    pub fn failed(&mut self, error: OwnError, in_flight: u32, now: Time) {
        self.stalled_since.get_or_insert(now);
        self.recent |= 1;
        if self.recent == ALL_FAILED {
            self.shrink(error, in_flight, now);
        }
    }

    /// The kernel can bear `in_flight`. Descriptors are counted exactly; memory is
    /// shared with others, so leave them some; source ports are mostly short towards one
    /// destination only, so go on with the others.
    fn shrink(&mut self, error: OwnError, in_flight: u32, now: Time) {
        let bearable = match error.reason() {
            Reason::OutOfDescriptors => in_flight,
            Reason::NoSourcePort => (in_flight - in_flight / 4).max(LEAST_FOR_PORTS),
            _ => in_flight - in_flight / 4,
        };
        self.grows_gently = error.reason() != Reason::OutOfDescriptors;
        self.cap = bearable.clamp(1, self.cap);
        self.grows_at = now.plus_us(GROWTH_STEP_US);
    }

    /// An attempt came to an end: something works.
    pub fn progress(&mut self) {
        self.stalled_since = None;
    }

    /// Whether nothing has worked for so long that nothing will.
    pub fn is_stalled(&self, in_flight: u32, now: Time) -> bool {
        in_flight == 0
            && self
                .stalled_since
                .is_some_and(|since| now.us_since(since) >= STALL_US)
    }

    /// Lets the cap grow if its time has come.
    pub fn grow(&mut self, now: Time) {
        if self.cap < self.limit && now >= self.grows_at {
            let step = if self.grows_gently {
                (self.cap / GENTLE_DIVISOR).max(1)
            } else {
                self.cap
            };
            self.cap = (self.cap + step).min(self.limit);
            self.grows_at = now.plus_us(GROWTH_STEP_US);
        }
    }

    /// When the cap will grow next, if it is below its limit.
    pub fn grows_at(&self) -> Option<Time> {
        (self.cap < self.limit).then_some(self.grows_at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(limits: Limits, cap: u32, set_by: SetBy) {
        assert_eq!(limits.cap(), (cap, set_by), "{limits:?}");
    }

    #[test]
    fn the_smallest_limit_decides() {
        let roomy = Limits {
            nofile: Some(20_000),
            already_open: 6,
            max_fds: None,
            available_bytes: Some(8 << 30),
            tcp_available_bytes: Some(2 << 30),
        };
        check(roomy, 19_990, SetBy::Nofile);
        check(
            Limits {
                nofile: Some(16),
                already_open: 4,
                ..roomy
            },
            8,
            SetBy::Nofile,
        );
        check(
            Limits {
                nofile: Some(3),
                already_open: 4,
                ..roomy
            },
            1,
            SetBy::Nofile,
        );
        check(
            Limits {
                max_fds: Some(1),
                ..roomy
            },
            1,
            SetBy::MaxFds,
        );
        check(
            Limits {
                nofile: Some(u64::MAX),
                available_bytes: None,
                tcp_available_bytes: None,
                ..roomy
            },
            65_536,
            SetBy::Enough,
        );
        check(
            Limits {
                nofile: None,
                ..roomy
            },
            246,
            SetBy::Nofile,
        );
        check(
            Limits {
                nofile: Some(1_000_000),
                ..roomy
            },
            65_536,
            SetBy::Enough,
        );
        check(
            Limits {
                available_bytes: Some(72 << 20),
                ..roomy
            },
            2_048,
            SetBy::Memory,
        );
        check(
            Limits {
                tcp_available_bytes: Some(16 << 20),
                ..roomy
            },
            1_024,
            SetBy::TcpMemory,
        );
        check(
            Limits {
                available_bytes: Some(0),
                ..roomy
            },
            1,
            SetBy::Memory,
        );
    }

    /// So many attempts fail one after the other, all with so many in flight.
    fn fail(budget: &mut Budget, error: OwnError, attempts: u32, in_flight: u32, now: Time) {
        for _ in 0..attempts {
            budget.begins();
            budget.failed(error, in_flight, now);
        }
    }

    #[test]
    fn it_shrinks_to_what_was_borne_and_grows_back() {
        for (error, after, seconds) in [
            (OwnError::ProcessDescriptors, 100, 4),
            (OwnError::Buffers, 75, 23),
        ] {
            let mut budget = Budget::new(1_000);
            fail(&mut budget, error, 15, 100, Time::default());
            assert_eq!(budget.cap(), 1_000, "that may be chance");
            fail(&mut budget, error, 1, 100, Time::default());
            assert_eq!(budget.cap(), after);
            budget.grow(Time::from_us(999_999));
            assert_eq!(budget.cap(), after, "not before its time");
            let mut steps = 0;
            while let Some(next) = budget.grows_at() {
                steps += 1;
                assert_eq!(next.us, steps * GROWTH_STEP_US);
                budget.grow(next);
            }
            assert_eq!((budget.cap(), steps), (1_000, seconds));
            fail(&mut budget, error, 1, 0, Time::default());
            assert_eq!(budget.cap(), 1, "never less than one");
        }
    }

    /// Fails if the cap leaves `expect` in a minute after the first second, with 1,000 attempts a
    /// second of which the kernel takes those that `takes` says, by their number and by how many
    /// are in flight. A tenth of the cap ends before each.
    fn check_kernel(
        name: &str,
        error: OwnError,
        expect: std::ops::RangeInclusive<u32>,
        takes: impl Fn(u64, u32) -> bool,
    ) {
        let mut budget = Budget::new(1_000);
        let mut in_flight = 0;
        for attempt in 0..60_000 {
            let now = Time::from_us(attempt * 1_000);
            budget.grow(now);
            if in_flight >= budget.cap() {
                in_flight -= in_flight.div_ceil(10);
            }
            budget.begins();
            if takes(attempt, in_flight) {
                in_flight += 1;
            } else {
                budget.failed(error, in_flight, now);
            }
            let cap = budget.cap();
            assert!(
                attempt < 1_000 || expect.contains(&cap),
                "{name}: the cap is {cap} after {attempt} attempts"
            );
        }
    }

    #[test]
    fn a_failure_now_and_then_leaves_the_cap_where_a_shortage_does_not() {
        for error in OwnError::ALL {
            check_kernel("one in nine", error, 1_000..=1_000, |n, _| n % 9 != 8);
            check_kernel("one in four", error, 1_000..=1_000, |n, _| n % 4 != 0);
            check_kernel("in blocks", error, 1_000..=1_000, |n, _| n % 30 > 14);
        }
        let bears_300 = |_, in_flight| in_flight < 300;
        let descriptors = OwnError::ProcessDescriptors;
        check_kernel("no descriptors", descriptors, 300..=600, bears_300);
        check_kernel("no memory", OwnError::Memory, 225..=340, bears_300);
    }

    #[test]
    fn a_stall_needs_ten_seconds_without_any_answer() {
        let mut budget = Budget::new(10);
        budget.failed(OwnError::ProcessDescriptors, 0, Time::default());
        let late = Time::from_us(STALL_US);
        assert!(
            budget.is_stalled(0, late)
                && !budget.is_stalled(1, late)
                && !budget.is_stalled(0, Time::from_us(1))
        );
        budget.progress();
        assert!(!budget.is_stalled(0, late));
    }
}
