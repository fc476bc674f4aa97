//! nmap's normal format, for people and for what reads nmap's files: a table of ports for each
//! host. It is the same whatever the screen shows. It knows hosts and counters, no sockets.

use std::fmt::Write as _;
use std::io::Write;

use super::escape::{banner_text, printable};
use super::format::{column_width, ip_text};
use super::host::Row;
use super::nmap::{Format, NmapReport, Run, state_word};
use super::{Hardware, HostReport, Listing};
use crate::plan::Services;

/// Writes nmap's normal format to `W`.
pub type Normal<'a, W> = NmapReport<'a, W, Tables>;

/// The tables of the format.
#[derive(Debug)]
pub struct Tables;

impl<'a, W: Write> Normal<'a, W> {
    /// A sink that writes to `out` and lists the ports of `listing`; the others are counted.
    pub fn new(out: W, listing: Listing, services: &'a Services, arguments: &[String]) -> Self {
        NmapReport::of(out, listing, services, env!("CARGO_PKG_NAME"), arguments)
    }
}

impl Format for Tables {
    fn host(run: &Run, host: &HostReport) -> String {
        let heading = heading(run, host);
        let mut text = format!("Nmap scan report for {heading}\n");
        let latency = host.rows.iter().filter_map(|row| row.rtt_us).min();
        let latency = latency.map_or(String::new(), |us| {
            format!(" ({:.6}s latency)", us as f64 / 1e6)
        });
        if run.is_up(host) {
            let _ = writeln!(text, "Host is up{latency}.");
        }
        if !run.is_alive {
            ports(&mut text, run, host, &heading);
        }
        if let Some(Hardware { mac, vendor }) = &host.hardware {
            let vendor = printable(vendor.as_deref().unwrap_or("Unknown"));
            let _ = writeln!(text, "MAC Address: {mac} ({vendor})");
        }
        text + "\n"
    }
}

/// The ports that are listed, and what is said of the others.
fn ports(text: &mut String, run: &Run, host: &HostReport, heading: &str) {
    let rows: Vec<&Row> = host.listed(run.listing).collect();
    if rows.is_empty() {
        let ports: u32 = host.counts.iter().map(|(_, count)| count).sum();
        let _ = writeln!(
            text,
            "All {ports} scanned ports on {heading} are in ignored states."
        );
    }
    let hidden = not_shown(run, host);
    if !hidden.is_empty() {
        let _ = writeln!(text, "Not shown: {hidden}");
    }
    table(text, run.services, &rows);
}

/// `host.example (192.0.2.1)`. A name cannot end the line or the parentheses.
fn heading(run: &Run, host: &HostReport) -> String {
    let ip = ip_text(host.address);
    let name = run.names.get(host.address.ip());
    name.map_or(ip.clone(), |name| {
        let name: String = printable(name).replace(['(', ')'], "_");
        format!("{name} ({ip})")
    })
}

/// `998 closed tcp ports (conn-refused), 1 filtered tcp port (no-response)`.
fn not_shown(run: &Run, host: &HostReport) -> String {
    let hidden: Vec<String> = host
        .unlisted(run.listing)
        .map(|&(reason, count)| {
            let state = state_word(reason.state());
            let ports = if count == 1 { "port" } else { "ports" };
            format!("{count} {state} tcp {ports} ({})", reason.as_str())
        })
        .collect();
    hidden.join(", ")
}

fn table(text: &mut String, services: &Services, rows: &[&Row]) {
    if rows.is_empty() {
        return;
    }
    let port = |row: &Row| format!("{}/tcp", row.port);
    let state = |row: &Row| state_word(row.state());
    let ports = column_width("PORT", rows.iter().map(|row| port(row)));
    let states = column_width("STATE", rows.iter().map(|row| state(row)));
    let _ = writeln!(text, "{:ports$} {:states$} SERVICE", "PORT", "STATE");
    for row in rows {
        let service = printable(services.name(row.port).unwrap_or("unknown"));
        let _ = writeln!(
            text,
            "{:ports$} {:states$} {service}",
            port(row),
            state(row)
        );
        if let Some(banner) = &row.banner {
            let _ = writeln!(text, "|_banner: {}", banner_text(banner));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{StateSet, fixture};
    use crate::scan::State;

    #[test]
    fn the_tables_are_nmaps() {
        let services = fixture::services();
        let mut out = Vec::new();
        let show = StateSet::states([State::Open, State::Filtered, State::Unscanned]);
        fixture::play(&mut Normal::new(
            &mut out,
            Listing::only(show),
            &services,
            &fixture::arguments(),
        ));
        fixture::golden("findings.nmap", std::str::from_utf8(&out).expect("UTF-8"));
    }
}
