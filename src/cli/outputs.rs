//! All reports of a run as one sink. Each has a name, for errors; one that fails does not stop the
//! others. It writes findings and opens nothing.

use std::io::{self, Write};
use std::path::PathBuf;

use indicatif::ProgressBar;
use portreeve::report::{
    Begin, Checkpoint, HostReport, Kept, Listing, Progress, Sink, SpillFile, Summary,
};
use portreeve::scan::Finding;
use rustix::io::Errno;

use super::checkpoint::{CheckpointFile, Run};
use super::files::ReportFile;
use super::progress;
use super::stdout::Stdout;

/// A report with its name.
struct Report<'a> {
    name: String,
    sink: Box<dyn Sink + 'a>,
    /// Whether its reader may go away before the end, as `head` does.
    may_be_left: bool,
}

/// All reports of a run.
#[derive(Default)]
pub struct Outputs<'a> {
    reports: Vec<Report<'a>>,
    /// The places of the requested reports, and their files.
    files: Vec<(PathBuf, Option<ReportFile>)>,
    /// Files that still have their old content.
    uncut: Vec<(String, ReportFile)>,
    checkpoint: Option<CheckpointFile>,
    /// Where findings may be kept until their host is done.
    spill: Option<Box<dyn SpillFile>>,
    progress: Option<progress::Line>,
}

impl<'a> Outputs<'a> {
    /// Adds a report that has to be written in full.
    pub fn add(&mut self, name: &str, sink: Box<dyn Sink + 'a>) {
        self.reports.push(Report {
            name: name.into(),
            sink,
            may_be_left: false,
        });
    }

    /// Adds one whose reader may go away when it has seen enough.
    pub fn add_watched(&mut self, name: &str, sink: Box<dyn Sink + 'a>) {
        self.reports.push(Report {
            name: name.into(),
            sink,
            may_be_left: true,
        });
    }

    /// Keeps findings here that are too many to be held in memory.
    pub fn spill_to(&mut self, file: impl SpillFile + 'static) {
        self.spill = Some(Box::new(file));
    }

    /// Cuts the file off when the scan begins.
    pub fn cut_later(&mut self, name: String, file: ReportFile) {
        self.uncut.push((name, file));
    }

    /// Records the place of a report for a checkpoint; without a file it is standard output.
    pub fn remember(&mut self, path: PathBuf, file: Option<ReportFile>) {
        self.files.push((path, file));
    }

    /// Writes checkpoints from now on.
    pub fn keep(&mut self, mut checkpoint: CheckpointFile, run: Run) {
        let mut files = std::mem::take(&mut self.files);
        // A resumed run follows no links.
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
            // The scan has taken all descriptors: the next time will do.
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

    /// Also shows the progress on the terminal.
    pub fn show_progress(&mut self, line: progress::Line) {
        self.progress = Some(line);
    }

    /// Whether every reader has gone away.
    pub fn nobody_left(&self) -> bool {
        self.reports.is_empty()
    }

    /// Calls every report. A report that fails is not called again. A reader that may go away
    /// matters only if it was the last.
    fn each(&mut self, mut call: impl FnMut(&mut dyn Sink) -> io::Result<()>) -> io::Result<()> {
        let mut failed: Vec<io::Error> = Vec::new();
        self.reports.retain_mut(|report| {
            let done = call(report.sink.as_mut());
            failed.extend(done.as_ref().err().and_then(|error| report.failure(error)));
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

impl Report<'_> {
    /// What is to be said of its failure; nothing if its reader went away and may.
    fn failure(&self, error: &io::Error) -> Option<io::Error> {
        if error.kind() != io::ErrorKind::BrokenPipe {
            return Some(unwritten(&self.name, error));
        }
        let name = &self.name;
        let lost = || io::Error::other(format!("{name} is not complete: its reader has gone"));
        (!self.may_be_left).then(lost)
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

    fn wants_hosts(&self) -> Option<Listing> {
        self.reports
            .iter()
            .filter_map(|report| report.sink.wants_hosts())
            .reduce(Listing::or)
    }

    fn spill_file(&mut self) -> Option<Box<dyn SpillFile>> {
        self.spill.take()
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
        // Remove the progress line before the summary is written in its place.
        self.progress = None;
        self.each(|sink| sink.end(summary))?;
        // An interrupted scan continues from the last one.
        if summary.stopped.is_none() {
            self.write_checkpoint(None)
        } else {
            Ok(())
        }
    }

    fn kept(&self) -> Option<&Kept> {
        self.reports.iter().find_map(|report| report.sink.kept())
    }

    fn restore(&mut self, kept: &Kept) {
        for report in &mut self.reports {
            report.sink.restore(kept);
        }
    }

    fn wants_checkpoint(&self, progress: &Progress, last: bool) -> bool {
        self.checkpoint
            .as_ref()
            .is_some_and(|file| last || file.is_due(progress))
    }

    fn checkpoint(&mut self, now: &Checkpoint) -> io::Result<()> {
        self.write_checkpoint(Some(now))
    }
}

fn unwritten(name: &str, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{name} cannot be written: {error}"))
}

/// Standard output, written above the progress line if there is one.
pub struct AboveBar {
    bar: ProgressBar,
    out: Stdout,
}

impl AboveBar {
    pub fn new(bar: &ProgressBar, out: Stdout) -> Self {
        AboveBar {
            bar: bar.clone(),
            out,
        }
    }
}

impl Write for AboveBar {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.bar.suspend(|| self.out.write_all(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
