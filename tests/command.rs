//! The command as a user runs it: what it prints, what it returns, and what it does when the world
//! is unkind.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::Value;
use simulator::namespace::in_namespace;
use simulator::tun::{Reply, TunNetwork};
use support::command::{
    Ran, end_record, json_lines, portreeve, ran, run, run_in, signal, wait, with_descriptor_limit,
    with_signal,
};

/// A port of 127.0.0.1 with a listener, as long as the listener lives.
fn listener() -> (TcpListener, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    (listener, port)
}

fn open_ports(lines: &[Value]) -> BTreeSet<u64> {
    lines
        .iter()
        .filter(|line| line["state"] == "open")
        .filter_map(|line| line["port"].as_u64())
        .collect()
}

#[test]
fn finds_what_is_open_and_says_so_in_text() {
    let (_listener, port) = listener();
    let Ran {
        code,
        stdout,
        stderr,
    } = run(portreeve(&format!("127.0.0.1 -p 1,{port}")));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.starts_with(&format!("open 127.0.0.1:{port}")),
        "{stdout}"
    );
    assert!(
        stdout.contains("PORT") && stdout.contains(&format!("\n{port}/tcp")),
        "{stdout}"
    );
    assert!(
        stdout.contains("2 planned = 1 open + 1 closed + 0 filtered + 0 unscanned"),
        "{stdout}"
    );
    assert!(!stdout.contains('\x1b'), "no colour into a pipe");
}

#[test]
fn exit_codes_tell_what_came_of_it() {
    let (_listener, port) = listener();
    let code = |arguments: &str| run(portreeve(arguments)).code;
    assert_eq!(code(&format!("127.0.0.1 -p {port}")), Some(0));
    assert_eq!(code("127.0.0.1 -p 1"), Some(0), "nothing open");
    assert_eq!(
        code(&format!("127.0.0.1 -p {port} --fail-if-none")),
        Some(0)
    );
    assert_eq!(code("127.0.0.1 -p 1 --fail-if-none"), Some(1));
    assert_eq!(code("127.0.0.1 -p 20-10"), Some(2), "bad usage");
    assert_eq!(
        code("fe80::1%lo -p 1"),
        Some(3),
        "loopback devices have no link-local addresses"
    );
    assert_eq!(code("127.0.0.1 -p 1 -oJ /nonexistent/file"), Some(4));
    assert_eq!(code("--help"), Some(0));
}

#[test]
fn every_mistake_is_answered_with_what_to_type() {
    let empty = tempfile::NamedTempFile::new().expect("a file");
    let listed = tempfile::NamedTempFile::new().expect("a file");
    fs::write(listed.path(), "127.0.0.1\n# fine\n10.0.0.300 # not\n").expect("written");
    let empty = empty.path().display();
    let listed = listed.path().display();
    for (arguments, parts) in [
        ("", &["no target was given"][..]),
        ("127.0.0.1 -p 20-10", &["20-10", "write 10-20"]),
        ("127.0.0.1 -p 70000", &["70000", "0 to 65535"]),
        ("127.0.0.1 -p nonesuch", &["nonesuch", "number"]),
        ("10.0.0.0/33", &["/33", "/0 to /32"]),
        ("10.0.0.20-10", &["20-10", "write 10-20"]),
        (
            &format!("-iL {empty}"),
            &["holds no target", "write one a line"],
        ),
        (&format!("-iL {listed}"), &["line 3", "10.0.0.300"]),
        ("-iL /nonexistent", &["/nonexistent", "No such file"]),
        ("127.0.0.1 --timeout 0", &["at least 1ms"]),
        ("127.0.0.1 --timeout -1", &["-1", "250ms"]),
        ("127.0.0.1 --timeout soon", &["soon", "250ms"]),
        ("127.0.0.1 --max-fds 0", &["1 or more"]),
        ("127.0.0.1 --max-fds -3", &["-3", "1 or more"]),
        ("127.0.0.1 --max-rate 0", &["none"]),
        ("127.0.0.1 --top-ports 0", &["1 to 1000"]),
        (
            "127.0.0.1 --exclude 127.0.0.0/8",
            &["--exclude takes every target away"],
        ),
        ("127.0.0.1 -p 1-9 --exclude-ports -", &["--exclude-ports"]),
        (
            "2001:db8::/64",
            &["18446744073709551616 addresses", "smaller blocks"],
        ),
        ("::1 -4 -p 1", &["-4"]),
        ("127.0.0.1 -S 192.0.2.1", &["192.0.2.1"]),
        ("127.0.0.1 -S here", &["an address of this machine"]),
        ("127.0.0.1 -oS out.txt", &["-oS", "-oN"]),
        (
            "127.0.0.1 -oA out -oX out.xml",
            &["--output-all", "--output-xml"],
        ),
        ("127.0.0.1 -oX - -oG -", &["standard output", "a file"]),
        ("bad_host! -p 1", &["bad_host!", "host name"]),
        ("127.0.0.1:nonesuch", &["port's number"]),
        ("-T6 127.0.0.1", &["0 to 5"]),
        ("-sS 127.0.0.1", &["TCP connect"]),
        ("127.0.0.1 -S 127.0.0.1 -S 127.0.0.2", &["second source"]),
        (
            "127.0.0.1 -oN /tmp/portreeve-one-report -oJ /tmp/../tmp/portreeve-one-report",
            &["file of its own"],
        ),
        ("127.0.0.1 --dry-run --json", &["--json"]),
    ] {
        let Ran {
            code,
            stdout,
            stderr,
        } = run(portreeve(arguments));
        assert_eq!(
            (code, stdout.as_str()),
            (Some(2), ""),
            "{arguments}: {stderr}"
        );
        for part in parts {
            assert!(
                stderr.contains(part),
                "{arguments} is answered without {part:?}: {stderr}"
            );
        }
    }
}

