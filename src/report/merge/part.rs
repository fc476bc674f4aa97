//! One input of a merge: the JSON lines of a shard, read and checked. It reads what it is given and
//! knows no files.

use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};
use std::io::BufRead;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use crate::plan::{FoundName, PortSet};
use crate::report::escape::printable;
use crate::report::format::counted;
use crate::report::host::without_port;
use crate::report::read::{self, Fields, Started};
use crate::report::records::{ReadError, read_scan};
use crate::report::{Exit, HostReport, Summary};
use crate::scan::{Finding, State, Stats, Time};

/// One input: a shard, or a whole scan.
#[derive(Debug)]
pub struct Part {
    pub(super) name: String,
    pub(super) start: Started,
    pub(super) findings: Vec<Finding>,
    /// The counts of hosts.
    pub(super) hosts: Vec<HostReport>,
    /// The first name of each host, by address.
    names: HashMap<IpAddr, Box<str>>,
    /// The other names of hosts, with the ports that were told under them.
    other_names: Vec<FoundName>,
    /// The end record, unless the scan was killed.
    pub(super) end: Option<Summary>,
}

impl Part {
    /// Reads an input to its end. An incomplete last line is ignored: its writer was killed.
    ///
    /// # Errors
    /// [`ReadError`]: the input cannot be read, is something else, or is empty.
    pub fn read(name: &str, from: impl BufRead) -> Result<Self, ReadError> {
        let mut part = read_scan(name, from, |record| Part::begin(name, record), Part::take)?;
        // Where a scan was interrupted and continued in the same file, the last record of an
        // endpoint holds.
        part.findings
            .sort_unstable_by_key(|finding| (finding.endpoint, Reverse(finding.at)));
        part.findings.dedup_by_key(|finding| finding.endpoint);
        Ok(part)
    }

    fn begin(name: &str, record: Fields) -> Result<Self, String> {
        let name = printable(name);
        let start = read::start(record)?;
        Ok(Part {
            name,
            start,
            findings: Vec::new(),
            hosts: Vec::new(),
            names: HashMap::new(),
            other_names: Vec::new(),
            end: None,
        })
    }

    pub(super) fn planned(&self) -> u64 {
        self.start.shard.share(self.start.whole.endpoints)
    }

    fn take(&mut self, kind: &str, record: Fields) -> Result<(), String> {
        let address = match kind {
            "finding" => {
                let finding = read::finding(record, self.start.started_at)?;
                self.findings.push(finding);
                self.findings[self.findings.len() - 1].endpoint
            }
            "host" => {
                let host = read::host(record, self.start.started_at)?;
                self.hosts.push(host);
                self.hosts[self.hosts.len() - 1].address
            }
            "end" => {
                let end = read::end(record, self.start.started_at)?;
                if end.stats.planned != self.planned() || end.stats.settled() != end.stats.planned {
                    return Err("its counts do not add up".into());
                }
                self.end = Some(end);
                return Ok(());
            }
            // A kind that a later version writes.
            _ => return Ok(()),
        };
        if let Ok(name) = record.text("host") {
            let ports = [address.port()].into_iter().collect();
            self.add_name(address.ip(), name, ports);
        }
        for name in record.texts("other_names") {
            self.add_name(address.ip(), name, PortSet::none());
        }
        Ok(())
    }

    fn add_name(&mut self, address: IpAddr, name: &str, ports: PortSet) {
        match self.names.get(&address) {
            None => {
                self.names.insert(address, name.into());
            }
            Some(first) if **first == *name => {}
            Some(_) => self.other_names.push((address, name.into(), Some(ports))),
        }
    }

    /// All names, of which the first stands for the ports that no other name was told for.
    pub(super) fn take_names(&mut self) -> impl Iterator<Item = FoundName> {
        let first = std::mem::take(&mut self.names).into_iter();
        let others = std::mem::take(&mut self.other_names);
        first
            .map(|(address, name)| (address, name, None))
            .chain(others)
    }

    pub(super) fn is_complete(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.exit == Exit::Complete)
    }

    /// Takes over the findings that only another run of the same shard has, where neither is
    /// complete. Says in words what was done.
    pub(super) fn unite(&mut self, mut other: Part) -> String {
        let shard = self.start.shard;
        let name = &self.name;
        let other_name = &other.name;
        if self.is_complete() {
            return format!("shard {shard} is there twice: {name} is used, {other_name} is not");
        }
        let known: HashSet<SocketAddr> = self
            .findings
            .iter()
            .map(|finding| finding.endpoint)
            .collect();
        let more = other.findings.iter().filter(|finding| {
            finding.state() != State::Unscanned && !known.contains(&finding.endpoint)
        });
        let mut more: Vec<Finding> = more.cloned().collect();
        let mut hosts: HashMap<SocketAddr, &mut HostReport> = self
            .hosts
            .iter_mut()
            .map(|host| (host.address, host))
            .collect();
        for finding in &mut more {
            let found_at = other.start.started_at + Duration::from_micros(finding.at.us);
            finding.at = Time::from_us(
                found_at
                    .duration_since(self.start.started_at)
                    .unwrap_or_default()
                    .as_micros() as u64,
            );
            if let Some(end) = &mut self.end {
                end.stats.settle_unscanned(finding.reason);
            }
            if let Some(host) = hosts.get_mut(&without_port(finding.endpoint)) {
                host.count(finding.reason, 1);
            }
        }
        let count = counted(more.len() as u64, "finding", "findings");
        let what = format!(
            "shard {shard} is there twice, and neither is complete: {name} is used, and {count} that only {other_name} lists"
        );
        self.findings.extend(more);
        for (address, name, ports) in other.take_names() {
            self.add_name(address, &name, ports.unwrap_or_else(PortSet::none));
        }
        what
    }

    /// How far it came. Of two runs of a shard, a complete one is better, and then the one that
    /// knows more.
    pub(super) fn rank(&self) -> (bool, u64) {
        let settled = |end: &Summary| end.stats.planned - end.stats.in_state(State::Unscanned);
        let told = || {
            self.findings
                .iter()
                .filter(|finding| finding.state() != State::Unscanned)
                .count() as u64
        };
        let known = self.end.as_ref().map_or_else(told, settled);
        (self.is_complete(), known)
    }

    /// When it ended, as far as that is known.
    pub(super) fn ended_at(&self) -> SystemTime {
        let last = self
            .findings
            .iter()
            .map(|finding| finding.at)
            .max()
            .unwrap_or_default();
        self.start.started_at
            + Duration::from_micros(self.end.as_ref().map_or(last, |end| end.ended).us)
    }

    /// What was counted; without an end record, what was listed.
    pub(super) fn stats(&self) -> Stats {
        if let Some(end) = &self.end {
            return end.stats.clone();
        }
        let mut stats = Stats::new(self.planned(), 0);
        self.findings
            .iter()
            .for_each(|finding| stats.settle(finding.reason, 1));
        stats
    }

    /// What is missing from it, in words.
    pub(super) fn lack(&self) -> Option<String> {
        let name = &self.name;
        let shard = self.start.shard;
        match &self.end {
            None => Some(format!(
                "{name} (shard {shard}) has no end: its scan was broken off, and how far it came is not known"
            )),
            Some(end) if end.exit != Exit::Complete => {
                let unscanned = counted(
                    end.stats.in_state(State::Unscanned),
                    "endpoint",
                    "endpoints",
                );
                Some(format!(
                    "{name} (shard {shard}) is {}: {unscanned} unscanned",
                    end.exit.as_str()
                ))
            }
            Some(_) => None,
        }
    }
}
