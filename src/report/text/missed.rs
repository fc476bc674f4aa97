//! How complete a scan is, in words: how many open ports may have been missed, where, and what to
//! type to find them. It knows counters. The figures behind them are in the JSON lines.

use std::net::SocketAddr;

use super::summary::percent;
use crate::report::format::{counted, ip_text};
use crate::scan::{Reason, State, Stats};

/// The sentences; empty where everything was answered. All silent ports that were asked are `on`
/// these hosts, if it is known.
pub(super) fn missed(stats: &Stats, on: &[SocketAddr]) -> String {
    let asked = stats.silent();
    let left_out = stats.with_reason(Reason::SilentHost);
    let Some(at_most) = stats.missed_at_most() else {
        return nobody(stats, on) + &silent_hosts(stats, None);
    };
    match (asked, left_out) {
        (0, 0) => String::new(),
        (0, _) => silent_hosts(stats, Some(at_most)),
        _ => silent_ports(stats, at_most, on) + &silent_hosts(stats, None),
    }
}

fn nobody(stats: &Stats, on: &[SocketAddr]) -> String {
    let filtered = stats.in_state(State::Filtered);
    if filtered == 0 {
        return String::new();
    }
    if !on.is_empty() && filtered == stats.with_reason(Reason::NoResponse) {
        let there = if on.len() == 1 {
            "there"
        } else {
            "at any of them"
        };
        return format!(
            "Nothing answered{}: nobody seems to be {there}, or a firewall drops all that is asked\n",
            listed(on)
        );
    }
    "No port answered by itself, so how many open ones were missed cannot be said\n".into()
}

/// Whether ports were asked often enough. The hosts that were left out count, too.
fn silent_ports(stats: &Stats, at_most: u64, on: &[SocketAddr]) -> String {
    if at_most == 0 {
        return "Every port that could answer was asked often enough\n".into();
    }
    let ports = counted(at_most, "open port", "open ports");
    let on = if stats.hosts_silent > 0 {
        " on hosts that answered little or nothing".into()
    } else {
        listed(on)
    };
    let why = if stats.lost > 0 {
        let share = percent(stats.loss());
        format!("where answers were lost ({share})")
    } else {
        "where few ports answered".into()
    };
    format!(
        "Up to {ports} may have been missed{on}, {why}; --miss-rate 0.001% asks silent ports more often\n"
    )
}

/// ` on 10.0.0.7 and 10.0.0.9`.
fn listed(hosts: &[SocketAddr]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|&host| ip_text(host)).collect();
    match &hosts[..] {
        [] => String::new(),
        [one] => format!(" on {one}"),
        [others @ .., last] => format!(" on {} and {last}", others.join(", ")),
    }
}

/// The hosts that were left out, and how many open ports they have at most, where that is known.
fn silent_hosts(stats: &Stats, at_most: Option<u64>) -> String {
    if stats.hosts_silent == 0 {
        return String::new();
    }
    let hosts = counted(stats.hosts_silent, "host", "hosts");
    let were = if stats.hosts_silent == 1 {
        "was"
    } else {
        "were"
    };
    let open = at_most
        .filter(|&most| most > 0)
        .map_or(String::new(), |most| {
            let ports = counted(most, "open port is", "open ports are");
            format!("; by what the others answered, probably at most {ports} there")
        });
    format!(
        "{hosts} answered nothing on many ports and {were} left out{open}; -Pn scans all their ports\n"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(reasons: &[(Reason, u64)], high: f64, lost: u64, expect: &str) {
        let mut stats = Stats::new(1_000, 1);
        for &(reason, count) in reasons {
            stats.settle(reason, count);
        }
        (stats.missed.high, stats.lost) = (high, lost);
        stats.hosts_silent = stats.with_reason(Reason::SilentHost) / 100;
        let on = ["192.0.2.7:0", "192.0.2.9:0"].map(|host| host.parse().expect("an address"));
        assert_eq!(missed(&stats, &on).trim_end(), expect);
    }

    #[test]
    fn what_may_have_been_missed_is_said_in_words() {
        use Reason::{AdminProhibited, ConnRefused, NoResponse, SilentHost};
        let refused = (ConnRefused, 98);
        check(
            &[(AdminProhibited, 1)],
            0.0,
            0,
            "No port answered by itself, so how many open ones were missed cannot be said",
        );
        check(
            &[(NoResponse, 9)],
            0.0,
            0,
            "Nothing answered on 192.0.2.7 and 192.0.2.9: nobody seems to be at any of them, or a \
             firewall drops all that is asked",
        );
        check(&[refused], 0.5, 0, "");
        check(
            &[refused, (NoResponse, 9)],
            0.0,
            0,
            "Every port that could answer was asked often enough",
        );
        check(
            &[refused, (NoResponse, 9)],
            0.5,
            2,
            "Up to 4 open ports may have been missed on 192.0.2.7 and 192.0.2.9, where answers \
             were lost (2 %); --miss-rate 0.001% asks silent ports more often",
        );
        check(
            &[refused, (NoResponse, 1)],
            0.5,
            0,
            "Up to 1 open port may have been missed on 192.0.2.7 and 192.0.2.9, where few ports \
             answered; --miss-rate 0.001% asks silent ports more often",
        );
        check(
            &[refused, (SilentHost, 100)],
            0.5,
            0,
            "1 host answered nothing on many ports and was left out; by what the others \
             answered, probably at most 4 open ports are there; -Pn scans all their ports",
        );
        check(
            &[refused, (NoResponse, 1), (SilentHost, 200)],
            0.0,
            0,
            "Every port that could answer was asked often enough\n2 hosts answered nothing on \
             many ports and were left out; -Pn scans all their ports",
        );
    }
}
