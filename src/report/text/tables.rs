//! The tables of a text report: the listed ports of each host, and counts of the others.

use std::fmt::Write as _;
use std::io::Write;
use std::net::{IpAddr, SocketAddr};

use super::{HOSTS_NAMED, MAX_ROWS, Text};
use crate::report::Origin;
use crate::report::escape::printable;
use crate::report::format::{grouped, ip_text, milliseconds};
use crate::scan::{Reason, State};

/// What the tables say of a host.
#[derive(Debug, Default)]
pub(super) struct Host {
    /// Its listed ports.
    pub rows: Vec<Row>,
    /// How many of its ports have which reason.
    pub counts: Vec<(Reason, u64)>,
}

impl Host {
    /// Counts a port.
    pub fn count(&mut self, reason: Reason) {
        match self.counts.iter_mut().find(|(other, _)| *other == reason) {
            Some((_, count)) => *count += 1,
            None => self.counts.push((reason, 1)),
        }
    }

    /// The width of a column: that of its title, or of its longest cell.
    fn width(&self, title: &str, cell: impl Fn(&Row) -> usize) -> usize {
        let longest = self.rows.iter().map(cell).max().unwrap_or(0);
        longest.max(title.len())
    }
}

/// A listed port.
#[derive(Debug)]
pub(super) struct Row {
    pub port: u16,
    pub reason: Reason,
    pub reason_ip: Option<IpAddr>,
    pub rtt_us: Option<u64>,
    pub banner: String,
}

impl Row {
    fn state(&self) -> State {
        self.reason.state()
    }

    fn reason(&self) -> String {
        let reason = self.reason.as_str();
        self.reason_ip
            .map_or(reason.into(), |ip| format!("{reason} from {ip}"))
    }

    fn rtt(&self) -> String {
        self.rtt_us.map(milliseconds).unwrap_or_default()
    }
}

impl<W: Write> Text<'_, W> {
    /// A table for each host with listed ports, and what the tables leave out.
    pub(super) fn tables(&self, text: &mut String) {
        let names_all =
            self.addresses <= HOSTS_NAMED && !self.style.listed_only && self.counts_hosts;
        for (address, host) in &self.hosts {
            if !host.rows.is_empty() {
                self.table(text, address, host);
            } else if names_all {
                let _ = writeln!(
                    text,
                    "\n{}\nnothing to list: {}",
                    self.heading(address),
                    folded(host.counts.iter().copied())
                );
            }
        }
        if self.origin == Origin::Resumed {
            let _ = writeln!(
                text,
                "\nThe scan was resumed: tables hold what was found since; the rest is in the lines of the run before."
            );
        }
        if self.rows > MAX_ROWS {
            let more = grouped((self.rows - MAX_ROWS) as u64);
            let _ = writeln!(
                text,
                "\nThe tables stop at {} rows; the other {more} are in the lines above.",
                grouped(MAX_ROWS as u64)
            );
        }
    }

    fn heading(&self, address: &SocketAddr) -> String {
        let ip = ip_text(*address);
        let names: Vec<String> = self.names.all(address.ip()).map(printable).collect();
        let text = if names.is_empty() {
            ip
        } else {
            format!("{ip} ({})", names.join(", "))
        };
        self.style.paint(&text, "1")
    }

    fn service(&self, row: &Row) -> &str {
        self.services.name(row.port).unwrap_or("")
    }

    fn table(&self, text: &mut String, address: &SocketAddr, host: &Host) {
        let _ = writeln!(text, "\n{}", self.heading(address));
        let port_wide = 9;
        let state_wide = host.width("STATE", |row| row.state().as_str().len());
        let service_wide = host.width("SERVICE", |row| self.service(row).len());
        let reason_wide = host.width("REASON", |row| row.reason().len());
        let rtt_wide = host.width("RTT", |row| row.rtt().len());
        let banner = if host.rows.iter().any(|row| !row.banner.is_empty()) {
            "BANNER"
        } else {
            ""
        };
        let title = format!(
            "{:port_wide$}  {:state_wide$}  {:service_wide$}  {:reason_wide$}  {:rtt_wide$}  {banner}",
            "PORT", "STATE", "SERVICE", "REASON", "RTT",
        );
        let _ = writeln!(text, "{}", self.style.paint(title.trim_end(), "2"));
        for row in &host.rows {
            let padding = " ".repeat(state_wide - row.state().as_str().len());
            let line = format!(
                "{:port_wide$}  {}{padding}  {:service_wide$}  {:reason_wide$}  {:rtt_wide$}  {}",
                format!("{}/tcp", row.port),
                self.style.painted(row.state()),
                self.service(row),
                row.reason(),
                row.rtt(),
                row.banner,
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let unlisted = host
            .counts
            .iter()
            .copied()
            .filter(|(reason, _)| !self.style.show.lists(reason.state()));
        let rest = folded(unlisted);
        if !rest.is_empty() && !self.style.listed_only {
            let _ = writeln!(text, "not listed: {rest}");
        }
    }
}

/// `1,000 closed (conn-refused), 5 filtered (no-response)`.
fn folded(counts: impl Iterator<Item = (Reason, u64)>) -> String {
    let parts: Vec<String> = counts
        .map(|(reason, count)| {
            format!(
                "{} {} ({})",
                grouped(count),
                reason.state().as_str(),
                reason.as_str()
            )
        })
        .collect();
    parts.join(", ")
}
