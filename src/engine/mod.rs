//! The loop: one thread, one poll, one socket per attempt. The only place with sockets and a clock.
//!
//! One turn is `expire -> open -> tell -> wait -> settle`. Settling never begins an attempt, so a
//! slot is never given to another probe inside one batch of events, and the slot alone can be the
//! poll's token. What to do is decided in [`scan`](crate::scan); here it is done.

mod fdlimit;
mod http;
mod icmp;
mod local;
#[cfg(feature = "cli")]
mod machine;
mod profile;
#[cfg(feature = "cli")]
mod signals;
mod socket;
mod talk;
mod testbed;
mod usage;

use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use mio::{Events, Poll, Token};

use crate::plan::{Outline, Plan};
use crate::report::by_host::ByHost;
use crate::report::metrics::metrics;
use crate::report::{Begin, Checkpoint, Exit, Notices, Origin, Phase, Progress, Sink, Summary};
use crate::scan::{
    Connect, Event, Finding, Histogram, Limits, Outcome, Pace, Rate, Reason, Scan, SetBy, Settings,
    Slot, State, TICK_US, Time,
};
use crate::trace;

pub use fdlimit::{lower_descriptor_limit, nofile, raise_descriptor_limit};
use local::Local;
#[cfg(feature = "cli")]
pub use machine::machine;
use profile::Stopwatch;
#[cfg(feature = "cli")]
pub use signals::stop_on;
use socket::{Answer, Socket, SocketOptions};
pub use talk::NOTICE_BYTES;
use talk::Talk;
pub use testbed::LoopbackTestbed;
pub use usage::{CpuTime, cpu_time, ignores, resident_bytes};

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
    /// says so; of more than [`NOTICE_BYTES`] the first. Connections then close with FIN, so that
    /// it is not lost.
    pub notice: Option<Box<[u8]>>,
    /// Open a new socket for each attempt, where the system could use one again.
    pub fresh_sockets: bool,
    /// Measure how long each phase of the loop takes: five more readings of the clock a turn.
    pub profile: bool,
    /// Compare what is found on this machine's own addresses with what listens there by the
    /// kernel's list (Linux).
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
    /// The limits could not be read.
    #[error("the descriptor limit could not be read: {0}")]
    Limits(#[source] io::Error),
    /// There is a source address, but none of the family that some targets have.
    #[error(
        "targets are {family} too, and no {family} source address is given; add one with -S, or leave out these targets with {flag}"
    )]
    SourceFamily {
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// `-4` or `-6`.
        flag: &'static str,
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
    /// Nobody can be served at that address.
    #[error("metrics cannot be served at {address}: {error}; give another port, or 0 for any")]
    Metrics {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        error: io::Error,
    },
    /// A report could not be written, and the scan was stopped for it.
    #[error("{0}")]
    Report(#[source] io::Error),
    /// The scan that is to go on was one of another plan.
    #[error("the checkpoint was not made of this plan; scan from the beginning")]
    OtherPlan,
}

/// Sockets of a scan, in flight or kept.
#[derive(Clone, Copy, Debug, Default)]
struct SocketCounts {
    held: u32,
    peak: u32,
    total: u64,
}

impl SocketCounts {
    fn opened(&mut self) {
        self.held += 1;
        self.peak = self.peak.max(self.held);
        self.total += 1;
    }
}

/// What one turn of the loop did, and the one before it left behind.
#[derive(Debug)]
struct Turn {
    opened: u32,
    expired: u32,
    /// What the wheel's time, the cap, the pace and the end of a wait for a rate were when that was
    /// last traced.
    at: Time,
    cap: u32,
    pace: Pace,
    held_until: Option<Time>,
}

/// The kernel's account of TCP memory, looked at ten times a second.
#[derive(Clone, Copy, Debug)]
struct TcpMemory {
    before_bytes: u64,
    peak_bytes: u64,
}

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

    /// Whether the loop has seen that it was stopped.
    #[cfg(feature = "cli")]
    fn is_seen(&self) -> bool {
        self.0.is_seen.load(Ordering::Relaxed)
    }
}

/// Changes how fast a running scan may begin attempts, from another thread or while it tells of its
/// progress.
#[derive(Clone, Debug, Default)]
pub struct RateHandle(Arc<Mutex<Option<Rate>>>);

impl RateHandle {
    /// At most so fast from now on, towards public addresses or towards all; the other limit, if
    /// there is one, holds beside it. The loop sees it within 100 ms.
    pub fn set(&self, rate: Rate) {
        *self.wanted() = Some(rate);
    }

