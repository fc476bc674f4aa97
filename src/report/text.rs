//! The report for people: open ports as they are found, then a table for each host, then the
//! summary. It knows findings and counters, no sockets. Its caller says whether to use colours.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::by_host::without_port;
use super::escape::{banner_text, printable};
use super::format::{counted, grouped, ip_text, milliseconds};
use super::messages::FEW_ADDRESSES;
use super::whole_lines::WholeLines;
use super::{Begin, Exit, LocalCheck, Notices, Origin, Phase, Progress, Sink, StateSet, Summary};
use crate::plan::{Names, Order, Outline, Services};
use crate::scan::{
    Finding, Limits, MEMORY_SHARE, RESERVE, Reason, SOCKET_BYTES, SetBy, State, Stats, Timeouts,
};

/// How a text report looks.
#[derive(Clone, Copy, Debug)]
pub struct Style {
    /// Which findings are listed one by one.
    pub show: StateSet,
    /// Leave out hosts without a listed finding, and the counts of what is not listed.
    pub listed_only: bool,
    /// Begin with the plan and the limits.
    pub verbose: bool,
    /// Write only a line for each listed finding.
    pub quiet: bool,
    /// Use a terminal's colours.
    pub color: bool,
}

/// Writes text to `W`.
#[derive(Debug)]
pub struct Text<'a, W> {
    out: WholeLines<W>,
    style: Style,
    services: &'a Services,
    names: Names,
    /// By address, with port 0.
    hosts: BTreeMap<SocketAddr, Host>,
    rows: usize,
    counts_hosts: bool,
    addresses: u64,
    warnings: Vec<String>,
    origin: Origin,
    told: u64,
}

/// Memory is bounded, however large the plan. Counts are kept for each host up to this many
/// addresses.
const HOSTS_COUNTED: u64 = 4_096;
/// The most rows kept for the tables (about 5 MB). Each was already written when it was found.
const MAX_ROWS: usize = 100_000;
/// The most letters of a banner that a row keeps (20 MB if every row has one).
const BANNER_WIDE: usize = 72;
/// Hosts without a listed finding get a line of their own up to this many addresses.
const HOSTS_NAMED: u64 = FEW_ADDRESSES;

#[derive(Debug, Default)]
struct Host {
    rows: Vec<Row>,
    counts: Vec<(Reason, u64)>,
}

#[derive(Debug)]
struct Row {
    port: u16,
    reason: Reason,
    reason_ip: Option<IpAddr>,
    rtt_us: Option<u64>,
    banner: String,
}

impl<'a, W: Write> Text<'a, W> {
    /// A sink that writes to `out`.
    pub fn new(out: W, style: Style, services: &'a Services) -> Self {
        Text {
            out: WholeLines::new(out),
            style,
            services,
            names: Names::default(),
            hosts: BTreeMap::new(),
            rows: 0,
            counts_hosts: false,
            addresses: 0,
            warnings: Vec::new(),
            origin: Origin::Scan,
            told: 0,
        }
    }

    fn painted(&self, state: State) -> String {
        let code = match state {
            State::Open => "32",
            State::Closed => "2",
            State::Filtered => "33",
            State::Unscanned => "31",
        };
        self.paint(state.as_str(), code)
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.style.color {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.into()
        }
    }

    fn heading(&self, host: &SocketAddr) -> String {
        let ip = ip_text(*host);
        let text = self
            .names
            .get(host.ip())
            .map_or(ip.clone(), |name| format!("{ip} ({})", printable(name)));
        self.paint(&text, "1")
    }

