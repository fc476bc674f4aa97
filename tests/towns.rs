//! Whole scans of simulated networks ("towns"): in virtual time, where hundreds of seeds take
//! seconds, and the five that scanners are compared on with real sockets, too.
//!
//! `tests/towns.txt` is the table of them all. A change of pacing shows as a difference there, to
//! be looked at; `PORTREEVE_BLESS=1 cargo test --test towns` accepts it.

mod support;

use std::fmt::Write;
use std::num::NonZeroU32;

use portreeve::engine::{Options, Scanner, raise_descriptor_limit};
use portreeve::scan::{Controller, Finding, Rate, Reason, Settings, State};
use simulator::namespace::in_namespace;
use simulator::network::SimNetwork;
use simulator::scenario::{
    Away, CAP, COMPARED, Delay, Limit, ON_LINK, OTHERS, PLAIN, REMEMBERING, Scenario, named,
};
use simulator::score::Score;
use simulator::tun::TunNetwork;
use support::blessed::is_as_it_was;
use support::virtual_time::{GIVEN_UP_MS, Played, plan, play, play_until, position};

fn played(scenario: &Scenario, seed: u64) -> Played {
    play(scenario, seed, Settings::default(), CAP)
}

fn line(table: &mut String, scenario: &Scenario, seeds: u64) {
    let runs: Vec<Played> = (0..seeds).map(|seed| played(scenario, seed)).collect();
    let mean = |of: &dyn Fn(&Played) -> f64| runs.iter().map(of).sum::<f64>() / seeds as f64;
    let least = runs
        .iter()
        .map(|run| run.score.recall())
        .fold(1.0, f64::min);
    let attempts =
        mean(&|run| (run.stats.attempts + run.stats.voided) as f64 / run.stats.planned as f64);
    let invented: u64 = runs.iter().map(|run| run.score.invented()).sum();
    assert_eq!(invented, 0, "{}: answers that nobody gave", scenario.name);
    let _ = writeln!(
        table,
        "{:22} {:8.3} {:8.3} {:9.2} {:8.2} {:8.2}",
        scenario.name,
        100.0 * mean(&|run| run.score.recall()),
        100.0 * least,
        attempts,
        mean(&|run| run.elapsed_s),
        mean(&|run| run.elapsed_s) / scenario.ideal_s,
    );
}

/// What became of a network that remembers: its open ports found, called something else, or left
/// out beside others; what the reports say that was missed at most; and answers that were lies. A
/// scan that is given up leaves out what is left.
fn remembering_line(table: &mut String, scenario: &Scenario, seeds: u64) {
    let settings = Settings {
        tell_unscanned: true,
        ..Settings::default()
    };
    let run = |seed| play_until(scenario, seed, settings, CAP, GIVEN_UP_MS);
    let runs: Vec<Played> = (0..seeds).map(run).collect();
    let sum = |of: &dyn Fn(&Played) -> u64| runs.iter().map(of).sum::<u64>();
    let bound = |run: &Played| run.stats.missed_at_most();
    let at_most = runs.iter().map(bound).sum::<Option<u64>>();
    let elapsed_s = runs.iter().map(|run| run.elapsed_s).sum::<f64>() / seeds as f64;
    let _ = writeln!(
        table,
        "{:22} {:8} {:8} {:9} {:>8} {:8} {:8.2} {:8.2}",
        scenario.name,
        sum(&|run| run.score.said[0][0]),
        sum(&|run| run.score.said[0][1] + run.score.said[0][2]),
        sum(&|run| run.stats.in_state(State::Unscanned)),
        at_most.map_or("-".into(), |most| most.to_string()),
        sum(&|run| run.score.invented()),
        elapsed_s,
        elapsed_s / scenario.ideal_s,
    );
}

