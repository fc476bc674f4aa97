//! `Scan` by hand: one outcome after the other. Whole networks are in tests/simulation.rs and
//! tests/towns.rs.

use std::cell::RefCell;
use std::net::IpAddr;
use std::rc::Rc;

use super::control::{Ending, Observation, PathView, Prior, Wait};
use super::*;
use crate::plan::{Order, PortSet, Target};

fn scan(ports: std::ops::RangeInclusive<u16>, settings: Settings, cap: u32) -> Scan {
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1").unwrap())
        .ports(ports.collect::<PortSet>())
        .order(Order::Sequential);
    Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), settings, cap)
}

fn fixed(ms: u64, max_retries: u8) -> Settings {
    Settings {
        timeouts: Timeouts {
            fixed_us: Some(ms * 1_000),
            ..Timeouts::default()
        },
        max_retries,
        ..Settings::default()
    }
}

fn connect(scan: &mut Scan, ms: u64) -> Slot {
    scan.poll_connect(at(ms)).expect("an attempt").slot
}

fn at(ms: u64) -> Time {
    Time::from_us(ms * 1_000)
}

/// Why endpoints ended; when they are told does not matter here.
fn reasons(scan: &mut Scan) -> Vec<Reason> {
    std::iter::from_fn(|| scan.poll_finding(at(0)))
        .map(|finding| finding.reason)
        .collect()
}

#[test]
fn silence_is_tried_again_and_then_filtered() {
    let mut scan = scan(1..=1, fixed(1_000, 1), 10);
    for ms in [0, 1_000] {
        let slot = connect(&mut scan, ms);
        let wakes_at = scan.poll_timeout().expect("a deadline");
        assert!(at(ms) < wakes_at && wakes_at <= at(ms + 1_000));
        assert_eq!(scan.poll_expired(at(ms + 999)), None, "not before its time");
        assert_eq!(scan.poll_expired(at(ms + 1_000)), Some(slot));
        scan.handle_outcome(slot, Outcome::Silence, at(ms + 1_000));
        scan.check_invariants();
    }
    let finding = scan.poll_finding(at(2_000)).expect("a verdict");
    assert_eq!(
        (finding.reason, finding.attempts, finding.rtt_us),
        (Reason::NoResponse, 2, None)
    );
    let done = HostDone {
        address: "127.0.0.1:0".parse().unwrap(),
        ports: 1,
        rest: Reason::NoResponse,
    };
    assert_eq!(
        (scan.poll_event(at(2_000)), scan.is_finished()),
        (Some(Event::HostDone(done)), true)
    );
    assert_eq!((scan.stats().attempts, scan.stats().retries), (2, 1));
}

const CONNECTED: Outcome = Outcome::Connected {
    rtt_us: Some(7),
    syn_sent_again: false,
};

fn listening(wait_ms: u64) -> Settings {
    Settings {
        banner_wait_us: Some(wait_ms * 1_000),
        ..fixed(1_000, 0)
    }
}

#[test]
fn an_open_port_is_listened_to_for_its_time_and_no_longer() {
    let mut scan = scan(1..=3, listening(2_000), 2);
    let (mute, chatty) = (connect(&mut scan, 0), connect(&mut scan, 0));
    scan.handle_outcome(mute, CONNECTED, at(10));
    scan.handle_outcome(chatty, CONNECTED, at(10));
    assert!(
        scan.is_listening(mute) && scan.poll_finding(at(10)).is_none(),
        "the verdict waits"
    );
    assert_eq!(scan.poll_connect(at(20)), None, "its socket counts");
    // One more byte every 300 ms would never end.
    for ms in (100..=1_900).step_by(300) {
        assert_eq!(scan.poll_expired(at(ms)), None);
        scan.handle_heard(chatty, false, at(ms));
        scan.check_invariants();
    }
    let over: Vec<Slot> = std::iter::from_fn(|| scan.poll_expired(at(2_010))).collect();
    assert_eq!(over.len(), 2);
    over.into_iter()
        .for_each(|slot| scan.handle_heard(slot, true, at(2_010)));
    let findings: Vec<Finding> = std::iter::from_fn(|| scan.poll_finding(at(2_010))).collect();
    assert!(
        findings
            .iter()
            .all(|finding| (finding.reason, finding.rtt_us) == (Reason::SynAck, Some(7))),
        "{findings:?}"
    );
    // What has said its say is not waited for; and a stop takes no verdict away.
    let last = connect(&mut scan, 2_020);
    scan.handle_outcome(last, CONNECTED, at(2_030));
    scan.handle_heard(last, false, at(2_030));
    assert_eq!(scan.poll_expired(at(2_529)), None);
    scan.handle_stop(Reason::Interrupted, at(2_529));
    assert_eq!(scan.poll_expired(at(2_529)), Some(last));
    scan.handle_heard(last, true, at(2_529));
    assert_eq!(
        (reasons(&mut scan), scan.is_finished()),
        (vec![Reason::SynAck], true)
    );
}