    fn table(&self, text: &mut String, key: &SocketAddr, host: &Host) {
        let _ = writeln!(text, "\n{}", self.heading(key));
        let service = |row: &Row| self.services.name(row.port).unwrap_or("");
        let wide = |width: fn(&Row) -> usize, title: usize| {
            host.rows.iter().map(width).max().unwrap_or(0).max(title)
        };
        let port_wide = 9;
        let state_wide = wide(|row| row.reason.state().as_str().len(), 5);
        let service_wide = host
            .rows
            .iter()
            .map(|row| service(row).len())
            .max()
            .unwrap_or(0)
            .max(7);
        let reason_wide = host
            .rows
            .iter()
            .map(|row| reason_text(row).len())
            .max()
            .unwrap_or(0)
            .max(6);
        let rtt = |row: &Row| row.rtt_us.map(milliseconds).unwrap_or_default();
        let speaks = host.rows.iter().any(|row| !row.banner.is_empty());
        let rtt_wide = host
            .rows
            .iter()
            .map(|row| rtt(row).len())
            .max()
            .unwrap_or(0)
            .max(3);
        let title = format!(
            "{:port_wide$}  {:state_wide$}  {:service_wide$}  {:reason_wide$}  {:rtt_wide$}  {}",
            "PORT",
            "STATE",
            "SERVICE",
            "REASON",
            "RTT",
            if speaks { "BANNER" } else { "" }
        );
        let _ = writeln!(text, "{}", self.paint(title.trim_end(), "2"));
        for row in &host.rows {
            let state = row.reason.state();
            let padding = " ".repeat(state_wide - state.as_str().len());
            let line = format!(
                "{:port_wide$}  {}{padding}  {:service_wide$}  {:reason_wide$}  {:rtt_wide$}  {}",
                format!("{}/tcp", row.port),
                self.painted(state),
                service(row),
                reason_text(row),
                rtt(row),
                row.banner,
            );
            let _ = writeln!(text, "{}", line.trim_end());
        }
        let rest = folded(
            host.counts
                .iter()
                .copied()
                .filter(|(reason, _)| !self.style.show.lists(reason.state())),
        );
        if !rest.is_empty() && !self.style.listed_only {
            let _ = writeln!(text, "not listed: {rest}");
        }
    }

    fn tables(&self, text: &mut String) {
        for (key, host) in &self.hosts {
            if !host.rows.is_empty() {
                self.table(text, key, host);
            } else if self.addresses <= HOSTS_NAMED && !self.style.listed_only && self.counts_hosts
            {
                let _ = writeln!(
                    text,
                    "\n{}\nnothing to list: {}",
                    self.heading(key),
                    folded(host.counts.iter().copied())
                );
            }
        }
        if self.origin == Origin::Resumed {
            let _ = writeln!(
                text,
                "\nThe scan was resumed: tables hold what was found since; the rest is in the lines of the run before."
            );
        }
        if self.rows > MAX_ROWS {
            let more = grouped((self.rows - MAX_ROWS) as u64);
            let _ = writeln!(
                text,
                "\nThe tables stop at {} rows; the other {more} are in the lines above.",
                grouped(MAX_ROWS as u64)
            );
        }
    }

    /// What was learned about the network, and how certain that makes the answers.
    fn learned(&self, text: &mut String, summary: &Summary) {
        let stats = &summary.stats;
        let quantile = |quantile| stats.rtt.quantile_us(quantile).map(milliseconds);
        if let (Some(half), Some(most)) = (quantile(0.5), quantile(0.99)) {
            let tried = stats.attempts - stats.retries;
            let each = (stats.attempts + stats.voided) as f64 / tried.max(1) as f64;
            let loss = percent(stats.loss());
            let _ = writeln!(
                text,
                "Round trips: half within {half}, 99 % within {most}; {loss} lost; {each:.2} attempts a probe"
            );
        }
        text.push_str(&missed(stats));
        if stats.hosts_absent > 0 {
            let addresses = counted(stats.hosts_absent, "address", "addresses");
            let _ = writeln!(
                text,
                "{addresses} on this machine's own links, where nobody answers for them (no-neighbor)"
            );
        }
        if stats.hosts_silent > 0 {
            let hosts = counted(stats.hosts_silent, "host", "hosts");
            let _ = writeln!(
                text,
                "{hosts} answered nothing on dozens of ports and were left out as silent-host; -Pn scans all their ports"
            );
        }
        if stats.hosts_all_open > 0 {
            let named: Vec<String> = stats.all_open.iter().map(|&host| ip_text(host)).collect();
            let more = if stats.hosts_all_open > named.len() as u64 {
                " and others"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "Open on nearly every port, and open again when asked twice: {}{more}. Something answers in their place (a SYN proxy, a tarpit); these open ports prove nothing",
                named.join(", ")
            );
        }
        if stats.outages > 0 {
            let times = counted(stats.outages.into(), "time", "times");
            let _ = writeln!(
                text,
                "The network went away {times}, {} in all; what was under way then was tried again",
                milliseconds(stats.outage_us)
            );
        }
    }

