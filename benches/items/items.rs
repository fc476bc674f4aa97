//! Instructions per thousand items of the parts that run once per probe, counted by callgrind: the
//! same on every run, on however noisy a machine. The counts of one run are in docs/runs/.
//!
//!     cargo install gungraun-runner --version 0.20.0     (once; it needs valgrind)
//!     cargo bench --manifest-path benches/items/Cargo.toml

use std::hint::black_box;

use gungraun::{library_benchmark, library_benchmark_group, main};
use portreeve::plan::{Order, Permutation, Plan, PortSet, Services, Target};
use portreeve::report::json::JsonLines;
use portreeve::report::text::{Style, Text};
use portreeve::report::{Listing, StateSet, Sink};
use portreeve::scan::{Finding, Outcome, Reason, Scan, Settings, State, Time, Wheel};

const ITEMS: u32 = 1_000;

// Insert and cancel: what a probe that is answered costs the wheel.
#[library_benchmark]
fn wheel_insert_and_cancel() -> Wheel {
    let mut wheel = Wheel::default();
    for slot in 0..ITEMS {
        wheel.insert(slot, 1_000 + u64::from(slot % 7));
    }
    for slot in 0..ITEMS {
        wheel.cancel(slot);
    }
    wheel
}

// Insert and expire: what a silent probe costs it.
#[library_benchmark]
fn wheel_insert_and_expire() -> Wheel {
    let mut wheel = Wheel::default();
    for slot in 0..ITEMS {
        wheel.insert(slot, 1_000 + u64::from(slot % 7));
    }
    while wheel.pop_expired(2_000).is_some() {}
    wheel
}

#[library_benchmark]
#[bench::full_range(65_535)]
#[bench::long(1_000_000_000_000)]
fn permutation(len: u64) -> u64 {
    let order = Permutation::new(len, 7);
    (0..u64::from(ITEMS)).fold(0, |sum, index| sum ^ order.apply(index))
}

fn plan(targets: &str, ports: u16) -> Plan {
    let builder = Plan::builder().target(Target::parse(targets).expect("a target")).ports((1..=ports).collect());
    builder.order(Order::Random { seed: 7 }).build(&mut |_| unreachable!("no names")).expect("a plan")
}

#[library_benchmark]
#[bench::host(args = ("127.0.0.1", 65_535), setup = plan)]
#[bench::slash_8(args = ("10.0.0.0/8", 1_000), setup = plan)]
fn endpoints(plan: Plan) -> u32 {
    plan.endpoints().take(ITEMS as usize).fold(0, |sum, endpoint| sum + u32::from(endpoint.port()))
}

fn scan() -> Scan {
    Scan::new(plan("127.0.0.1", ITEMS as u16), Settings::default(), 32)
}

// Everything that the deciding core does for a refused port.
#[library_benchmark]
#[bench::refused(setup = scan)]
fn core(mut scan: Scan) -> Scan {
    let mut slots = Vec::with_capacity(32);
    while !scan.is_finished() {
        while let Some(connect) = scan.poll_connect(Time::default()) {
            slots.push(connect.slot);
        }
        for slot in slots.drain(..) {
            scan.handle_outcome(slot, Outcome::Refused, Time::default());
        }
        while let Some(finding) = scan.poll_finding(Time::default()) {
            black_box(finding);
        }
    }
    scan
}

#[library_benchmark]
fn port_grammar() -> usize {
    let services = Services::built_in();
    (0..ITEMS).map(|_| PortSet::parse(black_box("22,80,443,8000-8100"), &services).map_or(0, |ports| ports.len())).sum()
}

#[library_benchmark]
#[bench::address("192.0.2.7")]
#[bench::octets("10.0-1.1,3.*")]
#[bench::v6("2001:db8::/120")]
fn target_grammar(text: &str) -> usize {
    (0..ITEMS).filter(|_| Target::parse(black_box(text)).is_ok()).count()
}

fn tell(sink: &mut dyn Sink) {
    let endpoint = "192.0.2.7:80".parse().expect("an endpoint");
    let finding =
        Finding { endpoint, reason: Reason::SynAck, reason_ip: None, rtt_us: Some(1_234), attempts: 1, banner: None, at: Time::default() };
    for _ in 0..ITEMS {
        sink.finding(black_box(&finding)).expect("nothing fails here");
    }
}

#[library_benchmark]
#[bench::built_in(setup = Services::built_in)]
fn json_lines(services: Services) {
    tell(&mut JsonLines::new(std::io::sink(), StateSet::states(State::ALL), &services, Vec::new()));
}

#[library_benchmark]
#[bench::built_in(setup = Services::built_in)]
fn text(services: Services) {
    let style = Style { quiet: true, ..Style::new(Listing::only(StateSet::states(State::ALL))) };
    tell(&mut Text::new(std::io::sink(), style, &services));
}

library_benchmark_group!(name = scanning; benchmarks = wheel_insert_and_cancel, wheel_insert_and_expire, permutation, endpoints, core);
library_benchmark_group!(name = reading; benchmarks = port_grammar, target_grammar);
library_benchmark_group!(name = telling; benchmarks = json_lines, text);

main!(library_benchmark_groups = scanning, reading, telling);
