//! Where reports go: files and standard output, each with its name for the error that may come. One
//! that fails does not take the others with it.

use std::cell::LazyCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use jiff::Zoned;
use portreeve::plan::Services;
use portreeve::report::csv::Csv;
use portreeve::report::grepable::Grepable;
use portreeve::report::json::JsonLines;
use portreeve::report::lists::{MasscanList, OpenList};
use portreeve::report::stats_lines::StatsLines;
use portreeve::report::text::{Style, Text};
use portreeve::report::xml::Xml;
use portreeve::report::{Begin, Checkpoint, HostReport, Progress, Sink, StateSet, Summary};
use portreeve::scan::{Finding, State};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::args::OutputArgs;
use super::checkpoint::{CheckpointFile, Run};
use super::exit::Failure;
use super::files::{ReportFile, Written, check_distinct};
use super::progress;

/// All reports of a run, as one sink.
#[derive(Default)]
pub struct Outputs<'a> {
    reports: Vec<(String, Box<dyn Sink + 'a>)>,
    /// Where the reports that flags name go, and their files.
    files: Vec<(PathBuf, Option<ReportFile>)>,
    /// Files that have still what they had.
    uncut: Vec<(String, ReportFile)>,
    checkpoint: Option<CheckpointFile>,
    progress: Option<progress::Line>,
}

const STDOUT: &str = "standard output";

/// What is written, and what has to be known for it.
pub struct Destination<'a> {
    pub output: &'a OutputArgs,
    pub stats: Option<&'a Path>,
    /// Files that no report may go to: what this run reads or keeps for itself.
    pub taken: Vec<&'a Path>,
    /// Whether a checkpoint has to know what was written.
    pub is_kept: bool,
    /// The states that there is something to list of; all, if that is not known.
    pub listed: Option<StateSet>,
    pub services: &'a Services,
    pub bar: &'a ProgressBar,
}

/// The states that are listed one by one, if flags say which.
pub fn show(args: &OutputArgs) -> Option<StateSet> {
    let states = args
        .show
        .iter()
        .flat_map(|shown| shown.states().iter().copied());
    (!args.show.is_empty()).then(|| StateSet::states(states))
}

impl Destination<'_> {
    fn show(&self) -> StateSet {
        let open = StateSet::states([State::Open]);
        match (show(self.output), self.listed) {
            (_, Some(listed)) if self.output.open => open.and(listed),
            (asked, Some(listed)) => asked.map_or(listed, |asked| asked.and(listed)),
            (asked, None) => asked.unwrap_or(open),
        }
    }

    fn style(&self) -> Style {
        let OutputArgs {
            open,
            verbose,
            quiet,
            ..
        } = *self.output;
        Style {
            show: self.show(),
            listed_only: open,
            verbose: verbose > 0,
            quiet,
            color: false,
        }
    }
}

