//! Signals as flags: Ctrl-C, SIGTERM, SIGQUIT and SIGHUP stop the scan, a second one ends the process, SIGUSR1 asks for the progress,
//! SIGUSR2 for a slower scan.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use portreeve::engine::StopHandle;
use signal_hook::consts::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2};
use signal_hook::flag;

use super::exit::Code;

/// The flag that a signal sets.
pub struct Signals {
    status: Arc<AtomicBool>,
    slower: Arc<AtomicBool>,
}

/// Sets the handlers.
pub fn install(stop: &StopHandle) -> io::Result<Signals> {
    for signal in [SIGINT, SIGTERM, SIGQUIT, SIGHUP] {
        // In this order: the first signal finds the flag down, and the second finds it up and ends the process.
        flag::register_conditional_shutdown(signal, Code::Interrupted as i32, stop.flag())?;
        flag::register(signal, stop.flag())?;
    }
    let status = Arc::new(AtomicBool::new(false));
    flag::register(SIGUSR1, status.clone())?;
    let slower = Arc::new(AtomicBool::new(false));
    flag::register(SIGUSR2, slower.clone())?;
    Ok(Signals { status, slower })
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
