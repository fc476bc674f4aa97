//! The results of an experiment: runs of one scan under different settings. It has the values;
//! `text` shows them to people, `values` writes CSV and JSON lines. All formats and the picture
//! share one list of columns, [`MEASURES`]; docs/OUTPUT.md describes it. It runs nothing.

mod text;
mod values;

use std::fmt;
use std::num::NonZeroU32;

use serde_json::Value;

use super::{Summary, grouped};
use crate::scan::{Controller, Histogram, OwnError, State};
pub use text::TableStyle;

/// A setting that can be varied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knob {
    /// Sockets at once.
    MaxFds,
    /// Attempts per second.
    MaxRate,
    /// The timeout of an attempt.
    Timeout,
    /// Retries at a silent endpoint.
    MaxRetries,
    /// Whether each attempt gets a new socket.
    FreshSockets,
    /// The rate controller.
    Controller,
}

impl Knob {
    /// All of them.
    pub const ALL: [Knob; 6] = [
        Knob::MaxFds,
        Knob::MaxRate,
        Knob::Timeout,
        Knob::MaxRetries,
        Knob::FreshSockets,
        Knob::Controller,
    ];

    /// The name in reports. All but `controller` are options of the command, too.
    pub fn as_str(self) -> &'static str {
        match self {
            Knob::MaxFds => "max-fds",
            Knob::MaxRate => "max-rate",
            Knob::Timeout => "timeout",
            Knob::MaxRetries => "max-retries",
            Knob::FreshSockets => "fresh-sockets",
            Knob::Controller => "controller",
        }
    }
}

/// A knob's value in some runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// Sockets at once.
    MaxFds(u32),
    /// Attempts per second; `None` for no limit.
    MaxRate(Option<NonZeroU32>),
    /// The timeout of an attempt, in microseconds.
    Timeout(u64),
    /// Retries at a silent endpoint.
    MaxRetries(u8),
    /// Whether each attempt gets a new socket.
    FreshSockets(bool),
    /// The rate controller.
    Controller(Controller),
}

impl Setting {
    /// Which knob has this value.
    pub fn knob(self) -> Knob {
        match self {
            Setting::MaxFds(_) => Knob::MaxFds,
            Setting::MaxRate(_) => Knob::MaxRate,
            Setting::Timeout(_) => Knob::Timeout,
            Setting::MaxRetries(_) => Knob::MaxRetries,
            Setting::FreshSockets(_) => Knob::FreshSockets,
            Setting::Controller(_) => Knob::Controller,
        }
    }

    /// The value for programs; null for no limit.
    fn json(self) -> Value {
        match self {
            Setting::MaxFds(count) => count.into(),
            Setting::MaxRate(per_s) => per_s.map(NonZeroU32::get).into(),
            Setting::Timeout(us) => us.into(),
            Setting::MaxRetries(count) => count.into(),
            Setting::FreshSockets(is_fresh) => u8::from(is_fresh).into(),
            Setting::Controller(controller) => controller.as_str().into(),
        }
    }
}

impl fmt::Display for Setting {
    /// The value, as people write it.
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        match *self {
            Setting::MaxFds(count) => out.write_str(&grouped(count.into())),
            Setting::MaxRate(None) => out.write_str("none"),
            Setting::MaxRate(Some(per_s)) => out.write_str(&grouped(per_s.get().into())),
            Setting::Timeout(us) if us % 1_000_000 == 0 => write!(out, "{}s", us / 1_000_000),
            Setting::Timeout(us) => write!(out, "{}ms", us as f64 / 1_000.0),
            Setting::MaxRetries(count) => out.write_str(&grouped(count.into())),
            Setting::FreshSockets(is_fresh) => out.write_str(if is_fresh { "yes" } else { "no" }),
            Setting::Controller(controller) => out.write_str(controller.as_str()),
        }
    }
}

/// One run.
#[derive(Clone, Debug)]
pub struct Run {
    /// The varied settings, one or two.
    pub settings: Vec<Setting>,
    /// The number of the repetition, from 1.
    pub round: u32,
    /// What the scan counted.
    pub summary: Summary,
    /// Processor time in user mode, in microseconds.
    pub user_us: u64,
    /// Processor time in the kernel, in microseconds.
    pub system_us: u64,
    /// The peak of resident memory, in bytes, sampled ten times a second; `None` where the system
    /// does not report it.
    pub resident_bytes: Option<u64>,
    /// A number that is equal for equal verdicts on equal endpoints, in whatever order they came.
    pub verdicts: u64,
}

