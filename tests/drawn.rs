//! Whole scans, in virtual time, of networks that were drawn at random.
//!
//! `tests/drawn.txt` is what came of them, kind by kind. A change of pacing shows as a difference
//! there, to be looked at:
//! `PORTREEVE_EACH=1 cargo test --test drawn -- --ignored --nocapture` tells of each network, and
//! `PORTREEVE_BLESS=1` accepts it. The same holds for `tests/remembering.txt`, for networks that
//! are others after a fast scan than before; its test needs no `--ignored`.

mod support;

use std::fmt::Write;
use std::thread;

use portreeve::scan::Settings;
use simulator::drawn::{KINDS, Kind, REMEMBERING, drawn};
use simulator::scenario::CAP;
use support::blessed::is_as_it_was;
use support::virtual_time::{GIVEN_UP_MS, play, play_until};

const NETWORKS: u64 = 100;
/// The bound on what was missed is to hold in so many of a hundred.
const BOUNDED_LEAST: u32 = 95;

/// What the scans of one kind's networks came to.
#[derive(Default)]
struct Sum {
    found: u64,
    missed: u64,
    least: f64,
    /// Networks of whose open ports 99.9 % were found, and those where no more were missed than the
    /// report says.
    complete: u32,
    bounded: u32,
    /// The sum of the logarithms of the time over ideal, and the highest time over ideal.
    ln_ratios: f64,
    worst: f64,
}

fn scans(kind: &Kind) -> Sum {
    let mut sum = Sum {
        least: 1.0,
        ..Sum::default()
    };
    for seed in 0..NETWORKS {
        let scenario = drawn(kind, seed);
        let run = play(&scenario, seed, Settings::default(), CAP);
        assert_eq!(
            run.score.invented(),
            0,
            "{scenario:?}: answers that nobody gave"
        );
        let recall = run.score.recall();
        let missed = run.score.missed();
        let ratio = run.elapsed_s / scenario.ideal_s;
        let is_bounded = run.stats.missed_at_most().is_none_or(|most| missed <= most);
        if std::env::var_os("PORTREEVE_EACH").is_some() {
            eprintln!(
                "{} {seed}: recall {recall:.4}, missed {missed}, bounded {is_bounded}, x {ratio:.2}; {scenario:?}",
                kind.0
            );
        }
        sum.found += run.score.said[0][0];
        sum.missed += missed;
        sum.least = sum.least.min(recall);
        sum.complete += u32::from(recall >= 0.999);
        sum.bounded += u32::from(is_bounded);
        sum.ln_ratios += ratio.ln();
        sum.worst = sum.worst.max(ratio);
    }
    sum
}

#[test]
#[ignore = "it takes three minutes: `cargo test --test drawn -- --ignored`, as .ci/run does"]
fn the_table_is_as_it_was() {
    let sums = thread::scope(|scope| {
        KINDS
            .each_ref()
            .map(|kind| scope.spawn(|| scans(kind)))
            .map(|one| one.join().expect("its sum"))
    });
    let head = [
        "recall %", "least %", "complete", "bounded", "x ideal", "worst",
    ]
    .map(|column| format!(" {column:>8}"))
    .concat();
    let mut table = format!("{:22}{head}\n", "100 drawn of each kind");
    for ((name, _), sum) in KINDS.iter().zip(&sums) {
        let recall = 100.0 * sum.found as f64 / (sum.found + sum.missed) as f64;
        let least = 100.0 * sum.least;
        let mean = (sum.ln_ratios / NETWORKS as f64).exp();
        let counts = format!("{:8} {:8}", sum.complete, sum.bounded);
        table += &format!(
            "{name:22} {recall:8.3} {least:8.3} {counts} {mean:8.2} {:8.2}\n",
            sum.worst
        );
    }
    is_as_it_was("tests/drawn.txt", &table);
    let unbounded = KINDS
        .iter()
        .zip(&sums)
        .find(|(_, sum)| sum.bounded < BOUNDED_LEAST);
    assert!(
        unbounded.is_none(),
        "more was missed than the reports say:\n{table}"
    );
}

