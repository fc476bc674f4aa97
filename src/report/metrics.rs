//! The counters of a running scan in Prometheus's text format. The names are a contract, see
//! docs/OUTPUT.md. It knows counters, no sockets: the engine serves the page.

use std::fmt::Write as _;

use super::Progress;
use crate::scan::State;

/// The quantiles of round-trip times that are exported.
const QUANTILES: [f64; 3] = [0.5, 0.9, 0.99];

/// Writes the counters in Prometheus's text format, version 0.0.4.
pub fn metrics(progress: &Progress) -> String {
    let stats = progress.stats;
    let mut page = Page(String::with_capacity(4_096));
    page.number(
        "elapsed_seconds",
        "gauge",
        "Time since the scan began.",
        progress.elapsed.us as f64 / 1e6,
    );
    page.number(
        "planned_endpoints",
        "gauge",
        "Endpoints to scan.",
        stats.planned as f64,
    );
    let reasons = State::ALL
        .into_iter()
        .flat_map(|state| stats.reasons(state));
    let settled = reasons.map(|(reason, count)| {
        (
            format!(
                "state=\"{}\",reason=\"{}\"",
                reason.state().as_str(),
                reason.as_str()
            ),
            count,
        )
    });
    page.family(
        "settled_endpoints_total",
        "counter",
        "Endpoints that have their verdict.",
        settled,
    );
    page.number(
        "attempts_total",
        "counter",
        "Connection attempts that an answer or silence ended.",
        stats.attempts as f64,
    );
    page.number(
        "retries_total",
        "counter",
        "Attempts that were not an endpoint's first.",
        stats.retries as f64,
    );
    page.number(
        "voided_attempts_total",
        "counter",
        "Attempts that do not count and are made again.",
        stats.voided as f64,
    );
    page.number(
        "lost_attempts_total",
        "counter",
        "Attempts at answering endpoints before the one that was answered.",
        stats.lost as f64,
    );
    let own_errors = stats
        .own_errors()
        .map(|(error, count)| (format!("errno=\"{}\"", error.as_str()), count));
    page.family(
        "own_errors_total",
        "counter",
        "Errors of this machine, each of which sent its probe back.",
        own_errors,
    );
    page.number(
        "outages_total",
        "counter",
        "How often the network went away.",
        stats.outages.into(),
    );
    page.number(
        "sockets_in_flight",
        "gauge",
        "Sockets with an attempt under way.",
        stats.in_flight.into(),
    );
    page.number(
        "sockets_cap",
        "gauge",
        "Sockets that may have one.",
        stats.cap.into(),
    );
    page.number(
        "pace_attempts_per_second",
        "gauge",
        "What the path is believed to take.",
        progress.pace.per_s.into(),
    );
    page.number(
        "loss_ratio",
        "gauge",
        "The share of attempts at answering endpoints that was lost.",
        stats.loss(),
    );
    page.head("rtt_seconds", "summary", "Round-trip times.");
    for quantile in QUANTILES {
        let seconds = stats
            .rtt
            .quantile_us(quantile)
            .map_or(f64::NAN, |us| us as f64 / 1e6);
        page.sample("rtt_seconds", &format!("quantile=\"{quantile}\""), seconds);
    }
    page.sample("rtt_seconds_sum", "", stats.rtt.sum_us() as f64 / 1e6);
    page.sample("rtt_seconds_count", "", stats.rtt.samples() as f64);
    page.0
}

/// A page of metrics; all names begin with `portreeve_`.
struct Page(String);

impl Page {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        let _ = write!(
            self.0,
            "# HELP portreeve_{name} {help}\n# TYPE portreeve_{name} {kind}\n"
        );
    }

    fn sample(&mut self, name: &str, labels: &str, value: f64) {
        let value = if value.is_nan() {
            "NaN".into()
        } else {
            value.to_string()
        };
        let _ = match labels {
            "" => writeln!(self.0, "portreeve_{name} {value}"),
            _ => writeln!(self.0, "portreeve_{name}{{{labels}}} {value}"),
        };
    }

    fn number(&mut self, name: &str, kind: &str, help: &str, value: f64) {
        self.head(name, kind, help);
        self.sample(name, "", value);
    }

    fn family(
        &mut self,
        name: &str,
        kind: &str,
        help: &str,
        samples: impl Iterator<Item = (String, u64)>,
    ) {
        self.head(name, kind, help);
        samples.for_each(|(labels, count)| self.sample(name, &labels, count as f64));
    }
}

#[cfg(all(test, feature = "cli"))]
mod tests {
    use super::*;
    use crate::report::Sink;
    use crate::report::fixture::{golden, play};

    /// The last page of a scan.
    #[derive(Default)]
    struct Pages(String);

    impl Sink for Pages {
        fn progress(&mut self, progress: &Progress) -> std::io::Result<()> {
            self.0 = metrics(progress);
            Ok(())
        }
    }

    #[test]
    fn metrics_are_as_described() {
        let mut pages = Pages::default();
        play(&mut pages);
        golden("metrics.txt", &pages.0);
    }
}
