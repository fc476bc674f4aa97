//! What is reported of a scan, and to whom: a [`Sink`] gets the beginning, each finding, the
//! progress and the summary. Reports know findings and counters only; they touch no socket and read
//! no clock.
//!
//! - What a sink is told: `messages`, with the values that the engine measures in `measured` and
//!   `hardware`, and `host` for what was found on one host. `by_host` groups findings so, with
//!   `spill` for those that are too many.
//! - Formats, one a file: `text`, `json`, `csv`, `xml`, `normal` and `grepable` (which share
//!   `nmap`), `lists`; while a scan runs: `stats_lines`, `metrics`.
//! - Reports read back: `merge` joins shards, `diff` compares scans, `checkpoint` continues one.
//!   They use `record` (the JSON records), `records` and `read`.
//! - Beside a scan: `explain` before it, `limits` of the machine, `experiment` and its
//!   picture, `plot`.
//! - What formats share: [`Listing`] and [`StateSet`], the hosts [`Kept`] for an end, whole lines,
//!   escaping, how numbers are written, and how lines are broken.
//!
//! Without the feature `cli` there are only the messages, `host`, `by_host`, `spill` and `metrics`.

pub mod by_host;
#[cfg(feature = "cli")]
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod csv;
#[cfg(feature = "cli")]
pub mod diff;
#[cfg(feature = "cli")]
mod escape;
#[cfg(feature = "cli")]
pub mod experiment;
#[cfg(feature = "cli")]
pub mod explain;
#[cfg(all(test, feature = "cli"))]
mod fixture;
#[cfg(feature = "cli")]
mod format;
#[cfg(feature = "cli")]
pub mod grepable;
mod hardware;
mod host;
#[cfg(feature = "cli")]
pub mod json;
mod kept;
#[cfg(feature = "cli")]
pub mod limits;
mod listing;
#[cfg(feature = "cli")]
pub mod lists;
mod measured;
#[cfg(feature = "cli")]
pub mod merge;
mod messages;
pub mod metrics;
#[cfg(feature = "cli")]
mod nmap;
#[cfg(feature = "cli")]
pub mod normal;
mod open_ports;
#[cfg(feature = "plot")]
pub mod plot;
#[cfg(feature = "cli")]
mod read;
#[cfg(feature = "cli")]
mod record;
#[cfg(feature = "cli")]
mod records;
mod sink;
mod spill;
mod state_set;
#[cfg(feature = "cli")]
pub mod stats_lines;
#[cfg(feature = "cli")]
pub mod text;
#[cfg(feature = "cli")]
mod whole_lines;
#[cfg(feature = "cli")]
mod wrap;
#[cfg(feature = "cli")]
pub mod xml;

pub use by_host::HostUnderWay;
#[cfg(feature = "cli")]
pub use escape::printable;
#[cfg(feature = "cli")]
pub use format::{counted, grouped};
pub use hardware::{Hardware, MacAddress};
pub use host::{HostReport, Row};
pub use kept::Kept;
pub use listing::{FEW_PORTS, Listing};
pub use measured::{
    BANNER_BYTES, LocalCheck, LocalPort, NeighbourTable, Notices, OnLink, Phase, PhaseCost,
    Profile, Tracking,
};
pub use messages::{Begin, Checkpoint, Exit, Origin, Progress, Summary};
pub use open_ports::{OpenEverywhere, OpenPorts};
#[cfg(feature = "cli")]
pub use records::ReadError;
pub use sink::Sink;
pub use spill::SpillFile;
#[cfg(feature = "cli")]
pub use spill::may_be_findings;
pub use state_set::StateSet;
#[cfg(feature = "cli")]
pub use wrap::{Screen, wrapped};
