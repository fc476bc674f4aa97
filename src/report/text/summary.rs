//! The end of a text report: what was counted, what was learned of the network, and what went wrong
//! on this machine.

use std::fmt::Write as _;
use std::io::Write;
use std::net::SocketAddr;

use super::missed::missed;
use super::{HOSTS_COUNTED, HOSTS_NAMED, Style, Text};
use crate::report::escape::printable;
use crate::report::format::{counted, duration, grouped, ip_text};
use crate::report::{
    Exit, HostReport, LocalCheck, LocalPort, Notices, Origin, Phase, Profile, Summary,
};
use crate::scan::{Reason, State, Stats};

impl<W: Write> Text<'_, W> {
    /// The lines behind the hosts.
    pub(super) fn summary(&self, summary: &Summary) -> String {
        let mut all = String::new();
        let text = &mut all;
        let stats = &summary.stats;
        if let Some(local) = &summary.local {
            own_ports(text, self.style, local);
        }
        if self.is_alive {
            *text += &self.presence(summary);
            scan(text, self.style, summary);
            absent_hosts(text, stats);
            outages(text, stats);
        } else {
            self.never_begun(text, stats);
            counts(text, self.style, stats);
            self.listed_hosts(text);
            scan(text, self.style, summary);
            self.network(text, summary);
        }
        if self.style.verbose {
            resources(text, summary);
        }
        notices(text, summary.notices);
        profile(text, summary.profile.as_ref());
        own_side(text, stats);
        self.left_out(text);
        if stats.with_reason(Reason::OutOfDescriptors) > 0 {
            let _ = writeln!(
                text,
                "raise the descriptor limit (ulimit -n 1024) or close what else holds descriptors, and scan again"
            );
        }
        if let Some(error) = &summary.local_error {
            let _ = writeln!(text, "the system's last unusual error: {error}");
        }
        all
    }

    /// What was learned about the network, and how certain that makes the answers.
    fn network(&self, text: &mut String, summary: &Summary) {
        let stats = &summary.stats;
        round_trips(text, stats);
        *text += &missed(stats, &self.silent_on(stats));
        absent_hosts(text, stats);
        all_open(text, stats);
        self.open_everywhere(text, summary);
        outages(text, stats);
    }

    /// The hosts that all silent ports are on, if they are few and known.
    fn silent_on(&self, stats: &Stats) -> Vec<SocketAddr> {
        let is_silent = |reason: &Reason| reason.is_silence();
        let hosts = self.kept.hosts().filter_map(|host| {
            let silent = host.counts.iter().find(|(reason, _)| is_silent(reason))?;
            Some((host.address, u64::from(silent.1)))
        });
        let (hosts, counts): (Vec<_>, Vec<_>) = hosts.unzip();
        let is_all = counts.iter().sum::<u64>() == stats.silent();
        if is_all && hosts.len() <= MOST_SILENT_NAMED {
            hosts
        } else {
            Vec::new()
        }
    }

    /// Endpoints that no finding was reported of. Silent hosts are counted further down.
    fn never_begun(&self, text: &mut String, stats: &Stats) {
        let nobodys = stats
            .reasons(State::Unscanned)
            .filter(|(reason, _)| reason.leaves_nothing_out())
            .map(|(_, count)| count)
            .sum();
        let untold = stats
            .planned
            .saturating_sub(self.kept.told())
            .saturating_sub(nobodys);
        if untold > 0 && self.origin != Origin::Joined && self.addresses <= HOSTS_COUNTED {
            let _ = writeln!(
                text,
                "\n{} never begun, and in no host's counts above",
                counted(untold, "endpoint was", "endpoints were")
            );
        }
    }

    /// How many hosts the tables list, where they do not name them all.
    fn listed_hosts(&self, text: &mut String) {
        let is_complete = self.kept.left_out() == 0;
        let has_rows = |host: &&HostReport| host.listed(self.style.listing).next().is_some();
        let listed = self.kept.hosts().filter(has_rows).count() as u64;
        let others = self.addresses.saturating_sub(listed);
        if self.addresses > HOSTS_NAMED && others > 0 && is_complete {
            let _ = writeln!(
                text,
                "{} something listed, {}.",
                counted(listed, "address has", "addresses have"),
                match others {
                    1 => "1 has not".into(),
                    others => format!("{} have not", grouped(others)),
                }
            );
        }
    }

    /// Ports that are open on nearly every address.
    fn open_everywhere(&self, text: &mut String, summary: &Summary) {
        let ports = &summary.open_everywhere;
        let Some(least) = ports.iter().map(|port| port.addresses).min() else {
            return;
        };
        let (named, others) = ports.split_at(ports.len().min(MOST_PORTS_NAMED));
        let mut names: Vec<String> = named.iter().map(|port| port.port.to_string()).collect();
        if !others.is_empty() {
            names.push(counted(others.len() as u64, "other port", "other ports"));
        }
        let _ = writeln!(
            text,
            "Open on at least {} of {} addresses: {}. Unless they all run that, something on the way answers in their place (a middlebox, a proxy), and these ports do not show that a host is there",
            grouped(least.into()),
            grouped(self.addresses),
            names.join(", ")
        );
        if summary.hosts_in_doubt > 0 {
            let _ = writeln!(
                text,
                "At least {} of {} that answered did so on nothing else; nmap's formats do not count them as up",
                grouped(summary.hosts_in_doubt),
                counted(summary.stats.hosts_answering, "host", "hosts"),
            );
        }
    }

    /// The plan's warnings: in full if they are few, or what is missing from joined reports.
    fn left_out(&self, text: &mut String) {
        let told = match self.origin {
            Origin::Joined => self.warnings.len(),
            _ => self.warnings.len().min(MOST_WARNINGS),
        };
        let (told, others) = self.warnings.split_at(told);
        text.extend(told.iter().map(|warning| format!("{warning}\n")));
        if !others.is_empty() {
            let others = counted(others.len() as u64, "other warning", "other warnings");
            let _ = writeln!(text, "{others}, as told when the scan began");
        }
    }
}

