//! Exit codes and the failures behind them. They are documented in the README and in --help;
//! scripts rely on them.

use std::io;
use std::process::ExitCode;

use portreeve::engine;
use portreeve::plan::PlanError;
use portreeve::report::merge::MergeError;
use portreeve::report::{Exit, ReadError, Summary};

use super::advice;

/// The exit codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Code {
    /// Every endpoint has a verdict. Also: help was printed, or a pipe was closed.
    Success = 0,
    /// As `Success`, but the answer is no: nothing is open, and that was to count as a failure; or
    /// reports differ.
    No = 1,
    /// The command line asks for something impossible.
    Usage = 2,
    /// Something could not be scanned, for reasons on this machine.
    Incomplete = 3,
    /// The scan could not begin or a report could not be written.
    Failed = 4,
    /// Stopped by Ctrl-C or SIGTERM.
    Interrupted = 130,
}

impl Code {
    /// The exit code for the end of a scan; `fails_with_none`: it found nothing, and that was to
    /// count as a failure, in the manner of grep.
    pub fn of(summary: &Summary, fails_with_none: bool) -> Self {
        match summary.exit {
            Exit::Interrupted => Code::Interrupted,
            Exit::Incomplete | Exit::ReportFailed => Code::Incomplete,
            Exit::Complete if fails_with_none => Code::No,
            Exit::Complete => Code::Success,
        }
    }
}

impl From<Code> for ExitCode {
    fn from(code: Code) -> Self {
        (code as u8).into()
    }
}

/// Why the command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// An option's value cannot be used.
    #[error("{0}")]
    Usage(String),
    /// The plan cannot be built.
    #[error("{}", advice::plan(.0))]
    Plan(#[from] PlanError),
    /// Whoever read the output has gone. That ends the work, but is no error.
    #[error("the output's reader has gone")]
    ClosedPipe,
    /// A file could not be written.
    #[error("{name} cannot be written: {error}")]
    Write {
        /// The file's name.
        name: String,
        /// What the system said.
        error: io::Error,
    },
    /// Shards cannot be joined.
    #[error("{}", advice::merge(.0))]
    Merge(#[from] MergeError),
    /// A report to be compared cannot be read.
    #[error("{}", advice::unread(.0))]
    Unread(#[from] ReadError),
    /// The program's file gives it rights that its caller lacks.
    #[error(
        "this program was given rights that its caller lacks (set-user-id, set-group-id or \
         capabilities), and would write files with them; it needs none: chmod ug-s and setcap -r \
         take them from its file"
    )]
    BorrowedRights,
    /// The kernel gives no random numbers.
    #[error("the kernel gives no random numbers (getrandom); try again in a moment")]
    NoRandomness,
    /// Signal handlers could not be set.
    #[error("signals cannot be handled: {0}")]
    Signals(io::Error),
    /// The engine failed.
    #[error("{}", advice::engine(.0))]
    Engine(engine::Error),
}

impl Failure {
    /// A failed write to standard output; the quiet end if a pipe was closed.
    pub fn from_write(name: &str, error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::ClosedPipe,
            _ => Failure::Write {
                name: name.into(),
                error,
            },
        }
    }

    pub fn code(&self) -> Code {
        match self {
            Failure::Plan(PlanError::Unresolved(_)) => Code::Failed,
            Failure::Usage(_) | Failure::Plan(_) | Failure::Merge(_) => Code::Usage,
            Failure::ClosedPipe => Code::Success,
            Failure::Engine(
                engine::Error::Source { .. }
                | engine::Error::SourceFamily { .. }
                | engine::Error::TwoSources(_),
            ) => Code::Usage,
            Failure::BorrowedRights
            | Failure::Unread(_)
            | Failure::NoRandomness
            | Failure::Write { .. }
            | Failure::Signals(_)
            | Failure::Engine(_) => Code::Failed,
        }
    }
}

impl From<engine::Error> for Failure {
    fn from(error: engine::Error) -> Self {
        match error {
            engine::Error::Report(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                Failure::ClosedPipe
            }
            error => Failure::Engine(error),
        }
    }
}
