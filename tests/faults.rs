//! The command on a kernel that fails: strace makes system calls fail, now and then or always. What
//! is found stays true, and what goes on goes on.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use support::command::{Ran, end_record, ran};

/// The command in a folder, with faults in strace's words: `connect:error=ENOBUFS:when=9+9`.
fn with_faults(folder: &Path, faults: &[&str], arguments: &str) -> Ran {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null"])
        // Only these calls are slowed down.
        .arg("--seccomp-bpf")
        .env("PORTREEVE_CONFIG", "none")
        .stdin(Stdio::null())
        .current_dir(folder);
    for fault in faults {
        strace.args(["-e", &format!("inject={fault}")]);
    }
    strace
        .arg(env!("CARGO_BIN_EXE_portreeve"))
        .args(arguments.split_whitespace());
    let output = strace.output();
    ran(output.unwrap_or_else(|error| skip(&format!("strace cannot be run: {error}"))))
}

/// Whatever fails now and then, all ports of a scan of loopback have their true verdict.
#[test]
fn failures_now_and_then_cost_no_verdict() {
    in_namespace("failures_now_and_then_cost_no_verdict", || {
        let folder = tempfile::tempdir().expect("a folder");
        for fault in [
            "connect:error=ENOBUFS:when=9+9",
            "connect:error=EMFILE:when=9+9",
            "connect:error=ENOMEM:when=9+9",
            "connect:error=EAGAIN:when=9+9",
            "connect:error=ECONNABORTED:when=9+9",
            "socket:error=EMFILE:when=9+4",
            "epoll_ctl:error=ENOMEM:when=9+4",
            "epoll_wait:error=EINTR:when=2+2",
        ] {
            let ran = with_faults(folder.path(), &[fault], "127.0.0.1 -p 1-500 --json");
            assert_eq!(ran.code, Some(1), "{fault}: {}", ran.stderr);
            let end = end_record(&ran.stdout);
            assert_eq!(end["closed"], 500, "{fault}: {end}");
            assert!(
                end["lowest_cap"].as_u64() > Some(100),
                "{fault}: the cap followed a failure by chance: {end}"
            );
        }
    });
}

/// The first connect() of an attempt begins it, the second one looks what became of it.
#[test]
fn a_look_that_fails_on_our_own_side_is_no_answer() {
    in_namespace("a_look_that_fails_on_our_own_side_is_no_answer", || {
        let folder = tempfile::tempdir().expect("a folder");
        for (error, reason) in [
            ("EPERM", "local-firewall"),
            ("EACCES", "local-firewall"),
            ("ENETUNREACH", "no-local-route"),
        ] {
            let fault = format!("connect:error={error}:when=2+2");
            let ran = with_faults(folder.path(), &[&fault], "127.0.0.1 -p 1 --json");
            assert_eq!(ran.code, Some(3), "{fault}: {}", ran.stderr);
            let end = end_record(&ran.stdout);
            assert_eq!(end["reasons"][reason], 1, "{fault}: {end}");
        }
    });
}

#[test]
fn a_wait_that_is_always_interrupted_makes_no_port_silent() {
    in_namespace(
        "a_wait_that_is_always_interrupted_makes_no_port_silent",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let faults = ["epoll_wait:error=EINTR"];
            let ran = with_faults(folder.path(), &faults, "127.0.0.1 -p 1-200 --json");
            let end = end_record(&ran.stdout);
            assert_eq!(
                (ran.code, &end["filtered"]),
                (Some(4), &0.into()),
                "{end} {}",
                ran.stderr
            );
        },
    );
}

#[test]
fn without_random_numbers_it_says_so() {
    in_namespace("without_random_numbers_it_says_so", || {
        let folder = tempfile::tempdir().expect("a folder");
        for error in ["EAGAIN", "ENOMEM"] {
            let fault = format!("getrandom:error={error}");
            let ran = with_faults(folder.path(), &[&fault], "127.0.0.1 -p 1");
            ran.check_refusal(&fault, 4, "error: the kernel gives no random numbers");
            assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
        }
        // There are other ways to get them.
        let ran = with_faults(folder.path(), &["getrandom:error=ENOSYS"], "127.0.0.1 -p 1");
        assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    });
}
