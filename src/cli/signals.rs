//! Signals as flags: Ctrl-C, SIGTERM, SIGQUIT and SIGHUP stop the scan, and another one after half
//! a second ends the process; SIGUSR1 asks for the progress, SIGUSR2 for a slower scan. A stop
//! signal that was ignored when the process began (nohup, a shell's background) stays ignored.
//!
//! What limits send stops the scan, too (SIGXCPU), or becomes an error of a write (SIGXFSZ).

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portreeve::engine::{StopHandle, ignores, stop_on, warn_before_cpu_limit};
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGXCPU, SIGXFSZ};
use signal_hook::flag;

use super::exit::Code;

/// The flags that signals set.
pub struct Signals {
    status: Arc<AtomicBool>,
    slower: Arc<AtomicBool>,
    stops: bool,
}

/// Listens for requests. Call it early: by default, these signals end the process.
pub fn listen() -> io::Result<Signals> {
    let signals = Signals {
        status: Arc::default(),
        slower: Arc::default(),
        stops: false,
    };
    flag::register(SIGUSR1, signals.status.clone())?;
    flag::register(SIGUSR2, signals.slower.clone())?;
    Ok(signals)
}

/// Has limits of this process (`ulimit`) end its work in order, not the process at once. Call it
/// before anything is written.
pub fn outlive_limits() {
    // Without this signal's default action a file that may not grow is an error (EFBIG), like a
    // full disk. If it stays, the limit ends the process as before.
    let _ = flag::register(SIGXFSZ, Arc::default());
    warn_before_cpu_limit();
}

/// Lets signals stop the scan. Call it late: until there is something to report, they may end the
/// process.
pub fn stop_with(stop: &StopHandle) -> io::Result<()> {
    let mut signals = vec![SIGINT, SIGTERM, SIGQUIT, SIGHUP];
    signals.retain(|&signal| !ignores(signal));
    stop_on(&signals, stop, Some(Code::Interrupted as i32))?;
    // It comes again each second.
    stop_on(&[SIGXCPU], stop, None)
}

impl Signals {
    /// As [`stop_with`], once.
    pub fn stop_with(&mut self, stop: &StopHandle) -> io::Result<()> {
        if std::mem::replace(&mut self.stops, true) {
            return Ok(());
        }
        stop_with(stop)
    }

    /// Whether the progress was asked for since the last call.
    pub fn take_status_request(&self) -> bool {
        self.status.swap(false, Ordering::Relaxed)
    }

    /// Whether a slower scan was asked for since the last call.
    pub fn take_slower_request(&self) -> bool {
        self.slower.swap(false, Ordering::Relaxed)
    }
}
