//! Scans in a few words, as our JSON lines and as nmap's XML, and what differs between them.

use std::fmt::Write as _;

use super::*;
use crate::report::fixture;
use crate::report::json::JsonLines as ReportLines;
use crate::report::xml::Xml;
use crate::report::{Listing, StateSet};
use crate::scan::Reason;

const PORTS: &str = "22,80,443,8080";

/// A scan of ports 22, 80, 443 and 8080 in a few words: a line for each host that its report
/// tells, with the listed ports and, behind a bar, how many others have which reason:
/// `192.0.2.1 22=syn-ack | 3 conn-refused`. A line that begins with `!` says how it ended.
fn jsonl(scan: &str) -> String {
    let exit = exit(scan);
    let mut hosts = String::new();
    for (address, listed, counts) in hosts_of(scan) {
        let mut reasons = std::collections::BTreeMap::new();
        for (port, reason, banner) in listed {
            let banner: String = banner.bytes().map(|byte| format!("{byte:02x}")).collect();
            let banner = match banner.as_str() {
                "" => String::new(),
                hex => format!("\"banner_hex\":\"{hex}\","),
            };
            let _ = writeln!(
                hosts,
                "{{\"type\":\"finding\",\"ip\":\"{address}\",\"port\":{port},\"reason\":\"{reason}\",{banner}\
                 \"attempts\":1,\"timestamp\":\"2026-01-01T00:00:00Z\"}}"
            );
            *reasons.entry(reason).or_insert(0) += 1;
        }
        let Some(counts) = counts else { continue };
        for (count, reason) in counts {
            *reasons.entry(reason).or_insert(0) += count;
        }
        let reasons: Vec<String> = reasons
            .iter()
            .map(|(reason, count)| format!("\"{reason}\":{count}"))
            .collect();
        let _ = writeln!(
            hosts,
            "{{\"type\":\"host\",\"ip\":\"{address}\",\"reasons\":{{{}}},\
             \"first_timestamp\":\"2026-01-01T00:00:00Z\",\"timestamp\":\"2026-01-01T00:00:00Z\"}}",
            reasons.join(",")
        );
    }
    let targets = "\"targets\":\"00000000000000aa\"";
    let whole = written();
    let start = whole.lines().next().expect("a start");
    let plan = start.find("\"plan\":{").expect("a plan");
    let start = start.replace("22,80,4444,65535", PORTS);
    let start = start.replace(
        "\"timestamp\":\"2023-11-14T22",
        "\"timestamp\":\"2026-01-01T00",
    );
    let from = start[plan..].find("\"targets\":").expect("targets") + plan;
    let start = format!(
        "{}{targets}{}",
        &start[..from],
        &start[from + targets.len()..]
    );
    let end = whole.lines().last().expect("an end");
    let end = end.replace("\"exit\":\"interrupted\"", &format!("\"exit\":\"{exit}\""));
    match exit {
        "broken" => format!("{start}\n{hosts}"),
        _ => format!("{start}\n{hosts}{end}\n"),
    }
}

/// How it ended.
fn exit(scan: &str) -> &str {
    let mut ends = scan.lines().filter_map(|line| line.strip_prefix('!'));
    ends.next_back().unwrap_or("complete")
}

fn hosts_of(scan: &str) -> impl Iterator<Item = Words<'_>> {
    let hosts = scan.lines().filter(|line| !line.starts_with('!'));
    hosts.map(words)
}

/// The same as nmap writes it.
fn xml(scan: &str) -> String {
    let exit = exit(scan);
    let mut hosts = String::new();
    for (address, listed, counts) in hosts_of(scan) {
        let state = |word: &str| {
            let reason = Reason::ALL.into_iter().find(|it| it.as_str() == word);
            let state = reason.expect("a reason").state();
            if state == State::Unscanned {
                "unknown"
            } else {
                state.as_str()
            }
        };
        let _ = write!(
            hosts,
            "<host><address addr=\"{address}\" addrtype=\"ipv4\"/><ports>"
        );
        for (count, reason) in counts.unwrap_or_default() {
            let _ = write!(
                hosts,
                "<extraports state=\"{}\" count=\"{count}\"><extrareasons reason=\"{reason}\" \
                 count=\"{count}\" proto=\"tcp\" ports=\"1\"/></extraports>",
                state(reason)
            );
        }
        for (port, reason, banner) in listed {
            let _ = write!(
                hosts,
                "<port protocol=\"tcp\" portid=\"{port}\"><state state=\"{}\" \
                 reason=\"{reason}\" reason_ttl=\"64\"/><service name=\"x\"/>",
                state(reason)
            );
            if !banner.is_empty() {
                let _ = write!(hosts, "<script id=\"banner\" output=\"{banner}\"/>");
            }
            hosts += "</port>";
        }
        hosts += "</ports></host>\n";
    }
    let end = match exit {
        "broken" => "<host><address addr=\"192.0.2.9\" addr",
        "complete" => "<runstats><finished exit=\"success\"/></runstats></nmaprun>",
        _ => "<runstats><finished exit=\"error\" errormsg=\"x\"/></runstats></nmaprun>",
    };
    format!(
        "<?xml version=\"1.0\"?>\n<!DOCTYPE nmaprun>\n<nmaprun scanner=\"nmap\" args=\"nmap -oX \
         a.xml -p {PORTS} 192.0.2.0/24\" start=\"1\">\n<scaninfo protocol=\"tcp\" \
         services=\"{PORTS}\"/>\n{hosts}{end}"
    )
}

