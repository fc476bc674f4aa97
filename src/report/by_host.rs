//! Findings grouped by host, for formats that write host by host: they are kept back until their
//! host is finished. There are at most as many hosts as a scan has under way at once (8,192), and
//! [`ROWS_IN_MEMORY`] findings in all. Further ones go to a file; if there is none, or it is full,
//! a host is reported in parts. A checkpoint has few of them, and where the others are. It knows
//! findings, no sockets.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use super::host::{HostReport, Row, without_port};
use super::listing::FEW_PORTS;
use super::open_ports::MOST_OPEN;
use super::spill::Spill;
use super::{Begin, Checkpoint, Hardware, Kept, Listing, OpenPorts, Progress, Sink, Summary};
use crate::scan::{Finding, HostDone, State, Time};

/// The most findings in memory, for all hosts together; a banner counts as several. It is enough
/// for a /24 with a thousand ports each, in 10 MiB.
pub const ROWS_IN_MEMORY: usize = 1 << 18;

/// The most findings that a checkpoint has where there is a file for the others: it is written
/// often, and a finding takes some 40 bytes there.
const ROWS_IN_CHECKPOINT: usize = 1 << 14;

/// A sink's adapter: passes everything on to the sink, groups findings by host if it wants hosts,
/// and counts on how many of them each port is open.
pub struct ByHost<'s> {
    sink: &'s mut dyn Sink,
    hosts: Option<Hosts>,
    open: OpenPorts,
}

impl<'s> ByHost<'s> {
    /// Begins without any host.
    pub fn new(sink: &'s mut dyn Sink) -> Self {
        ByHost {
            sink,
            hosts: None,
            open: OpenPorts::default(),
        }
    }

    /// Restores what a checkpoint has of hosts: those under way, those that the sink had kept, and
    /// how many have which port open. Call it after [`begin`](Sink::begin).
    pub fn restore(&mut self, from: &Checkpoint) {
        if let Some(hosts) = &mut self.hosts {
            hosts.restore(&from.hosts);
        }
        if let Some(kept) = &from.kept {
            self.sink.restore(kept);
        }
        self.open = from.open.clone();
    }

    /// On how many addresses each port is open.
    pub fn open(&self) -> &OpenPorts {
        &self.open
    }

    /// The hosts that are not finished, for a checkpoint; in no particular order.
    pub fn hosts(&mut self) -> Vec<HostUnderWay> {
        self.hosts
            .as_mut()
            .map(Hosts::under_way)
            .unwrap_or_default()
    }

    /// How many findings are in memory, for all hosts together, those that the sink keeps included.
    /// Those of one host in the file count twice: they will be read back and written as a whole. A
    /// banner counts as several.
    pub fn rows_in_memory(&self) -> usize {
        let under_way = self
            .hosts
            .as_ref()
            .map_or(0, |hosts| hosts.rows + 2 * hosts.largest);
        under_way + self.sink.kept().map_or(0, Kept::weight)
    }

    /// A host is finished: reports what was found on it. `at` is the time of the scan; `hardware`
    /// knows what answers for a host, and is asked if anybody wants to know.
    ///
    /// # Errors
    /// The sink's.
    pub fn host_done(
        &mut self,
        done: &HostDone,
        at: Time,
        hardware: impl FnOnce(SocketAddr) -> Option<Hardware>,
    ) -> io::Result<()> {
        let Some(hosts) = &mut self.hosts else {
            return Ok(());
        };
        self.open.add_host(hosts.open_only(done.address));
        let mut host = hosts.take(done, at)?;
        if host.has_verdict() {
            host.hardware = hardware(host.address);
        }
        self.sink.host(&host)
    }
}

impl Sink for ByHost<'_> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        let begun = self.sink.begin(begin);
        self.hosts = self.sink.wants_hosts().map(Hosts::new);
        if let Some(hosts) = &mut self.hosts {
            hosts.spill = self
                .sink
                .spill_file()
                .and_then(|file| Spill::new(file).ok());
        }
        begun
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.open.add(finding);
        self.sink.finding(finding)?;
        match self.hosts.as_mut().and_then(|hosts| hosts.add(finding)) {
            Some(part) => self.sink.host(&part),
            None => Ok(()),
        }
    }

    fn kept(&self) -> Option<&Kept> {
        self.sink.kept()
    }

    fn wants_checkpoint(&self, progress: &Progress, last: bool) -> bool {
        self.sink.wants_checkpoint(progress, last)
    }

    fn checkpoint(&mut self, checkpoint: &Checkpoint) -> io::Result<()> {
        self.sink.checkpoint(checkpoint)
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        self.sink.progress(progress)
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.sink.end(summary)
    }
}