    /// What listens on this machine, compared with what was found.
    fn local(&self, text: &mut String, LocalCheck { ports, untold }: &LocalCheck) {
        if ports.is_empty() {
            let _ = writeln!(
                text,
                "\nThis machine's own ports: none was found open, and nothing listens on those that were scanned"
            );
            return;
        }
        let _ = writeln!(
            text,
            "\nThis machine's own ports, and what listens there by the kernel's list:"
        );
        for port in ports {
            let owner = port
                .owner
                .as_deref()
                .map_or("a socket whose owner cannot be seen".into(), printable);
            let words = match (port.reason.state(), port.listens) {
                (State::Open, true) => owner,
                (State::Open, false) => self.paint(
                    "nothing listens: a redirection, a proxy or another network namespace answers",
                    "31",
                ),
                (..) => self.paint(
                    &format!("{owner} listens, and cannot be reached: a firewall?"),
                    "31",
                ),
            };
            let _ = writeln!(
                text,
                "{}  {} ({})  {words}",
                port.endpoint,
                self.painted(port.reason.state()),
                port.reason.as_str()
            );
        }
        if *untold > 0 {
            let _ = writeln!(text, "and {} more", grouped(*untold));
        }
    }

    fn sum(&self, text: &mut String, summary: &Summary) {
        let stats = &summary.stats;
        // Addresses without a host are told of as such, further down.
        let nobodys = stats.with_reason(Reason::SilentHost) + stats.with_reason(Reason::NoNeighbor);
        let untold = (stats.planned - self.told).saturating_sub(nobodys);
        if untold > 0 && self.counts_hosts {
            let _ = writeln!(
                text,
                "\n{} never begun, and in no host's counts above",
                counted(untold, "endpoint was", "endpoints were")
            );
        }
        let count = |state| format!("{} {}", grouped(stats.in_state(state)), state.as_str());
        let sum: Vec<String> = State::ALL.into_iter().map(count).collect();
        let _ = writeln!(
            text,
            "\n{} planned = {}",
            grouped(stats.planned),
            sum.join(" + ")
        );
        for state in [State::Closed, State::Filtered, State::Unscanned] {
            let reasons = stats
                .reasons(state)
                .map(|(reason, count)| format!("{} {}", grouped(count), reason.as_str()));
            let reasons: Vec<String> = reasons.collect();
            if !reasons.is_empty() {
                let _ = writeln!(text, "{}: {}", self.painted(state), reasons.join(", "));
            }
        }
        let listed = self
            .hosts
            .values()
            .filter(|host| !host.rows.is_empty())
            .count() as u64;
        let others = self.addresses.saturating_sub(listed);
        if self.addresses > HOSTS_NAMED
            && others > 0
            && self.rows <= MAX_ROWS
            && self.origin != Origin::Resumed
        {
            let _ = writeln!(
                text,
                "{} addresses have something listed, {} have not.",
                grouped(listed),
                grouped(others)
            );
        }
        let _ = writeln!(
            text,
            "{} in {}, {} probes/s; {} retries; at most {} held of {} allowed ({})",
            match summary.exit {
                Exit::Complete => "Complete".into(),
                Exit::Incomplete => self.paint("Incomplete", "31"),
                Exit::Interrupted => self.paint("Interrupted", "31"),
                Exit::ReportFailed =>
                    self.paint("Stopped, for a report could not be written,", "31"),
            },
            milliseconds(summary.elapsed.us),
            grouped(summary.probes_per_s() as u64),
            grouped(stats.retries),
            counted(summary.peak_sockets.into(), "descriptor", "descriptors"),
            grouped(summary.cap.into()),
            summary.cap_set_by.as_str(),
        );
        self.learned(text, summary);
        if self.style.verbose {
            let growth = summary
                .tcp_memory_growth_bytes
                .map_or("not told by this system".into(), mebibytes);
            let estimate = mebibytes(summary.socket_memory_bytes());
            let _ = writeln!(
                text,
                "kernel memory of the sockets: about {estimate}; growth of TCP's own account: {growth}"
            );
            let opened = grouped(summary.sockets_opened);
            let _ = writeln!(
                text,
                "{} attempts on {opened} sockets, in {} turns of the loop",
                grouped(stats.attempts),
                grouped(summary.turns)
            );
        }
        let Notices {
            connections,
            datagrams,
            failed,
        } = summary.notices;
        if connections + datagrams + failed > 0 {
            let connections = counted(connections, "connection", "connections");
            let failed = if failed > 0 {
                format!("; {} could not be sent", grouped(failed))
            } else {
                String::new()
            };
            let _ = writeln!(
                text,
                "Notices: sent on {connections} and in {}{failed}",
                counted(datagrams, "datagram", "datagrams")
            );
        }
        for (phase, cost) in Phase::ALL.iter().zip(summary.profile.iter().flatten()) {
            let calls = counted(cost.calls, "call", "calls");
            let _ = writeln!(
                text,
                "loop: {:6} {:9.1} ms in {calls}",
                phase.as_str(),
                cost.ns as f64 / 1e6
            );
        }
        if stats.self_connects > 0 {
            let met = counted(stats.self_connects, "socket", "sockets");
            let _ = writeln!(
                text,
                "{met} may have met one of our own; probed again from another source port"
            );
        }
        let own: Vec<String> = stats
            .own_errors()
            .map(|(error, count)| format!("{} {}", grouped(count), error.as_str()))
            .collect();
        if !own.is_empty() {
            let lowest = grouped(stats.lowest_cap.into());
            let _ = writeln!(
                text,
                "on our own side: {}; the probes went back, and as few as {lowest} sockets were used at once",
                own.join(", ")
            );
        }
        let left_out = self.warnings.len() as u64;
        match self.origin {
            Origin::Joined => {
                text.extend(self.warnings.iter().map(|warning| format!("{warning}\n")))
            }
            _ if left_out > 0 => {
                let targets = counted(left_out, "target was", "targets were");
                let _ = writeln!(
                    text,
                    "{targets} left out: not known by name, or not of the family asked for"
                );
            }
            _ => {}
        }
        if stats.with_reason(Reason::OutOfDescriptors) > 0 {
            let _ = writeln!(
                text,
                "raise the descriptor limit (ulimit -n 1024) or close what else holds descriptors, and scan again"
            );
        }
        if let Some(error) = &summary.local_error {
            let _ = writeln!(text, "the system's last unusual error: {error}");
        }
    }
}