/// A column: its name, and its value in a run.
pub type Measure = (&'static str, fn(&Run) -> Option<f64>);

/// The columns of CSV and JSON. Behind them, there is a column for each state and each local error.
pub const MEASURES: [Measure; 20] = [
    ("elapsed_us", |run| Some(run.summary.elapsed.us as f64)),
    ("cpu_user_us", |run| Some(run.user_us as f64)),
    ("cpu_system_us", |run| Some(run.system_us as f64)),
    ("cpu_us_per_probe", |run| {
        Some((run.user_us + run.system_us) as f64 / scanned(run).max(1) as f64)
    }),
    ("probes_per_s", |run| Some(run.summary.probes_per_s())),
    ("attempts", |run| Some(run.summary.stats.attempts as f64)),
    ("retries", |run| Some(run.summary.stats.retries as f64)),
    ("rtt_p50_us", |run| quantile(&run.summary.stats.rtt, 0.5)),
    ("rtt_p99_us", |run| quantile(&run.summary.stats.rtt, 0.99)),
    ("cap", |run| Some(run.summary.cap.into())),
    ("peak_sockets", |run| Some(run.summary.peak_sockets.into())),
    ("sockets_opened", |run| {
        Some(run.summary.sockets_opened as f64)
    }),
    ("resident_bytes", |run| {
        run.resident_bytes.map(|bytes| bytes as f64)
    }),
    ("socket_memory_bytes", |run| {
        Some(run.summary.socket_memory_bytes() as f64)
    }),
    ("tcp_memory_growth_bytes", |run| {
        run.summary
            .tcp_memory_growth_bytes
            .map(|bytes| bytes as f64)
    }),
    ("turns", |run| Some(run.summary.turns as f64)),
    ("events_per_turn", |run| {
        Some(run.summary.events as f64 / run.summary.turns.max(1) as f64)
    }),
    ("late_p50_us", |run| quantile(&run.summary.late, 0.5)),
    ("late_p99_us", |run| quantile(&run.summary.late, 0.99)),
    ("own_errors", |run| {
        Some(
            run.summary
                .stats
                .own_errors()
                .map(|(_, count)| count)
                .sum::<u64>() as f64,
        )
    }),
];

fn scanned(run: &Run) -> u64 {
    run.summary.stats.planned - run.summary.stats.in_state(State::Unscanned)
}

fn quantile(times: &Histogram, quantile: f64) -> Option<f64> {
    times.quantile_us(quantile).map(|us| us as f64)
}

/// All columns of a run: [`MEASURES`], the states and the local errors.
fn columns(run: &Run) -> impl Iterator<Item = (&'static str, Option<f64>)> + '_ {
    let stats = &run.summary.stats;
    let states = State::ALL.into_iter().map(|state| {
        let name = match state {
            State::NotOpen => "not_open",
            other => other.as_str(),
        };
        (name, Some(stats.in_state(state) as f64))
    });
    let errors = OwnError::ALL.into_iter().map(|error| {
        let count = stats
            .own_errors()
            .find(|&(other, _)| other == error)
            .map_or(0, |(_, count)| count);
        (error.as_str(), Some(count as f64))
    });
    MEASURES
        .into_iter()
        .map(|(name, of)| (name, of(run)))
        .chain(states)
        .chain(errors)
}

/// The minimum, the median and the maximum of some runs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The minimum.
    pub least: f64,
    /// The median.
    pub median: f64,
    /// The maximum.
    pub most: f64,
}

impl Spread {
    /// The spread of these values; `None` if there are none.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.into_iter().collect();
        values.sort_by(f64::total_cmp);
        let least = *values.first()?;
        let most = *values.last()?;
        let median = (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0;
        Some(Spread {
            least,
            median,
            most,
        })
    }
}

/// The runs of an experiment, in the order they were made.
#[derive(Clone, Debug, Default)]
pub struct Runs(pub Vec<Run>);

impl Runs {
    /// The settings in the order they were tried, each with its runs.
    pub fn cells(&self) -> Vec<(&[Setting], Vec<&Run>)> {
        let mut cells: Vec<(&[Setting], Vec<&Run>)> = Vec::new();
        for run in &self.0 {
            match cells
                .iter_mut()
                .find(|(settings, _)| *settings == run.settings)
            {
                Some((_, runs)) => runs.push(run),
                None => cells.push((&run.settings, vec![run])),
            }
        }
        cells
    }

    /// Whether all runs reached the same verdicts.
    pub fn agree(&self) -> bool {
        self.0
            .windows(2)
            .all(|pair| pair[0].verdicts == pair[1].verdicts)
    }
}

/// `max-fds 64` or `max-fds 64, timeout 200ms`.
pub fn named(settings: &[Setting]) -> String {
    settings
        .iter()
        .map(|setting| format!("{} {setting}", setting.knob().as_str()))
        .collect::<Vec<_>>()
        .join(", ")
}

#[cfg(test)]
pub(super) mod tests {
    use super::values::csv_field;
    use super::*;
    use crate::report::fixture::{golden, summary};

    /// Runs of one summary at two settings, two rounds; the last one differs.
    pub fn runs(few: &[Setting], many: &[Setting]) -> Runs {
        let run = |round: u32, settings: &[Setting], system_us: u64| Run {
            settings: settings.to_vec(),
            round,
            summary: summary(),
            user_us: 1_000 * u64::from(round),
            system_us,
            resident_bytes: Some(4 << 20),
            verdicts: 7,
        };
        Runs(vec![
            run(1, few, 9_000 * 16),
            run(1, many, 9_000 * 4_096),
            run(2, few, 9_000 * 16),
            run(2, many, 9_000 * 4_096),
        ])
    }

    fn shown(runs: &Runs, style: TableStyle) -> String {
        let mut text = Vec::new();
        runs.write_text(&mut text, &style).unwrap();
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn every_format_is_as_described() {
        let runs = runs(&[Setting::MaxFds(16)], &[Setting::MaxFds(4_096)]);
        golden(
            "experiment.txt",
            &shown(
                &runs,
                TableStyle {
                    color: false,
                    chart: Some("█"),
                },
            ),
        );
        let mut csv = Vec::new();
        let mut json = Vec::new();
        runs.write_csv(&mut csv).unwrap();
        runs.write_json(&mut json).unwrap();
        golden("experiment.csv", &String::from_utf8(csv).unwrap());
        golden("experiment.jsonl", &String::from_utf8(json).unwrap());
    }

    #[test]
    fn a_different_verdict_is_called_out_in_red() {
        let mut runs = runs(
            &[Setting::Timeout(16), Setting::FreshSockets(true)],
            &[Setting::Timeout(4_096), Setting::FreshSockets(true)],
        );
        assert!(runs.agree() && !shown(&runs, TableStyle::default()).contains("differ"));
        runs.0[3].verdicts = 8;
        assert!(!runs.agree());
        let plain = shown(&runs, TableStyle::default());
        assert!(
            plain.contains("The verdicts differ")
                && plain.contains("timeout 4.096ms, fresh-sockets yes (run 2)"),
            "{plain}"
        );
        assert!(
            shown(
                &runs,
                TableStyle {
                    color: true,
                    chart: None
                }
            )
            .contains("\x1b[1;31m")
        );
    }

    #[test]
    fn medians_and_spreads() {
        assert_eq!(
            Spread::of([3.0, 1.0, 2.0]),
            Some(Spread {
                least: 1.0,
                median: 2.0,
                most: 3.0
            })
        );
        assert_eq!(
            Spread::of([4.0, 1.0]).map(|spread| spread.median),
            Some(2.5)
        );
        assert_eq!(Spread::of([]), None);
    }

    #[test]
    fn values_are_shown_as_they_are_typed_and_written_as_they_are_stored() {
        let check = |setting: Setting, text: &str, field: &str| {
            assert_eq!(setting.to_string(), text);
            assert_eq!(csv_field(setting.json()), field);
        };
        check(Setting::Timeout(1_500_000), "1500ms", "1500000");
        check(Setting::Timeout(2_000_000), "2s", "2000000");
        check(Setting::MaxRate(None), "none", "");
        check(Setting::MaxRate(NonZeroU32::new(1_000)), "1,000", "1000");
        check(Setting::MaxRetries(3), "3", "3");
        check(Setting::FreshSockets(true), "yes", "1");
        check(Setting::MaxFds(4_096), "4,096", "4096");
        check(Setting::Controller(Controller::Aimd), "aimd", "aimd");
    }
}
