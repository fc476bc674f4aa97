//! What the command is given: words, lists of targets, ports and names, in the forms in which
//! people and other programs write them; and what it answers to the others.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use support::command::{
    Ran, end_record, portreeve, ran, run, run_in, signal, wait, with_descriptor_limit,
};

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
    assert!(text.contains("Nmap scan report for 127.0.0.1"), "{text}");
    assert_eq!(report.stdout, "", "-q prints findings only");

    let nothing = run_in(folder.path(), "10.0.0.300 --skip-invalid -p 1");
    nothing.check_refusal("nothing is left", 2, "nothing is left to scan: 1 target");
    let excluded = run_in(
        folder.path(),
        "-iL good -p 1 --skip-invalid --exclude-file bad",
    );
    excluded.check_refusal("an exclusion", 2, "26 mistakes in what is to be left out");
}

#[test]
fn hosts_bring_ports_of_their_own() {
    let folder = folder(&[
        ("open", "127.0.0.2:22\n[::1]:9\n127.0.0.2:80 # web\n"),
        (
            "old.gnmap",
            "# Nmap\nHost: 127.0.0.3 ()\tStatus: Up\nHost: 127.0.0.3 ()\tPorts: \
             22/open/tcp//ssh///, 23/closed/tcp//telnet///\n",
        ),
        (
            "a.csv",
            "ip,host,port,protocol,state\n127.0.0.4,,81,tcp,open\n",
        ),
        ("ports", "# ours\r\n5-6,7\r\n9\r\n"),
        ("bad", "5\nx!\n"),
    ]);
    let plan = |arguments: &str| plan_in(folder.path(), arguments).0.join(" ");
    assert_eq!(
        plan("-iL open -iL old.gnmap -iL a.csv"),
        "127.0.0.2:22 127.0.0.2:80 127.0.0.3:22 127.0.0.4:81 [::1]:9"
    );
    assert_eq!(
        plan("127.0.0.2:80 [::1]:9 -p 1"),
        "127.0.0.2:1 127.0.0.2:80 [::1]:1 [::1]:9"
    );
    assert_eq!(
        plan("127.0.0.1 -p @ports --exclude-ports 6"),
        "127.0.0.1:5 127.0.0.1:7 127.0.0.1:9"
    );
    for (arguments, part) in [
        ("127.0.0.1 -p @none", "ports cannot be read from none"),
        (
            "127.0.0.1 -p @bad",
            "bad, line 2: no TCP service is called \"x!\"",
        ),
        ("127.0.0.1 --exclude 127.0.0.1:80", "write 127.0.0.1"),
        ("127.0.0.0/29 --exclude-file old.gnmap", "old.gnmap, line 2"),
        ("127.0.0.0/29 --exclude-file a.csv", "a.csv, line 2"),
        ("127.0.0.1 -p @ports -oJ ports", "in use already"),
        ("fe80::1", "as in fe80::1%eth0"),
        ("127.0.0.1:9,5 --exclude-ports @ports", "no port is left"),
    ] {
        run_in(folder.path(), arguments).check_refusal(arguments, 2, part);
    }
}

#[test]
fn what_list_open_writes_can_be_scanned_again() {
    let listeners = ["127.0.0.1:0", "[::1]:0"].map(|at| TcpListener::bind(at).expect("a port"));
    let ends = listeners.map(|listener| (listener.local_addr().expect("an address"), listener));
    let folder = folder(&[]);
    let [v4, v6] = [ends[0].0.port(), ends[1].0.port()];
    let arguments = format!(
        "127.0.0.1 ::1 -p {v4},{v6} --list-open open --output-csv csv -oG gnmap -oL list -q"
    );
    let first = run_in(folder.path(), &arguments);
    assert_eq!(first.code, Some(0), "{}", first.stderr);
    let open: BTreeSet<String> = first.stdout.lines().map(str::to_owned).collect();
    for list in ["open", "csv", "gnmap", "list"] {
        let again = run_in(folder.path(), &format!("-iL {list} -q"));
        assert_eq!(
            again
                .stdout
                .lines()
                .map(str::to_owned)
                .collect::<BTreeSet<_>>(),
            open,
            "{list}"
        );
    }
}

#[test]
fn options_of_other_scanners_are_taken_or_answered() {
    let folder = folder(&[("not", "127.0.0.1\n")]);
    let arguments = "-sT --rate 1000 --excludefile not --max-rtt-timeout 500ms -b 9 -p 1 \
                     -a 127.0.0.1,127.0.0.2";
    assert_eq!(plan_in(folder.path(), arguments).0, ["127.0.0.2:1"]);
    check_refused(
        "127.0.0.1 --min-rate 100",
        &["--min-rate: there is no lowest rate"],
    );
    check_refused(
        "127.0.0.1 --ulimit 5000",
        &["--ulimit: the descriptor limit"],
    );
    check_refused(
        "127.0.0.1 -sS -sV -PS80 -g 53",
        &["-sS: ", "-sV: ", "-PS: ", "-g: "],
    );
    check_refused("127.0.0.1 --nonesuch", &["--nonesuch"]);
}

