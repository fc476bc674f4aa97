//! Where the system does not tell of its links and neighbours in a way that is known here: nothing
//! is asked, and nothing is held back for them.

use std::io;

use mio::{Registry, Token};

use super::socket::SocketOptions;
use crate::scan::{Links, Scan, Time};

#[derive(Debug)]
pub(super) struct LinkMonitor;

pub(super) fn links(_options: &SocketOptions) -> io::Result<Links> {
    Ok(Links::default())
}

impl LinkMonitor {
    pub fn new(_registry: &Registry, _token: Token) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn ask(&self) {}

    pub fn take(&mut self, _scan: &mut Scan, _now: Time) {}
}
