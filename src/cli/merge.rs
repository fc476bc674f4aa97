//! `portreeve merge`: joins the JSON lines of shards. It knows no flags.

use std::path::{Path, PathBuf};

use portreeve::engine::{self, StopHandle};
use portreeve::report::merge::{Joined, MergeError, Part};
use portreeve::report::{ReadError, StateSet};
use portreeve::scan::State;

use super::exit::{Code, Failure};
use super::opening::{self, Destination};
use super::request::{MergeRequest, services};
use super::{inputs, progress, tell};

/// Joins the files, and says what is missing.
pub fn run(request: &MergeRequest) -> Result<Code, Failure> {
    let joined = Joined::new(read_all(&request.files)?)?;
    for lack in joined.lacks() {
        tell(&format!("warning: {lack}"));
    }
    let listed = joined.states();
    if let Some(show) = request.outputs.show {
        warn_of_counted(show, listed);
    }
    let services = services();
    let bar = progress::bar(true);
    let to = Destination {
        request: &request.outputs,
        is_kept: false,
        listed: Some(listed),
        services: &services,
        bar: &bar,
        stop: StopHandle::default(),
    };
    let taken: Vec<&Path> = request.files.iter().map(PathBuf::as_path).collect();
    let mut outputs = opening::open(&to, &taken, None)?;
    let summary = joined.tell(&mut outputs).map_err(engine::Error::Report)?;
    let is_none = summary.stats.in_state(State::Open) == 0;
    Ok(Code::of(&summary, request.outputs.fail_if_none && is_none))
}

fn read_all(files: &[PathBuf]) -> Result<Vec<Part>, Failure> {
    let mut parts = Vec::new();
    for path in files {
        match read(path) {
            Ok(part) => parts.push(part),
            // A shard that was interrupted at once must not spoil the others.
            Err(error @ ReadError::Untold { .. }) if files.len() > 1 => {
                tell(&format!("warning: {error}"))
            }
            Err(error) => return Err(MergeError::from(error).into()),
        }
    }
    Ok(parts)
}

fn read(path: &Path) -> Result<Part, ReadError> {
    let (name, reader) = inputs::open(path)?;
    Part::read(&name, reader)
}

/// Warns of states that are to be shown but only counted in the files.
fn warn_of_counted(show: StateSet, listed: StateSet) {
    let only_counted: Vec<&str> = State::ALL
        .into_iter()
        .filter(|&state| show.lists(state) && !listed.lists(state))
        .map(State::as_str)
        .collect();
    if !only_counted.is_empty() {
        tell(&format!(
            "warning: not every file lists what is {}; the scans have to be run with --show, too",
            only_counted.join(", ")
        ));
    }
}
