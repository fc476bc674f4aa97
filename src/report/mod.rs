//! What is told of a scan, and to whom: a [`Sink`] gets the beginning, each finding, the progress
//! and the end. Reports know findings and counters only; they touch no socket and read no clock.

pub mod by_host;
#[cfg(feature = "cli")]
pub mod checkpoint;
#[cfg(feature = "cli")]
pub mod csv;
#[cfg(feature = "cli")]
pub mod experiment;
#[cfg(feature = "cli")]
pub mod explain;
#[cfg(feature = "cli")]
pub mod grepable;
#[cfg(feature = "cli")]
pub mod json;
#[cfg(feature = "cli")]
pub mod limits;
#[cfg(feature = "cli")]
pub mod lists;
#[cfg(feature = "cli")]
pub mod merge;
pub mod metrics;
#[cfg(feature = "cli")]
mod nmap;
#[cfg(feature = "plot")]
pub mod plot;
#[cfg(feature = "cli")]
mod read;
#[cfg(feature = "cli")]
mod record;
#[cfg(feature = "cli")]
pub mod stats_lines;
#[cfg(feature = "cli")]
pub mod text;
#[cfg(feature = "cli")]
pub mod xml;

use std::io;
use std::net::SocketAddr;
use std::time::SystemTime;

use crate::plan::Outline;
use crate::scan::{
    Finding, Histogram, Limits, Pace, Reason, SOCKET_BYTES, SetBy, Settings, Snapshot, State,
    Stats, Time,
};
pub use by_host::HostReport;

/// What is known when a scan begins.
#[derive(Clone, Debug)]
pub struct Begin<'a> {
    /// The wall clock at [`Time`] 0; findings' times count from there.
    pub started_at: SystemTime,
    /// What is scanned.
    pub plan: &'a Outline,
    /// How.
    pub settings: Settings,
    /// What the machine allows.
    pub limits: Limits,
    /// Sockets in flight at most.
    pub cap: u32,
    /// Which limit set the cap.
    pub cap_set_by: SetBy,
    /// Where what follows comes from.
    pub origin: Origin,
}

/// Where findings come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A scan, from its beginning.
    Scan,
    /// A scan that goes on where another run was: what a report begins with is written already, and
    /// so is what was found then.
    Resumed,
    /// Reports of scans that are joined: of endpoints that they do not list there are only counts.
    Joined,
}

/// With no more addresses than this every host is told of, as they were asked for one by one.
#[cfg(feature = "cli")]
const FEW_ADDRESSES: u64 = 16;

#[cfg(feature = "cli")]
impl Begin<'_> {
    /// Whether hosts that answer nothing are told of like others; otherwise they are only counted.
    fn tells_all_hosts(&self) -> bool {
        self.settings.scan_silent || self.plan.addresses_of_all <= FEW_ADDRESSES
    }
}

/// What it takes to go on later, or in another process: as of one moment, before which every
/// finding was told.
#[derive(Clone, Debug)]
pub struct Checkpoint {
    /// What was counted until then.
    pub summary: Summary,
    /// How far the scan is.
    pub snapshot: Snapshot,
    /// What was told of hosts that are not done with; empty if no sink wants hosts.
    pub hosts: Vec<HostReport>,
}

/// How far a scan is.
#[derive(Clone, Copy, Debug)]
pub struct Progress<'a> {
    /// The counters.
    pub stats: &'a Stats,
    /// Since the scan began.
    pub elapsed: Time,
    /// How fast attempts may go by what the path takes.
    pub pace: Pace,
}

/// The phases of one turn of the loop, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Attempts whose time is over are given up.
    Expire,
    /// Attempts begin.
    Open,
    /// Findings are told.
    Tell,
    /// The system's event queue is waited on.
    Wait,
    /// Events are looked into.
    Settle,
}

impl Phase {
    /// All five, in their order.
    pub const ALL: [Phase; 5] = [
        Phase::Expire,
        Phase::Open,
        Phase::Tell,
        Phase::Wait,
        Phase::Settle,
    ];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Expire => "expire",
            Phase::Open => "open",
            Phase::Tell => "tell",
            Phase::Wait => "wait",
            Phase::Settle => "settle",
        }
    }
}

/// How often a phase was gone through, and for how long in all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhaseCost {
    /// How often.
    pub calls: u64,
    /// Nanoseconds in all.
    pub ns: u64,
}

