//! What a scan is told about its sockets, and why it may fail. It checks that the source and the
//! device that were asked for can be used; it connects nowhere.

use std::io;
use std::net::{IpAddr, SocketAddr};

use super::NOTICE_BYTES;
use super::socket::{self, SocketOptions};
use crate::plan::{Family, Plan};
use crate::scan::Settings;

/// How sockets are made and how many there may be.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// Timeouts, retries, rate.
    pub settings: Settings,
    /// Sockets in flight at most; `None` for what the machine allows. 0 counts as 1.
    pub max_fds: Option<u32>,
    /// Source addresses, at most one of each family.
    pub sources: Vec<IpAddr>,
    /// The network device that everything goes out through.
    pub device: Option<String>,
    /// Close open connections with FIN instead of RST. Costs a TIME_WAIT each.
    pub polite_close: bool,
    /// Sent on each connection that opens, and as a datagram where [`Settings::sends_datagrams`]
    /// says so. Only the first [`NOTICE_BYTES`] are sent. Connections then close with FIN, so that
    /// the notice is not lost.
    pub notice: Option<Box<[u8]>>,
    /// Send the notice also to the ports of printers, which print it.
    pub notice_printers: bool,
    /// Open a new socket for each attempt, even where the system could reuse one.
    pub fresh_sockets: bool,
    /// Measure how long each phase of the loop takes: five more readings of the clock a turn.
    pub profile: bool,
    /// Compare what is found on this machine's own addresses with the kernel's list of listening
    /// sockets (Linux).
    pub verify_local: bool,
    /// Serve the counters in Prometheus's text format here, at `/metrics`, while the scan runs.
    /// Whoever can connect may read them.
    pub metrics: Option<SocketAddr>,
}

/// Why a scan could not begin, or could not go on.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The poll could not be made or waited on.
    #[error("the system's event queue failed: {0}")]
    Poll(#[source] io::Error),
    /// There is a source address, but none of the family that some targets have.
    #[error(
        "targets are {family} too, and no {family} source address is given; add one, or leave out these targets"
    )]
    SourceFamily {
        /// The family that lacks a source address.
        family: Family,
    },
    /// What listens on this machine cannot be read.
    #[error("what listens on this machine cannot be found out: {0}")]
    Listeners(#[source] io::Error),
    /// Two source addresses of one family.
    #[error(
        "{0} is a second source address of its family; give one for IPv4 and one for IPv6 at most"
    )]
    TwoSources(IpAddr),
    /// No socket can be made with the source address or device that was asked for.
    #[error(
        "no socket can be opened from {what}: {error}; give an address or a device that this machine has (`ip address` lists them)"
    )]
    Source {
        /// The address or device.
        what: String,
        /// What the system said.
        error: io::Error,
    },
    /// Metrics cannot be served at that address.
    #[error("metrics cannot be served at {address}: {error}; give another port, or 0 for any")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A report could not be written, which stopped the scan.
    #[error("{0}")]
    Report(#[source] io::Error),
    /// The checkpoint belongs to another plan.
    #[error("the checkpoint was not made of this plan; scan from the beginning")]
    OtherPlan,
}

impl Options {
    /// What is sent of the notice.
    pub(super) fn sent_notice(&self) -> Option<Box<[u8]>> {
        let text = self.notice.as_deref()?;
        Some(text[..text.len().min(NOTICE_BYTES)].into())
    }

    /// What every socket has in common. Checks once, before anything is sent, that such sockets can
    /// be made.
    pub(super) fn socket_options(&self, plan: &Plan) -> Result<SocketOptions, Error> {
        let options = SocketOptions {
            device: self.device.clone(),
            ..self.sources()?
        };
        if self.sources.is_empty() && self.device.is_none() {
            return Ok(options);
        }
        for (v6, family) in [(false, Family::V4), (true, Family::V6)] {
            if !plan.has_family(v6) {
                continue;
            }
            if !self.sources.is_empty() && !options.has_source(v6) {
                return Err(Error::SourceFamily { family });
            }
            socket::unconnected(anywhere(v6), &options, 0).map_err(|error| Error::Source {
                what: self.origin(),
                error,
            })?;
        }
        Ok(options)
    }

    /// The source addresses by their families.
    fn sources(&self) -> Result<SocketOptions, Error> {
        let mut options = SocketOptions::default();
        for source in self.sources.iter().map(IpAddr::to_canonical) {
            let family_is_taken = match source {
                IpAddr::V4(source) => options.source_v4.replace(source).is_some(),
                IpAddr::V6(source) => options.source_v6.replace(source).is_some(),
            };
            if family_is_taken {
                return Err(Error::TwoSources(source));
            }
        }
        Ok(options)
    }

    /// Where sockets send from, in words.
    fn origin(&self) -> String {
        let words = self
            .sources
            .iter()
            .map(ToString::to_string)
            .chain(self.device.clone());
        words.collect::<Vec<_>>().join(" on ")
    }
}

/// The unspecified address of a family.
fn anywhere(v6: bool) -> SocketAddr {
    if v6 {
        ([0u16; 8], 0).into()
    } else {
        ([0u8; 4], 0).into()
    }
}
