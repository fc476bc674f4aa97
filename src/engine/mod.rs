//! The loop: one thread, one event queue, one socket per attempt. Only this folder has sockets and
//! a clock.
//!
//! One turn is `expire -> open -> tell -> wait -> settle`. Settling never begins an attempt, so a
//! slot is never given to another attempt inside one batch of events, and the slot alone can be the
//! poll's token. [`scan`](crate::scan) decides what to do; here it is done.

mod attempt;
mod clock;
mod counters;
mod fdlimit;
mod handles;
mod http;
mod icmp;
#[cfg_attr(not(target_os = "linux"), path = "links_unknown.rs")]
mod links;
mod local;
mod lookups;
#[cfg(feature = "cli")]
mod machine;
mod options;
mod profile;
mod queue;
mod resolve;
mod room;
#[cfg(feature = "cli")]
mod signals;
mod socket;
mod sockets;
mod talk;
mod tell;
mod testbed;
mod traced;
mod usage;
#[cfg(target_os = "linux")]
mod vendors;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use crate::plan::Plan;
use crate::report::by_host::ByHost;
use crate::report::metrics::metrics;
use crate::report::{Checkpoint, OnLink, Phase, Sink, Summary};
use crate::scan::control::RateController;
use crate::scan::{Finding, Limits, Links, Reason, Scan, Time};
use crate::trace;

use clock::Clock;
use counters::{Counters, TcpMemory};
pub use fdlimit::{lower_descriptor_limit, nofile, raise_descriptor_limit};
pub use handles::{RateHandle, StopHandle};
use links::{HardwareLookup, LinkMonitor};
use local::Local;
pub use lookups::{Lookups, resolve_all};
#[cfg(feature = "cli")]
pub use machine::{machine, tracking};
pub use options::{Error, Options};
use profile::Stopwatch;
use queue::{Owner, Queue};
pub use resolve::resolve;
#[cfg(feature = "cli")]
pub use signals::{stop_on, warn_before_cpu_limit};
use socket::SocketOptions;
use sockets::{Sockets, Treatment};
pub use talk::NOTICE_BYTES;
use talk::Talk;
pub use testbed::LoopbackTestbed;
use traced::Traced;
pub use usage::{CpuTime, cpu_time, has_borrowed_rights, ignores, resident_bytes};

/// The longest wait: a stop is seen, and progress is told, at least this often.
const LONGEST_WAIT_US: u64 = 100_000;
/// Attempts begun before the clock is read and events are settled again: a fraction of a
/// millisecond's work, so that start times stay true. From 4 to 128 the CPU time of a loopback scan
/// is the same.
const OPENS_PER_TURN: usize = 32;
/// Events taken from the kernel at once, and attempts given up at once: no more findings than this
/// ever wait to be told.
const SETTLED_PER_TURN: usize = 256;

/// A scan with its sockets. [`run`](Self::run) it with a sink, or iterate over its findings.
#[derive(Debug)]
pub struct Scanner {
    scan: Scan,
    options: Options,
    limits: Limits,
    stop: StopHandle,
    rate: RateHandle,

    queue: Queue,
    sockets: Sockets,
    talk: Talk,
    server: Option<http::Server>,
    links: Option<LinkMonitor>,
    hardware: Option<HardwareLookup>,

    clock: Clock,
    turn: Turn,
    /// When the next [look](Self::look) is due.
    next_look: Time,
    is_progress_due: bool,
    /// How many findings were held for their hosts when memory was last looked after.
    rows_checked: usize,

    counters: Counters,
    tcp_memory: Option<TcpMemory>,
    stopwatch: Option<Stopwatch>,
    traced: Traced,

    /// The run that this one continues.
    resumed: Option<Checkpoint>,
    local: Option<Local>,
}

/// What one turn of the loop has done, and what it has left to the next.
#[derive(Clone, Copy, Debug, Default)]
struct Turn {
    opened: u32,
    expired: u32,
    /// There is more to do at once, so the loop does not wait.
    more_to_do: bool,
    /// Answers may still wait in the kernel.
    more_to_settle: bool,
}

impl Scanner {
    /// Prepares to scan `plan`: makes the poll and reads the machine's limits; opens no connection.
    ///
    /// # Errors
    /// [`Error`]: no descriptor for the poll, or a source that cannot be used.
    pub fn new(plan: Plan, options: Options) -> Result<Self, Error> {
        Self::prepare(plan, options, None)
    }

    /// The same, for a scan that continues an earlier one, with its counters and times.
    ///
    /// # Errors
    /// As above, and [`Error::OtherPlan`].
    pub fn resume(plan: Plan, options: Options, from: Checkpoint) -> Result<Self, Error> {
        Self::prepare(plan, options, Some(from))
    }

