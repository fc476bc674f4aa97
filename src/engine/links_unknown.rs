//! Where the system does not tell of its links and neighbours in a way that is known here: nothing
//! is asked, and nothing is held back for them.

use std::io;
use std::net::SocketAddr;

use mio::{Registry, Token};

use super::socket::SocketOptions;
use crate::report::{Hardware, NeighbourTable};
use crate::scan::{Links, Scan, Time};

#[derive(Debug)]
pub(super) struct LinkMonitor;

pub(super) fn links(_options: &SocketOptions, _is_strict: bool) -> io::Result<Links> {
    Ok(Links::default())
}

pub(super) fn neighbour_tables() -> [Option<NeighbourTable>; 2] {
    [None; 2]
}

impl LinkMonitor {
    pub fn new(_registry: &Registry, _token: Token, _is_strict: bool) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn ask(&mut self) {}

    pub fn take(&mut self, _scan: &mut Scan, _now: Time) {}
}

#[derive(Debug)]
pub(super) struct HardwareLookup;

impl HardwareLookup {
    pub fn new(_options: &SocketOptions) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    pub fn of(&mut self, _host: SocketAddr) -> Option<Hardware> {
        None
    }
}
