//! Looks up the names of a plan before it is built, and shows how far that is. Until it is done,
//! Ctrl-C ends the process: there is nothing to report.

use std::io;
use std::net::SocketAddr;

use portreeve::engine::{self, Lookups};

use super::progress;

/// What the system knows of each name, looked up side by side.
pub fn look_up(names: Vec<String>, quiet: bool) -> Lookups {
    let all = names.len();
    let bar = progress::bar(quiet);
    let show = |done: usize| bar.set_message(format!("looking up names: {done} of {all}"));
    if all > 0 {
        show(0);
    }
    let lookups = engine::resolve_all(names, &mut { show });
    bar.finish_and_clear();
    lookups
}

/// The addresses of a name that was looked up.
pub fn known(lookups: &Lookups, name: &str) -> io::Result<Vec<SocketAddr>> {
    match lookups.get(name) {
        Some(Ok(found)) => Ok(found.clone()),
        Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
        None => engine::resolve(name),
    }
}