type Words<'a> = (
    &'a str,
    Vec<(u16, &'a str, &'a str)>,
    Option<Vec<(u32, &'a str)>>,
);

fn words(line: &str) -> Words<'_> {
    let (listed, counts) = line
        .split_once('|')
        .map_or((line, None), |(a, b)| (a, Some(b)));
    let mut listed = listed.split_whitespace();
    let address = listed.next().expect("an address");
    let listed = listed.map(|word| {
        let (port, reason) = word.split_once('=').expect("a reason");
        let (reason, banner) = reason.split_once('"').unwrap_or((reason, ""));
        (port.parse().expect("a port"), reason, banner)
    });
    let counts = counts.map(|counts| {
        let words: Vec<&str> = counts.split_whitespace().collect();
        words
            .chunks(2)
            .map(|pair| (pair[0].parse().expect("a count"), pair[1]))
            .collect()
    });
    (address, listed.collect(), counts)
}

fn written() -> String {
    let mut out = Vec::new();
    let services = fixture::services();
    let show = StateSet::states(State::ALL);
    fixture::play(&mut ReportLines::new(
        &mut out,
        show,
        &services,
        fixture::arguments(),
    ));
    String::from_utf8(out).expect("UTF-8")
}

fn side(text: &str) -> Side {
    read("a report", text.as_bytes()).expect("it can be read")
}

fn text_of(old: Side, new: Side) -> (String, Counts) {
    let mut out = Vec::new();
    let comparison = Comparison::new(old, new);
    let services = fixture::services();
    let mut text = Text::new(&mut out, &comparison, &services);
    let counts = comparison.tell(&mut text).expect("it can be written");
    drop(text);
    (String::from_utf8(out).expect("UTF-8"), counts)
}

/// What is told of two scans, without the head and the totals, in both formats.
#[track_caller]
fn check(old: &str, new: &str, expect: &[&str]) {
    for form in [jsonl, xml] {
        let (text, counts) = text_of(side(&form(old)), side(&form(new)));
        let lines: Vec<&str> = text
            .lines()
            .skip(2)
            .take_while(|it| !it.is_empty())
            .collect();
        assert_eq!(lines, expect, "{text}");
        let is_difference = |line: &&&str| !line.starts_with("not known");
        assert_eq!(
            counts.differ(),
            expect.iter().any(|line| is_difference(&line))
        );
    }
}

#[test]
fn what_both_know_is_compared() {
    let old = "192.0.2.1 22=syn-ack 80=syn-ack | 2 conn-refused";
    check(old, old, &[]);
    check(
        old,
        "192.0.2.1 22=syn-ack 443=syn-ack 8080=syn-ack | 1 conn-refused",
        &[
            "closed    192.0.2.1:80 www/,: open -> closed (conn-refused)",
            "opened    192.0.2.1:443,8080: closed (conn-refused) -> open",
        ],
    );
    check(
        old,
        "192.0.2.1 22=syn-ack | 2 conn-refused 1 admin-prohibited",
        &["not open  192.0.2.1:80 www/,: open -> closed or filtered"],
    );
    check(
        old,
        "192.0.2.1 22=port-unreach 80=no-response 443=conn-refused 8080=no-response |",
        &[
            "filtered  192.0.2.1:22 ssh: open -> filtered (port-unreach)",
            "filtered  192.0.2.1:80 www/,: open -> filtered (no-response)",
            "filtered  192.0.2.1:8080 http-proxy: closed (conn-refused) -> filtered (no-response)",
        ],
    );
    check(
        "192.0.2.1 22=syn-ack\"a 80=no-response | 2 conn-refused",
        "192.0.2.1 22=syn-ack\"b 80=admin-prohibited | 2 conn-refused",
        &[
            "banner    192.0.2.1:22 ssh: \"a\" -> \"b\"",
            "reason    192.0.2.1:80 www/,: filtered (no-response) -> filtered (admin-prohibited)",
        ],
    );
    // One of both did not ask for banners.
    check("192.0.2.1 22=syn-ack\"a |", "192.0.2.1 22=syn-ack |", &[]);
}

