//! What to write, and where: from flags to formats and their places. It opens nothing.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use portreeve::report::StateSet;

use crate::cli::args::OutputArgs;
use crate::cli::credentials::without_credentials;
use crate::cli::stdout::is_stdout;

/// The formats of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    JsonLines,
    Normal,
    Xml,
    Grepable,
    Csv,
    MasscanList,
    OpenList,
}

impl Format {
    /// Whether it tells what it lists host by host.
    pub fn is_by_host(self) -> bool {
        matches!(self, Format::Normal | Format::Xml | Format::Grepable)
    }

    /// Its name in a sentence.
    fn name(self) -> &'static str {
        match self {
            Format::JsonLines => "JSON lines",
            Format::Normal => "nmap's normal format",
            Format::Xml => "XML",
            Format::Grepable => "grepable lines",
            Format::Csv => "comma-separated values",
            Format::MasscanList => "masscan's list",
            Format::OpenList => "what is open",
        }
    }
}

/// The reports that a run writes, and how they look.
pub struct OutputRequest {
    /// The format and the place of each report; `-` is standard output. If none goes there, the
    /// text report does.
    pub reports: Vec<(Format, PathBuf)>,
    /// The states to list one by one, if any were named.
    pub show: Option<StateSet>,
    /// Leave out everything that is not listed.
    pub listed_only: bool,
    pub verbose: bool,
    pub quiet: bool,
    /// Whether the exit code tells that nothing is open.
    pub fail_if_none: bool,
    /// The program that nmap's XML names.
    pub xml_scanner: String,
    /// Where to write statistics each second.
    pub stats: Option<PathBuf>,
    /// The command line without the program's name and without passwords, for the heads of reports.
    pub arguments: Vec<String>,
}

impl OutputRequest {
    /// Whether a report tells each host in one piece.
    pub fn is_by_host(&self) -> bool {
        self.reports.iter().any(|(format, _)| format.is_by_host())
    }

    pub fn new(args: OutputArgs, arguments: &[OsString]) -> Self {
        OutputRequest {
            reports: reports(&args),
            show: show(&args),
            listed_only: args.open,
            verbose: args.verbose > 0,
            quiet: args.quiet,
            fail_if_none: args.fail_if_none,
            xml_scanner: args.xml_scanner,
            stats: None,
            arguments: arguments
                .iter()
                .skip(1)
                .map(|word| without_credentials(&word.to_string_lossy()))
                .collect(),
        }
    }

    /// The reports and their places, in words.
    pub fn described(&self) -> String {
        let mut parts = Vec::new();
        if !self.reports.iter().any(|(_, path)| is_stdout(path)) {
            parts.push(format!("text to {STDOUT}"));
        }
        for (format, path) in &self.reports {
            parts.push(format!("{} to {}", format.name(), place(path)));
        }
        parts.join(", ")
    }
}

pub const STDOUT: &str = "standard output";

/// A report's place in words.
fn place(path: &Path) -> String {
    if is_stdout(path) {
        STDOUT.into()
    } else {
        path.display().to_string()
    }
}

fn show(args: &OutputArgs) -> Option<StateSet> {
    let states = args
        .show
        .iter()
        .flat_map(|shown| shown.states().iter().copied());
    (!args.show.is_empty()).then(|| StateSet::states(states))
}

fn reports(args: &OutputArgs) -> Vec<(Format, PathBuf)> {
    let all = |ending: &str| {
        let mut path = args.output_all.clone()?.into_os_string();
        path.push(ending);
        Some(PathBuf::from(path))
    };
    [
        (Format::JsonLines, args.json.then(|| PathBuf::from("-"))),
        (Format::JsonLines, args.output_json.clone()),
        (Format::Normal, args.output_text.clone().or(all(".nmap"))),
        (Format::Xml, args.output_xml.clone().or(all(".xml"))),
        (
            Format::Grepable,
            args.output_grepable.clone().or(all(".gnmap")),
        ),
        (Format::Csv, args.output_csv.clone()),
        (Format::MasscanList, args.output_list.clone()),
        (Format::OpenList, args.list_open.clone()),
    ]
    .into_iter()
    .filter_map(|(format, path)| Some((format, path?)))
    .collect()
}