#[test]
fn the_table_is_as_it_was() {
    let mut table = format!(
        "{:22} {:>8} {:>8} {:>9} {:>8} {:>8}\n",
        "town (3 seeds each)", "recall %", "least %", "attempts", "time s", "x ideal"
    );
    COMPARED
        .iter()
        .chain(&OTHERS)
        .for_each(|scenario| line(&mut table, scenario, 3));
    let _ = writeln!(
        table,
        "\n{:22} {:>8} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8}",
        "with a memory", "found", "missed", "unscanned", "at most", "invented", "time s", "x ideal"
    );
    REMEMBERING
        .iter()
        .chain(&ON_LINK)
        .for_each(|scenario| remembering_line(&mut table, scenario, 3));
    is_as_it_was("tests/towns.txt", &table);
}

/// Recall in % and time over the ideal with a controller; a dash if it does not end in time.
fn cell(scenario: &Scenario, controller: Controller) -> String {
    let settings = Settings {
        controller,
        tell_unscanned: true,
        ..Settings::default()
    };
    let run = play_until(scenario, 0, settings, CAP, GIVEN_UP_MS);
    assert_eq!(run.score.invented(), 0, "{}: {controller:?}", scenario.name);
    if run.stats.with_reason(Reason::Interrupted) > 0 {
        return format!("{:>8} {:>7}", "-", "-");
    }
    let recall = 100.0 * run.score.recall();
    format!("{recall:8.3} {:7.2}", run.elapsed_s / scenario.ideal_s)
}

/// The table of docs/decisions/0001: what each rate controller makes of each town.
#[test]
#[ignore = "`cargo test --release --test towns -- --ignored controllers --nocapture` prints it"]
fn controllers_compared() {
    let heads = Controller::ALL.map(|controller| format!("{:>16}", controller.as_str()));
    println!("{:22} {}", "recall %, x ideal", heads.join("  "));
    for scenario in COMPARED.iter().chain(&OTHERS) {
        let cells = Controller::ALL.map(|controller| cell(scenario, controller));
        println!("{:22} {}", scenario.name, cells.join("  "));
    }
}

#[test]
fn the_compared_towns_are_complete_for_many_seeds() {
    for scenario in &COMPARED {
        let runs: Vec<Played> = (100..108).map(|seed| played(scenario, seed)).collect();
        let found: u64 = runs.iter().map(|run| run.score.said[0][0]).sum();
        let missed: u64 = runs.iter().map(|run| run.score.missed()).sum();
        assert!(
            missed * 1_000 <= found + missed,
            "{}: {missed} missed, {found} found",
            scenario.name
        );
    }
}

/// A host that sends 200 resets a second, and some networks with it.
const RESETS_LIMITED: Scenario = Scenario {
    name: "resets limited",
    ports: 65_535,
    open: 5.0 / 65_535.0,
    closed: 1.0,
    delay: Delay::Between(300, 900),
    reset_limit: Some(Limit {
        per_s: 200.0,
        burst: 200.0,
    }),
    ideal_s: 1.5,
    ..PLAIN
};

/// Only asks what is open, and finds all of it. What is silent is not called filtered.
fn open_only(scenario: &Scenario, seeds: std::ops::Range<u64>) -> Vec<Played> {
    let settings = Settings {
        open_only: true,
        ..Settings::default()
    };
    let runs: Vec<Played> = seeds
        .map(|seed| play(scenario, seed, settings, CAP))
        .collect();
    for (seed, run) in runs.iter().enumerate() {
        assert_eq!(run.score.missed(), 0, "{} {seed}", scenario.name);
        assert_eq!(run.score.invented(), 0, "{} {seed}", scenario.name);
        assert_eq!(run.stats.in_state(State::Filtered), 0, "{seed}");
    }
    runs
}