#[test]
fn a_start_that_is_refused_leaves_files_as_they_were() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = |name: &str| folder.path().join(name);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    fs::write(path("targets"), "127.0.0.1\n").expect("written");
    fs::write(path("good"), "of yesterday\n").expect("written");
    fs::hard_link(path("good"), path("twin")).expect("a link");
    std::os::unix::fs::symlink("unborn", path("link")).expect("a link");
    for (arguments, code, part) in [
        (
            "127.0.0.1 -p 1 -oJ good -oX nowhere/x",
            4,
            "nowhere/x cannot be written",
        ),
        (
            "127.0.0.1 -p 1 -oJ good --checkpoint nowhere/c",
            4,
            "nowhere/c cannot be written",
        ),
        ("127.0.0.1 -p 1 -oJ good -S 192.0.2.1", 2, "192.0.2.1"),
        (
            &format!(
                "127.0.0.1 -p 1 -oJ good --stats good.stats --metrics {}",
                taken.local_addr().expect("an address")
            ),
            4,
            "metrics cannot be served",
        ),
        (
            "127.0.0.1 -p 1 -oJ good -oN ./good",
            2,
            "two reports cannot both go to ./good",
        ),
        (
            "127.0.0.1 -p 1 -oJ good -oN twin",
            2,
            "two reports cannot both go to twin",
        ),
        (
            "127.0.0.1 -p 1 -oJ good --stats twin",
            2,
            "two reports cannot both go to twin",
        ),
        (
            "127.0.0.1 -p 1 -oJ unborn -oN link",
            2,
            "two reports cannot both go to link",
        ),
        (
            "-iL targets -p 1 -oJ targets",
            2,
            "targets is in use already",
        ),
        (
            "127.0.0.2 -p 1 --exclude-file targets -oJ ./targets",
            2,
            "targets is in use already",
        ),
        (
            "experiment 127.0.0.1 -p 1 --csv good --json twin",
            2,
            "two reports cannot both go to twin",
        ),
        (
            "experiment 127.0.0.1 -p 1 --csv good --assume-nofile 99999999999",
            2,
            "--assume-nofile",
        ),
        ("127.0.0.1 -p 1 -oJ %", 2, "no file name"),
    ] {
        let ran = run_in(folder.path(), arguments);
        ran.check_refusal(arguments, code, part);
        assert_eq!(
            fs::read_to_string(path("good")).expect("a file"),
            "of yesterday\n",
            "{arguments}"
        );
        assert_eq!(
            fs::read_to_string(path("targets")).expect("a file"),
            "127.0.0.1\n",
            "{arguments}"
        );
    }
    let mut command = portreeve("127.0.0.1 -p 1 -oN good");
    command.current_dir(folder.path()).stdout(
        fs::File::options()
            .append(true)
            .open(path("good"))
            .expect("a file"),
    );
    assert_eq!(run(command).code, Some(2), "standard output goes there");
    assert_eq!(
        run_in(folder.path(), "127.0.0.1 -p 1 -q -oN=good").code,
        Some(0)
    );
    assert!(
        !fs::read_to_string(path("good"))
            .expect("a file")
            .contains("yesterday"),
        "a scan that begins replaces it"
    );
}

#[test]
fn what_was_to_be_ignored_is_ignored() {
    for signal in [libc::SIGHUP, libc::SIGINT, libc::SIGQUIT] {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let stats = folder.path().join("stats");
        // As nohup and a shell's background begin it.
        let mut command = portreeve(&format!(
            "127.0.0.1 -p 1-400 --max-rate 1000 -q --stats {}",
            stats.display()
        ));
        with_signal(&mut command, signal, libc::SIG_IGN);
        let mut child = command.spawn().expect("it runs");
        while !fs::read_to_string(&stats).is_ok_and(|text| text.contains('\n')) {
            std::thread::yield_now();
        }
        support::command::signal(&child, signal);
        assert!(
            matches!(wait(&mut child), Some(0 | 1)),
            "signal {signal} was not ignored"
        );
    }
}