/// `0.02 %`.
fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 1.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.2} %")
    }
}

/// `65,535 endpoints on 1 address in random order (--seed 7)`.
pub fn described(plan: &Outline) -> String {
    let order = match plan.order {
        Order::Random { seed } => format!("in random order (--seed {seed})"),
        Order::Sequential => "in order".into(),
    };
    let shard = if plan.shard.is_whole() {
        String::new()
    } else {
        format!(
            ", shard {} of {} endpoints",
            plan.shard,
            grouped(plan.endpoints_of_all)
        )
    };
    let endpoints = counted(plan.endpoints, "endpoint", "endpoints");
    let addresses = counted(plan.addresses, "address", "addresses");
    format!("{endpoints} on {addresses} {order}{shard}")
}

/// The plan and the limits, which a verbose report begins with.
fn preamble(begin: &Begin) -> String {
    let mut text = String::new();
    let plan = begin.plan;
    let settings = begin.settings;
    let _ = writeln!(text, "Scanning {}", described(plan));
    let retries = format!(
        "up to {}",
        counted(settings.max_retries.into(), "retry", "retries")
    );
    let Timeouts {
        fixed_us,
        min_us,
        max_us,
    } = settings.timeouts;
    let timeout = fixed_us.map_or_else(
        || {
            format!(
                "from round-trip times, {} to {}",
                milliseconds(min_us),
                milliseconds(max_us)
            )
        },
        milliseconds,
    );
    let rate = match settings.rate {
        Some(rate) if rate.public_only => format!(
            "at most {} attempts/s towards public addresses",
            grouped(rate.per_s.get().into())
        ),
        Some(rate) => format!("at most {} attempts/s", grouped(rate.per_s.get().into())),
        None => "no rate limit".into(),
    };
    let _ = writeln!(text, "Timeout {timeout}; {retries}; {rate}");
    let _ = writeln!(
        text,
        "At most {} at once, set by {}:",
        counted(begin.cap.into(), "socket", "sockets"),
        begin.cap_set_by.as_str()
    );
    explain(&mut text, &begin.limits, begin.cap_set_by);
    text
}