#[test]
fn a_port_that_was_listened_to_at_the_end_is_asked_again() {
    let settings = listening(2_000);
    let mut first = scan(1..=1, settings, 1);
    let mut from = None;
    for _ in 0..3 {
        let slot = connect(&mut first, 0);
        first.handle_outcome(slot, CONNECTED, at(1));
        let snapshot = first.snapshot().expect("nothing is untold");
        assert_eq!(
            *from.get_or_insert(snapshot.clone()),
            snapshot,
            "it adds up"
        );
        first = Scan::resume(
            first.plan().clone(),
            settings,
            1,
            &snapshot,
            first.stats().clone(),
        )
        .expect("the same plan");
    }
}

#[test]
fn a_snapshot_that_does_not_add_up_is_refused() {
    let mut first = scan(1..=9, Settings::default(), 1);
    let slot = connect(&mut first, 0);
    first.handle_outcome(slot, Outcome::Refused, at(1));
    connect(&mut first, 1);
    assert_eq!(reasons(&mut first), [Reason::ConnRefused]);
    let good = first.snapshot().expect("nothing is untold");
    let resume = |change: fn(&mut Snapshot, &mut Stats)| {
        let (mut snapshot, mut stats) = (good.clone(), first.stats().clone());
        change(&mut snapshot, &mut stats);
        Scan::resume(
            first.plan().clone(),
            Settings::default(),
            1,
            &snapshot,
            stats,
        )
        .is_some()
    };
    assert!(resume(|_, _| {}));
    assert!(
        !resume(|snapshot, _| snapshot.hosts.clear()),
        "nothing would be left, and never an end"
    );
    assert!(!resume(|snapshot, _| snapshot
        .hosts
        .extend(snapshot.hosts.clone())));
    assert!(!resume(|snapshot, _| snapshot.hosts[0].taken_up += 1));
    assert!(!resume(|_, stats| stats.settle(Reason::SynAck, 1)));
    assert!(!resume(
        |_, stats| stats.settle(Reason::SynAck, u64::MAX - 1)
    ));
}

#[test]
fn each_endpoint_gets_one_datagram_which_counts_for_the_rate() {
    let per_s = std::num::NonZeroU32::new(10);
    let rate = per_s.map(|per_s| Rate {
        per_s,
        routed_only: false,
    });
    let mut scan = scan(
        1..=2,
        Settings {
            sends_datagrams: true,
            rate,
            ..fixed(10, 1)
        },
        2,
    );
    let (mut attempts, mut datagrams, mut last) = (0, 0, 0);
    for ms in 0..2_000 {
        while let Some(slot) = scan.poll_expired(at(ms)) {
            scan.handle_outcome(slot, Outcome::Silence, at(ms));
        }
        while let Some(connect) = scan.poll_connect(at(ms)) {
            (attempts, datagrams, last) =
                (attempts + 1, datagrams + u32::from(connect.datagram), ms);
        }
    }
    assert_eq!((attempts, datagrams), (4, 2));
    assert!(
        last >= 399,
        "six packets at ten a second were sent within {last} ms"
    );
}

/// A full queue may drop every fourth packet: of no host all of them.
#[test]
fn hosts_do_not_come_round_in_step() {
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.0/27").unwrap())
        .ports((1..=500).collect());
    let settings = Settings {
        rate: None,
        scan_silent: true,
        ..Settings::default()
    };
    let mut scan = Scan::new(plan.build(&mut |_| unreachable!()).unwrap(), settings, 100);
    let mut in_step = std::collections::HashMap::<IpAddr, [u32; 4]>::new();
    for turn in 0..8_000 {
        let now = Time::from_us(turn * 100);
        let connect = scan.poll_connect(now).expect("a turn");
        scan.handle_outcome(connect.slot, Outcome::Refused, now);
        in_step.entry(connect.endpoint.ip()).or_default()[turn as usize % 4] += 1;
    }
    assert!(
        in_step.len() == 32
            && in_step
                .values()
                .flatten()
                .all(|turns| (30..110).contains(turns)),
        "{in_step:?}"
    );
}

#[test]
fn this_machine_is_not_felt_out() {
    let begun_in_10_ms = |target: &str| {
        let plan = Plan::builder()
            .target(Target::parse(target).unwrap())
            .ports((1..=5_000).collect());
        let settings = Settings {
            rate: None,
            ..Settings::default()
        };
        let mut scan = Scan::new(
            plan.build(&mut |_| unreachable!()).unwrap(),
            settings,
            10_000,
        );
        (0..100)
            .map(|tenth| {
                std::iter::from_fn(|| scan.poll_connect(Time::from_us(tenth * 100))).count()
            })
            .sum::<usize>()
    };
    assert!(begun_in_10_ms("127.0.0.1") >= 990 && begun_in_10_ms("192.0.2.1") <= 120);
}