    fn prepare(plan: Plan, options: Options, resumed: Option<Checkpoint>) -> Result<Self, Error> {
        trace::register();
        let queue = Queue::new(SETTLED_PER_TURN).map_err(Error::Poll)?;
        let socket_options = options.socket_options(&plan)?;
        let serve = |address| {
            http::Server::bind(address, queue.registry())
                .map_err(|error| Error::Metrics { address, error })
        };
        let server = options.metrics.map(serve).transpose()?;
        let limits = limits(&options);
        let (cap, _) = limits.cap();
        let mut scan = begin_or_resume(plan, &options, cap, resumed.as_ref())?;
        let is_strict = options.settings.alive;
        let links = watch_links(&mut scan, &socket_options, &queue, is_strict);
        // Without links there are no neighbours.
        let hardware = links
            .as_ref()
            .and_then(|_| HardwareLookup::new(&socket_options).ok());
        let local = options.verify_local.then(Local::begin).transpose();
        let before = resumed.as_ref().map(|from| &from.summary);
        let treatment = Treatment {
            keep: socket::CAN_KEEP && !options.fresh_sockets,
            listen: options.settings.banner_wait_us.is_some(),
        };
        Ok(Scanner {
            queue,
            sockets: Sockets::new(cap, socket_options, treatment),
            talk: Talk::new(options.sent_notice(), options.notice_printers),
            server,
            links,
            hardware,
            clock: Clock::new(
                resumed
                    .as_ref()
                    .map(|from| (from.started_at, from.summary.elapsed)),
            ),
            turn: Turn::default(),
            next_look: Time::default(),
            is_progress_due: false,
            rows_checked: 0,
            counters: Counters {
                local_error: before.and_then(|summary| summary.local_error.clone()),
                ..Counters::default()
            },
            tcp_memory: TcpMemory::begin(),
            stopwatch: None,
            traced: Traced::new(&scan),
            local: local.map_err(Error::Listeners)?,
            scan,
            options,
            limits,
            stop: StopHandle::default(),
            rate: RateHandle::default(),
            resumed,
        })
    }

    /// Replaces what finds the rate that the path takes, as
    /// [`Scan::set_path_controller`](crate::scan::Scan::set_path_controller) does. Call it before
    /// the scan runs.
    pub fn set_path_controller(&mut self, controller: Box<dyn RateController>) {
        self.scan.set_path_controller(controller);
    }

    /// What is scanned.
    pub fn plan(&self) -> &Plan {
        self.scan.plan()
    }

    /// The options, as they were given.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// What the machine allows, as read when the scanner was made.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The addresses of the plan that need a place in the kernel's neighbour tables. Of a larger
    /// plan the first `most` stand for the others. `None` where the kernel does not tell.
    ///
    /// # Errors
    /// [`Error`]: a source that cannot be used.
    pub fn on_link(&self, most: u64) -> Result<Option<OnLink>, Error> {
        let plan = self.plan();
        let Some(links) = self.own_links()? else {
            return Ok(None);
        };
        let mut addresses = [0; 2];
        let looked_at = plan.addresses().min(most);
        for index in 0..looked_at {
            let address = plan.host(index).address.ip();
            addresses[usize::from(address.is_ipv6())] += u64::from(links.has_unknown(address));
        }
        let scaled = |count: u64| {
            (u128::from(count) * u128::from(plan.addresses()) / u128::from(looked_at.max(1))) as u64
        };
        Ok(Some(OnLink {
            addresses: addresses.map(scaled),
            tables: links::neighbour_tables(),
        }))
    }

    /// The share of the plan's endpoints that lie behind a router, as far as the kernel tells, 0 to
    /// 1. Of a larger plan the first `most` addresses stand for the others.
    ///
    /// # Errors
    /// [`Error`]: a source that cannot be used.
    pub fn routed_share(&self, most: u64) -> Result<f64, Error> {
        let links = self.own_links()?.unwrap_or_default();
        let hosts = (0..self.plan().addresses().min(most)).map(|index| self.plan().host(index));
        let (mut routed, mut all) = (0, 0);
        for host in hosts {
            let ports = u64::from(host.ports);
            all += ports;
            routed += if links.is_own(host.address.ip()) {
                0
            } else {
                ports
            };
        }
        Ok(routed as f64 / all.max(1) as f64)
    }

    /// This machine's links; `None` where the kernel does not tell.
    fn own_links(&self) -> Result<Option<Links>, Error> {
        let options = self.options.socket_options(self.plan())?;
        let is_strict = self.options.settings.alive;
        Ok(links::links(&options, is_strict).ok())
    }

    /// A handle that stops this scan.
    pub fn stop_handle(&self) -> StopHandle {
        self.stop.clone()
    }

    /// Makes this handle stop the scan. It may stop others, too.
    pub fn stop_with(&mut self, handle: &StopHandle) {
        self.stop = handle.clone();
    }

