//! What the engine counts by itself, for the summary. It decides nothing.

use super::fdlimit;

/// Counts of one run.
#[derive(Debug, Default)]
pub(super) struct Counters {
    /// Turns of the loop.
    pub turns: u64,
    /// Events that the system's queue gave out.
    pub events: u64,
    /// Those among them for slots without an attempt in flight.
    pub stale_events: u64,
    /// The last error of our own side that has no name of its own, in the system's words.
    pub local_error: Option<String>,
    /// Whether a report could not be written.
    pub report_failed: bool,
}

/// The kernel's account of TCP memory: what it was in the beginning, and its highest.
#[derive(Clone, Copy, Debug)]
pub(super) struct TcpMemory {
    before_bytes: u64,
    peak_bytes: u64,
}

impl TcpMemory {
    /// `None` where the system does not tell.
    pub fn begin() -> Option<Self> {
        fdlimit::tcp_used_bytes().map(|bytes| TcpMemory {
            before_bytes: bytes,
            peak_bytes: bytes,
        })
    }

    /// Looks again.
    pub fn look(&mut self) {
        if let Some(bytes) = fdlimit::tcp_used_bytes() {
            self.peak_bytes = self.peak_bytes.max(bytes);
        }
    }

    /// By how much it has grown at most.
    pub fn growth_bytes(&self) -> u64 {
        self.peak_bytes - self.before_bytes
    }
}