/// Where the loop's time went: a cost for each phase, in the order of [`Phase::ALL`].
pub type Profile = [PhaseCost; Phase::ALL.len()];

/// How a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Every endpoint has an answer, be it silence.
    Complete,
    /// Some endpoints could not be scanned, for reasons on our own side.
    Incomplete,
    /// The scan was stopped.
    Interrupted,
    /// A report could not be written, and the scan was stopped for it.
    ReportFailed,
}

impl Exit {
    /// Every way.
    pub const ALL: [Exit; 4] = [
        Exit::Complete,
        Exit::Incomplete,
        Exit::Interrupted,
        Exit::ReportFailed,
    ];

    /// The word used in every report.
    pub fn as_str(self) -> &'static str {
        match self {
            Exit::Complete => "complete",
            Exit::Incomplete => "incomplete",
            Exit::Interrupted => "interrupted",
            Exit::ReportFailed => "report-failed",
        }
    }
}

/// What a scan came to. `stats.planned` equals the sum of the four states, always.
#[derive(Clone, Debug)]
pub struct Summary {
    /// The counters.
    pub stats: Stats,
    /// How long it took.
    pub elapsed: Time,
    /// How it ended.
    pub exit: Exit,
    /// Why it ended before it was complete, if it did.
    pub stopped: Option<Reason>,
    /// Sockets in flight at most.
    pub cap: u32,
    /// Which limit set the cap.
    pub cap_set_by: SetBy,
    /// The most sockets that were open at once, in flight or kept for the next attempt.
    pub peak_sockets: u32,
    /// Sockets that were opened in all; fewer than attempts where sockets are kept.
    pub sockets_opened: u64,
    /// By how much TCP's memory account (queued packets of all sockets of the machine) has grown at
    /// most, looked at ten times a second by [`Scanner::run`](crate::engine::Scanner::run); `None`
    /// where the system does not tell.
    pub tcp_memory_growth_bytes: Option<u64>,
    /// Turns of the loop.
    pub turns: u64,
    /// Events that the system's queue gave out, in all turns.
    pub events: u64,
    /// By how much the loop woke up later than the next thing was due, where nothing else woke it.
    pub late: Histogram,
    /// Where the loop's time went, if that was asked for.
    pub profile: Option<Profile>,
    /// Events for sockets without an attempt in flight, which mean nothing.
    pub stale_events: u64,
    /// The last error of our own side, in the system's words, where it was one that portreeve has
    /// no name for.
    pub local_error: Option<String>,
    /// How often it was said who is scanning.
    pub notices: Notices,
    /// What listens on this machine, beside what was found there, if that was asked for.
    pub local: Option<LocalCheck>,
}

/// This machine's own ports: those that were found open, and those that were not although something
/// listens there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LocalCheck {
    /// In the order of addresses and ports.
    pub ports: Vec<LocalPort>,
    /// How many more there are.
    pub untold: u64,
}

/// One of this machine's own ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LocalPort {
    /// Address and port.
    pub endpoint: SocketAddr,
    /// What was found there.
    pub reason: Reason,
    /// Whether the kernel lists a socket that listens there.
    pub listens: bool,
    /// Whose socket that is, name and process, where that may be seen. Names are what processes
    /// call themselves.
    pub owner: Option<String>,
}

/// So much of what a port says is kept, in bytes; then the connection is closed, however much more
/// there would be.
pub const BANNER_BYTES: usize = 1_024;

/// How often a [notice](crate::engine::Options::notice) was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Notices {
    /// On connections.
    pub connections: u64,
    /// As datagrams.
    pub datagrams: u64,
    /// Those that the system would not take.
    pub failed: u64,
}

impl Notices {
    /// Both together.
    #[must_use]
    pub fn plus(self, other: Notices) -> Notices {
        Notices {
            connections: self.connections + other.connections,
            datagrams: self.datagrams + other.datagrams,
            failed: self.failed + other.failed,
        }
    }
}

impl Summary {
    /// Kernel memory of the sockets at their most, in bytes: an estimate at [`SOCKET_BYTES`] each,
    /// which no process's resident memory shows.
    pub fn socket_memory_bytes(&self) -> u64 {
        u64::from(self.peak_sockets) * SOCKET_BYTES
    }