#[test]
fn json_lines_are_complete_and_add_up() {
    let (_listener, port) = listener();
    let Ran { stdout, .. } = run(portreeve(&format!(
        "127.0.0.1 -p 1-100,{port} --json --seed 7 --show all"
    )));
    let end = end_record(&stdout);
    let lines = json_lines(&stdout);
    assert_eq!(
        (lines.len(), open_ports(&lines)),
        (104, [u64::from(port)].into())
    );
    assert_eq!(
        (&lines[0]["seed"], &lines[0]["planned"], &lines[0]["schema"]),
        (&7.into(), &101.into(), &1.into())
    );
    let open = lines
        .iter()
        .find(|line| line["state"] == "open")
        .expect("one");
    assert_eq!(
        (
            &open["ip"],
            &open["protocol"],
            &open["reason"],
            &open["attempts"]
        ),
        (
            &"127.0.0.1".into(),
            &"tcp".into(),
            &"syn-ack".into(),
            &1.into()
        )
    );
    assert!(
        open["rtt_us"].as_u64().is_some_and(|us| us < 1_000_000)
            && open["timestamp"].as_str().is_some_and(|t| t.ends_with('Z'))
    );
    assert_eq!(
        (&end["exit"], &end["closed"]),
        (&"complete".into(), &100.into())
    );
}

