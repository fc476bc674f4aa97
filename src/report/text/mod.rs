//! The report for people: open ports as they are found, then each host with its ports, then the
//! summary. It knows findings and counters, no sockets. Its caller says how large the screen is,
//! and whether to use colours.

mod alive;
mod compact;
mod missed;
mod preamble;
mod summary;
mod tables;

use std::io::{self, Write};
use std::net::SocketAddr;

use super::escape::{banner_text, printable};
use super::format::{counted, grouped, ip_text};
use super::kept::BANNER_KEPT;
use super::messages::FEW_ADDRESSES;
use super::whole_lines::WholeLines;
use super::{
    Begin, Hardware, HostReport, Kept, Listing, Origin, Progress, Screen, Sink, Summary, wrapped,
};
use crate::plan::{Names, Order, Outline, Services};
use crate::scan::{Finding, State};
use preamble::preamble;

/// How a text report looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Which findings are listed one by one.
    pub listing: Listing,
    /// Leave out hosts without a listed finding, and the counts of what is not listed.
    pub listed_only: bool,
    /// Begin with the plan and the limits; have a table for each host, however small the screen.
    pub verbose: bool,
    /// Write only a line for each listed finding.
    pub quiet: bool,
    /// Use a terminal's colours.
    pub color: bool,
    /// The size of the terminal, if there is one. It is asked for when something is written, since
    /// people change it.
    pub screen: fn() -> Option<Screen>,
}

impl Style {
    /// Without a terminal: what goes into a pipe or a file.
    pub fn new(listing: Listing) -> Self {
        Style {
            listing,
            listed_only: false,
            verbose: false,
            quiet: false,
            color: false,
            screen: || None,
        }
    }

    /// A text as wide as the screen.
    fn wrapped(self, text: String) -> String {
        match (self.screen)() {
            Some(screen) => wrapped(&text, screen.columns),
            None => text,
        }
    }

    fn painted(self, state: State) -> String {
        self.painted_as(state, state.as_str())
    }

    /// A text in the colour of a state.
    fn painted_as(self, state: State, text: &str) -> String {
        let code = match state {
            State::Open => "32",
            State::Closed => "2",
            State::Filtered | State::NotOpen => "33",
            State::Unscanned => "31",
        };
        self.paint(text, code)
    }

    fn paint(self, text: &str, code: &str) -> String {
        if self.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }
}

/// Writes text to `W`.
#[derive(Debug)]
pub struct Text<'a, W> {
    out: WholeLines<W>,
    style: Style,
    services: &'a Services,
    names: Names,
    /// What the tables hold. Open ports were already written when they were found.
    kept: Kept,
    addresses: u64,
    /// Whether hosts that answer nothing are told of like others.
    all_hosts: bool,
    /// The plan's warnings.
    warnings: Vec<String>,
    origin: Origin,
    is_alive: bool,
}

/// Memory is bounded, however large the plan. Counts are kept for each host up to this many
/// addresses.
const HOSTS_COUNTED: u64 = 4_096;
/// The most letters of a banner that a line has. A letter has up to four bytes.
const BANNER_WIDE: usize = BANNER_KEPT / 4;
/// Hosts without a listed finding get a line of their own up to this many addresses.
const HOSTS_NAMED: u64 = FEW_ADDRESSES;

impl<'a, W: Write> Text<'a, W> {
    /// A sink that writes to `out`.
    pub fn new(out: W, style: Style, services: &'a Services) -> Self {
        Text {
            out: WholeLines::new(out),
            style,
            services,
            names: Names::default(),
            kept: Kept::default(),
            addresses: 0,
            all_hosts: false,
            warnings: Vec::new(),
            origin: Origin::Scan,
            is_alive: false,
        }
    }
}

impl<W: Write> Sink for Text<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.addresses = begin.plan.addresses;
        self.all_hosts = begin.tells_all_hosts();
        self.names = begin.plan.names.clone();
        self.warnings = begin.plan.warnings.clone();
        self.origin = begin.origin;
        self.is_alive = begin.settings.alive;
        if self.style.verbose && !self.style.quiet {
            let preamble = self.style.wrapped(preamble(begin));
            self.out.add(|out| writeln!(out, "{preamble}"))?;
        }
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let state = finding.state();
        if self.is_alive || !self.style.listing.always.lists(state) {
            return Ok(());
        }
        let endpoint = finding.endpoint;
        let service = self.services.name(endpoint.port()).unwrap_or_default();
        let banner = finding.banner.as_deref().map_or(String::new(), shortened);
        let live = format!("{} {endpoint} {service}", self.style.painted(state));
        let live = format!("{}  {banner}", live.trim_end());
        let live = self.style.wrapped(live.trim_end().into());
        self.out.add(|out| writeln!(out, "{live}"))
    }

    fn wants_hosts(&self) -> Option<Listing> {
        (!self.style.quiet || self.is_alive).then_some(self.style.listing)
    }

    fn host(&mut self, host: &HostReport) -> io::Result<()> {
        if self.is_alive {
            let line = self.present(host);
            return self.out.add(|out| out.write_all(line.as_bytes()));
        }
        if !self.style.quiet {
            self.keep(host);
        }
        Ok(())
    }

    fn kept(&self) -> Option<&Kept> {
        (!self.style.quiet).then_some(&self.kept)
    }

    fn restore(&mut self, kept: &Kept) {
        self.kept = kept.clone();
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        if !self.style.quiet {
            self.kept.finish();
            let text = self.ending(summary);
            self.out.add(|out| out.write_all(text.as_bytes()))?;
        }
        self.out.flush()
    }
}

