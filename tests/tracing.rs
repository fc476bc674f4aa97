//! What perf, bpftrace and DTrace see agrees with what the report says. With the feature `usdt`;
//! bpftrace counts where it may (root), else gdb lists the points. docs/PROFILING.md names them.
#![cfg(feature = "usdt")]

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};

use serde_json::Value;

const PORTREEVE: &str = env!("CARGO_BIN_EXE_portreeve");

/// Says loudly that a test could not do its work; where that may not be (CI), it fails.
fn skipped(test: &str, why: &str) {
    assert!(
        std::env::var_os("PORTREEVE_MUST_NOT_SKIP").is_none(),
        "{test} was skipped: {why}"
    );
    let _ = writeln!(io::stderr(), "\n*** SKIPPED {test}: {why} ***\n");
}

/// What bpftrace counts at each point of a run, by the point's name and what `key` says, and the
/// run's end record; `None` where bpftrace cannot be run.
fn counted(arguments: &str) -> Option<(BTreeMap<String, u64>, Value)> {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let report = folder.path().join("report.json");
    let point =
        |name: &str, action: &str| format!("usdt:{PORTREEVE}:portreeve:{name} {{ {action} }}\n");
    let program = [
        point(
            "probe_start",
            "@starts = count(); @first[str(arg0)] = sum(arg2 == 1 ? 1 : 0);",
        ),
        point(
            "probe_outcome",
            "@outcomes = count(); @errno[(int32)arg4] = count(); @port[arg1] = count();",
        ),
        point("socket_opened", "@opened = count();"),
        point(
            "turn",
            "@turns = count(); @events = sum(arg0); @begun = sum(arg1); @expired = sum(arg2);",
        ),
    ];
    let output = Command::new("bpftrace")
        .args([
            "-e",
            &program.concat(),
            "-c",
            &format!("{PORTREEVE} {arguments} -q -oJ {}", report.display()),
        ])
        .stdin(Stdio::null())
        .output();
    let output = output.ok()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let counts = text
        .lines()
        .filter_map(|line| line.strip_prefix('@')?.split_once(": "));
    let counts: BTreeMap<String, u64> = counts
        .filter_map(|(name, count)| Some((name.to_owned(), count.trim().parse().ok()?)))
        .collect();
    let report = std::fs::read_to_string(&report).ok()?;
    let end = serde_json::from_str(report.lines().last()?).expect("an end record");
    (!counts.is_empty()).then_some((counts, end))
}

#[test]
fn as_many_outcomes_are_traced_as_the_report_counts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let open = listener.local_addr().expect("an address").port();
    let Some((counts, end)) = counted(&format!("127.0.0.1 -p 1-300,{open} --timeout 100ms")) else {
        return skipped(
            "as_many_outcomes_are_traced_as_the_report_counts",
            "bpftrace is not installed, or may not be used",
        );
    };
    let report = |name: &str| {
        end[name]
            .as_u64()
            .unwrap_or_else(|| panic!("no {name} in {end}"))
    };
    let own_errors: u64 = end["own_errors"]
        .as_object()
        .expect("own errors")
        .values()
        .filter_map(Value::as_u64)
        .sum();
    let outcomes = report("attempts") + report("voided") + report("self_connects") + own_errors;
    let traced = |name: &str| counts.get(name).copied().unwrap_or(0);
    assert_eq!(
        (traced("starts"), traced("outcomes")),
        (outcomes, outcomes),
        "{counts:?} {end}"
    );
    assert_eq!(
        traced("errno[111]"),
        report("closed") + report("controls"),
        "{counts:?}"
    );
    assert_eq!(traced("errno[0]"), report("open"), "{counts:?}");
    assert_eq!(traced(&format!("port[{open}]")), 1, "{counts:?}");
    assert_eq!(
        traced("first[127.0.0.1]"),
        outcomes,
        "every attempt was its endpoint's first: {counts:?}"
    );
    assert_eq!(
        (traced("opened"), traced("events")),
        (report("sockets_opened"), report("events")),
        "{counts:?} {end}"
    );
    assert_eq!(
        (traced("turns"), traced("begun"), traced("expired")),
        (report("turns"), outcomes, 0),
        "{counts:?} {end}"
    );
}

#[test]
fn every_point_of_the_contract_is_in_the_program() {
    let Ok(output) = Command::new("gdb")
        .args(["-batch", "-ex", "info probes stap portreeve", PORTREEVE])
        .output()
    else {
        return skipped(
            "every_point_of_the_contract_is_in_the_program",
            "gdb is not installed",
        );
    };
    let listed = String::from_utf8_lossy(&output.stdout).into_owned();
    let contract = include_str!("../docs/PROFILING.md");
    let mut points: Vec<&str> = listed
        .lines()
        .filter_map(|line| {
            line.strip_prefix("stap portreeve ")?
                .split_whitespace()
                .next()
        })
        .collect();
    points.sort_unstable();
    points.dedup();
    assert_eq!(points.len(), 10, "{listed}");
    for point in points {
        assert!(
            contract.contains(&format!("| `{point}` |")),
            "{point} is not in docs/PROFILING.md"
        );
    }
}
