//! How long an attempt may take. It knows durations, no sockets and no windows.

/// The deadline of each attempt. Today one fixed time for all; round-trip times that are measured will be kept here.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timeouts {
    fixed_us: u64,
}

impl Timeouts {
    pub fn fixed(us: u64) -> Self {
        Timeouts { fixed_us: us }
    }

    /// How long the next attempt may take, in microseconds.
    pub fn attempt_us(&self) -> u64 {
        self.fixed_us
    }
}
