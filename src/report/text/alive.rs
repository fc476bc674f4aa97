//! The text report of a scan that only asks who is there (`--alive`): a line for each host, as it
//! is found, and how many there are. It knows findings and counters, no sockets.

use std::fmt::Write as _;
use std::io::Write;

use super::{Text, hardware};
use crate::report::format::{counted, grouped};
use crate::report::{HostReport, Summary};

impl<W: Write> Text<'_, W> {
    /// `up 192.0.2.7 (printer)  arp-response  MAC 52:54:00:12:34:56 (QEMU virtual NIC)`, or nothing
    /// where nobody is known to be.
    pub(super) fn present(&self, host: &HostReport) -> String {
        let Some(by) = host.up_by().filter(|_| !host.is_part) else {
            return String::new();
        };
        let up = self.style.paint("up", "32");
        let mut line = format!("{up} {}  {by}", self.heading(host.address));
        if let Some(found) = &host.hardware {
            let _ = write!(line, "  MAC {}", hardware(found));
        }
        self.style.wrapped(line) + "\n"
    }

    /// How many addresses somebody is at.
    pub(super) fn presence(&self, summary: &Summary) -> String {
        let up = summary.stats.hosts_answering;
        let all = counted(self.addresses, "address", "addresses");
        format!("\n{} of {all} up\n", grouped(up))
    }
}
