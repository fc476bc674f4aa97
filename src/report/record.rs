//! The JSON records, from values and back to them: what is written by one run is read to go on, and to join shards. The fields are
//! described one by one in docs/OUTPUT.md; what is here is a contract. It knows findings and counters, no sockets.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::{Begin, Exit, HostReport, Phase, PhaseCost, Profile, Show, Summary, ip_text};
use crate::plan::{Names, Order, Outline, PortSet, Services, Shard};
use crate::scan::{Finding, Histogram, Limits, Missed, OwnError, RESERVE, Rate, Reason, SetBy, Settings, State, Stats, Time, Timeouts};

/// The version of the records' meaning. New fields do not change it; a field that changes or goes does.
pub const SCHEMA: u32 = 1;

#[derive(Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Record<'a> {
    Start(Box<Start<'a>>),
    Finding(Found<'a>),
    Host(Host<'a>),
    End(Box<End<'a>>),
    /// One that a later version writes.
    #[serde(other)]
    Other,
}

/// Words that are ours when they are written, and somebody's when they are read.
type Word<'a> = Cow<'a, str>;
type Counts = BTreeMap<Word<'static>, u64>;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start<'a> {
    pub schema: u32,
    scanner: Word<'a>,
    version: Word<'a>,
    arguments: Cow<'a, [String]>,
    pub timestamp: String,
    order: Word<'a>,
    seed: Option<u64>,
    pub planned: u64,
    addresses: u64,
    ports_per_address: usize,
    ports: String,
    pub plan: WholePlan,
    pub shard: Option<ShardOf>,
    pub show: Vec<Word<'a>>,
    pub warnings: Vec<String>,
    timeout_us: Option<u64>,
    min_timeout_us: u64,
    max_timeout_us: u64,
    miss_rate: f64,
    max_retries: u8,
    scan_silent: bool,
    max_rate_per_s: Option<u32>,
    max_rate_public_only: Option<bool>,
    limits: LimitsOf<'a>,
}

/// The plan, of which this may be a shard.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct WholePlan {
    pub digest: String,
    pub endpoints: u64,
    pub addresses: u64,
}

#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct ShardOf {
    pub number: u32,
    pub of: u32,
}

#[derive(Debug, Serialize, Deserialize)]
struct LimitsOf<'a> {
    cap: u32,
    set_by: Word<'a>,
    nofile: Option<u64>,
    already_open: u64,
    reserve: u64,
    max_fds: Option<u32>,
    available_bytes: Option<u64>,
    tcp_available_bytes: Option<u64>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Found<'a> {
    ip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Word<'a>>,
    port: u16,
    protocol: Word<'a>,
    state: Word<'a>,
    reason: Reason,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason_ip: Option<IpAddr>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u64>,
    attempts: u16,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    service: Option<Word<'a>>,
    timestamp: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Host<'a> {
    ip: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<Word<'a>>,
    open: u32,
    closed: u32,
    filtered: u32,
    unscanned: u32,
    reasons: BTreeMap<Word<'static>, u32>,
    first_timestamp: String,
    timestamp: String,
}

#[derive(Serialize, Deserialize)]
pub(super) struct End<'a> {
    exit: Word<'a>,
    planned: u64,
    open: u64,
    closed: u64,
    filtered: u64,
    unscanned: u64,
    reasons: Counts,
    attempts: u64,
    retries: u64,
    lost: u64,
    loss: f64,
    voided: u64,
    controls: u64,
    rtt_us: Option<Quantiles>,
    rtt_buckets: Vec<(u64, u64)>,
    missed_estimate: f64,
    missed_high: f64,
    missed_at_most: Option<u64>,
    hosts_answering: u64,
    hosts_silent: u64,
    hosts_all_open: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    all_open: Vec<String>,
    outages: u32,
    outage_us: u64,
    self_connects: u64,
    own_errors: Counts,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    local_error: Option<Word<'a>>,
    elapsed_us: u64,
    probes_per_s: u64,
    peak_in_flight: u32,
    peak_sockets: u32,
    sockets_opened: u64,
    cap: u32,
    cap_set_by: Word<'a>,
    lowest_cap: u32,
    socket_memory_bytes: u64,
    tcp_memory_growth_bytes: Option<u64>,
    turns: u64,
    events: u64,
    stale_events: u64,
    late_us: Option<Quantiles>,
    #[serde(skip_deserializing, skip_serializing_if = "Option::is_none")]
    profile: Option<BTreeMap<&'static str, Cost>>,
    timestamp: String,
}

