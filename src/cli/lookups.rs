//! Looks up the names of a plan before it is built, and shows how far that is. Ctrl-C ends that,
//! and the scan with a report of what is known by then.

use std::io;
use std::net::SocketAddr;

use portreeve::engine::{self, Lookups, StopHandle};

use super::{progress, tell};

/// Why a name was not looked up. It has been told of all such names at once.
pub const INTERRUPTED: &str = "interrupted";

/// What the system knows of each name, looked up side by side; of fewer names, if it is stopped.
pub fn look_up(names: Vec<String>, stop: &StopHandle, quiet: bool) -> Lookups {
    let all = names.len();
    let bar = progress::bar(quiet);
    let show = |done: usize| bar.set_message(format!("looking up names: {done} of {all}"));
    if all > 0 {
        show(0);
    }
    let lookups = engine::resolve_all(names, stop, &mut { show });
    bar.finish_and_clear();
    if stop.is_stopped() {
        tell(&format!(
            "warning: interrupted while names were looked up: {} of {all} are known, and only these are in the report",
            lookups.len()
        ));
    }
    lookups
}

/// The addresses of a name that was looked up.
pub fn known(lookups: &Lookups, stop: &StopHandle, name: &str) -> io::Result<Vec<SocketAddr>> {
    match lookups.get(name) {
        Some(Ok(found)) => Ok(found.clone()),
        Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        None if stop.is_stopped() => Err(io::Error::other(INTERRUPTED)),
        None => engine::resolve(name),
    }
}