    /// A handle that changes this scan's rate while it runs.
    pub fn rate_handle(&self) -> RateHandle {
        self.rate.clone()
    }

    /// Where metrics are served, if they are.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.as_ref().map(http::Server::address)
    }

    /// Scans to the end, telling `sink`.
    ///
    /// # Errors
    /// [`Error::Report`] when the sink fails, [`Error::Poll`] when the system's event queue does.
    pub fn run(&mut self, sink: &mut dyn Sink) -> Result<Summary, Error> {
        self.start();
        let sink = &mut ByHost::new(sink);
        let mut failed = self.tell_beginning(sink).map_err(Error::Report).err();
        // A slow beginning must not take the first attempts' time.
        self.clock.read();
        loop {
            if let Some(error) = &failed {
                self.scan.handle_stop(stop_reason(error), self.clock.now);
            } else if self.is_to_stop() {
                failed = self.tell_before_stop(sink).map_err(Error::Report).err();
            }
            self.expire_and_open();
            if failed.is_none() {
                failed = self.tell(sink).map_err(Error::Report).err();
                // What was to be told after it is still there.
                self.turn.more_to_do |= failed.is_some();
            } else {
                self.tell_regardless(sink);
            }
            if self.scan.is_finished() {
                break;
            }
            if let Err(error) = self.wait_and_settle() {
                failed.get_or_insert(error);
            }
        }
        self.tell_end(sink, failed)
    }

    /// Starts the scan's clock, once.
    fn start(&mut self) {
        if self.clock.start() {
            self.stopwatch = self.options.profile.then(Stopwatch::start);
        }
    }

    fn is_to_stop(&self) -> bool {
        self.stop.is_stopped() && self.scan.stopped().is_none()
    }

    /// The first half of a turn. Telling comes after it.
    fn expire_and_open(&mut self) {
        if self.is_to_stop() {
            self.stop.mark_seen();
            self.scan.handle_stop(Reason::Interrupted, self.clock.now);
            self.next_look = self.clock.now;
        }
        if self.clock.now >= self.next_look {
            self.next_look = self.clock.now.plus_us(LONGEST_WAIT_US);
            self.is_progress_due = true;
            self.look();
        }
        self.turn.opened = 0;
        self.turn.expired = 0;
        let more_to_expire = self.expire();
        self.lap(Phase::Expire);
        let more_to_open = self.open();
        self.lap(Phase::Open);
        self.turn.more_to_do = more_to_open || more_to_expire;
        if cfg!(debug_assertions) {
            self.scan.check_invariants();
        }
    }

    /// The second half of a turn.
    fn wait_and_settle(&mut self) -> Result<(), Error> {
        if cfg!(debug_assertions) {
            self.check_before_wait();
        }
        self.counters.turns += 1;
        self.traced
            .turn(&self.scan, self.clock.now, self.turn.expired);
        let wait_ns = self.wait()?;
        self.lap(Phase::Wait);
        let events = self.settle();
        self.lap(Phase::Settle);
        self.counters.events += u64::from(events);
        trace::turn(events, self.turn.opened, self.turn.expired, wait_ns);
        Ok(())
    }

    /// A phase of the turn is over.
    fn lap(&mut self, phase: Phase) {
        if let Some(stopwatch) = &mut self.stopwatch {
            stopwatch.lap(phase);
        }
    }

    /// Ten times a second: takes up a new rate, measures TCP's memory, looks after the server.
    fn look(&mut self) {
        if let Some(rate) = self.rate.take() {
            self.scan.set_rate(rate, self.clock.now);
        }
        if let Some(memory) = &mut self.tcp_memory {
            memory.look();
        }
        if let Some(links) = &mut self.links
            && self.scan.uses_neighbours()
        {
            links.ask();
        }
        if let Some(server) = &mut self.server {
            server.look(self.queue.registry(), self.clock.now);
        }
    }

    /// Gives up attempts whose time is over, up to a turn's worth; says whether there may be more.
    fn expire(&mut self) -> bool {
        // Answers that came in time may still wait to be taken from the kernel.
        if self.turn.more_to_settle && self.scan.stopped().is_none() {
            return false;
        }
        for _ in 0..SETTLED_PER_TURN {
            let Some(slot) = self.scan.poll_expired(self.clock.now) else {
                return false;
            };
            self.give_up(slot);
        }
        true
    }

    /// Begins the attempts that may begin, up to a turn's worth; says whether there may be more.
    fn open(&mut self) -> bool {
        for _ in 0..OPENS_PER_TURN {
            let Some(connect) = self.scan.poll_connect(self.clock.now) else {
                return false;
            };
            self.turn.opened += 1;
            self.begin(connect);
        }
        true
    }

    /// Waits for events until something else is due, and reads the clock: the only time in a turn,
    /// unless the loop is profiled or traced. Returns how many nanoseconds it waited, if the loop
    /// is built to be traced.
    fn wait(&mut self) -> Result<u64, Error> {
        let now = self.clock.now;
        let longest_us = if self.turn.more_to_do {
            0
        } else {
            LONGEST_WAIT_US
        };
        let longest = now.plus_us(longest_us);
        let until = self
            .scan
            .poll_timeout()
            .map_or(longest, |next| next.clamp(now, longest));
        let timeout = Duration::from_micros(until.us_since(now));
        let began = cfg!(feature = "usdt").then(Instant::now);
        self.queue.wait(timeout).map_err(Error::Poll)?;
        let waited_ns = began.map_or(0, |began| began.elapsed().as_nanos() as u64);
        let woke_by_itself = self.queue.is_empty() && !timeout.is_zero();
        if self.clock.wake(until, woke_by_itself) {
            self.scan.handle_gap(self.clock.now);
        }
        Ok(waited_ns)
    }

    /// Looks into what happened; returns how many events there were.
    fn settle(&mut self) -> u32 {
        let batch = self.queue.take_batch();
        let mut count = 0;
        for event in &batch {
            count += 1;
            match Owner::of(event.token()) {
                Owner::Probe(slot) => self.settle_slot(slot),
                Owner::Metrics(part) => self.serve(part),
                Owner::Links => {
                    if let Some(links) = &mut self.links {
                        links.take(&mut self.scan, self.clock.now);
                    }
                }
            }
        }
        self.turn.more_to_settle = count as usize == SETTLED_PER_TURN || self.clock.overslept();
        self.queue.put_back(batch);
        count
    }

    fn serve(&mut self, part: http::Part) {
        if let Some(mut server) = self.server.take() {
            server.handle(part, self.queue.registry(), self.clock.now, || {
                metrics(&self.progress())
            });
            self.server = Some(server);
        }
    }

    /// Panics if the scan would sleep for ever, or if its counts do not match the sockets.
    fn check_before_wait(&self) {
        if !self.turn.more_to_do && !self.turn.more_to_settle {
            self.scan.check_before_wait(self.clock.now);
        }
        self.sockets.check(&self.scan, self.limits.cap().0);
    }
}

