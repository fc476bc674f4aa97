//! What `diff` compares: from flags to reports, and from a list to what may be open. It reads no
//! report.

use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use portreeve::plan::{Order, Plan, PlanBuilder, Target};

use super::formats::Formats;
use super::lists::{is_stdin, read_targets};
use super::mistakes::Mistakes;
use crate::cli::args::DiffArgs;
use crate::cli::exit::Failure;

/// The most endpoints that may be expected: they are kept in memory.
const MOST_EXPECTED: u64 = 1 << 20;

/// Reports to be compared.
pub struct DiffRequest {
    pub old: Earlier,
    pub new: PathBuf,
    pub json: bool,
}

/// What a report is compared with.
pub enum Earlier {
    Report(PathBuf),
    /// A list of what may be open.
    List(PathBuf),
}

impl DiffRequest {
    pub fn new(args: DiffArgs) -> Result<Self, Failure> {
        let mut reports = args.reports.into_iter();
        let (old, new) = match (args.expect, reports.next(), reports.next()) {
            (None, Some(old), Some(new)) => (Earlier::Report(old), new),
            (Some(list), Some(new), None) => (Earlier::List(list), new),
            (None, ..) => {
                let what = "one report is compared with nothing; give an older one before it, or \
                            a list of what may be open with --expect";
                return Err(Failure::Usage(what.into()));
            }
            (Some(_), ..) => {
                let what = "--expect compares one report with a list; leave the other report out";
                return Err(Failure::Usage(what.into()));
            }
        };
        let (Earlier::Report(first) | Earlier::List(first)) = &old;
        if is_stdin(first) && is_stdin(&new) {
            let what = "standard input can be read only once; give one of both as a file";
            return Err(Failure::Usage(what.into()));
        }
        Ok(DiffRequest {
            old,
            new,
            json: args.json,
        })
    }
}

/// The endpoints in a list of what may be open.
pub fn expected(path: &Path) -> Result<Vec<SocketAddr>, Failure> {
    let mut mistakes = Mistakes::default();
    let add = |mut list: Vec<Target>, target: Target| {
        list.push(target);
        list
    };
    let parse = &Target::parse_all;
    let targets = read_targets(
        path,
        Formats::default(),
        parse,
        Vec::new(),
        add,
        &mut mistakes,
    )?;
    if mistakes.first().is_some() {
        return Err(Failure::Usage(mistakes.message("")));
    }
    let lacks_ports =
        |target: &&Target| !matches!(target, Target::WithPorts { .. } | Target::Url { .. });
    if let Some(target) = targets.iter().find(lacks_ports) {
        let what = format!(
            "{target} in {} has no ports; write {target}:22,80",
            path.display()
        );
        return Err(Failure::Usage(what));
    }
    let builder = Plan::builder().order(Order::Sequential);
    let builder = targets.into_iter().fold(builder, PlanBuilder::target);
    let zoned = |text: &str| format!("[{text}]:0").parse::<SocketAddr>();
    if let Some(name) = builder.names().iter().find(|name| zoned(name).is_err()) {
        let what = format!("{name} in {} is a name; write its address", path.display());
        return Err(Failure::Usage(what));
    }
    let mut resolve = |text: &str| zoned(text).map(|it| vec![it]).map_err(io::Error::other);
    let plan = builder.build(&mut resolve)?;
    if plan.len() > MOST_EXPECTED {
        let what = format!(
            "{} expects {} open ports; write hosts instead of blocks, {MOST_EXPECTED} ports at most",
            path.display(),
            plan.len()
        );
        return Err(Failure::Usage(what));
    }
    Ok(plan.endpoints().collect())
}
