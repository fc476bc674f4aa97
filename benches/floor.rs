//! What a scan costs beside the least that the kernel can do for the same connections, beside other
//! scanners, and as the plan grows. Everything happens in a network namespace of its own.
//!
//!     cargo bench --bench floor                       closed, silent, start, peers
//!     cargo bench --bench floor -- growth enumerate   ten million endpoints, 10^9 indices: longer
//!
//! All numbers of one line come from interleaved rounds of one run, so their ratios mean something
//! on a noisy machine; the numbers alone mean little. CPU is user + system of the whole process,
//! start and end included.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{Command, Stdio};
use std::time::Instant;

use portreeve::plan::{Order, Plan, PortSet, Target};
use simulator::namespace;
use simulator::tun::TunNetwork;
use socket2::{Domain, Socket, Type};

const PORTREEVE: &str = env!("CARGO_BIN_EXE_portreeve");
const ALL_PORTS: u32 = 65_535;

fn main() {
    // `cargo test --benches` only wants to see that it starts.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with("--"))
        .collect();
    let tiny = std::env::args().any(|word| word == "--test");
    namespace::enter().expect("a network namespace, which needs root or user namespaces");
    portreeve::engine::raise_descriptor_limit().expect("a limit");
    let wanted = |name: &str, by_default: bool| {
        words.iter().any(|word| word == name) || (by_default && words.is_empty())
    };
    let rounds = if tiny { 1 } else { 7 };
    if wanted("closed", true) {
        closed(rounds);
    }
    if wanted("start", true) {
        start(if tiny { 3 } else { 200 });
    }
    if wanted("peers", !tiny) {
        peers(rounds.min(3));
    }
    if wanted("silent", !tiny) {
        silent(rounds.min(3));
    }
    if wanted("growth", false) {
        growth();
    }
    if wanted("enumerate", false) {
        enumerate();
    }
}

/// User and system time of this process or of its children that have ended, in seconds.
fn cpu_s(who: i32) -> (f64, f64) {
    // SAFETY: rusage is plain data, and getrusage fills it.
    let usage = unsafe {
        let mut usage: libc::rusage = std::mem::zeroed();
        libc::getrusage(who, &mut usage);
        usage
    };
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    (seconds(usage.ru_utime), seconds(usage.ru_stime))
}

/// What one run took.
#[derive(Clone, Copy)]
struct Cost {
    wall_s: f64,
    user_s: f64,
    system_s: f64,
    peak_kib: i64,
}

impl Cost {
    fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

fn measured(who: i32, run: impl FnOnce() -> i64) -> Cost {
    let wall = Instant::now();
    let (user, system) = cpu_s(who);
    let peak_kib = run();
    let (user_after, system_after) = cpu_s(who);
    Cost {
        wall_s: wall.elapsed().as_secs_f64(),
        user_s: user_after - user,
        system_s: system_after - system,
        peak_kib,
    }
}

/// Runs a command to its end, quietly.
#[allow(clippy::zombie_processes)] // wait4 waits for it, and tells what it used
fn command(program: &str, arguments: &str) -> Cost {
    measured(libc::RUSAGE_CHILDREN, || {
        let mut command = Command::new(program);
        command
            .args(arguments.split_whitespace())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let child = command.spawn().expect("the command runs");
        let mut status = 0;
        // SAFETY: rusage is plain data, wait4 fills it, and the child is ours and not yet waited
        // for.
        unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            assert!(libc::wait4(child.id() as i32, &mut status, 0, &mut usage) > 0);
            usage.ru_maxrss
        }
    })
}

/// The run with the median CPU time, and the smallest and largest of them.
fn median(mut costs: Vec<Cost>) -> (Cost, f64, f64) {
    costs.sort_by(|a, b| a.cpu_s().total_cmp(&b.cpu_s()));
    (
        costs[costs.len() / 2],
        costs[0].cpu_s(),
        costs[costs.len() - 1].cpu_s(),
    )
}

fn line(name: &str, costs: Vec<Cost>, floor_s: f64) {
    let (cost, least, most) = median(costs);
    println!(
        "  {name:34} CPU {:7.4} s ({least:.4}-{most:.4}), {:4.2} x the first; wall {:6.3} s; user {:4.1} %; peak {:5.1} MiB",
        cost.cpu_s(),
        cost.cpu_s() / floor_s,
        cost.wall_s,
        cost.user_s * 100.0 / cost.cpu_s().max(1e-9),
        cost.peak_kib as f64 / 1024.0,
    );
}

/// Interleaved rounds of several ways to do the same.
fn compare(title: &str, rounds: usize, ways: &[(&str, &dyn Fn() -> Cost)]) {
    println!("{title}, {rounds} interleaved rounds, medians:");
    let mut costs = vec![Vec::new(); ways.len()];
    for _ in 0..rounds {
        for (way, costs) in ways.iter().zip(&mut costs) {
            costs.push(way.1());
        }
    }
    let floor_s = median(costs[0].clone()).0.cpu_s();
    for ((name, _), costs) in ways.iter().zip(costs) {
        line(name, costs, floor_s);
    }
}

/// Blocking connects on one kept socket, one after the other: what the kernel alone needs.
fn blocking_connects() -> i64 {
    let fresh = || Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    let mut socket = fresh();
    for port in 1..=ALL_PORTS {
        // Connected on a machine without listeners: it met itself, and every further connect would
        // fail at once.
        if socket
            .connect(&SocketAddr::from((Ipv4Addr::LOCALHOST, port as u16)).into())
            .is_ok()
        {
            socket = fresh();
        }
    }
    0
}

