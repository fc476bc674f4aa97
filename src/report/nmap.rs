//! What nmap's XML and its grepable format have in common: who scanned when, which hosts are told
//! of, and the sum. It knows hosts and counters, no sockets.

use std::time::SystemTime;

use super::format::wall_clock;
use super::{Begin, Exit, HostReport, Summary, counted};
use crate::plan::Names;
use crate::scan::Time;

/// A scan as nmap would tell of it.
#[derive(Debug)]
pub(super) struct Nmap {
    /// Who it says it is.
    pub scanner: String,
    pub arguments: String,
    pub started_at: SystemTime,
    pub names: Names,
    pub addresses: u64,
    all_hosts: bool,
    /// Whether hosts count as up because the user said so.
    pub is_forced: bool,
}

impl Nmap {
    pub fn new(scanner: &str, arguments: &[String]) -> Self {
        Nmap {
            scanner: scanner.into(),
            arguments: [&[env!("CARGO_PKG_NAME").into()], arguments]
                .concat()
                .join(" "),
            started_at: SystemTime::UNIX_EPOCH,
            names: Names::default(),
            addresses: 0,
            all_hosts: false,
            is_forced: false,
        }
    }

    pub fn begin(&mut self, begin: &Begin) {
        self.started_at = begin.started_at;
        self.names = begin.plan.names.clone();
        self.all_hosts = begin.tells_all_hosts();
        self.addresses = begin.plan.addresses;
        self.is_forced = begin.settings.scan_silent;
    }

    /// Whether a host is told of: nmap leaves out those where nobody seems to be.
    pub fn tells_of(&self, host: &HostReport) -> bool {
        self.all_hosts || !host.rows.is_empty() || host.answered_by().is_some()
    }

    pub fn hosts_up(&self, summary: &Summary) -> u64 {
        if self.is_forced {
            self.addresses
        } else {
            summary.stats.hosts_answering
        }
    }

    /// The time as C's ctime(3) writes it, but UTC.
    pub fn ctime(&self, after: Time) -> String {
        wall_clock(self.started_at, after)
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string()
    }

    /// Seconds since 1970.
    pub fn seconds(&self, after: Time) -> i64 {
        wall_clock(self.started_at, after).as_second()
    }

    pub fn initiated(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let time = self.ctime(Time::default());
        format!(
            "{} {version} scan initiated {time} as: {}",
            self.scanner, self.arguments
        )
    }

    pub fn done(&self, summary: &Summary) -> String {
        let word = if summary.exit == Exit::Complete {
            "done"
        } else {
            summary.exit.as_str()
        };
        format!(
            "{} {word} at {} -- {} ({} up) scanned in {:.2} seconds",
            self.scanner,
            self.ctime(summary.elapsed),
            counted(self.addresses, "IP address", "IP addresses"),
            counted(self.hosts_up(summary), "host", "hosts"),
            summary.elapsed.us as f64 / 1e6,
        )
    }
}
