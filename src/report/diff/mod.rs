//! Compares what two reports say, endpoint by endpoint, in the order of addresses and ports. What
//! one of them does not know is never a difference. It knows no files.
//!
//! `side` is what a report says; `jsonl` and `xml` (behind `bounded`) read one; `text` and `lines`
//! tell what differs.

mod bounded;
mod jsonl;
mod lines;
mod side;
#[cfg(test)]
mod tests;
mod text;
mod xml;

use std::collections::HashMap;
use std::io::{self, BufRead};
use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use super::ReadError;
use crate::plan::PortSet;
use crate::scan::State;
pub use lines::JsonLines;
pub use side::{Gap, Said, Side, Verdict};
use side::{Host, Presence};
pub use text::Text;

/// What has happened between two reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// Ports that are open now.
    Opened,
    /// Ports that are closed now.
    Closed,
    /// Ports that are filtered now.
    Filtered,
    /// Ports that were open and are closed or filtered, which the report does not tell apart.
    NotOpen,
    /// Ports in the same state for another reason.
    Reason,
    /// An open port that says something else.
    Banner,
    /// A host that was silent and answers now.
    Came,
    /// A host that answered and is silent now.
    Gone,
    /// Ports that are open in one report, and of which the other one says nothing.
    NotKnown,
}

impl Kind {
    /// All of them, in the order in which they are counted.
    pub const ALL: [Kind; 9] = [
        Kind::Opened,
        Kind::Closed,
        Kind::Filtered,
        Kind::NotOpen,
        Kind::Reason,
        Kind::Banner,
        Kind::Came,
        Kind::Gone,
        Kind::NotKnown,
    ];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Opened => "opened",
            Kind::Closed => "closed",
            Kind::Filtered => "filtered",
            Kind::NotOpen => "not-open",
            Kind::Reason => "reason",
            Kind::Banner => "banner",
            Kind::Came => "came",
            Kind::Gone => "gone",
            Kind::NotKnown => "not-known",
        }
    }
}

/// One thing that has happened to ports of a host.
#[derive(Debug)]
pub struct Change<'a> {
    /// What it is.
    pub kind: Kind,
    /// The host's address; the port is 0.
    pub address: SocketAddr,
    /// The host's name.
    pub name: Option<&'a str>,
    /// The ports. Of a host that came or went, those that are or were open.
    pub ports: PortSet,
    /// What the old report says of each of them.
    pub old: Said,
    /// What the new report says of each of them.
    pub new: Said,
    /// The old and the new banner, escaped, if those differ.
    pub banners: Option<(&'a str, &'a str)>,
}

/// How much has happened: ports, or hosts that came or went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts([u64; Kind::ALL.len()]);

impl Counts {
    /// How many of a kind.
    pub fn of(&self, kind: Kind) -> u64 {
        self.0[kind as usize]
    }

    /// Whether the reports differ. What is not known is no difference.
    pub fn differ(&self) -> bool {
        Kind::ALL
            .into_iter()
            .any(|kind| kind != Kind::NotKnown && self.of(kind) > 0)
    }

    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        *self == Counts::default()
    }
}

/// Who is told what has happened.
pub trait Teller {
    /// One change after another, by address and port.
    ///
    /// # Errors
    /// It cannot be written.
    fn change(&mut self, change: &Change) -> io::Result<()>;

    /// The end.
    ///
    /// # Errors
    /// It cannot be written.
    fn end(&mut self, counts: &Counts) -> io::Result<()>;
}

/// Two reports that are compared.
#[derive(Debug)]
pub struct Comparison {
    old: Side,
    new: Side,
}

impl Comparison {
    /// The report that came first, or a list of what may be open; and the one to compare with it.
    pub fn new(old: Side, new: Side) -> Self {
        Comparison { old, new }
    }

    /// What is odd with the reports, in words.
    pub fn warnings(&self) -> Vec<String> {
        let (old, new) = (&self.old, &self.new);
        // XML has whole seconds.
        let is_later = |old: SystemTime, new: SystemTime| old > new + Duration::from_secs(1);
        let times = old.started_at.zip(new.started_at);
        let is_turned = times.is_some_and(|(old, new)| is_later(old, new));
        let turned = format!(
            "{} began after {}; the older report comes first",
            old.name, new.name
        );
        let lacks = [old, new].into_iter().filter_map(|side| side.lack.clone());
        lacks.chain(is_turned.then_some(turned)).collect()
    }

    /// Tells what has happened.
    ///
    /// # Errors
    /// The teller's errors.
    pub fn tell(&self, to: &mut dyn Teller) -> io::Result<Counts> {
        let mut counts = Counts::default();
        let is_planned = self.old.has_targets_of(&self.new);
        for address in merged(self.old.hosts.keys(), self.new.hosts.keys(), Ord::cmp) {
            for change in self.changes(*address, is_planned) {
                let count = match change.kind {
                    Kind::Came | Kind::Gone => 1,
                    _ => change.ports.len() as u64,
                };
                counts.0[change.kind as usize] += count;
                to.change(&change)?;
            }
        }
        to.end(&counts)?;
        Ok(counts)
    }

