//! Whole scans of simulated networks, in real time and with real sockets: portreeve beside the
//! scanners that are installed. Each run has a network namespace of its own, with a TUN device and
//! a simulated network behind it (`tests/simulator`). After `cargo bench --bench town`:
//!
//!                          the five networks that scanners are compared on
//!     -- all               all of them
//!     -- "very narrow" 7   one, with another seed
//!     -- "drawn narrow" 7  one of those drawn at random
//!     -- kernels           the networks of real kernels of `tests/simulator/src/lan.rs`
//!     -- kernels ban       one of them
//!     -- lossy 1 run nmap -n -Pn -sT -p1-1000 10.9.1.0/28
//!
//! The last form runs any command in the network, to try things by hand; `run sh` gives a shell.
//! Times are wall time, start and end of the process included; how far to trust them depends on
//! what else the machine does.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::process::{Command, ExitCode, Stdio};
use std::time::Instant;

use portreeve::plan::{Plan, PortSet, Target};
use serde_json::Value;

use simulator::drawn::{KINDS, drawn};
use simulator::lan;
use simulator::namespace;
use simulator::network::{SimNetwork, Truth};
use simulator::scenario::{self, COMPARED, OTHERS, REMEMBERING, Scenario};
use simulator::tun::TunNetwork;

const PORTREEVE: &str = env!("CARGO_BIN_EXE_portreeve");
/// A scanner that takes longer is ended.
const LONGEST_S: &str = "300";

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| word != "--bench")
        .collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let all = || COMPARED.iter().chain(&OTHERS).chain(&REMEMBERING);
    match words[..] {
        // `cargo test --benches` only wants to see that it starts.
        ["--test"] => {}
        [] => COMPARED
            .iter()
            .for_each(|scenario| compare(scenario.name, "1")),
        ["all"] => all().for_each(|scenario| compare(scenario.name, "1")),
        ["one", name, seed, tool] => one(
            &named(name, number(seed)).expect("a network"),
            number(seed),
            tool,
        ),
        ["kernels"] => lan::NAMES.iter().for_each(|name| compare_kernels(name)),
        ["kernels", name] => compare_kernels(name),
        ["kernels", name, tool] => one_of_kernels(name, tool),
        [name, ref rest @ ..] => {
            let seed = rest.first().copied().unwrap_or("1");
            let Some(scenario) = named(name, number(seed)) else {
                let names: Vec<&str> = all().map(|scenario| scenario.name).collect();
                let kinds = KINDS.map(|kind| kind.0).join(", ");
                eprintln!(
                    "there is no network {name:?}; there are: {}; and \"drawn KIND\", of the kinds {kinds}",
                    names.join(", ")
                );
                return ExitCode::FAILURE;
            };
            match rest {
                [_, "run", command @ ..] if !command.is_empty() => {
                    by_hand(&scenario, number(seed), command)
                }
                _ => compare(name, seed),
            }
        }
    }
    ExitCode::SUCCESS
}

fn number(seed: &str) -> u64 {
    seed.parse().expect("a seed is a number")
}

/// The town of this name, or the network of a kind that the seed draws.
fn named(name: &str, seed: u64) -> Option<Scenario> {
    match name.strip_prefix("drawn ") {
        Some(name) => KINDS
            .iter()
            .find(|kind| kind.0 == name)
            .map(|kind| drawn(kind, seed)),
        None => scenario::named(name).copied(),
    }
}

/// Each tool in a process of its own: the network ends with it.
fn compare(name: &str, seed: &str) {
    let scenario = named(name, number(seed)).expect("a network");
    println!(
        "{name}: {} ports 1-{}, ideal {:.2} s",
        scenario.targets, scenario.ports, scenario.ideal_s
    );
    each_tool(&["one", name, seed]);
}

fn compare_kernels(name: &str) {
    println!("{name}:");
    each_tool(&["kernels", name]);
}

fn each_tool(words: &[&str]) {
    for tool in ["portreeve", "nmap", "rustscan"] {
        let here = std::env::current_exe().expect("this program's file");
        let status = Command::new(here)
            .args(words)
            .arg(tool)
            .status()
            .expect("it runs");
        assert!(status.success(), "{tool}: {words:?}");
    }
}

fn start(scenario: &Scenario, seed: u64) -> (SimNetwork, TunNetwork) {
    namespace::enter().expect("a network namespace, which needs root or user namespaces");
    let simulated = SimNetwork::new(*scenario, seed);
    let network = TunNetwork::simulated(simulated.clone());
    (simulated, network)
}

fn by_hand(scenario: &Scenario, seed: u64, command: &[&str]) {
    let (_, network) = start(scenario, seed);
    let status = Command::new(command[0]).args(&command[1..]).status();
    println!(
        "{status:?}; {} SYNs came, {} of them the kernel's repetitions",
        network.syns(),
        network.repeated_syns()
    );
}

/// What a scanner told, and how long it took.
struct Told {
    took_s: f64,
    text: String,
    found: HashSet<SocketAddr>,
    code: Option<i32>,
}

