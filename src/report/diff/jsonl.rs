//! Our own JSON lines as a side of a comparison. What is in a record, `read` checks.

use std::io::BufRead;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::side::{Listed, Side};
use crate::report::escape::banner_text;
use crate::report::format::counted;
use crate::report::read::{self, Fields, Started};
use crate::report::records::{ReadError, read_scan};
use crate::report::{Exit, Summary, printable};
use crate::scan::{Finding, Reason, State};

/// What was read so far.
struct Reading {
    side: Side,
    started_at: SystemTime,
}

pub(super) fn read(name: &str, from: impl BufRead) -> Result<Side, ReadError> {
    let name = printable(name);
    let begin = |record: Fields| read::start(record).map(|start| Reading::new(&name, start));
    let mut reading = read_scan(&name, from, begin, Reading::take)?;
    for host in reading.side.hosts.values_mut() {
        host.sort();
        host.take_listed_off();
    }
    Ok(reading.side)
}

impl Reading {
    fn new(name: &str, start: Started) -> Self {
        let mut side = Side::new(name.into());
        side.targets = match start.shard.is_whole() {
            true => start
                .whole
                .targets_digest
                .map(|digest| format!("{digest:016x}")),
            // Another order has other endpoints in its shards.
            false => Some(format!("{} of {:016x}", start.shard, start.whole.digest)),
        };
        side.ports = start.whole.ports;
        side.started_at = Some(start.started_at);
        side.lack = Some(format!(
            "{name} has no end: its scan was broken off, and what it does not tell is not known"
        ));
        Reading {
            side,
            started_at: start.started_at,
        }
    }

    fn take(&mut self, kind: &str, record: Fields) -> Result<(), String> {
        match kind {
            "finding" => {
                let finding = read::finding(record, self.started_at)?;
                self.take_name(finding.endpoint, record);
                self.take_finding(finding);
            }
            "host" => {
                let report = read::host(record, self.started_at)?;
                self.take_name(report.address, record);
                let host = self.side.host(report.address);
                // Of all ports, until the end: those that are listed may come later.
                let counts = report.counts.iter();
                host.rest = Some(counts.map(|&(it, count)| (it.into(), count)).collect());
                host.listed.shrink_to_fit();
            }
            "end" => self.take_end(&read::end(record, self.started_at)?),
            // A kind that a later version writes.
            _ => {}
        }
        Ok(())
    }

    fn take_name(&mut self, address: SocketAddr, record: Fields) {
        if let Ok(name) = record.text("host") {
            let host = self.side.host(address);
            host.name.get_or_insert_with(|| name.into());
        }
    }

    fn take_finding(&mut self, finding: Finding) {
        let banner = finding.banner.as_deref().map(banner_text);
        self.side.host(finding.endpoint).listed.push(Listed {
            port: finding.endpoint.port(),
            verdict: finding.reason.into(),
            banner: banner.map(String::into_boxed_str),
        });
    }

    fn take_end(&mut self, end: &Summary) {
        let name = &self.side.name;
        self.side.lack = (end.exit != Exit::Complete).then(|| {
            let unscanned = end.stats.in_state(State::Unscanned);
            let unscanned = counted(unscanned, "endpoint", "endpoints");
            format!("{name} is {}: {unscanned} unscanned", end.exit.as_str())
        });
        self.side.is_complete = end.exit == Exit::Complete;
        // A shard is missing, and its ports are counted with no host.
        if end.stats.with_reason(Reason::Untold) > 0 {
            self.side.targets = None;
        }
        self.side.may_have_missed = end.stats.missed_at_most() != Some(0);
    }
}
