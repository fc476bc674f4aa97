//! Scans that are broken off and go on: killed between any two system calls, interrupted, with
//! files that were changed since. In namespaces of their own, so that nothing else listens there.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

use fastrand::Rng;
use simulator::namespace::{in_namespace, skip};
use support::command::{Ran, end_record, json_lines, portreeve, ran, run, run_in, signal, wait};

/// Four addresses, of which each has these ports open: half a second's work, for several
/// checkpoints.
const SCAN: &str = "127.0.0.1-4 -p 1001-1250 --max-rate 2000 --show all --checkpoint c";
const OUTPUTS: &str = "-oJ a.jsonl -oX a.xml -oG a.gnmap -oN a.nmap --output-csv a.csv -oL a.list --list-open a.open -q";
const OPEN: [u16; 5] = [1_001, 1_042, 1_150, 1_249, 1_250];
const ENDPOINTS: usize = 1_000;

/// Listens there until the process ends, and takes every connection, so that no queue is ever full.
fn listen() {
    for port in OPEN {
        let listener = TcpListener::bind(("0.0.0.0", port)).expect("a free port");
        std::thread::spawn(move || listener.incoming().for_each(drop));
    }
}

/// The command in a folder, seen or killed by strace.
fn traced(arguments: &str, folder: &Path, options: &[&str]) -> Command {
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-qq", "-o", "strace"])
        .args(options)
        .arg(env!("CARGO_BIN_EXE_portreeve"));
    strace
        .args(arguments.split_whitespace())
        .current_dir(folder)
        .stdin(Stdio::null());
    strace
}

fn output(mut command: Command) -> Ran {
    ran(command
        .output()
        .unwrap_or_else(|error| skip(&format!("strace cannot be run: {error}"))))
}

/// How often a whole run makes which system call.
fn calls(folder: &Path) -> Vec<(String, u32)> {
    output(traced(&format!("{SCAN} {OUTPUTS}"), folder, &["-c"]));
    let table = fs::read_to_string(folder.join("strace")).expect("strace's table");
    // `% time, seconds, usecs/call, calls, errors, syscall`; errors may be missing.
    let row = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        Some((words.last()?.to_string(), words.get(3)?.parse().ok()?))
    };
    let calls: Vec<(String, u32)> = table
        .lines()
        .filter_map(row)
        .filter(|(name, _)| !["total", "execve"].contains(&name.as_str()))
        .collect();
    assert!(
        calls
            .iter()
            .any(|(name, count)| name == "rename" && *count > 3),
        "several checkpoints: {table}"
    );
    calls
}

/// One of all calls, or one of those that a checkpoint is made of.
fn moment<'a>(calls: &'a [(String, u32)], random: &mut Rng) -> (&'a str, u32) {
    const OF_CHECKPOINTS: [&str; 7] = [
        "openat",
        "flock",
        "write",
        "fsync",
        "fdatasync",
        "rename",
        "statx",
    ];
    let any = random.bool();
    let calls = || {
        calls
            .iter()
            .filter(|(name, _)| any || OF_CHECKPOINTS.contains(&name.as_str()))
    };
    let mut at = random.u32(0..calls().map(|(_, count)| count).sum());
    for (name, count) in calls() {
        if at < *count {
            return (name, at + 1);
        }
        at -= count;
    }
    unreachable!("it is below the sum")
}