#[test]
fn what_people_write_is_taken_or_answered() {
    let folder = folder(&[]);
    let plan = |words: &[&str]| {
        let mut command = portreeve("--dry-run -v --sequential");
        let ran = run({
            command.current_dir(folder.path()).args(words);
            command
        });
        assert_eq!(ran.code, Some(0), "{words:?}: {}", ran.stderr);
        ran.stdout.lines().skip(1).collect::<Vec<_>>().join(" ")
    };
    for (words, expect) in [
        (
            &["127.0.0.1-127.0.0.2", "-p", "1"][..],
            "127.0.0.1:1 127.0.0.2:1",
        ),
        (
            &["127.0.0.1,127.0.0.2", "-p", "1"],
            "127.0.0.1:1 127.0.0.2:1",
        ),
        (
            &["127.0.0.0/31,127.0.0.3", "-p", "1"],
            "127.0.0.0:1 127.0.0.1:1 127.0.0.3:1",
        ),
        (
            &["127.0.0.0/255.255.255.254", "-p", "1"],
            "127.0.0.0:1 127.0.0.1:1",
        ),
        (
            &["127.0.0.1 127.0.0.2\n", "-p", "1"],
            "127.0.0.1:1 127.0.0.2:1",
        ),
        (
            &["127.0.0.1", "-p", "22\n80\n"],
            "127.0.0.1:22 127.0.0.1:80",
        ),
        (&["127.0.0.1", "-p", "22 80"], "127.0.0.1:22 127.0.0.1:80"),
        (&["http://[fe80::1%25lo]:80/"], "[fe80::1%1]:80"),
    ] {
        assert_eq!(plan(words), expect, "{words:?}");
    }
    check_refused(
        "127.0.0.1 -p 80 443",
        &["\"443\" is no target", "-p 22,443"],
    );
    check_refused("127.0.0.1 - 127.0.0.9", &["write 127.0.0.1-127.0.0.9"]);
    check_refused("127.0.0.1,8080", &["write 127.0.0.1:8080"]);
    check_refused("127.0.0.1 -p 1-5, 7-9", &["\"7-9\" is no target"]);
    check_refused("127.0.0.9-127.0.0.1", &["write 127.0.0.1-127.0.0.9"]);
    check_refused("127.0.0.0/0.0.0.255", &["no network mask", "/24"]);
    check_refused("fe80::1", &["fe80::1%eth0"]);
    let unknown = run(portreeve("fe80::1%nowhere0 -p 1"));
    unknown.check_refusal("a device", 4, "no network device \"nowhere0\"");
}

