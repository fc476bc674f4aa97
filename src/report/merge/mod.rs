//! Joins the JSON lines of shards into one scan, which any sink can be told of. The listed findings
//! are kept in memory, sorted by address and port: some 100 bytes each. It knows no files.

mod hosts;
mod part;

use std::collections::BTreeMap;
use std::io;
use std::time::SystemTime;

use super::format::counted;
use super::records::ReadError;
use super::{Begin, Exit, Notices, Origin, Sink, StateSet, Summary};
use crate::plan::{Outline, Shard};
use crate::scan::{Reason, Stats, Time};
pub use part::Part;

/// Why inputs cannot be joined.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// An input could not be read.
    #[error(transparent)]
    Unread(#[from] ReadError),
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
    /// No input at all.
    #[error("there is nothing to join; give the JSON lines of the shards")]
    Nothing,
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
        whole.names = parts.iter_mut().flat_map(Part::take_names).collect();
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
        let hosts = hosts::all(&mut self.parts, started_at);
        summary.stats.hosts_answering = hosts
            .values()
            .filter(|host| host.report.answered_by().is_some())
            .count() as u64;
        let open = hosts::open_ports(&hosts);
        summary.open_everywhere = open.everywhere(self.whole.addresses);
        summary.hosts_in_doubt = open.hosts_on_only(&summary.open_everywhere);
        let first = &self.parts[0].start;
        let (cap, cap_set_by) = first.cap;
        sink.begin(&Begin {
            started_at,
            plan: &self.whole,
            settings: first.settings,
            limits: first.limits,
            cap,
            cap_set_by,
            origin: Origin::Joined,
        })?;
        let wanted = sink.wants_hosts();
        for host in hosts.into_values() {
            host.tell(sink, wanted)?;
        }
        sink.end(&summary)?;
        Ok(summary)
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
        let passed = ended_at.duration_since(started_at).unwrap_or_default();
        let ended = Time::from_us(passed.as_micros() as u64);
        Summary {
            elapsed: ended,
            ended,
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
            open_everywhere: Vec::new(),
            hosts_in_doubt: 0,
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
    use std::io::BufRead;

    use super::*;
    use crate::report::json::JsonLines;
    use crate::report::xml::Xml;
    use crate::report::{Listing, fixture, text};
    use crate::scan::State;

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

    fn read(text: &str) -> Result<Part, ReadError> {
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
                .collect::<Result<Vec<Part>, ReadError>>()?,
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
                matches!(error(&mut torn.as_bytes()), ReadError::Untold { .. }),
                "{torn}"
            );
        }
        assert!(matches!(
            error(&mut b"open 127.0.0.1".as_slice()),
            ReadError::Line { number: 1, .. }
        ));
    }

    #[test]
    fn each_finding_keeps_the_name_that_it_was_told_under() {
        let text = written();
        let is_other = |line: &&str| line.contains("\"host\":\"odd.test\",\"port\":4444");
        let line = text.lines().find(is_other).expect("a finding");
        let other = line.replace("odd.test", "twin.test");
        let told = joined(&[&text.replace(line, &other)]).expect("a scan").0;
        let names = |name: &str| told.matches(&format!("\"host\":\"{name}\"")).count();
        assert_eq!(names("twin.test"), 1, "{told}");
        assert!(names("odd.test") > 1, "{told}");
        assert!(told.contains("\"other_names\":[\"twin.test\"]"), "{told}");
    }

    #[test]
    fn files_that_other_systems_have_touched_are_read() {
        let text = written();
        let told = joined(&[&text]).expect("a scan").0;
        let mark = "\u{feff}";
        for touched in [
            text.replace('\n', "\r\n"),
            text.replace('\n', "\r"),
            text.replace('\n', "\n\n \r\n"),
            format!("{mark}{text}"),
        ] {
            assert_eq!(joined(&[&touched]).expect("the same scan").0, told);
        }
        let wide: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        for wide in [&wide[..], &[&[0xff, 0xfe], &wide[..]].concat()] {
            let error = Part::read("a", wide).map(drop).expect_err("refused");
            assert!(
                error.to_string().contains("line 1: this is UTF-16"),
                "{error}"
            );
        }
    }

    #[test]
    fn what_warnings_hold_does_not_act_on_a_terminal() {
        let text = written()
            .replace("\"warnings\":[]", "\"warnings\":[\"\\u001b[2J\"]")
            .replace("\"local_error\":null", "\"local_error\":\"\\u009b1m\"");
        let mut out = Vec::new();
        let services = fixture::services();
        let style = text::Style {
            verbose: true,
            ..text::Style::new(Listing::or_few(StateSet::states([State::Open])))
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
            let listing = Listing::or_few(show);
            let mut xml = Xml::new(&mut out, listing, &services, "nmap", &fixture::arguments());
            joined.tell(&mut xml).expect("it can be written");
            assert!(out.iter().all(|&byte| byte >= b' ' || byte == b'\n'));
            let mut out = Vec::new();
            let style = text::Style {
                verbose: true,
                ..text::Style::new(listing)
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