/// Everything about the files that a scan has left in the end.
fn check_files(folder: &Path, what: &str) {
    let read = |name: &str| {
        fs::read_to_string(folder.join(name))
            .unwrap_or_else(|error| panic!("{what}: {name}: {error}"))
    };
    let text = read("a.jsonl");
    let end = end_record(&text);
    let lines = json_lines(&text);
    assert_eq!(
        (&end["exit"], &end["closed"], &end["open"]),
        (&"complete".into(), &980.into(), &20.into()),
        "{what}"
    );
    let mut states: BTreeMap<(String, u64), Vec<String>> = BTreeMap::new();
    for line in lines.iter().filter(|line| line["type"] == "finding") {
        let word = |name: &str| line[name].as_str().expect("a word").to_owned();
        states
            .entry((word("ip"), line["port"].as_u64().expect("a port")))
            .or_default()
            .push(word("state"));
    }
    assert_eq!(states.len(), ENDPOINTS, "{what}: an endpoint is missing");
    for ((ip, port), found) in &states {
        let truth = if OPEN.contains(&(*port as u16)) {
            "open"
        } else {
            "closed"
        };
        assert_eq!(found, &[truth], "{what}: {ip}:{port}");
    }
    let counts = |name: &str| lines.iter().filter(|line| line["type"] == name).count();
    assert_eq!(
        (counts("start"), counts("host"), counts("end")),
        (1, 4, 1),
        "{what}"
    );
    assert_eq!(read("a.csv").lines().count(), 1 + ENDPOINTS, "{what}");
    assert_eq!(read("a.open").lines().count(), 20, "{what}");
    let list = read("a.list");
    assert!(
        list.starts_with("#masscan\n") && list.ends_with("\n# end\n") && list.lines().count() == 22,
        "{what}: {list}"
    );
    let grepable = read("a.gnmap");
    assert_eq!(
        grepable.matches("\tPorts: 1001/open/tcp//").count(),
        4,
        "{what}: {grepable}"
    );
    assert!(
        grepable.lines().count() == 10 && grepable.contains("\n# portreeve done at"),
        "{what}: {grepable}"
    );
    let xml = read("a.xml");
    let counts = [
        "<?xml",
        "<nmaprun",
        "<host ",
        "<port ",
        "state=\"open\"",
        "</host>",
        "exit=\"success\"",
        "</nmaprun>\n",
    ]
    .map(|part| xml.matches(part).count());
    assert_eq!(counts, [1, 1, 4, ENDPOINTS, 20, 4, 1, 1], "{what}: {xml}");
    let normal = read("a.nmap");
    let counts = [
        "# portreeve ",
        "\nNmap scan report for 127.0.0.",
        "/tcp open ",
        "\n# portreeve done at ",
    ]
    .map(|part| normal.matches(part).count());
    assert_eq!(counts, [2, 4, 20, 1], "{what}: {normal}");
    assert!(!folder.join("c.findings").exists(), "{what}");
}

/// Kills one scan, up to three times, and lets it go on until it is through. Returns how often it
/// was killed: a moment may come never.
fn kill_and_resume(calls: &[(String, u32)], seed: u64) -> usize {
    let mut random = Rng::with_seed(seed);
    let folder = tempfile::tempdir().expect("a scratch folder");
    let mut history = format!("seed {seed}");
    let mut connects = 0;
    for kills in 0..20 {
        let arguments = if folder.path().join("c").exists() {
            "resume c".into()
        } else {
            format!("{SCAN} {OUTPUTS}")
        };
        let (call, number) = moment(calls, &mut random);
        let seen = format!("trace=connect,{call}");
        let killed = format!("inject={call}:signal=SIGKILL:when={number}");
        let options = ["-e", &seen, "-e", &killed];
        let Ran { code, stderr, .. } = output(traced(
            &arguments,
            folder.path(),
            if kills == 3 { &options[..2] } else { &options },
        ));
        history += &format!("; {arguments}, {killed}: {code:?} {stderr}");
        let trace = fs::read_to_string(folder.path().join("strace")).expect("strace's list");
        // Not those that only ask for the answer.
        connects += trace.matches("EINPROGRESS").count();
        if code == Some(0) {
            check_files(folder.path(), &history);
            // Between two checkpoints there is a tenth of a second, or two where the machine is
            // slow.
            assert!(
                connects <= ENDPOINTS * 21 / 20 + kills * 500,
                "{connects} attempts: {history}"
            );
            return kills;
        }
        assert_eq!(code, None, "{history}");
    }
    panic!("it does not come to its end: {history}");
}

#[test]
fn whatever_moment_it_is_killed_at_nothing_is_lost() {
    in_namespace("whatever_moment_it_is_killed_at_nothing_is_lost", || {
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let calls = &calls(folder.path());
        check_files(folder.path(), "not killed");
        // They wait for their rate most of the time.
        let seeds = AtomicU64::new(0);
        let kills = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    while kills.load(Relaxed) < 200 {
                        let seed = seeds.fetch_add(1, Relaxed);
                        assert!(seed < 1_000, "too few of them are killed");
                        kills.fetch_add(kill_and_resume(calls, seed), Relaxed);
                    }
                });
            }
        });
    });
}