#[test]
fn names_urls_files_and_standard_input_name_targets() {
    let (_listener, port) = listener();
    let plan_of = |arguments: &str, stdin: &str| {
        let mut child = portreeve(&format!("{arguments} --dry-run -v --sequential"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it runs");
        child
            .stdin
            .take()
            .expect("piped")
            .write_all(stdin.as_bytes())
            .expect("it reads");
        let output = ran(child.wait_with_output().expect("it ends"));
        output
            .stdout
            .lines()
            .skip(1)
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        plan_of(
            "-iL - -p 9",
            "127.0.0.1 127.0.0.3 # two\n\n# none\n127.0.0.1-2\n"
        ),
        ["127.0.0.1:9", "127.0.0.2:9", "127.0.0.3:9"]
    );
    assert_eq!(
        plan_of(
            "http://127.0.0.1:8081/x 127.0.0.0/31 -p 9 --exclude 127.0.0.0",
            ""
        ),
        ["127.0.0.1:9"]
    );
    assert_eq!(plan_of("http://127.0.0.1:8081/x", ""), ["127.0.0.1:8081"]);
    assert_eq!(
        plan_of("::1 127.0.0.1 -p 9", ""),
        ["127.0.0.1:9", "[::1]:9"]
    );
    assert_eq!(plan_of("127.0.0.1 -F", "").len(), 100);
    assert_eq!(plan_of("127.0.0.1", "").len(), 1_000);
    let Ran { code, stdout, .. } = run(portreeve(&format!("localhost -4 -p {port} --json")));
    assert_eq!(
        (code, &json_lines(&stdout)[1]["host"]),
        (Some(0), &"localhost".into())
    );
}

#[test]
fn an_unknown_name_among_others_is_a_warning() {
    // In a namespace without a network no question leaves this machine.
    in_namespace("an_unknown_name_among_others_is_a_warning", || {
        let Ran {
            code,
            stdout,
            stderr,
        } = run(portreeve("no-such-name.invalid 127.0.0.1 -p 1"));
        assert_eq!(code, Some(0));
        assert!(
            stderr.contains("no-such-name.invalid") && stdout.contains("could not be looked up"),
            "{stderr}{stdout}"
        );
        assert_eq!(run(portreeve("no-such-name.invalid -p 1")).code, Some(4));
        assert_eq!(
            run(portreeve("127.0.0.1 --exclude no-such-name.invalid -p 1")).code,
            Some(2),
            "what is excluded must be known"
        );
    });
}

#[test]
fn the_same_seed_gives_the_same_order() {
    let order = |seed: u32| {
        run(portreeve(&format!(
            "127.0.0.0/29 -p 1-50 --dry-run -v --seed {seed}"
        )))
        .stdout
    };
    assert_eq!(order(1), order(1));
    assert_ne!(order(1), order(2));
}

#[test]
fn few_descriptors_are_enough() {
    in_namespace("few_descriptors_are_enough", || {
        let listeners: Vec<_> = (0..30).map(|_| listener()).collect();
        let open: BTreeSet<u64> = listeners.iter().map(|(_, port)| u64::from(*port)).collect();
        for limit in [16, 64, 20_000] {
            let Ran {
                code,
                stdout,
                stderr,
            } = run(with_descriptor_limit(
                portreeve("127.0.0.1 -p- --json"),
                limit,
            ));
            let lines = json_lines(&stdout);
            assert_eq!(
                (code, open_ports(&lines), stderr.as_str()),
                (Some(0), open.clone(), ""),
                "ulimit -n {limit}"
            );
            let end = end_record(&stdout);
            assert_eq!(end["closed"], 65_535 - 30);
            assert!(
                end["peak_sockets"].as_u64() < Some(limit) && lines[0]["limits"]["nofile"] == limit
            );
        }
        let Ran { code, stdout, .. } = run(portreeve("127.0.0.1 -p 1-500 --max-fds 1 -v"));
        assert_eq!(code, Some(0));
        assert!(
            stdout.contains("At most 1 socket at once, set by --max-fds")
                && stdout.contains("at most 1 descriptor held of 1"),
            "{stdout}"
        );
    });
}

#[test]
fn too_few_descriptors_to_begin_with_are_said() {
    let Ran { code, stderr, .. } = run(with_descriptor_limit(portreeve("127.0.0.1 -p 1"), 4));
    assert!(
        code == Some(3) || (code == Some(4) && stderr.contains("Too many open files")),
        "{code:?} {stderr}"
    );
}

#[test]
fn an_interrupted_scan_adds_up() {
    in_namespace("an_interrupted_scan_adds_up", || {
        let _network = TunNetwork::start(|_, port| {
            if port < 50 {
                Reply::Accept
            } else {
                Reply::Silence
            }
        });
        for (number, show) in [(libc::SIGINT, "open"), (libc::SIGTERM, "unscanned")] {
            let arguments =
                format!("10.9.1.2 -p 1-20000 --timeout 60 --max-fds 500 --json --show {show}");
            let mut child = portreeve(&arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it runs");
            let mut reader = BufReader::new(child.stdout.take().expect("piped"));
            let mut text = String::new();
            // The start record is written when the scan runs and its signals are set.
            reader.read_line(&mut text).expect("a line");
            signal(&child, number);
            reader.read_to_string(&mut text).expect("the rest");
            assert_eq!(wait(&mut child), Some(130));
            let end = end_record(&text);
            assert_eq!(
                (&end["exit"], &end["planned"]),
                (&"interrupted".into(), &20_000.into())
            );
            let unscanned = end["unscanned"].as_u64().expect("a count");
            assert!(unscanned >= 19_000, "{end}");
            let listed = json_lines(&text)
                .iter()
                .filter(|line| line["state"] == "unscanned")
                .count() as u64;
            assert_eq!(listed, if show == "unscanned" { unscanned } else { 0 });
        }
    });
}

#[test]
fn a_stopped_process_takes_its_answers_when_it_goes_on() {
    in_namespace(
        "a_stopped_process_takes_its_answers_when_it_goes_on",
        || {
            let delay = Duration::from_millis(300);
            let network = TunNetwork::with_delays(move |_, port| {
                (
                    if port % 2 == 0 {
                        Reply::Accept
                    } else {
                        Reply::Refuse
                    },
                    delay,
                )
            });
            let arguments = "10.9.1.2 -p 1-200 --timeout 1s --max-retries 0 --json";
            let mut child = portreeve(arguments)
                .stdout(Stdio::piped())
                .spawn()
                .expect("it runs");
            let mut reader = BufReader::new(child.stdout.take().expect("piped"));
            let mut text = String::new();
            reader.read_line(&mut text).expect("the start record");
            while network.syns() < 200 {
                std::thread::yield_now();
            }
            signal(&child, libc::SIGSTOP);
            // Longer than the timeout; how much does not matter.
            std::thread::sleep(Duration::from_millis(1_500));
            signal(&child, libc::SIGCONT);
            reader.read_to_string(&mut text).expect("the rest");
            assert_eq!(wait(&mut child), Some(0));
            let end = end_record(&text);
            assert_eq!(
                (&end["open"], &end["closed"]),
                (&100.into(), &100.into()),
                "{end}"
            );
        },
    );
}

#[test]
fn a_report_that_fails_does_not_walk_the_rest_of_a_large_plan() {
    for (arguments, code) in [
        ("127.0.0.0/8 -p- --show all -oJ /dev/full", 4),
        ("127.0.0.0/8 -p- --show all", 0),
    ] {
        let mut child = portreeve(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("it runs");
        drop(child.stdout.take());
        assert_eq!(wait(&mut child), Some(code), "{arguments}");
    }
}

/// GNU timeout signals its child and then the whole group; a terminal that closes hangs up twice.
#[test]
fn two_signals_close_together_lose_no_report() {
    in_namespace("two_signals_close_together_lose_no_report", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        for (first, second) in [
            (libc::SIGTERM, libc::SIGTERM),
            (libc::SIGHUP, libc::SIGHUP),
            (libc::SIGTERM, libc::SIGINT),
        ] {
            for pause_ms in [0, 1, 5, 20, 100] {
                let arguments = "10.9.1.2 -p 1-20000 --timeout 60 --json --show unscanned";
                let mut child = portreeve(arguments)
                    .stdout(Stdio::piped())
                    .stderr(Stdio::null())
                    .spawn()
                    .expect("it runs");
                let mut reader = BufReader::new(child.stdout.take().expect("piped"));
                let mut text = String::new();
                reader.read_line(&mut text).expect("the start record");
                signal(&child, first);
                std::thread::sleep(Duration::from_millis(pause_ms));
                signal(&child, second);
                reader.read_to_string(&mut text).expect("the rest");
                assert_eq!(wait(&mut child), Some(130));
                assert_eq!(
                    end_record(&text)["exit"],
                    "interrupted",
                    "{first}, after {pause_ms} ms {second}"
                );
            }
        }
    });
}

#[test]
fn a_second_ctrl_c_ends_a_report_that_nobody_reads() {
    let mut child = portreeve("127.0.0.1 -p- --show all --json")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    reader
        .read_line(&mut String::new())
        .expect("the start record");
    // A person who presses Ctrl-C again and again. Nothing but signals ends it: nobody reads the
    // pipe.
    let ended = (0..100).find_map(|_| {
        signal(&child, libc::SIGINT);
        std::thread::sleep(Duration::from_millis(100));
        child.try_wait().expect("it can be waited for")
    });
    assert_eq!(ended.and_then(|status| status.code()), Some(130));
}

#[test]
fn no_message_acts_on_a_terminal() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    fs::write(folder.path().join("hosts"), "\u{1b}]0;mine\u{7}\n").expect("written");
    fs::write(folder.path().join("\u{1b}[2J"), "127.0.0.1 \u{1b}[31m\n").expect("written");
    let escape = "\u{1b}[31m";
    for arguments in [
        vec![escape],
        vec!["--escape", escape],
        vec!["127.0.0.1", "-p", escape],
        vec!["-iL", "hosts"],
        vec!["-iL", "\u{1b}[2J"],
    ] {
        let mut command = portreeve("");
        command.args(&arguments).current_dir(folder.path());
        let Ran { code, stderr, .. } = run(command);
        assert!(
            code == Some(2) || code == Some(4),
            "{arguments:?}: {code:?} {stderr:?}"
        );
        assert!(
            !stderr.is_empty() && !stderr.contains(['\u{1b}', '\u{7}']),
            "{arguments:?}: {stderr:?}"
        );
    }
    let mut command = portreeve("127.0.0.1");
    command.env("PORTREEVE_MAX_RATE", escape);
    let Ran { code, stderr, .. } = run(command);
    assert!(code == Some(2) && !stderr.contains('\u{1b}'), "{stderr:?}");
}

#[test]
fn every_format_at_once_agrees() {
    let (_listener, port) = listener();
    let folder = tempfile::tempdir().expect("a scratch folder");
    let file = |name: &str| folder.path().join(name).display().to_string();
    let arguments = format!(
        "127.0.0.1 -p 1,{port} -oJ {} --output-csv {} -oL {} --list-open {} -oN {}",
        file("%Y.json"),
        file("a.csv"),
        file("a.list"),
        file("a.open"),
        file("a.txt")
    );
    let Ran {
        code,
        stdout,
        stderr,
    } = run(portreeve(&arguments));
    assert_eq!((code, stderr.as_str()), (Some(0), ""), "{stdout}");
    let read = |name: &str| {
        fs::read_to_string(file(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    };
    assert_eq!(read("a.open"), format!("127.0.0.1:{port}\n"));
    let list = read("a.list");
    assert!(
        list.starts_with(&format!("#masscan\nopen tcp {port} 127.0.0.1 "))
            && list.ends_with("\n# end\n"),
        "{list}"
    );
    let csv = read("a.csv");
    assert!(
        csv.lines().count() == 2
            && csv.lines().nth(1).is_some_and(
                |line| line.starts_with(&format!("127.0.0.1,,{port},tcp,open,syn-ack,"))
            )
    );
    let normal = read("a.txt");
    assert!(
        normal
            .lines()
            .any(|line| line.split(' ').filter(|word| !word.is_empty()).eq([
                &*format!("{port}/tcp"),
                "open",
                "unknown"
            ])),
        "{normal}"
    );
    let year = fs::read_dir(folder.path())
        .expect("it")
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    let year: Vec<String> = year.filter(|name| name.ends_with(".json")).collect();
    assert!(
        matches!(year.as_slice(), [name] if name.starts_with("20") && name.len() == 9),
        "{year:?}"
    );
    let Ran { code, stderr, .. } = run(portreeve("127.0.0.1 -p 1 -oL - --list-open -"));
    assert!(
        code == Some(2) && stderr.contains("cannot both go to standard output"),
        "{stderr}"
    );
}

#[test]
fn progress_is_told_when_asked_and_not_otherwise() {
    in_namespace("progress_is_told_when_asked_and_not_otherwise", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        let arguments = "10.9.1.2 -p 1-100 --timeout 60 --json";
        let mut child = portreeve(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout
            .read_line(&mut String::new())
            .expect("the start record");
        signal(&child, libc::SIGUSR1);
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        let mut line = String::new();
        stderr.read_line(&mut line).expect("a line");
        assert!(
            line.starts_with("0 % of 100, 0 attempts/s") && line.contains("in flight"),
            "{line}"
        );
        signal(&child, libc::SIGINT);
        assert_eq!(wait(&mut child), Some(130));
        let mut rest = String::new();
        stderr.read_to_string(&mut rest).expect("the rest");
        assert_eq!(rest, "", "nothing but what was asked for");
    });
}

#[test]
fn a_scan_is_slowed_down_while_it_runs() {
    in_namespace("a_scan_is_slowed_down_while_it_runs", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        let arguments = "10.9.1.2 -p 1-100 --timeout 60 --max-rate 100 --json";
        let mut child = portreeve(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        stdout
            .read_line(&mut String::new())
            .expect("the start record");
        let mut stderr = BufReader::new(child.stderr.take().expect("piped"));
        for rate in [90, 81] {
            signal(&child, libc::SIGUSR2);
            let mut line = String::new();
            stderr.read_line(&mut line).expect("a line");
            assert_eq!(
                line,
                format!("at most {rate} attempts per second from now on\n")
            );
        }
        signal(&child, libc::SIGINT);
        assert_eq!(wait(&mut child), Some(130));
    });
}

#[test]
fn limits_say_what_a_scan_would_have() {
    let Ran {
        code,
        stdout,
        stderr,
    } = run(portreeve("limits"));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(
        stdout.starts_with("At most ") && stdout.contains("sysctl -w fs.file-max=N"),
        "{stdout}"
    );
    let limits = |arguments: &str, nofile| {
        let Ran { code, stdout, .. } = run(with_descriptor_limit(portreeve(arguments), nofile));
        assert_eq!(
            (code, stdout.lines().count()),
            (Some(0), 1),
            "{arguments}: {stdout}"
        );
        serde_json::from_str::<Value>(&stdout).expect("one object")
    };
    let few = limits("limits --json", 64);
    assert_eq!(
        (&few["type"], &few["cap_set_by"]),
        (&"limits".into(), &"RLIMIT_NOFILE".into())
    );
    // A scan finds a few descriptors more open than this does: its poll, its outputs.
    let scan = json_lines(
        &run(with_descriptor_limit(
            portreeve("127.0.0.1 -p 1 --json"),
            64,
        ))
        .stdout,
    );
    let difference =
        few["cap"].as_u64().expect("a cap") - scan[0]["limits"]["cap"].as_u64().expect("a cap");
    assert!(difference <= 8, "{few} {}", scan[0]);
    assert_eq!(limits("limits --json --max-fds 3", 64)["cap"], 3);
    let Ran { code, stderr, .. } = run(portreeve("limits 127.0.0.1"));
    assert!(code == Some(2) && stderr.contains("127.0.0.1"), "{stderr}");
}

#[test]
fn a_closed_pipe_ends_quietly() {
    for arguments in [
        "127.0.0.1 -p- --show all",
        "127.0.0.1 -p- --show all --json",
        "127.0.0.0/8 -p- --dry-run -v",
        "limits",
        "--help",
    ] {
        let mut child = portreeve(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("it runs");
        drop(child.stdout.take());
        assert_eq!(wait(&mut child), Some(0), "{arguments}");
        let mut stderr = String::new();
        child
            .stderr
            .take()
            .expect("piped")
            .read_to_string(&mut stderr)
            .expect("UTF-8");
        assert_eq!(stderr, "", "{arguments}");
    }
}

#[test]
fn standard_output_under_its_other_name_may_be_left() {
    let mut child = portreeve("127.0.0.1 -p- --show all -oJ /dev/stdout")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0]).expect("a beginning");
    drop(stdout);
    assert_eq!(wait(&mut child), Some(0));
}

/// Whatever its name, a report to standard output is the only one there.
#[test]
#[cfg(target_os = "linux")]
fn standard_output_under_its_other_names_has_one_report() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    // Open at both ends, and with room for a report.
    let both = fs::File::options().read(true).write(true).open(&pipe);
    let both = both.expect("a pipe");
    let pipe = pipe.display().to_string();
    for name in ["/dev/stdout", "/dev/fd/1", "/proc/self/fd/1", &pipe] {
        let arguments = format!("127.0.0.1 -p 1 -oX {name}");
        let out = both.try_clone().expect("a descriptor");
        let code = portreeve(&arguments).stdout(out).status().expect("it runs");
        assert_eq!(code.code(), Some(0), "{name}");
        let mut bytes = [0; 65_536];
        let count = (&both).read(&mut bytes).expect("a report");
        let text = String::from_utf8_lossy(&bytes[..count]);
        assert!(
            text.starts_with("<?xml")
                && text.ends_with("</nmaprun>\n")
                && !text.contains("planned"),
            "{name}: {text}"
        );
    }
    for arguments in [
        "127.0.0.1 -p 1 -oX /dev/stdout -oG -",
        "experiment --csv /dev/stdout",
    ] {
        run(portreeve(arguments)).check_refusal(arguments, 2, "standard output");
    }
    let arguments = format!("127.0.0.1 -p 1 -oX {pipe} -oG {pipe}");
    run(portreeve(&arguments)).check_refusal(&arguments, 2, "two reports cannot both go to");
    let nowhere = run(portreeve("127.0.0.1 -p 1 -oX /dev/null -oG /dev/null"));
    assert_eq!(nowhere.code, Some(0), "{}", nowhere.stderr);
}

#[test]
fn a_reader_that_leaves_does_not_take_the_file_with_it() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let arguments = format!("127.0.0.1 -p- --show all -oJ {}", file.path().display());
    let mut child = portreeve(&arguments)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(child.stdout.take());
    assert!(matches!(wait(&mut child), Some(0 | 1)));
    let text = fs::read_to_string(file.path()).expect("the file");
    assert_eq!(
        (
            end_record(&text)["planned"].as_u64(),
            json_lines(&text).len()
        ),
        (Some(65_535), 65_538)
    );
}

#[test]
fn standard_output_that_does_not_block_is_waited_for() {
    for is_stopped in [false, true] {
        let (mut reader, writer) = std::io::pipe().expect("a pipe");
        do_not_block(&writer);
        let mut child = portreeve("127.0.0.1 -p- --show all --json")
            .stdout(writer)
            .spawn()
            .expect("it runs");
        // It has more to say than the pipe holds.
        std::thread::sleep(Duration::from_millis(600));
        if is_stopped {
            // Nobody will read it.
            signal(&child, libc::SIGINT);
            assert_eq!(wait(&mut child), Some(130));
            continue;
        }
        let mut text = String::new();
        reader.read_to_string(&mut text).expect("UTF-8");
        assert!(matches!(wait(&mut child), Some(0 | 1)));
        assert_eq!(end_record(&text)["planned"], 65_535);
    }
}

fn do_not_block(pipe: &std::io::PipeWriter) {
    use std::os::fd::AsRawFd;
    // SAFETY: fcntl only sets a flag of a pipe that is open.
    let set = unsafe { libc::fcntl(pipe.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    assert_eq!(set, 0);
}

#[test]
#[cfg(target_os = "linux")]
fn a_terminal_that_goes_away_interrupts() {
    let mut terminal = support::terminal::Terminal::new();
    let command = portreeve("127.0.0.1 -p- --max-rate 5000 --show all -q");
    let mut child = terminal.spawn(command);
    terminal.screen.read_exact(&mut [0; 100]).expect("findings");
    drop(terminal);
    assert_eq!(wait(&mut child), Some(130));
}

#[test]
#[cfg(target_os = "linux")]
fn rights_that_the_caller_lacks_are_refused() {
    use std::os::unix::fs::{PermissionsExt, chown};
    // Folders for scratch are often mounted without set-user-id.
    let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let program = folder.path().join("portreeve");
    // Not by this process: what another test starts just then would hold the file open for writing.
    let copied = Command::new("cp")
        .arg(env!("CARGO_BIN_EXE_portreeve"))
        .arg(&program)
        .status();
    assert!(copied.expect("cp runs").success());
    let is_root = chown(&program, Some(65_534), None).is_ok();
    let bits = fs::Permissions::from_mode(0o4755);
    fs::set_permissions(&program, bits).expect("the bits");
    if !is_root {
        let what = "SKIPPED: only root can give a file to another user";
        let may_skip = std::env::var_os("PORTREEVE_MUST_NOT_SKIP").is_none();
        assert!(may_skip, "{what}");
        let _ = writeln!(std::io::stderr(), "\n*** {what} ***\n");
        return;
    }
    let output = Command::new(program)
        .args(["127.0.0.1", "-p", "1"])
        .output();
    let told = output.map(ran).expect("it runs");
    assert_eq!((told.code, told.stdout.as_str()), (Some(4), ""));
    assert!(told.stderr.contains("set-user-id"), "{}", told.stderr);
}

#[test]
fn two_scans_do_not_write_one_file() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut first = portreeve("127.0.0.1 -p 1-2000 --max-rate 1000 --show all -oJ same")
        .current_dir(folder.path())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let same = folder.path().join("same");
    let is_begun = || fs::metadata(&same).is_ok_and(|data| data.len() > 0);
    while !is_begun() {
        std::thread::sleep(Duration::from_millis(5));
    }
    for output in ["-oJ", "-oX", "--stats"] {
        let ran = run_in(folder.path(), &format!("127.0.0.1 -p 1 {output} same"));
        assert_eq!(ran.code, Some(4), "{output}");
        assert!(ran.stderr.contains("another process"), "{}", ran.stderr);
    }
    assert!(matches!(wait(&mut first), Some(0 | 1)));
    let text = fs::read_to_string(same).expect("the file");
    assert_eq!(json_lines(&text).len(), 2_003);
    assert_eq!(end_record(&text)["planned"], 2_000);
}

#[test]
fn a_reports_pipe_must_be_read_to_its_end() {
    let folder = tempfile::tempdir().expect("a folder");
    let pipe = folder.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status();
    assert!(made.expect("mkfifo runs").success());
    let mut child = portreeve("127.0.0.1 -p 1-2000 --max-rate 5000 --show all -q -oJ")
        .arg(&pipe)
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    drop(fs::File::open(&pipe).expect("a reader"));
    assert_eq!(wait(&mut child), Some(4));
    let mut stderr = String::new();
    let mut told = child.stderr.take().expect("piped");
    told.read_to_string(&mut stderr).expect("UTF-8");
    assert!(stderr.contains("pipe is not complete"), "{stderr}");
}

#[test]
fn a_name_that_is_not_looked_up_is_told_although_quiet() {
    // Nothing can be asked there.
    in_namespace(
        "a_name_that_is_not_looked_up_is_told_although_quiet",
        || {
            let ran = run(portreeve("nobody.invalid 127.0.0.1 -p 1 -q"));
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), ""));
            assert!(ran.stderr.contains("nobody.invalid"), "{}", ran.stderr);
        },
    );
}