/// Opens everything that the flags name, before anything is sent. What the files have stays until
/// the scan begins. With `resumed`, what the checkpoint says of the reports' files: they go on
/// there.
pub fn open<'a>(
    to: &Destination<'a>,
    arguments: &[String],
    resumed: Option<&[Written]>,
) -> Result<Outputs<'a>, Failure> {
    let named = named(to, arguments);
    // Local time costs 300 KiB of memory, so only who asks for it has it; one time for all names.
    let now = LazyCell::new(Zoned::now);
    let paths: Vec<PathBuf> = match resumed {
        Some(outputs) => outputs.iter().map(|output| output.path.clone()).collect(),
        None => named
            .iter()
            .map(|(path, _)| dated(path, &|| now.clone()))
            .collect(),
    };
    if paths.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(Failure::Usage(
            "a report has no file name; write one, or - for standard output".into(),
        ));
    }
    let is_stdout = |path: &Path| path.as_os_str() == "-";
    if paths.iter().filter(|path| is_stdout(path)).count() > 1 {
        return Err(Failure::Usage(
            "two reports cannot both go to standard output; give one of them a file".into(),
        ));
    }
    let reports: Vec<&Path> = paths.iter().map(PathBuf::as_path).chain(to.stats).collect();
    let taken: Vec<&Path> = to
        .taken
        .iter()
        .copied()
        .chain([Path::new("/dev/stdout")])
        .collect();
    check_distinct(&reports, &taken)?;
    let mut outputs = Outputs::default();
    // First, so that a descriptor's number cannot be one that we open ourselves.
    if let Some(path) = to.stats {
        let (name, file, goes_on) = open_stats(path, resumed.is_some())?;
        if !goes_on {
            outputs.uncut.push((name.clone(), file.clone()));
        }
        outputs.add(&name, StatsLines::new(file));
    }
    for (at, path) in paths.iter().enumerate() {
        let name = path.display().to_string();
        let file = match (is_stdout(path), resumed) {
            (true, _) => None,
            (_, Some(resumed)) => Some(ReportFile::reopen(&resumed[at])),
            (_, None) => Some(ReportFile::create(path, to.is_kept)),
        };
        let file = file.transpose().map_err(|error| Failure::Write {
            name: name.clone(),
            error,
        })?;
        outputs.uncut.extend(file.clone().map(|file| (name, file)));
        outputs.files.push((path.clone(), file));
    }
    check_distinct(&reports, &taken)?;
    for ((_, make), (path, file)) in named.into_iter().zip(&outputs.files) {
        let (name, writer): (String, Box<dyn Write>) = match file {
            Some(file) => (path.display().to_string(), Box::new(file.clone())),
            None => (STDOUT.into(), to_stdout(to.bar)),
        };
        outputs.reports.push((name, make(writer)));
    }
    if !paths.iter().any(|path| is_stdout(path)) {
        outputs.add(
            STDOUT,
            Text::new(
                to_stdout(to.bar),
                Style {
                    color: super::wants_color(),
                    ..to.style()
                },
                to.services,
            ),
        );
    }
    Ok(outputs)
}

/// What the flags name: where it goes, and what makes it.
fn named<'a>(to: &Destination<'a>, arguments: &[String]) -> Vec<(PathBuf, Make<'a>)> {
    let args = to.output;
    let show = to.show();
    let style = to.style();
    let services = to.services;
    let scanner = args.xml_scanner.clone();
    let [json, again, xml, grepable] = [arguments; 4].map(<[String]>::to_vec);
    let make: [Make<'a>; 8] = [
        Box::new(move |out| Box::new(JsonLines::new(out, show, services, json))),
        Box::new(move |out| Box::new(JsonLines::new(out, show, services, again))),
        Box::new(move |out| Box::new(Text::new(out, style, services))),
        Box::new(move |out| Box::new(Xml::new(out, show, services, &scanner, &xml))),
        Box::new(move |out| Box::new(Grepable::new(out, show, services, &grepable))),
        Box::new(move |out| Box::new(Csv::new(out, show, services))),
        Box::new(move |out| Box::new(MasscanList::new(out, services))),
        Box::new(|out| Box::new(OpenList::new(out))),
    ];
    places(args)
        .into_iter()
        .zip(make)
        .filter_map(|((_, path), make)| Some((path?, make)))
        .collect()
}

