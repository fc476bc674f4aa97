//! The tables of a text report: the listed ports of each host, and counts of the others.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;

use super::{HOSTS_NAMED, MAX_ROWS, Text, shortened};
use crate::report::Origin;
use crate::report::by_host::{HostReport, Row};
use crate::report::escape::printable;
use crate::report::format::{column_width, duration, grouped, ip_text};
use crate::scan::Reason;

/// A column: its title, and its text in a row.
type Column<'a> = (&'static str, &'a dyn Fn(&Row) -> String);

impl<W: Write> Text<'_, W> {
    /// A table for each host with listed ports, and what the tables leave out.
    pub(super) fn tables(&self, text: &mut String) {
        let names_all = self.addresses <= HOSTS_NAMED && !self.style.listed_only;
        for (address, host) in &self.hosts {
            let rows: Vec<&Row> = host.listed(self.style.listing).collect();
            if !rows.is_empty() {
                self.table(text, address, host, &rows);
            } else if names_all {
                let _ = writeln!(
                    text,
                    "\n{}\nnothing to list: {}",
                    self.heading(address),
                    folded(host.counts.iter())
                );
            }
        }
        if self.origin == Origin::Resumed {
            let _ = writeln!(
                text,
                "\nThe scan was resumed: tables hold what was found since; the rest is in the lines of the run before."
            );
        }
        if self.untabled > 0 {
            let _ = writeln!(
                text,
                "\nThe tables stop at {} rows; the other {} are in the lines above.",
                grouped(MAX_ROWS as u64),
                grouped(self.untabled as u64)
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

    fn table(&self, text: &mut String, address: &SocketAddr, host: &HostReport, rows: &[&Row]) {
        let _ = writeln!(text, "\n{}", self.heading(address));
        let service = |row: &Row| self.services.name(row.port).unwrap_or_default().into();
        let columns: [Column; 6] = [
            ("PORT     ", &|row| format!("{}/tcp", row.port)),
            ("STATE", &|row| row.state().as_str().into()),
            ("SERVICE", &service),
            ("REASON", &reason),
            ("RTT", &|row| row.rtt_us.map(duration).unwrap_or_default()),
            ("BANNER", &|row| {
                row.banner.as_deref().map_or(String::new(), shortened)
            }),
        ];
        let has_banners = rows.iter().any(|row| row.banner.is_some());
        let columns = &columns[..if has_banners { 6 } else { 5 }];
        let wide = columns
            .iter()
            .map(|(title, cell)| column_width(title, rows.iter().map(|row| cell(row))));
        let wide: Vec<usize> = wide.collect();
        let titles = columns
            .iter()
            .zip(&wide)
            .map(|((title, _), &wide)| format!("{title:wide$}"));
        let titles = titles.collect::<Vec<_>>().join("  ");
        let _ = writeln!(text, "{}", self.style.paint(titles.trim_end(), "2"));
        for row in rows {
            let cells = columns.iter().zip(&wide).map(|((title, cell), &wide)| {
                let cell = format!("{:wide$}", cell(row));
                match *title {
                    "STATE" => self.style.painted_as(row.state(), &cell),
                    _ => cell,
                }
            });
            let line = cells.collect::<Vec<_>>().join("  ");
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let rest = folded(host.unlisted(self.style.listing));
        if !rest.is_empty() && !self.style.listed_only {
            let _ = writeln!(text, "not listed: {rest}");
        }
    }
}

fn reason(row: &Row) -> String {
    let reason = row.reason.as_str();
    row.reason_ip
        .map_or(reason.into(), |ip| format!("{reason} from {ip}"))
}

/// `1,000 closed (conn-refused), 5 filtered (no-response)`.
fn folded<'a>(counts: impl Iterator<Item = &'a (Reason, u32)>) -> String {
    let parts: Vec<String> = counts
        .map(|&(reason, count)| {
            let count = grouped(count.into());
            let state = reason.state().as_str();
            format!("{count} {state} ({})", reason.as_str())
        })
        .collect();
    parts.join(", ")
}
