//! The JSON records. docs/OUTPUT.md describes their fields; both are a contract. It knows findings
//! and counters, no sockets.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::time::SystemTime;

use serde::Serialize;

use super::escape::{banner_text, printable};
use super::format::{ip_text, timestamp};
use super::{
    Begin, HostReport, LocalPort, Notices, OpenEverywhere, Phase, PhaseCost, Profile, StateSet,
    Summary,
};
use crate::plan::{Names, Order, Services};
use crate::scan::{ASSUMED_NOFILE, Finding, Histogram, RESERVE, Reason, State, Stats, Time};

/// The version of the records. New fields do not change it; changed or removed fields do.
pub const SCHEMA: u32 = 1;

/// The most ports that an end record names as open everywhere.
const MOST_PORTS: usize = 64;

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
pub(super) enum Record<'a> {
    Start(Box<Start<'a>>),
    Finding(Found<'a>),
    Host(Host<'a>),
    End(Box<End<'a>>),
}

/// For counts that only some scans have.
pub(super) fn is_zero<T: Default + PartialEq>(count: &T) -> bool {
    *count == T::default()
}

/// Counts by name.
pub(super) type Counts = BTreeMap<&'static str, u64>;

#[derive(Serialize)]
pub(super) struct Start<'a> {
    pub schema: u32,
    scanner: &'static str,
    version: &'static str,
    arguments: &'a [String],
    pub timestamp: String,
    order: &'static str,
    seed: Option<u64>,
    pub planned: u64,
    addresses: u64,
    ports_per_address: usize,
    ports: String,
    pub plan: WholePlan,
    pub shard: Option<ShardOf>,
    pub show: Vec<&'static str>,
    pub warnings: Vec<String>,
    timeout_us: Option<u64>,
    min_timeout_us: u64,
    max_timeout_us: u64,
    miss_rate: f64,
    max_retries: u8,
    scan_silent: bool,
    alive: bool,
    open_only: bool,
    max_rate_per_s: Option<u32>,
    max_rate_routed_only: Option<bool>,
    banner_wait_us: Option<u64>,
    sends_datagrams: bool,
    limits: LimitsOf,
}

/// The plan, of which this may be a shard.
#[derive(Serialize)]
pub(super) struct WholePlan {
    pub digest: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    targets: Option<String>,
    pub endpoints: u64,
    pub addresses: u64,
}

#[derive(Serialize)]
pub(super) struct ShardOf {
    pub number: u32,
    pub of: u32,
}

#[derive(Serialize)]
struct LimitsOf {
    cap: u32,
    set_by: &'static str,
    nofile: Option<u64>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    nofile_is_assumed: bool,
    already_open: u64,
    reserve: u64,
    max_fds: Option<u32>,
    available_bytes: Option<u64>,
    tcp_available_bytes: Option<u64>,
}

#[derive(Serialize)]
pub(super) struct Found<'a> {
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    port: u16,
    protocol: &'static str,
    state: &'static str,
    reason: Reason,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u64>,
    attempts: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    banner: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    banner_hex: Option<String>,
    timestamp: String,
}

#[derive(Serialize)]
pub(super) struct Host<'a> {
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<&'a str>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    other_names: Vec<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_address: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mac_vendor: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub up_by: Option<&'static str>,
    open: u32,
    closed: u32,
    filtered: u32,
    #[serde(skip_serializing_if = "is_zero")]
    not_open: u32,
    unscanned: u32,
    reasons: BTreeMap<&'static str, u32>,
    first_timestamp: String,
    timestamp: String,
}

#[derive(Serialize)]
pub(super) struct End<'a> {
    exit: &'static str,
    planned: u64,
    open: u64,
    closed: u64,
    filtered: u64,
    #[serde(skip_serializing_if = "is_zero")]
    not_open: u64,
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
    hosts_absent: u64,
    hosts_held_off: u64,
    hosts_away: u64,
    hosts_all_open: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all_open: Vec<String>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    open_everywhere: &'a [OpenEverywhere],
    #[serde(skip_serializing_if = "Option::is_none")]
    hosts_in_doubt: Option<u64>,
    outages: u32,
    outage_us: u64,
    self_connects: u64,
    own_errors: Counts,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notices: Option<NoticesOf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local: Option<Vec<LocalOf>>,
    elapsed_us: u64,
    probes_per_s: u64,
    peak_in_flight: u32,
    peak_sockets: u32,
    sockets_opened: u64,
    cap: u32,
    cap_set_by: &'static str,
    lowest_cap: u32,
    socket_memory_bytes: u64,
    tcp_memory_growth_bytes: Option<u64>,
    turns: u64,
    events: u64,
    stale_events: u64,
    late_us: Option<Quantiles>,
    #[serde(skip_serializing_if = "Option::is_none")]
    profile: Option<BTreeMap<&'static str, Cost>>,
    timestamp: String,
}

/// The microseconds that 50, 90 and 99 of a hundred times did not exceed.
#[derive(Serialize)]
pub(super) struct Quantiles {
    p50: u64,
    p90: u64,
    p99: u64,
}

