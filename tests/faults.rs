//! The command on a kernel that fails: strace makes system calls fail, now and then or always. What
//! is found stays true, and what goes on goes on.

mod support;

use std::path::Path;
use std::process::{Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use support::command::{Ran, end_record, json_lines, ran};

/// The command in a folder, with faults in strace's words: `connect:error=ENOBUFS:when=9+9`.
fn faulty(folder: &Path, faults: &[&str], arguments: &str) -> Command {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "/dev/null"])
        .env("PORTREEVE_CONFIG", "none")
        .stdin(Stdio::null())
        .current_dir(folder);
    // Other calls need not be slow.
    let calls: Vec<&str> = faults
        .iter()
        .filter_map(|fault| fault.split(':').next())
        .collect();
    strace
        .arg("--seccomp-bpf")
        .args(["-e", &format!("trace={}", calls.join(","))]);
    for fault in faults {
        strace.args(["-e", &format!("inject={fault}")]);
    }
    strace
        .arg(env!("CARGO_BIN_EXE_portreeve"))
        .args(arguments.split_whitespace());
    strace
}

fn output(mut command: Command) -> Ran {
    let output = command.output();
    ran(output.unwrap_or_else(|error| skip(&format!("{command:?} cannot be run: {error}"))))
}

fn with_faults(folder: &Path, faults: &[&str], arguments: &str) -> Ran {
    output(faulty(folder, faults, arguments))
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
            assert_eq!(ran.code, Some(0), "{fault}: {}", ran.stderr);
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

/// A sandbox may forbid the question (prlimit64 under seccomp); then a file tells, if it is there.
#[test]
fn a_descriptor_limit_that_is_not_told_is_assumed() {
    in_namespace("a_descriptor_limit_that_is_not_told_is_assumed", || {
        let folder = tempfile::tempdir().expect("a folder");
        for error in ["EPERM", "ENOSYS"] {
            let fault = format!("prlimit64:error={error}");
            for (hides_proc, told) in [(false, None), (true, Some(256))] {
                let mut command = Command::new("unshare");
                command.args(["-m", "sh", "-c"]).arg(if hides_proc {
                    "mount -t tmpfs none /proc && exec \"$@\""
                } else {
                    "exec \"$@\""
                });
                let scan = faulty(folder.path(), &[&fault], "127.0.0.1 -p 1 --json");
                command.arg("sh").arg(scan.get_program());
                command
                    .args(scan.get_args())
                    .env("PORTREEVE_CONFIG", "none");
                let Ran {
                    code,
                    stdout,
                    stderr,
                } = output(command);
                assert_eq!(code, Some(0), "{fault}: {stderr}");
                let limits = &json_lines(&stdout)[0]["limits"];
                assert!(
                    told.is_none_or(|limit| limits["nofile"] == limit)
                        && limits["nofile_is_assumed"].as_bool().is_some() == hides_proc,
                    "{fault}: {limits}"
                );
            }
        }
    });
}

/// As on NFS, Lustre, CIFS, 9p and FUSE.
#[test]
fn where_files_cannot_be_locked_or_flushed_a_checkpoint_is_kept_all_the_same() {
    in_namespace(
        "where_files_cannot_be_locked_or_flushed_a_checkpoint_is_kept_all_the_same",
        || {
            let folder = tempfile::tempdir().expect("a folder");
            let scan = "127.0.0.1 -p 1-50 --checkpoint c -oJ a.jsonl -oX a.xml";
            for (call, errors, warning) in [
                (
                    "flock",
                    "ENOSYS EOPNOTSUPP ENOLCK EBADF",
                    "cannot be locked",
                ),
                (
                    "fsync",
                    "EINVAL EBADF EOPNOTSUPP ENOSYS",
                    "cannot be flushed",
                ),
                ("fdatasync", "EINVAL ENOSYS EOPNOTSUPP", "cannot be flushed"),
            ] {
                for error in errors.split(' ') {
                    let fault = format!("{call}:error={error}");
                    let ran = with_faults(folder.path(), &[&fault], scan);
                    assert_eq!(ran.code, Some(0), "{fault}: {}", ran.stderr);
                    let warnings = ran.stderr.matches("warning: ").count();
                    assert!(
                        warnings == 1 && ran.stderr.contains(warning),
                        "{fault}: {}",
                        ran.stderr
                    );
                    let ended = with_faults(folder.path(), &[&fault], "resume c");
                    assert!(
                        ended.stderr.contains("came to its end"),
                        "{fault}: {}",
                        ended.stderr
                    );
                }
                // A disk that fails is no disk that cannot.
                let fault = format!("{call}:error=EIO");
                let ran = with_faults(folder.path(), &[&fault], scan);
                assert!(
                    matches!(ran.code, Some(2 | 4)),
                    "{fault}: {:?} {}",
                    ran.code,
                    ran.stderr
                );
            }
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
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
    });
}
