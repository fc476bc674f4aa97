//! What this machine allows: descriptors and memory, and how much of them is in use. It reads and
//! raises limits; `scan` computes what follows from them.

use std::io;

use crate::scan::{ASSUMED_NOFILE, Limits};

/// Raises this process's soft limit of open descriptors (RLIMIT_NOFILE) to its hard limit and
/// returns the new limit; `u64::MAX` stands for no limit. It affects the whole process, so the
/// library leaves it to its user to call this.
///
/// # Errors
/// What getrlimit(2) says. A raise that fails is no error: the old limit is returned.
pub fn raise_descriptor_limit() -> io::Result<u64> {
    let limit = descriptor_limit()?;
    let wanted = libc::rlimit {
        rlim_cur: highest_soft_limit(limit.rlim_max),
        rlim_max: limit.rlim_max,
    };
    if wanted.rlim_cur <= limit.rlim_cur {
        return Ok(plain(limit.rlim_cur));
    }
    // SAFETY: setrlimit only reads the struct behind the pointer, which outlives the call.
    let is_raised = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &wanted) } == 0;
    Ok(plain(if is_raised {
        wanted.rlim_cur
    } else {
        limit.rlim_cur
    }))
}

/// Lowers this process's soft limit of open descriptors, for experiments; the hard limit stays.
///
/// # Errors
/// What setrlimit(2) says: for instance that it is above the hard limit.
pub fn lower_descriptor_limit(soft: u64) -> io::Result<()> {
    let limit = libc::rlimit {
        rlim_cur: soft as libc::rlim_t,
        rlim_max: descriptor_limit()?.rlim_max,
    };
    // SAFETY: setrlimit only reads the struct behind the pointer, which outlives the call.
    match unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// macOS says "unlimited" and refuses more than OPEN_MAX (setrlimit(2), COMPATIBILITY;
/// sys/syslimits.h). Never run.
#[cfg(target_vendor = "apple")]
fn highest_soft_limit(hard: libc::rlim_t) -> libc::rlim_t {
    const OPEN_MAX: libc::rlim_t = 10_240;
    hard.min(OPEN_MAX)
}

#[cfg(not(target_vendor = "apple"))]
fn highest_soft_limit(hard: libc::rlim_t) -> libc::rlim_t {
    hard
}

/// RLIMIT_NOFILE, soft and hard; `u64::MAX` for no limit.
///
/// # Errors
/// What getrlimit(2) says.
pub fn nofile() -> io::Result<(u64, u64)> {
    let limit = descriptor_limit()?;
    Ok((plain(limit.rlim_cur), plain(limit.rlim_max)))
}

/// What getrlimit(2) says, or where it may not be called (a sandbox), the list of all limits.
fn descriptor_limit() -> io::Result<libc::rlimit> {
    asked_limit().or_else(|error| {
        let list = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
        listed_limit(&list).ok_or(error)
    })
}

/// Linux: `Max open files            1024                 524288               files`.
fn listed_limit(list: &str) -> Option<libc::rlimit> {
    let line = list
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))?;
    let mut limits = line.split_whitespace().map(|word| match word {
        "unlimited" => Some(libc::RLIM_INFINITY),
        word => word.parse().ok(),
    });
    Some(libc::rlimit {
        rlim_cur: limits.next()??,
        rlim_max: limits.next()??,
    })
}

fn asked_limit() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: getrlimit only writes the struct behind the pointer, which outlives the call.
    match unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) } {
        0 => Ok(limit),
        _ => Err(io::Error::last_os_error()),
    }
}

#[allow(clippy::unnecessary_cast)] // rlim_t is signed on some systems
fn plain(limit: libc::rlim_t) -> u64 {
    if limit == libc::RLIM_INFINITY {
        u64::MAX
    } else {
        limit as u64
    }
}

/// Reads what bears on the number of sockets. A value that the system does not provide is `None`.
pub(super) fn limits(max_fds: Option<u32>) -> Limits {
    let nofile = nofile().ok().map(|(soft, _)| soft);
    Limits {
        nofile,
        already_open: open_descriptors(nofile.unwrap_or(ASSUMED_NOFILE)),
        max_fds,
        available_bytes: memory::available_bytes(),
        tcp_available_bytes: memory::tcp_available_bytes(),
    }
}

/// Memory that the kernel's TCP holds now, for all sockets of the machine: mostly queued packets,
/// not the sockets themselves. `None` where the system does not provide it.
pub(super) fn tcp_used_bytes() -> Option<u64> {
    memory::tcp_used_bytes()
}

/// TCP's memory thresholds, in bytes; see tcp(7), tcp_mem. `None` where the system does not provide
/// them.
#[cfg(feature = "cli")]
pub(super) fn tcp_mem_bytes() -> Option<[u64; 3]> {
    memory::tcp_mem_bytes()
}

