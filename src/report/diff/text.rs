//! What differs, as text: a line for the ports of a host that changed in the same way. If nothing
//! is to be told, it stays silent, so that cron sends no mail. It knows changes, no reports.

use std::io::{self, Write};
use std::time::SystemTime;

use super::{Change, Comparison, Counts, Kind, Said, Side, Teller};
use crate::plan::{PortSet, Services};
use crate::report::format::{counted, grouped, ip_text, wall_clock};
use crate::report::printable;
use crate::scan::{Reason, Time};

use super::side::{Gap, Verdict};

/// How many letters of a banner are shown.
const BANNER_LETTERS: usize = 72;

/// A list of ports that is longer is cut after its first ports.
const PORTS_LETTERS: usize = 100;
const FIRST_PORTS: usize = 20;

/// Writes text to `W`.
#[derive(Debug)]
pub struct Text<'a, W> {
    out: W,
    services: &'a Services,
    /// Written before anything else is, if anything is.
    head: Option<String>,
    may_have_missed: [bool; 2],
    has_missed: bool,
}

impl<'a, W: Write> Text<'a, W> {
    /// Tells what this comparison finds.
    pub fn new(out: W, comparison: &Comparison, services: &'a Services) -> Self {
        let Comparison { old, new } = comparison;
        Text {
            out,
            services,
            head: Some(format!("{} -> {}\n\n", called(old), called(new))),
            may_have_missed: [old.may_have_missed, new.may_have_missed],
            has_missed: false,
        }
    }

    /// What a report says, in words.
    fn said(&mut self, said: Said, side: usize) -> String {
        let word = match said {
            Said::Is(Verdict { state, reason }) => {
                let may_be_missed =
                    reason == Some(Reason::NoResponse) && self.may_have_missed[side];
                self.has_missed |= may_be_missed;
                return match reason.filter(|_| state != crate::scan::State::Open) {
                    Some(reason) if may_be_missed => {
                        format!("{} ({}, perhaps missed)", state.as_str(), reason.as_str())
                    }
                    Some(reason) => format!("{} ({})", state.as_str(), reason.as_str()),
                    None => state.as_str().into(),
                };
            }
            Said::NotKnown(Gap::Unscanned(Some(reason))) => {
                return format!("not scanned ({})", reason.as_str());
            }
            Said::NotOpen => "closed or filtered",
            Said::Expected => "expected",
            Said::NotExpected => "not expected",
            Said::NotKnown(Gap::Unscanned(None)) => "not scanned",
            Said::NotKnown(Gap::NotPlanned) => "not known to be in its plan",
            Said::NotKnown(Gap::NotListed) => "not listed",
            Said::NotKnown(Gap::Silent) => "no answer from the host",
            Said::NotKnown(Gap::BrokenOff) => "not told, the scan was broken off",
        };
        word.into()
    }

    /// The ports, and the name of the service if there is only one.
    fn endpoints(&self, change: &Change) -> String {
        let ip = ip_text(change.address);
        let ip = if change.address.is_ipv6() {
            format!("[{ip}]")
        } else {
            ip
        };
        let service = change
            .ports
            .iter()
            .next()
            .filter(|_| change.ports.len() == 1);
        let service = service.and_then(|port| self.services.name(port));
        let service = service.map(|name| format!(" {}", printable(name)));
        format!("{ip}:{}{}", few(&change.ports), service.unwrap_or_default())
    }
}

impl<W: Write> Teller for Text<'_, W> {
    fn change(&mut self, change: &Change) -> io::Result<()> {
        if let Some(head) = self.head.take() {
            self.out.write_all(head.as_bytes())?;
        }
        let what = match (change.kind, change.banners) {
            (Kind::Came | Kind::Gone, _) => {
                let ip = ip_text(change.address);
                let name = change.name.map(|name| format!(" ({})", printable(name)));
                let state = match change.old {
                    Said::Expected => "expected",
                    _ => "open",
                };
                let ports = match change.ports.is_empty() {
                    true => "nothing".into(),
                    false => few(&change.ports),
                };
                format!("{ip}{}: {state} {ports}", name.unwrap_or_default())
            }
            (_, Some((old, new))) => {
                let place = self.endpoints(change);
                format!("{place}: \"{}\" -> \"{}\"", shortened(old), shortened(new))
            }
            _ => {
                let [old, new] = [self.said(change.old, 0), self.said(change.new, 1)];
                format!("{}: {old} -> {new}", self.endpoints(change))
            }
        };
        let kind = words(change.kind);
        writeln!(self.out, "{kind:<9} {what}")
    }

    fn end(&mut self, counts: &Counts) -> io::Result<()> {
        if counts.is_empty() {
            return Ok(());
        }
        let told = |kind: Kind| {
            let count = counts.of(kind);
            (count > 0).then(|| match kind {
                Kind::Came | Kind::Gone => {
                    format!("{} {}", counted(count, "host", "hosts"), words(kind))
                }
                _ => format!("{} {}", grouped(count), words(kind)),
            })
        };
        let told: Vec<String> = Kind::ALL.into_iter().filter_map(told).collect();
        writeln!(self.out, "\n{}", told.join(", "))?;
        if self.has_missed {
            let what =
                "Ports without an answer may be open all the same: the scan has lost answers.";
            writeln!(self.out, "{what}")?;
        }
        self.out.flush()
    }
}

/// A kind in the words of a sentence.
fn words(kind: Kind) -> &'static str {
    match kind {
        Kind::NotOpen => "not open",
        Kind::NotKnown => "not known",
        kind => kind.as_str(),
    }
}

/// A report's name, and when its scan began.
fn called(side: &Side) -> String {
    let time = |at: SystemTime| {
        let time = wall_clock(at, Time::default()).strftime("%Y-%m-%d %H:%M:%S UTC");
        format!(" ({time})")
    };
    printable(&side.name) + &side.started_at.map(time).unwrap_or_default()
}

/// A list of ports, not too long for a line.
fn few(ports: &PortSet) -> String {
    let all = ports.to_string();
    if all.len() <= PORTS_LETTERS {
        return all;
    }
    let first: PortSet = ports.iter().take(FIRST_PORTS).collect();
    let more = ports.len() - first.len();
    format!("{first} and {} more", grouped(more as u64))
}

/// The beginning of a banner. It is escaped already.
fn shortened(banner: &str) -> String {
    match banner.char_indices().nth(BANNER_LETTERS) {
        Some((end, _)) => format!("{}...", &banner[..end]),
        None => banner.into(),
    }
}
