//! Further limits of this machine, which do not affect the cap but may interest people. It only
//! reads.

use std::fs::read_to_string;

use super::{fdlimit, links};
use crate::report::Tracking;
use crate::report::limits::Machine;

/// Reads the machine's limits. `found` is RLIMIT_NOFILE, soft and hard, as it was before the caller
/// [raised](super::raise_descriptor_limit) it. A value that the system does not provide, or does
/// not let us read, is `None`.
pub fn machine(found: Option<(u64, u64)>, max_fds: Option<u32>) -> Machine {
    Machine {
        limits: fdlimit::limits(max_fds),
        nofile: found,
        files: numbers("fs/file-nr")
            .and_then(|numbers| Some((*numbers.first()?, *numbers.get(2)?))),
        source_ports: numbers("net/ipv4/ip_local_port_range").and_then(|numbers| {
            Some((
                u16::try_from(*numbers.first()?).ok()?,
                u16::try_from(*numbers.get(1)?).ok()?,
            ))
        }),
        tcp_mem_bytes: fdlimit::tcp_mem_bytes(),
        tcp_used_bytes: fdlimit::tcp_used_bytes(),
        neighbours: links::neighbour_tables(),
        tracking: tracking(),
        epoll_watches: numbers("fs/epoll/max_user_watches")
            .and_then(|numbers| numbers.first().copied()),
    }
}

/// What this machine's own firewall tracks, if it can.
pub fn tracking() -> Option<Tracking> {
    let number = |name| numbers(name)?.first().copied();
    Some(Tracking {
        count: number("net/netfilter/nf_conntrack_count")?,
        most: number("net/netfilter/nf_conntrack_max")?,
    })
}

/// The numbers in a file below /proc/sys (proc_sys(5)); other systems have no such file.
fn numbers(name: &str) -> Option<Vec<u64>> {
    let text = read_to_string(format!("/proc/sys/{name}")).ok()?;
    text.split_whitespace()
        .map(|word| word.parse().ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_not_there_is_not_told() {
        assert_eq!(numbers("no/such/file"), None);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_tells() {
        let machine = machine(fdlimit::nofile().ok(), Some(5));
        assert_eq!(machine.limits.cap().0, 5);
        let (first, last) = machine.source_ports.expect("a range");
        assert!(first < last);
        assert!(
            machine.files.is_some_and(|(open, most)| open <= most)
                && machine.epoll_watches > Some(0)
        );
        assert!(
            machine
                .tcp_mem_bytes
                .is_some_and(|[low, pressure, high]| low <= pressure && pressure <= high)
        );
    }
}
