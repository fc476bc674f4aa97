//! Where reports go: files and standard output, each with its name for the error that may come. One that fails does not
//! take the others with it.

use std::cell::LazyCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use jiff::Zoned;
use portreeve::plan::Services;
use portreeve::report::csv::Csv;
use portreeve::report::json::JsonLines;
use portreeve::report::lists::{MasscanList, OpenList};
use portreeve::report::stats_lines::StatsLines;
use portreeve::report::text::{Style, Text};
use portreeve::report::{Begin, Progress, Show, Sink, Summary};
use portreeve::scan::{Finding, State};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::args::Args;
use super::exit::Failure;
use super::progress;

/// All reports of a run, as one sink.
#[derive(Default)]
pub struct Outputs<'a> {
    reports: Vec<(String, Box<dyn Sink + 'a>)>,
    progress: Option<progress::Line>,
}

const STDOUT: &str = "standard output";

/// The states that are listed one by one.
pub fn show(args: &Args) -> Show {
    match args.show.as_slice() {
        [] => Show::states([State::Open]),
        shown => Show::states(shown.iter().flat_map(|shown| shown.states().iter().copied())),
    }
}

/// Opens everything that the flags name, before anything is sent.
pub fn open<'a>(args: &Args, services: &'a Services, arguments: Vec<String>, bar: &ProgressBar) -> Result<Outputs<'a>, Failure> {
    let show = show(args);
    let plain = Style { show, listed_only: args.open, verbose: args.verbose > 0, quiet: args.quiet, color: false };
    let mut outputs = Outputs::default();
    let mut stdout_is_taken = args.json;
    if args.json {
        outputs.add(STDOUT, JsonLines::new(to_stdout(bar), show, services, arguments.clone()));
    }
    let wanted: [(&Option<PathBuf>, Make<'a>); 5] = [
        (&args.output_json, Box::new(move |out| Box::new(JsonLines::new(out, show, services, arguments)))),
        (&args.output_text, Box::new(move |out| Box::new(Text::new(out, plain, services)))),
        (&args.output_csv, Box::new(move |out| Box::new(Csv::new(out, show, services)))),
        (&args.output_list, Box::new(|out| Box::new(MasscanList::new(out)))),
        (&args.list_open, Box::new(|out| Box::new(OpenList::new(out)))),
    ];
    // Local time costs 300 KiB of memory, so only who asks for it has it; one time for all names.
    let now = LazyCell::new(Zoned::now);
    let named: Vec<(PathBuf, Make)> =
        wanted.into_iter().filter_map(|(path, make)| Some((dated(path.as_ref()?, &|| now.clone()), make))).collect();
    check_distinct(named.iter().map(|(path, _)| path.as_path()).chain(args.stats.as_deref()))?;
    // First, so that a descriptor's number cannot be one that we open ourselves.
    if let Some(path) = &args.stats {
        let (name, file) = open_stats(path)?;
        outputs.add(&name, StatsLines::new(file));
    }
    for (path, make) in named {
        let (name, writer) = create(&path, bar, &mut stdout_is_taken)?;
        outputs.reports.push((name, make(writer)));
    }
    if !stdout_is_taken {
        outputs.add(STDOUT, Text::new(to_stdout(bar), Style { color: super::wants_color(), ..plain }, services));
    }
    Ok(outputs)
}

/// Makes a report that goes to a writer.
type Make<'a> = Box<dyn FnOnce(Box<dyn Write>) -> Box<dyn Sink + 'a> + 'a>;

