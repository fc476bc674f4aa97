//! Handles on a running scan, for other threads and signal handlers: one stops it, one changes its
//! rate. They only store the request; the loop looks for it at least ten times a second.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::scan::Rate;

/// Stops a scan from another thread or from a signal handler: it only sets a flag, which the loop
/// sees within 100 ms.
#[derive(Clone, Debug, Default)]
pub struct StopHandle(Arc<StopFlags>);

#[derive(Debug, Default)]
struct StopFlags {
    is_stopped: AtomicBool,
    is_seen: AtomicBool,
}

impl StopHandle {
    /// Stops the scan. Safe in a signal handler.
    pub fn stop(&self) {
        self.0.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Whether it was stopped.
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped.load(Ordering::Relaxed)
    }

    /// The loop has seen that it was stopped.
    pub(super) fn mark_seen(&self) {
        self.0.is_seen.store(true, Ordering::Relaxed);
    }

    /// Whether the loop has seen that it was stopped.
    #[cfg(feature = "cli")]
    pub(super) fn is_seen(&self) -> bool {
        self.0.is_seen.load(Ordering::Relaxed)
    }
}

/// Changes how fast a running scan may begin attempts, from another thread or from the sink that
/// is told of its progress.
#[derive(Clone, Debug, Default)]
pub struct RateHandle(Arc<Mutex<Option<Rate>>>);

impl RateHandle {
    /// Sets the highest rate from now on, through routers or towards all. The other
    /// limit, if there is one, still holds. The loop sees it within 100 ms.
    pub fn set(&self, rate: Rate) {
        *self.wanted() = Some(rate);
    }

    /// The rate that was set since the last call, if any.
    pub(super) fn take(&self) -> Option<Rate> {
        self.wanted().take()
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Rate>> {
        // A panic while it was held left nothing half done: only a number is ever copied.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
