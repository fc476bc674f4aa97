//! What a sink is told, and when: the beginning, findings as they come, progress ten times a
//! second, checkpoints, the end. It adds to the scan's findings and counters what only the engine
//! knows; it does not know how they are shown.

use std::io;

use super::local::Local;
use super::profile::Stopwatch;
use super::room::is_room_for;
use super::{Error, Scanner, TcpMemory};
use crate::plan::Outline;
use crate::report::by_host::ByHost;
use crate::report::{Begin, Checkpoint, Exit, Notices, Origin, Phase, Progress, Sink, Summary};
use crate::scan::{Event, Finding, Reason, State};

/// The scan is stopped while this much memory is still to be had: its end needs some …
const SPARE_BYTES: usize = 4 << 20;
/// … and so does each finding that is held for its host, when it is written and kept in a
/// checkpoint: with 128 bytes, scans under `ulimit -v` were still aborted.
const BYTES_A_ROW: usize = 192;
/// Memory is looked after ten times a second, and whenever this many findings have been added.
const ROWS_UNCHECKED: usize = 4_096;
/// At most this many findings are told before the loop goes on: a stop may leave a long list of
/// them, during which a second signal must not go unnoticed.
const TOLD_PER_TURN: usize = 4_096;

impl Scanner {
    /// What a sink is told first, of a scan that begins now. `outline` is its plan's.
    pub fn beginning<'a>(&self, outline: &'a Outline) -> Begin<'a> {
        let (cap, cap_set_by) = self.limits.cap();
        let origin = if self.resumed.is_some() {
            Origin::Resumed
        } else {
            Origin::Scan
        };
        Begin {
            started_at: self.clock.started_at(),
            plan: outline,
            settings: self.options.settings,
            limits: self.limits,
            cap,
            cap_set_by,
            origin,
        }
    }

    /// What was counted so far, or in the end.
    pub fn summary(&self) -> Summary {
        let (cap, cap_set_by) = self.limits.cap();
        let before = self.resumed.as_ref().map(|from| &from.summary);
        let with = |count: u64, before_it: fn(&Summary) -> u64| count + before.map_or(0, before_it);
        let peak_before = before.map_or(0, |before| before.peak_sockets);
        let notices_before = before.map_or(Notices::default(), |before| before.notices);
        let counters = &self.counters;
        Summary {
            stats: self.scan.stats().clone(),
            elapsed: self.clock.elapsed(),
            ended: self.clock.reported(self.clock.now),
            exit: self.exit(),
            stopped: self.scan.stopped(),
            cap,
            cap_set_by,
            peak_sockets: self.sockets.peak().max(peak_before),
            sockets_opened: with(self.sockets.opened(), |before| before.sockets_opened),
            tcp_memory_growth_bytes: self.tcp_memory.as_ref().map(TcpMemory::growth_bytes),
            turns: with(counters.turns, |before| before.turns),
            events: with(counters.events, |before| before.events),
            late: self.clock.late().clone(),
            profile: self.stopwatch.as_ref().map(Stopwatch::profile),
            stale_events: with(counters.stale_events, |before| before.stale_events),
            local_error: counters.local_error.clone(),
            local: None,
            open_everywhere: Vec::new(),
            hosts_in_doubt: 0,
            notices: notices_before.plus(self.talk.notices),
        }
    }

    fn exit(&self) -> Exit {
        let stats = self.scan.stats();
        let unscanned: u64 = stats
            .reasons(State::Unscanned)
            .filter(|(reason, _)| !reason.leaves_nothing_out())
            .map(|(_, count)| count)
            .sum();
        match self.scan.stopped() {
            _ if self.counters.report_failed => Exit::ReportFailed,
            Some(Reason::Interrupted) => Exit::Interrupted,
            _ if unscanned > 0 => Exit::Incomplete,
            _ => Exit::Complete,
        }
    }

    pub(super) fn progress(&self) -> Progress<'_> {
        Progress {
            stats: self.scan.stats(),
            elapsed: self.clock.elapsed(),
            pace: self.scan.pace(),
        }
    }

    fn checkpoint(&self, sink: &mut ByHost) -> Option<Checkpoint> {
        Some(Checkpoint {
            started_at: self.clock.started_at(),
            snapshot: self.scan.snapshot()?,
            summary: self.summary(),
            hosts: sink.hosts(),
            kept: sink.kept().cloned(),
            open: sink.open().clone(),
        })
    }

    /// Tells that the scan begins, and prepares what its sink wants.
    pub(super) fn tell_beginning(&mut self, sink: &mut ByHost) -> io::Result<()> {
        let outline = self.scan.plan().outline();
        let told = sink.begin(&self.beginning(&outline));
        if let Some(from) = &self.resumed {
            sink.restore(from);
        }
        told
    }

    /// Tells what was found, up to a turn's worth, and now and then how far the scan is.
    pub(super) fn tell(&mut self, sink: &mut ByHost) -> io::Result<()> {
        for count in 1.. {
            self.tell_last_checkpoint(sink)?;
            let Some(news) = self.scan.poll_event(self.clock.now) else {
                break;
            };
            self.tell_event(news, sink)?;
            if count == TOLD_PER_TURN {
                self.turn.more_to_do = true;
                break;
            }
        }
        self.look_for_room(sink);
        if std::mem::take(&mut self.is_progress_due) {
            self.tell_progress(sink, false)?;
        }
        self.lap(Phase::Tell);
        Ok(())
    }

    /// Stops the scan while there is memory left for its end.
    fn look_for_room(&mut self, sink: &ByHost) {
        let rows = sink.rows_in_memory();
        if !self.is_progress_due && rows < self.rows_checked + ROWS_UNCHECKED {
            return;
        }
        self.rows_checked = rows;
        if !is_room_for(SPARE_BYTES + rows * BYTES_A_ROW) {
            self.scan.handle_stop(Reason::OutOfMemory, self.clock.now);
        }
    }

    /// Reports are on the disk once they have been told of the progress: a checkpoint comes after.
    fn tell_progress(&self, sink: &mut ByHost, last: bool) -> io::Result<()> {
        let progress = self.progress();
        sink.progress(&progress)?;
        if sink.wants_checkpoint(&progress, last)
            && let Some(checkpoint) = self.checkpoint(sink)
        {
            sink.checkpoint(&checkpoint)?;
        }
        Ok(())
    }

    /// Before the scan ends with endpoints that this machine could not send to: what it takes to
    /// try them again.
    fn tell_last_checkpoint(&self, sink: &mut ByHost) -> io::Result<()> {
        if self.scan.has_only_unsent() {
            self.tell_progress(sink, true)
        } else {
            Ok(())
        }
    }

    /// Tells everything known before a stop, and what it takes to go on after it.
    pub(super) fn tell_before_stop(&mut self, sink: &mut ByHost) -> io::Result<()> {
        loop {
            self.tell_last_checkpoint(sink)?;
            let Some(news) = self.scan.poll_event(self.clock.now) else {
                break;
            };
            self.tell_event(news, sink)?;
        }
        self.tell_progress(sink, true)
    }

    /// Tells a sink that has failed what it would have been told: one of several reports goes on
    /// with those that work.
    pub(super) fn tell_regardless(&mut self, sink: &mut ByHost) {
        while let Some(news) = self.scan.poll_event(self.clock.now) {
            let _ = self.tell_event(news, sink);
        }
    }

    /// Tells that the scan has ended, `failed` or not.
    pub(super) fn tell_end(
        &mut self,
        sink: &mut ByHost,
        failed: Option<Error>,
    ) -> Result<Summary, Error> {
        self.counters.report_failed = matches!(failed, Some(Error::Report(_)));
        let mut summary = self.summary();
        summary.open_everywhere = sink.open().everywhere(self.scan.plan().addresses());
        summary.hosts_in_doubt = sink.open().hosts_on_only(&summary.open_everywhere);
        let checked = self.local.as_ref().map(Local::check).transpose();
        let unchecked = checked.map(|local| summary.local = local).err();
        let untold = sink.end(&summary).err();
        failed
            .or(untold.map(Error::Report))
            .or(unchecked.map(Error::Listeners))
            .map_or(Ok(summary), Err)
    }

    fn tell_event(&mut self, news: Event, sink: &mut ByHost) -> io::Result<()> {
        match news {
            Event::Finding(finding) => {
                let finding = self.complete(finding);
                if let Some(local) = &mut self.local {
                    local.finding(&finding);
                }
                sink.finding(&finding)
            }
            Event::HostDone(done) => {
                let at = self.clock.reported(self.clock.now);
                sink.host_done(&done, at, |host| self.hardware.as_mut()?.of(host))
            }
        }
    }

    /// What the scan has found, with what only the engine knows.
    pub(super) fn complete(&mut self, finding: Finding) -> Finding {
        Finding {
            at: self.clock.reported(finding.at),
            banner: self.talk.take(finding.endpoint),
            ..finding
        }
    }
}