fn explain(text: &mut String, limits: &Limits, set_by: SetBy) {
    let mut line = |name: SetBy, words: String| {
        let mark = if name == set_by { "*" } else { " " };
        let _ = writeln!(text, " {mark} {}: {words}", name.as_str());
    };
    let reserve: Vec<String> = RESERVE
        .iter()
        .map(|(what, count)| format!("{count} for {what}"))
        .collect();
    let nofile = if limits.nofile == u64::MAX {
        "unlimited".into()
    } else {
        grouped(limits.nofile)
    };
    line(
        SetBy::Nofile,
        format!(
            "{nofile}, less {} open already, less a reserve of {}",
            limits.already_open,
            reserve.join(" and ")
        ),
    );
    line(
        SetBy::MaxFds,
        limits
            .max_fds
            .map_or("not given".into(), |max| grouped(max.into())),
    );
    let share = |bytes: Option<u64>| match bytes {
        Some(bytes) => format!("one part in {MEMORY_SHARE} of {} MiB", grouped(bytes >> 20)),
        None => "not known on this system".into(),
    };
    line(
        SetBy::Memory,
        format!(
            "{}, at {} KiB of kernel memory a socket",
            share(limits.available_bytes),
            SOCKET_BYTES >> 10
        ),
    );
    line(SetBy::TcpMemory, share(limits.tcp_available_bytes));
}

/// The first line of a banner, shortened to fit a table. Other formats have all of it.
fn shortened(banner: &[u8]) -> String {
    let lines = banner.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii);
    let mut line = lines
        .clone()
        .find(|line| !line.is_empty())
        .map_or(String::new(), banner_text);
    let is_all = lines.filter(|line| !line.is_empty()).count() <= 1;
    let end = line.char_indices().nth(BANNER_WIDE).map(|(end, _)| end);
    if let Some(end) = end {
        line.truncate(end);
    }
    if end.is_some() || !is_all {
        line + " …"
    } else {
        line
    }
}

fn reason_text(row: &Row) -> String {
    let reason = row.reason.as_str();
    row.reason_ip
        .map_or(reason.into(), |ip| format!("{reason} from {ip}"))
}

/// `1,000 closed (conn-refused), 5 filtered (no-response)`.
fn folded(counts: impl Iterator<Item = (Reason, u64)>) -> String {
    let parts: Vec<String> = counts
        .map(|(reason, count)| {
            format!(
                "{} {} ({})",
                grouped(count),
                reason.state().as_str(),
                reason.as_str()
            )
        })
        .collect();
    parts.join(", ")
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}

