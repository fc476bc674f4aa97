//! The shortest scan: this machine's ports 1 to 1,024, with a closure for the findings.
//!
//!     cargo run --example scan

use portreeve::engine::{Options, Scanner, resolve};
use portreeve::plan::{Plan, Target};
use portreeve::scan::{Finding, State};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1")?)
        .ports((1..=1_024).collect())
        .build(&mut resolve)?;
    let mut scanner = Scanner::new(plan, Options::default())?;
    let summary = scanner.run(&mut |finding: &Finding| {
        if finding.state() == State::Open {
            println!("{} is open", finding.endpoint);
        }
    })?;
    let open = summary.stats.in_state(State::Open);
    println!("{open} of {} ports are open", summary.stats.planned);
    Ok(())
}
