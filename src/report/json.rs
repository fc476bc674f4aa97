//! JSON lines: a start record, a record for each listed finding and each finished host, and an end
//! record. It knows findings and counters, no sockets.

use std::io::{self, Write};
use std::time::SystemTime;

use super::record::{End, Found, Host, Record, Start};
use super::whole_lines::WholeLines;
use super::{Begin, HostReport, Listing, Origin, Progress, Sink, StateSet, Summary};
use crate::plan::{Names, Services};
use crate::scan::Finding;

pub use super::record::SCHEMA;

/// Writes JSON lines to `W`.
#[derive(Debug)]
pub struct JsonLines<'a, W> {
    out: WholeLines<W>,
    show: StateSet,
    services: &'a Services,
    arguments: Vec<String>,
    started_at: SystemTime,
    names: Names,
    all_hosts: bool,
    is_alive: bool,
}

impl<'a, W: Write> JsonLines<'a, W> {
    /// A sink that writes to `out` and lists the states of `show`. The start record holds
    /// `arguments` as they are.
    pub fn new(out: W, show: StateSet, services: &'a Services, arguments: Vec<String>) -> Self {
        let started_at = SystemTime::UNIX_EPOCH;
        JsonLines {
            out: WholeLines::new(out),
            show,
            services,
            arguments,
            started_at,
            names: Names::default(),
            all_hosts: false,
            is_alive: false,
        }
    }
}

fn write<W: Write>(out: &mut WholeLines<W>, record: &Record) -> io::Result<()> {
    out.add(|line| {
        serde_json::to_writer(&mut *line, record)?;
        line.write_all(b"\n")
    })
}

impl<W: Write> Sink for JsonLines<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.started_at = begin.started_at;
        self.names = begin.plan.names.clone();
        self.all_hosts = begin.tells_all_hosts();
        self.is_alive = begin.settings.alive;
        if begin.origin != Origin::Resumed {
            write(
                &mut self.out,
                &Record::Start(Start::of(begin, self.show, &self.arguments).into()),
            )?;
        }
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if !self.show.lists(finding.state()) {
            return Ok(());
        }
        write(
            &mut self.out,
            &Record::Finding(Found::of(
                finding,
                &self.names,
                self.services,
                self.started_at,
            )),
        )
    }

    fn wants_hosts(&self) -> Option<Listing> {
        // Counts only: the findings are already written one by one.
        Some(Listing::only(StateSet::states([])))
    }

    fn host(&mut self, host: &HostReport) -> io::Result<()> {
        if host.is_part || !(self.all_hosts || host.answered_by().is_some()) {
            return Ok(());
        }
        let mut record = Host::of(host, &self.names, self.started_at);
        record.up_by = host.up_by().filter(|_| self.is_alive);
        write(&mut self.out, &Record::Host(record))
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let mut end = End::of(summary, self.started_at);
        end.bound_missed(&summary.stats);
        write(&mut self.out, &Record::End(end.into()))?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;
    use crate::scan::State;

    #[test]
    fn the_records_are_as_documented() {
        let services = fixture::services();
        let mut out = Vec::new();
        let show = StateSet::states(State::ALL);
        fixture::play(&mut JsonLines::new(
            &mut out,
            show,
            &services,
            fixture::arguments(),
        ));
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(
            text.ends_with("}\n")
                && text
                    .lines()
                    .all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok())
        );
        fixture::golden("findings.jsonl", &text);
    }

    #[test]
    fn no_more_are_estimated_to_be_missed_than_can_be() {
        let services = fixture::services();
        let mut summary = fixture::summary();
        summary.stats.missed.expected = 5.7;
        let mut out = Vec::new();
        let mut lines = JsonLines::new(&mut out, StateSet::states([]), &services, Vec::new());
        lines.end(&summary).expect("a vector takes all");
        let end: serde_json::Value = serde_json::from_slice(&out).expect("a record");
        let silent = end["reasons"]["no-response"].as_f64().unwrap_or(0.0);
        assert_eq!(end["missed_estimate"].as_f64(), Some(silent), "{end}");
    }
}
