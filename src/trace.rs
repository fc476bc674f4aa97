//! The points where perf, bpftrace and DTrace can look in (USDT), all of them. Their names and
//! arguments are a contract, told in docs/PROFILING.md. A point that nobody watches costs a load
//! and a branch, and nothing is worked out for it; without the feature `usdt` nothing is left of
//! it. It knows no socket, reads no clock and decides nothing.

use std::net::SocketAddr;

use crate::scan::{Pace, Slot};

/// At most six arguments, and these types only: what the crate can pass in registers.
#[cfg(feature = "usdt")]
#[usdt::provider(provider = "portreeve")]
mod points {
    fn probe_start(address: &str, port: u16, attempt: u16, slot: u32, fd: i32) {}
    fn probe_outcome(address: &str, port: u16, attempt: u16, slot: u32, errno: i32, rtt_us: i64) {}
    fn socket_opened(fd: i32, slot: u32) {}
    fn socket_kept(fd: i32, slot: u32) {}
    fn socket_closed(fd: i32, slot: u32) {}
    fn wheel_advance(ticks: u64, expired: u32) {}
    fn turn(events: u32, opened: u32, expired: u32, wait_ns: u64) {}
    fn cap_change(before: u32, after: u32, reason: &str) {}
    fn pace_change(before_per_s: u32, after_per_s: u32, reason: &str) {}
    fn rate_wait(us: u64) {}
}

/// Makes the points known where the system wants to be told of them (illumos, FreeBSD); elsewhere
/// they are found in the file. May be called again and again. Where it fails nobody can look in,
/// and nothing else changes.
pub(crate) fn register() {
    #[cfg(feature = "usdt")]
    let _ = usdt::register_probes();
}

macro_rules! fire {
    ($point:ident, $($arguments:tt)*) => {
        #[cfg(feature = "usdt")]
        points::$point!($($arguments)*);
        #[cfg(not(feature = "usdt"))]
        let _ = $($arguments)*;
    };
}

/// An attempt begins; `fd` is -1 where no socket could be opened for it. `number`: which of its
/// endpoint's attempts it is.
#[inline]
pub(crate) fn probe_start(endpoint: SocketAddr, slot: Slot, fd: i32, number: impl FnOnce() -> u16) {
    fire!(probe_start, || (
        endpoint.ip().to_string(),
        endpoint.port(),
        number(),
        slot,
        fd
    ));
}

/// An attempt that ends.
pub(crate) struct Ended {
    pub endpoint: SocketAddr,
    pub number: u16,
    pub slot: Slot,
    /// 0 for connected.
    pub errno: i32,
    /// How long the answer took; -1 where none came.
    pub rtt_us: i64,
}

/// An attempt ends.
#[inline]
pub(crate) fn probe_outcome(ended: impl FnOnce() -> Ended) {
    fire!(probe_outcome, || {
        let Ended {
            endpoint,
            number,
            slot,
            errno,
            rtt_us,
        } = ended();
        (
            endpoint.ip().to_string(),
            endpoint.port(),
            number,
            slot,
            errno,
            rtt_us,
        )
    });
}

/// A socket was opened for a slot.
#[inline]
pub(crate) fn socket_opened(fd: i32, slot: Slot) {
    fire!(socket_opened, || (fd, slot));
}

/// A socket that was kept is used again.
#[inline]
pub(crate) fn socket_kept(fd: i32, slot: Slot) {
    fire!(socket_kept, || (fd, slot));
}

/// A socket is closed.
#[inline]
pub(crate) fn socket_closed(fd: i32, slot: Slot) {
    fire!(socket_closed, || (fd, slot));
}

/// The timer wheel went on by so many ticks of a millisecond, and so many attempts ran out of time.
#[inline]
pub(crate) fn wheel_advance(ticks: u64, expired: u32) {
    fire!(wheel_advance, || (ticks, expired));
}

/// One turn of the loop is over.
#[inline]
pub(crate) fn turn(events: u32, opened: u32, expired: u32, wait_ns: u64) {
    fire!(turn, || (events, opened, expired, wait_ns));
}

/// The number of sockets that may be in flight changed: an errno(3) name, or `recovered`.
#[inline]
pub(crate) fn cap_change(before: u32, after: u32, reason: &str) {
    fire!(cap_change, || (before, after, reason));
}

/// The rate that the path is believed to take changed.
#[inline]
pub(crate) fn pace_change(before: Pace, after: Pace) {
    fire!(pace_change, || (
        before.per_s,
        after.per_s,
        after.reason.as_str()
    ));
}

/// A rate holds the next attempt back for so long.
#[inline]
pub(crate) fn rate_wait(us: u64) {
    fire!(rate_wait, || us);
}
