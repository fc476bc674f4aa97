//! nmap's grepable format: a line that a host is up and one with its ports, for grep and awk. It
//! knows hosts and counters, no sockets.

use std::io::{self, Write};

use super::escape::printable;
use super::format::ip_text;
use super::nmap::Nmap;
use super::whole_lines::WholeLines;
use super::{Begin, HostReport, Origin, Progress, Sink, StateSet, Summary};
use crate::plan::Services;
use crate::scan::State;

/// Writes nmap's grepable format to `W`.
#[derive(Debug)]
pub struct Grepable<'a, W> {
    out: WholeLines<W>,
    show: StateSet,
    services: &'a Services,
    nmap: Nmap,
}

impl<'a, W: Write> Grepable<'a, W> {
    /// A sink that writes to `out` and lists the states of `show`.
    pub fn new(out: W, show: StateSet, services: &'a Services, arguments: &[String]) -> Self {
        Grepable {
            out: WholeLines::new(out),
            show,
            services,
            nmap: Nmap::new(env!("CARGO_PKG_NAME"), arguments),
        }
    }

    fn lines(&self, host: &HostReport) -> String {
        let name = self
            .nmap
            .names
            .get(host.address.ip())
            .map_or(String::new(), field);
        let host_is = format!("Host: {} ({name})\t", ip_text(host.address));
        let status = if host.answered_by().is_some() || self.nmap.is_forced {
            "Up"
        } else {
            "Unknown"
        };
        let listed = host
            .rows
            .iter()
            .filter(|row| self.show.lists(row.reason.state()));
        let ports: Vec<String> = listed
            .map(|row| {
                let service = self.services.name(row.port).map_or(String::new(), field);
                format!(
                    "{}/{}/tcp//{service}///",
                    row.port,
                    row.reason.state().as_str()
                )
            })
            .collect();
        let mut text = format!(
            "{host_is}Status: {status}\n{host_is}Ports: {}",
            ports.join(", ")
        );
        let ignored = State::ALL
            .into_iter()
            .filter(|&state| !self.show.lists(state) && host.in_state(state) > 0);
        // nmap names it only where there is one.
        if let [state] = ignored.collect::<Vec<State>>()[..] {
            text += &format!(
                "\tIgnored State: {} ({})",
                state.as_str(),
                host.in_state(state)
            );
        }
        text + "\n"
    }
}

/// Text that ends no field and no list: what would is replaced, as nmap does it with slashes.
fn field(text: &str) -> String {
    let plain = |letter: char| match letter {
        '/' => '|',
        letter if letter.is_control() || letter.is_whitespace() || "(),".contains(letter) => '_',
        letter => letter,
    };
    text.chars().map(plain).collect()
}

impl<W: Write> Sink for Grepable<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.nmap.begin(begin);
        if begin.origin != Origin::Resumed {
            let initiated = printable(&self.nmap.initiated());
            self.out.add(|out| writeln!(out, "# {initiated}"))?;
        }
        self.out.flush()
    }

    fn wants_hosts(&self) -> Option<StateSet> {
        Some(self.show)
    }

    fn host(&mut self, host: &HostReport) -> io::Result<()> {
        if !self.nmap.tells_of(host) {
            return Ok(());
        }
        let lines = self.lines(host);
        self.out.add(|out| out.write_all(lines.as_bytes()))
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let done = self.nmap.done(summary);
        self.out.add(|out| writeln!(out, "# {done}"))?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_lines_are_nmaps() {
        let services = fixture::services();
        let mut out = Vec::new();
        fixture::play(&mut Grepable::new(
            &mut out,
            StateSet::states([State::Open, State::Filtered]),
            &services,
            &fixture::arguments(),
        ));
        fixture::golden("findings.gnmap", std::str::from_utf8(&out).expect("UTF-8"));
    }
}
