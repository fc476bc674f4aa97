//! Findings one by one: the loop only turns while the next finding is awaited, and a scan that is
//! dropped ends. Looks for the first open port of this machine.
//!
//!     cargo run --example iterate

use std::net::TcpListener;

use portreeve::engine::{Options, Scanner, resolve};
use portreeve::plan::{Plan, Target};
use portreeve::scan::State;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    // So that there is something to find.
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let last = listener.local_addr()?.port();

    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1")?)
        .ports((1..=last).collect())
        .build(&mut resolve)?;
    for (count, finding) in (1..).zip(Scanner::new(plan, Options::default())?) {
        let finding = finding?;
        if finding.state() == State::Open {
            println!("{} is open, finding number {count}", finding.endpoint);
            break;
        }
    }
    Ok(())
}