    /// What has happened to a host, by port. `is_planned`: both scans had the same targets.
    fn changes(&self, address: SocketAddr, is_planned: bool) -> Vec<Change<'_>> {
        let sides = [&self.old, &self.new];
        let hosts = sides.map(|side| side.hosts.get(&address));
        let open = |host: Option<&Host>| host.map_or_else(PortSet::none, Host::open_ports);
        let change = |kind, [old, new]: [Said; 2], ports| Change {
            kind,
            address,
            name: hosts
                .iter()
                .flatten()
                .rev()
                .find_map(|host| host.name.as_deref()),
            ports,
            old,
            new,
            banners: None,
        };
        let said_of_all = [self.old.is_list, self.new.is_list].map(|is_list| match is_list {
            true => Said::Expected,
            false => Said::NotKnown(Gap::Silent),
        });
        match sides.map(|side| side.presence(address, is_planned)) {
            [Presence::Silent, Presence::Up] => {
                return vec![change(Kind::Came, said_of_all, open(hosts[1]))];
            }
            [Presence::Up, Presence::Silent] => {
                return vec![change(Kind::Gone, said_of_all, open(hosts[0]))];
            }
            _ => {}
        }
        // Ports with the same change are told together.
        let mut together: HashMap<(Kind, [Said; 2]), usize> = HashMap::new();
        let mut changes: Vec<(Change, Vec<u16>)> = Vec::new();
        let [old, new] = hosts.map(|host| host.map_or(&[][..], |host| &host.listed));
        for listed in merged(old, new, |a, b| a.port.cmp(&b.port)) {
            let port = listed.port;
            let said = sides.map(|side| side.said(address, port, is_planned));
            let banners = banner(hosts[0], port).zip(banner(hosts[1], port));
            let banners = banners.filter(|(old, new)| old != new);
            let Some(kind) = kind(said[0], said[1], banners.is_some()) else {
                continue;
            };
            let next = changes.len();
            let at = match kind {
                Kind::Banner => next,
                _ => *together.entry((kind, said)).or_insert(next),
            };
            if at == next {
                let mut change = change(kind, said, PortSet::none());
                change.banners = banners.filter(|_| kind == Kind::Banner);
                changes.push((change, Vec::new()));
            }
            changes[at].1.push(port);
        }
        let with_ports = changes.into_iter().map(|(change, ports)| Change {
            ports: ports.into_iter().collect(),
            ..change
        });
        with_ports.collect()
    }
}

fn banner(host: Option<&Host>, port: u16) -> Option<&str> {
    host?.listed(port)?.banner.as_deref()
}

/// What has happened to an endpoint, if anything has.
fn kind(old: Said, new: Said, is_other_banner: bool) -> Option<Kind> {
    match (old.is_open(), new.is_open()) {
        (None, Some(true)) | (Some(true), None) => Some(Kind::NotKnown),
        (None, _) | (_, None) => None,
        (Some(true), Some(true)) => is_other_banner.then_some(Kind::Banner),
        (Some(false), Some(true)) => Some(Kind::Opened),
        (Some(true), Some(false)) => Some(shut(new)),
        (Some(false), Some(false)) => match (old, new) {
            (Said::Is(old), Said::Is(is)) if old.state == is.state => {
                let reasons = old.reason.zip(is.reason);
                reasons.filter(|(a, b)| a != b).map(|_| Kind::Reason)
            }
            (Said::Is(_), Said::Is(_)) => Some(shut(new)),
            _ => None,
        },
    }
}

/// What is new about a port that is not open.
fn shut(new: Said) -> Kind {
    match new {
        Said::Is(verdict) if verdict.state == State::Closed => Kind::Closed,
        Said::Is(_) => Kind::Filtered,
        _ => Kind::NotOpen,
    }
}

/// Reads a report: our JSON lines, or nmap's XML.
///
/// # Errors
/// [`ReadError`].
pub fn read(name: &str, mut from: impl BufRead) -> Result<Side, ReadError> {
    let begun = from.fill_buf().map_err(|error| ReadError::Read {
        name: super::printable(name),
        error,
    })?;
    let begun = begun.strip_prefix(b"\xef\xbb\xbf").unwrap_or(begun);
    match begun.trim_ascii_start() {
        [b'<', ..] => xml::read(name, from),
        _ => jsonl::read(name, from),
    }
}

/// The items of two sorted lists in one, each once.
fn merged<'a, T: 'a>(
    one: impl IntoIterator<Item = &'a T>,
    other: impl IntoIterator<Item = &'a T>,
    order: impl Fn(&T, &T) -> std::cmp::Ordering,
) -> impl Iterator<Item = &'a T> {
    use std::cmp::Ordering::{Equal, Greater, Less};
    let mut one = one.into_iter().peekable();
    let mut other = other.into_iter().peekable();
    std::iter::from_fn(move || {
        let next = match (one.peek(), other.peek()) {
            (Some(a), Some(b)) => order(a, b),
            (Some(_), None) => Less,
            (None, _) => Greater,
        };
        match next {
            Less => one.next(),
            Greater => other.next(),
            Equal => {
                other.next();
                one.next()
            }
        }
    })
}