/// Microseconds that so many of a hundred times did not exceed.
#[derive(Serialize, Deserialize)]
pub(super) struct Quantiles {
    p50: u64,
    p90: u64,
    p99: u64,
}

impl Quantiles {
    pub fn of(times: &Histogram) -> Option<Self> {
        let quantile = |quantile| times.quantile_us(quantile);
        Some(Quantiles { p50: quantile(0.5)?, p90: quantile(0.9)?, p99: quantile(0.99)? })
    }
}

/// What a phase of the loop has cost.
#[derive(Serialize)]
struct Cost {
    calls: u64,
    ns: u64,
}

fn costs(profile: Profile) -> BTreeMap<&'static str, Cost> {
    let cost = |(phase, cost): (Phase, PhaseCost)| (phase.as_str(), Cost { calls: cost.calls, ns: cost.ns });
    Phase::ALL.into_iter().zip(profile).map(cost).collect()
}

/// What one of `all` is called so.
fn named<T: Copy>(all: &[T], name: fn(T) -> &'static str, text: &str) -> Result<T, String> {
    all.iter().copied().find(|&one| name(one) == text).ok_or_else(|| format!("{text:?} is not known to this version"))
}

impl<'a> Start<'a> {
    pub fn of(begin: &Begin, show: Show, arguments: &'a [String]) -> Self {
        let (plan, settings, limits) = (begin.plan, begin.settings, begin.limits);
        let (order, seed) = match plan.order {
            Order::Random { seed } => ("random", Some(seed)),
            Order::Sequential => ("sequential", None),
        };
        let shard = Some(plan.shard).filter(|shard| !shard.is_whole());
        Start {
            schema: SCHEMA,
            scanner: env!("CARGO_PKG_NAME").into(),
            version: env!("CARGO_PKG_VERSION").into(),
            arguments: arguments.into(),
            timestamp: timestamp(begin.started_at, Time::default()),
            order: order.into(),
            seed,
            planned: plan.endpoints,
            addresses: plan.addresses,
            ports_per_address: plan.ports_per_address,
            ports: plan.ports.to_string(),
            plan: WholePlan { digest: format!("{:016x}", plan.digest), endpoints: plan.endpoints_of_all, addresses: plan.addresses_of_all },
            shard: shard.map(|shard| ShardOf { number: shard.number(), of: shard.of() }),
            show: State::ALL.into_iter().filter(|&state| show.lists(state)).map(|state| state.as_str().into()).collect(),
            warnings: plan.warnings.clone(),
            timeout_us: settings.timeouts.fixed_us,
            min_timeout_us: settings.timeouts.min_us,
            max_timeout_us: settings.timeouts.max_us,
            miss_rate: f64::from(settings.miss_rate_ppm) / 1e6,
            max_retries: settings.max_retries,
            scan_silent: settings.scan_silent,
            max_rate_per_s: settings.rate.map(|rate| rate.per_s.get()),
            max_rate_public_only: settings.rate.map(|rate| rate.public_only),
            limits: LimitsOf {
                cap: begin.cap,
                set_by: begin.cap_set_by.as_str().into(),
                nofile: Some(limits.nofile).filter(|&limit| limit != u64::MAX),
                already_open: limits.already_open,
                reserve: RESERVE.iter().map(|&(_, count)| count).sum(),
                max_fds: limits.max_fds,
                available_bytes: limits.available_bytes,
                tcp_available_bytes: limits.tcp_available_bytes,
            },
        }
    }

