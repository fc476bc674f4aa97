//! What differs, as JSON lines: one for each port, or host that came or went, and one at the end.
//! docs/OUTPUT.md describes their fields; they are a contract. It knows changes, no reports.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde::Serialize;

use super::side::{Gap, Verdict};
use super::{Change, Counts, Kind, Said, Teller};
use crate::plan::Services;
use crate::report::format::ip_text;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Record<'a> {
    Change(Line<'a>),
    End(End),
}

#[derive(Clone, Serialize)]
struct Line<'a> {
    change: &'static str,
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    /// Of a port.
    #[serde(skip_serializing_if = "Option::is_none")]
    port: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    old: Option<Told<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    new: Option<Told<'a>>,
    /// Of a host: what is or was open.
    #[serde(skip_serializing_if = "Option::is_none")]
    ports: Option<Vec<u16>>,
}

/// What a report says of a port.
#[derive(Clone, Serialize)]
struct Told<'a> {
    state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    banner: Option<&'a str>,
}

#[derive(Serialize)]
struct End {
    differs: bool,
    counts: BTreeMap<&'static str, u64>,
}

/// Writes JSON lines to `W`.
#[derive(Debug)]
pub struct JsonLines<'a, W> {
    out: W,
    services: &'a Services,
}

impl<'a, W: Write> JsonLines<'a, W> {
    /// Writes to `out`.
    pub fn new(out: W, services: &'a Services) -> Self {
        JsonLines { out, services }
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, record)?;
        self.out.write_all(b"\n")
    }
}

impl<W: Write> Teller for JsonLines<'_, W> {
    fn change(&mut self, change: &Change) -> io::Result<()> {
        let mut line = Line {
            change: change.kind.as_str(),
            ip: ip_text(change.address),
            host: change.name,
            port: None,
            service: None,
            old: None,
            new: None,
            ports: None,
        };
        if matches!(change.kind, Kind::Came | Kind::Gone) {
            line.ports = Some(change.ports.iter().collect());
            return self.write(&Record::Change(line));
        }
        line.old = Some(told(change.old, change.banners.map(|(old, _)| old)));
        line.new = Some(told(change.new, change.banners.map(|(_, new)| new)));
        let services = self.services;
        change.ports.iter().try_for_each(|port| {
            self.write(&Record::Change(Line {
                port: Some(port),
                service: services.name(port),
                ..line.clone()
            }))
        })
    }

    fn end(&mut self, counts: &Counts) -> io::Result<()> {
        let each = Kind::ALL.map(|kind| (kind.as_str(), counts.of(kind)));
        self.write(&Record::End(End {
            differs: counts.differ(),
            counts: each.into(),
        }))?;
        self.out.flush()
    }
}

fn told(said: Said, banner: Option<&str>) -> Told<'_> {
    let (state, reason) = match said {
        Said::Is(Verdict { state, reason }) => (state.as_str(), reason.map(|it| it.as_str())),
        Said::NotOpen => ("not-open", None),
        Said::Expected => ("expected", None),
        Said::NotExpected => ("not-expected", None),
        Said::NotKnown(gap) => ("not-known", Some(word(gap))),
    };
    Told {
        state,
        reason,
        banner,
    }
}

fn word(gap: Gap) -> &'static str {
    match gap {
        Gap::Unscanned(reason) => reason.map_or("unscanned", |reason| reason.as_str()),
        Gap::NotPlanned => "not-planned",
        Gap::NotListed => "not-listed",
        Gap::Silent => "silent-host",
        Gap::BrokenOff => "broken-off",
    }
}