/// So many of each kind that remembers.
const FEW: u64 = 50;

/// What the scans of one kind's networks that remember came to.
struct Remembering {
    /// Open ports that were called open, closed, filtered, not open, unscanned.
    said: [u64; 5],
    /// Networks where no more ports were called something else than the report says.
    bounded: usize,
    /// Times over ideal.
    ratios: Vec<f64>,
}

fn remembering(kind: &Kind) -> Remembering {
    let mut sum = Remembering {
        said: [0; 5],
        bounded: 0,
        ratios: Vec::new(),
    };
    let settings = Settings {
        tell_unscanned: true,
        ..Settings::default()
    };
    for seed in 0..FEW {
        let scenario = drawn(kind, seed);
        let run = play_until(&scenario, seed, settings, CAP, GIVEN_UP_MS);
        assert_eq!(run.score.invented(), 0, "{scenario:?}: nobody said that");
        let [said, ..] = run.score.said;
        let at_most = run.stats.missed_at_most();
        let ratio = run.elapsed_s / scenario.ideal_s;
        if std::env::var_os("PORTREEVE_EACH").is_some() {
            eprintln!(
                "{} {seed}: {said:?}, at most {at_most:?}, x {ratio:.2}; {scenario:?}",
                kind.0
            );
        }
        sum.said = std::array::from_fn(|state| sum.said[state] + said[state]);
        sum.bounded += usize::from(at_most.is_none_or(|most| said[1] + said[2] <= most));
        sum.ratios.push(ratio);
    }
    sum
}

/// Those whose whole trouble is room, on our own link or in a service's queue, hide no port.
#[test]
fn networks_that_remember_are_as_they_were() {
    let sums = thread::scope(|scope| {
        REMEMBERING
            .each_ref()
            .map(|kind| scope.spawn(|| remembering(kind)))
            .map(|one| one.join().expect("its sum"))
    });
    let mut table = format!(
        "{:22} {:>9} {:>9} {:>12} {:>8} {:>8} {:>8}\n",
        "50 drawn of each kind",
        "found %",
        "missed %",
        "unscanned %",
        "bounded",
        "x ideal",
        "worst"
    );
    for ((name, _), sum) in REMEMBERING.iter().zip(&sums) {
        let [found, closed, filtered, _, unscanned] = sum.said;
        let all = sum.said.iter().sum::<u64>() as f64;
        let [found, missed, unscanned] =
            [found, closed + filtered, unscanned].map(|ports| 100.0 * ports as f64 / all);
        let ln_ratios: f64 = sum.ratios.iter().map(|ratio: &f64| ratio.ln()).sum();
        let _ = writeln!(
            table,
            "{name:22} {found:9.3} {missed:9.3} {unscanned:12.3} {:8} {:8.2} {:8.2}",
            sum.bounded,
            (ln_ratios / FEW as f64).exp(),
            sum.ratios.iter().copied().fold(0.0, f64::max),
        );
        assert!(
            !["accept queue", "on-link"].contains(name) || (missed == 0.0 && found > 99.0),
            "{name}: something was missed:\n{table}"
        );
    }
    is_as_it_was("tests/remembering.txt", &table);
}

/// Where the first attempts all get lost in a flood hosts must not be called silent for it.
#[test]
fn what_was_asked_before_a_narrow_path_is_known_is_asked_again() {
    let sparse_and_narrow = KINDS
        .iter()
        .find(|(name, _)| *name == "sparse and narrow")
        .expect("it is there");
    for seed in [21, 23, 61] {
        let run = play(
            &drawn(sparse_and_narrow, seed),
            seed,
            Settings::default(),
            CAP,
        );
        assert!(
            run.score.recall() > 0.95,
            "seed {seed}: {}",
            run.score.recall()
        );
    }
}