#[test]
fn what_one_does_not_know_is_no_difference() {
    let old = "192.0.2.1 22=syn-ack | 3 conn-refused";
    for (new, why) in [
        (
            "192.0.2.1 22=host-away | 3 conn-refused",
            "not scanned (host-away)",
        ),
        (
            "192.0.2.1 80=conn-refused | 3 interrupted",
            "not scanned (interrupted)",
        ),
        ("192.0.2.1 | 1 conn-refused 3 interrupted", "not listed"),
        (
            "192.0.2.1 80=conn-refused\n!broken",
            "not told, the scan was broken off",
        ),
        ("!broken", "not told, the scan was broken off"),
        ("!interrupted", "not told, the scan was broken off"),
        (
            "192.0.2.1 80=conn-refused 443=conn-refused 8080=conn-refused |",
            "not known to be in its plan",
        ),
    ] {
        if new.contains("!broken") {
            // A host that is cut off is none in XML.
            let (text, _) = text_of(side(&jsonl(old)), side(&jsonl(new)));
            assert!(
                text.contains(&format!("not known 192.0.2.1:22 ssh: open -> {why}\n")),
                "{text}"
            );
            continue;
        }
        check(
            old,
            new,
            &[&format!("not known 192.0.2.1:22 ssh: open -> {why}")],
        );
    }
    // What is not open on either side is not worth a line.
    check(
        "192.0.2.1 80=conn-refused | 3 interrupted",
        "192.0.2.1 | 4 interrupted",
        &[],
    );
}

#[test]
fn hosts_come_and_go() {
    let up = "192.0.2.1 22=syn-ack | 3 conn-refused\n192.0.2.2 | 4 conn-refused";
    let one = "192.0.2.1 22=syn-ack | 3 conn-refused";
    let silent = "192.0.2.1 | 4 no-response\n192.0.2.2 | 4 conn-refused";
    check(up, one, &["gone      192.0.2.2: open nothing"]);
    check(one, up, &["came      192.0.2.2: open nothing"]);
    check(up, silent, &["gone      192.0.2.1: open 22"]);
    check(silent, up, &["came      192.0.2.1: open 22"]);
}

#[test]
fn other_targets_are_compared_where_both_asked() {
    let old = jsonl("192.0.2.1 22=syn-ack | 3 conn-refused");
    let other = |text: &str| text.replace("00aa\"", "00bb\"");
    let new = "192.0.2.1 80=syn-ack | 3 conn-refused\n192.0.2.3 22=syn-ack | 3 conn-refused";
    let (text, counts) = text_of(side(&old), side(&other(&jsonl(new))));
    for line in [
        "closed    192.0.2.1:22 ssh: open -> closed (conn-refused)",
        "opened    192.0.2.1:80 www/,: closed (conn-refused) -> open",
        "not known 192.0.2.3:22 ssh: not known to be in its plan -> open",
    ] {
        assert!(text.contains(line), "{text}");
    }
    assert_eq!(counts.of(Kind::Came), 0);
}

#[test]
fn a_list_says_what_may_be_open() {
    let list = |ports: &[u16]| {
        let endpoint = |&port: &u16| SocketAddr::from(([192, 0, 2, 1], port));
        Side::expected("allowed.txt", ports.iter().map(endpoint))
    };
    let told = |ports: &[u16], scan: &str| text_of(list(ports), side(&jsonl(scan)));
    let scan = "192.0.2.1 22=syn-ack 80=syn-ack | 2 conn-refused";
    assert_eq!(told(&[22, 80], scan).0, "");
    let (text, counts) = told(&[22, 443], scan);
    assert!(
        text.contains("opened    192.0.2.1:80 www/,: not expected -> open\n"),
        "{text}"
    );
    assert!(
        text.contains("closed    192.0.2.1:443 https: expected -> closed"),
        "{text}"
    );
    assert!(counts.differ());
    let (text, counts) = told(&[22], "192.0.2.1 | 4 no-response");
    assert!(
        text.contains("gone      192.0.2.1: expected 22\n"),
        "{text}"
    );
    assert!(counts.differ());
    let (text, counts) = told(&[22], "192.0.2.2 | 4 conn-refused");
    assert!(
        text.contains("not known 192.0.2.1:22 ssh: expected -> "),
        "{text}"
    );
    assert!(!counts.differ());
}