#[test]
fn a_full_disk_is_an_error_with_the_files_name() {
    for arguments in [
        "127.0.0.1 -p 1 -oJ /dev/full",
        "127.0.0.1 -p- --show all -oN /dev/full",
    ] {
        let Ran { code, stderr, .. } = run(portreeve(arguments));
        assert_eq!(code, Some(4), "{arguments}: {stderr}");
        assert!(
            stderr.contains("/dev/full cannot be written: No space left on device"),
            "{stderr}"
        );
    }
    for arguments in ["127.0.0.1 -p 1 --json", "limits"] {
        let full = fs::File::options()
            .write(true)
            .open("/dev/full")
            .expect("/dev/full");
        let Ran { code, stderr, .. } =
            ran(portreeve(arguments).stdout(full).output().expect("it runs"));
        assert_eq!(code, Some(4), "{arguments}");
        assert!(
            stderr.contains("standard output cannot be written"),
            "{stderr}"
        );
    }
}

#[test]
fn a_report_that_fails_at_once_stops_the_scan_before_it_begins() {
    let (_listener, port) = listener();
    let Ran { code, stdout, .. } = run(portreeve(&format!("127.0.0.1 -p {port} -oJ /dev/full")));
    assert_eq!(code, Some(4));
    assert!(
        stdout.contains("1 planned = 0 open + 0 closed + 0 filtered + 1 unscanned"),
        "{stdout}"
    );
}