/// A scan in a folder that was interrupted in its midst, with what it printed.
fn interrupted(folder: &Path, arguments: &str) -> String {
    let mut child = portreeve(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("it runs");
    let begun =
        || fs::read_to_string(folder.join("a.jsonl")).is_ok_and(|text| text.lines().count() > 300);
    while !begun() {
        std::thread::yield_now();
    }
    signal(&child, libc::SIGINT);
    let code = wait(&mut child);
    assert_eq!(code, Some(130));
    let mut stderr = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().expect("piped"), &mut stderr)
        .expect("UTF-8");
    stderr
}

#[test]
fn an_interrupted_scan_is_whole_and_goes_on() {
    in_namespace("an_interrupted_scan_is_whole_and_goes_on", || {
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let outputs = OUTPUTS.replace(" -q", "");
        let stderr = interrupted(folder.path(), &format!("{SCAN} {outputs}"));
        assert!(
            stderr.contains("to go on: portreeve resume") && stderr.contains("/c"),
            "{stderr}"
        );
        let end = end_record(&fs::read_to_string(folder.path().join("a.jsonl")).expect("a file"));
        assert_eq!(end["exit"], "interrupted");
        let xml = fs::read_to_string(folder.path().join("a.xml")).expect("a file");
        assert!(
            xml.ends_with("</nmaprun>\n")
                && xml.contains("exit=\"error\" errormsg=\"interrupted: "),
            "{xml}"
        );
        let other = run_in(folder.path(), &format!("{SCAN} {outputs} --max-retries 3"));
        assert!(
            other.code == Some(2) && other.stderr.contains("not finished: `portreeve resume c`"),
            "{}",
            other.stderr
        );
        // The same again goes on as `resume` does.
        let Ran { code, stderr, .. } = run_in(folder.path(), &format!("{SCAN} {outputs}"));
        assert!(
            code == Some(0)
                && stderr.contains("going on where")
                && stderr.contains(" of 1,000 endpoints are done"),
            "{stderr}"
        );
        check_files(folder.path(), "resumed");
        let Ran { code, stderr, .. } =
            run(portreeve(&format!("resume {}/c", folder.path().display())));
        assert!(
            code == Some(0) && stderr.contains("came to its end"),
            "{stderr}"
        );
    });
}

#[test]
fn the_tables_of_a_resumed_scan_hold_what_was_found_before() {
    in_namespace(
        "the_tables_of_a_resumed_scan_hold_what_was_found_before",
        || {
            listen();
            let folder = tempfile::tempdir().expect("a scratch folder");
            // By the time of the interruption the first of the hosts is done.
            interrupted(folder.path(), &format!("{SCAN} --sequential -oJ a.jsonl"));
            let resumed = run_in(folder.path(), "resume c");
            let heading = |line: &&str| line.starts_with("127.0.0.") && !line.contains(' ');
            let headings: Vec<&str> = resumed.stdout.lines().filter(heading).collect();
            let rows = resumed.stdout.lines().filter(|line| line.contains("/tcp "));
            assert_eq!(
                (resumed.code, headings, rows.count()),
                (
                    Some(0),
                    ["127.0.0.1", "127.0.0.2", "127.0.0.3", "127.0.0.4"].into(),
                    ENDPOINTS
                ),
                "{}",
                resumed.stdout
            );
        },
    );
}

