//! The one seam from flags to values: nothing behind it knows what was typed. It checks forms and
//! combinations only. Targets are read and looked up when the plan is built, and files are opened
//! when they are needed.

mod diff;
mod experiment;
mod formats;
mod lists;
mod mistakes;
mod options;
mod outputs;
mod plan;
mod ports;

use std::ffi::OsString;
use std::path::PathBuf;

use portreeve::engine::Options;
use portreeve::plan::Services;
use portreeve::scan::State;

pub use diff::{DiffRequest, Earlier, expected};
pub use experiment::{ExperimentRequest, Subject};
pub use outputs::{Format, OutputRequest, STDOUT};
pub use plan::{Drawn, PlanRequest, services};

use super::args::{Command, MergeArgs};
use super::credentials::word_without_credentials;
use super::exit::Failure;
use super::misspelt::check_command;
use super::settings::{Added, Typed};

/// What the command line asks for.
pub enum Request {
    Scan(Box<ScanRequest>),
    Resume(PathBuf),
    Merge(MergeRequest),
    Diff(DiffRequest),
    Experiment(Box<ExperimentRequest>),
    Limits { json: bool, max_fds: Option<u32> },
    Completions(clap_complete::Shell),
    Manual(Option<String>),
    Version,
}

impl Request {
    /// Makes a request from the parsed command line. `arguments` are the words as typed, for the
    /// reports.
    pub fn new(mut typed: Typed, arguments: &[OsString]) -> Result<Self, Failure> {
        Ok(match typed.args.command.take() {
            None => Request::Scan(ScanRequest::new(typed, arguments)?.into()),
            Some(Command::Resume { file }) => Request::Resume(file),
            Some(Command::Merge(args)) => Request::Merge(MergeRequest::new(*args, arguments)),
            Some(Command::Diff(args)) => Request::Diff(DiffRequest::new(args)?),
            Some(Command::Experiment(args)) => {
                Request::Experiment(ExperimentRequest::new(*args)?.into())
            }
            Some(Command::Limits { json, max_fds }) => Request::Limits { json, max_fds },
            Some(Command::Completions { shell }) => Request::Completions(shell),
            Some(Command::Man { command }) => Request::Manual(command),
            Some(Command::Version) => Request::Version,
        })
    }
}

/// A scan to be made.
pub struct ScanRequest {
    pub plan: PlanRequest,
    pub options: Options,
    pub services: Services,
    pub outputs: OutputRequest,
    pub action: Action,
    /// Explain in sentences what will be done.
    pub explain: bool,
    /// The command line with all settings and without passwords, for the checkpoint.
    pub words: Vec<OsString>,
    /// The options that were not typed.
    pub added: Vec<Added>,
    /// Whether targets are read from standard input because none is named.
    pub takes_stdin: bool,
    /// Whether the command line had user names or passwords in URLs.
    pub had_credentials: bool,
}

/// What to do with the plan.
pub enum Action {
    /// Scan it, and keep checkpoints in this file, if there is one.
    Scan { checkpoint: Option<PathBuf> },
    /// Only show it; with `list`, every endpoint of it.
    DryRun { list: bool },
}

impl ScanRequest {
    pub fn new(typed: Typed, arguments: &[OsString]) -> Result<Self, Failure> {
        let Typed {
            mut args,
            words,
            added,
        } = typed;
        let names_none = args.scan.targets.is_empty() && args.scan.input_file.is_empty();
        let takes_stdin = names_none && lists::is_stdin_fed();
        if takes_stdin {
            args.scan.input_file.push("-".into());
        }
        check_command(&args.scan)?;
        let mut options = options::options(&args.scan)?;
        let services = services();
        let plan = PlanRequest::new(args.scan, args.shard, &services)?;
        if args.checkpoint.is_some() && plan.reads_stdin() {
            let what = "--checkpoint: standard input cannot be read again; write the targets to a file, and give that with -iL";
            return Err(Failure::Usage(what.into()));
        }
        let action = if args.dry_run {
            Action::DryRun {
                list: args.output.verbose > 0,
            }
        } else {
            Action::Scan {
                checkpoint: args.checkpoint,
            }
        };
        let mut outputs = OutputRequest::new(args.output, arguments);
        outputs.stats = args.stats;
        options.settings.tell_unscanned = outputs
            .show
            .is_some_and(|show| show.lists(State::Unscanned));
        options.profile = args.profile;
        options.metrics = args.metrics;
        let kept_words: Vec<OsString> = words.iter().map(word_without_credentials).collect();
        Ok(ScanRequest {
            plan,
            options,
            services,
            outputs,
            action,
            explain: args.explain,
            takes_stdin,
            had_credentials: kept_words != words,
            words: kept_words,
            added,
        })
    }
}

/// Reports to be joined.
pub struct MergeRequest {
    pub files: Vec<PathBuf>,
    pub outputs: OutputRequest,
}

impl MergeRequest {
    fn new(args: MergeArgs, arguments: &[OsString]) -> Self {
        MergeRequest {
            files: args.files,
            outputs: OutputRequest::new(args.output, arguments),
        }
    }
}