/// The hosts under way and what was found on them.
pub(super) struct Hosts {
    listing: Listing,
    hosts: HashMap<SocketAddr, Box<HostUnderWay>>,
    rows: usize,
    spill: Option<Spill>,
    /// The most findings that a host with some in the file has.
    largest: usize,
}

/// A host under way, and what was found on it so far.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct HostUnderWay {
    /// The findings that are in memory.
    pub report: HostReport,
    /// Where in the [file](Sink::spill_file) others are, if there are more.
    pub spilled: Option<u64>,
    /// Its open ports: all, if they are few.
    pub open: Vec<u16>,
}

impl From<HostReport> for Box<HostUnderWay> {
    fn from(report: HostReport) -> Self {
        Box::new(HostUnderWay {
            report,
            spilled: None,
            open: Vec::new(),
        })
    }
}

impl Hosts {
    /// Keeps the findings of this listing one by one; the others are counted.
    pub fn new(listing: Listing) -> Self {
        Hosts {
            listing,
            hosts: HashMap::new(),
            rows: 0,
            spill: None,
            largest: 0,
        }
    }

    /// Restores what was kept when a scan was interrupted.
    pub fn restore(&mut self, hosts: &[HostUnderWay]) {
        for entry in hosts {
            self.rows += entry.report.weight();
            if entry.spilled.is_some() {
                self.largest = self.largest.max(entry.report.known(self.listing));
            }
            let address = entry.report.address;
            self.hosts.insert(address, Box::new(entry.clone()));
        }
    }

    /// All of them, in no particular order; few findings, if there is a file for the others.
    pub fn under_way(&mut self) -> Vec<HostUnderWay> {
        if self.rows > ROWS_IN_CHECKPOINT {
            self.spilled();
        }
        self.hosts.values().map(|entry| (**entry).clone()).collect()
    }

    /// Adds a finding. If there are too many now, and cannot be spilled, returns a part of them.
    pub fn add(&mut self, finding: &Finding) -> Option<HostReport> {
        let &Finding {
            endpoint,
            reason,
            at,
            ..
        } = finding;
        let address = without_port(endpoint);
        let begun = || HostReport::unheard(address, at).into();
        let entry = self.hosts.entry(address).or_insert_with(begun);
        if reason.state() == State::Open && entry.open.len() <= MOST_OPEN {
            entry.open.push(endpoint.port());
        }
        let host = &mut entry.report;
        host.last = at;
        host.count(reason, 1);
        let state = reason.state();
        let count = host.in_state(state);
        if self.listing.lists(state, count) {
            let row = Row::of(finding);
            self.rows += row.weight();
            host.rows.push(row);
        } else if self.listing.few && count == FEW_PORTS + 1 {
            self.rows -= host.weight();
            host.fold(state);
            self.rows += host.weight();
        }
        if self.rows > ROWS_IN_MEMORY && !self.spilled() {
            self.part()
        } else {
            None
        }
    }

    /// The open ports of a host that answered on no others; none of any other host.
    fn open_only(&self, address: SocketAddr) -> Vec<u16> {
        let host = self.hosts.get(&address);
        let host = host.filter(|entry| entry.report.is_mostly_silent());
        host.map_or(Vec::new(), |entry| entry.open.clone())
    }

    /// Writes all rows to the file; returns whether that worked.
    fn spilled(&mut self) -> bool {
        let Some(spill) = &mut self.spill else {
            return false;
        };
        let rows = self
            .hosts
            .values()
            .map(|entry| (&*entry.report.rows, entry.spilled));
        let Some(places) = spill.put(rows) else {
            return false;
        };
        for (entry, place) in self.hosts.values_mut().zip(places) {
            entry.report.rows = Vec::new();
            entry.spilled = place;
            self.largest = self.largest.max(entry.report.known(self.listing));
        }
        self.rows = 0;
        true
    }