    fn wanted(&self) -> MutexGuard<'_, Option<Rate>> {
        // Whoever held it has only copied a number: nothing is left half done.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// For closing a connection of which no more is known.
const CONNECTED: Outcome = Outcome::Connected {
    rtt_us: None,
    syn_sent_again: false,
};
/// The longest wait: a stop or a report's progress is never further away.
const LONGEST_WAIT_US: u64 = 100_000;
/// Waking up so much later than planned means that this process was stopped or starved: answers
/// that came in the meantime are taken before anything is given up.
const OVERSLEPT_US: u64 = 5_000;
/// And so much later that attempts may have run out of time without anybody looking.
const GAP_US: u64 = 500_000;
/// A call that does not wait is hardly ever interrupted, and never so often in a row.
const INTERRUPTED_MOST: u32 = 100;
/// Attempts begun before the clock is read and events are settled again: a fraction of a
/// millisecond's work, so that start times stay true. From 4 to 128 the CPU time of a loopback scan
/// is the same.
const OPENS_PER_TURN: usize = 32;
/// Events taken from the kernel at once, and attempts given up at once: so many findings wait to be
/// told at most.
const SETTLED_PER_TURN: usize = 256;
/// Findings told before the loop turns on, so that a stop's long list leaves room for a second
/// thought.
const TOLD_PER_TURN: usize = 4_096;

/// A scan with its sockets. [`run`](Self::run) it with a sink, or iterate over its findings.
#[derive(Debug)]
pub struct Scanner {
    scan: Scan,
    server: Option<http::Server>,
    poll: Poll,
    events: Events,
    /// By slot: in flight where the scan says so, else kept for the slot's next probe.
    sockets: Vec<Option<Socket>>,
    counts: SocketCounts,
    keeps: bool,
    options: Options,
    socket_options: SocketOptions,
    limits: Limits,
    cap: (u32, SetBy),
    stop: StopHandle,
    rate: RateHandle,
    epoch: Instant,
    started: bool,
    now: Time,
    turns: u64,
    events_taken: u64,
    late: Histogram,
    turn: Turn,
    stopwatch: Option<Stopwatch>,
    stale_events: u64,
    tcp_memory: Option<TcpMemory>,
    next_look: Time,
    is_progress_due: bool,
    more_to_do: bool,
    more_to_settle: bool,
    overslept: bool,
    report_failed: bool,
    local_error: Option<String>,
    talk: Talk,
    local: Option<Local>,
    /// What was told of hosts that are under way, for sinks that want it whole.
    by_host: Option<ByHost>,
    /// What goes on here.
    resumed: Option<Checkpoint>,
}

impl Scanner {
    /// Prepares to scan `plan`: makes the poll and reads the machine's limits; opens no connection.
    ///
    /// # Errors
    /// [`Error`]: no descriptor for the poll, limits unreadable, or a source that cannot be used.
    pub fn new(plan: Plan, options: Options) -> Result<Self, Error> {
        Self::begin_at(plan, options, None)
    }

    /// The same, for a scan that goes on where another one was. Counters and times go on, too.
    ///
    /// # Errors
    /// As above, and [`Error::OtherPlan`].
    pub fn resume(plan: Plan, options: Options, from: Checkpoint) -> Result<Self, Error> {
        Self::begin_at(plan, options, Some(from))
    }

