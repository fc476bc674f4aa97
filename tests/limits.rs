//! The command under limits of its own process, as a shell sets them (`ulimit`): it ends with its
//! report, or with a sentence.

mod support;

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use simulator::namespace::in_namespace;
use support::command::{Ran, end_record, portreeve, ran, run_in};

/// The command in a folder after `ulimit` with these words.
fn limited(folder: &Path, limits: &str, arguments: &str) -> Ran {
    let scan = portreeve(arguments);
    let mut shell = Command::new("sh");
    shell
        .args(["-c", &format!("ulimit {limits} && exec \"$@\""), "sh"])
        .arg(scan.get_program())
        .args(scan.get_args())
        .env("PORTREEVE_CONFIG", "none")
        .stdin(Stdio::null())
        .current_dir(folder);
    ran(shell.output().expect("a shell"))
}

#[test]
fn a_file_that_may_not_grow_is_like_a_full_disk() {
    let folder = tempfile::tempdir().expect("a folder");
    for (arguments, name) in [
        ("127.0.0.1 -p- --show all -oJ a.jsonl", "a.jsonl"),
        ("127.0.0.1 -p- --show all -oX a.xml", "a.xml"),
    ] {
        let Ran { code, stderr, .. } = limited(folder.path(), "-f 100", arguments);
        assert_eq!(code, Some(4), "{arguments}: {stderr}");
        assert!(
            stderr.contains(&format!("{name} cannot be written: File too large")),
            "{stderr}"
        );
    }
}

#[test]
fn a_host_is_told_in_one_piece_whatever_its_size() {
    let folder = tempfile::tempdir().expect("a folder");
    // More than memory holds: 327,675 findings of hosts that are under way together. Where there is
    // no room for them in a file, the ports are all there, but some host is told in parts.
    for (limits, is_whole) in [("-f unlimited", true), ("-f 100", false)] {
        let scan = "127.0.0.1-5 -p- --show all -oX -";
        let Ran { code, stdout, .. } = limited(folder.path(), limits, scan);
        assert_eq!(code, Some(0), "{limits}");
        let hosts = stdout.matches("<host ").count();
        assert_eq!(hosts == 5, is_whole, "{limits}: {hosts}");
        assert_eq!(stdout.matches("<port ").count(), 5 * 65_535, "{limits}");
    }
}

#[test]
fn findings_without_room_for_them_are_found_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let scan = "127.0.0.1-5 -p- --show all -oX a.xml --checkpoint c -q";
    let Ran { code, stderr, .. } = limited(folder.path(), "-f 1000", scan);
    assert!(
        code == Some(4) && stderr.contains("/c cannot be written: File too large"),
        "{code:?} {stderr}"
    );
    let ran = run_in(folder.path(), "resume c");
    assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    let text = fs::read_to_string(folder.path().join("a.xml")).expect("a report");
    assert_eq!(text.matches("<port ").count(), 5 * 65_535);
}

#[test]
fn a_limit_on_processor_time_stops_the_scan_with_its_report() {
    let folder = tempfile::tempdir().expect("a folder");
    for limits in ["-t 2", "-St 1"] {
        let endless = "127.0.0.0/8 -p- -q -oJ a.jsonl --show open";
        let Ran { code, stderr, .. } = limited(folder.path(), limits, endless);
        assert_eq!(code, Some(130), "{limits}: {stderr}");
        let text = fs::read_to_string(folder.path().join("a.jsonl")).expect("a report");
        assert_eq!(end_record(&text)["exit"], "interrupted", "{limits}");
    }
}

#[test]
#[cfg(target_os = "linux")]
fn a_scan_ends_before_its_memory_and_goes_on_where_there_is_more() {
    in_namespace(
        "a_scan_ends_before_its_memory_and_goes_on_where_there_is_more",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let scan = "127.0.0.1-8 -p- --show all -q -oX a.xml --checkpoint c";
            let ports = |what: &str| {
                let text = fs::read_to_string(folder.path().join("a.xml")).expect("a report");
                assert!(text.ends_with("</nmaprun>\n"), "{what}");
                text.matches("<port ").count()
            };
            for kib in [40_000, 35_000] {
                let _ = fs::remove_file(folder.path().join("c"));
                let limits = format!("-v {kib}");
                let Ran { code, stderr, .. } = limited(folder.path(), &limits, scan);
                assert!(
                    code == Some(3) && stderr.contains("no memory is left"),
                    "{limits}: {code:?} {stderr}"
                );
                assert!(ports(&limits) < 524_280, "nothing was provoked");
            }
            let ran = run_in(folder.path(), "resume c");
            assert_eq!(ran.code, Some(0), "{}", ran.stderr);
            assert_eq!(ports("resumed"), 524_280);
        },
    );
}
