//! Shows the progress: as a line on a terminal, and as a printed line when a key or a signal asks
//! for it.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use portreeve::engine::StopHandle;
use portreeve::report::{Progress, counted, grouped};
use portreeve::scan::State;

use super::keys::Keys;
use super::remaining::{Lately, Remaining};
use super::signals::Signals;
use super::terminal::understands_escapes;
use super::throttle::Throttle;

/// The progress line and what asks for it.
pub struct Line {
    bar: ProgressBar,
    signals: Signals,
    stop: StopHandle,
    throttle: Throttle,
    keys: Option<Keys>,
    lately: Lately,
}

/// A line on standard error, if that is a terminal where it can be redrawn; otherwise nothing.
pub fn bar(quiet: bool) -> ProgressBar {
    let target = if quiet || !understands_escapes() {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    // The template is a constant and correct; the default would only look different.
    let style =
        ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::with_draw_target(None, target).with_style(style)
}

impl Line {
    pub fn new(
        bar: ProgressBar,
        signals: Signals,
        stop: StopHandle,
        throttle: Throttle,
        keys: Option<Keys>,
    ) -> Self {
        Line {
            bar,
            signals,
            stop,
            throttle,
            keys,
            lately: Lately::default(),
        }
    }

    /// Redraws the line. Prints it, or changes the rate, if a key or a signal has asked for that.
    pub fn show(&mut self, progress: &Progress) {
        if self.stop.is_stopped() {
            // Give the terminal back at once: a second Ctrl-C ends the process without further
            // notice.
            self.keys = None;
        }
        self.throttle.look(progress);
        let remaining = self.lately.look(progress);
        let mut said = Vec::new();
        if self.signals.take_slower_request() {
            said.push(self.throttle.slower());
        }
        let mut asked = self.signals.take_status_request();
        for key in self.keys.as_mut().map_or(Vec::new(), Keys::pressed) {
            match key {
                b'd' => asked = true,
                b'+' => said.push(self.throttle.faster()),
                b'-' => said.push(self.throttle.slower()),
                _ => {}
            }
        }
        if said.is_empty() && !asked && self.bar.is_hidden() {
            return;
        }
        let line = status(progress, &remaining);
        self.bar.set_message(line.clone());
        said.extend(asked.then_some(line));
        said.iter()
            .for_each(|line| self.bar.suspend(|| super::tell(line)));
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

/// `18 % of 65,535, 10,203 attempts/s, 1,024 of 19,985 in flight, 3 open, 5 s left`.
fn status(progress: &Progress, remaining: &Remaining) -> String {
    let stats = progress.stats;
    let left = remaining
        .seconds
        .map_or("no estimate yet".into(), |seconds| {
            format!("{} left", about(seconds as u64))
        });
    format!(
        "{:.0} % of {}, {}, {} of {} in flight, {} open, {left}",
        remaining.share * 100.0,
        grouped(stats.planned),
        counted(remaining.per_s as u64, "attempt/s", "attempts/s"),
        grouped(stats.in_flight.into()),
        grouped(stats.cap.into()),
        grouped(stats.in_state(State::Open)),
    )
}

/// The remaining time, as coarse as the estimate is.
fn about(seconds: u64) -> String {
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", grouped(seconds / 86_400)),
    }
}
