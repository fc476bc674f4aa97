//! What a sink is told, from the beginning of a scan to its summary. These are plain values; they
//! do not know who reads them.

use std::time::SystemTime;

use super::{HostUnderWay, Kept, LocalCheck, Notices, OpenEverywhere, OpenPorts, Profile};
use crate::plan::Outline;
use crate::scan::{
    Histogram, Limits, Pace, Reason, SOCKET_BYTES, SetBy, Settings, Snapshot, State, Stats, Time,
};

/// What is known when a scan begins.
#[derive(Clone, Debug)]
pub struct Begin<'a> {
    /// The wall clock at [`Time`] 0. The times of findings count from there.
    pub started_at: SystemTime,
    /// What is scanned.
    pub plan: &'a Outline,
    /// How it is scanned.
    pub settings: Settings,
    /// What the machine allows.
    pub limits: Limits,
    /// The most sockets in flight at once.
    pub cap: u32,
    /// The limit that set the cap.
    pub cap_set_by: SetBy,
    /// Where the findings that follow come from.
    pub origin: Origin,
}

/// Where findings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A scan, from its beginning.
    Scan,
    /// A scan that continues an interrupted run. A report's head and the earlier findings are
    /// already written.
    Resumed,
    /// Reports of several scans, joined. Endpoints that those reports do not list are only counted.
    Joined,
}

/// Up to this many addresses, a report names every host: the user asked for each of them.
#[cfg(feature = "cli")]
pub(super) const FEW_ADDRESSES: u64 = 16;

#[cfg(feature = "cli")]
impl Begin<'_> {
    /// Whether hosts that answer nothing are reported like others. Otherwise they are only counted.
    pub(super) fn tells_all_hosts(&self) -> bool {
        let has_few = self.plan.addresses_of_all <= FEW_ADDRESSES;
        self.settings.scan_silent || (has_few && !self.settings.alive)
    }
}

/// How far a scan is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The counters.
    pub stats: &'a Stats,
    /// Time since the scan began.
    pub elapsed: Time,
    /// How fast the path lets attempts begin.
    pub pace: Pace,
}

/// Everything needed to continue a scan later or in another process. It describes one moment; every
/// finding before that moment has been reported.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// When the scan was first started.
    pub started_at: SystemTime,
    /// What was counted so far.
    pub summary: Summary,
    /// How far the scan is.
    pub snapshot: Snapshot,
    /// The findings kept for hosts that are not finished; empty if no sink wants hosts. Those that
    /// are in the sink's [file](super::Sink::spill_file) are there to stay.
    pub hosts: Vec<HostUnderWay>,
    /// What a sink [keeps](super::Sink::kept) for its end.
    pub kept: Option<Kept>,
    /// On how many addresses each port is open.
    pub open: OpenPorts,
}

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every endpoint has a verdict; silence is one.
    Complete,
    /// Some endpoints could not be scanned, for reasons on this machine.
    Incomplete,
    /// The scan was stopped.
    Interrupted,
    /// A report could not be written, which stopped the scan.
    ReportFailed,
}

impl Exit {
    /// All of them.
    pub const ALL: [Exit; 4] = [
        Exit::Complete,
        Exit::Incomplete,
        Exit::Interrupted,
        Exit::ReportFailed,
    ];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            Exit::Complete => "complete",
            Exit::Incomplete => "incomplete",
            Exit::Interrupted => "interrupted",
            Exit::ReportFailed => "report-failed",
        }
    }
}

/// The result of a scan. `stats.planned` always equals the sum of the four states.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The counters.
    pub stats: Stats,
    /// How long the scan took. Neither the machine's sleep nor the time between two runs counts.
    pub elapsed: Time,
    /// When it ended, from its first start on, by the clock on the wall.
    pub ended: Time,
    /// How it ended.
    pub exit: Exit,
    /// Why it ended early, if it did.
    pub stopped: Option<Reason>,
    /// The most sockets in flight at once.
    pub cap: u32,
    /// The limit that set the cap.
    pub cap_set_by: SetBy,
    /// The most sockets that were open at once, in flight or kept for the next attempt.
    pub peak_sockets: u32,
    /// Sockets opened in all; fewer than attempts where sockets are reused.
    pub sockets_opened: u64,
    /// The largest growth of TCP's memory account (queued packets of all sockets of the machine),
    /// sampled ten times a second by [`Scanner::run`](crate::engine::Scanner::run), in bytes;
    /// `None` where the system does not report it.
    pub tcp_memory_growth_bytes: Option<u64>,
    /// Turns of the loop.
    pub turns: u64,
    /// Events that the system's queue delivered, in all turns.
    pub events: u64,
    /// How late the loop woke up for the next deadline, where no event woke it earlier.
    pub late: Histogram,
    /// Where the loop's time went, if that was measured.
    pub profile: Option<Profile>,
    /// Events for sockets without an attempt in flight. They are harmless.
    pub stale_events: u64,
    /// The last error on this machine that portreeve has no name for, in the system's words.
    pub local_error: Option<String>,
    /// Ports that are open on nearly every address, known at the end: something probably answers in
    /// their place.
    pub open_everywhere: Vec<OpenEverywhere>,
    /// How many of the hosts that answered did so on those ports only, at least: they may not be
    /// there.
    pub hosts_in_doubt: u64,
    /// How many notices were sent.
    pub notices: Notices,
    /// This machine's own ports, compared with what listens there, if that was asked for.
    pub local: Option<LocalCheck>,
}

impl Summary {
    /// Hosts that answered, but for those that something else has probably answered for.
    pub fn hosts_present(&self) -> u64 {
        self.stats
            .hosts_answering
            .saturating_sub(self.hosts_in_doubt)
    }

    /// Kernel memory of the sockets at their peak, in bytes. It is an estimate of [`SOCKET_BYTES`]
    /// for each; a process's resident memory does not include it.
    pub fn socket_memory_bytes(&self) -> u64 {
        u64::from(self.peak_sockets) * SOCKET_BYTES
    }

    /// Endpoints scanned per second.
    pub fn probes_per_s(&self) -> f64 {
        let scanned = self.stats.planned - self.stats.in_state(State::Unscanned);
        scanned as f64 * 1e6 / self.elapsed.us.max(1) as f64
    }
}