/// What would be probed when this is fed through a pipe.
fn plan_fed(arguments: &str, stdin: &str) -> Ran {
    let mut child = portreeve(&format!("{arguments} --dry-run -v --sequential"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut pipe = child.stdin.take().expect("piped");
    // Whoever names targets does not read it.
    let _ = pipe.write_all(stdin.as_bytes());
    drop(pipe);
    ran(child.wait_with_output().expect("it ends"))
}

#[test]
fn a_pipe_names_targets_where_none_is_typed() {
    let told = plan_fed("-p 9", "127.0.0.1\r127.0.0.2:5\r");
    assert!(
        told.stdout
            .ends_with("127.0.0.1:9\n127.0.0.2:5\n127.0.0.2:9\n"),
        "{}",
        told.stdout
    );
    assert!(
        told.stderr.contains("from standard input"),
        "{}",
        told.stderr
    );
    let told = plan_fed("127.0.0.3 -p 9", "127.0.0.1\n");
    assert_eq!(
        told.stdout.lines().skip(1).collect::<Vec<_>>(),
        ["127.0.0.3:9"]
    );
    let told = plan_fed("127.0.0.3 - -p 9", "127.0.0.1\n");
    assert!(
        told.stdout.ends_with("127.0.0.1:9\n127.0.0.3:9\n"),
        "{}",
        told.stdout
    );
    let told = plan_fed("- -p 9 --checkpoint c", "127.0.0.1\n");
    assert!(told.code == Some(2), "{}", told.stderr);
}

/// The address that names are asked of: the system's first, or else this machine's.
fn nameserver() -> Ipv4Addr {
    let text = fs::read_to_string("/etc/resolv.conf").unwrap_or_default();
    let servers = text
        .lines()
        .filter_map(|line| line.strip_prefix("nameserver"));
    let mut known = servers.filter_map(|server| server.trim().parse().ok());
    known.next().unwrap_or(Ipv4Addr::LOCALHOST)
}

/// Answers that there is no such name, but only when all of them have been asked for.
fn refuse_when_all_are_asked(socket: &UdpSocket, names: usize) {
    let mut waiting = Vec::new();
    let mut asked = BTreeSet::new();
    let mut query = [0; 512];
    while let Ok((length, from)) = socket.recv_from(&mut query) {
        // The question follows a head of 12 bytes; its type and class are the last four.
        let name = &query[12..length.min(12 + 16)];
        asked.insert(name.split(|&byte| byte == 0).next().map(<[u8]>::to_vec));
        waiting.push((query[..length].to_vec(), from));
        if asked.len() < names {
            continue;
        }
        for (mut answer, from) in waiting.drain(..) {
            // A response, recursion available, no such name.
            answer[2..4].copy_from_slice(&[0x81, 0x83]);
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// In a namespace: where a name server is asked.
fn name_servers_socket() -> UdpSocket {
    let server = nameserver();
    let route = format!("-4 route add local {server} dev lo");
    let done = Command::new("ip").args(route.split(' ')).status();
    if !server.is_loopback() && !done.is_ok_and(|status| status.success()) {
        skip("ip cannot give this machine the name server's address");
    }
    UdpSocket::bind((server, 53)).expect("the name server's port")
}

/// In a namespace: a name server that knows no name, and answers once so many have been asked for.
fn start_nameserver(names: usize) {
    let socket = name_servers_socket();
    std::thread::spawn(move || refuse_when_all_are_asked(&socket, names));
}

/// What is said of so many names that nobody knows.
fn told_of_names(mut command: Command, names: usize) -> String {
    let mut child = command
        .args((0..names).map(|n| format!("n{n:03}.invalid.")))
        // One after the other would take ten minutes, and the test's patience ends before.
        .env("RES_OPTIONS", "timeout:30 attempts:1")
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    assert_eq!(wait(&mut child), Some(0));
    ran(child.wait_with_output().expect("it has ended")).stderr
}

#[test]
fn names_are_looked_up_side_by_side() {
    in_namespace("names_are_looked_up_side_by_side", || {
        start_nameserver(20);
        let told = told_of_names(portreeve("127.0.0.1 -p 1"), 20);
        assert_eq!(told.matches("could not be looked up").count(), 20, "{told}");
    });
}

#[test]
fn few_descriptors_do_not_make_a_name_unknown() {
    in_namespace("few_descriptors_do_not_make_a_name_unknown", || {
        start_nameserver(3);
        let told = |command| {
            let told = told_of_names(command, 60);
            // What the resolver says where the name server does not know the name.
            let known: BTreeSet<String> = told
                .lines()
                .filter_map(|line| Some(line.split_once('(')?.1.to_owned()))
                .collect();
            (told.lines().count(), known)
        };
        let many = told(portreeve("127.0.0.1 -p 1"));
        assert_eq!((many.0, many.1.len()), (60, 1), "{many:?}");
        assert_eq!(
            told(with_descriptor_limit(portreeve("127.0.0.1 -p 1"), 16)),
            many
        );
    });
}

#[test]
fn ctrl_c_while_names_are_looked_up_ends_with_a_report() {
    in_namespace(
        "ctrl_c_while_names_are_looked_up_ends_with_a_report",
        || {
            let socket = name_servers_socket();
            let folder = tempfile::tempdir().expect("a folder");
            for (targets, asked, told) in [
                (
                    "127.0.0.1 n1.invalid. n2.invalid.",
                    b"n1",
                    "0 of 2 are known",
                ),
                ("n3.invalid.", b"n3", "error: "),
            ] {
                let scan = format!("{targets} -p 1-9 -oJ a.jsonl --checkpoint c");
                let child = portreeve(&scan)
                    .env("RES_OPTIONS", "timeout:30 attempts:1")
                    .current_dir(folder.path())
                    .stdout(Stdio::null())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("it runs");
                let mut question = [0; 512];
                while !question.windows(2).any(|part| part == asked) {
                    socket.recv(&mut question).expect("a question");
                }
                signal(&child, libc::SIGINT);
                let Ran { code, stderr, .. } = ran(child.wait_with_output().expect("it ends"));
                assert_eq!(code, Some(130), "{stderr}");
                assert!(stderr.contains(told), "{stderr}");
                // The rest of the names is in no plan, so nothing may go on from here.
                assert!(!folder.path().join("c").exists() && !stderr.contains("to go on"));
            }
            let text = fs::read_to_string(folder.path().join("a.jsonl")).expect("a report");
            let end = end_record(&text);
            assert_eq!(
                (&end["exit"], &end["unscanned"]),
                (&"interrupted".into(), &9.into())
            );
        },
    );
}