fn closed(rounds: usize) {
    compare(
        "65,535 closed ports of loopback",
        rounds,
        &[
            ("blocking connects, one socket", &|| {
                measured(libc::RUSAGE_SELF, blocking_connects)
            }),
            ("portreeve", &|| command(PORTREEVE, "127.0.0.1 -p- -q")),
            ("portreeve --fresh-sockets", &|| {
                command(PORTREEVE, "127.0.0.1 -p- -q --fresh-sockets")
            }),
        ],
    );
}

/// Connect and disconnect on kept sockets, `at_once` in flight, until every port had one attempt.
fn connects_and_disconnects(at_once: u32) -> i64 {
    let sockets: Vec<Socket> = (0..at_once)
        .map(|_| Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None).expect("a socket"))
        .collect();
    let nobody = libc::sockaddr {
        sa_family: libc::AF_UNSPEC as u16,
        sa_data: [0; 14],
    };
    let mut ports = 1..=ALL_PORTS;
    while !ports.is_empty() {
        for (socket, port) in sockets.iter().zip(ports.by_ref()) {
            let begun =
                socket.connect(&SocketAddr::from((Ipv4Addr::new(10, 9, 1, 2), port as u16)).into());
            assert_eq!(
                begun.map_err(|error| error.raw_os_error()),
                Err(Some(libc::EINPROGRESS))
            );
        }
        for socket in &sockets {
            use std::os::fd::AsRawFd;
            // SAFETY: the pointer and the length describe `nobody`.
            unsafe {
                libc::connect(
                    socket.as_raw_fd(),
                    &nobody,
                    size_of::<libc::sockaddr>() as u32,
                )
            };
        }
    }
    0
}

fn silent(rounds: usize) {
    TunNetwork::silent();
    const AT_ONCE: u32 = 19_000;
    let arguments = format!("10.9.1.2 -p- -q --timeout 900ms --max-retries 0 --max-fds {AT_ONCE}");
    compare(
        "65,535 silent ports, 19,000 in flight",
        rounds,
        &[
            ("connect, disconnect, kept sockets", &|| {
                measured(libc::RUSAGE_SELF, || connects_and_disconnects(AT_ONCE))
            }),
            ("portreeve", &|| command(PORTREEVE, &arguments)),
            ("portreeve --fresh-sockets", &|| {
                command(PORTREEVE, &format!("{arguments} --fresh-sockets"))
            }),
        ],
    );
}

fn start(rounds: usize) {
    compare(
        "one closed port",
        rounds,
        &[("portreeve", &|| command(PORTREEVE, "127.0.0.1 -p 1 -q"))],
    );
}

/// Other scanners at the same work, where they are installed.
fn peers(rounds: usize) {
    let has = |program: &str| {
        Command::new(program)
            .arg("--version")
            .stdout(Stdio::null())
            .status()
            .is_ok()
    };
    let portreeve = || command(PORTREEVE, "127.0.0.1 -p- -q");
    let nmap = || command("nmap", "-n -Pn -sT -p- -T4 127.0.0.1");
    let rustscan = || {
        command(
            "rustscan",
            "-a 127.0.0.1 -r 1-65535 --no-banner -g --ulimit 10000",
        )
    };
    let mut ways: Vec<(&str, &dyn Fn() -> Cost)> = vec![("portreeve", &portreeve)];
    for (name, way) in [
        ("nmap", &nmap as &dyn Fn() -> Cost),
        ("rustscan", &rustscan),
    ] {
        match has(name) {
            true => ways.push((name, way)),
            false => println!("  {name} is not installed"),
        }
    }
    compare(
        "65,535 closed ports of loopback, by other scanners",
        rounds,
        &ways,
    );
}

/// Endpoints per second of CPU as the plan grows: loopback has room for ten million.
fn growth() {
    println!("closed endpoints of 127.0.0.0/8, CPU per probe as the plan grows:");
    for (targets, count) in [
        ("127.0.0.0/30", 1_000u64),
        ("127.0.0.0/24", 64_000),
        ("127.0.0.0/20", 1_024_000),
        ("127.0.0.0/16", 10_027_008),
    ] {
        let addresses = 1u64
            << (32
                - targets[targets.len() - 2..]
                    .parse::<u32>()
                    .expect("a prefix"));
        let arguments = format!("{targets} -p 1-{} -q", count / addresses);
        let rounds = (200_000 / count).max(1);
        let cost = measured(libc::RUSAGE_CHILDREN, || {
            (0..rounds)
                .map(|_| command(PORTREEVE, &arguments).peak_kib)
                .max()
                .unwrap_or(0)
        });
        let probes = (count / addresses * addresses * rounds) as f64;
        let cpu_us = cost.cpu_s() * 1e6 / probes;
        let per_s = probes / cost.wall_s;
        println!(
            "  {count:>10} endpoints: {cpu_us:5.2} us CPU a probe, {per_s:7.0} probes/s, peak {:4.1} MiB",
            cost.peak_kib as f64 / 1024.0
        );
    }
}

/// A plan that is only walked, in random order, nothing sent.
fn enumerate() {
    let plan = Plan::builder()
        .target(Target::parse("10.0.0.0/16").expect("a block"))
        .ports((1..=15_259).collect::<PortSet>());
    let no_names = &mut |_: &str| -> io::Result<_> { unreachable!("no names are in it") };
    let plan = plan
        .order(Order::Random { seed: 1 })
        .build(no_names)
        .expect("a plan");
    let cost = measured(libc::RUSAGE_SELF, || {
        let sum = plan.endpoints().fold(0u64, |sum, endpoint| {
            sum.wrapping_add(u64::from(endpoint.port()))
        });
        println!("(ports sum up to {sum})");
        0
    });
    println!(
        "{} endpoints enumerated in {:.1} s of CPU, {:.1} ns each",
        plan.len(),
        cost.cpu_s(),
        cost.cpu_s() * 1e9 / plan.len() as f64
    );
}
