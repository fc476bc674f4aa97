//! The hosts of a joined scan: what each part found on them, put together. It does not know whether
//! the parts belong together, or what is missing.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use super::Part;
use crate::report::host::{Row, without_port};
use crate::report::{HostReport, Listing, OpenPorts, Sink};
use crate::scan::{Finding, State, Time};

/// A host of the joined scan.
pub(super) struct Host {
    findings: Vec<Finding>,
    /// Its counts; rows are added when a sink wants them.
    pub report: HostReport,
}

impl Host {
    /// Its open ports, if it answered on no others.
    fn open_only(&self) -> Vec<u16> {
        let is_open = |finding: &&Finding| finding.state() == State::Open;
        let open = self.findings.iter().filter(is_open);
        match self.report.is_mostly_silent() {
            true => open.map(|finding| finding.endpoint.port()).collect(),
            false => Vec::new(),
        }
    }

    fn new(address: SocketAddr, at: Time) -> Self {
        Host {
            findings: Vec::new(),
            report: HostReport::unheard(address, at),
        }
    }

    /// Adds the counts of a report, whose scan began so much later than the first.
    fn count(&mut self, report: &HostReport, later_us: u64) {
        for &(reason, count) in &report.counts {
            self.report.count(reason, count);
        }
        self.report.first = self.report.first.min(report.first.plus_us(later_us));
        self.report.last = self.report.last.max(report.last.plus_us(later_us));
        if report.hardware.is_some() {
            self.report.hardware.clone_from(&report.hardware);
        }
    }

    /// Reports the findings, and the host itself with those findings that are `wanted`.
    pub fn tell(mut self, sink: &mut dyn Sink, wanted: Option<Listing>) -> io::Result<()> {
        for finding in &self.findings {
            sink.finding(finding)?;
        }
        let Some(listing) = wanted else {
            return Ok(());
        };
        let report = &self.report;
        let listed = self.findings.iter().filter(|finding| {
            let state = finding.state();
            listing.lists(state, report.in_state(state))
        });
        self.report.rows = listed.map(Row::of).collect();
        sink.host(&self.report)
    }
}

/// Every host with its findings by port and its counts.
pub(super) fn all(parts: &mut [Part], started_at: SystemTime) -> BTreeMap<SocketAddr, Host> {
    let mut hosts = BTreeMap::new();
    for part in parts {
        add_hosts(&mut hosts, part, started_at);
    }
    for host in hosts.values_mut() {
        host.findings
            .sort_unstable_by_key(|finding| finding.endpoint.port());
        host.report.finish();
    }
    hosts
}

/// Moves a part's findings and counts to their hosts.
fn add_hosts(hosts: &mut BTreeMap<SocketAddr, Host>, part: &mut Part, started_at: SystemTime) {
    let later = part.start.started_at.duration_since(started_at);
    let later_us = later.unwrap_or_default().as_micros() as u64;
    // Of two records of one host, from before and after an interruption, the last one holds.
    let reports: HashMap<SocketAddr, HostReport> = part
        .hosts
        .drain(..)
        .map(|host| (host.address, host))
        .collect();
    for report in reports.values() {
        let first = report.first.plus_us(later_us);
        hosts
            .entry(report.address)
            .or_insert_with(|| Host::new(report.address, first))
            .count(report, later_us);
    }
    for mut finding in part.findings.drain(..) {
        finding.at = finding.at.plus_us(later_us);
        let address = without_port(finding.endpoint);
        let host = hosts
            .entry(address)
            .or_insert_with(|| Host::new(address, finding.at));
        if !reports.contains_key(&address) {
            host.report.count(finding.reason, 1);
        }
        host.findings.push(finding);
    }
}

/// On how many addresses each port is open, as far as open ports are listed.
pub(super) fn open_ports(hosts: &BTreeMap<SocketAddr, Host>) -> OpenPorts {
    let mut open = OpenPorts::default();
    let findings = hosts.values().flat_map(|host| &host.findings);
    findings.for_each(|finding| open.add(finding));
    hosts
        .values()
        .for_each(|host| open.add_host(host.open_only()));
    open
}