/// How many descriptors are open. The quick way is the system's list of them. Where there is none,
/// or no descriptor is left to read it with, each number is tried, up to a bound above which small
/// programs have nothing open.
fn open_descriptors(nofile: u64) -> u64 {
    const LIST: &str = if cfg!(target_os = "linux") {
        "/proc/self/fd"
    } else {
        "/dev/fd"
    };
    if let Ok(list) = std::fs::read_dir(LIST) {
        // The list includes the descriptor that it is read with.
        return (list.count() as u64).saturating_sub(1);
    }
    // SAFETY: F_GETFD reads a flag of a descriptor number and has no effect, whatever the number.
    (0..nofile.min(4_096) as i32)
        .filter(|&fd| unsafe { libc::fcntl(fd, libc::F_GETFD) } != -1)
        .count() as u64
}

/// The size of a page of memory.
#[cfg(target_os = "linux")]
pub(super) fn page_bytes() -> u64 {
    // SAFETY: sysconf has no preconditions.
    u64::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4_096)
}

#[cfg(target_os = "linux")]
mod memory {
    use std::fs::read_to_string;
    use std::path::{Path, PathBuf};

    use super::page_bytes;

    /// MemAvailable of the machine (proc(5)), or less where a control group gives less.
    pub fn available_bytes() -> Option<u64> {
        let machine = field(&read_to_string("/proc/meminfo").ok()?, "MemAvailable:")? * 1024;
        let membership = read_to_string("/proc/self/cgroup").unwrap_or_default();
        Some(groups_available(&membership, machine, &|path| {
            read_to_string(path).ok()
        }))
    }

    /// A mounted hierarchy of control groups, and the files that tell of a group's memory there.
    struct Hierarchy {
        root: &'static str,
        /// The controller's name in /proc/self/cgroup; version 2 has none.
        controller: &'static str,
        limit: &'static str,
        used: &'static str,
        /// The name in memory.stat of cached file pages, of the groups below, too.
        cached: &'static str,
    }

    const VERSION_2: Hierarchy = Hierarchy {
        root: "/sys/fs/cgroup",
        controller: "",
        limit: "memory.max",
        used: "memory.current",
        cached: "file ",
    };

    /// Version 2, the same beside version 1, and version 1 (cgroups(7)). Where there is no such
    /// hierarchy, no file is there.
    const HIERARCHIES: [Hierarchy; 3] = [
        VERSION_2,
        Hierarchy {
            root: "/sys/fs/cgroup/unified",
            ..VERSION_2
        },
        Hierarchy {
            root: "/sys/fs/cgroup/memory",
            controller: "memory",
            limit: "memory.limit_in_bytes",
            used: "memory.usage_in_bytes",
            cached: "total_cache ",
        },
    ];

    /// What this process's control groups leave of the machine's memory, by the text of
    /// /proc/self/cgroup.
    pub(super) fn groups_available(
        membership: &str,
        machine: u64,
        read: &dyn Fn(&Path) -> Option<String>,
    ) -> u64 {
        HIERARCHIES
            .iter()
            .flat_map(|hierarchy| {
                let groups = hierarchy.groups(membership);
                groups
                    .into_iter()
                    .filter_map(|group| hierarchy.available(&group, read))
            })
            .fold(machine, u64::min)
    }

    impl Hierarchy {
        /// This process's group and those above it, up to the root that is visible here.
        fn groups(&self, membership: &str) -> Vec<PathBuf> {
            let path_here = |line: &str| {
                let mut parts = line.splitn(3, ':').skip(1);
                let mut controllers = parts.next()?.split(',');
                let path = parts.next()?.trim_start_matches('/').to_owned();
                controllers
                    .any(|name| name == self.controller)
                    .then_some(path)
            };
            let path = membership.lines().find_map(path_here).unwrap_or_default();
            let root = Path::new(self.root);
            root.join(path)
                .ancestors()
                .take_while(|at| at.starts_with(root))
                .map(Path::to_owned)
                .collect()
        }

        /// What is left of the group's memory. Cached file pages do not count as used, because the
        /// kernel gives them back.
        fn available(&self, group: &Path, read: &dyn Fn(&Path) -> Option<String>) -> Option<u64> {
            let number = |name| read(&group.join(name))?.trim().parse::<u64>().ok();
            let cached = field(&read(&group.join("memory.stat"))?, self.cached).unwrap_or(0);
            let used = number(self.used)?.saturating_sub(cached);
            Some(number(self.limit)?.saturating_sub(used))
        }
    }

    /// What TCP may still take before the kernel counts it as memory pressure.
    pub fn tcp_available_bytes() -> Option<u64> {
        Some(tcp_mem_bytes()?[1].saturating_sub(tcp_used_bytes()?))
    }

