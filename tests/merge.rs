//! Shards of one scan and what `portreeve merge` makes of them, as a user runs it.

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use serde_json::Value;
use simulator::namespace::{in_namespace, skip};
use support::command::{Ran, end_record, json_lines, run_in};

const SCAN: &str = "127.0.0.1-3 -p 1-500 --show open,closed -q";

/// A report without the lines that tell who scanned when.
fn without_times(folder: &Path, name: &str) -> Vec<String> {
    let text = fs::read_to_string(folder.join(name)).expect("a report");
    let timed = |line: &&str| {
        ![
            "# portreeve",
            "<!-- ",
            "<nmaprun",
            "<runstats",
            "\"type\":\"start\"",
            "\"type\":\"end\"",
        ]
        .iter()
        .any(|part| line.contains(part))
    };
    // Of the others, what comes before their times.
    let plain = |line: &str| {
        let ends = ["\"timestamp", "\"first_timestamp", "\"rtt_us", "starttime"]
            .into_iter()
            .filter_map(|part| line.find(part));
        line[..ends.min().unwrap_or(line.len())].to_owned()
    };
    let mut lines: Vec<String> = text.lines().filter(timed).map(plain).collect();
    lines.sort();
    lines
}

#[test]
fn sixteen_shards_are_the_whole() {
    in_namespace("sixteen_shards_are_the_whole", || {
        let _listeners: Vec<TcpListener> = [22, 80, 443, 500]
            .map(|port| TcpListener::bind(("0.0.0.0", port)).expect("a free port"))
            .into();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let outputs = |name: &str| {
            format!(
                "-oX {name}.xml -oG {name}.gnmap -oJ {name}.jsonl -oL {name}.list --list-open {name}.open"
            )
        };
        assert_eq!(
            run_in(
                folder.path(),
                &format!("{SCAN} --seed 0 {}", outputs("whole"))
            )
            .code,
            Some(0)
        );
        let mut sizes = Vec::new();
        for shard in 1..=16 {
            let ran = run_in(
                folder.path(),
                &format!("{SCAN} --shard {shard}/16 -oJ {shard}.jsonl"),
            );
            assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.stderr);
            sizes.push(
                end_record(
                    &fs::read_to_string(folder.path().join(format!("{shard}.jsonl")))
                        .expect("a file"),
                )["planned"]
                    .as_u64(),
            );
        }
        assert!(
            sizes.iter().all(|size| matches!(size, Some(93 | 94))),
            "{sizes:?}"
        );
        let files: Vec<String> = (1..=16)
            .rev()
            .map(|shard| format!("{shard}.jsonl"))
            .collect();
        let Ran {
            code,
            stdout,
            stderr,
        } = run_in(
            folder.path(),
            &format!("merge {} {}", files.join(" "), outputs("merged")),
        );
        assert_eq!((code, stderr.as_str()), (Some(0), ""));
        assert!(
            stdout.contains("1,500 planned = 12 open + 1,488 closed + 0 filtered + 0 unscanned"),
            "{stdout}"
        );
        for ending in ["xml", "gnmap", "jsonl", "open"] {
            let [whole, merged] = ["whole", "merged"]
                .map(|name| without_times(folder.path(), &format!("{name}.{ending}")));
            assert_eq!(merged, whole, "{ending}");
        }
        let end =
            |name: &str| end_record(&fs::read_to_string(folder.path().join(name)).expect("a file"));
        let whole = end("whole.jsonl");
        let merged = end("merged.jsonl");
        for field in [
            "exit",
            "planned",
            "reasons",
            "hosts_answering",
            "missed_at_most",
        ] {
            assert_eq!(merged[field], whole[field], "{field}");
        }

        // One of them is missing, and one was written again.
        fs::copy(folder.path().join("3.jsonl"), folder.path().join("4.jsonl")).expect("copied");
        let Ran {
            code,
            stdout,
            stderr,
        } = run_in(folder.path(), &format!("merge {} --json", files.join(" ")));
        assert_eq!(code, Some(3), "{stderr}");
        let lacks = [
            "shard 3/16 is there twice",
            "shard 4 of 16 is missing, with 94 endpoints",
        ];
        assert!(lacks.iter().all(|lack| stderr.contains(lack)), "{stderr}");
        let end = end_record(&stdout);
        assert_eq!(
            (&end["exit"], &end["reasons"]["untold"]),
            (&"incomplete".into(), &94.into())
        );
        assert_eq!(
            json_lines(&stdout)[0]["warnings"].as_array().map(Vec::len),
            Some(2),
            "{stdout}"
        );
    });
}

#[test]
fn more_shards_than_endpoints_is_no_mistake() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for shard in 1..=5 {
        let ran = run_in(
            folder.path(),
            &format!("127.0.0.1 -p 1-3 --shard {shard}/5 -oJ {shard}.jsonl"),
        );
        assert_eq!(
            (ran.code, ran.stderr.as_str()),
            (Some(0), ""),
            "{}",
            ran.stdout
        );
    }
    let Ran {
        code,
        stdout,
        stderr,
    } = run_in(
        folder.path(),
        "merge 1.jsonl 2.jsonl 3.jsonl 4.jsonl 5.jsonl --fail-if-none",
    );
    assert!(
        code == Some(1) && stdout.contains("3 planned = 0 open + 3 closed") && stderr.is_empty(),
        "{stdout}{stderr}"
    );
}