/// Silent hosts are named if there are no more of them.
const MOST_SILENT_NAMED: usize = 3;
/// How many of the ports that are open everywhere are named.
const MOST_PORTS_NAMED: usize = 16;
/// A report's end repeats this many of the warnings that its beginning told on standard error.
const MOST_WARNINGS: usize = 5;

/// This machine's own ports, compared with what listens there.
fn own_ports(text: &mut String, style: Style, LocalCheck { ports, untold }: &LocalCheck) {
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
        let _ = writeln!(
            text,
            "{}  {} ({})  {}",
            port.endpoint,
            style.painted(port.reason.state()),
            port.reason.as_str(),
            listener(style, port)
        );
    }
    if *untold > 0 {
        let _ = writeln!(text, "and {} more", grouped(*untold));
    }
}

fn listener(style: Style, port: &LocalPort) -> String {
    let owner = match &port.owner {
        Some(owner) => printable(owner),
        None => "a socket whose owner cannot be seen".into(),
    };
    match (port.reason.state(), port.listens) {
        (State::Open, true) => owner,
        (State::Open, false) => style.paint(
            "nothing listens: a redirection, a proxy or another network namespace answers",
            "31",
        ),
        (..) => style.paint(
            &format!("{owner} listens, and cannot be reached: a firewall?"),
            "31",
        ),
    }
}

/// The endpoints by state, and the states by reason.
fn counts(text: &mut String, style: Style, stats: &Stats) {
    let count = |state| format!("{} {}", grouped(stats.in_state(state)), state.as_str());
    let sum: Vec<String> = stats.told_states().map(count).collect();
    let sum = sum.join(" + ");
    let _ = writeln!(text, "\n{} planned = {sum}", grouped(stats.planned));
    for state in State::ALL.into_iter().skip(1) {
        let reasons: Vec<String> = stats
            .reasons(state)
            .map(|(reason, count)| format!("{} {}", grouped(count), reason.as_str()))
            .collect();
        if !reasons.is_empty() {
            let _ = writeln!(text, "{}: {}", style.painted(state), reasons.join(", "));
        }
    }
}

