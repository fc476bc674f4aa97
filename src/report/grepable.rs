//! nmap's grepable format, for grep and awk: a line with a host's status, and one with its ports.
//! It knows hosts and counters, no sockets.

use std::io::Write;

use super::format::ip_text;
use super::nmap::{Format, NmapReport, Run};
use super::{HostReport, Listing};
use crate::plan::Services;
use crate::scan::State;

/// Writes nmap's grepable format to `W`.
pub type Grepable<'a, W> = NmapReport<'a, W, Lines>;

/// The lines of the format.
#[derive(Debug)]
pub struct Lines;

impl<'a, W: Write> Grepable<'a, W> {
    /// A sink that writes to `out` and lists the ports of `listing`.
    pub fn new(out: W, listing: Listing, services: &'a Services, arguments: &[String]) -> Self {
        NmapReport::of(out, listing, services, env!("CARGO_PKG_NAME"), arguments)
    }
}

impl Format for Lines {
    fn host(run: &Run, host: &HostReport) -> String {
        let name = run
            .names
            .get(host.address.ip())
            .map_or(String::new(), field);
        let host_is = format!("Host: {} ({name})\t", ip_text(host.address));
        let status = if run.is_up(host) { "Up" } else { "Unknown" };
        if run.is_alive {
            return format!("{host_is}Status: {status}\n");
        }
        let ports = ports(run, host);
        let ignored = ignored_state(run, host);
        format!("{host_is}Status: {status}\n{host_is}Ports: {ports}{ignored}\n")
    }
}

fn ports(run: &Run, host: &HostReport) -> String {
    let ports: Vec<String> = host
        .listed(run.listing)
        .map(|row| {
            let service = run.services.name(row.port).map_or(String::new(), field);
            let state = row.state().as_str();
            format!("{}/{state}/tcp//{service}///", row.port)
        })
        .collect();
    ports.join(", ")
}

/// The state of the ports that are not listed. nmap names it only if there is exactly one.
fn ignored_state(run: &Run, host: &HostReport) -> String {
    let ignored: Vec<State> = State::ALL
        .into_iter()
        .filter(|&state| !host.lists(run.listing, state) && host.in_state(state) > 0)
        .collect();
    match ignored[..] {
        [state] => format!(
            "\tIgnored State: {} ({})",
            state.as_str(),
            host.in_state(state)
        ),
        _ => String::new(),
    }
}

/// Text that cannot end a field or a list: the letters that would are replaced, as nmap does with
/// slashes.
fn field(text: &str) -> String {
    let plain = |letter: char| match letter {
        '/' => '|',
        letter if letter.is_control() || letter.is_whitespace() || "(),".contains(letter) => '_',
        letter => letter,
    };
    text.chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{StateSet, fixture};

    #[test]
    fn the_lines_are_nmaps() {
        let services = fixture::services();
        let mut out = Vec::new();
        fixture::play(&mut Grepable::new(
            &mut out,
            Listing::only(StateSet::states([State::Open, State::Filtered])),
            &services,
            &fixture::arguments(),
        ));
        fixture::golden("findings.gnmap", std::str::from_utf8(&out).expect("UTF-8"));
    }
}