impl<W: Write> Sink for Text<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.addresses = begin.plan.addresses;
        // Earlier findings, or those of other files, do not all come one by one.
        self.counts_hosts =
            self.addresses <= HOSTS_COUNTED && !self.style.quiet && begin.origin == Origin::Scan;
        self.names = begin.plan.names.clone();
        self.warnings = begin.plan.warnings.clone();
        self.origin = begin.origin;
        if self.style.verbose && !self.style.quiet {
            self.out.add(|out| writeln!(out, "{}", preamble(begin)))?;
        }
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        let &Finding {
            endpoint,
            reason,
            reason_ip,
            rtt_us,
            ..
        } = finding;
        self.told += 1;
        let listed = self.style.show.lists(reason.state());
        let key = without_port(endpoint);
        if self.counts_hosts {
            let counts = &mut self.hosts.entry(key).or_default().counts;
            match counts.iter_mut().find(|(counted, _)| *counted == reason) {
                Some((_, count)) => *count += 1,
                None => counts.push((reason, 1)),
            }
        }
        if !listed {
            return Ok(());
        }
        let service = self.services.name(endpoint.port()).unwrap_or_default();
        let banner = finding.banner.as_deref().map_or(String::new(), shortened);
        let live = format!("{} {endpoint} {service}", self.painted(reason.state()));
        let live = format!("{}  {banner}", live.trim_end());
        self.rows += 1;
        if self.rows <= MAX_ROWS && !self.style.quiet {
            self.hosts.entry(key).or_default().rows.push(Row {
                port: endpoint.port(),
                reason,
                reason_ip,
                rtt_us,
                banner,
            });
        }
        self.out.add(|out| writeln!(out, "{}", live.trim_end()))
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        if !self.style.quiet {
            self.hosts
                .values_mut()
                .for_each(|host| host.rows.sort_unstable_by_key(|row| row.port));
            let mut text = String::new();
            self.tables(&mut text);
            summary
                .local
                .iter()
                .for_each(|local| self.local(&mut text, local));
            self.sum(&mut text, summary);
            self.out.add(|out| out.write_all(text.as_bytes()))?;
        }
        self.out.flush()
    }
}

/// How many open ports were missed, and how that is known; empty where everything was answered.
fn missed(stats: &Stats) -> String {
    let silent = stats.with_reason(Reason::NoResponse) + stats.with_reason(Reason::SilentHost);
    match stats.missed_at_most() {
        Some(at_most) if silent > 0 => {
            let expected = stats.missed.expected;
            let at_most = grouped(at_most);
            let why = "by what was lost, and how often silent ports were asked";
            format!(
                "Open ports missed: about {expected:.1}, at most {at_most} in 95 of 100 scans, {why}\n"
            )
        }
        None if stats.in_state(State::Filtered) > 0 => {
            "No port answered by itself, so how many open ones were missed cannot be said\n".into()
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    fn check(golden: &str, style: Style) {
        let services = fixture::services();
        let mut out = Vec::new();
        fixture::play(&mut Text::new(&mut out, style, &services));
        fixture::golden(golden, &String::from_utf8(out).expect("UTF-8"));
    }

    /// What a scan without any options writes.
    fn plain() -> Style {
        Style {
            show: StateSet::states([State::Open]),
            listed_only: false,
            verbose: false,
            quiet: false,
            color: false,
        }
    }

    #[test]
    fn what_was_missed_is_estimated_where_there_was_silence() {
        let mut stats = Stats::new(12, 1);
        stats.settle(Reason::AdminProhibited, 1);
        assert!(missed(&stats).starts_with("No port answered"));
        stats.settle(Reason::ConnRefused, 1);
        assert_eq!(missed(&stats), "", "everything was answered");
        stats.settle(Reason::NoResponse, 1);
        stats.missed.expected = 0.26;
        stats.missed.high = 0.5;
        assert!(
            missed(&stats).starts_with("Open ports missed: about 0.3, at most 4 in 95"),
            "{}",
            missed(&stats)
        );
    }

    #[test]
    fn the_report_is_tidy() {
        check("open.txt", plain());
        check(
            "all_verbose.txt",
            Style {
                show: StateSet::states(State::ALL),
                verbose: true,
                ..plain()
            },
        );
        check(
            "quiet_color.txt",
            Style {
                show: StateSet::states([State::Open, State::Filtered]),
                quiet: true,
                color: true,
                ..plain()
            },
        );
        check(
            "listed_only.txt",
            Style {
                listed_only: true,
                ..plain()
            },
        );
    }
}