/// Each format's name, and where it goes if flags say so.
fn places(args: &OutputArgs) -> [(&'static str, Option<PathBuf>); 8] {
    let all = |ending: &str| {
        let mut path = args.output_all.clone()?.into_os_string();
        path.push(ending);
        Some(PathBuf::from(path))
    };
    [
        ("JSON lines", args.json.then(|| PathBuf::from("-"))),
        ("JSON lines", args.output_json.clone()),
        ("text", args.output_text.clone().or(all(".nmap"))),
        ("XML", args.output_xml.clone().or(all(".xml"))),
        (
            "grepable lines",
            args.output_grepable.clone().or(all(".gnmap")),
        ),
        ("comma-separated values", args.output_csv.clone()),
        ("masscan's list", args.output_list.clone()),
        ("what is open", args.list_open.clone()),
    ]
}

/// What is written, and where to, in words.
pub fn described(args: &OutputArgs) -> String {
    let name = |path: &Path| {
        if path.as_os_str() == "-" {
            STDOUT.into()
        } else {
            path.display().to_string()
        }
    };
    let places = places(args)
        .into_iter()
        .filter_map(|(what, path)| Some((what, name(&path?))))
        .collect::<Vec<_>>();
    let text = if places.iter().any(|(_, to)| to == STDOUT) {
        None
    } else {
        Some(format!("text to {STDOUT}"))
    };
    text.into_iter()
        .chain(
            places
                .into_iter()
                .map(|(what, to)| format!("{what} to {to}")),
        )
        .collect::<Vec<_>>()
        .join(", ")
}

/// Makes a report that goes to a writer.
type Make<'a> = Box<dyn FnOnce(Box<dyn Write>) -> Box<dyn Sink + 'a> + 'a>;

/// A file's name with nmap's fields for the time, so that a scan each night has a file of its own:
/// `%H %M %S %m %d %y %Y`, `%T` for
/// `%H%M%S`, `%R` for `%H%M`, `%D` for `%m%d%y`, `%F` for `%Y-%m-%d`; before anything else `%`
/// stands for nothing.
fn dated(path: &Path, now: &dyn Fn() -> Zoned) -> PathBuf {
    let Some(name) = path.to_str().filter(|name| name.contains('%')) else {
        return path.into();
    };
    let mut dated = String::new();
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        let field = if letter == '%' {
            letters.next()
        } else {
            Some(letter)
        };
        let format = match field.filter(|_| letter == '%') {
            Some('T') => "%H%M%S",
            Some('R') => "%H%M",
            Some('D') => "%m%d%y",
            Some('F') => "%Y-%m-%d",
            Some('H') => "%H",
            Some('M') => "%M",
            Some('S') => "%S",
            Some('m') => "%m",
            Some('d') => "%d",
            Some('y') => "%y",
            Some('Y') => "%Y",
            _ => {
                dated.extend(field);
                continue;
            }
        };
        dated += &now().strftime(format).to_string();
    }
    dated.into()
}

/// Opens a file, or a descriptor that the shell has opened, so that writing to it never waits:
/// whoever reads a pipe too slowly must not slow the scan down. Opened again by its name, so that
/// the flag is not set for all who share it. Whether it goes on behind what is there.
fn open_stats(path: &Path, is_resumed: bool) -> Result<(String, ReportFile, bool), Failure> {
    let text = path
        .to_str()
        .map(|text| if text == "-" { "1" } else { text });
    let fd = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let name = fd.map_or_else(
        || path.display().to_string(),
        |fd| format!("descriptor {fd}"),
    );
    let mut options = File::options();
    options.custom_flags(OFlags::NONBLOCK.bits() as i32);
    let opened = match fd {
        Some(fd) => options.append(true).open(format!("/dev/fd/{fd}")),
        None if is_resumed => options.append(true).create(true).open(path),
        None => options.write(true).create(true).truncate(false).open(path),
    };
    match opened.and_then(ReportFile::opened) {
        Ok(file) => Ok((name, file, fd.is_some() || is_resumed)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fd.is_some() => {
            let error = io::Error::other(format!(
                "it is not open; open it in the shell, as in --stats {0} {0}>stats.jsonl",
                fd.unwrap_or_default()
            ));
            Err(Failure::Write { name, error })
        }
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            let error = io::Error::other(
                "it is a pipe that nobody reads, or a socket; start the reader first, or give a file",
            );
            Err(Failure::Write { name, error })
        }
        Err(error) => Err(Failure::Write { name, error }),
    }
}

impl<'a> Outputs<'a> {
    fn add(&mut self, name: &str, sink: impl Sink + 'a) {
        self.reports.push((name.into(), Box::new(sink)));
    }

    /// Keeps what it takes to go on.
    pub fn keep(&mut self, mut checkpoint: CheckpointFile, run: Run) {
        let mut files = std::mem::take(&mut self.files);
        // Whoever goes on follows no links.
        for (path, _) in files
            .iter_mut()
            .filter(|(_, file)| file.as_ref().is_some_and(ReportFile::is_regular))
        {
            *path = path.canonicalize().unwrap_or_else(|_| path.clone());
        }
        checkpoint.keep(run, files);
        self.checkpoint = Some(checkpoint);
    }