#[test]
fn reports_in_the_wrong_order_are_noticed() {
    let old = jsonl("192.0.2.1 22=syn-ack | 3 conn-refused");
    let new = old.replace("2026-01-01", "2026-01-02");
    let warnings = |old: &str, new: &str| Comparison::new(side(old), side(new)).warnings();
    assert_eq!(warnings(&old, &new), [""; 0]);
    assert!(warnings(&new, &old)[0].contains("the older report comes first"));
}

#[test]
fn a_cut_or_foreign_file_says_so() {
    let lack = |text: &str| {
        Comparison::new(side(text), side(text))
            .warnings()
            .join("\n")
    };
    for form in [jsonl, xml] {
        let whole = form("192.0.2.1 22=syn-ack | 3 conn-refused");
        assert_eq!(lack(&whole), "");
        // Wherever it is cut, it is read or refused as not begun.
        for end in 0..whole.len() {
            match read("a", &whole.as_bytes()[..end]) {
                Ok(side) => assert!(side.lack.is_some() || end + 22 > whole.len(), "{end}"),
                Err(error) => assert!(matches!(error, ReadError::Untold { .. }), "{end}: {error}"),
            }
        }
    }
    let refused = |text: &str| {
        read("a\x1b", text.as_bytes())
            .expect_err("no report")
            .to_string()
    };
    for (text, part) in [
        ("<html><b>", "\"html\", not nmaprun"),
        ("<nmaprun><nmaprun>", "a second scan"),
        (
            "<nmaprun><host><address addr=\"x\"/></host>",
            "\"x\" is no address",
        ),
        ("<nmaprun args=\"&evil;\"/>", "evil"),
        (
            "<nmaprun><host><ports><port protocol=\"tcp\" portid=\"65536\"/>",
            "65536",
        ),
        ("{\"type\":\"start\",\"schema\":2}\n", "its schema is 2"),
        ("22/tcp open ssh\n", "line 1"),
        ("\u{1b}[2J\n", "line 1"),
    ] {
        let error = refused(text);
        assert!(error.contains(part) && !error.contains('\x1b'), "{error}");
    }
    let endless = format!("<nmaprun><host a=\"{}", "x".repeat(5 << 20));
    assert!(refused(&endless).contains("longer than 4 MiB"));
}

#[test]
fn golden_text_and_lines() {
    let old = written();
    let new = old
        .replace("322e302d", "321b302d")
        .replace("\"port\":4444,\"protocol\":\"tcp\",\"state\":\"filtered\",\"reason\":\"admin-prohibited\"",
            "\"port\":4444,\"protocol\":\"tcp\",\"state\":\"open\",\"reason\":\"syn-ack\"")
        .replace("\"port\":80,\"protocol\":\"tcp\",\"state\":\"closed\",\"reason\":\"conn-refused\"",
            "\"port\":80,\"protocol\":\"tcp\",\"state\":\"filtered\",\"reason\":\"no-response\"");
    let comparison = Comparison::new(side(&old), side(&new));
    let services = fixture::services();
    let mut out = Vec::new();
    comparison
        .tell(&mut Text::new(&mut out, &comparison, &services))
        .expect("written");
    fixture::golden("diff.txt", std::str::from_utf8(&out).expect("UTF-8"));
    out.clear();
    comparison
        .tell(&mut JsonLines::new(&mut out, &services))
        .expect("written");
    fixture::golden("diff.jsonl", std::str::from_utf8(&out).expect("UTF-8"));
}

#[test]
fn our_xml_says_what_our_json_lines_say() {
    let mut out = Vec::new();
    let services = fixture::services();
    let listing = Listing::only(StateSet::states(State::ALL));
    let arguments = fixture::arguments();
    fixture::play(&mut Xml::new(
        &mut out,
        listing,
        &services,
        "portreeve",
        &arguments,
    ));
    let xml = String::from_utf8(out).expect("UTF-8");
    assert_eq!(text_of(side(&written()), side(&xml)).0, "");
}