    /// The rows of the host with the most.
    fn part(&mut self) -> Option<HostReport> {
        let reports = self.hosts.values_mut().map(|entry| &mut entry.report);
        let host = reports.max_by_key(|host| host.weight())?;
        self.rows -= host.weight();
        let rows = std::mem::take(&mut host.rows);
        let mut part = HostReport {
            counts: Vec::new(),
            rows,
            is_part: true,
            hardware: None,
            ..*host
        };
        part.finish();
        Some(part)
    }

    /// Removes and returns a finished host. A host without a finding was decided `at` this time.
    ///
    /// # Errors
    /// Its rows cannot be read back.
    pub fn take(&mut self, done: &HostDone, at: Time) -> io::Result<HostReport> {
        let unheard = || HostReport::unheard(done.address, at).into();
        let entry = self.hosts.remove(&done.address).unwrap_or_else(unheard);
        let HostUnderWay {
            report: mut host,
            spilled,
            ..
        } = *entry;
        self.rows -= host.weight();
        if let Some(last) = spilled {
            let no_file = || io::Error::other("the file with a host's findings is missing");
            let spill = self.spill.as_mut().ok_or_else(no_file)?;
            spill.get(last, &mut host.rows)?;
        }
        let told: u32 = host.counts.iter().map(|(_, count)| count).sum();
        if told < done.ports {
            host.count(done.rest, done.ports - told);
        }
        host.finish();
        Ok(host)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::StateSet;
    use crate::scan::Reason;

    fn finding(endpoint: &str, reason: Reason, ms: u64) -> Finding {
        let endpoint = endpoint.parse().expect("an endpoint");
        let at = Time::from_us(ms * 1_000);
        Finding {
            endpoint,
            reason,
            reason_ip: None,
            rtt_us: None,
            attempts: 1,
            banner: None,
            at,
        }
    }

    /// A sink that writes down what it is told.
    #[cfg(feature = "cli")]
    #[derive(Default)]
    struct Heard {
        wants: Option<Listing>,
        lines: Vec<String>,
    }

    #[cfg(feature = "cli")]
    impl Sink for Heard {
        fn finding(&mut self, finding: &Finding) -> io::Result<()> {
            self.lines.push(finding.endpoint.to_string());
            Ok(())
        }

        fn wants_hosts(&self) -> Option<Listing> {
            self.wants
        }

        fn host(&mut self, host: &HostReport) -> io::Result<()> {
            let line = format!("{} {}", host.address.ip(), host.rows.len());
            self.lines.push(line);
            Ok(())
        }
    }

    #[test]
    #[cfg(feature = "cli")]
    fn findings_pass_at_once_and_hosts_when_they_are_wanted_and_done() {
        use crate::plan::{Plan, Target};
        use crate::report::fixture::begin;

        let plan = Plan::builder()
            .target(Target::parse("192.0.2.1").unwrap())
            .build(&mut |_| Ok(Vec::new()))
            .unwrap();
        let outline = plan.outline();
        let done = HostDone {
            address: "192.0.2.1:0".parse().unwrap(),
            ports: 2,
            rest: Reason::Interrupted,
        };
        for (wants, lines) in [
            (None, &["192.0.2.1:9"][..]),
            (
                Some(Listing::only(StateSet::states([State::Open]))),
                &["192.0.2.1:9", "192.0.2.1 1"],
            ),
        ] {
            let mut heard = Heard {
                wants,
                ..Heard::default()
            };
            let mut sink = ByHost::new(&mut heard);
            sink.begin(&begin(&outline)).unwrap();
            let open = finding("192.0.2.1:9", Reason::SynAck, 1);
            sink.finding(&open).unwrap();
            assert_eq!(sink.hosts().len(), usize::from(wants.is_some()));
            sink.host_done(&done, Time::default(), |_| None).unwrap();
            assert_eq!(sink.hosts().len(), 0);
            assert_eq!(heard.lines, lines);
        }
    }

    #[test]
    fn a_host_is_told_when_it_is_done_and_adds_up() {
        let mut hosts = Hosts::new(Listing::only(StateSet::states([State::Open])));
        for (endpoint, reason) in [
            ("192.0.2.1:9", Reason::SynAck),
            ("192.0.2.2:1", Reason::NoResponse),
            ("192.0.2.1:5", Reason::SynAck),
            ("192.0.2.1:6", Reason::ConnRefused),
        ] {
            assert_eq!(hosts.add(&finding(endpoint, reason, 7)), None);
        }
        let done = HostDone {
            address: "192.0.2.1:0".parse().unwrap(),
            ports: 10,
            rest: Reason::Interrupted,
        };
        let host = hosts.take(&done, Time::default()).unwrap();
        assert_eq!(
            host.counts,
            [
                (Reason::SynAck, 2),
                (Reason::ConnRefused, 1),
                (Reason::Interrupted, 7)
            ]
        );
        assert_eq!(
            host.rows.iter().map(|row| row.port).collect::<Vec<_>>(),
            [5, 9]
        );
        assert_eq!(
            (host.answered_by(), host.in_state(State::Open)),
            (Some(Reason::SynAck), 2)
        );
        let done = HostDone {
            address: "192.0.2.2:0".parse().unwrap(),
            ports: 1,
            rest: Reason::Interrupted,
        };
        let silent = hosts.take(&done, Time::default()).unwrap();
        assert_eq!(
            (silent.answered_by(), hosts.under_way().len(), hosts.rows),
            (None, 0, 0)
        );
    }

    #[test]
    fn few_ports_of_a_state_are_listed_if_all_are_known() {
        let listing = Listing::or_few(StateSet::states([State::Open]));
        let check = |closed: u16, untold: u32, expect: usize| {
            let mut hosts = Hosts::new(listing);
            hosts.add(&finding("192.0.2.1:80", Reason::SynAck, 1));
            for port in 1_000..1_000 + closed {
                let endpoint = format!("192.0.2.1:{port}");
                hosts.add(&finding(&endpoint, Reason::ConnRefused, 1));
            }
            let done = HostDone {
                address: "192.0.2.1:0".parse().unwrap(),
                ports: 1 + u32::from(closed) + untold,
                rest: Reason::ConnRefused,
            };
            let host = hosts.take(&done, Time::default()).unwrap();
            assert_eq!(host.listed(listing).count(), expect, "{closed}, {untold}");
            let open = Listing::only(listing.always);
            assert_eq!((host.listed(open).count(), hosts.rows), (1, 0));
        };
        check(2, 0, 3);
        check(25, 0, 26);
        check(26, 0, 1);
        check(60, 0, 1);
        check(2, 1, 1);
    }

    #[test]
    fn what_is_kept_is_bounded() {
        // In memory, in a file, and in a file that turns out to be too small.
        check_bounds(None, 2);
        let file = io::Cursor::new(Vec::new());
        check_bounds(Spill::new(Box::new(file)).ok(), 0);
        let small = io::Cursor::new(vec![0u8; 1 << 20].into_boxed_slice());
        check_bounds(Spill::new(Box::new(small)).ok(), 2);
    }

    /// Six hosts of 60,000 rows at once, told in so many parts more.
    fn check_bounds(spill: Option<Spill>, parts: usize) {
        let mut hosts = Hosts::new(Listing::only(StateSet::states(State::ALL)));
        hosts.spill = spill;
        let mut told = 0;
        let mut parts_told = 0;
        for host in 1..=6 {
            for port in 1..=60_000 {
                if let Some(part) = hosts.add(&finding(
                    &format!("192.0.2.{host}:{port}"),
                    Reason::ConnRefused,
                    1,
                )) {
                    assert!(part.is_part && part.counts.is_empty());
                    told += part.rows.len();
                    parts_told += 1;
                }
                assert!(hosts.rows <= ROWS_IN_MEMORY);
            }
        }
        for host in 1..=6 {
            let address = format!("192.0.2.{host}:0").parse().unwrap();
            let done = HostDone {
                address,
                ports: 60_000,
                rest: Reason::Interrupted,
            };
            let last = hosts.take(&done, Time::default()).unwrap();
            assert!(last.rows.is_sorted_by_key(|row| row.port));
            assert_eq!(last.counts, [(Reason::ConnRefused, 60_000)]);
            told += last.rows.len();
        }
        assert_eq!((told, hosts.rows), (6 * 60_000, 0));
        assert_eq!(parts_told, parts);
    }
}