    pub fn shard(&self) -> Result<Shard, String> {
        let Some(ShardOf { number, of }) = self.shard else { return Ok(Shard::WHOLE) };
        Shard::new(number, of).ok_or_else(|| format!("there is no shard {number}/{of}"))
    }

    pub fn states(&self) -> Result<Show, String> {
        let states: Result<Vec<State>, String> = self.show.iter().map(|state| named(&State::ALL, State::as_str, state)).collect();
        Ok(Show::states(states?))
    }

    /// The plan that this is a part of, without the names.
    pub fn whole(&self) -> Result<Outline, String> {
        let order = match (self.order.as_ref(), self.seed) {
            ("random", Some(seed)) => Order::Random { seed },
            _ => Order::Sequential,
        };
        Ok(Outline {
            endpoints: self.plan.endpoints,
            addresses: self.plan.addresses,
            ports_per_address: self.ports_per_address,
            ports: PortSet::parse(&self.ports, &Services::default()).map_err(|error| error.to_string())?,
            order,
            shard: Shard::WHOLE,
            endpoints_of_all: self.plan.endpoints,
            addresses_of_all: self.plan.addresses,
            digest: u64::from_str_radix(&self.plan.digest, 16).map_err(|_| format!("{:?} is no digest", self.plan.digest))?,
            warnings: self.warnings.clone(),
            names: Names::default(),
        })
    }

    pub fn settings(&self) -> Settings {
        let rate = self.max_rate_per_s.and_then(NonZeroU32::new);
        Settings {
            timeouts: Timeouts { fixed_us: self.timeout_us, min_us: self.min_timeout_us, max_us: self.max_timeout_us },
            miss_rate_ppm: (self.miss_rate * 1e6).round() as u32,
            max_retries: self.max_retries,
            rate: rate.map(|per_s| Rate { per_s, public_only: self.max_rate_public_only.unwrap_or(false) }),
            scan_silent: self.scan_silent,
            tell_unscanned: false,
        }
    }

    pub fn limits(&self) -> Result<(Limits, u32, SetBy), String> {
        let limits = Limits {
            nofile: self.limits.nofile.unwrap_or(u64::MAX),
            already_open: self.limits.already_open,
            max_fds: self.limits.max_fds,
            available_bytes: self.limits.available_bytes,
            tcp_available_bytes: self.limits.tcp_available_bytes,
        };
        Ok((limits, self.limits.cap, named(&SetBy::ALL, SetBy::as_str, &self.limits.set_by)?))
    }
}

impl<'a> Found<'a> {
    pub fn of(finding: &Finding, names: &'a Names, services: &'a Services, started_at: SystemTime) -> Self {
        let port = finding.endpoint.port();
        Found {
            ip: ip_text(finding.endpoint),
            host: names.get(finding.endpoint.ip()).map(Cow::from),
            port,
            protocol: "tcp".into(),
            state: finding.state().as_str().into(),
            reason: finding.reason,
            reason_ip: finding.reason_ip,
            rtt_us: finding.rtt_us,
            attempts: finding.attempts,
            service: services.name(port).map(Cow::from),
            timestamp: timestamp(started_at, finding.at),
        }
    }

    pub fn finding(&self, started_at: SystemTime) -> Result<Finding, String> {
        let Found { reason, reason_ip, rtt_us, attempts, .. } = *self;
        Ok(Finding {
            endpoint: endpoint(&self.ip, self.port)?,
            reason,
            reason_ip,
            rtt_us,
            attempts,
            at: since(started_at, &self.timestamp)?,
        })
    }
}

