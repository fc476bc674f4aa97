//! Where reports go: files and standard output, each with its name for the error that may come. One that fails does not
//! take the others with it.

use std::cell::LazyCell;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;

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
use portreeve::report::{Begin, Checkpoint, HostReport, Progress, Show, Sink, Summary};
use portreeve::scan::{Finding, State};
use rustix::fs::OFlags;
use rustix::io::Errno;

use super::args::OutputArgs;
use super::checkpoint::{self, CheckpointFile, Run};
use super::exit::Failure;
use super::progress;

/// All reports of a run, as one sink.
#[derive(Default)]
pub struct Outputs<'a> {
    reports: Vec<(String, Box<dyn Sink + 'a>)>,
    /// Where the reports that flags name go, and their files if those are regular ones.
    files: Vec<(PathBuf, Option<Rc<File>>)>,
    checkpoint: Option<CheckpointFile>,
    progress: Option<progress::Line>,
}

/// A file that a report writes, and a checkpoint measures.
struct Shared(Rc<File>);

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        (&*self.0).write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

const STDOUT: &str = "standard output";

/// What is written, and what has to be known for it.
pub struct Destination<'a> {
    pub output: &'a OutputArgs,
    pub stats: Option<&'a Path>,
    /// Files that nothing may be written to.
    pub taken: &'a [PathBuf],
    /// The states that there is something to list of; all, if that is not known.
    pub listed: Option<Show>,
    pub services: &'a Services,
    pub bar: &'a ProgressBar,
}

/// The states that are listed one by one, if flags say which.
pub fn show(args: &OutputArgs) -> Option<Show> {
    let states = args.show.iter().flat_map(|shown| shown.states().iter().copied());
    (!args.show.is_empty()).then(|| Show::states(states))
}

impl Destination<'_> {
    fn show(&self) -> Show {
        let open = Show::states([State::Open]);
        match (show(self.output), self.listed) {
            (_, Some(listed)) if self.output.open => open.and(listed),
            (asked, Some(listed)) => asked.map_or(listed, |asked| asked.and(listed)),
            (asked, None) => asked.unwrap_or(open),
        }
    }

    fn style(&self) -> Style {
        let OutputArgs { open, verbose, quiet, .. } = *self.output;
        Style { show: self.show(), listed_only: open, verbose: verbose > 0, quiet, color: false }
    }
}

/// Opens everything that the flags name, before anything is sent. With `resumed`, what the checkpoint says of the reports' files: they
/// go on there.
pub fn open<'a>(to: &Destination<'a>, arguments: &[String], resumed: Option<&[checkpoint::Output]>) -> Result<Outputs<'a>, Failure> {
    let named = named(to, arguments);
    // Local time costs 300 KiB of memory, so only who asks for it has it; one time for all names.
    let now = LazyCell::new(Zoned::now);
    let paths: Vec<PathBuf> = match resumed {
        Some(outputs) => outputs.iter().map(|output| output.path.clone()).collect(),
        None => named.iter().map(|(path, _)| dated(path, &|| now.clone())).collect(),
    };
    check_distinct(paths.iter().chain(to.taken).map(PathBuf::as_path).chain(to.stats))?;
    let mut outputs = Outputs::default();
    // First, so that a descriptor's number cannot be one that we open ourselves.
    if let Some(path) = to.stats {
        let (name, file) = open_stats(path, resumed.is_some())?;
        outputs.add(&name, StatsLines::new(file));
    }
    let is_stdout = |path: &Path| path.as_os_str() == "-";
    if paths.iter().filter(|path| is_stdout(path)).count() > 1 {
        return Err(Failure::Usage("two reports cannot both go to standard output; give one of them a file".into()));
    }
    let files = paths.iter().enumerate().filter(|(_, path)| !is_stdout(path));
    let files: Vec<(usize, File)> =
        files.map(|(at, path)| Ok((at, create(path, resumed.map(|resumed| &resumed[at]))?))).collect::<Result<_, Failure>>()?;
    for (at, file) in &files {
        let cut = resumed.map_or(Ok(()), |resumed| checkpoint::cut(&resumed[*at], file));
        cut.map_err(|error| Failure::Write { name: paths[*at].display().to_string(), error })?;
    }
    let mut files = files.into_iter().peekable();
    for (at, ((_, make), path)) in named.into_iter().zip(paths).enumerate() {
        let file = files.next_if(|(of, _)| *of == at).map(|(_, file)| Rc::new(file));
        let (name, writer): (String, Box<dyn Write>) = match &file {
            Some(file) => (path.display().to_string(), Box::new(Shared(file.clone()))),
            None => (STDOUT.into(), to_stdout(to.bar)),
        };
        outputs.reports.push((name, make(writer)));
        let regular = file.filter(|file| file.metadata().is_ok_and(|data| data.is_file()));
        outputs.files.push((path, regular));
    }
    if !outputs.files.iter().any(|(path, _)| is_stdout(path)) {
        outputs.add(STDOUT, Text::new(to_stdout(to.bar), Style { color: super::wants_color(), ..to.style() }, to.services));
    }
    Ok(outputs)
}

