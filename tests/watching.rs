//! Watching a scan from outside, as a user does: `--stats` and `--metrics`, with readers that are
//! slow, hostile or gone.

mod support;

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::os::fd::OwnedFd;
use std::process::{Child, Command, Stdio};

use serde_json::json;
use simulator::namespace::in_namespace;
use simulator::tun::{Reply, TunNetwork};
use support::command::{Ran, json_lines, portreeve, run, signal, wait};

/// Begins a scan that gets no answer, and says where its metrics are.
fn silent_scan() -> (Child, String) {
    let mut child = portreeve("10.9.1.2 -p 1-100 --timeout 60 --metrics 0")
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("it runs");
    let mut line = String::new();
    BufReader::new(child.stderr.take().expect("piped"))
        .read_line(&mut line)
        .expect("a line");
    let address = line
        .trim()
        .strip_prefix("metrics at http://")
        .and_then(|rest| rest.strip_suffix("/metrics"));
    let address = address.unwrap_or_else(|| panic!("{line}")).to_owned();
    (child, address)
}

/// What comes for this request.
fn asked(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("somebody listens");
    stream.write_all(request.as_bytes()).expect("it is taken");
    let mut response = String::new();
    stream.read_to_string(&mut response).expect("UTF-8");
    response
}

const GET: &str = "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn metrics_are_served_whoever_else_is_there() {
    in_namespace("metrics_are_served_whoever_else_is_there", || {
        let _network = TunNetwork::start(|_, _| Reply::Silence);
        let (mut child, address) = silent_scan();
        // Those that say nothing, or half a request, stay until they are too old, or too many.
        let quiet: Vec<TcpStream> = (0..20)
            .map(|_| TcpStream::connect(&*address).expect("somebody listens"))
            .collect();
        for mut stream in &quiet {
            let _ = stream.write_all(b"GET /metrics HTTP/1.1\r\nHost:");
        }
        for request in ["\u{1}\u{2}\u{3}\r\n\r\n", "GET /metrics HTTP/9.9\r\n\r\n"] {
            assert!(
                asked(&address, request).starts_with("HTTP/1.1 400 "),
                "{request:?}"
            );
        }
        // Somebody who sends without end is answered and cut off.
        let mut endless = TcpStream::connect(&*address).expect("somebody listens");
        let refused = (0..1_000).any(|_| endless.write_all(&[b'a'; 65_536]).is_err());
        assert!(refused, "64 MiB were taken");
        // On a busy machine all of that may be over before the last attempt has begun.
        let mut pages = (0..1_000).map(|_| asked(&address, GET));
        let page = pages
            .find(|page| page.contains("\nportreeve_sockets_in_flight 100\n"))
            .expect("all of them in flight");
        assert!(page.starts_with("HTTP/1.1 200 OK\r\n"), "{page}");
        assert!(
            page.contains("\nportreeve_planned_endpoints 100\n"),
            "{page}"
        );
        check_with_promtool(page.split("\r\n\r\n").nth(1).expect("a body"));
        signal(&child, libc::SIGINT);
        assert_eq!(wait(&mut child), Some(130));
        assert!(
            TcpStream::connect(&*address).is_err(),
            "it is served while the scan runs"
        );
    });
}

