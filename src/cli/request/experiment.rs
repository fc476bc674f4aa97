//! An experiment to be made: from flags to values. It opens nothing.

use std::path::{Path, PathBuf};

use portreeve::engine::Options;
use portreeve::plan::Order;
use portreeve::report::experiment::Setting;

use super::plan::{PlanRequest, order, services};
use crate::cli::args::{ExperimentArgs, ScanArgs};
use crate::cli::exit::Failure;

/// The numbers of sockets to try by default.
const DEFAULT_FDS: [u32; 5] = [32, 64, 128, 256, 512];

/// An experiment to be made.
pub struct ExperimentRequest {
    pub subject: Subject,
    pub options: Options,
    /// One knob with its values, or two of them for a grid.
    pub sweeps: Vec<Vec<Setting>>,
    /// How often each setting runs.
    pub rounds: u32,
    /// The descriptor limit to lower this process to, if any.
    pub assume_nofile: Option<u64>,
    /// Descriptors to take away from each run.
    pub occupied_fds: u32,
    pub csv: Option<PathBuf>,
    pub json: Option<PathBuf>,
    pub svg: Option<PathBuf>,
}

/// What to scan.
pub enum Subject {
    /// A testbed on this machine, in this order.
    Own(Order),
    /// The targets that flags name.
    Given(Box<PlanRequest>),
}

impl ExperimentRequest {
    pub fn new(args: ExperimentArgs) -> Result<Self, Failure> {
        check_sweeps(&args.sweep)?;
        if args.svg.is_some() && cfg!(not(feature = "plot")) {
            return Err(Failure::Usage(
                "--svg: this program was built without pictures; build it with --features plot"
                    .into(),
            ));
        }
        let options = super::options::options(&args.scan)?;
        let sweeps = if args.sweep.is_empty() {
            vec![DEFAULT_FDS.map(Setting::MaxFds).into()]
        } else {
            args.sweep
        };
        Ok(ExperimentRequest {
            subject: subject(args.scan)?,
            options,
            sweeps,
            rounds: args.repeat,
            assume_nofile: args.assume_nofile,
            occupied_fds: args.occupy_fds,
            csv: args.csv,
            json: args.json,
            svg: args.svg,
        })
    }

    /// The files that are read.
    pub fn reads(&self) -> Vec<&Path> {
        match &self.subject {
            Subject::Own(_) => Vec::new(),
            Subject::Given(plan) => plan.files().collect(),
        }
    }
}

fn check_sweeps(sweeps: &[Vec<Setting>]) -> Result<(), Failure> {
    if sweeps.len() > 2 {
        return Err(Failure::Usage("--sweep is given more than twice; two form a grid, and more than that nobody can look at".into()));
    }
    let knob = |sweep: &Vec<Setting>| sweep.first().map(|setting| setting.knob());
    if let [one, other] = sweeps
        && knob(one) == knob(other)
    {
        return Err(Failure::Usage(
            "both --sweep vary the same; write all its values in one".into(),
        ));
    }
    Ok(())
}

fn subject(args: ScanArgs) -> Result<Subject, Failure> {
    if !args.targets.is_empty() || !args.input_file.is_empty() {
        let plan = PlanRequest::new(args, None, &services())?;
        return Ok(Subject::Given(plan.into()));
    }
    let chooses_ports = args.ports.is_some()
        || args.top_ports.is_some()
        || args.fast
        || args.exclude_ports.is_some();
    let chooses_addresses =
        args.ipv4 || args.ipv6 || !args.exclude.is_empty() || !args.exclude_file.is_empty();
    if chooses_ports || chooses_addresses {
        return Err(Failure::Usage(
            "ports or addresses are chosen, but there is no target; name one, such as 127.0.0.1"
                .into(),
        ));
    }
    Ok(Subject::Own(order(args.sequential, args.seed)))
}
