//! A sink of one's own: it hears of the beginning, each finding, the progress and the end. This one
//! writes CSV to standard output and the rest to standard error. If writing fails, the scan stops.
//!
//!     cargo run --example sink

use std::io::{self, Write};

use portreeve::engine::{Options, Scanner, resolve};
use portreeve::plan::{Plan, Target};
use portreeve::report::{Begin, Progress, Sink, Summary};
use portreeve::scan::Finding;

struct Csv<W>(W);

impl<W: Write> Sink for Csv<W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        eprintln!("at most {} sockets at once", begin.cap);
        writeln!(self.0, "address,port,state,reason")
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let ip = finding.endpoint.ip();
        let port = finding.endpoint.port();
        let state = finding.state().as_str();
        writeln!(self.0, "{ip},{port},{state},{}", finding.reason.as_str())
    }

    /// Called ten times a second.
    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        let stats = progress.stats;
        eprintln!("{} of {} ports", stats.settled(), stats.planned);
        self.0.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        eprintln!("{} in {} us", summary.exit.as_str(), summary.elapsed.us);
        self.0.flush()
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = Plan::builder()
        .target(Target::parse("127.0.0.1")?)
        .ports([22, 25, 53, 80, 443].into_iter().collect())
        .build(&mut resolve)?;
    let mut sink = Csv(io::stdout().lock());
    Scanner::new(plan, Options::default())?.run(&mut sink)?;
    Ok(())
}