#[test]
fn as_long_as_nothing_was_heard_further_attempts_are_spread() {
    let mut scan = scan(
        1..=400,
        Settings {
            rate: None,
            ..Settings::default()
        },
        1_000,
    );
    let mut begun = [0; 20];
    for ms in 0..2_000 {
        while let Some(slot) = scan.poll_expired(at(ms)) {
            scan.handle_outcome(slot, Outcome::Silence, at(ms));
        }
        begun[ms as usize / 100] += std::iter::from_fn(|| scan.poll_connect(at(ms))).count();
        scan.check_before_wait(at(ms));
    }
    assert_eq!(begun[0], 400, "each port's first attempt");
    let spread = &begun[3..19];
    assert!(
        spread.iter().all(|count| (5..60).contains(count)),
        "{spread:?} in each tenth of a second"
    );
}

#[test]
fn a_rate_that_is_changed_counts_what_was_announced() {
    let rate = |per_s, routed_only| Rate {
        per_s: std::num::NonZeroU32::new(per_s).unwrap(),
        routed_only,
    };
    let mut scan = scan(
        1..=2,
        Settings {
            rate: None,
            ..fixed(3_000, 0)
        },
        1,
    );
    connect(&mut scan, 0);
    assert_eq!(
        scan.poll_expired(at(900)),
        None,
        "the kernel's second SYN is near"
    );
    scan.set_rate(rate(1, false), at(900));
    assert_eq!(scan.poll_expired(at(1_000)), None, "and sent");
    assert_eq!(scan.poll_expired(at(1_900)), None, "the third is near");
    scan.set_rate(rate(1, true), at(1_900));
    let slot = scan.poll_expired(at(3_000)).expect("its time is over");
    scan.set_rate(rate(1_000, false), at(3_000));
    scan.handle_outcome(slot, Outcome::Silence, at(3_000));
    connect(&mut scan, 3_000);
    scan.check_invariants();
}

#[test]
fn own_failures_send_back_shrink_and_lose_nothing() {
    let mut scan = scan(1..=64, Settings::default(), 100);
    let first = connect(&mut scan, 0);
    let failed = Outcome::TransientLocal(OwnError::ProcessDescriptors);
    let mut failures = 0;
    while let Some(connect) = scan.poll_connect(at(0)) {
        failures += 1;
        scan.handle_outcome(connect.slot, failed, at(0));
    }
    assert_eq!(
        (scan.stats().cap, failures),
        (1, 16),
        "one was in flight when the kernel said no to all"
    );
    scan.handle_outcome(first, Outcome::Refused, at(5));
    assert_eq!(
        scan.poll_connect(at(5)),
        None,
        "those that failed take the only place"
    );
    assert_eq!(scan.poll_expired(at(10)), None);
    let mut now = 10;
    while !scan.is_finished() {
        while let Some(connect) = scan.poll_connect(at(now)) {
            scan.handle_outcome(connect.slot, Outcome::Refused, at(now));
        }
        scan.check_invariants();
        scan.poll_finding(at(now));
        now += 1;
    }
    assert_eq!(scan.stats().with_reason(Reason::ConnRefused), 64);
}

#[test]
fn a_lasting_shortage_ends_in_unscanned_not_in_a_loop() {
    let mut scan = scan(1..=500, Settings::default(), 100);
    let (mut now, mut calls) = (Time::default(), 0);
    while !scan.is_finished() {
        while let Some(connect) = scan.poll_connect(now) {
            calls += 1;
            scan.handle_outcome(
                connect.slot,
                Outcome::TransientLocal(OwnError::ProcessDescriptors),
                now,
            );
            scan.check_invariants();
        }
        reasons(&mut scan);
        if let Some(next) = scan.poll_timeout() {
            assert!(next > now);
            now = next;
        }
        assert_eq!(scan.poll_expired(now), None);
    }
    assert_eq!(scan.stats().with_reason(Reason::OutOfDescriptors), 500);
    assert!(
        now.us < 30_000_000 && calls < 300,
        "{calls} calls in {now:?}"
    );
}