impl Quantiles {
    pub fn of(times: &Histogram) -> Option<Self> {
        let quantile = |quantile| times.quantile_us(quantile);
        Some(Quantiles {
            p50: quantile(0.5)?,
            p90: quantile(0.9)?,
            p99: quantile(0.99)?,
        })
    }
}

/// How many notices were sent.
#[derive(Serialize)]
struct NoticesOf {
    connections: u64,
    datagrams: u64,
    failed: u64,
    withheld: u64,
}

impl NoticesOf {
    fn of(notices: Notices) -> Option<Self> {
        let Notices {
            connections,
            datagrams,
            failed,
            withheld,
        } = notices;
        (notices != Notices::default()).then_some(NoticesOf {
            connections,
            datagrams,
            failed,
            withheld,
        })
    }
}

/// One of this machine's own ports.
#[derive(Serialize)]
struct LocalOf {
    ip: String,
    port: u16,
    state: &'static str,
    reason: Reason,
    listens: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    owner: Option<String>,
}

impl LocalOf {
    fn of(
        LocalPort {
            endpoint,
            reason,
            listens,
            owner,
        }: &LocalPort,
    ) -> Self {
        let ip = ip_text(*endpoint);
        let state = reason.state().as_str();
        LocalOf {
            ip,
            port: endpoint.port(),
            state,
            reason: *reason,
            listens: *listens,
            owner: owner.as_deref().map(printable),
        }
    }
}

/// The cost of a phase of the loop.
#[derive(Serialize)]
struct Cost {
    calls: u64,
    ns: u64,
}

fn costs(profile: Profile) -> BTreeMap<&'static str, Cost> {
    let cost = |(phase, cost): (Phase, PhaseCost)| {
        (
            phase.as_str(),
            Cost {
                calls: cost.calls,
                ns: cost.ns,
            },
        )
    };
    Phase::ALL.into_iter().zip(profile).map(cost).collect()
}

impl<'a> Start<'a> {
    pub fn of(begin: &Begin, show: StateSet, arguments: &'a [String]) -> Self {
        let plan = begin.plan;
        let settings = begin.settings;
        let limits = begin.limits;
        let (order, seed) = match plan.order {
            Order::Random { seed } => ("random", Some(seed)),
            Order::Sequential => ("sequential", None),
        };
        let shard = Some(plan.shard).filter(|shard| !shard.is_whole());
        Start {
            schema: SCHEMA,
            scanner: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            arguments,
            timestamp: timestamp(begin.started_at, Time::default()),
            order,
            seed,
            planned: plan.endpoints,
            addresses: plan.addresses,
            ports_per_address: plan.ports_per_address,
            ports: plan.ports.to_string(),
            plan: WholePlan {
                digest: format!("{:016x}", plan.digest),
                targets: plan.targets_digest.map(|digest| format!("{digest:016x}")),
                endpoints: plan.endpoints_of_all,
                addresses: plan.addresses_of_all,
            },
            shard: shard.map(|shard| ShardOf {
                number: shard.number(),
                of: shard.of(),
            }),
            show: State::ALL
                .into_iter()
                .filter(|&state| show.lists(state))
                .map(|state| state.as_str())
                .collect(),
            warnings: plan.warnings.clone(),
            timeout_us: settings.timeouts.fixed_us,
            min_timeout_us: settings.timeouts.min_us,
            max_timeout_us: settings.timeouts.max_us,
            miss_rate: f64::from(settings.miss_rate_ppm) / 1e6,
            max_retries: settings.max_retries,
            scan_silent: settings.scan_silent,
            alive: settings.alive,
            open_only: settings.open_only,
            max_rate_per_s: settings.rate.map(|rate| rate.per_s.get()),
            max_rate_routed_only: settings.rate.map(|rate| rate.routed_only),
            banner_wait_us: settings.banner_wait_us,
            sends_datagrams: settings.sends_datagrams,
            limits: LimitsOf {
                cap: begin.cap,
                set_by: begin.cap_set_by.as_str(),
                nofile: limits
                    .nofile
                    .or(Some(ASSUMED_NOFILE))
                    .filter(|&limit| limit != u64::MAX),
                nofile_is_assumed: limits.nofile.is_none(),
                already_open: limits.already_open,
                reserve: RESERVE.iter().map(|&(_, count)| count).sum(),
                max_fds: limits.max_fds,
                available_bytes: limits.available_bytes,
                tcp_available_bytes: limits.tcp_available_bytes,
            },
        }
    }
}

impl<'a> Found<'a> {
    pub fn of(
        finding: &Finding,
        names: &'a Names,
        services: &'a Services,
        started_at: SystemTime,
    ) -> Self {
        let port = finding.endpoint.port();
        Found {
            ip: ip_text(finding.endpoint),
            host: names.of(finding.endpoint),
            port,
            protocol: "tcp",
            state: finding.state().as_str(),
            reason: finding.reason,
            reason_ip: finding.reason_ip,
            rtt_us: finding.rtt_us,
            attempts: finding.attempts,
            service: services.name(port),
            banner: finding.banner.as_deref().map(banner_text),
            banner_hex: finding
                .banner
                .as_deref()
                .map(|banner| banner.iter().map(|byte| format!("{byte:02x}")).collect()),
            timestamp: timestamp(started_at, finding.at),
        }
    }
}

