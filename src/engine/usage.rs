//! What this process uses of the machine, processor time and memory, and what it was begun with:
//! which signals it ignores, whose rights it has.
//! It knows nothing of scans.

use std::time::Duration;

/// Processor time of this process, all threads together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuTime {
    /// In its own code.
    pub user: Duration,
    /// In the kernel on its behalf.
    pub system: Duration,
}

/// Processor time used so far (getrusage(2)).
pub fn cpu_time() -> CpuTime {
    // SAFETY: an all-zero rusage is a valid one, and getrusage only writes the struct behind the
    // pointer, which outlives the call.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(libc::RUSAGE_SELF, &mut usage);
        usage
    };
    CpuTime {
        user: duration(usage.ru_utime),
        system: duration(usage.ru_stime),
    }
}

fn duration(time: libc::timeval) -> Duration {
    Duration::from_secs(time.tv_sec as u64) + Duration::from_micros(time.tv_usec as u64)
}

/// This process's resident memory now, in bytes (proc(5), statm); `None` where the system does not
/// provide it.
#[cfg(target_os = "linux")]
pub fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split(' ').nth(1)?.parse().ok()?;
    Some(pages * super::fdlimit::page_bytes())
}

/// This process's resident memory now: not provided on this system.
#[cfg(not(target_os = "linux"))]
pub fn resident_bytes() -> Option<u64> {
    None
}

/// Whether a signal was ignored when this process began, as nohup(1) does for SIGHUP, and a shell
/// without job control for SIGINT of background jobs. Ask before anything sets that signal's action
/// (sigaction(2)).
pub fn ignores(signal: i32) -> bool {
    // SAFETY: an all-zero sigaction is a valid one; without a new action, sigaction only writes the
    // struct behind the pointer, which outlives the call.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        libc::sigaction(signal, std::ptr::null(), &mut action) == 0
            && action.sa_sigaction == libc::SIG_IGN
    }
}

/// Whether this process has rights that its caller lacks, because of its file: set-user-id,
/// set-group-id or capabilities (getauxval(3), AT_SECURE).
#[cfg(target_os = "linux")]
pub fn has_borrowed_rights() -> bool {
    // SAFETY: getauxval has no preconditions.
    unsafe { libc::getauxval(libc::AT_SECURE) != 0 }
}

/// Whether this process has the rights of another user or group, because of its file.
#[cfg(not(target_os = "linux"))]
pub fn has_borrowed_rights() -> bool {
    // SAFETY: the calls have no preconditions and always succeed.
    unsafe { libc::getuid() != libc::geteuid() || libc::getgid() != libc::getegid() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_ignored_is_known() {
        // The standard library has it so (std::process).
        assert!(ignores(libc::SIGPIPE) && !ignores(libc::SIGCHLD) && !ignores(-1));
    }

    #[test]
    fn a_test_has_its_callers_rights() {
        assert!(!has_borrowed_rights());
    }

    #[test]
    fn work_takes_time_and_memory() {
        let before = cpu_time();
        let memory: Vec<u64> = (0..4_000_000u64)
            .map(|n| n.wrapping_mul(n ^ 0x9E37))
            .collect();
        assert!(memory.iter().fold(0, |all, n| all ^ n) != 1);
        let after = cpu_time();
        assert!(after.user + after.system > before.user + before.system);
        assert!(
            cfg!(not(target_os = "linux")) || resident_bytes() > Some(32_000_000),
            "{:?}",
            resident_bytes()
        );
    }
}