#[test]
fn what_could_not_be_sent_is_told_last_and_left_in_a_snapshot() {
    let mut first = scan(1..=200, Settings::default(), 100);
    let mut now = Time::default();
    let mut told = Vec::new();
    while !first.has_only_unsent() {
        while let Some(connect) = first.poll_connect(now) {
            let outcome = if connect.endpoint.port() <= 100 {
                Outcome::TransientLocal(OwnError::SourcePorts)
            } else {
                Outcome::Refused
            };
            first.handle_outcome(connect.slot, outcome, now);
            first.check_invariants();
        }
        if !first.has_only_unsent() {
            told.extend(reasons(&mut first));
            now = first.poll_timeout().expect("something to wait for");
            assert_eq!(first.poll_expired(now), None);
        }
    }
    assert_eq!(told, [Reason::ConnRefused; 100]);
    let snapshot = first.snapshot().expect("nothing is untold");
    assert_eq!(snapshot.hosts[0].left.len(), 100);
    let stats = first.stats().clone();
    let plan = first.plan().clone();
    let resumed = Scan::resume(plan, Settings::default(), 100, &snapshot, stats);
    let mut resumed = resumed.expect("the same plan");
    while !resumed.is_finished() {
        while let Some(connect) = resumed.poll_connect(now) {
            resumed.handle_outcome(connect.slot, Outcome::Refused, now);
        }
        reasons(&mut resumed);
        now = now.plus_us(1_000);
    }
    assert_eq!(resumed.stats().with_reason(Reason::ConnRefused), 200);
    assert_eq!(reasons(&mut first), [Reason::NoSourcePort; 100]);
    assert!(first.is_finished() && first.stopped() == Some(Reason::NoSourcePort));
    first.check_invariants();
}

#[test]
fn what_waits_for_a_source_port_does_not_keep_others_waiting() {
    let mut scan = scan(1..=200, Settings::default(), 100);
    let mut now = Time::default();
    while !scan.is_finished() && now < at(1_000) {
        while let Some(connect) = scan.poll_connect(now) {
            let starved = connect.endpoint.port() <= 100;
            let outcome = if starved {
                Outcome::TransientLocal(OwnError::SourcePorts)
            } else {
                Outcome::Refused
            };
            scan.handle_outcome(connect.slot, outcome, now);
            scan.check_invariants();
        }
        reasons(&mut scan);
        now = scan.poll_timeout().unwrap_or(now);
        scan.poll_expired(now);
    }
    assert_eq!(
        scan.stats().in_state(State::Closed),
        100,
        "within a second, while the others still wait"
    );
}

#[test]
fn retries_end_where_they_are_limited() {
    for (max_retries, attempts) in [(0, 1), (1, 2), (100, 4)] {
        let mut scan = scan(
            1..=1,
            Settings {
                miss_rate_ppm: 0,
                ..fixed(1_000, max_retries)
            },
            1,
        );
        for second in 0..attempts {
            let slot = connect(&mut scan, second * 1_000);
            scan.handle_outcome(slot, Outcome::Silence, at(second * 1_000 + 1_000));
        }
        assert_eq!(
            reasons(&mut scan),
            [Reason::NoResponse],
            "{max_retries} retries"
        );
    }
}

#[test]
fn a_self_connect_is_probed_again_from_elsewhere() {
    let mut scan = scan(1..=1, Settings::default(), 10);
    let slot = connect(&mut scan, 0);
    scan.handle_outcome(slot, Outcome::SelfConnected, at(0));
    let again = scan.poll_connect(at(0)).expect("tried again");
    assert_eq!(again.avoid_self, 1);
    scan.handle_outcome(again.slot, Outcome::Refused, at(0));
    assert_eq!(reasons(&mut scan), [Reason::ConnRefused]);
    assert_eq!((scan.stats().self_connects, scan.stats().attempts), (1, 1));
}

#[test]
fn a_source_is_suspicious_where_an_attempt_is_or_was_lately() {
    let mut scan = scan(
        1..=2,
        Settings {
            max_retries: 0,
            ..Settings::default()
        },
        1,
    );
    let from = |text: &str| text.parse::<SocketAddr>().unwrap();
    let slot = connect(&mut scan, 0);
    assert!(scan.may_have_met(from("127.0.0.1:1")) && !scan.may_have_met(from("127.0.0.1:2")));
    assert!(
        !scan.may_have_met(from("127.0.0.2:1")),
        "another address's port is no matter"
    );
    scan.handle_outcome(slot, Outcome::Silence, at(1_000));
    assert!(
        scan.may_have_met(from("127.0.0.1:1")),
        "given up a moment ago"
    );

    let plan = Plan::builder()
        .target(Target::parse("0.0.0.0").unwrap())
        .ports([9].into_iter().collect());
    let mut here = Scan::new(
        plan.build(&mut |_| unreachable!()).unwrap(),
        Settings::default(),
        1,
    );
    connect(&mut here, 0);
    assert!(
        here.may_have_met(from("127.0.0.1:9")),
        "0.0.0.0 is this machine under another name"
    );
}