#[test]
fn reports_go_to_files_and_standard_output_at_once() {
    let (_listener, port) = listener();
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("out.txt");
    let json = folder.path().join("out.jsonl");
    let arguments = format!(
        "127.0.0.1 -p {port} -oN {} -oJ {} -q",
        text.display(),
        json.display()
    );
    let Ran { stdout, .. } = run(portreeve(&arguments));
    assert!(
        stdout.starts_with("open 127.0.0.1:") && stdout.lines().count() == 1,
        "{stdout}"
    );
    let text = fs::read_to_string(&text).expect("text");
    assert!(
        text.contains(&format!("\n{port}/tcp")) && text.contains("\n# portreeve done at "),
        "-q is for the screen only: {text}"
    );
    assert_eq!(
        open_ports(&json_lines(&fs::read_to_string(&json).expect("JSON"))),
        [u64::from(port)].into()
    );
}

#[test]
fn nmap_fingers_find_their_way() {
    let (_listener, port) = listener();
    let Ran {
        code,
        stdout,
        stderr,
    } = run(portreeve(&format!(
        "-n -Pn -sT --reason --open -p{port} -vv 127.0.0.1"
    )));
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(stdout.contains("syn-ack"), "{stdout}");
}

#[test]
fn hostile_arguments_and_files_do_no_harm() {
    let long = "9".repeat(100_000);
    let file = tempfile::NamedTempFile::new().expect("a file");
    for content in [
        vec![b'a'; 200_000],
        vec![0xff, 0xfe, b'\n'],
        b"\x1b[31m\n".to_vec(),
        vec![0; 70_000],
    ] {
        fs::write(file.path(), content).expect("written");
        let Ran { code, .. } = run(portreeve(&format!("-iL {}", file.path().display())));
        assert_eq!(code, Some(2));
    }
    for arguments in [
        &format!("127.0.0.1 -p {long}"),
        &long,
        &format!("127.0.0.1 --timeout {long}"),
        &format!("127.0.0.1 --seed {long}"),
    ] {
        assert_eq!(run(portreeve(arguments)).code, Some(2));
    }
    let mut odd = Command::new(env!("CARGO_BIN_EXE_portreeve"));
    odd.arg(<std::ffi::OsStr as std::os::unix::ffi::OsStrExt>::from_bytes(b"\xff\x1b[2J"));
    assert_eq!(odd.output().expect("it runs").status.code(), Some(2));
}

