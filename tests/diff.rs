//! `portreeve diff` as a user runs it: scans between which services change, lists of what may be
//! open, and reports that cannot be read.

mod support;

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::Path;

use simulator::namespace::in_namespace;
use support::command::{Ran, json_lines, portreeve, run, run_in};

const SCAN: &str = "127.0.0.1-2 -p 1-500 -q";

fn listen(ports: &[u16]) -> Vec<TcpListener> {
    let listen = |&port: &u16| TcpListener::bind(("127.0.0.1", port)).expect("a free port");
    ports.iter().map(listen).collect()
}

/// Checks the exit code and what is printed, but for the head and the totals.
#[track_caller]
fn check(folder: &Path, arguments: &str, code: i32, expect: &[&str]) {
    let Ran {
        code: is,
        stdout,
        stderr,
    } = run_in(folder, arguments);
    let lines: Vec<&str> = stdout
        .lines()
        .skip(2)
        .take_while(|line| !line.is_empty())
        .collect();
    assert_eq!(
        (is, &lines[..]),
        (Some(code), expect),
        "{arguments}: {stdout}{stderr}"
    );
}

#[test]
fn what_opens_and_closes_is_told() {
    in_namespace("what_opens_and_closes_is_told", || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let folder = folder.path();
        for (name, ports) in [("old", [22, 80]), ("new", [22, 443])] {
            let _listeners = listen(&ports);
            let ran = run_in(folder, &format!("{SCAN} -oJ {name}.jsonl -oX {name}.xml"));
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        }
        let changes = [
            "closed    127.0.0.1:80 http: open -> closed (conn-refused)",
            "opened    127.0.0.1:443 https: closed (conn-refused) -> open",
        ];
        for (old, new) in [("jsonl", "jsonl"), ("xml", "xml"), ("jsonl", "xml")] {
            check(folder, &format!("diff old.{old} new.{new}"), 1, &changes);
        }
        let ran = run_in(folder, "diff old.jsonl old.xml");
        let told = (ran.code, ran.stdout.as_str(), ran.stderr.as_str());
        assert_eq!(told, (Some(0), "", ""));

        let ran = run_in(folder, "diff old.jsonl new.jsonl --json");
        let lines = json_lines(&ran.stdout);
        assert_eq!((ran.code, lines.len()), (Some(1), 3));
        let fields = ["change", "ip", "port", "service"].map(|name| lines[1][name].to_string());
        assert_eq!(fields, ["\"opened\"", "\"127.0.0.1\"", "443", "\"https\""]);
        assert_eq!(lines[2]["differs"], true);

        // What may be open, also as a report lists it.
        let expect = "127.0.0.1:22,80 # the server\n";
        fs::write(folder.join("allowed.txt"), expect).expect("written");
        check(folder, "diff --expect allowed.txt old.xml", 0, &[]);
        let changes = [
            "closed    127.0.0.1:80 http: expected -> closed (conn-refused)",
            "opened    127.0.0.1:443 https: not expected -> open",
        ];
        check(folder, "diff new.jsonl --expect allowed.txt", 1, &changes);
        let ran = run_in(folder, "merge new.jsonl -q --list-open open.txt");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        check(folder, "diff --expect open.txt new.jsonl", 0, &[]);

        // A scan that was killed while it wrote.
        let whole = fs::read_to_string(folder.join("new.jsonl")).expect("a report");
        let host = whole.find("{\"type\":\"host\"").expect("a host");
        fs::write(folder.join("cut.jsonl"), &whole[..host + 40]).expect("written");
        let ran = run_in(folder, "diff old.jsonl cut.jsonl");
        let unknown = "not known 127.0.0.1:80 http: open -> not told, the scan was broken off";
        assert!(ran.stdout.contains(unknown), "{}", ran.stdout);
        assert!(
            ran.stderr.contains("cut.jsonl has no end"),
            "{}",
            ran.stderr
        );
        let same = run_in(folder, "diff cut.jsonl cut.jsonl");
        assert_eq!(same.code, Some(0), "{}", same.stdout);
        assert!(same.stderr.contains("the same file"), "{}", same.stderr);

        let mut from_stdin = portreeve("diff old.jsonl -");
        from_stdin
            .current_dir(folder)
            .stdin(File::open(folder.join("new.xml")).expect("a file"));
        assert_eq!(run(from_stdin).code, Some(1));
    });
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for (name, text) in [
        ("no-ports", "192.0.2.7\n"),
        ("name", "www.example.org:443\n"),
        ("broken", "192.0.2.7:22x\n"),
        ("large", "10.0.0.0/8:22\n"),
        ("page", "<html></html>"),
        ("empty", ""),
        ("page\u{1b}[2J", "{}"),
    ] {
        fs::write(folder.path().join(name), text).expect("written");
    }
    for (arguments, code, part) in [
        ("diff", 2, "REPORT"),
        ("diff a", 2, "--expect"),
        ("diff a b c", 2, "unexpected"),
        (
            "diff --expect no-ports a b",
            2,
            "leave the other report out",
        ),
        ("diff - -", 2, "only once"),
        ("diff --expect no-ports page", 2, "write 192.0.2.7:22,80"),
        ("diff --expect name page", 2, "write its address"),
        ("diff --expect broken page", 2, "line 1"),
        (
            "diff --expect large page",
            2,
            "write hosts instead of blocks",
        ),
        ("diff missing page", 4, "missing cannot be read"),
        ("diff page page", 4, "give XML"),
        ("diff empty empty", 4, "not one whole line"),
        ("diff page\u{1b}[2J page", 4, "page\\u{1b}[2J, line 1"),
    ] {
        run_in(folder.path(), arguments).check_refusal(arguments, code, part);
    }
}