    fn begin_at(plan: Plan, options: Options, resumed: Option<Checkpoint>) -> Result<Self, Error> {
        trace::register();
        let poll = Poll::new().map_err(Error::Poll)?;
        let socket_options = socket_options(&plan, &options)?;
        let serve = |address| {
            http::Server::bind(address, poll.registry())
                .map_err(|error| Error::Metrics { address, error })
        };
        let server = options.metrics.map(serve).transpose()?;
        let mut limits =
            fdlimit::limits(options.max_fds.map(|max| max.max(1))).map_err(Error::Limits)?;
        if server.is_some() {
            // Its connections will be.
            limits.already_open += http::CONNECTIONS as u64;
        }
        if options.settings.sends_datagrams {
            limits.already_open += talk::DATAGRAM_SOCKETS;
        }
        let notice = options
            .notice
            .as_deref()
            .map(|text| text[..text.len().min(NOTICE_BYTES)].into());
        let cap = limits.cap();
        let scan = match &resumed {
            Some(from) => Scan::resume(
                plan,
                options.settings,
                cap.0,
                &from.snapshot,
                from.summary.stats.clone(),
            )
            .ok_or(Error::OtherPlan)?,
            None => Scan::new(plan, options.settings, cap.0),
        };
        let local = options
            .verify_local
            .then(Local::begin)
            .transpose()
            .map_err(Error::Listeners)?;
        Ok(Scanner {
            turn: Turn {
                opened: 0,
                expired: 0,
                at: Time::default(),
                cap: cap.0,
                pace: scan.pace(),
                held_until: None,
            },
            scan,
            server,
            poll,
            events: Events::with_capacity(SETTLED_PER_TURN),
            // What is never used takes no memory.
            sockets: Vec::with_capacity(cap.0 as usize),
            counts: SocketCounts::default(),
            keeps: socket::CAN_KEEP && !options.fresh_sockets,
            options,
            socket_options,
            limits,
            cap,
            stop: StopHandle::default(),
            rate: RateHandle::default(),
            epoch: Instant::now(),
            started: false,
            now: Time::default(),
            turns: 0,
            events_taken: 0,
            late: Histogram::default(),
            stopwatch: None,
            stale_events: 0,
            tcp_memory: fdlimit::tcp_used_bytes().map(|bytes| TcpMemory {
                before_bytes: bytes,
                peak_bytes: bytes,
            }),
            next_look: Time::default(),
            is_progress_due: false,
            more_to_do: false,
            more_to_settle: false,
            overslept: false,
            report_failed: false,
            local_error: resumed
                .as_ref()
                .and_then(|from| from.summary.local_error.clone()),
            talk: Talk::new(notice),
            local,
            by_host: None,
            resumed,
        })
    }

    /// What is scanned.
    pub fn plan(&self) -> &Plan {
        self.scan.plan()
    }

    /// How it is scanned, as the scanner was told.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// A handle that stops this scan.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Has this handle stop the scan, which may stop others, too.
    pub fn stop_with(&mut self, handle: &StopHandle) {
        self.stop = handle.clone();
    }

    /// A handle that changes this scan's rate while it runs.
    pub fn rate_handle(&self) -> RateHandle {
        self.rate.clone()
    }