    /// Probes per second that came to a verdict.
    pub fn probes_per_s(&self) -> f64 {
        let scanned = self.stats.planned - self.stats.in_state(State::Unscanned);
        scanned as f64 * 1e6 / self.elapsed.us.max(1) as f64
    }
}

/// Receives what a scan finds. Every method does nothing unless it is written.
///
/// An error stops the scan: what was not scanned is counted as such, `end` is still called, and the
/// error is returned from the run.
pub trait Sink {
    /// The scan begins.
    fn begin(&mut self, _begin: &Begin) -> io::Result<()> {
        Ok(())
    }

    /// An endpoint has its verdict.
    fn finding(&mut self, _finding: &Finding) -> io::Result<()> {
        Ok(())
    }

    /// The states whose findings [`host`](Self::host) wants one by one; `None` if it wants no hosts
    /// at all.
    fn wants_hosts(&self) -> Option<StateSet> {
        None
    }

    /// A host is done with, or too much was kept back of it: all that its findings told.
    fn host(&mut self, _host: &HostReport) -> io::Result<()> {
        Ok(())
    }

    /// Whether it is time for a [`checkpoint`](Self::checkpoint), asked ten times a second.
    fn wants_checkpoint(&self, _progress: &Progress) -> bool {
        false
    }

    /// Keep this: with it the scan can go on if this process ends. Also called once before a stop
    /// takes effect.
    fn checkpoint(&mut self, _checkpoint: &Checkpoint) -> io::Result<()> {
        Ok(())
    }

    /// Ten times a second: show how far it is, write out what is held back.
    fn progress(&mut self, _progress: &Progress) -> io::Result<()> {
        Ok(())
    }

    /// The scan is over.
    fn end(&mut self, _summary: &Summary) -> io::Result<()> {
        Ok(())
    }
}

/// A closure is a sink that gets the findings.
impl<F: FnMut(&Finding)> Sink for F {
    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self(finding);
        Ok(())
    }
}

/// A writer that passes on whole lines only: whatever happens to the process, what was written is
/// complete lines.
#[cfg(feature = "cli")]
#[derive(Debug)]
pub(crate) struct WholeLines<W> {
    out: W,
    held: Vec<u8>,
}

/// Enough for some two hundred findings: a system call per line would cost more than the probe.
#[cfg(feature = "cli")]
const HELD_BYTES: usize = 32 * 1024;

#[cfg(feature = "cli")]
impl<W: io::Write> WholeLines<W> {
    pub fn new(out: W) -> Self {
        WholeLines {
            out,
            held: Vec::with_capacity(HELD_BYTES),
        }
    }

    /// Adds what `write` writes, which must end with a line's end.
    pub fn add(&mut self, write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>) -> io::Result<()> {
        write(&mut self.held)?;
        if self.held.len() >= HELD_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    /// Writes out what is held back.
    pub fn flush(&mut self) -> io::Result<()> {
        let written = self
            .out
            .write_all(&self.held)
            .and_then(|()| self.out.flush());
        self.held.clear();
        written
    }
}

/// The states whose findings are listed one by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StateSet([bool; State::ALL.len()]);

impl StateSet {
    /// Lists these states.
    pub fn states(states: impl IntoIterator<Item = State>) -> Self {
        let mut show = StateSet([false; State::ALL.len()]);
        states
            .into_iter()
            .for_each(|state| show.0[state as usize] = true);
        show
    }

    /// Lists what either does.
    pub fn or(self, other: StateSet) -> StateSet {
        StateSet(std::array::from_fn(|state| self.0[state] || other.0[state]))
    }

    /// Lists what both do.
    pub fn and(self, other: StateSet) -> StateSet {
        StateSet(std::array::from_fn(|state| self.0[state] && other.0[state]))
    }

    /// Whether findings of this state are listed.
    pub fn lists(self, state: State) -> bool {
        self.0[state as usize]
    }
}

/// An endpoint's address as text, with its zone where it has one.
#[cfg(feature = "cli")]
pub(crate) fn ip_text(endpoint: std::net::SocketAddr) -> String {
    match endpoint {
        std::net::SocketAddr::V6(v6) if v6.scope_id() != 0 => {
            format!("{}%{}", v6.ip(), v6.scope_id())
        }
        _ => endpoint.ip().to_string(),
    }
}

/// Text as it may go to a terminal: what would move its cursor, change its colours or turn the
/// direction of writing is told as Rust would write it, `\u{1b}`.
#[cfg(feature = "cli")]
pub fn printable(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        if acts(letter) {
            plain.extend(letter.escape_default())
        } else {
            plain.push(letter)
        }
    }
    plain
}