/// How the scan ended, how fast it was, and how many sockets it held.
fn scan(text: &mut String, style: Style, summary: &Summary) {
    let exit = match summary.exit {
        Exit::Complete => "Complete".into(),
        Exit::Incomplete => style.paint("Incomplete", "31"),
        Exit::Interrupted => style.paint("Interrupted", "31"),
        Exit::ReportFailed => style.paint("Stopped, for a report could not be written,", "31"),
    };
    let _ = writeln!(
        text,
        "{exit} in {}, {}; {}; at most {} held of {} allowed ({})",
        duration(summary.elapsed.us),
        counted(summary.probes_per_s() as u64, "probe/s", "probes/s"),
        counted(summary.stats.retries, "retry", "retries"),
        counted(summary.peak_sockets.into(), "descriptor", "descriptors"),
        grouped(summary.cap.into()),
        summary.cap_set_by.as_str(),
    );
}

fn absent_hosts(text: &mut String, stats: &Stats) {
    if stats.hosts_absent > 0 {
        let addresses = counted(stats.hosts_absent, "address is", "addresses are");
        let _ = writeln!(
            text,
            "{addresses} on this machine's own links without anybody answering there (no-neighbor)"
        );
    }
}

fn outages(text: &mut String, stats: &Stats) {
    if stats.hosts_held_off > 0 {
        let times = counted(stats.hosts_held_off, "time", "times");
        let _ = writeln!(
            text,
            "Hosts shut us out {times} for a while, and were asked more slowly then"
        );
    }
    if stats.hosts_away > 0 {
        let hosts = counted(stats.hosts_away, "host", "hosts");
        let _ = writeln!(
            text,
            "{hosts} stopped answering and did not come back (host-away); scan the rest later, with --max-rate 10"
        );
    }
    if stats.outages > 0 {
        let times = counted(stats.outages.into(), "time", "times");
        let _ = writeln!(
            text,
            "The network went away {times}, {} in all; what was under way then was tried again",
            duration(stats.outage_us)
        );
    }
}

fn round_trips(text: &mut String, stats: &Stats) {
    let quantile = |quantile| stats.rtt.quantile_us(quantile).map(duration);
    let (Some(half), Some(most)) = (quantile(0.5), quantile(0.99)) else {
        return;
    };
    let tried = stats.attempts - stats.retries;
    let each = (stats.attempts + stats.voided) as f64 / tried.max(1) as f64;
    let loss = percent(stats.loss());
    let _ = writeln!(
        text,
        "Round trips: half within {half}, 99 % within {most}; {loss} lost; {each:.2} attempts a probe"
    );
}

/// Hosts whose open ports prove nothing.
fn all_open(text: &mut String, stats: &Stats) {
    if stats.hosts_all_open == 0 {
        return;
    }
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

/// What the scan has used.
fn resources(text: &mut String, summary: &Summary) {
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
        grouped(summary.stats.attempts),
        grouped(summary.turns)
    );
}

fn notices(text: &mut String, notices: Notices) {
    let Notices {
        connections,
        datagrams,
        failed,
        withheld,
    } = notices;
    if notices == Notices::default() {
        return;
    }
    let connections = counted(connections, "connection", "connections");
    let datagrams = counted(datagrams, "datagram", "datagrams");
    let failed = if failed > 0 {
        format!("; {} could not be sent", grouped(failed))
    } else {
        String::new()
    };
    let _ = writeln!(
        text,
        "Notices: sent on {connections} and in {datagrams}{failed}"
    );
    if withheld > 0 {
        let kept = counted(withheld, "notice was", "notices were");
        let _ = writeln!(
            text,
            "{kept} not sent to ports 515 and 9100 to 9107, where printers print what comes (--notice-printers sends all)"
        );
    }
}

fn profile(text: &mut String, profile: Option<&Profile>) {
    for (phase, cost) in Phase::ALL.iter().zip(profile.into_iter().flatten()) {
        let calls = counted(cost.calls, "call", "calls");
        let _ = writeln!(
            text,
            "loop: {:6} {:9.1} ms in {calls}",
            phase.as_str(),
            cost.ns as f64 / 1e6
        );
    }
}

/// What went wrong on this machine, and was made good.
fn own_side(text: &mut String, stats: &Stats) {
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
            "on our own side: {}; the probes went back, and the cap never fell below {lowest}",
            own.join(", ")
        );
    }
}

/// `0.02 %`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    if percent == 0.0 || percent >= 1.0 {
        format!("{percent:.0} %")
    } else {
        format!("{percent:.2} %")
    }
}

fn mebibytes(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / f64::from(1 << 20))
}
