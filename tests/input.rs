//! What the command is given: words, lists of targets, ports and names, in the forms in which
//! people and other programs write them; and what it answers to the others.

mod support;

use std::fs;
use std::path::Path;

use support::command::{Ran, portreeve, run, run_in};

/// Fails unless the command refuses these arguments with these parts of a message.
fn check_refused(arguments: &str, parts: &[&str]) {
    let ran = run(portreeve(arguments));
    assert_eq!(ran.stdout, "", "{arguments}");
    for part in parts {
        ran.check_refusal(arguments, 2, part);
    }
}

#[test]
fn help_and_version_are_commands_too() {
    for (command, option) in [
        ("help", "--help"),
        ("help merge", "merge --help"),
        ("version", "--version"),
    ] {
        let [command, option] = [command, option].map(|words| run(portreeve(words)));
        assert_eq!((command.code, option.code), (Some(0), Some(0)));
        assert!(!command.stdout.is_empty());
        assert_eq!(command.stdout, option.stdout);
    }
}

#[test]
fn a_mistyped_command_is_no_host() {
    check_refused("limts", &["did you mean limits?", "-p PORTS limts"]);
    check_refused("merg a.jsonl b.jsonl", &["did you mean merge?"]);
    check_refused("--json limits", &["did you mean portreeve limits?"]);
    check_refused("help limts", &["limts"]);
}

/// A folder with these files.
fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a scratch folder");
    for (name, text) in files {
        fs::write(folder.path().join(name), text).expect("written");
    }
    folder
}

/// What would be probed, and what is said beside it.
fn plan_in(folder: &Path, arguments: &str) -> (Vec<String>, String) {
    let arguments = format!("{arguments} --dry-run -v --sequential");
    let Ran {
        code,
        stdout,
        stderr,
    } = run_in(folder, &arguments);
    assert_eq!(code, Some(0), "{arguments}: {stderr}");
    let lines = stdout.lines().skip(1).map(str::to_owned).collect();
    (lines, stderr)
}

#[test]
fn all_bad_lines_are_told_at_once_and_may_be_skipped() {
    let bad: String = (1..=25).map(|n| format!("10.0.0.{}\n", 300 + n)).collect();
    let folder = folder(&[
        (
            "bad",
            &format!("127.0.0.1\n{bad}127.0.0.2 host_! 127.0.0.3\n"),
        ),
        ("good", "127.0.0.1\n127.0.0.9\n"),
    ]);
    let refused = run_in(folder.path(), "-iL bad -p 1");
    refused.check_refusal("bad", 2, "26 mistakes; --skip-invalid");
    assert!(refused.stderr.contains("bad, line 2: \"10.0.0.301\""));
    assert!(
        refused.stderr.ends_with("  and 6 more\n"),
        "{}",
        refused.stderr
    );
    assert_eq!(refused.stderr.lines().count(), 22);

    let (plan, warned) = plan_in(
        folder.path(),
        "-iL bad -iL good -p 1 --skip-invalid 10.0.0.300",
    );
    assert_eq!(plan, ["127.0.0.1:1", "127.0.0.9:1"]);
    assert!(
        warned.contains("27 targets were not understood"),
        "{warned}"
    );
    let report = run_in(
        folder.path(),
        "127.0.0.1 host_! -p 1 --skip-invalid -q -oN report",
    );
    assert!(
        report.stderr.contains("1 target was not understood"),
        "{}",
        report.stderr
    );
    let text = fs::read_to_string(folder.path().join("report")).expect("a report");
    assert_eq!(text, "", "-q prints findings only");

    let nothing = run_in(folder.path(), "10.0.0.300 --skip-invalid -p 1");
    nothing.check_refusal("nothing is left", 2, "nothing is left to scan: 1 target");
    let excluded = run_in(
        folder.path(),
        "-iL good -p 1 --skip-invalid --exclude-file bad",
    );
    excluded.check_refusal("an exclusion", 2, "26 mistakes in what is to be left out");
}