#[test]
fn what_this_machine_could_not_send_is_asked_again() {
    in_namespace("what_this_machine_could_not_send_is_asked_again", || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        // There is no way to the second one yet.
        let scan = "127.0.0.1 192.0.2.1 -p 1-100 --show all --fail-if-none --checkpoint c -oJ a.jsonl -oX a.xml";
        let end_of = |Ran { code, stderr, .. }: Ran| {
            let text = fs::read_to_string(folder.path().join("a.jsonl")).expect("a file");
            let findings = json_lines(&text);
            let findings = findings.iter().filter(|line| line["type"] == "finding");
            assert_eq!(findings.count(), 200, "{stderr}");
            (code, end_record(&text), stderr)
        };
        for _ in 0..2 {
            let (code, end, stderr) = end_of(run_in(folder.path(), scan));
            assert!(
                code == Some(3) && stderr.contains("to go on: portreeve resume"),
                "{stderr}"
            );
            assert_eq!(
                (&end["closed"], &end["reasons"]["no-local-route"]),
                (&100.into(), &100.into())
            );
        }
        let added = Command::new("ip")
            .args(["address", "add", "192.0.2.1/32", "dev", "lo"])
            .status();
        match added {
            Ok(status) => assert!(status.success()),
            Err(error) => skip(&format!("ip cannot be run: {error}")),
        }
        let (code, end, stderr) = end_of(run_in(folder.path(), "resume c"));
        assert!(
            code == Some(1) && stderr.contains("100 of 200 endpoints are done"),
            "{stderr}"
        );
        assert_eq!(
            (&end["closed"], &end["exit"]),
            (&200.into(), &"complete".into())
        );
        let ended = run_in(folder.path(), "resume c");
        assert!(ended.stderr.contains("came to its end"), "{}", ended.stderr);
    });
}

#[test]
fn what_does_not_fit_is_refused_and_left_alone() {
    in_namespace("what_does_not_fit_is_refused_and_left_alone", || {
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = |name: &str| folder.path().join(name);
        fs::write(path("targets"), "127.0.0.1-4\n").expect("written");
        let scan = SCAN.replace("127.0.0.1-4", "-iL targets");
        interrupted(
            folder.path(),
            &format!("{scan} -oJ a.jsonl --list-open a.open"),
        );
        let [kept, json, open] =
            ["c", "a.jsonl", "a.open"].map(|name| fs::read(path(name)).expect("a file"));
        let refused = |parts: &[&str], code: i32| {
            let ran = run(portreeve(&format!("resume {}", path("c").display())));
            assert_eq!(
                (ran.code, ran.stdout.as_str()),
                (Some(code), ""),
                "{}",
                ran.stderr
            );
            for part in parts {
                assert!(
                    ran.stderr.contains(part),
                    "{part:?} is missing in {}",
                    ran.stderr
                );
            }
        };
        let is_as_it_was = || {
            assert!(
                fs::read(path("a.jsonl")).expect("a file") == json,
                "a file was touched all the same"
            )
        };

        fs::write(path("targets"), "127.0.0.1-5\n").expect("written");
        refused(&["not the same any more"], 2);
        is_as_it_was();
        fs::write(path("targets"), "127.0.0.1-4\n").expect("written");

        let longer =
            String::from_utf8(kept.clone())
                .expect("text")
                .replacen("127.0.0.1", "127.0.0.2", 1);
        for (damaged, part) in [
            (kept[..kept.len() / 2].to_vec(), "damaged"),
            (b"127.0.0.1\n".to_vec(), "no checkpoint"),
            (Vec::new(), "no checkpoint"),
            (
                longer.replacen("\"-iL\"", "\"-iX\"", 1).into_bytes(),
                "damaged",
            ),
            (
                String::from_utf8(kept.clone())
                    .expect("text")
                    .replacen("0.1.0", "0.0.9", 1)
                    .into_bytes(),
                "portreeve 0.0.9",
            ),
        ] {
            fs::write(path("c"), damaged).expect("written");
            refused(&["cannot be resumed", part], 2);
        }
        fs::write(path("c"), &kept).expect("written");

        fs::write(path("a.open"), "").expect("written");
        refused(
            &["a.open", "when the checkpoint was written", "put it back"],
            4,
        );
        is_as_it_was();
        fs::write(path("a.open"), &open).expect("written");

        // Longer, but of another scan: a report that went on there would be half of each.
        fs::write(
            path("a.jsonl"),
            [b"{\"type\":\"start\"}\n".as_slice(), &json].concat(),
        )
        .expect("written");
        refused(&["a.jsonl", "begins differently", "put it back"], 4);
        fs::write(
            path("a.jsonl"),
            [&json, b"{\"type\":\"finding\"".as_slice()].concat(),
        )
        .expect("written");

        let held = fs::File::open(path("c")).expect("a file");
        // SAFETY: flock(2) on a descriptor that is open.
        let locked = unsafe { libc::flock(std::os::fd::AsRawFd::as_raw_fd(&held), libc::LOCK_EX) };
        assert_eq!(locked, 0);
        refused(&["still running"], 2);
        drop(held);

        let Ran { code, stderr, .. } = run(portreeve(&format!("resume {}", path("c").display())));
        assert!(
            code == Some(0) && stderr.starts_with("going on where"),
            "{stderr}"
        );
        let text = fs::read_to_string(path("a.jsonl")).expect("a file");
        assert_eq!(
            json_lines(&text)
                .iter()
                .filter(|line| line["type"] == "finding")
                .count(),
            ENDPOINTS
        );
    });
}