impl<W: Write> Text<'_, W> {
    /// The hosts and the summary. Several hosts whose tables would not fit on the screen have a
    /// line each.
    fn ending(&self, summary: &Summary) -> String {
        let summary = self.style.wrapped(self.summary(summary));
        let has_several = !self.style.verbose && self.told().nth(1).is_some();
        let tables = || self.style.wrapped(self.tables());
        let hosts = match (self.style.screen)().filter(|_| has_several) {
            None => tables(),
            Some(screen) => {
                // The tables of many hosts need not be made to see that they do not fit.
                let room = screen.rows.saturating_sub(summary.lines().count());
                let tables = self.told().nth(screen.rows).is_none().then(tables);
                tables
                    .filter(|tables| tables.lines().count() < room)
                    .unwrap_or_else(|| self.style.wrapped(self.compact(screen.columns)))
            }
        };
        hosts + &summary
    }

    /// The hosts that there is something to tell of, by address.
    fn told(&self) -> impl Iterator<Item = &HostReport> {
        let names_all = self.addresses <= HOSTS_NAMED && !self.style.listed_only;
        let hosts = self.kept.hosts();
        hosts.filter(move |host| names_all || host.listed(self.style.listing).next().is_some())
    }

    /// An address with its names.
    fn heading(&self, address: SocketAddr) -> String {
        let ip = ip_text(address);
        let names: Vec<String> = self.names.all(address.ip()).map(printable).collect();
        if names.is_empty() {
            ip
        } else {
            format!("{ip} ({})", names.join(", "))
        }
    }

    /// Keeps a host, or a part of one, for the end, if there is something to say of it.
    fn keep(&mut self, host: &HostReport) {
        self.kept.tell(host);
        let always = self.style.listing.always;
        let is_listed = host.rows.iter().any(|row| always.lists(row.state()));
        let is_there = self.all_hosts || host.answered_by().is_some();
        let is_counted = is_there && self.addresses <= HOSTS_COUNTED;
        if is_listed || is_counted {
            self.kept.keep(host, always);
        }
    }
}

/// `52:54:00:12:34:56 (QEMU virtual NIC)`.
fn hardware(Hardware { mac, vendor }: &Hardware) -> String {
    let vendor = vendor.as_deref().map(printable);
    vendor.map_or(mac.to_string(), |name| format!("{mac} ({name})"))
}

/// `65,535 endpoints on 1 address in random order (--seed 7)`.
pub fn described(plan: &Outline) -> String {
    let order = match plan.order {
        Order::Random { seed } => format!("in random order (--seed {seed})"),
        Order::Sequential => "in order".into(),
    };
    let shard = if plan.shard.is_whole() {
        String::new()
    } else {
        format!(
            ", shard {} of {} endpoints",
            plan.shard,
            grouped(plan.endpoints_of_all)
        )
    };
    let endpoints = counted(plan.endpoints, "endpoint", "endpoints");
    let addresses = counted(plan.addresses, "address", "addresses");
    format!("{endpoints} on {addresses} {order}{shard}")
}

/// The first line of a banner, shortened to fit a table. Other formats have all of it.
fn shortened(banner: &[u8]) -> String {
    let lines = banner.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let mut line = lines
        .clone()
        .find(|line| !line.is_empty())
        .map_or(String::new(), banner_text);
    let is_all = lines.filter(|line| !line.is_empty()).count() <= 1;
    let end = line.char_indices().nth(BANNER_WIDE).map(|(end, _)| end);
    if let Some(end) = end {
        line.truncate(end);
    }
    if end.is_some() || !is_all {
        line + " ..."
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{StateSet, fixture};

    fn check(golden: &str, style: Style) {
        let services = fixture::services();
        let mut out = Vec::new();
        fixture::play(&mut Text::new(&mut out, style, &services));
        fixture::golden(golden, &String::from_utf8(out).expect("UTF-8"));
    }

    /// What a scan without any options writes.
    fn plain() -> Style {
        Style::new(Listing::or_few(StateSet::states([State::Open])))
    }

    #[test]
    fn the_report_is_tidy() {
        check("open.txt", plain());
        check(
            "all_verbose.txt",
            Style {
                listing: Listing::only(StateSet::states(State::ALL)),
                verbose: true,
                ..plain()
            },
        );
        check(
            "quiet_color.txt",
            Style {
                listing: Listing::only(StateSet::states([State::Open, State::Filtered])),
                quiet: true,
                color: true,
                ..plain()
            },
        );
        check(
            "listed_only.txt",
            Style {
                listing: Listing::only(StateSet::states([State::Open])),
                listed_only: true,
                ..plain()
            },
        );
    }

    #[test]
    fn the_report_fits_the_screen() {
        let narrow = Style {
            screen: || {
                Some(Screen {
                    columns: 40,
                    rows: 24,
                })
            },
            ..plain()
        };
        check("narrow.txt", narrow);
        check(
            "narrow_verbose.txt",
            Style {
                verbose: true,
                ..narrow
            },
        );
        check(
            "low_listed_only.txt",
            Style {
                listing: Listing::only(StateSet::states([State::Open])),
                listed_only: true,
                screen: || {
                    Some(Screen {
                        columns: 120,
                        rows: 24,
                    })
                },
                ..plain()
            },
        );
        let large = Style {
            screen: || {
                Some(Screen {
                    columns: 200,
                    rows: 80,
                })
            },
            ..plain()
        };
        check("open.txt", large);
    }
}