#[test]
fn withheld_resets_do_not_slow_down_who_asks_only_what_is_open() {
    let usual = play(&RESETS_LIMITED, 0, Settings::default(), CAP);
    assert!(usual.elapsed_s > 300.0, "{}", usual.elapsed_s);
    assert_eq!(usual.stats.in_state(State::NotOpen), 0);
    let lossy = Scenario {
        loss: 0.02,
        ..RESETS_LIMITED
    };
    // The services of a host that has few of them are left alone for half a minute.
    for scenario in [RESETS_LIMITED, lossy] {
        for run in open_only(&scenario, 0..4) {
            let stats = &run.stats;
            assert!(run.elapsed_s < 40.0, "{} s", run.elapsed_s);
            assert!(stats.in_state(State::NotOpen) > stats.in_state(State::Closed));
        }
    }
}

/// Nothing shows how many of a host's SYNs get through until an open port is known, and then its
/// answers do.
#[test]
fn withheld_resets_and_limited_syns_are_told_apart() {
    let limited = Scenario {
        name: "resets and SYNs limited",
        ports: 5_000,
        open: 0.004,
        host_limit: Some(Limit {
            per_s: 200.0,
            burst: 50.0,
        }),
        ideal_s: 25.0,
        ..RESETS_LIMITED
    };
    for run in open_only(&limited, 0..8) {
        assert!(run.elapsed_s < 2.0 * limited.ideal_s, "{} s", run.elapsed_s);
    }
    let nothing = Scenario {
        ports: 2_000,
        open: 0.0,
        ..RESETS_LIMITED
    };
    for run in open_only(&nothing, 0..2) {
        assert_eq!(run.stats.in_state(State::Closed), 2_000, "waited for");
    }
}

/// Larger than any machine here could hold as sockets.
#[test]
#[ignore = "it takes half a minute: `cargo test --test towns -- --ignored`, as .ci/run does"]
fn ten_million_endpoints() {
    let bottleneck = Some(Limit {
        per_s: 100_000.0,
        burst: 1_000.0,
    });
    let large = Scenario {
        name: "ten million",
        targets: "10.9.0.0/16",
        ports: 153,
        up: 1.0,
        bottleneck,
        ideal_s: 100.3,
        ..PLAIN
    };
    let run = played(&large, 1);
    let share = run.score.recall();
    assert!(
        run.stats.planned > 10_000_000 && share > 0.999 && run.elapsed_s < 1.5 * large.ideal_s,
        "{share} in {} s",
        run.elapsed_s
    );
}

/// The estimate of what was missed is checked against what was: lossy towns, a thousand ports, of
/// which some answer.
#[test]
fn the_estimate_holds_in_95_of_100_scans() {
    let mut held = 0;
    let mut scans = 0;
    let mut missed = 0;
    let mut expected = 0.0;
    for seed in 0..200 {
        let loss = 0.02 * (seed % 10) as f64;
        let closed = [0.05, 0.4, 0.8][seed as usize % 3];
        let delay = Delay::Between(5_000, 40_000);
        let scenario = Scenario {
            targets: "10.9.1.0/30",
            ports: 250,
            open: 0.1,
            closed,
            loss,
            delay,
            ..PLAIN
        };
        // Few attempts, so that something is missed at all.
        let run = play(
            &scenario,
            seed,
            Settings {
                max_retries: 1,
                ..Settings::default()
            },
            CAP,
        );
        scans += 1;
        missed += run.score.missed();
        expected += run.stats.missed.expected;
        held += u64::from(Some(run.score.missed()) <= run.stats.missed_at_most());
    }
    assert!(
        held * 100 >= scans * 95,
        "the bound held in {held} of {scans} scans"
    );
    // It is low: attempts that do not count, because they were too many, were lost as often as
    // others.
    assert!(
        missed > 50 && (expected / missed as f64 - 1.0).abs() < 0.4,
        "{expected:.1} expected, {missed} missed"
    );
}

/// Two hosts that each take far less than they are asked look like a path that loses most of
/// everything.
#[test]
fn the_limits_of_hosts_are_not_taken_for_the_loss_of_a_path() {
    let host_limit = Some(Limit {
        per_s: 219.78,
        burst: 85.84,
    });
    let scenario = Scenario {
        targets: "10.9.1.0/31",
        ports: 4_227,
        open: 0.06,
        closed: 0.94,
        delay: Delay::Between(3_443, 4_787),
        host_limit,
        ..PLAIN
    };
    let recall = played(&scenario, 169).score.recall();
    assert!(recall >= 0.999, "{recall}");
}