#[test]
fn one_scan_at_a_time_writes_a_checkpoint() {
    in_namespace("one_scan_at_a_time_writes_a_checkpoint", || {
        listen();
        let folder = tempfile::tempdir().expect("a scratch folder");
        let arguments = format!("{SCAN} {OUTPUTS}");
        let start = || {
            portreeve(&arguments)
                .current_dir(folder.path())
                .stderr(Stdio::piped())
                .spawn()
                .expect("it runs")
        };
        // At once, so that not even a first checkpoint is there.
        let mut scans: Vec<_> = (0..4).map(|_| start()).collect();
        let codes: Vec<_> = scans.iter_mut().map(wait).collect();
        for (scan, code) in scans.into_iter().zip(&codes) {
            let said = scan.wait_with_output().expect("it ended").stderr;
            assert!(
                *code == Some(0) || String::from_utf8_lossy(&said).contains("still running"),
                "{}",
                String::from_utf8_lossy(&said)
            );
        }
        assert_eq!(
            codes.iter().filter(|code| **code == Some(0)).count(),
            1,
            "{codes:?}"
        );
        check_files(folder.path(), "four at once");
        assert!(
            !folder.path().join("c.new").exists(),
            "something was left behind"
        );
    });
}

/// It says which files are written: root must not obey anybody's.
#[test]
fn a_checkpoint_that_others_may_have_written_is_refused() {
    in_namespace(
        "a_checkpoint_that_others_may_have_written_is_refused",
        || {
            listen();
            let folder = tempfile::tempdir().expect("a scratch folder");
            let path = |name: &str| folder.path().join(name);
            let stderr = interrupted(folder.path(), &format!("{SCAN} -oJ a.jsonl"));
            assert!(stderr.contains("to go on"), "{stderr}");
            let set_mode = |mode| {
                fs::set_permissions(path("c"), PermissionsExt::from_mode(mode)).expect("it is ours")
            };
            let refused = |part: &str| {
                let Ran { code, stderr, .. } = run_in(folder.path(), "resume c");
                assert!(
                    code == Some(2) && stderr.contains(part),
                    "{part:?} is missing in {stderr}"
                );
            };
            assert_eq!(
                fs::metadata(path("c"))
                    .expect("a file")
                    .permissions()
                    .mode()
                    & 0o777,
                0o600
            );
            for mode in [0o620, 0o602] {
                set_mode(mode);
                refused("others may write to it");
            }
            set_mode(0o600);
            match chown(path("c"), Some(12_345), None) {
                Ok(()) => refused("it belongs to another user, 12345"),
                Err(error) => eprintln!("not tried: a checkpoint of another user ({error})"),
            }
            chown(path("c"), Some(0), None).expect("root is who this is here");

            // A report that a link has taken the place of, since.
            fs::rename(path("a.jsonl"), path("moved")).expect("renamed");
            symlink("moved", path("a.jsonl")).expect("a link");
            let kept = fs::read(path("moved")).expect("a file");
            let Ran { code, stderr, .. } = run_in(folder.path(), "resume c");
            assert!(
                code == Some(4)
                    && stderr.contains("a.jsonl cannot be written: it is a symbolic link"),
                "{stderr}"
            );
            assert!(
                fs::read(path("moved")).expect("a file") == kept,
                "it was written through a link"
            );
            fs::rename(path("moved"), path("a.jsonl")).expect("renamed");

            let Ran { code, stderr, .. } = run_in(folder.path(), "resume c");
            assert!(
                code == Some(0)
                    && stderr.contains("reports go on in ")
                    && stderr.contains("/a.jsonl"),
                "{stderr}"
            );
        },
    );
}

/// More findings than a checkpoint holds, of hosts that are under way together; slow enough to be
/// killed at a certain place on a busy machine.
const LARGE: &str = "127.0.0.1-2 -p 1-30000 --max-rate 20000 --show all -oX a.xml --checkpoint c";