/// The findings one after the other. `None` when the scan is over; an error ends it too.
impl Iterator for Scanner {
    type Item = Result<Finding, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        if !self.clock.is_started() {
            self.start();
            self.expire_and_open();
        }
        loop {
            if let Some(finding) = self.scan.poll_finding(self.clock.now) {
                return Some(Ok(self.complete(finding)));
            }
            if self.scan.is_finished() {
                return None;
            }
            if let Err(error) = self.wait_and_settle() {
                self.scan.handle_stop(Reason::LocalError, self.clock.now);
                self.expire_and_open();
                return Some(Err(error));
            }
            self.expire_and_open();
        }
    }
}

/// Reads what the machine allows, less what the scan's other descriptors will take.
fn limits(options: &Options) -> Limits {
    let max_fds = options.max_fds.map(|max| max.max(1));
    let mut limits = fdlimit::limits(max_fds);
    if options.metrics.is_some() {
        limits.already_open += http::CONNECTIONS as u64;
    }
    if options.settings.sends_datagrams {
        limits.already_open += talk::DATAGRAM_SOCKETS;
    }
    limits
}

fn begin_or_resume(
    plan: Plan,
    options: &Options,
    cap: u32,
    resumed: Option<&Checkpoint>,
) -> Result<Scan, Error> {
    let Some(from) = resumed else {
        return Ok(Scan::new(plan, options.settings, cap));
    };
    let stats = from.summary.stats.clone();
    Scan::resume(plan, options.settings, cap, &from.snapshot, stats).ok_or(Error::OtherPlan)
}

/// Tells the scan what the kernel says of this machine's links, and watches them, unless nothing
/// but this machine itself is scanned. Where the kernel does not say, nobody is taken for a
/// neighbour.
fn watch_links(
    scan: &mut Scan,
    options: &SocketOptions,
    queue: &Queue,
    is_strict: bool,
) -> Option<LinkMonitor> {
    if scan.plan().is_loopback() {
        return None;
    }
    let links = links::links(options, is_strict).ok()?;
    if links.networks.is_empty() {
        scan.set_links(links);
        return None;
    }
    let monitor = LinkMonitor::new(queue.registry(), Owner::Links.token(), is_strict).ok()?;
    scan.set_links(links);
    Some(monitor)
}

/// What the rest of a scan is unscanned for, after this error.
fn stop_reason(error: &Error) -> Reason {
    match error {
        Error::Report(_) => Reason::Interrupted,
        _ => Reason::LocalError,
    }
}