    fn write_checkpoint(&mut self, now: Option<&Checkpoint>) -> io::Result<()> {
        let Some(file) = &mut self.checkpoint else {
            return Ok(());
        };
        match file.write(now) {
            // The scan has them all: the next time will do.
            Err(error)
                if [Errno::MFILE, Errno::NFILE]
                    .map(|errno| Some(errno.raw_os_error()))
                    .contains(&error.raw_os_error()) =>
            {
                Ok(())
            }
            Err(error) => Err(io::Error::new(
                error.kind(),
                format!(
                    "the checkpoint {} cannot be written: {error}",
                    file.path().display()
                ),
            )),
            Ok(()) => Ok(()),
        }
    }

    /// Shows the progress on the terminal, too.
    pub fn show_progress(&mut self, line: progress::Line) {
        self.progress = Some(line);
    }

    /// Whether every reader has gone away.
    pub fn nobody_left(&self) -> bool {
        self.reports.is_empty()
    }

    /// Calls every report. One that fails is called no more; a reader that went away matters only
    /// if it was the last.
    fn each(&mut self, mut call: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        let mut failed: Vec<io::Error> = Vec::new();
        self.reports.retain_mut(|(name, sink)| {
            let done = call(sink.as_mut());
            failed.extend(
                done.as_ref()
                    .err()
                    .filter(|error| error.kind() != io::ErrorKind::BrokenPipe)
                    .map(|error| unwritten(name, error)),
            );
            done.is_ok()
        });
        let all = || {
            failed
                .iter()
                .map(io::Error::to_string)
                .collect::<Vec<_>>()
                .join("; ")
        };
        match failed.first() {
            Some(first) => Err(io::Error::new(first.kind(), all())),
            None if self.reports.is_empty() => Err(io::ErrorKind::BrokenPipe.into()),
            None => Ok(()),
        }
    }
}

impl Sink for Outputs<'_> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.uncut
            .drain(..)
            .try_for_each(|(name, file)| file.cut().map_err(|error| unwritten(&name, &error)))?;
        self.each(|sink| sink.begin(begin))
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.each(|sink| sink.finding(finding))
    }

    fn wants_hosts(&self) -> Option<StateSet> {
        self.reports
            .iter()
            .filter_map(|(_, sink)| sink.wants_hosts())
            .reduce(StateSet::or)
    }

    fn host(&mut self, host: &HostReport) -> io::Result<()> {
        self.each(|sink| sink.host(host))
    }

    fn progress(&mut self, progress: &Progress) -> io::Result<()> {
        if let Some(line) = &mut self.progress {
            line.show(progress);
        }
        self.each(|sink| sink.progress(progress))
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        // The line goes away before the sum is written where it stood.
        self.progress = None;
        self.each(|sink| sink.end(summary))?;
        // Broken off, it can go on from the last one.
        if summary.stopped.is_none() {
            self.write_checkpoint(None)
        } else {
            Ok(())
        }
    }

    fn wants_checkpoint(&self, progress: &Progress) -> bool {
        self.checkpoint
            .as_ref()
            .is_some_and(|file| file.is_due(progress))
    }

    fn checkpoint(&mut self, now: &Checkpoint) -> io::Result<()> {
        self.write_checkpoint(Some(now))
    }
}

fn unwritten(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name} cannot be written: {error}"))
}

/// Boxed like the files, so that each format's code is there once.
fn to_stdout(bar: &ProgressBar) -> Box<dyn Write> {
    Box::new(AboveBar(bar.clone()))
}

/// Standard output, written above the progress line where one is shown.
struct AboveBar(ProgressBar);

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.0.suspend(|| {
            let mut out = io::stdout().lock();
            out.write_all(bytes)?;
            out.flush()
        })
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_names_have_nmaps_fields() {
        let now = jiff::civil::date(2026, 11, 22)
            .at(9, 8, 7, 0)
            .to_zoned(jiff::tz::TimeZone::UTC)
            .expect("a time");
        for (name, expect) in [
            ("a.json", "a.json"),
            ("%Y-%m-%d.json", "2026-11-22.json"),
            ("%T %R %D %F", "090807 0908 112226 2026-11-22"),
            ("100%% %x%", "100% x"),
            ("%y%H%M%S", "26090807"),
        ] {
            assert_eq!(dated(Path::new(name), &|| now.clone()), Path::new(expect));
        }
    }
}
