//! An experiment's runs for people: a table of medians, a bar chart, and what was found.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};

use super::{MEASURES, Run, Runs, Setting, Spread, named};
use crate::report::grouped;
use crate::scan::OwnError;

/// How a table looks.
#[derive(Clone, Copy, Debug, Default)]
pub struct TableStyle {
    /// Whether differences are red.
    pub color: bool,
    /// What the bars of a chart behind the table are made of; nothing for no chart.
    pub chart: Option<&'static str>,
}

impl Runs {
    /// For people: a line for each setting with the medians of its runs, and whether all verdicts
    /// agree.
    ///
    /// # Errors
    /// The writer's errors.
    pub fn write_text(&self, out: &mut impl Write, style: &TableStyle) -> io::Result<()> {
        let Some(first) = self.0.first() else {
            return writeln!(out, "no run came to its end");
        };
        let cells = self.cells();
        let mut rows = vec![heads(first)];
        rows.extend(cells.iter().map(|(settings, runs)| row(settings, runs)));
        let mut text = aligned(&rows);
        if let Some(bar) = style.chart {
            text += &chart(&cells, bar);
        }
        text += &self.verdicts(style.color);
        out.write_all(text.as_bytes())
    }

    /// What the runs found. Settings with other verdicts are called out, because there a limit has
    /// changed the answer.
    fn verdicts(&self, color: bool) -> String {
        let mut kinds: BTreeMap<u64, Vec<&Run>> = BTreeMap::new();
        self.0
            .iter()
            .for_each(|run| kinds.entry(run.verdicts).or_default().push(run));
        let mut kinds: Vec<Vec<&Run>> = kinds.into_values().collect();
        kinds.sort_by_key(|runs| std::cmp::Reverse(runs.len()));
        let mut text = String::new();
        if let [all] = kinds.as_slice() {
            let _ = writeln!(
                text,
                "\nThe same verdicts in all {} runs: {}",
                all.len(),
                found(all[0])
            );
            return text;
        }
        let (red, plain) = if color {
            ("\x1b[1;31m", "\x1b[0m")
        } else {
            ("", "")
        };
        let _ = writeln!(
            text,
            "\n{red}The verdicts differ: a limit changed the answer.{plain}"
        );
        for runs in kinds {
            let which: Vec<String> = runs
                .iter()
                .map(|run| format!("{} (run {})", named(&run.settings), run.round))
                .collect();
            let _ = writeln!(
                text,
                "{red}  {}{plain}: {}",
                found(runs[0]),
                which.join(", ")
            );
        }
        text
    }
}

fn found(run: &Run) -> String {
    let stats = &run.summary.stats;
    let count = |state| format!("{} {}", grouped(stats.in_state(state)), state.as_str());
    let counts: Vec<String> = stats.told_states().map(count).collect();
    counts.join(", ")
}

/// The table's column names in two lines: the quantity and its unit.
fn heads(run: &Run) -> Vec<String> {
    let knobs = run.settings.iter().map(|setting| setting.knob().as_str());
    let rest = [
        "seconds",
        "probes/s",
        "CPU us/probe",
        "user %",
        "sockets",
        "kernel MiB",
        "RSS MiB",
        "turns",
        "events/turn",
        "late p99 ms",
        "errors",
    ];
    knobs.chain(rest).map(str::to_owned).collect()
}

fn row(settings: &[Setting], runs: &[&Run]) -> Vec<String> {
    let median = |of: fn(&Run) -> Option<f64>| {
        Spread::of(runs.iter().filter_map(|run| of(run))).map(|spread| spread.median)
    };
    let measure = |name: &str| {
        MEASURES
            .iter()
            .find(|(other, _)| *other == name)
            .and_then(|(_, of)| median(*of))
    };
    let shown = |value: Option<f64>, places: usize| {
        value.map_or("-".into(), |value| format!("{value:.places$}"))
    };
    let mib = |bytes: Option<f64>| shown(bytes.map(|bytes| bytes / f64::from(1 << 20)), 1);
    let whole = |value: Option<f64>| value.map_or("-".into(), |value| grouped(value as u64));
    let user = median(|run| {
        Some(run.user_us as f64 * 100.0 / (run.user_us + run.system_us).max(1) as f64)
    });
    let mut row: Vec<String> = settings.iter().map(ToString::to_string).collect();
    row.extend([
        shown(measure("elapsed_us").map(|us| us / 1e6), 2),
        whole(measure("probes_per_s")),
        shown(measure("cpu_us_per_probe"), 1),
        shown(user, 0),
        whole(measure("peak_sockets")),
        mib(measure("socket_memory_bytes")),
        mib(measure("resident_bytes")),
        whole(measure("turns")),
        shown(measure("events_per_turn"), 1),
        shown(measure("late_p99_us").map(|us| us / 1e3), 1),
        errors(runs),
    ]);
    row
}

/// The local errors of all the runs.
fn errors(runs: &[&Run]) -> String {
    let all: Vec<(OwnError, u64)> = runs
        .iter()
        .flat_map(|run| run.summary.stats.own_errors())
        .collect();
    let count = |error: OwnError| {
        all.iter()
            .filter(|(other, _)| *other == error)
            .map(|(_, count)| count)
            .sum::<u64>()
    };
    let counts = OwnError::ALL
        .into_iter()
        .map(|error| (error.as_str(), count(error)))
        .filter(|&(_, count)| count > 0);
    let text: Vec<String> = counts
        .map(|(name, count)| format!("{} {name}", grouped(count)))
        .collect();
    if text.is_empty() {
        "none".into()
    } else {
        text.join(" ")
    }
}

/// Aligned columns, numbers to the right. A head of two words takes two lines.
fn aligned(rows: &[Vec<String>]) -> String {
    let split = |head: &String| {
        head.split_once(' ')
            .map_or((String::new(), head.clone()), |(what, unit)| {
                (what.to_owned(), unit.to_owned())
            })
    };
    let (what, unit): (Vec<String>, Vec<String>) = rows[0].iter().map(split).unzip();
    let lines: Vec<&Vec<String>> = [&what, &unit].into_iter().chain(&rows[1..]).collect();
    let width = |column: usize| {
        lines
            .iter()
            .map(|line| line[column].chars().count())
            .max()
            .unwrap_or(0)
    };
    let widths: Vec<usize> = (0..what.len()).map(width).collect();
    let mut text = String::new();
    for line in lines {
        let cells: Vec<String> = line
            .iter()
            .zip(&widths)
            .map(|(cell, &width)| format!("{cell:>width$}"))
            .collect();
        let _ = writeln!(text, "{}", cells.join("  ").trim_end());
    }
    text
}

/// The width of a chart in the terminal, in columns.
const BAR: usize = 40;

/// A bar chart of the probes per second.
fn chart(cells: &[(&[Setting], Vec<&Run>)], bar: &str) -> String {
    let medians: Vec<f64> = cells
        .iter()
        .map(|(_, runs)| {
            Spread::of(runs.iter().map(|run| run.summary.probes_per_s()))
                .map_or(0.0, |spread| spread.median)
        })
        .collect();
    let most = medians.iter().copied().fold(1.0, f64::max);
    let names: Vec<String> = cells.iter().map(|(settings, _)| named(settings)).collect();
    let width = names
        .iter()
        .map(|name| name.chars().count())
        .max()
        .unwrap_or(0);
    let mut text = String::from("\nprobes per second:\n");
    for (name, median) in names.iter().zip(medians) {
        let bar = bar.repeat((median / most * BAR as f64).round() as usize);
        let _ = writeln!(text, "{name:>width$}  {bar} {}", grouped(median as u64));
    }
    text
}