/// Runs it to its end, if it is installed and does not take too long.
fn told(tool: &str, targets: &str, ports: &str) -> Option<Told> {
    let arguments = match tool {
        "portreeve" => {
            format!("{PORTREEVE} {targets} -p {ports} --max-rate none --json --show open")
        }
        "nmap" => format!(
            "nmap -n -Pn -sT -T4 -p {ports} {targets} -oG - {}",
            if targets.contains(':') { "-6" } else { "" }
        ),
        _ => {
            let list = if ports.contains('-') { "-r" } else { "-p" };
            format!("rustscan -a {targets} {list} {ports} -g --no-banner")
        }
    };
    let began = Instant::now();
    let output = Command::new("timeout")
        .arg(LONGEST_S)
        .args(arguments.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .expect("timeout(1)");
    let took_s = began.elapsed().as_secs_f64();
    let code = output.status.code();
    if matches!(code, Some(124 | 126 | 127)) {
        println!("  {tool:10} is not installed, or took longer than {LONGEST_S} s");
        return None;
    }
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let found = match tool {
        "portreeve" => text.lines().filter_map(of_portreeve).collect(),
        "nmap" => text.lines().flat_map(of_nmap).collect(),
        _ => text.lines().flat_map(of_rustscan).collect(),
    };
    Some(Told {
        took_s,
        text,
        found,
        code,
    })
}

fn one_of_kernels(name: &str, tool: &str) {
    namespace::enter().expect("a network namespace, which needs root or user namespaces");
    let Some(network) = lan::network(name).expect("nftables and veth devices") else {
        panic!("there is no network {name:?}; there are: {:?}", lan::NAMES);
    };
    let Some(told) = told(tool, network.targets, network.ports) else {
        return;
    };
    let hit = told.found.intersection(&network.open).count();
    let end = told.text.lines().rev().find_map(|line| {
        let record: Value = serde_json::from_str(line).ok()?;
        (record["type"] == "end").then_some(record)
    });
    let said = end.map_or(String::new(), |end| {
        format!(
            "; at most {} missed, {} unscanned, {} attempts by its report",
            end["missed_at_most"], end["unscanned"], end["attempts"]
        )
    });
    println!(
        "  {tool:10} {:7.2} s; {hit} of {}, invented {}; exit code {}{said}",
        told.took_s,
        network.open.len(),
        told.found.len() - hit,
        told.code.unwrap_or(-1),
    );
}

fn one(scenario: &Scenario, seed: u64, tool: &str) {
    let targets = scenario.targets;
    let (simulated, network) = start(scenario, seed);
    let Some(Told {
        took_s,
        text,
        found,
        ..
    }) = told(tool, targets, &format!("1-{}", scenario.ports))
    else {
        return;
    };
    let plan = Plan::builder()
        .target(Target::parse(targets).expect("a target"))
        .ports((1..=scenario.ports).collect::<PortSet>());
    let plan = plan
        .build(&mut |_| unreachable!("no names"))
        .expect("a plan");
    let open: HashSet<SocketAddr> = plan
        .endpoints()
        .filter(|&endpoint| simulated.truth(endpoint) == Truth::Open)
        .collect();
    let hit = found.intersection(&open).count();
    println!(
        "  {tool:10} {took_s:7.2} s, {:5.2} x ideal; recall {:8.4} % ({hit} of {}), invented {}; {:.3} SYNs an endpoint, and {} of the kernel's own",
        took_s / scenario.ideal_s,
        100.0 * hit as f64 / open.len().max(1) as f64,
        open.len(),
        found.len() - hit,
        (network.syns() - network.repeated_syns()) as f64 / plan.len() as f64,
        network.repeated_syns(),
    );
    if let Some(at_most) = text.lines().rev().find_map(bound_of_portreeve) {
        let missed = (open.len() - hit) as u64;
        println!(
            "             missed {missed}, at most {at_most} by its report{}",
            if missed > at_most { ": WRONG" } else { "" }
        );
    }
}

fn of_portreeve(line: &str) -> Option<SocketAddr> {
    let record: Value = serde_json::from_str(line).ok()?;
    (record["state"] == "open").then_some(())?;
    Some(SocketAddr::new(
        record["ip"].as_str()?.parse().ok()?,
        record["port"].as_u64()?.try_into().ok()?,
    ))
}

fn bound_of_portreeve(line: &str) -> Option<u64> {
    serde_json::from_str::<Value>(line).ok()?["missed_at_most"].as_u64()
}

/// `Host: 10.9.1.2 ()  Ports: 7/open/tcp//echo///, 9/open/…`.
fn of_nmap(line: &str) -> Vec<SocketAddr> {
    let Some((host, ports)) = line
        .strip_prefix("Host: ")
        .and_then(|line| line.split_once("Ports: "))
    else {
        return Vec::new();
    };
    let Some(ip) = host.split(' ').next().and_then(|ip| ip.parse().ok()) else {
        return Vec::new();
    };
    let open = ports
        .split(", ")
        .filter_map(|port| port.trim().split_once("/open/")?.0.parse().ok());
    open.map(|port| SocketAddr::new(ip, port)).collect()
}

/// `10.9.1.2 -> [7,9]`.
fn of_rustscan(line: &str) -> Vec<SocketAddr> {
    let Some((ip, ports)) = line.split_once(" -> [") else {
        return Vec::new();
    };
    let Ok(ip) = ip.trim().parse() else {
        return Vec::new();
    };
    ports
        .trim_end()
        .trim_end_matches(']')
        .split(',')
        .filter_map(|port| Some(SocketAddr::new(ip, port.trim().parse().ok()?)))
        .collect()
}