/// How many bytes of findings the checkpoint needs.
fn findings_needed(folder: &Path) -> u64 {
    let checkpoint = fs::read_to_string(folder.join("c")).unwrap_or_default();
    let bytes = checkpoint.split_once("\"findings\":{\"bytes\":");
    let digits = bytes.and_then(|(_, rest)| rest.split_once(','));
    digits.map_or(0, |(bytes, _)| bytes.parse().expect("a number"))
}

/// Kills a scan of many findings when so many bytes of them are in their file, and so many are
/// needed by the checkpoint.
fn killed_at(folder: &Path, arguments: &str, bytes: u64, needed: u64) {
    let mut child = portreeve(arguments)
        .current_dir(folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let length = || {
        folder
            .join("c.findings")
            .metadata()
            .map_or(0, |file| file.len())
    };
    while length() < bytes || findings_needed(folder) < needed {
        let ended = child.try_wait().expect("a child");
        assert_eq!(ended, None, "it has ended with {} bytes", length());
        std::thread::yield_now();
    }
    signal(&child, libc::SIGKILL);
    wait(&mut child);
}

/// Each host is one element, with all of its ports.
fn check_large(folder: &Path, what: &str) {
    let xml = fs::read_to_string(folder.join("a.xml")).expect("a report");
    let hosts: Vec<&str> = xml.split("<host ").skip(1).collect();
    assert_eq!(hosts.len(), 2, "{what}");
    for host in hosts {
        let port = |part: &str| part.split_once('"').map(|(port, _)| port.to_owned());
        let ports = || host.split("portid=\"").skip(1).filter_map(port);
        let distinct: BTreeSet<String> = ports().collect();
        assert_eq!(
            (ports().count(), distinct.len()),
            (30_000, 30_000),
            "{what}"
        );
    }
    assert!(!folder.join("c.findings").exists(), "{what}: it is left");
}

#[test]
fn a_host_is_told_in_one_piece_whenever_its_scan_is_killed() {
    let test = "a_host_is_told_in_one_piece_whenever_its_scan_is_killed";
    in_namespace(test, || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        // At the first bytes of a piece, and in the midst of others; several times, too.
        for kills in [&[1][..], &[300_000, 500_000], &[100, 400_000, 400_001]] {
            for (at, &bytes) in kills.iter().enumerate() {
                let arguments = match at {
                    0 => LARGE,
                    _ if folder.path().join("c").exists() => "resume c",
                    _ => LARGE,
                };
                killed_at(folder.path(), arguments, bytes, 0);
            }
            let ran = run_in(folder.path(), "resume c");
            assert_eq!(ran.code, Some(0), "{kills:?}: {}", ran.stderr);
            check_large(folder.path(), &format!("{kills:?}"));
        }
    });
}

#[test]
fn findings_that_a_checkpoint_needs_are_there_or_asked_for() {
    let test = "findings_that_a_checkpoint_needs_are_there_or_asked_for";
    in_namespace(test, || {
        let folder = tempfile::tempdir().expect("a scratch folder");
        let path = |name: &str| folder.path().join(name);
        killed_at(folder.path(), LARGE, 500_000, 200_000);
        let [kept, findings, xml] =
            ["c", "c.findings", "a.xml"].map(|name| fs::read(path(name)).expect("a file"));
        let refused = |part: &str| {
            let ran = run_in(folder.path(), "resume c");
            assert_eq!((ran.code, ran.stdout.as_str()), (Some(4), ""));
            let what = &ran.stderr;
            assert!(
                what.contains("c.findings") && what.contains(part),
                "{part}: {what}"
            );
            let left = ["c", "a.xml"].map(|name| fs::read(path(name)).expect("a file"));
            assert!(
                [&kept, &xml].into_iter().eq(&left),
                "{part}: it was touched"
            );
        };
        fs::remove_file(path("c.findings")).expect("removed");
        refused("it is not there; put it back");
        fs::write(path("c.findings"), &findings[..findings.len() / 8]).expect("written");
        refused("when the checkpoint was written; put it back");
        let mut other = findings.clone();
        other[100] ^= 1;
        fs::write(path("c.findings"), other).expect("written");
        refused("begins differently");
        fs::remove_file(path("c.findings")).expect("removed");
        symlink("elsewhere", path("c.findings")).expect("a link");
        refused("is a symbolic link");
        fs::remove_file(path("c.findings")).expect("removed");

        // Both go to another folder, and the report stays where it is.
        let other = tempfile::tempdir().expect("a scratch folder");
        fs::write(other.path().join("c.findings"), &findings).expect("written");
        fs::write(other.path().join("c"), &kept).expect("written");
        let ran = run_in(other.path(), "resume c");
        assert_eq!(ran.code, Some(0), "{}", ran.stderr);
        check_large(folder.path(), "moved");
        assert!(!other.path().join("c.findings").exists());
    });
}

