//! What nmap's formats share: a sink that writes a head, hosts and a tail; who
//! scanned when; which hosts are listed; and the summary in nmap's words. It knows hosts and
//! counters, no sockets.

use std::io::{self, Write};
use std::marker::PhantomData;
use std::time::SystemTime;

use super::escape::printable;
use super::format::{counted, wall_clock};
use super::whole_lines::WholeLines;
use super::{Begin, Exit, HostReport, Listing, Origin, Progress, Sink, Summary};
use crate::plan::{Names, Outline, PortSet, Services};
use crate::scan::{State, Time};

/// One of nmap's formats.
pub trait Format {
    /// What a report begins with: a comment, unless the format has something else.
    fn head(run: &Run, _: &Outline) -> String {
        format!("# {}\n", printable(&run.initiated()))
    }
    /// What it says of a host.
    fn host(run: &Run, host: &HostReport) -> String;
    /// What it ends with, likewise.
    fn tail(run: &Run, summary: &Summary) -> String {
        let doubt = doubt(summary).map_or(String::new(), |doubt| format!("# {doubt}\n"));
        format!("{doubt}# {}\n", run.done(summary))
    }
}

/// Writes one of nmap's formats, `F`, to `W`.
#[derive(Debug)]
pub struct NmapReport<'a, W, F> {
    out: WholeLines<W>,
    run: Run<'a>,
    format: PhantomData<F>,
}

impl<'a, W: Write, F: Format> NmapReport<'a, W, F> {
    pub(super) fn of(
        out: W,
        listing: Listing,
        services: &'a Services,
        scanner: &str,
        arguments: &[String],
    ) -> Self {
        NmapReport {
            out: WholeLines::new(out),
            run: Run::new(listing, services, scanner, arguments),
            format: PhantomData,
        }
    }
}

impl<W: Write, F: Format> Sink for NmapReport<'_, W, F> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.run.begin(begin);
        if begin.origin != Origin::Resumed {
            self.out.add_text(&F::head(&self.run, begin.plan))?;
        }
        self.out.flush()
    }

    fn wants_hosts(&self) -> Option<Listing> {
        Some(self.run.listing)
    }

    fn host(&mut self, host: &HostReport) -> io::Result<()> {
        if self.run.lists(host) {
            self.out.add_text(&F::host(&self.run, host))
        } else {
            Ok(())
        }
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        self.out.add_text(&F::tail(&self.run, summary))?;
        self.out.flush()
    }
}

/// A scan as nmap would describe it.
#[derive(Debug)]
pub struct Run<'a> {
    /// Which ports are listed.
    pub(super) listing: Listing,
    pub(super) services: &'a Services,
    /// The program that the report names.
    pub(super) scanner: String,
    pub(super) arguments: String,
    pub(super) names: Names,
    pub(super) addresses: u64,
    /// Whether hosts count as up because the user said so.
    pub(super) is_forced: bool,
    /// Whether the question was only who is there.
    pub(super) is_alive: bool,
    started_at: SystemTime,
    all_hosts: bool,
}

impl<'a> Run<'a> {
    fn new(listing: Listing, services: &'a Services, scanner: &str, arguments: &[String]) -> Self {
        Run {
            listing,
            services,
            scanner: scanner.into(),
            arguments: [&[env!("CARGO_PKG_NAME").into()], arguments]
                .concat()
                .join(" "),
            names: Names::default(),
            addresses: 0,
            is_forced: false,
            is_alive: false,
            started_at: SystemTime::UNIX_EPOCH,
            all_hosts: false,
        }
    }

    fn begin(&mut self, begin: &Begin) {
        self.started_at = begin.started_at;
        self.names = begin.plan.names.clone();
        self.all_hosts = begin.tells_all_hosts();
        self.addresses = begin.plan.addresses;
        self.is_forced = begin.settings.scan_silent;
        self.is_alive = begin.settings.alive;
    }

    /// Whether a host is listed: nmap leaves out those where nobody seems to be.
    fn lists(&self, host: &HostReport) -> bool {
        let has_asked = || {
            let mut asked = host.listed(Listing::only(self.listing.always));
            asked.next().is_some()
        };
        self.all_hosts || host.answered_by().is_some() || has_asked()
    }

    /// Whether a host counts as up.
    pub(super) fn is_up(&self, host: &HostReport) -> bool {
        self.is_forced || host.answered_by().is_some()
    }

    pub(super) fn hosts_up(&self, summary: &Summary) -> u64 {
        if self.is_forced {
            self.addresses
        } else {
            summary.hosts_present()
        }
    }

    /// The time as C's ctime(3) writes it, but in UTC.
    pub(super) fn ctime(&self, after: Time) -> String {
        wall_clock(self.started_at, after)
            .strftime("%a %b %e %H:%M:%S %Y")
            .to_string()
    }

    /// Seconds since 1970.
    pub(super) fn seconds(&self, after: Time) -> i64 {
        wall_clock(self.started_at, after).as_second()
    }

    pub(super) fn initiated(&self) -> String {
        let version = env!("CARGO_PKG_VERSION");
        let time = self.ctime(Time::default());
        format!(
            "{} {version} scan initiated {time} as: {}",
            self.scanner, self.arguments
        )
    }

    pub(super) fn done(&self, summary: &Summary) -> String {
        let word = if summary.exit == Exit::Complete {
            "done"
        } else {
            summary.exit.as_str()
        };
        format!(
            "{} {word} at {} -- {} ({} up) scanned in {:.2} seconds",
            self.scanner,
            self.ctime(summary.ended),
            counted(self.addresses, "IP address", "IP addresses"),
            counted(self.hosts_up(summary), "host", "hosts"),
            summary.elapsed.us as f64 / 1e6,
        )
    }
}

/// What is known at the end only of hosts that were written as up.
pub(super) fn doubt(summary: &Summary) -> Option<String> {
    let hosts = counted(summary.hosts_in_doubt, "host", "hosts");
    let ports = summary.open_everywhere.iter().map(|it| it.port);
    (summary.hosts_in_doubt > 0).then(|| {
        format!(
            "At least {hosts} above that answered may not be there: no other ports answered than {}, \
             and something on the way may answer these in everybody's place",
            PortSet::from_iter(ports)
        )
    })
}

/// nmap's word for a state.
pub(super) fn state_word(state: State) -> &'static str {
    match state {
        State::Unscanned => "unknown",
        other => other.as_str(),
    }
}
