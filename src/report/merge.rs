//! Joins the JSON lines of shards into one scan, which any sink can be told of. It reads its input
//! and knows no files. The listed findings are kept in memory, sorted by address and port: some 100
//! bytes each.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{self, BufRead, Read};
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::by_host::{Row, without_port};
use super::escape::printable;
use super::format::counted;
use super::read::{self, Fields, Started};
use super::{Begin, Exit, HostReport, Notices, Origin, Sink, StateSet, Summary};
use crate::plan::{Outline, Shard};
use crate::scan::{Finding, Reason, State, Stats, Time};

/// Why inputs cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input could not be read.
    #[error("{name} cannot be read: {error}")]
    Read {
        /// The input's name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// An input was not written by portreeve.
    #[error("{name}, line {number}: {what}; give JSON lines that portreeve has written")]
    Line {
        /// The input's name.
        name: String,
        /// The line number, from 1.
        number: usize,
        /// What is wrong with it.
        what: String,
    },
    /// Two inputs belong to different scans.
    #[error(
        "{name} does not belong to {first}: {what}; join shards of one scan, of the same targets, ports and seed"
    )]
    Stranger {
        /// The input that does not fit.
        name: String,
        /// The first input.
        first: String,
        /// What is different.
        what: String,
    },
    /// An input's scan was interrupted before it had written anything. The others can be joined
    /// without it.
    #[error("{name} has not one whole line: its scan was broken off at once, or has not begun")]
    Untold {
        /// The input's name.
        name: String,
    },
    /// No input at all.
    #[error("there is nothing to join; give the JSON lines of the shards")]
    Nothing,
}

/// The longest line of an input: a command line of 2 MiB, as Linux allows, and as much again.
const LONGEST_LINE_BYTES: u64 = 4 << 20;

/// One input: a shard, or a whole scan.
#[derive(Debug)]
pub struct Part {
    name: String,
    start: Started,
    findings: Vec<Finding>,
    hosts: Vec<HostReport>,
    names: HashMap<IpAddr, Box<str>>,
    end: Option<Summary>,
}

