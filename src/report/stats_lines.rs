//! The state of a running scan as a JSON line each second, for whoever watches it from outside.
//! docs/OUTPUT.md describes the fields; they are a contract. It knows counters and how fast they
//! grow, no sockets.

use std::io::{self, Write};

use serde::Serialize;

use super::record::{Counts, Quantiles, is_zero, own_errors, rounded};
use super::{Progress, Sink, Summary};
use crate::scan::{Pace, State, Stats, Time};

/// Writes a JSON line to `W` each second, and one at the end. A line that `W` does not accept at
/// once ([`WouldBlock`](io::ErrorKind::WouldBlock)) is dropped and counted, so a slow reader costs
/// lines but no time.
#[derive(Debug)]
pub struct StatsLines<W> {
    out: W,
    next: Time,
    last: Option<(Time, Counted)>,
    pace: Option<Pace>,
    dropped: u64,
}

/// The counts that rates are computed from.
#[derive(Clone, Copy, Debug, Default)]
struct Counted {
    attempts: u64,
    settled: u64,
}

#[derive(Serialize)]
struct Line {
    r#type: &'static str,
    elapsed_us: u64,
    planned: u64,
    settled: u64,
    settled_per_s: u64,
    open: u64,
    closed: u64,
    filtered: u64,
    #[serde(skip_serializing_if = "is_zero")]
    not_open: u64,
    unscanned: u64,
    attempts: u64,
    attempts_per_s: u64,
    retries: u64,
    voided: u64,
    pace_per_s: Option<u32>,
    pace_reason: Option<&'static str>,
    in_flight: u32,
    cap: u32,
    rtt_us: Option<Quantiles>,
    loss: f64,
    outages: u32,
    own_errors: Counts,
    dropped_lines: u64,
    is_last: bool,
}

const EVERY_US: u64 = 1_000_000;

impl<W: Write> StatsLines<W> {
    /// A sink that writes each line to `out` with one call.
    pub fn new(out: W) -> Self {
        StatsLines {
            out,
            next: Time::default(),
            last: None,
            pace: None,
            dropped: 0,
        }
    }

    fn write(&mut self, stats: &Stats, now: Time, is_last: bool) -> io::Result<()> {
        let counted = Counted {
            attempts: stats.attempts,
            settled: stats.settled(),
        };
        let (since, before) = self.last.replace((now, counted)).unwrap_or_default();
        let per_s = |now_count: u64, before: u64| {
            (now_count - before) * 1_000_000 / now.us_since(since).max(1)
        };
        let line = Line {
            r#type: "stats",
            elapsed_us: now.us,
            planned: stats.planned,
            settled: counted.settled,
            settled_per_s: per_s(counted.settled, before.settled),
            open: stats.in_state(State::Open),
            closed: stats.in_state(State::Closed),
            filtered: stats.in_state(State::Filtered),
            not_open: stats.in_state(State::NotOpen),
            unscanned: stats.in_state(State::Unscanned),
            attempts: stats.attempts,
            attempts_per_s: per_s(counted.attempts, before.attempts),
            retries: stats.retries,
            voided: stats.voided,
            pace_per_s: self.pace.map(|pace| pace.per_s),
            pace_reason: self.pace.map(|pace| pace.reason.as_str()),
            in_flight: stats.in_flight,
            cap: stats.cap,
            rtt_us: Quantiles::of(&stats.rtt),
            loss: rounded(stats.loss()),
            outages: stats.outages,
            own_errors: own_errors(stats),
            dropped_lines: self.dropped,
            is_last,
        };
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        match self.out.write_all(&text) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                self.dropped += 1;
                Ok(())
            }
            written => written,
        }
    }
}

impl<W: Write> Sink for StatsLines<W> {
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if progress.elapsed < self.next {
            return Ok(());
        }
        self.next = progress.elapsed.plus_us(EVERY_US);
        self.pace = Some(progress.pace);
        self.write(progress.stats, progress.elapsed, false)
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.write(&summary.stats, summary.elapsed, true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{golden, play};

    #[test]
    fn lines_are_as_described() {
        let mut lines = Vec::new();
        play(&mut StatsLines::new(&mut lines));
        golden("stats.jsonl", &String::from_utf8(lines).unwrap());
    }

    /// A pipe that is full for the first line.
    #[derive(Default)]
    struct Slow(Vec<u8>, bool);

    impl std::io::Write for Slow {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            if !std::mem::replace(&mut self.1, true) {
                return Err(std::io::ErrorKind::WouldBlock.into());
            }
            self.0.extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_line_that_cannot_be_written_at_once_is_dropped_and_counted() {
        let mut slow = Slow::default();
        play(&mut StatsLines::new(&mut slow));
        let line: serde_json::Value = serde_json::from_slice(&slow.0).expect("one line is left");
        assert_eq!(
            (&line["dropped_lines"], &line["is_last"]),
            (&1.into(), &true.into())
        );
    }
}