#[test]
fn passwords_in_urls_are_kept_nowhere() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("b.nmap"), "").expect("written");
    let shared = fs::Permissions::from_mode(0o644);
    fs::set_permissions(folder.path().join("b.nmap"), shared).expect("shared");
    let arguments = "http://joe:s3cret@127.0.0.1:9/ --exclude http://joe:s3cret@127.0.0.2/ \
                     -oJ a -oA b --output-csv c -oL d --list-open e --checkpoint f";
    let told = run_in(folder.path(), arguments);
    assert_eq!(told.code, Some(0), "{}", told.stderr);
    assert_eq!(told.stderr.matches("user names").count(), 1);
    let refused = run_in(folder.path(), "http://joe:s3cret@127.0.0.1:99999/");
    assert_eq!(refused.code, Some(2));
    let mut texts = vec![told.stdout, told.stderr, refused.stdout, refused.stderr];
    for entry in fs::read_dir(folder.path()).expect("a folder") {
        let path = entry.expect("an entry").path();
        let mode = fs::metadata(&path).expect("a file").permissions().mode() & 0o777;
        let is_older = path.ends_with("b.nmap");
        assert_eq!(mode, if is_older { 0o644 } else { 0o600 }, "{path:?}");
        texts.push(fs::read_to_string(path).expect("text"));
    }
    assert_eq!(texts.len(), 4 + 8);
    assert!(texts.iter().all(|text| !text.contains("s3cret")));
    assert!(
        texts
            .iter()
            .any(|text| text.contains("http://127.0.0.1:9/"))
    );
}
