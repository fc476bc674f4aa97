//! JSON lines: a start record, a record for each finding that is listed, an end record. The fields are described one by
//! one in docs/OUTPUT.md; what is written here is a contract. It knows findings and counters, no sockets.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::net::IpAddr;
use std::time::SystemTime;

use jiff::Timestamp;
use serde::Serialize;

use super::{Begin, Phase, PhaseCost, Profile, Progress, Show, Sink, Summary, WholeLines};
use crate::plan::{Names, Order, Services};
use crate::scan::{Finding, Histogram, RESERVE, State, Stats, Time};

/// The version of the records' meaning. New fields do not change it; a field that changes or goes does.
pub const SCHEMA: u32 = 1;

/// Writes JSON lines to `W`.
#[derive(Debug)]
pub struct JsonLines<'a, W> {
    out: WholeLines<W>,
    show: Show,
    services: &'a Services,
    arguments: Vec<String>,
    started_at: SystemTime,
    names: Names,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "lowercase")]
enum Record<'a> {
    Start(Start<'a>),
    Finding(Found<'a>),
    End(End<'a>),
}

#[derive(Serialize)]
struct Start<'a> {
    schema: u32,
    scanner: &'static str,
    version: &'static str,
    arguments: &'a [String],
    timestamp: String,
    order: &'static str,
    seed: Option<u64>,
    planned: u64,
    addresses: u64,
    ports_per_address: usize,
    warnings: Vec<String>,
    timeout_us: Option<u64>,
    min_timeout_us: u64,
    max_timeout_us: u64,
    miss_rate: f64,
    max_retries: u8,
    scan_silent: bool,
    max_rate_per_s: Option<u32>,
    max_rate_public_only: Option<bool>,
    limits: Limits,
}

#[derive(Serialize)]
struct Limits {
    cap: u32,
    set_by: &'static str,
    nofile: Option<u64>,
    already_open: u64,
    reserve: u64,
    max_fds: Option<u32>,
    available_bytes: Option<u64>,
    tcp_available_bytes: Option<u64>,
}

#[derive(Serialize)]
struct Found<'a> {
    ip: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    host: Option<&'a str>,
    port: u16,
    protocol: &'static str,
    state: &'static str,
    reason: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason_ip: Option<IpAddr>,
    #[serde(skip_serializing_if = "Option::is_none")]
    rtt_us: Option<u64>,
    attempts: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    service: Option<&'a str>,
    timestamp: String,
}

#[derive(Serialize)]
struct End<'a> {
    exit: &'static str,
    planned: u64,
    open: u64,
    closed: u64,
    filtered: u64,
    unscanned: u64,
    reasons: BTreeMap<&'static str, u64>,
    attempts: u64,
    retries: u64,
    lost: u64,
    loss: f64,
    voided: u64,
    controls: u64,
    rtt_us: Option<Quantiles>,
    missed_estimate: f64,
    missed_at_most: Option<u64>,
    hosts_answering: u64,
    hosts_silent: u64,
    hosts_all_open: u64,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    all_open: Vec<String>,
    outages: u32,
    outage_us: u64,
    self_connects: u64,
    own_errors: BTreeMap<&'static str, u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    local_error: Option<&'a str>,
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

/// Microseconds that so many of a hundred times did not exceed.
#[derive(Serialize)]
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

impl<'a, W: Write> JsonLines<'a, W> {
    /// A sink that writes to `out` and lists the states of `show`. `arguments` are kept in the start record as they are.
    pub fn new(out: W, show: Show, services: &'a Services, arguments: Vec<String>) -> Self {
        let started_at = SystemTime::UNIX_EPOCH;
        JsonLines { out: WholeLines::new(out), show, services, arguments, started_at, names: Names::default() }
    }
}

fn write<W: Write>(out: &mut WholeLines<W>, record: &Record) -> io::Result<()> {
    out.add(|line| {
        serde_json::to_writer(&mut *line, record)?;
        line.write_all(b"\n")
    })
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
    let at = started_at + std::time::Duration::from_micros(after.us);
    // A clock beyond the year 9999 is not worth an error.
    format!("{:.6}", Timestamp::try_from(at).unwrap_or(Timestamp::MAX))
}