#[test]
fn what_does_not_belong_together_is_refused() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for (scan, name) in [
        ("127.0.0.1 -p 1-9 --shard 1/3", "a"),
        ("127.0.0.1 -p 1-9 --shard 1/2", "halves"),
        ("127.0.0.1 -p 1-8 --shard 2/3", "ports"),
        ("127.0.0.1 -p 1-9 --shard 2/3 --seed 1", "seed"),
    ] {
        assert_eq!(
            run_in(folder.path(), &format!("{scan} -oJ {name}")).code,
            Some(0)
        );
    }
    fs::write(folder.path().join("text"), "open 127.0.0.1:80\n").expect("written");
    fs::write(folder.path().join("empty"), "").expect("written");
    fs::write(folder.path().join("bent"), b"\x1b[2J\n").expect("written");
    for (arguments, code, parts) in [
        ("merge", 2, &["FILE"][..]),
        (
            "merge a halves",
            2,
            &["halves does not belong to a", "shard 1/2"],
        ),
        (
            "merge a ports",
            2,
            &["ports does not belong to a", "another plan"],
        ),
        ("merge a seed", 2, &["another plan", "--seed"]),
        ("merge a text", 2, &["text, line 1", "-oJ"]),
        ("merge empty", 2, &["empty has not one whole line"]),
        ("merge empty empty", 2, &["nothing to join"]),
        ("merge bent", 2, &["bent, line 1"]),
        ("merge /dev/zero", 2, &["/dev/zero, line 1: it is longer"]),
        // One shard of three, and what another one's engine had not begun.
        (
            "merge a empty",
            3,
            &[
                "empty has not one whole line",
                "shards 2-3 of 3 are missing",
            ],
        ),
        (
            "merge a a --show all",
            3,
            &[
                "shard 1/3 is there twice",
                "not every file lists what is closed",
            ],
        ),
        ("merge a nothing", 2, &["nothing cannot be read"]),
        ("merge a -oJ a", 2, &["file of its own"]),
        ("127.0.0.1 -p 1 --shard 4/3", 2, &["from 1 to 3"]),
        (
            "127.0.0.1 -p 1 --shard auto",
            2,
            &["SLURM_ARRAY_TASK_ID", "--shard 3/16"],
        ),
    ] {
        let ran = run_in(folder.path(), arguments);
        assert_eq!(ran.code, Some(code), "{arguments}: {}", ran.stderr);
        assert!(
            parts.iter().all(|part| ran.stderr.contains(part)),
            "{arguments}: {}",
            ran.stderr
        );
    }
}

/// The report of a whole scan says it, and so does that of its joined shards, none of which can
/// know.
#[test]
fn what_is_open_on_every_address_is_told_by_shards_together() {
    in_namespace(
        "what_is_open_on_every_address_is_told_by_shards_together",
        || {
            let _listeners =
                [25, 2000].map(|port| TcpListener::bind(("0.0.0.0", port)).expect("a free port"));
            let folder = tempfile::tempdir().expect("a scratch folder");
            let scan = "127.0.0.64/27 -p 20-25,2000";
            let check = |arguments: &str, jsonl: &str, is_told: bool| {
                let ran = run_in(folder.path(), arguments);
                let told = "Open on at least 32 of 32 addresses: 25, 2000. ";
                assert_eq!(ran.stdout.contains(told), is_told, "{}", ran.stdout);
                let end =
                    end_record(&fs::read_to_string(folder.path().join(jsonl)).expect("a file"));
                let on_all = serde_json::json!([
                    { "port": 25, "addresses": 32 },
                    { "port": 2000, "addresses": 32 },
                ]);
                let expect = if is_told { on_all } else { Value::Null };
                assert_eq!(end["open_everywhere"], expect, "{end}");
            };
            check(&format!("{scan} -oJ whole"), "whole", true);
            check(&format!("{scan} --shard 1/2 -oJ 1"), "1", false);
            check(&format!("{scan} --shard 2/2 -oJ 2"), "2", false);
            check("merge 1 2 -oJ joined", "joined", true);
        },
    );
}

/// Hosts that answer on nothing but ports which are open everywhere do not count as up.
#[test]
fn what_is_open_on_every_address_does_not_make_a_host_up() {
    in_namespace(
        "what_is_open_on_every_address_does_not_make_a_host_up",
        || {
            let everywhere = TcpListener::bind(("0.0.0.0", 25)).expect("a free port");
            // It stands for many hosts, whose canaries would fill its queue.
            std::thread::spawn(move || everywhere.incoming().for_each(drop));
            let _one = TcpListener::bind(("127.0.0.70", 22)).expect("a free port");
            // Nothing comes back from the other ports, but from two addresses.
            let dropped = "ip daddr != 127.0.0.70-127.0.0.71 tcp dport 20-24 drop";
            for rule in [
                "add table inet t",
                "add chain inet t c { type filter hook input priority 0; }",
                &format!("add rule inet t c {dropped}"),
            ] {
                let made = simulator::peer::run("nft", rule);
                made.unwrap_or_else(|error| skip(&format!("nft cannot be run: {error}")));
            }
            let folder = tempfile::tempdir().expect("a scratch folder");
            let scan = "127.0.0.64/26 -p 21-25 --max-retries 0";
            let check = |arguments: &str, report: &str| {
                let ran = run_in(folder.path(), &format!("{arguments} -oX xml"));
                let told = "At least 62 of 64 hosts that answered did so on nothing else";
                assert!(ran.stdout.contains(told), "{}", ran.stdout);
                let read = |name| fs::read_to_string(folder.path().join(name)).expect("a file");
                assert_eq!(end_record(&read(report))["hosts_in_doubt"], 62);
                assert!(read("xml").contains("<hosts up=\"2\" down=\"62\" total=\"64\"/>"));
            };
            check(&format!("{scan} -oJ whole"), "whole");
            run_in(folder.path(), &format!("{scan} --shard 1/2 -oJ 1"));
            run_in(folder.path(), &format!("{scan} --shard 2/2 -oJ 2"));
            check("merge 1 2 -oJ joined", "joined");
        },
    );
}