#[test]
fn a_stop_accounts_for_everything() {
    for tell_unscanned in [false, true] {
        let mut scan = scan(
            1..=100,
            Settings {
                tell_unscanned,
                ..Settings::default()
            },
            10,
        );
        let slots: Vec<Slot> = std::iter::from_fn(|| scan.poll_connect(at(0)))
            .map(|c| c.slot)
            .collect();
        scan.handle_outcome(
            slots[0],
            Outcome::Connected {
                rtt_us: Some(7),
                syn_sent_again: false,
            },
            at(1),
        );
        scan.handle_outcome(slots[1], Outcome::TransientLocal(OwnError::Memory), at(1));
        scan.handle_stop(Reason::Interrupted, at(2));
        scan.handle_stop(Reason::LocalError, at(2));
        while let Some(slot) = scan.poll_expired(at(2)) {
            scan.handle_outcome(slot, Outcome::Silence, at(2));
        }
        let told = reasons(&mut scan);
        assert_eq!(told.len(), if tell_unscanned { 100 } else { 10 });
        assert!(scan.is_finished());
        scan.check_invariants();
        assert_eq!(
            (
                scan.stats().in_state(State::Open),
                scan.stats().with_reason(Reason::Interrupted)
            ),
            (1, 99)
        );
    }
}

#[test]
fn a_first_attempt_that_the_kernel_repeated_was_never_silent() {
    let mut scan = scan(1..=2, fixed(3_000, 1), 10);
    for _ in 0..2 {
        let slot = connect(&mut scan, 0);
        scan.handle_outcome(
            slot,
            Outcome::Connected {
                rtt_us: Some(9),
                syn_sent_again: true,
            },
            at(1_100),
        );
    }
    assert_eq!((scan.stats().lost, scan.stats().attempts), (2, 2));
    assert_eq!(reasons(&mut scan), [Reason::SynAck; 2]);
}

#[test]
fn nobody_is_asked_again_after_a_stop() {
    let mut scan = scan(1..=200, Settings::default(), 200);
    let slots: Vec<Slot> = std::iter::from_fn(|| scan.poll_connect(at(0)))
        .map(|connect| connect.slot)
        .collect();
    assert!(slots.len() >= 64, "the first burst");
    scan.handle_stop(Reason::Interrupted, at(1));
    slots.iter().for_each(|&slot| {
        scan.handle_outcome(
            slot,
            Outcome::Connected {
                rtt_us: Some(9),
                syn_sent_again: false,
            },
            at(1),
        )
    });
    assert_eq!(reasons(&mut scan).len(), slots.len());
    assert!(scan.is_finished());
}

#[test]
fn silence_does_not_count_where_nobody_listened() {
    let mut scan = scan(1..=1, fixed(1_000, 0), 10);
    let slot = connect(&mut scan, 0);
    scan.handle_gap(at(5_000));
    scan.handle_outcome(slot, Outcome::Silence, at(5_000));
    scan.check_invariants();
    let slot = connect(&mut scan, 5_000);
    scan.handle_outcome(slot, Outcome::Silence, at(6_000));
    assert_eq!(reasons(&mut scan), [Reason::NoResponse]);
    assert_eq!((scan.stats().attempts, scan.stats().voided), (1, 1));
}

#[test]
fn stale_outcomes_mean_nothing() {
    let mut scan = scan(1..=2, Settings::default(), 10);
    let slot = connect(&mut scan, 0);
    scan.handle_outcome(slot, Outcome::Refused, at(0));
    scan.handle_outcome(
        slot,
        Outcome::Connected {
            rtt_us: None,
            syn_sent_again: false,
        },
        at(0),
    );
    scan.handle_outcome(77, Outcome::Refused, at(0));
    scan.check_invariants();
    assert_eq!(reasons(&mut scan), [Reason::ConnRefused]);
}

#[test]
fn the_rate_is_asked_for_each_attempt() {
    let rate = Rate {
        per_s: std::num::NonZeroU32::new(100).unwrap(),
        routed_only: false,
    };
    let mut scan = scan(
        1..=100,
        Settings {
            rate: Some(rate),
            ..Settings::default()
        },
        100,
    );
    let mut begun = Vec::new();
    let mut now = Time::default();
    while begun.len() < 100 {
        while let Some(connect) = scan.poll_connect(now) {
            begun.push(now);
            scan.handle_outcome(connect.slot, Outcome::Refused, now);
        }
        now = scan.poll_timeout().unwrap_or(now);
        scan.check_invariants();
    }
    assert!(
        begun[99].us.abs_diff(990_000) < 30_000,
        "the last began at {:?}",
        begun[99]
    );
}

#[test]
fn what_is_under_way_costs_few_bytes() {
    assert!(size_of::<Probe>() <= 56, "{} bytes", size_of::<Probe>());
    assert!(
        size_of::<hosts::Host>() <= 424,
        "{} bytes",
        size_of::<hosts::Host>()
    );
}