    /// TCP's thresholds (tcp(7), tcp_mem): no regulation below the first, memory pressure from the
    /// second, no further allocation from the third.
    pub fn tcp_mem_bytes() -> Option<[u64; 3]> {
        let text = read_to_string("/proc/sys/net/ipv4/tcp_mem").ok()?;
        let marks: Vec<u64> = text
            .split_whitespace()
            .map_while(|word| word.parse().ok())
            .collect();
        Some(
            <[u64; 3]>::try_from(marks)
                .ok()?
                .map(|pages| pages.saturating_mul(page_bytes())),
        )
    }

    /// TCP's memory in use (/proc/net/sockstat).
    pub fn tcp_used_bytes() -> Option<u64> {
        let sockstat = read_to_string("/proc/net/sockstat").ok()?;
        let tcp = sockstat.lines().find(|line| line.starts_with("TCP:"))?;
        let pages: u64 = tcp
            .split_whitespace()
            .skip_while(|word| *word != "mem")
            .nth(1)?
            .parse()
            .ok()?;
        Some(pages * page_bytes())
    }

    /// The number after `name` on the first line that begins with it.
    fn field(text: &str, name: &str) -> Option<u64> {
        let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
        rest.split_whitespace().next()?.parse().ok()
    }
}

/// Nothing is known here: only the descriptor limit and the kernel's errors bound the sockets.
#[cfg(not(target_os = "linux"))]
mod memory {
    pub fn available_bytes() -> Option<u64> {
        None
    }

    pub fn tcp_available_bytes() -> Option<u64> {
        None
    }

    pub fn tcp_mem_bytes() -> Option<[u64; 3]> {
        None
    }

    pub fn tcp_used_bytes() -> Option<u64> {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_is_raised_to_the_hard_one_and_stays() {
        let raised = raise_descriptor_limit().unwrap();
        assert_eq!(raised, plain(descriptor_limit().unwrap().rlim_cur));
        assert_eq!(raise_descriptor_limit().unwrap(), raised);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_list_says_what_the_call_says() {
        let list = std::fs::read_to_string("/proc/self/limits").unwrap();
        let (asked, listed) = (asked_limit().unwrap(), listed_limit(&list).unwrap());
        assert_eq!(
            (listed.rlim_cur, listed.rlim_max),
            (asked.rlim_cur, asked.rlim_max)
        );
        let no_limit = "Max open files            1024                 unlimited            files";
        let listed = listed_limit(no_limit).unwrap();
        assert_eq!(
            (listed.rlim_cur, listed.rlim_max),
            (1_024, libc::RLIM_INFINITY)
        );
        assert!(listed_limit("").is_none() && listed_limit("Max open files x y").is_none());
    }

    #[test]
    fn both_ways_of_counting_descriptors_work() {
        let files: Vec<_> = (0..20)
            .map(|_| std::fs::File::open("/dev/null").unwrap())
            .collect();
        assert!(open_descriptors(20_000) > files.len() as u64);
        assert_eq!(
            open_descriptors(0).min(1),
            1,
            "the list does not need the limit"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn control_groups_of_both_versions_limit_memory() {
        const MIB: u64 = 1 << 20;
        let group = |root: &str, [limit, used]: [&str; 2], [max, current]: [u64; 2], stat: &str| {
            vec![
                (format!("{root}/{limit}"), format!("{}\n", max * MIB)),
                (format!("{root}/{used}"), format!("{}\n", current * MIB)),
                (
                    format!("{root}/memory.stat"),
                    format!("{stat} {MIB}\nx 1\n"),
                ),
            ]
        };
        let new = ["memory.max", "memory.current"];
        let old = ["memory.limit_in_bytes", "memory.usage_in_bytes"];
        let root = "/sys/fs/cgroup";
        let available = |membership: &str, files: &[(String, String)]| {
            let read = |path: &std::path::Path| {
                let of = |(name, _): &&(String, String)| path == std::path::Path::new(name);
                files.iter().find(of).map(|(_, text)| text.clone())
            };
            memory::groups_available(membership, 1_000 * MIB, &read) / MIB
        };
        let both = "5:cpuset:/\n4:cpu,memory:/a/b\n0::/c\n";
        let v1 = group(&format!("{root}/memory/a"), old, [32, 12], "total_cache");
        assert_eq!(available(both, &v1), 21);
        // In a container, the path is another's and its own group is the root.
        let v1 = group(&format!("{root}/memory"), old, [32, 12], "total_cache");
        assert_eq!(available(both, &v1), 21);
        let hybrid = group(&format!("{root}/unified/c"), new, [64, 12], "file");
        assert_eq!(available(both, &hybrid), 53);
        let v2 = group(&format!("{root}/c"), new, [96, 12], "file");
        assert_eq!(available("0::/c/d\n", &v2), 85);
        assert_eq!(available("", &[]), 1_000);
    }

    #[test]
    fn no_limit_is_a_large_number_not_a_small_one() {
        assert_eq!(plain(libc::RLIM_INFINITY), u64::MAX);
    }
}
