//! The tables of a text report: the listed ports of each host, and counts of the others.

use std::fmt::Write as _;
use std::io::Write;

use super::{Text, hardware, shortened};
use crate::report::format::{column_width, duration, grouped};
use crate::report::host::{HostReport, Row};
use crate::scan::Reason;

/// A column: its title, and its text in a row.
type Column<'a> = (&'static str, &'a dyn Fn(&Row) -> String);

/// Cells that do not fit beside the others stand in a line of their own, this deep.
const INDENT: usize = 4;

impl<W: Write> Text<'_, W> {
    /// A table for each host with listed ports, and what the tables leave out.
    pub(super) fn tables(&self) -> String {
        let mut text = String::new();
        for host in self.told() {
            let heading = self.style.paint(&self.heading(host.address), "1");
            let _ = writeln!(text, "\n{heading}");
            let rows: Vec<&Row> = host.listed(self.style.listing).collect();
            if rows.is_empty() {
                let _ = writeln!(text, "nothing to list: {}", folded(host.counts.iter()));
            } else {
                self.table(&mut text, host, &rows);
            }
            if let Some(found) = &host.hardware {
                let _ = writeln!(text, "MAC address: {}", hardware(found));
            }
        }
        self.untold(&mut text);
        text
    }

    /// What the hosts above lack.
    pub(super) fn untold(&self, text: &mut String) {
        if self.kept.left_out() > 0 {
            let rows: usize = self.kept.hosts().map(|host| host.rows.len()).sum();
            let _ = writeln!(
                text,
                "\nThe tables stop at {} rows; the other {} have only the lines that came when they were found.",
                grouped(rows as u64),
                grouped(self.kept.left_out())
            );
        }
    }

    fn table(&self, text: &mut String, host: &HostReport, rows: &[&Row]) {
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
        let screen = (self.style.screen)().map_or(usize::MAX, |screen| screen.columns);
        let begin = begins(&wide, screen);
        let titles = columns.iter().zip(&wide);
        let titles = titles.map(|((title, _), &wide)| format!("{title:wide$}"));
        let titles = joined(titles, &begin);
        let _ = writeln!(text, "{}", self.style.paint(&titles, "2"));
        for row in rows {
            let cells = columns.iter().zip(&wide).map(|((title, cell), &wide)| {
                let cell = format!("{:wide$}", cell(row));
                match *title {
                    "STATE" => self.style.painted_as(row.state(), &cell),
                    _ => cell,
                }
            });
            let _ = writeln!(text, "{}", joined(cells, &begin));
        }
        let rest = folded(host.unlisted(self.style.listing));
        if !rest.is_empty() && !self.style.listed_only {
            let _ = writeln!(text, "not listed: {rest}");
        }
    }
}

/// Which columns of these widths begin a line, where the screen is too narrow for all of them.
fn begins(wide: &[usize], screen: usize) -> Vec<bool> {
    let mut end = 0;
    let mut begins = |&wide: &usize| {
        let begins = end > 0 && end + GAP.len() + wide > screen;
        end = if begins { INDENT } else { end + GAP.len() } + wide;
        begins
    };
    wide.iter().map(&mut begins).collect()
}

/// Between two columns.
const GAP: &str = "  ";

/// The cells of a row, in one line or several.
fn joined(cells: impl Iterator<Item = String>, begins: &[bool]) -> String {
    let mut text = String::new();
    for (at, (cell, begins)) in cells.zip(begins).enumerate() {
        if *begins {
            text.truncate(text.trim_end().len());
            let _ = write!(text, "\n{:INDENT$}", "");
        } else if at > 0 {
            text += GAP;
        }
        text += &cell;
    }
    text.truncate(text.trim_end().len());
    text
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