/// A link whose table holds `most` unresolved addresses, as Linux keeps one: an attempt at a new
/// address takes a place or is dropped, and after 3 s nobody has answered for it.
struct Link {
    most: usize,
    hosts: Vec<IpAddr>,
    /// Addresses that are asked for, and when they turn out to be nobody's.
    asked: Vec<(IpAddr, u64)>,
    dropped: u32,
}

impl Link {
    /// What an attempt that begins now comes to, and when; `None` for nothing.
    fn syn(&mut self, address: IpAddr, ms: u64) -> Option<(u64, Outcome)> {
        if self.hosts.contains(&address) {
            return Some((ms + 1, Outcome::Refused));
        }
        if self.asked.len() == self.most {
            self.dropped += 1;
            return None;
        }
        self.asked.push((address, ms + 3_000));
        None
    }

    /// Addresses that turn out to be nobody's now.
    fn vacant(&mut self, ms: u64) -> Vec<IpAddr> {
        let (over, asked) = self.asked.iter().partition(|&&(_, until)| until <= ms);
        self.asked = asked;
        let over: Vec<(IpAddr, u64)> = over;
        over.into_iter().map(|(address, _)| address).collect()
    }
}

/// A scan of a /24 on our own link, whose table has room for so many.
fn on_link(ports: u16, cap: u32, room: u32) -> Scan {
    let plan = Plan::builder()
        .target(Target::parse("192.0.2.0/24").unwrap())
        .ports((1..=ports).collect::<PortSet>());
    let plan = plan.build(&mut |_| unreachable!()).unwrap();
    let mut scan = Scan::new(plan, Settings::default(), cap);
    scan.set_links(Links {
        networks: vec![("192.0.2.0".parse().unwrap(), 24)],
        room: [room, 0],
        ..Links::default()
    });
    scan
}

/// Plays a scan of 25 ports each to its end; how long it took, in milliseconds.
fn scan_link(link: &mut Link, room: u32) -> (Scan, u64) {
    let mut scan = on_link(25, 1_000, room);
    let mut outcomes: Vec<(u64, Slot, Outcome)> = Vec::new();
    for ms in 0..600_000 {
        while let Some(slot) = scan.poll_expired(at(ms)) {
            outcomes.retain(|&(_, other, _)| other != slot);
            scan.handle_outcome(slot, Outcome::Silence, at(ms));
        }
        while let Some(connect) = scan.poll_connect(at(ms)) {
            let outcome = link.syn(connect.endpoint.ip(), ms);
            outcomes.extend(outcome.map(|(at_ms, outcome)| (at_ms, connect.slot, outcome)));
        }
        while scan.poll_event(at(ms)).is_some() {}
        if scan.is_finished() {
            return (scan, ms);
        }
        scan.check_before_wait(at(ms));
        let (due, later) = outcomes.into_iter().partition(|&(at_ms, ..)| at_ms <= ms);
        outcomes = later;
        let due: Vec<(u64, Slot, Outcome)> = due;
        for (_, slot, outcome) in due {
            scan.handle_outcome(slot, outcome, at(ms + 1));
        }
        for address in link.vacant(ms + 1) {
            scan.handle_neighbour(address, false, at(ms + 1));
        }
        if std::mem::take(&mut link.dropped) > 0 {
            scan.handle_neighbours_full(at(ms + 1));
        }
    }
    panic!("it never ends: {:?}", scan.stats());
}

#[test]
fn a_link_is_asked_no_faster_than_its_table_has_room() {
    let hosts: Vec<IpAddr> = [7, 99, 201, 254]
        .map(|last| [192, 0, 2, last].into())
        .to_vec();
    // Others use the second one's table, which is not known at first.
    for (most, room, least_ms, most_ms) in [(64, 64, 12_000, 15_000), (32, 64, 24_000, 60_000)] {
        let mut link = Link {
            most,
            hosts: hosts.clone(),
            asked: Vec::new(),
            dropped: 0,
        };
        let (scan, took_ms) = scan_link(&mut link, room);
        let stats = scan.stats();
        assert_eq!(stats.with_reason(Reason::ConnRefused), 100, "{stats:?}");
        assert_eq!(stats.with_reason(Reason::NoNeighbor), 252 * 25, "{stats:?}");
        assert_eq!((stats.hosts_answering, stats.hosts_absent), (4, 252));
        assert!(
            (least_ms..most_ms).contains(&took_ms),
            "{took_ms} ms where {most} have room, and {room} were said to"
        );
    }
}