    /// What a sink is told first, of a scan that begins now. `outline` is its plan's.
    pub fn beginning<'a>(&self, outline: &'a Outline) -> Begin<'a> {
        Begin {
            started_at: SystemTime::now() - Duration::from_micros(self.elapsed().us),
            plan: outline,
            settings: self.options.settings,
            limits: self.limits,
            cap: self.cap.0,
            cap_set_by: self.cap.1,
            origin: if self.resumed.is_some() {
                Origin::Resumed
            } else {
                Origin::Scan
            },
        }
    }

    /// Where metrics are served.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.as_ref()?.address().ok()
    }

    /// What the machine allows, as read when the scanner was made.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// What was counted so far, or in the end.
    pub fn summary(&self) -> Summary {
        let stats = self.scan.stats().clone();
        // A broadcast address in a block is nobody's failure, and nor is an address without a host.
        let nobodys = stats.with_reason(Reason::NotAHost) + stats.with_reason(Reason::SilentHost);
        let unscanned = stats.in_state(State::Unscanned) - nobodys;
        let exit = match self.scan.stopped() {
            _ if self.report_failed => Exit::ReportFailed,
            Some(Reason::Interrupted) => Exit::Interrupted,
            _ if unscanned > 0 => Exit::Incomplete,
            _ => Exit::Complete,
        };
        let (cap, cap_set_by) = self.cap;
        let before = self.resumed.as_ref().map(|from| &from.summary);
        let with = |count: u64, before_it: fn(&Summary) -> u64| count + before.map_or(0, before_it);
        Summary {
            stats,
            elapsed: self.elapsed(),
            exit,
            stopped: self.scan.stopped(),
            cap,
            cap_set_by,
            peak_sockets: self
                .counts
                .peak
                .max(before.map_or(0, |before| before.peak_sockets)),
            sockets_opened: with(self.counts.total, |before| before.sockets_opened),
            tcp_memory_growth_bytes: self
                .tcp_memory
                .map(|memory| memory.peak_bytes - memory.before_bytes),
            turns: with(self.turns, |before| before.turns),
            events: with(self.events_taken, |before| before.events),
            late: self.late.clone(),
            profile: self.stopwatch.as_ref().map(Stopwatch::profile),
            stale_events: with(self.stale_events, |before| before.stale_events),
            local_error: self.local_error.clone(),
            local: None,
            notices: before
                .map_or(Notices::default(), |before| before.notices)
                .plus(self.talk.notices),
        }
    }

    /// Since the scan began, without the time between two runs of it. The scan itself counts from
    /// its own start.
    fn elapsed(&self) -> Time {
        self.reported(self.now)
    }

    fn reported(&self, at: Time) -> Time {
        at.plus_us(
            self.resumed
                .as_ref()
                .map_or(0, |from| from.summary.elapsed.us),
        )
    }

    /// Scans to the end, telling `sink`.
    ///
    /// # Errors
    /// [`Error::Report`] when the sink fails, [`Error::Poll`] when the system's event queue does.
    pub fn run(&mut self, sink: &mut dyn Sink) -> Result<Summary, Error> {
        self.start();
        let outline = self.scan.plan().outline();
        let begin = self.beginning(&outline);
        let mut failed = sink.begin(&begin).map_err(Error::Report).err();
        drop(outline);
        self.by_host = sink.wants_hosts().map(ByHost::new);
        if let (Some(hosts), Some(from)) = (&mut self.by_host, &self.resumed) {
            hosts.restore(&from.hosts);
        }
        // A slow beginning must not take the first attempts' time.
        self.read_clock();
        loop {
            if let Some(error) = &failed {
                let by_report = matches!(error, Error::Report(_));
                self.scan.handle_stop(
                    if by_report {
                        Reason::Interrupted
                    } else {
                        Reason::LocalError
                    },
                    self.now,
                );
            } else if self.is_to_stop() {
                failed = self.keep_checkpoint(sink).map_err(Error::Report).err();
            }
            self.act();
            if failed.is_none() {
                failed = self.tell(sink).map_err(Error::Report).err();
            } else {
                // A sink of several reports goes on with those that work.
                while let Some(news) = self.scan.poll_event() {
                    let _ = self.emit(news, sink);
                }
            }
            if self.scan.is_finished() {
                break;
            }
            if let Err(error) = self.rest() {
                failed.get_or_insert(error);
            }
        }
        self.report_failed = matches!(failed, Some(Error::Report(_)));
        let mut summary = self.summary();
        let checked = self
            .local
            .as_ref()
            .map(Local::check)
            .transpose()
            .map_err(Error::Listeners);
        let unchecked = checked.map(|local| summary.local = local).err();
        let ended = sink.end(&summary).map_err(Error::Report).err();
        failed.or(ended).or(unchecked).map_or(Ok(summary), Err)
    }

    /// Starts the scan's clock, once.
    fn start(&mut self) {
        if !std::mem::replace(&mut self.started, true) {
            self.epoch = Instant::now();
            self.stopwatch = self.options.profile.then(Stopwatch::start);
        }
    }

    /// Tells what was found, up to a turn's worth, and now and then how far it is.
    fn tell(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        for count in 1.. {
            let Some(news) = self.scan.poll_event() else {
                break;
            };
            self.emit(news, sink)?;
            if count == TOLD_PER_TURN {
                self.more_to_do = true;
                break;
            }
        }
        if std::mem::take(&mut self.is_progress_due) {
            let progress = self.progress();
            sink.progress(&progress)?;
            if sink.wants_checkpoint(&progress)
                && let Some(checkpoint) = self.checkpoint()
            {
                sink.checkpoint(&checkpoint)?;
            }
        }
        self.lap(Phase::Tell);
        Ok(())
    }

    fn emit(&mut self, news: Event, sink: &mut dyn Sink) -> io::Result<()> {
        match news {
            Event::Finding(finding) => {
                let finding = self.complete(finding);
                if let Some(local) = &mut self.local {
                    local.finding(&finding);
                }
                sink.finding(&finding)?;
                let part = self.by_host.as_mut().and_then(|hosts| hosts.add(&finding));
                part.map_or(Ok(()), |part| sink.host(&part))
            }
            Event::HostDone(done) => {
                let at = self.elapsed();
                let host = self.by_host.as_mut().map(|hosts| hosts.take(&done, at));
                host.map_or(Ok(()), |host| sink.host(&host))
            }
        }
    }

    /// What the scan has found, with what only the engine knows.
    fn complete(&mut self, finding: Finding) -> Finding {
        Finding {
            at: self.reported(finding.at),
            banner: self.talk.take(finding.endpoint),
            ..finding
        }
    }

    /// Tells all that is known before a stop, and what is needed to go on after it.
    fn keep_checkpoint(&mut self, sink: &mut dyn Sink) -> io::Result<()> {
        while let Some(news) = self.scan.poll_event() {
            self.emit(news, sink)?;
        }
        sink.progress(&self.progress())?;
        self.checkpoint()
            .map_or(Ok(()), |checkpoint| sink.checkpoint(&checkpoint))
    }

    fn checkpoint(&self) -> Option<Checkpoint> {
        let hosts = self
            .by_host
            .iter()
            .flat_map(ByHost::hosts)
            .cloned()
            .collect();
        Some(Checkpoint {
            snapshot: self.scan.snapshot()?,
            summary: self.summary(),
            hosts,
        })
    }

    fn progress(&self) -> Progress<'_> {
        Progress {
            stats: self.scan.stats(),
            elapsed: self.elapsed(),
            pace: self.scan.pace(),
        }
    }

    fn is_to_stop(&self) -> bool {
        self.stop.is_stopped() && self.scan.stopped().is_none()
    }

    /// The first half of a turn: expire and open. Then it is time to tell.
    fn act(&mut self) {
        if self.is_to_stop() {
            self.stop.0.is_seen.store(true, Ordering::Relaxed);
            self.scan.handle_stop(Reason::Interrupted, self.now);
            self.next_look = self.now;
        }
        if self.now >= self.next_look {
            self.next_look = self.now.plus_us(LONGEST_WAIT_US);
            self.is_progress_due = true;
            self.look();
        }
        (self.turn.opened, self.turn.expired) = (0, 0);
        let more_to_expire = self.expire();
        self.lap(Phase::Expire);
        self.more_to_do = self.open() || more_to_expire;
        self.lap(Phase::Open);
        if cfg!(debug_assertions) {
            self.scan.check_invariants();
        }
    }

    /// The second half: wait and settle.
    fn rest(&mut self) -> Result<(), Error> {
        if cfg!(debug_assertions) {
            self.check_before_wait();
        }
        self.turns += 1;
        self.trace_changes();
        let wait_ns = self.wait()?;
        self.lap(Phase::Wait);
        let events = self.settle();
        self.lap(Phase::Settle);
        self.events_taken += u64::from(events);
        trace::turn(events, self.turn.opened, self.turn.expired, wait_ns);
        Ok(())
    }

    /// A phase of the turn is over.
    fn lap(&mut self, phase: Phase) {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.lap(phase);
        }
    }

    /// Traces what this turn has changed, and what the wait is for.
    fn trace_changes(&mut self) {
        let ticks = self.now.us / TICK_US - self.turn.at.us / TICK_US;
        if ticks > 0 {
            trace::wheel_advance(ticks, self.turn.expired);
        }
        let (cap, pace) = (self.scan.stats().cap, self.scan.pace());
        if cap > self.turn.cap {
            trace::cap_change(self.turn.cap, cap, "recovered");
        }
        if pace != self.turn.pace {
            trace::pace_change(self.turn.pace, pace);
        }
        let held_until = self.scan.paced_until();
        if let Some(until) = held_until.filter(|_| held_until != self.turn.held_until) {
            trace::rate_wait(until.us_since(self.now));
        }
        self.turn = Turn {
            at: self.now,
            cap,
            pace,
            held_until,
            ..self.turn
        };
    }

    /// Gives up attempts whose time is over, up to a turn's worth; says whether that was the bound.
    fn expire(&mut self) -> bool {
        // Answers that came in time may still wait to be taken from the kernel.
        if self.more_to_settle && self.scan.stopped().is_none() {
            return false;
        }
        for _ in 0..SETTLED_PER_TURN {
            let Some(slot) = self.scan.poll_expired(self.now) else {
                return false;
            };
            if self.scan.is_listening(slot) {
                self.hang_up(slot);
                continue;
            }
            let kept = self.may_keep()
                && self.sockets[slot as usize]
                    .as_ref()
                    .is_some_and(Socket::give_up);
            if !kept {
                self.release(slot);
            }
            self.turn.expired += 1;
            self.conclude(slot, Outcome::Silence, None);
        }
        true
    }

    /// Begins as many attempts as may begin, up to a turn's worth; says whether that was the bound.
    fn open(&mut self) -> bool {
        for _ in 0..OPENS_PER_TURN {
            let Some(connect) = self.scan.poll_connect(self.now) else {
                return false;
            };
            self.turn.opened += 1;
            if connect.datagram {
                self.talk
                    .send_datagram(connect.endpoint, &self.socket_options);
            }
            if let Err((outcome, error)) = self.begin(connect) {
                self.release(connect.slot);
                let wants_idle = match outcome {
                    // What idle sockets hold is what is missing, unless it is a source port.
                    Outcome::TransientLocal(error) => error.reason() != Reason::NoSourcePort,
                    // They are bound to a device that may be gone, or have been made anew under its
                    // name.
                    Outcome::PermanentLocal(Reason::NoLocalRoute) => self.options.device.is_some(),
                    _ => false,
                };
                if wants_idle {
                    self.release_idle();
                }
                self.conclude(connect.slot, outcome, Some(error));
            }
        }
        true
    }

    fn begin(
        &mut self,
        Connect {
            slot,
            endpoint,
            avoid_self,
            ..
        }: Connect,
    ) -> Result<(), (Outcome, io::Error)> {
        let made = self.provide_socket(slot, endpoint, avoid_self);
        let socket = self.sockets[slot as usize].as_ref();
        let number = || self.scan.attempt(slot).map_or(0, |(number, _)| number);
        trace::probe_start(endpoint, slot, socket.map_or(-1, Socket::fd), number);
        made.map_err(|error| (socket::failure_to_begin(&error), error))?;
        socket.map_or(Ok(()), |socket| socket.connect(endpoint))
    }

    /// Sees to it that a slot has a socket for an attempt at `endpoint`.
    fn provide_socket(
        &mut self,
        slot: Slot,
        endpoint: SocketAddr,
        avoid_self: u8,
    ) -> io::Result<()> {
        let at = slot as usize;
        if at >= self.sockets.len() {
            self.sockets.resize_with(at + 1, || None);
        }
        match &self.sockets[at] {
            Some(kept) if kept.fits(endpoint, avoid_self) => {
                trace::socket_kept(kept.fd(), slot);
                return Ok(());
            }
            Some(_) => drop(self.release(slot)),
            None => {}
        }
        if self.counts.held >= self.scan.stats().cap {
            // Others are kept for slots that nobody has now.
            self.release_idle();
        }
        let mut socket = Socket::open(endpoint, &self.socket_options, avoid_self)?;
        socket.register(
            self.poll.registry(),
            Token(at),
            self.options.settings.banner_wait_us.is_some(),
        )?;
        trace::socket_opened(socket.fd(), slot);
        self.sockets[at] = Some(socket);
        self.counts.opened();
        Ok(())
    }

    /// Whether a socket may stay open for the next probe: not when more are held than may be.
    fn may_keep(&self) -> bool {
        self.keeps && self.counts.held <= self.scan.stats().cap
    }

    /// Closes a slot's socket, if it has one.
    fn release(&mut self, slot: Slot) -> Option<Socket> {
        let socket = self.sockets[slot as usize].take()?;
        trace::socket_closed(socket.fd(), slot);
        self.counts.held -= 1;
        Some(socket)
    }

    /// Closes the sockets that wait for a next probe: something else needs what they hold.
    fn release_idle(&mut self) {
        for slot in 0..self.sockets.len() as Slot {
            if !self.scan.holds_socket(slot) {
                self.release(slot);
            }
        }
    }

    /// Waits for events until something else is due, and reads the clock: the only time in a turn,
    /// unless somebody measures. Returns how many nanoseconds it waited, if the loop is built to be
    /// traced.
    fn wait(&mut self) -> Result<u64, Error> {
        let longest = self
            .now
            .plus_us(if self.more_to_do { 0 } else { LONGEST_WAIT_US });
        let until = self
            .scan
            .poll_timeout()
            .map_or(longest, |next| next.clamp(self.now, longest));
        let timeout = Duration::from_micros(until.us_since(self.now));
        let began = cfg!(feature = "usdt").then(Instant::now);
        self.poll(timeout)?;
        let waited_ns = began.map_or(0, |began| began.elapsed().as_nanos() as u64);
        self.read_clock();
        let late_us = self.now.us_since(until);
        if late_us > GAP_US {
            self.scan.handle_gap(self.now);
        }
        if self.events.is_empty() && !timeout.is_zero() {
            self.late.count(late_us);
        }
        // Not twice in a row: on a machine that is always late, time still has to run out.
        self.overslept = !self.overslept && late_us > OVERSLEPT_US;
        Ok(waited_ns)
    }

    /// Takes events. After a signal once more, without waiting: whoever handles it may have set the
    /// stop flag, and answers that are there must be taken before anything expires.
    fn poll(&mut self, timeout: Duration) -> Result<(), Error> {
        let mut result = self.poll.poll(&mut self.events, Some(timeout));
        for _ in 0..INTERRUPTED_MOST {
            match &result {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {
                    result = self.poll.poll(&mut self.events, Some(Duration::ZERO));
                }
                _ => break,
            }
        }
        result.map_err(Error::Poll)
    }

    fn read_clock(&mut self) {
        self.now = Time::from_us(self.epoch.elapsed().as_micros() as u64);
    }

    /// Looks into what happened; returns how many events there were.
    fn settle(&mut self) -> u32 {
        let events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let mut count = 0;
        for event in &events {
            count += 1;
            if http::Server::is_meant(event.token()) {
                self.serve(event.token());
                continue;
            }
            let slot = event.token().0 as Slot;
            if self.scan.is_listening(slot) {
                self.listen(slot);
                continue;
            }
            // An event for a slot without an attempt in flight is stale, and normal.
            let Some(endpoint) = self.scan.endpoint(slot) else {
                self.stale_events += 1;
                continue;
            };
            let Some(socket) = &self.sockets[slot as usize] else {
                continue;
            };
            let Some(mut answer) = socket.answer(endpoint, self.keeps) else {
                continue;
            };
            if answer
                .own_source
                .is_some_and(|local| self.scan.may_have_met(local))
            {
                answer.outcome = Outcome::SelfConnected;
            }
            if matches!(answer.outcome, Outcome::Connected { .. }) {
                self.talk.greet(socket);
                self.conclude(slot, answer.outcome, None);
                self.listen(slot);
                continue;
            }
            if !(self.may_keep() && socket.reuse_after(&answer)) {
                self.close(slot, answer.outcome);
            }
            let Answer { outcome, error, .. } = answer;
            self.conclude(slot, outcome, error);
        }
        self.more_to_settle = count as usize == SETTLED_PER_TURN || self.overslept;
        self.events = events;
        count
    }

    fn serve(&mut self, token: Token) {
        if let Some(mut server) = self.server.take() {
            server.handle(token, self.poll.registry(), self.now, || {
                metrics(&self.progress())
            });
            self.server = Some(server);
        }
    }

    /// A slot's port is open: takes what it has said, if anybody wants to hear it, and closes the
    /// connection when that is all.
    fn listen(&mut self, slot: Slot) {
        let (Some(endpoint), Some(socket)) =
            (self.scan.listens_to(slot), &self.sockets[slot as usize])
        else {
            return self.close(slot, CONNECTED);
        };
        match self.talk.listen(endpoint, socket) {
            (_, true) => self.hang_up(slot),
            (true, false) => self.scan.handle_heard(slot, false, self.now),
            (false, false) => {}
        }
    }

    /// Nothing more is to be heard at a slot.
    fn hang_up(&mut self, slot: Slot) {
        self.close(slot, CONNECTED);
        self.scan.handle_heard(slot, true, self.now);
    }

    fn close(&mut self, slot: Slot, outcome: Outcome) {
        if let Some(socket) = self.release(slot) {
            socket.close_after(outcome, self.options.polite_close || self.talk.has_notice());
        }
    }

    /// What is seen to ten times a second.
    fn look(&mut self) {
        if let Some(rate) = self.rate.wanted().take() {
            self.scan.set_rate(rate, self.now);
        }
        if let (Some(memory), Some(bytes)) = (&mut self.tcp_memory, fdlimit::tcp_used_bytes()) {
            memory.peak_bytes = memory.peak_bytes.max(bytes);
        }
        if let Some(server) = &mut self.server {
            server.look(self.poll.registry(), self.now);
        }
    }

    /// Panics where the scan would sleep for ever, or its books do not balance with the sockets
    /// that are held.
    fn check_before_wait(&self) {
        if !self.more_to_do && !self.more_to_settle {
            self.scan.check_before_wait(self.now);
        }
        let slots = || {
            self.sockets
                .iter()
                .enumerate()
                .filter(|(_, socket)| socket.is_some())
        };
        let in_flight = slots()
            .filter(|&(slot, _)| self.scan.holds_socket(slot as Slot))
            .count();
        assert_eq!(
            in_flight,
            self.scan.stats().in_flight as usize,
            "an attempt has no socket"
        );
        assert_eq!(
            slots().count(),
            self.counts.held as usize,
            "held sockets are miscounted"
        );
        assert!(
            self.keeps || in_flight == slots().count(),
            "a socket was not closed"
        );
        assert!(self.counts.peak <= self.cap.0, "more sockets than the cap");
    }

    fn conclude(&mut self, slot: Slot, outcome: Outcome, error: Option<io::Error>) {
        trace::probe_outcome(|| self.ended(slot, outcome, error.as_ref()));
        if let (Outcome::PermanentLocal(Reason::LocalError), Some(error)) = (outcome, error) {
            self.local_error = Some(error.to_string());
        }
        self.scan.handle_outcome(slot, outcome, self.now);
        let cap = self.scan.stats().cap;
        if cap < self.turn.cap
            && let Outcome::TransientLocal(error) = outcome
        {
            trace::cap_change(self.turn.cap, cap, error.as_str());
            self.turn.cap = cap;
        }
    }

    /// What to trace of an attempt that ends.
    fn ended(&self, slot: Slot, outcome: Outcome, error: Option<&io::Error>) -> trace::Ended {
        let (number, began) = self.scan.attempt(slot).unwrap_or_default();
        let took_us = self.now.us_since(began) as i64;
        let (errno, rtt_us) = match outcome {
            Outcome::Connected { rtt_us, .. } => (0, rtt_us.map_or(took_us, i64::from)),
            Outcome::SelfConnected => (libc::EISCONN, -1),
            Outcome::Refused => (libc::ECONNREFUSED, took_us),
            Outcome::Unreachable { .. } => (libc::EHOSTUNREACH, took_us),
            Outcome::Silence => (libc::ETIMEDOUT, -1),
            Outcome::TransientLocal(_) | Outcome::PermanentLocal(_) => (0, -1),
        };
        let errno = error.and_then(io::Error::raw_os_error).unwrap_or(errno);
        let endpoint = self
            .scan
            .endpoint(slot)
            .unwrap_or_else(|| ([0u8; 4], 0).into());
        trace::Ended {
            endpoint,
            number,
            slot,
            errno,
            rtt_us,
        }
    }
}

