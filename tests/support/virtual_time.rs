//! The deciding core, driven through a town in virtual time: minutes of network in milliseconds.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use portreeve::plan::{Order, Plan, PortSet, Target};
use portreeve::scan::{Outcome, Reason, Scan, Settings, Slot, State, Stats, Time};

use super::town::{Answer, Scenario, Score, Town};

/// What a scan came to.
pub struct Played {
    pub score: Score,
    pub stats: Stats,
    pub elapsed_s: f64,
    pub syns: u64,
    /// The most SYNs, the kernel's own included, that left within a tenth of a second: [0, 100) ms,
    /// [100, 200) ms, …
    pub most_in_100_ms: u32,
}

/// What the kernel takes for an attempt and for an answer, in nanoseconds: see docs/PERFORMANCE.md.
const CONNECT_NS: u64 = 5_000;
const SETTLE_NS: u64 = 3_000;
/// When nothing has answered the kernel sends its SYN again.
const KERNEL_SYN_US: u64 = 1_000_000;
const KERNEL_SYN: u8 = u8::MAX;
/// As the engine has them.
const OPENS_PER_TURN: usize = 32;

pub fn plan(scenario: &Scenario, seed: u64) -> Plan {
    let targets = scenario
        .targets
        .split(' ')
        .map(|text| Target::parse(text).expect("a target"));
    let ports: PortSet = (1..=scenario.ports).collect();
    let builder = Plan::builder()
        .targets(targets)
        .ports(ports)
        .order(Order::Random { seed });
    builder
        .build(&mut |_| unreachable!("no names"))
        .expect("a plan")
}

/// Scans the town to the end.
pub fn play(scenario: &Scenario, seed: u64, settings: Settings, cap: u32) -> Played {
    play_until(
        scenario,
        seed,
        Settings {
            tell_unscanned: true,
            ..settings
        },
        cap,
        u64::MAX,
    )
}

/// The same, stopped after so many virtual milliseconds.
pub fn play_until(
    scenario: &Scenario,
    seed: u64,
    settings: Settings,
    cap: u32,
    stop_ms: u64,
) -> Played {
    let mut town = Town::new(*scenario, seed);
    let plan = plan(scenario, seed);
    let planned = plan.len();
    let mut scan = Scan::new(plan, settings, cap);
    let (mut now_ns, mut attempts) = (0u64, 0u64);
    let mut turns = 0;
    let mut tenths: Vec<u32> = Vec::new();
    let mut leaves = |us: u64| {
        let at = (us / 100_000) as usize;
        tenths.resize(tenths.len().max(at + 1), 0);
        tenths[at] += 1;
    };
    // By slot: the number of the attempt in flight there.
    let mut held: Vec<u64> = Vec::new();
    let mut answers: BinaryHeap<Reverse<(u64, u64, Slot, u8)>> = BinaryHeap::new();
    let mut score = Score::default();
    let time = |ns: u64| Time::from_us(ns / 1_000);
    loop {
        assert!(
            now_ns < 3_600_000_000_000,
            "{}: the scan takes an hour; {:?}",
            scenario.name,
            scan.stats()
        );
        let now = time(now_ns);
        if now.us / 1_000 >= stop_ms {
            scan.handle_stop(Reason::Interrupted, now);
        }
        while let Some(slot) = scan.poll_expired(now) {
            held[slot as usize] = 0;
            now_ns += SETTLE_NS;
            scan.handle_outcome(slot, Outcome::Silence, now);
        }
        let mut opened = 0;
        while opened < OPENS_PER_TURN
            && let Some(connect) = scan.poll_connect(now)
        {
            (opened, attempts, now_ns) = (opened + 1, attempts + 1, now_ns + CONNECT_NS);
            leaves(now_ns / 1_000);
            let slot = connect.slot as usize;
            if slot >= held.len() {
                held.resize(slot + 1, 0);
            }
            held[slot] = attempts;
            answers.push(Reverse((
                now_ns / 1_000 + KERNEL_SYN_US,
                attempts,
                connect.slot,
                KERNEL_SYN,
            )));
            if let Some((at_us, answer)) = town.syn(connect.endpoint, now_ns / 1_000) {
                answers.push(Reverse((at_us, attempts, connect.slot, answer as u8)));
            }
        }
        while let Some(finding) = scan.poll_finding() {
            let truth = town.truth(finding.endpoint);
            let state = State::ALL
                .iter()
                .position(|&state| state == finding.state())
                .expect("one of four");
            score.count(truth, state);
        }
        if scan.is_finished() {
            break;
        }
        if opened < OPENS_PER_TURN {
            turns += 1;
            // It looks at every probe: now and then is enough here, for simulation.rs does so
            // always.
            if turns % 256 == 0 {
                scan.check_before_wait(now);
            }
            let next = [
                scan.poll_timeout().map(|at| at.us),
                answers.peek().map(|Reverse((at, ..))| *at),
            ];
            let next_us = next
                .into_iter()
                .flatten()
                .min()
                .expect("something to wait for");
            now_ns = now_ns.max(next_us * 1_000);
        }
        let now = time(now_ns);
        while let Some(&Reverse((at_us, attempt, slot, answer))) = answers.peek()
            && at_us <= now.us
        {
            answers.pop();
            if held[slot as usize] == attempt && answer == KERNEL_SYN {
                leaves(at_us);
                answers.push(Reverse((at_us + KERNEL_SYN_US, attempt, slot, KERNEL_SYN)));
            } else if held[slot as usize] == attempt {
                held[slot as usize] = 0;
                now_ns += SETTLE_NS;
                let outcome = match answer {
                    0 => Outcome::Connected {
                        rtt_us: None,
                        syn_sent_again: false,
                    },
                    1 => Outcome::Refused,
                    2 => Outcome::Unreachable {
                        reason: scenario.rejected_with,
                        by: None,
                    },
                    _ => Outcome::Unreachable {
                        reason: scenario.nobody_with.expect("somebody said so"),
                        by: None,
                    },
                };
                scan.handle_outcome(slot, outcome, now);
            }
        }
    }
    let stats = scan.stats().clone();
    assert_eq!(
        stats.settled(),
        planned,
        "{}: it does not add up",
        scenario.name
    );
    let most_in_100_ms = tenths.iter().copied().max().unwrap_or(0);
    Played {
        score,
        stats,
        elapsed_s: now_ns as f64 / 1e9,
        syns: town.syns,
        most_in_100_ms,
    }
}

const _: () =
    assert!(Answer::SynAck as u8 == 0 && Answer::Rst as u8 == 1 && Answer::Rejected as u8 == 2);