#[test]
fn who_answers_for_its_address_is_there_and_its_silence_is_a_firewalls() {
    let mut scan = on_link(2, 1, 64);
    let first = scan.poll_connect(at(0)).expect("an attempt");
    assert_eq!(scan.poll_expired(at(2_900)), None, "it may not be sent yet");
    scan.handle_neighbour(first.endpoint.ip(), true, at(2_900));
    let mut ms = 2_900;
    while scan.poll_expired(at(ms)).is_none() {
        ms += 1;
    }
    assert!((3_500..4_200).contains(&ms), "its time begins now: {ms}");
    scan.handle_outcome(first.slot, Outcome::NoNeighbour, at(ms));
    scan.check_invariants();
    assert_eq!(
        (scan.stats().hosts_absent, scan.stats().settled()),
        (0, 0),
        "it has gone since, which says nothing of its ports"
    );
}

#[test]
fn an_outage_of_this_machine_says_nothing_of_a_table_on_the_way() {
    let mut scan = scan(1..=3, fixed(1_000, 0), 1);
    let first = connect(&mut scan, 0);
    scan.handle_outcome(first, CONNECTED, at(1));
    let barred = connect(&mut scan, 10);
    let no_route = Outcome::PermanentLocal(Reason::NoLocalRoute);
    scan.handle_outcome(barred, no_route, at(10));
    assert_eq!(scan.stats().outages, 1);
    let sent = connect(&mut scan, 6_010);
    scan.handle_outcome(sent, CONNECTED, at(6_020));
    assert!(scan.stats().outage_us > 5_000_000);
    assert_eq!(scan.unanswered.wait_until(1_000_000, at(6_030)), None);
}

/// A scan whose attempts go through a router at one a second.
fn at_one_a_second_through_routers() -> (Plan, Settings) {
    let plan = Plan::builder()
        .target(Target::parse("10.1.0.0/30").unwrap())
        .ports((1..=9).collect::<PortSet>());
    let settings = Settings {
        rate: std::num::NonZeroU32::new(1).map(|per_s| Rate {
            per_s,
            routed_only: true,
        }),
        ..fixed(1_000, 0)
    };
    (plan.build(&mut |_| unreachable!()).unwrap(), settings)
}

/// A link with all of 10.1.0.0/16, whose neighbours are known or not.
fn link(is_known: bool) -> Links {
    let host = |last| IpAddr::from([10, 1, 0, last]);
    Links {
        networks: vec![([10, 1, 0, 0].into(), 16)],
        known: (0..4).map(host).filter(|_| is_known).collect(),
        room: [64, 64],
    }
}

#[test]
fn private_addresses_go_fast_only_on_links_of_our_own() {
    let begun = |links: Links| {
        let (plan, settings) = at_one_a_second_through_routers();
        let mut scan = Scan::new(plan, settings, 1_000);
        scan.set_links(links);
        std::iter::from_fn(|| scan.poll_connect(at(0))).count()
    };
    assert_eq!(begun(link(true)), 36);
    assert!(begun(Links::default()) < 4, "they may be behind a router");
}

#[test]
fn a_scan_that_goes_on_knows_its_links() {
    let (plan, settings) = at_one_a_second_through_routers();
    let mut scan = Scan::new(plan, settings, 1_000);
    scan.set_links(link(true));
    assert!(scan.poll_connect(at(0)).is_some());
    let snapshot = scan.snapshot().expect("nothing is to be told");
    let (plan, settings) = at_one_a_second_through_routers();
    let stats = Stats::new(plan.len(), 1);
    let mut resumed = Scan::resume(plan, settings, 1_000, &snapshot, stats).expect("its plan");
    resumed.set_links(link(false));
    let begun: Vec<Connect> = std::iter::from_fn(|| resumed.poll_connect(at(0))).collect();
    assert_eq!(
        begun.len(),
        4,
        "each waits for the kernel's word on its neighbour"
    );
    resumed.handle_outcome(begun[0].slot, Outcome::NoNeighbour, at(1));
    assert_eq!(resumed.stats().hosts_absent, 1);
}

/// A scan of one host on eight ports that asks whether it is there, with all attempts begun.
fn asked_whether_there() -> (Scan, Vec<Connect>) {
    let mut scan = scan(
        1..=8,
        Settings {
            alive: true,
            ..fixed(1_000, 1)
        },
        8,
    );
    let begun: Vec<Connect> = std::iter::from_fn(|| scan.poll_connect(at(0))).collect();
    assert_eq!(begun.len(), 8);
    (scan, begun)
}

/// Gives up what has no time left. How many attempts that were.
fn expire(scan: &mut Scan, ms: u64) -> usize {
    let expired = std::iter::from_fn(|| {
        let slot = scan.poll_expired(at(ms))?;
        scan.handle_outcome(slot, Outcome::Silence, at(ms));
        scan.check_invariants();
        Some(slot)
    });
    expired.count()
}