/// Prometheus's own opinion.
fn check_with_promtool(page: &str) {
    let Ok(mut promtool) = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
    else {
        assert!(
            std::env::var_os("PORTREEVE_MUST_NOT_SKIP").is_none(),
            "promtool is not installed"
        );
        let _ = writeln!(
            std::io::stderr(),
            "\n*** NOT CHECKED with promtool, which is not installed ***\n"
        );
        return;
    };
    promtool
        .stdin
        .take()
        .expect("piped")
        .write_all(page.as_bytes())
        .expect("it reads");
    let output = promtool.wait_with_output().expect("it ends");
    assert!(
        output.status.success(),
        "{}{page}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn metrics_that_cannot_be_served_are_said_before_the_scan() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let address = taken.local_addr().expect("an address");
    let Ran { code, stderr, .. } = run(portreeve(&format!("127.0.0.1 -p 1 --metrics {address}")));
    assert!(
        code == Some(4) && stderr.contains(&format!("metrics cannot be served at {address}")),
        "{code:?} {stderr}"
    );
    let Ran { code, stderr, .. } = run(portreeve("127.0.0.1 -p 1 --metrics here:9100"));
    assert!(
        code == Some(2) && stderr.contains("here:9100") && stderr.contains("write 9100"),
        "{code:?} {stderr}"
    );
}

#[test]
fn a_scan_does_not_find_its_own_metrics() {
    in_namespace("a_scan_does_not_find_its_own_metrics", || {
        for (at, own) in [
            ("9100", &["0.0.0.0", "127.0.0.1"][..]),
            ("127.0.0.2:9100", &["127.0.0.2"]),
            ("0.0.0.0:9100", &["0.0.0.0", "127.0.0.1", "127.0.0.2"]),
            ("[::]:9100", &["0.0.0.0", "127.0.0.1", "127.0.0.2", "::1"]),
            ("[::1]:9100", &["::1"]),
        ] {
            let scan = "0.0.0.0 127.0.0.1-2 ::1 -p 9100,9101 --sequential --show all --json";
            let ran = run(portreeve(&format!("{scan} --metrics {at}")));
            let lines = json_lines(&ran.stdout);
            let of_reason = |reason| {
                let found = lines.iter().filter(move |line| line["reason"] == reason);
                found.map(|line| (line["ip"].as_str().unwrap_or(""), &line["port"]))
            };
            let port = json!(9100);
            let left_out: Vec<_> = of_reason("own-listener").collect();
            let expected: Vec<_> = own.iter().map(|ip| (*ip, &port)).collect();
            assert_eq!(left_out, expected, "{at}");
            assert_eq!(of_reason("conn-refused").count(), 8 - own.len(), "{at}");
            assert_eq!(ran.code, Some(0), "{at}: {}", ran.stderr);
        }
    });
}

#[test]
fn stats_add_up_in_each_line() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let path = folder.path().join("stats.jsonl");
    for to in [path.display().to_string(), "3".into()] {
        let shell = format!(
            "exec '{}' 127.0.0.1 -p 1-2000 -q --stats {to} 3>'{}'",
            env!("CARGO_BIN_EXE_portreeve"),
            path.display()
        );
        assert!(
            Command::new("sh")
                .args(["-c", &shell])
                .status()
                .expect("it runs")
                .success(),
            "{shell}"
        );
        let lines = json_lines(&std::fs::read_to_string(&path).expect("the file"));
        assert!(lines.len() >= 2, "{lines:?}");
        for line in &lines {
            let number = |name: &str| {
                line[name]
                    .as_u64()
                    .unwrap_or_else(|| panic!("no {name} in {line}"))
            };
            assert_eq!(
                number("settled"),
                number("open") + number("closed") + number("filtered") + number("unscanned"),
                "{line}"
            );
        }
        let last = lines.last().expect("a line");
        assert_eq!(
            (&last["type"], &last["is_last"], &last["settled"]),
            (&"stats".into(), &true.into(), &2_000.into()),
            "{last}"
        );
    }
}

#[test]
fn a_full_pipe_does_not_hold_the_scan_up() {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let size = fill(&mut writer);
    let mut command = portreeve("127.0.0.1 -p 1-100 -q --stats 1");
    let ended = command.stdout(Stdio::from(OwnedFd::from(writer))).status();
    assert!(ended.expect("it ends").success());
    drop(command);
    let mut text = Vec::new();
    reader.read_to_end(&mut text).expect("what is in it");
    assert_eq!(text.len(), size, "no part of a line is in it");
}

/// Fills a pipe to its last page; returns how many bytes that took.
fn fill(writer: &mut std::io::PipeWriter) -> usize {
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    let path = format!("/dev/fd/{}", writer.as_raw_fd());
    let mut unblocked = File::options()
        .append(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)
        .expect("the pipe");
    std::iter::from_fn(|| unblocked.write(&[b'x'; 4_096]).ok()).sum()
}

#[test]
fn a_reader_that_has_gone_is_not_missed() {
    let Ran { code, stdout, .. } = run({
        let mut shell = Command::new("sh");
        // `true` reads nothing and goes; the report still comes.
        shell.args([
            "-c",
            &format!(
                "{{ '{}' 127.0.0.1 -p 1-2000 --stats 3 3>&1 >&4 | true; }} 4>&1",
                env!("CARGO_BIN_EXE_portreeve")
            ),
        ]);
        shell
    });
    assert!(
        code == Some(0) && stdout.contains("2,000 planned"),
        "{code:?} {stdout}"
    );
}

#[test]
fn stats_never_go_where_another_report_goes() {
    let folder = tempfile::tempdir().expect("a scratch folder");
    let report = folder.path().join("report.json").display().to_string();
    // The first number that the program itself would open something at.
    for arguments in [
        format!("127.0.0.1 -p 1 --stats 3 -oJ {report}"),
        format!("127.0.0.1 -p 1 --stats 4294967296 -oJ {report}"),
    ] {
        let Ran { code, stderr, .. } = run(portreeve(&arguments));
        assert!(
            code == Some(4) && stderr.contains("it is not open; open it in the shell"),
            "{arguments}: {code:?} {stderr}"
        );
    }
    let Ran { code, stderr, .. } = run(portreeve(&format!(
        "127.0.0.1 -p 1 --stats {report} -oJ {report}"
    )));
    assert!(
        code == Some(2) && stderr.contains("a file of its own"),
        "{code:?} {stderr}"
    );
}
