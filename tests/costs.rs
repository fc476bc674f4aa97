//! What a scan may cost, in system calls and in memory: counted, not timed.

mod support;

use std::io::{BufRead, BufReader, Read, Seek, Write};
use std::net::Ipv4Addr;
use std::process::{Child, Command, Stdio};

use simulator::namespace::{in_namespace, skip};
use simulator::tun::{Reply, TunNetwork};
use support::command::{end_record, portreeve, ran, signal, wait};

/// All system calls of a run, from `strace -c`, and what it printed.
fn counted(arguments: &str) -> (f64, String) {
    let counts = tempfile::NamedTempFile::new().expect("a file");
    let mut strace = Command::new("strace");
    strace
        .args(["-f", "-c", "-o"])
        .arg(counts.path())
        .arg(env!("CARGO_BIN_EXE_portreeve"))
        .args(arguments.split_whitespace());
    let output = strace
        .output()
        .unwrap_or_else(|error| skip(&format!("strace cannot be run: {error}")));
    let output = ran(output);
    let table = std::fs::read_to_string(counts.path()).expect("strace's table");
    let total = table
        .lines()
        .rev()
        .find(|line| line.ends_with("total"))
        .unwrap_or_else(|| skip(&format!("strace counted nothing: {}", output.stderr)));
    // `% time, seconds, usecs/call, calls, errors, total`; some versions leave the third out.
    let numbers: Vec<f64> = total
        .split_whitespace()
        .filter_map(|word| word.parse().ok())
        .collect();
    let calls = numbers
        .iter()
        .rev()
        .nth(1)
        .copied()
        .expect("a number of calls");
    (calls, output.stdout)
}

#[test]
fn three_system_calls_a_refused_port_and_two_a_silent_attempt() {
    in_namespace(
        "three_system_calls_a_refused_port_and_two_a_silent_attempt",
        || {
            let _network = TunNetwork::start(|to, _| {
                if to.to_string().ends_with(".2") {
                    Reply::Refuse
                } else {
                    Reply::Silence
                }
            });
            let check = |arguments: &str, at_most: f64| {
                let (calls, stdout) = counted(arguments);
                let end = end_record(&stdout);
                // Hardly more than one attempt each: a few go to ports that have answered, to see
                // what the rate does.
                let attempts = end["attempts"].as_f64().expect("a number");
                assert!(
                    (65_535.0..70_000.0).contains(&attempts),
                    "{arguments}: {end}"
                );
                let each = calls / attempts;
                assert!(
                    each <= at_most,
                    "{arguments}: {each:.3} system calls an attempt, {at_most} are allowed"
                );
            };
            check("127.0.0.1 -p- --json", 3.1);
            // How many answers one wait brings depends on what else the machine does.
            check(
                "10.9.1.2 -p- --json --max-rate none --max-retries 0 --timeout 60 --max-fds 100",
                3.5,
            );
            // On 400 sockets: what it costs to open these is 1 % of it. With fewer attempts a
            // socket the four calls of opening and closing one weigh more.
            check(
                "10.9.1.3 -p- --json --max-rate none --max-retries 0 --timeout 10ms --max-fds 400",
                2.1,
            );
        },
    );
}

/// The peak of a child's resident memory so far, in KiB.
fn peak_kib(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// 6.75 MiB. Unoptimized code is several times as large, and nearly all of a program's code is
/// resident.
const AT_MOST_KIB: u64 = 6_912;

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it is about the release build: cargo test --release --test costs"
)]
fn a_few_megabytes_hold_any_scan() {
    in_namespace("a_few_megabytes_hold_any_scan", || {
        TunNetwork::silent();
        stays_small(
            "10.9.1.2 -p- --json --max-rate none --max-fds 19000",
            Some(19_000),
        );
        stays_small(
            "10.9.1.2 -p- --json --max-rate none --max-fds 19000 --max-retries 0 --timeout 2s",
            Some(19_000),
        );
        stays_small("127.0.0.0/8 --json", None);
    });
}

/// Long lists are kept as ranges, and what many targets share is kept once.
#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "it is about the release build: cargo test --release --test costs"
)]
fn long_lists_take_what_they_need() {
    let write = |count: u32, line: &dyn Fn(u32) -> String| {
        let mut file = tempfile::NamedTempFile::new().expect("a file");
        (0..count).for_each(|n| writeln!(file, "{}", line(n)).expect("written"));
        file
    };
    let odd = |n: u32| Ipv4Addr::from_bits((10 << 24) + 2 * n + 1);
    let addresses = write(1_000_000, &|n| odd(n).to_string());
    let ranges = write(1_000_000, &|n| format!("{0}-{0}", odd(n)));
    let urls = write(60_000, &|n| format!("http://{}:{}/", odd(n), n + 1));
    for (arguments, list, at_most_kib) in [
        ("-p 80 -iL", &addresses, 40_000),
        ("-p 80 10.0.0.0/8 --exclude-file", &addresses, 40_000),
        ("-p 80 10.0.0.0/8 --exclude-file", &ranges, 40_000),
        // Each has a thousand ports, and one of its own.
        ("10.0.0.0/8 -iL", &urls, 80_000),
    ] {
        let scan = format!("--seed 1 --dry-run {arguments} {}", list.path().display());
        let mut child = portreeve(&format!("{scan} -v"));
        let mut child = child.stdout(Stdio::piped()).spawn().expect("it runs");
        let mut begun = BufReader::new(child.stdout.take().expect("a pipe"));
        begun.read_line(&mut String::new()).expect("the plan");
        let peak = peak_kib(&child).expect("it waits to be read");
        signal(&child, libc::SIGKILL);
        child.wait().expect("it ends");
        assert!(peak <= at_most_kib, "{arguments}: {peak} KiB");
    }
}

/// Runs to the end, or as long as 100,000 probes take, and watches.
fn stays_small(arguments: &str, peak_in_flight: Option<u64>) {
    let mut out = tempfile::tempfile().expect("a file");
    let mut child = portreeve(arguments)
        .stdout(out.try_clone().expect("a descriptor"))
        .spawn()
        .expect("it runs");
    let mut peak = 0;
    let mut looks = 0;
    // A process that has ended shows no memory any more.
    while let Some(kib) = peak_kib(&child) {
        peak = peak.max(kib);
        looks += 1;
        if peak_in_flight.is_none() && looks == 300 {
            signal(&child, libc::SIGINT);
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    wait(&mut child);
    let mut text = String::new();
    out.rewind()
        .and_then(|()| out.read_to_string(&mut text))
        .expect("the records");
    let end = end_record(&text);
    assert!(
        peak_in_flight.is_none_or(|peak| end["peak_in_flight"] == peak),
        "{end}"
    );
    assert!(end["attempts"].as_u64() > Some(30_000), "{end}");
    assert!(peak > 0 && peak <= AT_MOST_KIB, "{arguments}: {peak} KiB");
}