#[test]
fn who_answers_once_is_there_and_asked_nothing_more() {
    let (mut scan, begun) = asked_whether_there();
    scan.handle_outcome(begun[3].slot, Outcome::Refused, at(10));
    assert_eq!(expire(&mut scan, 11), 7, "they are cut short");
    assert_eq!(reasons(&mut scan), [Reason::ConnRefused]);
    assert!(scan.is_finished());
    let stats = scan.stats();
    assert_eq!((stats.hosts_answering, stats.retries), (1, 0));
    assert_eq!(stats.with_reason(Reason::HostUp), 7);
}

#[test]
fn who_answers_nothing_is_asked_twice_and_not_there() {
    let (mut scan, _) = asked_whether_there();
    assert_eq!(expire(&mut scan, 1_000), 8);
    let mut ms = 1_000;
    while !scan.is_finished() {
        while scan.poll_connect(at(ms)).is_some() {}
        expire(&mut scan, ms);
        while scan.poll_event(at(ms)).is_some() {}
        ms += 10;
    }
    let stats = scan.stats();
    assert_eq!((stats.hosts_answering, stats.attempts), (0, 16));
    assert_eq!(stats.with_reason(Reason::NoResponse), 8);
}

#[test]
fn a_router_does_not_speak_for_its_hosts_presence() {
    for (by, is_there) in [("127.0.0.1", true), ("10.9.9.9", false)] {
        let (mut scan, begun) = asked_whether_there();
        let rejected = Outcome::Unreachable {
            reason: Reason::AdminProhibited,
            by: by.parse().ok(),
        };
        scan.handle_outcome(begun[0].slot, rejected, at(10));
        let cut_short = if is_there { 7 } else { 0 };
        assert_eq!(expire(&mut scan, 11), cut_short, "{by}");
    }
}

#[test]
fn the_link_tells_who_is_there() {
    let (plan, settings) = at_one_a_second_through_routers();
    let settings = Settings {
        alive: true,
        ..settings
    };
    let mut scan = Scan::new(plan, settings, 1_000);
    scan.set_links(link(false));
    let begun: Vec<Connect> = std::iter::from_fn(|| scan.poll_connect(at(0))).collect();
    assert_eq!(begun.len(), 4, "one attempt for each address");
    for (number, connect) in begun.iter().enumerate() {
        scan.handle_neighbour(connect.endpoint.ip(), number == 0, at(5));
    }
    assert_eq!(expire(&mut scan, 6), 4, "nothing is waited for");
    while scan.poll_event(at(6)).is_some() {}
    assert!(scan.is_finished());
    let stats = scan.stats();
    assert_eq!((stats.hosts_answering, stats.hosts_absent), (1, 3));
    assert_eq!(stats.with_reason(Reason::HostUp), 9);
    assert_eq!(stats.with_reason(Reason::NoNeighbor), 27);
}

/// Lets an attempt begin every 20 ms, numbers them, and notes how they ended.
#[derive(Debug, Default)]
struct EveryTwenty {
    sent: u32,
    next: Time,
    ended: Rc<RefCell<Vec<(u32, Ending)>>>,
}

impl RateController for EveryTwenty {
    fn next_send(&mut self, now: Time) -> Option<Time> {
        (now < self.next).then_some(self.next)
    }

    fn on_sent(&mut self, _prior: Prior, now: Time) -> IntervalId {
        self.sent += 1;
        self.next = now.plus_us(20_000);
        IntervalId(self.sent)
    }

    fn on_observation(
        &mut self,
        seen: &Observation,
        id: IntervalId,
        _wait: Wait,
        path: Option<&PathView>,
    ) {
        assert!(path.is_none(), "it is the path's own");
        self.ended.borrow_mut().push((id.0, seen.ending));
    }

    fn pace(&self) -> Pace {
        Pace {
            per_s: 50,
            reason: PaceReason::Start,
        }
    }
}

#[test]
fn a_controller_of_ones_own_decides_and_is_told() {
    let controller = EveryTwenty::default();
    let ended = Rc::clone(&controller.ended);
    let mut scan = scan(1..=3, fixed(1_000, 0), 10);
    scan.set_path_controller(Box::new(controller));
    let first = connect(&mut scan, 0);
    assert_eq!(scan.poll_connect(at(19)), None);
    assert_eq!(scan.paced_until(), Some(at(20)));
    let second = connect(&mut scan, 20);
    scan.handle_outcome(second, Outcome::Refused, at(21));
    assert_eq!(scan.poll_expired(at(1_000)), Some(first));
    scan.handle_outcome(first, Outcome::Silence, at(1_000));
    assert_eq!(
        *ended.borrow(),
        [(2, Ending::Answered), (1, Ending::Silent)]
    );
    assert_eq!(scan.pace().per_s, 50);
}
