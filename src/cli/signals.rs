//! Signals as flags: Ctrl-C, SIGTERM, SIGQUIT and SIGHUP stop the scan, and one more after half a
//! second ends the process; SIGUSR1 asks for the progress, SIGUSR2 for a slower scan. What was to
//! be ignored when the process began (nohup, a shell's background) is ignored.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portreeve::engine::{StopHandle, ignores, stop_on};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

use super::exit::Code;

/// The flags that requests set.
pub struct Signals {
    status: Arc<AtomicBool>,
    slower: Arc<AtomicBool>,
}

/// Listens to requests. Early: by default these signals would end the process.
pub fn listen() -> io::Result<Signals> {
    let signals = Signals {
        status: Arc::default(),
        slower: Arc::default(),
    };
    flag::register(SIGUSR1, signals.status.clone())?;
    flag::register(SIGUSR2, signals.slower.clone())?;
    Ok(signals)
}

/// Has signals stop the scan. Late: until there is something to report they may end the process.
pub fn stop_with(stop: &StopHandle) -> io::Result<()> {
    let mut signals = vec![SIGINT, SIGTERM, SIGQUIT, SIGHUP];
    signals.retain(|&signal| !ignores(signal));
    stop_on(&signals, stop, Code::Interrupted as i32)
}

impl Signals {
    /// Whether the progress was asked for since the last call.
    pub fn take_status_request(&self) -> bool {
        self.status.swap(false, Ordering::Relaxed)
    }

    /// Whether a slower scan was asked for since the last call.
    pub fn take_slower_request(&self) -> bool {
        self.slower.swap(false, Ordering::Relaxed)
    }
}