/// A file's name with nmap's fields for the time, so that a scan each night has a file of its own: `%H %M %S %m %d %y %Y`, `%T` for
/// `%H%M%S`, `%R` for `%H%M`, `%D` for `%m%d%y`, `%F` for `%Y-%m-%d`; before anything else `%` stands for nothing.
fn dated(path: &Path, now: &dyn Fn() -> Zoned) -> PathBuf {
    let Some(name) = path.to_str().filter(|name| name.contains('%')) else { return path.into() };
    let mut dated = String::new();
    let mut letters = name.chars();
    while let Some(letter) = letters.next() {
        let field = if letter == '%' { letters.next() } else { Some(letter) };
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

/// Refuses names that lead to one file, each of whose reports would write over the other's.
pub fn check_distinct<'a>(paths: impl Iterator<Item = &'a Path>) -> Result<(), Failure> {
    let files: Vec<&Path> = paths.filter(|path| path.as_os_str() != "-").collect();
    for (i, path) in files.iter().enumerate() {
        if files[..i].iter().any(|other| is_same_file(path, other)) {
            return Err(Failure::Usage(format!("two reports cannot both go to {}; give each a file of its own", path.display())));
        }
    }
    Ok(())
}

/// Whether both names lead to one regular file; /dev/null takes any number of reports.
fn is_same_file(one: &Path, other: &Path) -> bool {
    let place = |path: &Path| {
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        path.canonicalize().or_else(|_| folder.canonicalize().map(|folder| folder.join(path.file_name().unwrap_or_default()))).ok()
    };
    !one.metadata().is_ok_and(|data| !data.is_file()) && place(one).is_some_and(|here| Some(here) == place(other))
}

fn create(path: &Path, bar: &ProgressBar, stdout_is_taken: &mut bool) -> Result<(String, Box<dyn Write>), Failure> {
    if path.as_os_str() == "-" {
        if std::mem::replace(stdout_is_taken, true) {
            return Err(Failure::Usage("two reports cannot both go to standard output; give one of them a file".into()));
        }
        return Ok((STDOUT.into(), to_stdout(bar)));
    }
    let name = path.display().to_string();
    let file = File::create(path).map_err(|error| Failure::Write { name: name.clone(), error })?;
    Ok((name, Box::new(file)))
}

/// Opens a file, or a descriptor that the shell has opened, so that writing to it never waits: whoever reads a pipe too slowly
/// must not slow the scan down. Opened again by its name, so that the flag is not set for all who share it.
fn open_stats(path: &Path) -> Result<(String, File), Failure> {
    let text = path.to_str().map(|text| if text == "-" { "1" } else { text });
    let fd = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let name = fd.map_or_else(|| path.display().to_string(), |fd| format!("descriptor {fd}"));
    let mut options = File::options();
    options.custom_flags(OFlags::NONBLOCK.bits() as i32);
    let opened = match fd {
        Some(fd) => options.append(true).open(format!("/dev/fd/{fd}")),
        None => options.write(true).create(true).truncate(true).open(path),
    };
    match opened {
        Ok(file) => Ok((name, file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && fd.is_some() => {
            let error = io::Error::other(format!(
                "it is not open; open it in the shell, as in --stats {0} {0}>stats.jsonl",
                fd.unwrap_or_default()
            ));
            Err(Failure::Write { name, error })
        }
        Err(error) if error.raw_os_error() == Some(Errno::NXIO.raw_os_error()) => {
            let error = io::Error::other("it is a pipe that nobody reads, or a socket; start the reader first, or give a file");
            Err(Failure::Write { name, error })
        }
        Err(error) => Err(Failure::Write { name, error }),
    }
}

impl<'a> Outputs<'a> {
    fn add(&mut self, name: &str, sink: impl Sink + 'a) {
        self.reports.push((name.into(), Box::new(sink)));
    }

    /// Shows the progress on the terminal, too.
    pub fn show_progress(&mut self, line: progress::Line) {
        self.progress = Some(line);
    }

    /// Whether every reader has gone away.
    pub fn nobody_left(&self) -> bool {
        self.reports.is_empty()
    }

    /// Calls every report. One that fails is called no more; a reader that went away matters only if it was the last.
    fn each(&mut self, mut call: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        let mut failed = Ok(());
        self.reports.retain_mut(|(name, sink)| match call(sink.as_mut()) {
            Ok(()) => true,
            Err(error) => {
                if error.kind() != io::ErrorKind::BrokenPipe {
                    failed = Err(io::Error::new(error.kind(), format!("{name} cannot be written: {error}")));
                }
                false
            }
        });
        if self.reports.is_empty() && failed.is_ok() {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        failed
    }
}

impl Sink for Outputs<'_> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.each(|sink| sink.begin(begin))
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.each(|sink| sink.finding(finding))
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
        self.each(|sink| sink.end(summary))
    }
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
        let now = jiff::civil::date(2026, 11, 22).at(9, 8, 7, 0).to_zoned(jiff::tz::TimeZone::UTC).expect("a time");
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
