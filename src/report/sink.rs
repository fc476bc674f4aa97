//! The trait of everything that a scan reports to.

use std::io;

use super::{Begin, Checkpoint, HostReport, Kept, Listing, Progress, SpillFile, Summary};
use crate::scan::Finding;

/// Receives what a scan finds. By default, every method does nothing.
///
/// An error stops the scan: the rest of the plan counts as unscanned, `end` is still called, and
/// the run returns the error.
pub trait Sink {
    /// The scan begins.
    fn begin(&mut self, _begin: &Begin) -> io::Result<()> {
        Ok(())
    }

    /// An endpoint has its verdict.
    fn finding(&mut self, _finding: &Finding) -> io::Result<()> {
        Ok(())
    }

    /// Which findings [`host`](Self::host) wants one by one; `None` if it wants no hosts at all. It
    /// may get more, and has to leave those out itself.
    fn wants_hosts(&self) -> Option<Listing> {
        None
    }

    /// Where findings that are too many to be held in memory are kept until their host is finished:
    /// an empty file, or, if the scan continues, what was in it when the checkpoint was made. It is
    /// only appended to. Without one such a host is reported in parts.
    fn spill_file(&mut self) -> Option<Box<dyn SpillFile>> {
        None
    }

    /// A host is finished, or too many of its findings were held back: what was found on it.
    fn host(&mut self, _host: &HostReport) -> io::Result<()> {
        Ok(())
    }

    /// What it will tell of again at its end, if anything: a checkpoint holds it.
    fn kept(&self) -> Option<&Kept> {
        None
    }

    /// The scan continues: what it had [kept](Self::kept) when it was interrupted. Called after
    /// `begin`.
    fn restore(&mut self, _kept: &Kept) {}

    /// Whether a [`checkpoint`](Self::checkpoint) is due. Called ten times a second, and, as the
    /// `last` chance, once before a stop takes effect.
    fn wants_checkpoint(&self, _progress: &Progress, _last: bool) -> bool {
        false
    }

    /// Keep this: it lets the scan continue if this process ends. Called after each progress for
    /// which it was wanted.
    fn checkpoint(&mut self, _checkpoint: &Checkpoint) -> io::Result<()> {
        Ok(())
    }

    /// Called ten times a second: show the progress, write out what is buffered.
    fn progress(&mut self, _progress: &Progress) -> io::Result<()> {
        Ok(())
    }

    /// The scan is over.
    fn end(&mut self, _summary: &Summary) -> io::Result<()> {
        Ok(())
    }
}

/// A closure is a sink that gets the findings.
impl<F: FnMut(&Finding)> Sink for F {
    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self(finding);
        Ok(())
    }
}