#[test]
fn loss_on_a_tenth_of_the_hosts_costs_the_others_nothing() {
    let tenth = named("one in ten lossy").expect("it is there");
    let clean = Scenario {
        loss: 0.0,
        ..*tenth
    };
    let attempts = |scenario: &Scenario| played(scenario, 3).stats.attempts as f64;
    assert!(
        attempts(tenth) < 1.4 * attempts(&clean),
        "{} attempts instead of {}",
        attempts(tenth),
        attempts(&clean)
    );
}

#[test]
fn the_rate_is_a_ceiling_in_every_tenth_of_a_second() {
    for (delay, loss) in [((20_000, 20_000), 0.3), ((1_100_000, 2_500_000), 0.1)] {
        let scenario = Scenario {
            loss,
            delay: Delay::Between(delay.0, delay.1),
            ..PLAIN
        };
        for per_s in [200, 1_000, 20_000] {
            let rate = NonZeroU32::new(per_s).map(|per_s| Rate {
                per_s,
                routed_only: false,
            });
            let run = play(
                &scenario,
                1,
                Settings {
                    rate,
                    ..Settings::default()
                },
                CAP,
            );
            assert!(
                run.most_in_100_ms <= per_s / 10,
                "{} SYNs in 100 ms at {per_s}/s",
                run.most_in_100_ms
            );
        }
    }
}

#[test]
fn an_outage_costs_its_time_and_no_answer() {
    for from in [0.2, 1.0, 2.5] {
        let bottleneck = Some(Limit {
            per_s: 20_000.0,
            burst: 200.0,
        });
        let scenario = Scenario {
            targets: "10.9.1.0/26",
            bottleneck,
            away: Away::once(from, 3.0),
            ..PLAIN
        };
        let run = played(&scenario, 1);
        let [open, closed, ..] = run.score.said;
        assert!(
            run.stats.outages >= 1 && run.stats.outage_us > 2_500_000,
            "not noticed: {:?}",
            run.stats
        );
        let wrong = open[2] + closed[2];
        assert!(
            wrong * 1_000 <= open[0] + closed[1],
            "{wrong} called filtered for the outage from {from} s on"
        );
    }
}

#[test]
fn a_network_that_does_not_come_back_is_no_firewall() {
    let bottleneck = Some(Limit {
        per_s: 20_000.0,
        burst: 200.0,
    });
    let run = played(
        &Scenario {
            targets: "10.9.1.0/26",
            bottleneck,
            away: Away::once(2.0, 1e9),
            ..PLAIN
        },
        1,
    );
    let [open, closed, ..] = run.score.said;
    let filtered = open[2] + closed[2];
    let unscanned = run.stats.with_reason(Reason::NetworkAway);
    assert!(
        unscanned > 20_000 && filtered * 1_000 < unscanned,
        "{filtered} called filtered, {unscanned} unscanned"
    );
    assert_eq!(
        (run.stats.outages, run.stats.outage_us / 1_000_000),
        (1, 130)
    );
}

#[test]
fn a_stop_among_thousands_of_silent_hosts_adds_up() {
    // At most 2,048 silent hosts are kept: the stop has to come when there are more than that, with
    // attempts under way.
    for stop_ms in [2_000, 3_250, 4_000, 6_250] {
        let scenario = Scenario {
            targets: "10.9.0.0/19",
            ports: 200,
            up: 0.0,
            ..PLAIN
        };
        let tell_unscanned = stop_ms % 1_000 == 0;
        let run = play_until(
            &scenario,
            1,
            Settings {
                tell_unscanned,
                ..Settings::default()
            },
            65_000,
            stop_ms,
        );
        assert_eq!(
            run.stats.settled(),
            8_192 * 200,
            "stopped after {stop_ms} ms"
        );
    }
}

