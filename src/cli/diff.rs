//! `portreeve diff`: compares two reports, or a report with what may be open. It knows no flags.

use std::io::{self, BufWriter};
use std::path::Path;

use portreeve::report::ReadError;
use portreeve::report::diff::{self, Comparison, JsonLines, Side, Teller, Text};

use super::exit::{Code, Failure};
use super::request::{DiffRequest, Earlier, expected, services};
use super::stdout::Stdout;
use super::{inputs, tell};

/// Tells what differs, and in the exit code whether something does.
pub fn run(request: &DiffRequest) -> Result<Code, Failure> {
    let old = match &request.old {
        Earlier::Report(path) => read(path)?,
        Earlier::List(path) => Side::expected(&path.display().to_string(), expected(path)?),
    };
    if matches!(&request.old, Earlier::Report(path) if is_same(path, &request.new)) {
        tell("warning: both reports are the same file");
    }
    let comparison = Comparison::new(old, read(&request.new)?);
    for warning in comparison.warnings() {
        tell(&format!("warning: {warning}"));
    }
    let services = services();
    let out = BufWriter::new(Stdout::default());
    let mut to: Box<dyn Teller> = match request.json {
        true => Box::new(JsonLines::new(out, &services)),
        false => Box::new(Text::new(out, &comparison, &services)),
    };
    let counts = comparison.tell(&mut *to);
    let counts = counts.map_err(|error| Failure::from_write("standard output", error))?;
    Ok(if counts.differ() {
        Code::No
    } else {
        Code::Success
    })
}

fn read(path: &Path) -> Result<Side, ReadError> {
    let (name, reader) = inputs::open(path)?;
    diff::read(&name, reader)
}

fn is_same(one: &Path, other: &Path) -> bool {
    let there = |path: &Path| -> io::Result<_> { path.canonicalize() };
    there(one)
        .ok()
        .is_some_and(|one| there(other).is_ok_and(|other| one == other))
}