#[test]
fn what_has_the_name_of_a_file_of_ours_is_left_alone() {
    check_left_alone("c.new", "is no checkpoint", "{\"format\":\"portreeve-check");
    check_left_alone("c.findings", "is no file of findings", "portreeve-find");
}

/// Nothing is done to others' files of this `name`; what a killed scan has `left` goes away.
fn check_left_alone(name: &str, others: &str, left: &str) {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let next = folder.path().join(name);
    let scan = "127.0.0.1 -p 1 --checkpoint c -q -oX a.xml";
    let start = || run_in(folder.path(), scan);
    let make_pipe = |path: &Path| {
        assert!(
            Command::new("mkfifo")
                .arg(path)
                .status()
                .expect("it runs")
                .success()
        )
    };
    type Make<'a> = &'a dyn Fn(&Path);
    let makers: [(Make, &str); 4] = [
        (&|path| fs::write(path, "mine\n").expect("written"), others),
        (
            &|path| symlink("elsewhere", path).expect("a link"),
            "is a symbolic link",
        ),
        (&|path| fs::create_dir(path).expect("made"), "in the way"),
        (&make_pipe, "is no regular file"),
    ];
    for (make, part) in makers {
        make(&next);
        let Ran { code, stderr, .. } = start();
        assert!(
            code == Some(4)
                && stderr.contains(&format!("{name} is in the way"))
                && stderr.contains(part),
            "{part:?} is missing in {stderr}"
        );
        assert!(
            next.symlink_metadata().is_ok() && !folder.path().join("elsewhere").exists(),
            "{part}: it was touched"
        );
        assert!(!folder.path().join("c").exists(), "{part}");
        if next.is_dir() {
            fs::remove_dir(&next)
        } else {
            fs::remove_file(&next)
        }
        .expect("ours");
    }
    // What a killed scan has left behind.
    fs::write(&next, left).expect("written");
    assert_eq!(start().code, Some(0));
    assert!(!next.exists());
}

#[test]
fn a_checkpoint_that_cannot_be_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    fs::write(folder.path().join("notes"), "mine\n").expect("written");
    std::os::unix::fs::symlink("/dev/zero", folder.path().join("endless")).expect("a link");
    for (arguments, code, part) in [
        (
            "127.0.0.1 -p 1 --checkpoint endless",
            2,
            "is no regular file",
        ),
        (
            "127.0.0.1 -p 1 --checkpoint c -oJ c",
            2,
            "c is in use already",
        ),
        (
            "127.0.0.1 -p 1 --checkpoint c -oJ c.new",
            2,
            "c.new is in use already",
        ),
        (
            "127.0.0.1 -p 1 --checkpoint c --stats ./c",
            2,
            "c is in use already",
        ),
        ("127.0.0.1 -p 1 --checkpoint notes", 2, "is no checkpoint"),
        (
            "127.0.0.1 -p 1 --checkpoint nowhere/c",
            4,
            "nowhere/c cannot be written",
        ),
        ("-iL - -p 1 --checkpoint c", 2, "cannot be read again"),
        ("127.0.0.1 -p 1 --checkpoint c --dry-run", 2, "--dry-run"),
        ("resume nothing", 2, "nothing cannot be resumed"),
    ] {
        let ran = run_in(folder.path(), arguments);
        ran.check_refusal(arguments, code, part);
    }
    assert_eq!(
        fs::read_to_string(folder.path().join("notes")).expect("a file"),
        "mine\n"
    );
    assert_eq!(
        fs::read_dir(folder.path()).expect("a folder").count(),
        2,
        "something was left behind"
    );
}