impl<'a> Host<'a> {
    pub fn of(host: &HostReport, names: &'a Names, started_at: SystemTime) -> Self {
        Host {
            ip: ip_text(host.address),
            host: names.get(host.address.ip()).map(Cow::from),
            open: host.in_state(State::Open),
            closed: host.in_state(State::Closed),
            filtered: host.in_state(State::Filtered),
            unscanned: host.in_state(State::Unscanned),
            reasons: host.counts.iter().map(|&(reason, count)| (reason.as_str().into(), count)).collect(),
            first_timestamp: timestamp(started_at, host.first),
            timestamp: timestamp(started_at, host.last),
        }
    }

    /// The counts of a host; its rows are in the findings.
    pub fn report(&self, started_at: SystemTime) -> Result<HostReport, String> {
        let reason = |(name, &count): (&Word, &u32)| Ok((named(&Reason::ALL, Reason::as_str, name)?, count));
        Ok(HostReport {
            address: endpoint(&self.ip, 0)?,
            counts: self.reasons.iter().map(reason).collect::<Result<_, String>>()?,
            rows: Vec::new(),
            first: since(started_at, &self.first_timestamp)?,
            last: since(started_at, &self.timestamp)?,
            is_part: false,
        })
    }
}

impl End<'_> {
    pub fn of(summary: &Summary, started_at: SystemTime) -> End<'_> {
        let stats = &summary.stats;
        let reasons = State::ALL.into_iter().flat_map(|state| stats.reasons(state));
        End {
            exit: summary.exit.as_str().into(),
            planned: stats.planned,
            open: stats.in_state(State::Open),
            closed: stats.in_state(State::Closed),
            filtered: stats.in_state(State::Filtered),
            unscanned: stats.in_state(State::Unscanned),
            reasons: reasons.map(|(reason, count)| (reason.as_str().into(), count)).collect(),
            attempts: stats.attempts,
            retries: stats.retries,
            lost: stats.lost,
            loss: rounded(stats.loss()),
            voided: stats.voided,
            controls: stats.controls,
            rtt_us: Quantiles::of(&stats.rtt),
            rtt_buckets: stats.rtt.buckets().collect(),
            missed_estimate: rounded(stats.missed.expected),
            missed_high: rounded(stats.missed.high),
            missed_at_most: stats.missed_at_most(),
            hosts_answering: stats.hosts_answering,
            hosts_silent: stats.hosts_silent,
            hosts_all_open: stats.hosts_all_open,
            all_open: stats.all_open.iter().map(|&host| ip_text(host)).collect(),
            outages: stats.outages,
            outage_us: stats.outage_us,
            self_connects: stats.self_connects,
            own_errors: stats.own_errors().map(|(error, count)| (error.as_str().into(), count)).collect(),
            local_error: summary.local_error.as_deref().map(Cow::from),
            elapsed_us: summary.elapsed.us,
            probes_per_s: summary.probes_per_s() as u64,
            peak_in_flight: stats.peak_in_flight,
            peak_sockets: summary.peak_sockets,
            sockets_opened: summary.sockets_opened,
            cap: summary.cap,
            cap_set_by: summary.cap_set_by.as_str().into(),
            lowest_cap: stats.lowest_cap,
            socket_memory_bytes: summary.socket_memory_bytes(),
            tcp_memory_growth_bytes: summary.tcp_memory_growth_bytes,
            turns: summary.turns,
            events: summary.events,
            stale_events: summary.stale_events,
            late_us: Quantiles::of(&summary.late),
            profile: summary.profile.map(costs),
            timestamp: timestamp(started_at, summary.elapsed),
        }
    }

    /// The same as a summary, without what is not added up: how late the loop was, and where its time went.
    pub fn summary(&self) -> Result<Summary, String> {
        let mut stats = Stats::new(self.planned, self.cap);
        let settled: u128 = self.reasons.values().map(|&count| u128::from(count)).sum();
        let counts = [self.attempts, self.lost, self.voided, self.hosts_answering, self.hosts_silent, self.hosts_all_open];
        // A scan takes centuries to count so far.
        if settled > self.planned.into() || self.retries > self.attempts || counts.iter().any(|&count| count > 1 << 53) {
            return Err("its counts do not add up".into());
        }
        for (name, &count) in &self.reasons {
            stats.settle(named(&Reason::ALL, Reason::as_str, name)?, count);
        }
        for (name, &count) in &self.own_errors {
            stats.own_error(named(&OwnError::ALL, OwnError::as_str, name)?, count);
        }
        stats.begun = stats.settled();
        (stats.attempts, stats.retries, stats.lost) = (self.attempts, self.retries, self.lost);
        (stats.voided, stats.controls) = (self.voided, self.controls);
        (stats.outages, stats.outage_us) = (self.outages, self.outage_us);
        stats.rtt = Histogram::from_buckets(&self.rtt_buckets);
        stats.missed = Missed { expected: self.missed_estimate, high: self.missed_high };
        (stats.hosts_answering, stats.hosts_silent, stats.hosts_all_open) = (self.hosts_answering, self.hosts_silent, self.hosts_all_open);
        stats.all_open = self.all_open.iter().map(|ip| endpoint(ip, 0)).collect::<Result<_, String>>()?;
        stats.self_connects = self.self_connects;
        (stats.peak_in_flight, stats.lowest_cap) = (self.peak_in_flight, self.lowest_cap);
        Ok(Summary {
            stats,
            elapsed: Time::from_us(self.elapsed_us),
            exit: named(&Exit::ALL, Exit::as_str, &self.exit)?,
            stopped: None,
            cap: self.cap,
            cap_set_by: named(&SetBy::ALL, SetBy::as_str, &self.cap_set_by)?,
            peak_sockets: self.peak_sockets,
            sockets_opened: self.sockets_opened,
            tcp_memory_growth_bytes: self.tcp_memory_growth_bytes,
            turns: self.turns,
            events: self.events,
            late: Histogram::default(),
            profile: None,
            stale_events: self.stale_events,
            local_error: self.local_error.as_deref().map(String::from),
        })
    }
}