impl Part {
    /// Reads an input to its end. An incomplete last line is ignored: its writer was killed.
    ///
    /// # Errors
    /// [`MergeError`]: the input cannot be read, is something else, or is empty.
    pub fn read(name: &str, mut from: impl BufRead) -> Result<Self, MergeError> {
        let wrong = |number: usize, what: String| MergeError::Line {
            name: printable(name),
            number,
            what: printable(&what),
        };
        let mut part: Option<Part> = None;
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            let length = from
                .by_ref()
                .take(LONGEST_LINE_BYTES)
                .read_until(b'\n', &mut line);
            let length = length.map_err(|error| MergeError::Read {
                name: printable(name),
                error,
            })?;
            if length == 0 {
                break;
            }
            let is_whole = line.last() == Some(&b'\n');
            if !is_whole && length as u64 == LONGEST_LINE_BYTES {
                return Err(wrong(number, "it is longer than 4 MiB".into()));
            }
            let record = match serde_json::from_slice::<Value>(&line) {
                Err(_) if !is_whole && line[0] == b'{' => break,
                record => record.map_err(|error| wrong(number, error.to_string()))?,
            };
            let record = Fields(&record);
            match (record.text("type"), &mut part) {
                (Ok("start"), None) => {
                    part = Some(Part::begin(name, record).map_err(|what| wrong(number, what))?)
                }
                (Ok("start"), Some(_)) => {
                    return Err(wrong(number, "a second scan begins here".into()));
                }
                (_, None) => {
                    return Err(wrong(number, "there is no start record before it".into()));
                }
                (kind, Some(part)) => kind
                    .and_then(|kind| part.take(kind, record))
                    .map_err(|what| wrong(number, what))?,
            }
        }
        let mut part = part.ok_or_else(|| MergeError::Untold {
            name: printable(name),
        })?;
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
            end: None,
        })
    }

    fn planned(&self) -> u64 {
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
                let end = read::end(record)?;
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
            self.names
                .entry(address.ip())
                .or_insert_with(|| name.into());
        }
        Ok(())
    }

    fn is_complete(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.exit == Exit::Complete)
    }

    /// Takes over the findings that only another run of the same shard has, where neither is
    /// complete. Says in words what was done.
    fn unite(&mut self, other: Part) -> String {
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
        self.names.extend(other.names);
        what
    }

    /// How far it came. Of two runs of a shard, a complete one is better, and then the one that
    /// knows more.
    fn rank(&self) -> (bool, u64) {
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
    fn ended_at(&self) -> SystemTime {
        let last = self
            .findings
            .iter()
            .map(|finding| finding.at)
            .max()
            .unwrap_or_default();
        self.start.started_at
            + Duration::from_micros(self.end.as_ref().map_or(last, |end| end.elapsed).us)
    }

    /// What was counted; without an end record, what was listed.
    fn stats(&self) -> Stats {
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
    fn lack(&self) -> Option<String> {
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

/// Shards of one scan.
#[derive(Debug)]
pub struct Joined {
    parts: Vec<Part>,
    whole: Outline,
    lacks: Vec<String>,
}

impl Joined {
    /// Joins inputs, in any order.
    ///
    /// # Errors
    /// [`MergeError::Stranger`] or [`MergeError::Nothing`]. Missing shards are no error: see
    /// [`lacks`](Self::lacks).
    pub fn new(parts: impl IntoIterator<Item = Part>) -> Result<Self, MergeError> {
        let mut lacks = Vec::new();
        let mut best: BTreeMap<Shard, Part> = BTreeMap::new();
        for part in parts {
            if let Some(first) = best.values().next() {
                belongs(&part, first)?;
            }
            let Some(other) = best.remove(&part.start.shard) else {
                best.insert(part.start.shard, part);
                continue;
            };
            let (mut used, left) = if part.rank() > other.rank() {
                (part, other)
            } else {
                (other, part)
            };
            lacks.push(used.unite(left));
            best.insert(used.start.shard, used);
        }
        let mut parts: Vec<Part> = best.into_values().collect();
        let mut whole = parts
            .first()
            .ok_or(MergeError::Nothing)?
            .start
            .whole
            .clone();
        whole.names = parts
            .iter_mut()
            .flat_map(|part| std::mem::take(&mut part.names))
            .collect();
        lacks.extend(missing(&parts, whole.endpoints));
        lacks.extend(parts.iter().filter_map(Part::lack));
        whole.warnings.extend(lacks.iter().cloned());
        Ok(Joined {
            parts,
            whole,
            lacks,
        })
    }

    /// What is missing, and what was left out, in words.
    pub fn lacks(&self) -> &[String] {
        &self.lacks
    }

    /// The states that every input lists one by one.
    pub fn states(&self) -> StateSet {
        self.parts
            .iter()
            .map(|part| part.start.show)
            .reduce(StateSet::and)
            .unwrap_or(StateSet::states([]))
    }

    /// Reports the scan to a sink, host by host.
    ///
    /// # Errors
    /// The sink's errors.
    pub fn tell(mut self, sink: &mut dyn Sink) -> io::Result<Summary> {
        let started_at = self
            .parts
            .iter()
            .map(|part| part.start.started_at)
            .min()
            .unwrap_or(SystemTime::UNIX_EPOCH);
        let mut summary = self.summary(started_at);
        let hosts = self.hosts(started_at);
        summary.stats.hosts_answering = hosts
            .values()
            .filter(|(_, host)| host.answered_by().is_some())
            .count() as u64;
        let &Started {
            settings,
            limits,
            cap: (cap, cap_set_by),
            ..
        } = &self.parts[0].start;
        sink.begin(&Begin {
            started_at,
            plan: &self.whole,
            settings,
            limits,
            cap,
            cap_set_by,
            origin: Origin::Joined,
        })?;
        let wants_hosts = sink.wants_hosts();
        for (findings, mut host) in hosts.into_values() {
            findings
                .iter()
                .try_for_each(|finding| sink.finding(finding))?;
            let Some(show) = wants_hosts else { continue };
            host.rows = findings
                .iter()
                .filter(|finding| show.lists(finding.state()))
                .map(Row::of)
                .collect();
            sink.host(&host)?;
        }
        sink.end(&summary)?;
        Ok(summary)
    }

    /// Every host with its findings by port and its counts.
    fn hosts(
        &mut self,
        started_at: SystemTime,
    ) -> BTreeMap<SocketAddr, (Vec<Finding>, HostReport)> {
        let mut hosts: BTreeMap<SocketAddr, (Vec<Finding>, HostReport)> = BTreeMap::new();
        let of = |address: SocketAddr, at: Time| {
            (
                Vec::new(),
                HostReport {
                    last: at,
                    ..HostReport::unheard(address, at)
                },
            )
        };
        for part in &mut self.parts {
            let later = part
                .start
                .started_at
                .duration_since(started_at)
                .unwrap_or_default()
                .as_micros() as u64;
            // Of two records of one host, from before and after an interruption, the last one
            // holds.
            let reports: HashMap<SocketAddr, HostReport> = part
                .hosts
                .drain(..)
                .map(|host| (host.address, host))
                .collect();
            for report in reports.values() {
                let first = report.first.plus_us(later);
                let last = report.last.plus_us(later);
                let (_, host) = hosts
                    .entry(report.address)
                    .or_insert_with(|| of(report.address, first));
                report
                    .counts
                    .iter()
                    .for_each(|&(reason, count)| host.count(reason, count));
                host.first = host.first.min(first);
                host.last = host.last.max(last);
            }
            for mut finding in part.findings.drain(..) {
                finding.at = finding.at.plus_us(later);
                let address = without_port(finding.endpoint);
                let (findings, host) = hosts
                    .entry(address)
                    .or_insert_with(|| of(address, finding.at));
                if !reports.contains_key(&address) {
                    host.count(finding.reason, 1);
                }
                findings.push(finding);
            }
        }
        for (findings, host) in hosts.values_mut() {
            findings.sort_unstable_by_key(|finding| finding.endpoint.port());
            host.finish();
        }
        hosts
    }

    /// The summary, without the hosts.
    fn summary(&self, started_at: SystemTime) -> Summary {
        let mut stats = Stats::new(self.whole.endpoints, 0);
        let ends = || self.parts.iter().filter_map(|part| part.end.as_ref());
        self.parts.iter().for_each(|part| stats.add(&part.stats()));
        let untold = stats.planned.saturating_sub(stats.settled());
        stats.settle(Reason::Untold, untold);
        let is_complete = untold == 0 && self.parts.iter().all(Part::is_complete);
        let ended_at = self
            .parts
            .iter()
            .map(Part::ended_at)
            .max()
            .unwrap_or(started_at);
        let first = ends().next();
        let sum = |count: fn(&Summary) -> u64| ends().map(count).sum();
        Summary {
            elapsed: Time::from_us(
                ended_at
                    .duration_since(started_at)
                    .unwrap_or_default()
                    .as_micros() as u64,
            ),
            exit: if is_complete {
                Exit::Complete
            } else {
                Exit::Incomplete
            },
            stopped: None,
            cap: ends().map(|end| end.cap).max().unwrap_or(0),
            cap_set_by: first.map_or(crate::scan::SetBy::Enough, |end| end.cap_set_by),
            peak_sockets: ends().map(|end| end.peak_sockets).max().unwrap_or(0),
            sockets_opened: sum(|end| end.sockets_opened),
            tcp_memory_growth_bytes: ends().filter_map(|end| end.tcp_memory_growth_bytes).max(),
            turns: sum(|end| end.turns),
            events: sum(|end| end.events),
            late: Default::default(),
            profile: None,
            stale_events: sum(|end| end.stale_events),
            local_error: ends().find_map(|end| end.local_error.clone()),
            local: None,
            notices: ends().fold(Notices::default(), |sum, end| sum.plus(end.notices)),
            stats,
        }
    }
}

fn belongs(part: &Part, first: &Part) -> Result<(), MergeError> {
    let plan = &part.start.whole;
    let other = &first.start.whole;
    let what = if (plan.digest, plan.endpoints, plan.addresses)
        != (other.digest, other.endpoints, other.addresses)
    {
        format!(
            "it is of another plan ({} endpoints, digest {:016x}, instead of {}, {:016x})",
            plan.endpoints, plan.digest, other.endpoints, other.digest
        )
    } else if part.start.shard.of() != first.start.shard.of() {
        format!(
            "it is shard {}, and that one is {}",
            part.start.shard, first.start.shard
        )
    } else {
        return Ok(());
    };
    Err(MergeError::Stranger {
        name: part.name.clone(),
        first: first.name.clone(),
        what,
    })
}

/// The shards that are missing: `shards 3-5, 9 of 16 are missing`.
fn missing(parts: &[Part], endpoints: u64) -> Option<String> {
    let of = parts[0].start.shard.of();
    let mut runs: Vec<String> = Vec::new();
    let mut next: u32 = 1;
    let mut count: u64 = 0;
    let ends = parts
        .iter()
        .map(|part| part.start.shard.number())
        .chain([of.saturating_add(1)]);
    for there in ends {
        if next < there {
            runs.push(if next == there - 1 {
                next.to_string()
            } else {
                format!("{next}-{}", there - 1)
            });
            count += u64::from(there - next);
        }
        next = there.saturating_add(1);
    }
    let there: u64 = parts.iter().map(Part::planned).sum();
    let lost = counted(endpoints.saturating_sub(there), "endpoint", "endpoints");
    let (shards, are) = if count == 1 {
        ("shard", "is")
    } else {
        ("shards", "are")
    };
    (count > 0).then(|| {
        format!(
            "{shards} {} of {of} {are} missing, with {lost}",
            runs.join(", ")
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::json::JsonLines;
    use crate::report::xml::Xml;
    use crate::report::{fixture, text};

    fn written() -> String {
        let mut out = Vec::new();
        let services = fixture::services();
        fixture::play(&mut JsonLines::new(
            &mut out,
            StateSet::states(State::ALL),
            &services,
            fixture::arguments(),
        ));
        String::from_utf8(out).expect("UTF-8")
    }

    fn read(text: &str) -> Result<Part, MergeError> {
        Part::read("a.jsonl", text.as_bytes())
    }

    /// What is written when these inputs are joined.
    fn joined(texts: &[&str]) -> Result<(String, Summary), MergeError> {
        let mut out = Vec::new();
        let services = fixture::services();
        let joined = Joined::new(
            texts
                .iter()
                .map(|text| read(text))
                .collect::<Result<Vec<Part>, MergeError>>()?,
        )?;
        let show = joined.states();
        let mut json = JsonLines::new(&mut out, show, &services, fixture::arguments());
        let summary = joined.tell(&mut json).expect("it can be written");
        Ok((String::from_utf8(out).expect("UTF-8"), summary))
    }

    #[test]
    fn one_scan_is_told_as_it_was() {
        let text = written();
        let (again, summary) = joined(&[&text]).expect("it is whole");
        let sorted = |text: &str, kind: &str| {
            let mut lines: Vec<String> = text
                .lines()
                .filter(|line| line.contains(kind))
                .map(String::from)
                .collect();
            lines.sort();
            lines
        };
        for kind in ["\"type\":\"finding\"", "\"type\":\"host\""] {
            assert_eq!(sorted(&again, kind), sorted(&text, kind));
        }
        let then = fixture::summary();
        for state in State::ALL {
            assert!(summary.stats.reasons(state).eq(then.stats.reasons(state)));
        }
        assert_eq!(
            (summary.exit, summary.elapsed, summary.stats.hosts_answering),
            (Exit::Incomplete, then.elapsed, 3)
        );
    }

    #[test]
    fn what_is_missing_is_counted_and_said() {
        let part = |number: u32, exit: &str| {
            let text = written().replace(
                "\"shard\":null",
                &format!("\"shard\":{{\"number\":{number},\"of\":5}}"),
            );
            let plan = "\"plan\":{\"digest\":\"00ff\",\"endpoints\":60,\"addresses\":3}";
            let start = text.find("\"plan\":{").expect("a plan");
            let end = start + text[start..].find('}').expect("its end") + 1;
            (text[..start].to_owned() + plan + &text[end..])
                .replace("\"exit\":\"interrupted\"", &format!("\"exit\":\"{exit}\""))
        };
        let two = part(2, "complete");
        let five = part(5, "interrupted");
        let (text, summary) = joined(&[&five, &two, &two]).expect("they belong together");
        assert_eq!(summary.stats.with_reason(Reason::Untold), 36);
        assert_eq!(
            (summary.stats.settled(), summary.exit),
            (60, Exit::Incomplete)
        );
        for lack in [
            "shards 1, 3-4 of 5 are missing, with 36 endpoints",
            "shard 2/5 is there twice",
            "(shard 5/5) is interrupted: 3 endpoints unscanned",
        ] {
            assert!(text.contains(lack), "{lack:?} is not in {text}");
        }
        let without_end = two.rsplit_once("{\"type\":\"end\"").expect("an end").0;
        let (text, summary) = joined(&[without_end]).expect("a part of it");
        assert!(text.contains("has no end"), "{text}");
        assert_eq!(
            (
                summary.stats.with_reason(Reason::Untold),
                summary.stats.settled()
            ),
            (48, 60)
        );
        let torn = &without_end[..without_end.len() - 9];
        assert_eq!(
            joined(&[torn])
                .expect("all but the last line")
                .1
                .stats
                .settled(),
            60
        );
        for (strangers, what) in [
            (
                [two.as_str(), &written()],
                "it is of another plan (12 endpoints",
            ),
            (
                [
                    &two,
                    &two.replace("\"of\":5", "\"of\":4")
                        .replace("\"endpoints\":60", "\"endpoints\":48"),
                ],
                "another plan",
            ),
        ] {
            let error = joined(&strangers).expect_err("strangers").to_string();
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn what_only_one_of_two_broken_runs_lists_is_kept() {
        // Twelve endpoints, of which three were not scanned.
        let text = written();
        let line = text
            .lines()
            .find(|line| line.contains("\"state\":\"open\""))
            .expect("an open port");
        let less = text.replace(&format!("{line}\n"), "");
        let is_listed =
            |text: &str| text.contains(&line[..line.find("\"timestamp").expect("a time")]);
        assert!(!is_listed(&joined(&[&less]).expect("it is a scan").0));
        let broken = less.rsplit_once("{\"type\":\"end\"").expect("an end").0;
        for (texts, what) in [
            ([less.as_str(), text.as_str()], "1 finding that only"),
            ([broken, text.as_str()], "0 findings that only"),
        ] {
            let (told, summary) = joined(&texts).expect("two runs of one scan");
            assert!(is_listed(&told) && told.contains(what), "{told}");
            assert_eq!(
                (summary.exit, summary.stats.settled()),
                (Exit::Incomplete, 12)
            );
        }
        let complete = less.replace("\"exit\":\"interrupted\"", "\"exit\":\"complete\"");
        assert!(
            joined(&[&complete, &text])
                .expect("two runs")
                .0
                .contains("is used, a.jsonl is not")
        );
    }

    #[test]
    fn an_endless_line_and_an_empty_input_are_told_apart() {
        let error = |from: &mut dyn BufRead| Part::read("a", from).map(drop).expect_err("refused");
        let endless = error(&mut io::BufReader::new(io::repeat(b' ')));
        assert!(
            endless.to_string().contains("longer than 4 MiB"),
            "{endless}"
        );
        let start = written();
        for torn in ["", &start[..1], &start[..80]] {
            assert!(
                matches!(error(&mut torn.as_bytes()), MergeError::Untold { .. }),
                "{torn}"
            );
        }
        assert!(matches!(
            error(&mut b"open 127.0.0.1".as_slice()),
            MergeError::Line { number: 1, .. }
        ));
    }

    #[test]
    fn what_warnings_hold_does_not_act_on_a_terminal() {
        let text = written()
            .replace("\"warnings\":[]", "\"warnings\":[\"\\u001b[2J\"]")
            .replace("\"local_error\":null", "\"local_error\":\"\\u009b1m\"");
        let mut out = Vec::new();
        let services = fixture::services();
        let show = StateSet::states([State::Open]);
        let style = text::Style {
            show,
            listed_only: false,
            verbose: true,
            quiet: false,
            color: false,
        };
        let told = Joined::new([read(&text).expect("a scan")])
            .expect("one")
            .tell(&mut text::Text::new(&mut out, style, &services));
        assert!(told.is_ok_and(|summary| summary.local_error.is_some()));
        let out = String::from_utf8(out).expect("UTF-8");
        assert!(
            out.contains("\\u{1b}[2J") && !out.contains(['\u{1b}', '\u{9b}']),
            "{out}"
        );
    }

    #[test]
    fn nothing_that_is_read_makes_it_fail() {
        let text = written();
        let mut random = fastrand::Rng::with_seed(5);
        let words = [
            "0",
            "-1",
            "18446744073709551615",
            "1e99",
            "null",
            "\"\"",
            "{}",
            "\"\\u001b[2J\"",
            "4294967295",
            "\"9999-12-31T23:59:59Z\"",
        ];
        let mut told = 0;
        for _ in 0..3_000 {
            let mut lines: Vec<String> = text.lines().map(|line| line.to_owned() + "\n").collect();
            let at = random.usize(..lines.len());
            // One value of one line is another.
            let places: Vec<usize> = lines[at]
                .match_indices(':')
                .map(|(place, _)| place + 1)
                .collect();
            let from = places[random.usize(..places.len())];
            let to = from + lines[at][from..].find([',', '}']).unwrap_or(0);
            if lines[at].is_char_boundary(from) && lines[at].is_char_boundary(to) {
                lines[at].replace_range(from..to, random.choice(words).expect("one"));
            }
            let Ok(part) = read(&lines.concat()) else {
                continue;
            };
            let Ok(joined) = Joined::new([part]) else {
                continue;
            };
            let mut out = Vec::new();
            let services = fixture::services();
            let show = joined.states();
            let mut xml = Xml::new(&mut out, show, &services, "nmap", &fixture::arguments());
            joined.tell(&mut xml).expect("it can be written");
            assert!(out.iter().all(|&byte| byte >= b' ' || byte == b'\n'));
            let mut out = Vec::new();
            let style = text::Style {
                show,
                listed_only: false,
                verbose: true,
                quiet: false,
                color: false,
            };
            Joined::new([read(&lines.concat()).expect("as before")])
                .expect("as before")
                .tell(&mut text::Text::new(&mut out, style, &services))
                .expect("it can be written");
            assert!(
                out.iter().all(|&byte| byte >= b' ' || byte == b'\n'),
                "{}",
                String::from_utf8_lossy(&out)
            );
            told += 1;
        }
        assert!(told > 300, "{told} of them can be read");
    }
}