#[test]
fn a_host_where_everything_is_open_is_named() {
    let run = played(
        &Scenario {
            open: 1.0,
            closed: 0.0,
            ..PLAIN
        },
        1,
    );
    assert_eq!(
        (
            run.stats.hosts_all_open,
            run.stats.all_open.len(),
            run.score.recall()
        ),
        (1, 1, 1.0)
    );
    assert_eq!(
        played(
            &Scenario {
                open: 0.5,
                closed: 0.5,
                ..PLAIN
            },
            1
        )
        .stats
        .hosts_all_open,
        0
    );
}

#[test]
fn silent_hosts_are_unscanned_unless_asked_for() {
    let few = Scenario {
        targets: "10.9.1.0/24",
        ports: 400,
        up: 0.2,
        open: 0.1,
        closed: 0.4,
        ..PLAIN
    };
    let run = played(&few, 1);
    let silent_ports = run.stats.with_reason(Reason::SilentHost);
    assert_eq!(
        silent_ports,
        run.stats.hosts_silent * 400,
        "all their ports, those that were tried, too"
    );
    assert_eq!(run.stats.hosts_answering + run.stats.hosts_silent, 256);
    assert!(
        run.stats.attempts < 256 * 400,
        "less than one attempt for each"
    );
    let all = play(
        &few,
        1,
        Settings {
            scan_silent: true,
            ..Settings::default()
        },
        CAP,
    );
    assert_eq!(
        (all.stats.hosts_silent, all.stats.in_state(State::Unscanned)),
        (0, 0)
    );
}

#[test]
fn two_hundred_and_forty_sockets_are_enough() {
    for scenario in COMPARED.iter().filter(|scenario| scenario.ports < 10_000) {
        let run = play(scenario, 5, Settings::default(), 240);
        assert!(
            run.score.recall() > 0.999,
            "{}: {}",
            scenario.name,
            run.score.recall()
        );
        assert!(run.stats.peak_in_flight <= 240);
    }
}

/// With real sockets, a TUN device and the clock on the wall. How long it takes is
/// `benches/town.rs`'s.
fn for_real(test: &str, name: &str) {
    in_namespace(test, || {
        raise_descriptor_limit().expect("a limit");
        let scenario = named(name).expect("a scenario");
        let simulated = SimNetwork::new(*scenario, 11);
        let network = TunNetwork::simulated(simulated.clone());
        let mut score = Score::default();
        let mut count = |finding: &Finding| {
            let truth = simulated.truth(finding.endpoint);
            score.count(truth, position(finding.state()));
        };
        let mut options = Options::default();
        options.settings.rate = None;
        let mut scanner = Scanner::new(plan(scenario, 11), options).expect("a scanner");
        let summary = scanner.run(&mut count).expect("a scan");
        assert_eq!(
            summary.stats.planned,
            summary.stats.settled(),
            "it does not add up"
        );
        let syns = network.syns() - network.repeated_syns();
        // Where tests run side by side a responder that does not get its turn loses packets in
        // bunches. The bench holds to 99.9 %.
        assert!(
            score.invented() == 0 && score.recall() >= 0.995,
            "{}: {score:?}, {syns} SYNs, {:?}",
            scenario.name,
            summary.stats
        );
    });
}

#[test]
fn lossy_for_real() {
    for_real("lossy_for_real", "lossy");
}

#[test]
fn narrow_for_real() {
    for_real("narrow_for_real", "narrow");
}

#[test]
fn sparse_for_real() {
    for_real("sparse_for_real", "sparse");
}

#[test]
fn limited_for_real() {
    for_real("limited_for_real", "limited");
}

#[test]
fn silent_for_real() {
    for_real("silent_for_real", "silent");
}

#[test]
fn no_such_hosts_for_real() {
    for_real("no_such_hosts_for_real", "no such hosts");
}

#[test]
fn accept_queues_for_real() {
    for_real("accept_queues_for_real", "accept queue");
}
