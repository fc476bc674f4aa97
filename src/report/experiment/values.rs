//! An experiment's runs for programs: comma-separated values and JSON lines, of the same columns.

use std::collections::BTreeMap;
use std::io::{self, Write};

use serde_json::Value;

use super::{Runs, columns};

impl Runs {
    /// Comma-separated values (RFC 4180): a line of names, and a line for each run. An unknown
    /// value is empty.
    ///
    /// # Errors
    /// The writer's errors.
    pub fn write_csv(&self, out: &mut impl Write) -> io::Result<()> {
        let Some(first) = self.0.first() else {
            return Ok(());
        };
        let knobs = first.settings.iter().map(|setting| setting.knob().as_str());
        let names = knobs.chain(columns(first).map(|(name, _)| name));
        writeln!(
            out,
            "round,{},verdicts,exit",
            names.collect::<Vec<_>>().join(",")
        )?;
        for run in &self.0 {
            let settings = run.settings.iter().map(|setting| setting.json());
            let values = settings.chain(columns(run).map(|(_, value)| number(value)));
            let text: Vec<String> = values.map(csv_field).collect();
            writeln!(
                out,
                "{},{},{:016x},{}",
                run.round,
                text.join(","),
                run.verdicts,
                run.summary.exit.as_str()
            )?;
        }
        Ok(())
    }

    /// JSON lines: an object for each run, with the CSV's columns by name.
    ///
    /// # Errors
    /// The writer's errors.
    pub fn write_json(&self, out: &mut impl Write) -> io::Result<()> {
        for run in &self.0 {
            let settings = run
                .settings
                .iter()
                .map(|setting| (setting.knob().as_str(), setting.json()));
            let values: BTreeMap<&str, Value> = settings
                .chain(columns(run).map(|(name, value)| (name, number(value))))
                .collect();
            let mut record = serde_json::json!({
                "type": "run", "round": run.round, "verdicts": format!("{:016x}", run.verdicts), "exit": run.summary.exit.as_str(),
            });
            record.as_object_mut().into_iter().for_each(|fields| {
                fields.extend(
                    values
                        .iter()
                        .map(|(name, value)| ((*name).to_owned(), value.clone())),
                );
            });
            writeln!(out, "{record}")?;
        }
        Ok(())
    }
}

/// An integer where it is one, else with three places: more would be noise. Null if unknown.
fn number(value: Option<f64>) -> Value {
    match value {
        None => Value::Null,
        Some(value) if value.fract() == 0.0 => (value as u64).into(),
        Some(value) => ((value * 1e3).round() / 1e3).into(),
    }
}

/// A value in CSV: words without quotes, nothing for null.
pub(super) fn csv_field(value: Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(word) => word,
        number => number.to_string(),
    }
}
