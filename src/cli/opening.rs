//! Opens reports before anything is sent: their files, standard output, and the descriptor for
//! statistics. The files stay as they are until the scan begins. It knows formats and places, no
//! findings.

use std::cell::LazyCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use jiff::Zoned;
use portreeve::engine::StopHandle;
use portreeve::plan::Services;
use portreeve::report::csv::Csv;
use portreeve::report::grepable::Grepable;
use portreeve::report::json::JsonLines;
use portreeve::report::lists::{MasscanList, OpenList};
use portreeve::report::normal::Normal;
use portreeve::report::stats_lines::StatsLines;
use portreeve::report::text::{Style, Text};
use portreeve::report::xml::Xml;
use portreeve::report::{Listing, Sink, StateSet};
use portreeve::scan::State;
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::exit::Failure;
use super::files::{NEW_FILE_MODE, ReportFile, Written, check_distinct};
use super::outputs::{AboveBar, Outputs};
use super::request::{Format, OutputRequest, STDOUT};
use super::spill;
use super::stdout::{Stdout, is_stdout};
use super::terminal;

/// What is written, and what that requires.
pub struct Destination<'a> {
    pub request: &'a OutputRequest,
    /// Whether a checkpoint records what is written.
    pub is_kept: bool,
    /// The states that the source lists one by one; `None` if it lists all.
    pub listed: Option<StateSet>,
    pub services: &'a Services,
    pub bar: &'a ProgressBar,
    /// What stops this run.
    pub stop: StopHandle,
}

impl<'a> Destination<'a> {
    fn show(&self) -> StateSet {
        let open = StateSet::states([State::Open]);
        match (self.request.show, self.listed) {
            (_, Some(listed)) if self.request.listed_only => open.and(listed),
            (asked, Some(listed)) => asked.map_or(listed, |asked| asked.and(listed)),
            (asked, None) => asked.unwrap_or(open),
        }
    }

    /// What formats list that know all of a host: few ports of a state, too, unless states are
    /// named.
    fn listing(&self) -> Listing {
        if self.request.show.is_some() || self.request.listed_only {
            Listing::only(self.show())
        } else {
            Listing::or_few(self.show())
        }
    }

    /// A report in this format.
    fn report(&self, format: Format, out: Box<dyn Write>) -> Box<dyn Sink + 'a> {
        let show = self.show();
        let listing = self.listing();
        let services = self.services;
        let arguments = &self.request.arguments;
        let scanner = &self.request.xml_scanner;
        match format {
            Format::JsonLines => Box::new(JsonLines::new(out, show, services, arguments.clone())),
            Format::Normal => Box::new(Normal::new(out, listing, services, arguments)),
            Format::Xml => Box::new(Xml::new(out, listing, services, scanner, arguments)),
            Format::Grepable => Box::new(Grepable::new(out, listing, services, arguments)),
            Format::Csv => Box::new(Csv::new(out, show, services)),
            Format::MasscanList => Box::new(MasscanList::new(out, services)),
            Format::OpenList => Box::new(OpenList::new(out)),
        }
    }

    /// The text report, for when no other report goes to standard output.
    fn text(&self) -> Box<dyn Sink + 'a> {
        let style = Style {
            listing: self.listing(),
            listed_only: self.request.listed_only,
            verbose: self.request.verbose,
            quiet: self.request.quiet,
            color: terminal::wants_color(),
            screen: terminal::screen,
        };
        Box::new(Text::new(self.stdout(), style, self.services))
    }

    /// Boxed like the files, so that the code of each format exists once.
    fn stdout(&self) -> Box<dyn Write> {
        Box::new(AboveBar::new(self.bar, Stdout::new(&self.stop)))
    }

    /// Where findings go that are too many for memory, if a report tells each host in one piece. A
    /// checkpoint has to know them, so with one they go to a file of its own.
    fn spill(&self, paths: &[PathBuf], files: &[Option<ReportFile>]) -> Option<File> {
        if self.is_kept || self.listed.is_some() {
            return None;
        }
        let formats = self.request.reports.iter().map(|&(format, _)| format);
        let mut by_host = formats.zip(paths).zip(files);
        let ((_, path), file) = by_host.find(|((format, _), _)| format.is_by_host())?;
        let is_regular = file.as_ref().is_some_and(ReportFile::is_regular);
        spill::beside(is_regular.then_some(path))
    }

    /// The places of the reports: from the checkpoint, or else as requested.
    fn paths(&self, resumed: Option<&[Written]>) -> Vec<PathBuf> {
        if let Some(outputs) = resumed {
            return outputs.iter().map(|output| output.path.clone()).collect();
        }
        // Local time costs 300 KiB of memory, so it is read only if a name needs it, and once for
        // all names.
        let now = LazyCell::new(Zoned::now);
        let reports = self.request.reports.iter();
        reports
            .map(|(_, path)| dated(path, &|| now.clone()))
            .collect()
    }
}