/// The findings one after the other. `None` when the scan is over; an error ends it too.
impl Iterator for Scanner {
    type Item = Result<Finding, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.started {
            self.start();
            self.act();
        }
        loop {
            if let Some(finding) = self.scan.poll_finding() {
                return Some(Ok(self.complete(finding)));
            }
            if self.scan.is_finished() {
                return None;
            }
            if let Err(error) = self.rest() {
                self.scan.handle_stop(Reason::LocalError, self.now);
                self.act();
                return Some(Err(error));
            }
            self.act();
        }
    }
}

/// Checks once, before anything is sent, that sockets can be made as asked.
fn socket_options(plan: &Plan, options: &Options) -> Result<SocketOptions, Error> {
    let mut socket_options = SocketOptions {
        device: options.device.clone(),
        ..SocketOptions::default()
    };
    for source in options.sources.iter().map(IpAddr::to_canonical) {
        let family_is_taken = match source {
            IpAddr::V4(source) => socket_options.source_v4.replace(source).is_some(),
            IpAddr::V6(source) => socket_options.source_v6.replace(source).is_some(),
        };
        if family_is_taken {
            return Err(Error::TwoSources(source));
        }
    }
    for (v6, family, flag) in [(false, "IPv4", "-6"), (true, "IPv6", "-4")] {
        let has_source = if v6 {
            socket_options.source_v6.is_some()
        } else {
            socket_options.source_v4.is_some()
        };
        if !plan.has_family(v6) || (options.sources.is_empty() && options.device.is_none()) {
            continue;
        }
        if !options.sources.is_empty() && !has_source {
            return Err(Error::SourceFamily { family, flag });
        }
        let anywhere: SocketAddr = if v6 {
            ([0u16; 8], 0).into()
        } else {
            ([0u8; 4], 0).into()
        };
        socket::unconnected(anywhere, &socket_options, 0).map_err(|error| {
            let what = options
                .sources
                .iter()
                .map(ToString::to_string)
                .chain(options.device.clone());
            Error::Source {
                what: what.collect::<Vec<_>>().join(" on "),
                error,
            }
        })?;
    }
    Ok(socket_options)
}

/// Asks the system for a host's addresses, the preferred one first (getaddrinfo(3): files, DNS,
/// whatever is set up). Takes IPv6 addresses with a zone, too. Blocks as long as the system's
/// resolver does.
///
/// # Errors
/// What the system's resolver says.
pub fn resolve(name: &str) -> io::Result<Vec<SocketAddr>> {
    let mut found: Vec<SocketAddr> = Vec::new();
    for address in (name, 0).to_socket_addrs()? {
        if !found.contains(&address) {
            found.push(address);
        }
    }
    Ok(found)
}