/// What the flags name: where it goes, and what makes it.
fn named<'a>(to: &Destination<'a>, arguments: &[String]) -> Vec<(PathBuf, Make<'a>)> {
    let (args, show, style, services) = (to.output, to.show(), to.style(), to.services);
    let scanner = args.xml_scanner.clone();
    let [json, xml, grepable] = [arguments; 3].map(<[String]>::to_vec);
    let stdout = args.json.then(|| PathBuf::from("-"));
    let all = |ending: &str| {
        let mut path = args.output_all.clone()?.into_os_string();
        path.push(ending);
        Some(PathBuf::from(path))
    };
    let first = json.clone();
    let wanted: [(Option<PathBuf>, Make<'a>); 8] = [
        (stdout, Box::new(move |out| Box::new(JsonLines::new(out, show, services, first)))),
        (args.output_json.clone(), Box::new(move |out| Box::new(JsonLines::new(out, show, services, json)))),
        (args.output_text.clone().or(all(".nmap")), Box::new(move |out| Box::new(Text::new(out, style, services)))),
        (args.output_xml.clone().or(all(".xml")), Box::new(move |out| Box::new(Xml::new(out, show, services, &scanner, &xml)))),
        (args.output_grepable.clone().or(all(".gnmap")), Box::new(move |out| Box::new(Grepable::new(out, show, services, &grepable)))),
        (args.output_csv.clone(), Box::new(move |out| Box::new(Csv::new(out, show, services)))),
        (args.output_list.clone(), Box::new(move |out| Box::new(MasscanList::new(out, services)))),
        (args.list_open.clone(), Box::new(|out| Box::new(OpenList::new(out)))),
    ];
    wanted.into_iter().filter_map(|(path, make)| Some((path?, make))).collect()
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

fn create(path: &Path, resumed: Option<&checkpoint::Output>) -> Result<File, Failure> {
    let file = resumed.map_or_else(|| File::create(path), checkpoint::reopen);
    file.map_err(|error| Failure::Write { name: path.display().to_string(), error })
}

/// Opens a file, or a descriptor that the shell has opened, so that writing to it never waits: whoever reads a pipe too slowly
/// must not slow the scan down. Opened again by its name, so that the flag is not set for all who share it.
fn open_stats(path: &Path, is_resumed: bool) -> Result<(String, File), Failure> {
    let text = path.to_str().map(|text| if text == "-" { "1" } else { text });
    let fd = text.filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let name = fd.map_or_else(|| path.display().to_string(), |fd| format!("descriptor {fd}"));
    let mut options = File::options();
    options.custom_flags(OFlags::NONBLOCK.bits() as i32);
    let opened = match fd {
        Some(fd) => options.append(true).open(format!("/dev/fd/{fd}")),
        None if is_resumed => options.append(true).create(true).open(path),
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

    /// Keeps what it takes to go on.
    pub fn keep(&mut self, mut checkpoint: CheckpointFile, run: Run) {
        checkpoint.keep(run, std::mem::take(&mut self.files));
        self.checkpoint = Some(checkpoint);
    }

    fn write_checkpoint(&mut self, now: Option<&Checkpoint>) -> io::Result<()> {
        let Some(file) = &mut self.checkpoint else { return Ok(()) };
        match file.write(now) {
            // The scan has them all: the next time will do.
            Err(error) if [Errno::MFILE, Errno::NFILE].map(|errno| Some(errno.raw_os_error())).contains(&error.raw_os_error()) => Ok(()),
            Err(error) => Err(io::Error::new(error.kind(), format!("the checkpoint {} cannot be written: {error}", file.path().display()))),
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

    fn wants_hosts(&self) -> Option<Show> {
        self.reports.iter().filter_map(|(_, sink)| sink.wants_hosts()).reduce(Show::or)
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
        if summary.stopped.is_none() { self.write_checkpoint(None) } else { Ok(()) }
    }

    fn wants_checkpoint(&self, progress: &Progress) -> bool {
        self.checkpoint.as_ref().is_some_and(|file| file.is_due(progress))
    }

    fn checkpoint(&mut self, now: &Checkpoint) -> io::Result<()> {
        self.write_checkpoint(Some(now))
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