/// An endpoint from its address, with its zone as a number, and its port.
fn endpoint(ip: &str, port: u16) -> Result<SocketAddr, String> {
    let text = if ip.contains(':') { format!("[{ip}]:{port}") } else { format!("{ip}:{port}") };
    text.parse().map_err(|_| format!("{ip:?} is no address"))
}

pub(super) fn without_port(mut endpoint: SocketAddr) -> SocketAddr {
    endpoint.set_port(0);
    endpoint
}

/// Errors of our own side by name.
pub(super) fn own_errors(stats: &Stats) -> BTreeMap<&'static str, u64> {
    stats.own_errors().map(|(error, count)| (error.as_str(), count)).collect()
}

/// To six places: more would be noise.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}

/// RFC 3339, UTC, to the microsecond.
pub(super) fn timestamp(started_at: SystemTime, after: Time) -> String {
    format!("{:.6}", at(started_at, after))
}

/// A time of the scan by the wall clock. A clock beyond the year 9999 is not worth an error.
pub(super) fn at(started_at: SystemTime, after: Time) -> Timestamp {
    Timestamp::try_from(started_at + Duration::from_micros(after.us)).unwrap_or(Timestamp::MAX)
}

/// What [`timestamp`] wrote.
pub(super) fn wall_clock(text: &str) -> Result<SystemTime, String> {
    text.parse::<Timestamp>().map(SystemTime::from).map_err(|_| format!("{text:?} is no time"))
}

fn since(started_at: SystemTime, text: &str) -> Result<Time, String> {
    let passed = wall_clock(text)?.duration_since(started_at).unwrap_or_default();
    Ok(Time::from_us(passed.as_micros() as u64))
}
