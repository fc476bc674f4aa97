//! What the command is given: words, lists of targets, ports and names, in the forms in which
//! people and other programs write them; and what it answers to the others.

mod support;

use support::command::{portreeve, run};

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