impl<'a> Host<'a> {
    pub fn of(host: &'a HostReport, names: &'a Names, started_at: SystemTime) -> Self {
        let hardware = host.hardware.as_ref();
        Host {
            ip: ip_text(host.address),
            host: names.get(host.address.ip()),
            other_names: names.all(host.address.ip()).skip(1).collect(),
            mac_address: hardware.map(|hardware| hardware.mac.to_string()),
            mac_vendor: hardware.and_then(|hardware| hardware.vendor.as_deref()),
            up_by: None,
            open: host.in_state(State::Open),
            closed: host.in_state(State::Closed),
            filtered: host.in_state(State::Filtered),
            not_open: host.in_state(State::NotOpen),
            unscanned: host.in_state(State::Unscanned),
            reasons: host
                .counts
                .iter()
                .map(|&(reason, count)| (reason.as_str(), count))
                .collect(),
            first_timestamp: timestamp(started_at, host.first),
            timestamp: timestamp(started_at, host.last),
        }
    }
}

impl End<'_> {
    pub fn of(summary: &Summary, started_at: SystemTime) -> End<'_> {
        let stats = &summary.stats;
        let everywhere = &summary.open_everywhere;
        let reasons = State::ALL
            .into_iter()
            .flat_map(|state| stats.reasons(state));
        End {
            exit: summary.exit.as_str(),
            planned: stats.planned,
            open: stats.in_state(State::Open),
            closed: stats.in_state(State::Closed),
            filtered: stats.in_state(State::Filtered),
            not_open: stats.in_state(State::NotOpen),
            unscanned: stats.in_state(State::Unscanned),
            reasons: reasons
                .map(|(reason, count)| (reason.as_str(), count))
                .collect(),
            attempts: stats.attempts,
            retries: stats.retries,
            lost: stats.lost,
            loss: rounded(stats.loss()),
            voided: stats.voided,
            controls: stats.controls,
            rtt_us: Quantiles::of(&stats.rtt),
            rtt_buckets: stats.rtt.buckets().collect(),
            missed_estimate: rounded(stats.missed.expected + stats.missed_hosts.expected),
            missed_high: rounded(stats.missed.high + stats.missed_hosts.high),
            missed_at_most: stats.missed_at_most(),
            hosts_answering: stats.hosts_answering,
            hosts_silent: stats.hosts_silent,
            hosts_absent: stats.hosts_absent,
            hosts_held_off: stats.hosts_held_off,
            hosts_away: stats.hosts_away,
            hosts_all_open: stats.hosts_all_open,
            all_open: stats.all_open.iter().map(|&host| ip_text(host)).collect(),
            open_everywhere: &everywhere[..everywhere.len().min(MOST_PORTS)],
            hosts_in_doubt: Some(summary.hosts_in_doubt).filter(|&hosts| hosts > 0),
            outages: stats.outages,
            outage_us: stats.outage_us,
            self_connects: stats.self_connects,
            own_errors: own_errors(stats),
            local_error: summary.local_error.as_deref(),
            notices: NoticesOf::of(summary.notices),
            local: summary
                .local
                .as_ref()
                .map(|local| local.ports.iter().map(LocalOf::of).collect()),
            elapsed_us: summary.elapsed.us,
            probes_per_s: summary.probes_per_s() as u64,
            peak_in_flight: stats.peak_in_flight,
            peak_sockets: summary.peak_sockets,
            sockets_opened: summary.sockets_opened,
            cap: summary.cap,
            cap_set_by: summary.cap_set_by.as_str(),
            lowest_cap: stats.lowest_cap,
            socket_memory_bytes: summary.socket_memory_bytes(),
            tcp_memory_growth_bytes: summary.tcp_memory_growth_bytes,
            turns: summary.turns,
            events: summary.events,
            stale_events: summary.stale_events,
            late_us: Quantiles::of(&summary.late),
            profile: summary.profile.map(costs),
            timestamp: timestamp(started_at, summary.ended),
        }
    }
}

impl End<'_> {
    /// No more was missed than was silent or left out. While a scan goes on that is not known yet.
    pub fn bound_missed(&mut self, stats: &Stats) {
        let (missed, most) = (stats.all_missed(), stats.unheard() as f64);
        self.missed_estimate = rounded(missed.expected.min(most));
        self.missed_high = rounded(missed.high);
    }
}

/// The local errors by name.
pub(super) fn own_errors(stats: &Stats) -> Counts {
    stats
        .own_errors()
        .map(|(error, count)| (error.as_str(), count))
        .collect()
}

/// Rounds to six places: more would be noise.
pub(super) fn rounded(number: f64) -> f64 {
    (number * 1e6).round() / 1e6
}