impl<W: Write> Sink for JsonLines<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.started_at = begin.started_at;
        self.names = begin.plan.names.clone();
        let rate = begin.settings.rate;
        let (order, seed) = match begin.plan.order {
            Order::Random { seed } => ("random", Some(seed)),
            Order::Sequential => ("sequential", None),
        };
        let start = Record::Start(Start {
            schema: SCHEMA,
            scanner: env!("CARGO_PKG_NAME"),
            version: env!("CARGO_PKG_VERSION"),
            arguments: &self.arguments,
            timestamp: timestamp(begin.started_at, Time::default()),
            order,
            seed,
            planned: begin.plan.endpoints,
            addresses: begin.plan.addresses,
            ports_per_address: begin.plan.ports_per_address,
            warnings: begin.plan.warnings.clone(),
            timeout_us: begin.settings.timeouts.fixed_us,
            min_timeout_us: begin.settings.timeouts.min_us,
            max_timeout_us: begin.settings.timeouts.max_us,
            miss_rate: f64::from(begin.settings.miss_rate_ppm) / 1e6,
            max_retries: begin.settings.max_retries,
            scan_silent: begin.settings.scan_silent,
            max_rate_per_s: rate.map(|rate| rate.per_s.get()),
            max_rate_public_only: rate.map(|rate| rate.public_only),
            limits: Limits {
                cap: begin.cap,
                set_by: begin.cap_set_by.as_str(),
                nofile: Some(begin.limits.nofile).filter(|&limit| limit != u64::MAX),
                already_open: begin.limits.already_open,
                reserve: RESERVE.iter().map(|&(_, count)| count).sum(),
                max_fds: begin.limits.max_fds,
                available_bytes: begin.limits.available_bytes,
                tcp_available_bytes: begin.limits.tcp_available_bytes,
            },
        });
        write(&mut self.out, &start)?;
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if !self.show.lists(finding.state()) {
            return Ok(());
        }
        let port = finding.endpoint.port();
        let found = Record::Finding(Found {
            ip: super::ip_text(finding.endpoint),
            host: self.names.get(finding.endpoint.ip()),
            port,
            protocol: "tcp",
            state: finding.state().as_str(),
            reason: finding.reason.as_str(),
            reason_ip: finding.reason_ip,
            rtt_us: finding.rtt_us,
            attempts: finding.attempts,
            service: self.services.name(port),
            timestamp: timestamp(self.started_at, finding.at),
        });
        write(&mut self.out, &found)
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let stats = &summary.stats;
        let reasons = State::ALL.into_iter().flat_map(|state| stats.reasons(state));
        let end = Record::End(End {
            exit: summary.exit.as_str(),
            planned: stats.planned,
            open: stats.in_state(State::Open),
            closed: stats.in_state(State::Closed),
            filtered: stats.in_state(State::Filtered),
            unscanned: stats.in_state(State::Unscanned),
            reasons: reasons.map(|(reason, count)| (reason.as_str(), count)).collect(),
            attempts: stats.attempts,
            retries: stats.retries,
            lost: stats.lost,
            loss: rounded(stats.loss()),
            voided: stats.voided,
            controls: stats.controls,
            rtt_us: Quantiles::of(&stats.rtt),
            missed_estimate: rounded(stats.missed.expected),
            missed_at_most: stats.missed_at_most(),
            hosts_answering: stats.hosts_answering,
            hosts_silent: stats.hosts_silent,
            hosts_all_open: stats.hosts_all_open,
            all_open: stats.all_open.iter().map(|&host| super::ip_text(host)).collect(),
            outages: stats.outages,
            outage_us: stats.outage_us,
            self_connects: stats.self_connects,
            own_errors: own_errors(stats),
            local_error: summary.local_error.as_deref(),
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
            timestamp: timestamp(self.started_at, summary.elapsed),
        });
        write(&mut self.out, &end)?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_records_are_as_documented() {
        let services = Services::built_in();
        let mut out = Vec::new();
        let show = Show::states(State::ALL);
        fixture::play(&mut JsonLines::new(&mut out, show, &services, vec!["127.0.0.1".into(), "odd \"\u{1b}[31m\n".into()]));
        let text = String::from_utf8(out).expect("UTF-8");
        assert!(text.ends_with("}\n") && text.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
        fixture::golden("findings.jsonl", &text);
    }
}