/// Opens all reports before anything is sent. None may go to a file that is `taken`, because this
/// run reads or writes it itself. With `resumed`, the reports continue in the files that the
/// checkpoint names.
pub fn open<'a>(
    to: &Destination<'a>,
    taken: &[&Path],
    resumed: Option<&[Written]>,
) -> Result<Outputs<'a>, Failure> {
    let paths = to.paths(resumed);
    check_names(&paths)?;
    let stats = to.request.stats.as_deref();
    let files = || paths.iter().map(PathBuf::as_path).chain(stats);
    let reports: Vec<&Path> = files().filter(|path| !is_stdout(path)).collect();
    let taken = [taken, &[Path::new("/dev/stdout")]].concat();
    check_distinct(&reports, &taken)?;
    let mut outputs = Outputs::default();
    // This comes first, so that a descriptor's number cannot be one that we open ourselves.
    if let Some(path) = stats {
        let (name, file, goes_on) = open_stats(path, resumed.is_some())?;
        outputs.add_watched(&name, Box::new(StatsLines::new(file.clone())));
        if !goes_on {
            file.lock(&name)?;
            outputs.cut_later(name, file);
        }
    }
    let mut files = Vec::with_capacity(paths.len());
    for (at, path) in paths.iter().enumerate() {
        let written = resumed.map(|outputs| &outputs[at]);
        files.push(open_report(path, written, to.is_kept)?);
    }
    check_distinct(&reports, &taken)?;
    let has_stdout = paths.iter().any(|path| is_stdout(path));
    if let Some(file) = to.spill(&paths, &files) {
        outputs.spill_to(file);
    }
    for ((&(format, _), path), file) in to.request.reports.iter().zip(paths).zip(files) {
        let name = path.display().to_string();
        match &file {
            Some(file) => {
                file.lock(&name)?;
                let sink = to.report(format, Box::new(file.clone()));
                outputs.add(&name, sink);
                outputs.cut_later(name, file.clone());
            }
            None => outputs.add_watched(STDOUT, to.report(format, to.stdout())),
        }
        outputs.remember(path, file);
    }
    if !has_stdout {
        outputs.add_watched(STDOUT, to.text());
    }
    Ok(outputs)
}

fn check_names(paths: &[PathBuf]) -> Result<(), Failure> {
    if paths.iter().any(|path| path.as_os_str().is_empty()) {
        return Err(Failure::Usage(
            "a report has no file name; write one, or - for standard output".into(),
        ));
    }
    if paths.iter().filter(|path| is_stdout(path)).count() > 1 {
        return Err(Failure::Usage(
            "two reports cannot both go to standard output; give one of them a file".into(),
        ));
    }
    Ok(())
}

/// Opens a report's file; `None` for standard output.
fn open_report(
    path: &Path,
    written: Option<&Written>,
    is_kept: bool,
) -> Result<Option<ReportFile>, Failure> {
    if is_stdout(path) {
        return Ok(None);
    }
    let opened = match written {
        Some(written) => ReportFile::reopen(written),
        None => ReportFile::create(path, is_kept),
    };
    opened.map(Some).map_err(|error| Failure::Write {
        name: path.display().to_string(),
        error,
    })
}

/// Replaces nmap's time fields in a file's name, so that a scan each night has a file of its own:
/// `%H %M %S %m %d %y %Y`, `%T` for `%H%M%S`, `%R` for `%H%M`, `%D` for `%m%d%y`, `%F` for
/// `%Y-%m-%d`. Before anything else, `%` is dropped.
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

/// Opens a file, or a descriptor that the shell has opened, so that writing to it never waits: a
/// slow reader of a pipe must not slow the scan down. A descriptor is reopened by its name, so that
/// the flag is not set for others who share it. Also returns whether the file is continued.
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
    options
        .mode(NEW_FILE_MODE)
        .custom_flags(OFlags::NONBLOCK.bits() as i32);
    let opened = match fd {
        Some(fd) => options.append(true).open(format!("/dev/fd/{fd}")),
        None if is_resumed => options.append(true).create(true).open(path),
        None => options.write(true).create(true).truncate(false).open(path),
    };
    match opened.and_then(|file| ReportFile::opened(file, false)) {
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