/// Controls, ends of lines and directions of writing.
#[cfg(feature = "cli")]
fn acts(letter: char) -> bool {
    let turns = matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    letter.is_control() || turns || matches!(letter, '\u{2028}' | '\u{2029}')
}

/// What a port said, as it may go anywhere: printable text as it is, all else as Rust would write
/// it, `\r\n\u{1b}\xff`; a backslash is two, so that no two banners look the same.
#[cfg(feature = "cli")]
pub(crate) fn banner_text(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            if acts(letter) || letter == '\\' {
                text.extend(letter.escape_default())
            } else {
                text.push(letter)
            }
        }
        text.extend(chunk.invalid().iter().map(|byte| format!("\\x{byte:02x}")));
    }
    text
}

/// `1234567` as `1,234,567`.
#[cfg(feature = "cli")]
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 host`, `1,234 hosts`.
#[cfg(feature = "cli")]
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// One set of findings that every format's golden test is fed with.
#[cfg(all(test, feature = "cli"))]
mod fixture {
    use super::by_host::ByHost;
    use super::*;
    use crate::plan::{Plan, PortSet, Services, Target};
    use crate::scan::{Connect, Event, Outcome, OwnError, Scan};
    use std::time::Duration;

    /// Names of services, as a file that somebody else wrote may have them.
    pub fn services() -> Services {
        Services::with_system("<b>&\"'--> 4444/tcp\nwww/, 80/tcp\n\x1b[31m 22/tcp\n")
    }

    /// A command line that would like to be more than that. What is no UTF-8 is replaced already.
    pub fn arguments() -> Vec<String> {
        [
            "127.0.0.1",
            "odd \"\u{1b}[31m\n",
            "--><!--",
            "<&'>",
            "--",
            "\u{fffd}\u{fffe}",
        ]
        .map(String::from)
        .into()
    }

    /// A name, as a shard that somebody else wrote may have it.
    const HOSTILE: &str = "<i>\u{1b}[2J--> \"&',(x)/\r\n\u{202e}";

    /// Compares with the file of that name in `golden/`; with PORTREEVE_BLESS set, writes it.
    pub fn golden(name: &str, text: &str) {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("src/report/golden")
            .join(name);
        if std::env::var_os("PORTREEVE_BLESS").is_some() {
            std::fs::write(&path, text).expect("a writable checkout");
        }
        let golden = std::fs::read_to_string(&path).expect("the golden file");
        assert_eq!(
            text, golden,
            "{name} differs: a report's form is a contract (docs/OUTPUT.md); PORTREEVE_BLESS=1 accepts it"
        );
    }

    /// The summary of the scan that [`play`] plays.
    pub fn summary() -> Summary {
        struct Last(Option<Summary>);
        impl Sink for Last {
            fn end(&mut self, summary: &Summary) -> io::Result<()> {
                self.0 = Some(summary.clone());
                Ok(())
            }
        }
        let mut last = Last(None);
        play(&mut last);
        last.0.expect("an end")
    }

    /// What the ports say that are open: one a greeting, one as much harm as it can.
    fn banner(finding: &Finding) -> Option<Box<[u8]>> {
        match finding.endpoint.port() {
            _ if finding.state() != State::Open => None,
            22 => Some(b"SSH-2.0-portreeve_test, \"1\"\r\n".as_slice().into()),
            _ => Some(b"\x1b]0;x\x07\0<b a='1'>&amp; --> \\x ]]>\xff\xc3\r\n1,2\xe2\x80\xae\xc2\x9b\xef\xbf\xbe".as_slice().into()),
        }
    }

    pub fn begin(plan: &Outline) -> Begin<'_> {
        let limits = Limits {
            nofile: 256,
            already_open: 6,
            max_fds: None,
            available_bytes: Some(1 << 30),
            tcp_available_bytes: None,
        };
        let (cap, cap_set_by) = limits.cap();
        let started_at = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000);
        Begin {
            started_at,
            plan,
            settings: Settings::default(),
            limits,
            cap,
            cap_set_by,
            origin: Origin::Scan,
        }
    }

    pub fn play(sink: &mut dyn Sink) {
        let targets = ["192.0.2.1", "odd.test", "192.0.2.9"]
            .map(|text| Target::parse(text).expect("a target"));
        let ports: PortSet = [22, 80, 4_444, 65_535].into_iter().collect();
        let builder = Plan::builder()
            .targets(targets)
            .ports(ports)
            .order(crate::plan::Order::Sequential);
        let plan = builder
            .build(&mut |_| Ok(vec!["[fe80::1%7]:0".parse().expect("an address")]))
            .expect("a plan");
        let mut outline = plan.outline();
        outline.names = [("192.0.2.9", HOSTILE), ("fe80::1", "odd.test")]
            .map(|(ip, name)| (ip.parse().expect("an address"), name.into()))
            .into_iter()
            .collect();
        let begin = begin(&outline);
        let Begin {
            settings,
            cap,
            cap_set_by,
            ..
        } = begin;
        sink.begin(&begin).expect("begin");
        let mut hosts = sink.wants_hosts().map(ByHost::new);

        let mut scan = Scan::new(plan, settings, cap);
        let at = |ms: u64| Time::from_us(ms * 1_000);
        let by = "192.0.2.254".parse().ok();
        let outcomes = [
            Outcome::Connected {
                rtt_us: Some(41),
                syn_sent_again: false,
            },
            Outcome::Refused,
            Outcome::Unreachable {
                reason: Reason::AdminProhibited,
                by,
            },
            Outcome::TransientLocal(OwnError::ProcessDescriptors),
            Outcome::Refused,
            Outcome::Refused,
            Outcome::Refused,
            Outcome::PermanentLocal(Reason::LocalFirewall),
            Outcome::Connected {
                rtt_us: None,
                syn_sent_again: false,
            },
            Outcome::Unreachable {
                reason: Reason::PortUnreach,
                by: None,
            },
            Outcome::Connected {
                rtt_us: Some(1_234_567),
                syn_sent_again: false,
            },
        ];
        let slots: Vec<Connect> = std::iter::from_fn(|| scan.poll_connect(at(0))).collect();
        for (connect, outcome) in slots.iter().zip(outcomes) {
            scan.handle_outcome(connect.slot, outcome, at(20));
        }
        scan.handle_stop(Reason::Interrupted, at(30));
        while let Some(slot) = scan.poll_expired(at(30)) {
            scan.handle_outcome(slot, Outcome::Silence, at(30));
        }
        while let Some(news) = scan.poll_event() {
            match (news, &mut hosts) {
                (Event::Finding(finding), hosts) => {
                    let finding = Finding {
                        banner: banner(&finding),
                        ..finding
                    };
                    sink.finding(&finding).expect("finding");
                    hosts.as_mut().map(|hosts| hosts.add(&finding));
                }
                (Event::HostDone(done), Some(hosts)) => {
                    sink.host(&hosts.take(&done, at(30))).expect("host")
                }
                (Event::HostDone(_), None) => {}
            }
        }
        sink.progress(&Progress {
            stats: scan.stats(),
            elapsed: at(30),
            pace: scan.pace(),
        })
        .expect("progress");
        let (stats, local_error) = (
            scan.stats().clone(),
            Some("Exec format error (os error 8)".into()),
        );
        let summary = Summary {
            tcp_memory_growth_bytes: Some(40_960),
            stale_events: 2,
            stats,
            elapsed: at(30),
            exit: Exit::Interrupted,
            stopped: scan.stopped(),
            cap,
            cap_set_by,
            peak_sockets: 12,
            sockets_opened: 14,
            turns: 3,
            events: 13,
            late: Histogram::default(),
            profile: Some([1, 2, 3, 4, 5].map(|n| PhaseCost {
                calls: n,
                ns: n * 12_345_678,
            })),
            local_error,
            notices: Notices {
                connections: 3,
                datagrams: 12,
                failed: 1,
            },
            local: Some(LocalCheck {
                ports: [
                    (22, Reason::SynAck, true),
                    (25, Reason::NoResponse, true),
                    (4_444, Reason::SynAck, false),
                ]
                .map(|(port, reason, listens)| LocalPort {
                    endpoint: ([192, 0, 2, 1], port).into(),
                    reason,
                    listens,
                    owner: (port == 22).then(|| "<ss>\u{1b}[2J\" (711)".into()),
                })
                .into(),
                untold: 1,
            }),
        };
        sink.end(&summary).expect("end");
    }
}
