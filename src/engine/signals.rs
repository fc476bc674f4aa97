//! Stop signals. The first one asks the scan to end with its report; a later, intentional one ends
//! the process. It knows nothing of scans: it sets the flags of a [`StopHandle`].
//!
//! Signals may come in pairs by accident: GNU timeout signals its child and then the whole group, a
//! closing terminal hangs up twice. So a second one within half a second is the same request.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::StopHandle;

/// Nobody presses Ctrl-C twice within this time on purpose.
const SAME_REQUEST_MS: u64 = 500;
/// A loop that has not seen the first signal by then hangs, for instance in a write to a pipe that
/// nobody reads: the second signal ends it.
const HANGS_MS: u64 = 2_000;

/// Makes each of these signals stop the scan. With an exit code, another one of them, at least half
/// a second later, ends the process with it; what the scan had yet to report is lost then.
///
/// # Errors
/// What sigaction(2) says.
pub fn stop_on(signals: &[i32], stop: &StopHandle, exit_code: Option<i32>) -> io::Result<()> {
    let first_ms = Arc::new(AtomicU64::new(NONE));
    for &signal in signals {
        let stop = stop.clone();
        let first_ms = first_ms.clone();
        let handle = move || {
            let now_ms = monotonic_ms();
            match first_ms.compare_exchange(NONE, now_ms, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => stop.stop(),
                Err(first_ms) if is_meant(now_ms.saturating_sub(first_ms), stop.is_seen()) => {
                    if let Some(code) = exit_code {
                        signal_hook::low_level::exit(code)
                    }
                }
                Err(_) => {}
            }
        };
        // SAFETY: the handler reads a clock, sets atomics and calls _exit(2), all
        // async-signal-safe; it does not allocate or panic.
        unsafe { signal_hook::low_level::register(signal, handle) }?;
    }
    Ok(())
}

/// Has SIGXCPU come a second before the limit of processor time kills. `ulimit -t` makes the soft
/// and the hard limit the same, so that it would never come. Affects the whole process; if it
/// fails, the limits stay as they are.
pub fn warn_before_cpu_limit() {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit only writes the struct behind the pointer, which outlives the call.
    let is_told = unsafe { libc::getrlimit(libc::RLIMIT_CPU, &mut limit) } == 0;
    if is_told && limit.rlim_max != libc::RLIM_INFINITY && limit.rlim_cur == limit.rlim_max {
        limit.rlim_cur = limit.rlim_max.saturating_sub(1).max(1);
        // SAFETY: setrlimit only reads the struct behind the pointer, which outlives the call.
        unsafe { libc::setrlimit(libc::RLIMIT_CPU, &limit) };
    }
}

/// No signal has come yet.
const NONE: u64 = u64::MAX;

/// Whether a further signal, this long after the first one, is meant to end the process.
fn is_meant(after_ms: u64, is_seen: bool) -> bool {
    after_ms >= if is_seen { SAME_REQUEST_MS } else { HANGS_MS }
}

fn monotonic_ms() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: clock_gettime(2) only writes the struct behind the pointer, which outlives the call.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    time.tv_sec as u64 * 1_000 + time.tv_nsec as u64 / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_of_signals_is_one_request() {
        for (after_ms, is_seen, meant) in [
            (0, true, false),
            (20, true, false),
            (499, true, false),
            (500, true, true),
            (500, false, false),
            (2_000, false, true),
        ] {
            assert_eq!(
                is_meant(after_ms, is_seen),
                meant,
                "after {after_ms} ms, seen: {is_seen}"
            );
        }
    }
}
