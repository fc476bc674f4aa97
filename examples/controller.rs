//! A rate controller of one's own: a hundred attempts a second, and a second's pause whenever a
//! port that had answered before is silent.
//!
//!     cargo run --example controller

use portreeve::engine::{Options, Scanner, resolve};
use portreeve::plan::{Plan, Target};
use portreeve::scan::control::{
    Ending, IntervalId, Observation, PathView, Prior, RateController, Wait,
};
use portreeve::scan::{Finding, Pace, PaceReason, State, Time};

const PER_S: u32 = 100;
const PAUSE_US: u64 = 1_000_000;

#[derive(Debug, Default)]
struct Courteous {
    next: Time,
}

impl RateController for Courteous {
    fn next_send(&mut self, now: Time) -> Option<Time> {
        (now < self.next).then_some(self.next)
    }

    fn on_sent(&mut self, _prior: Prior, now: Time) -> IntervalId {
        self.next = now.plus_us(1_000_000 / u64::from(PER_S));
        IntervalId::default()
    }

    fn on_observation(
        &mut self,
        seen: &Observation,
        _id: IntervalId,
        _wait: Wait,
        _path: Option<&PathView>,
    ) {
        if seen.ending == Ending::Silent && matches!(seen.prior, Prior::Certain) {
            self.next = self.next.plus_us(PAUSE_US);
        }
    }

    fn pace(&self) -> Pace {
        Pace {
            per_s: PER_S,
            reason: PaceReason::Start,
        }
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1")?)
        .ports((1..=200).collect())
        .build(&mut resolve)?;
    let mut scanner = Scanner::new(plan, Options::default())?;
    scanner.set_path_controller(Box::new(Courteous::default()));
    let summary = scanner.run(&mut |finding: &Finding| {
        if finding.state() == State::Open {
            println!("{} is open", finding.endpoint);
        }
    })?;
    println!(
        "{} attempts in {} us",
        summary.stats.attempts, summary.elapsed.us
    );
    Ok(())
}
