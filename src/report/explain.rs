//! What a scan will do, and how long it takes at best, in sentences before it starts. It knows
//! plans, settings and limits, and sends nothing.

use std::net::IpAddr;

use super::format::{counted, duration, grouped};
use super::text::described;
use super::{BANNER_BYTES, Begin, NeighbourTable, OnLink, Tracking};
use crate::plan::Plan;
use crate::scan::{self, Rate, Settings};

/// The most addresses of a plan that are inspected. In larger plans they stand for the others.
pub const LOOKED_AT: u64 = 1 << 20;
/// The most attempts per second that one processor makes on loopback (docs/PERFORMANCE.md). No
/// other path takes as many while nothing answers.
const MOST_PER_S: f64 = 100_000.0;
/// No larger neighbour table is advised: a block of IPv6 fits into none.
const LARGEST_TABLE: u64 = 1 << 20;
/// No lower ceiling of unanswered attempts is advised: a scan would hardly move.
const LEAST_UNANSWERED: u64 = 64;
/// Addresses that fit into a neighbour table that nobody tells of: half of what Linux has by
/// default.
const SAFE_NEIGHBOURS: usize = 512;
/// How much of the list of ports is shown, in letters.
const PORTS_WIDE: usize = 60;

/// What the explanation needs beside the beginning of every report.
#[derive(Clone, Copy, Debug)]
pub struct Ahead<'a> {
    /// The plan.
    pub plan: &'a Plan,
    /// What a report begins with.
    pub begin: &'a Begin<'a>,
    /// The plan's addresses on links of this machine, if the kernel tells.
    pub on_link: Option<OnLink>,
    /// The share of its endpoints that lie behind a router, 0 to 1.
    pub routed_share: f64,
    /// What this machine's own firewall tracks, if it can.
    pub tracking: Option<Tracking>,
    /// The notice for each open port, if any.
    pub notice: Option<&'a str>,
    /// Whether the ports of printers get it, too.
    pub notice_printers: bool,
    /// The reports and their places, in words.
    pub reports: &'a str,
}

/// The explanation, a sentence a line.
pub fn explain(ahead: &Ahead) -> String {
    let lines = [
        what(ahead),
        hosts(ahead),
        attempts(ahead),
        pace(ahead),
        neighbours(ahead),
        tracked(ahead),
        open_ports(ahead),
        time(ahead),
        format!("Reports: {}.", ahead.reports),
    ];
    let lines = lines.into_iter().filter(|line| !line.is_empty());
    lines.map(|line| line + "\n").collect()
}

fn what(Ahead { begin, .. }: &Ahead) -> String {
    let mut ports = begin.plan.ports.to_string();
    if let Some((end, _)) = ports.char_indices().nth(PORTS_WIDE) {
        ports.truncate(end);
        ports += " ...";
    }
    let each = counted(begin.plan.ports_per_address as u64, "port", "ports");
    format!(
        "Scanned: {}, up to {each} each: {ports}.",
        described(begin.plan)
    )
}

/// Whether hosts that answer nothing are left out.
fn leaves_out(begin: &Begin) -> bool {
    begin
        .settings
        .skips_silent(begin.plan.order, begin.plan.addresses)
}

fn hosts(Ahead { begin, .. }: &Ahead) -> String {
    if begin.settings.alive {
        return "Hosts: each is asked until its first answer, a refusal included, and no further. On links of this machine \
                the kernel's neighbour table tells who is there (ARP, NDP)."
            .into();
    }
    if !leaves_out(begin) {
        return "Hosts: every port of every address is asked, whether something answers there or not.".into();
    }
    let (least, most) = scan::SILENT_PORTS;
    format!(
        "Hosts: an address that answers on none of its first {least} to {most} ports is left out (as unscanned, with the reason \
         silent-host), but asked now and then while others are scanned; -Pn scans all."
    )
}

fn attempts(Ahead { begin, .. }: &Ahead) -> String {
    let settings = begin.settings;
    let wait = match settings.timeouts.fixed_us {
        Some(us) => format!("waits {}", duration(us)),
        None => {
            let min = duration(settings.timeouts.min_us);
            let max = duration(settings.timeouts.max_us);
            format!("waits {min} to {max}, as measured round trips ask for")
        }
    };
    let again = match settings.max_retries {
        0 => "no port is asked again".into(),
        1 => "a silent port is asked once more".into(),
        most => format!(
            "a silent port is asked again at least once, and until the chance of missing an open one is below {} %, {most} times at most",
            f64::from(settings.miss_rate_ppm) / 1e4
        ),
    };
    let resets = if settings.open_only {
        " Resets are not waited for where an open port shows that nothing else is missing."
    } else {
        ""
    };
    format!("Attempts: ordinary TCP connections. Each {wait}; {again}.{resets}")
}

fn pace(Ahead { begin, .. }: &Ahead) -> String {
    let ceiling = match begin.settings.rate {
        Some(rate) => {
            let where_to = if rate.routed_only {
                " through routers"
            } else {
                ""
            };
            format!("never more than {}{where_to}", per_second(rate))
        }
        None => "without a limit of ours".into(),
    };
    let sockets = counted(begin.cap.into(), "socket", "sockets");
    format!(
        "Pace: what the path and each host turn out to take, {ceiling}; at most {sockets} at once ({}).",
        begin.cap_set_by.as_str()
    )
}

/// What scanning a network of our own takes of the kernel's table of neighbours, if it is more than
/// that holds at once.
fn neighbours(Ahead { plan, on_link, .. }: &Ahead) -> String {
    let Some(on_link) = on_link else {
        return unknown_neighbours(plan);
    };
    let words = |family: usize| {
        let count = on_link.addresses[family];
        let NeighbourTable { used, most, room } = on_link.tables[family]?;
        let rounds = count.div_ceil(room.max(1).into());
        let least_s = rounds
            .saturating_sub(1)
            .saturating_mul(NeighbourTable::UNUSED_S.into());
        (least_s > 0).then(|| {
            format!(
                "Neighbours: {} addresses on links of this machine; the kernel's table holds {}, {} are used; \
                 that takes at least {} (sysctl -w net.ipv{}.neigh.default.gc_thresh3={} makes it shorter).",
                grouped(count),
                grouped(most.into()),
                grouped(used.into()),
                lasting(least_s as f64),
                [4, 6][family],
                (count.min(LARGEST_TABLE / 2) * 2).next_power_of_two(),
            )
        })
    };
    let lines: Vec<String> = [words(0), words(1)].into_iter().flatten().collect();
    lines.join("\n")
}

/// Where nobody tells who is a neighbour, each private address may be one.
fn unknown_neighbours(plan: &Plan) -> String {
    let hosts = (0..plan.addresses().min(LOOKED_AT)).map(|index| plan.host(index));
    let maybe = hosts.filter(|host| is_private(host.address.ip())).count();
    if maybe <= SAFE_NEIGHBOURS || plan.is_loopback() {
        return String::new();
    }
    format!(
        "Neighbours: this system does not tell who is on a link of this machine; a kernel's table of neighbours may \
         have {} places, and what does not fit looks silent. For a network of your own: --max-rate {}.",
        grouped(SAFE_NEIGHBOURS as u64),
        SAFE_NEIGHBOURS / NeighbourTable::UNUSED_S as usize,
    )
}

/// A warning if this scan can take all that this machine's own firewall can track.
fn tracked(ahead: &Ahead) -> String {
    let Ahead {
        plan,
        begin,
        tracking,
        ..
    } = ahead;
    let settings = &begin.settings;
    // Linux tracks nothing until a rule needs it.
    let Some(tracking) = tracking.filter(|tracking| tracking.count > 0) else {
        return String::new();
    };
    let (tries, _) = tries(settings);
    let per_s = 1.0 / limited_s(ahead).max(1.0 / MOST_PER_S);
    let most = (asked(begin) * f64::from(tries)).min(per_s * f64::from(Tracking::UNANSWERED_S));
    let most = settings
        .max_unanswered
        .map_or(most, |max| most.min(max.into()));
    let room = tracking.room();
    if most <= room as f64 || plan.is_loopback() {
        return String::new();
    }
    format!(
        "Connection tracking: this machine's firewall tracks {} of {} connections, an attempt without an answer for {} s. \
         This scan can fill that; then Linux forgets such attempts first, and answers that come late are lost. \
         --max-unanswered {} leaves room for others.",
        grouped(tracking.count),
        grouped(tracking.most),
        Tracking::UNANSWERED_S,
        room.max(LEAST_UNANSWERED),
    )
}

fn per_second(rate: Rate) -> String {
    counted(
        rate.per_s.get().into(),
        "attempt a second",
        "attempts a second",
    )
}

fn open_ports(ahead: &Ahead) -> String {
    let Ahead { begin, notice, .. } = ahead;
    let mut parts = vec!["the connection is closed".to_owned()];
    if let Some(us) = begin.settings.banner_wait_us {
        let bytes = grouped(BANNER_BYTES as u64);
        let wait = duration(us);
        parts.insert(
            0,
            format!("what it says first is read, up to {bytes} bytes and for {wait} at most"),
        );
    }
    if let Some(notice) = notice {
        parts.insert(0, format!("it is told {:?}", notice.trim_end()));
    }
    let datagrams = if begin.settings.sends_datagrams {
        " Every probed port gets the notice as a UDP datagram, too."
    } else {
        ""
    };
    let printers = if notice.is_some() && !ahead.notice_printers {
        " Ports 515 and 9100 to 9107 are told nothing: printers would print it."
    } else {
        ""
    };
    format!(
        "Open ports: {}.{datagrams}{printers}",
        parts.join(", then ")
    )
}

fn time(ahead: &Ahead) -> String {
    let begin = ahead.begin;
    let limited_s = limited_s(ahead);
    let each_s = limited_s.max(1.0 / MOST_PER_S);
    let why = match begin.settings.rate {
        Some(rate) if limited_s * MOST_PER_S > 1.0 => per_second(rate),
        _ => "the most that one processor makes".into(),
    };
    let answered_s = begin.plan.endpoints as f64 * each_s;
    let asked = asked(begin);
    let (tries, wait_s) = tries(&begin.settings);
    let rounds = (asked / f64::from(begin.cap.max(1))).ceil();
    let silent_s = (asked * f64::from(tries) * each_s).max(rounds * wait_s);
    format!(
        "Time: {} probes, at best {} ({why}) if everything answers at once; {} or more if nothing does ({} at each port that is asked).",
        grouped(begin.plan.endpoints),
        lasting(answered_s),
        lasting(silent_s),
        counted(tries.into(), "attempt", "attempts")
    )
}

/// Seconds that the rate limit costs each probe, on average.
fn limited_s(ahead: &Ahead) -> f64 {
    let settings = &ahead.begin.settings;
    let Some(rate) = settings.rate else {
        return 0.0;
    };
    let share = match rate.routed_only {
        true => ahead.routed_share,
        false => 1.0,
    };
    let packets = if settings.sends_datagrams { 2.0 } else { 1.0 };
    share * packets / f64::from(rate.per_s.get())
}

/// Endpoints that are probed if nothing answers.
fn asked(begin: &Begin) -> f64 {
    if !leaves_out(begin) {
        return begin.plan.endpoints as f64;
    }
    let ports = begin.plan.ports_per_address;
    begin.plan.addresses as f64 * ports.min(scan::SILENT_PORTS.0 as usize) as f64
}

/// Attempts at a silent port at least, and seconds that they wait in all.
fn tries(settings: &Settings) -> (u32, f64) {
    let unknown_s = scan::SILENT_US as f64 / 1e6;
    match (settings.max_retries, settings.timeouts.fixed_us) {
        (0, fixed) => (1, fixed.map_or(unknown_s / 2.0, |us| us as f64 / 1e6)),
        (_, fixed) => (2, fixed.map_or(unknown_s, |us| us as f64 / 5e5)),
    }
}

/// Whether an address is of those that anybody may give to the hosts of a network of his own
/// (RFC 1918, 3927, 4193, 4291).
fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => v4.is_private() || v4.is_link_local(),
        IpAddr::V6(v6) => v6.is_unique_local() || v6.is_unicast_link_local(),
    }
}

/// `0.50 s`, `12 s`, `3 min 20 s`, `5 h 3 min`, `12 d 7 h`, `34,841 years`.
fn lasting(seconds: f64) -> String {
    let whole = seconds.ceil() as u64;
    match whole {
        _ if seconds < 0.01 => "10 ms".into(),
        _ if seconds < 10.0 => format!("{seconds:.2} s"),
        0..120 => format!("{whole} s"),
        120..7_200 => format!("{} min {} s", whole / 60, whole % 60),
        7_200..172_800 => format!("{} h {} min", whole / 3_600, whole / 60 % 60),
        172_800..63_115_200 => format!("{} d {} h", whole / 86_400, whole / 3_600 % 24),
        // A year of 365.25 days.
        _ => format!("{} years", grouped(whole / 31_557_600)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{PortSet, Target};
    use crate::report::fixture;

    /// The explanation of a scan of these, with these settings.
    fn said(target: &str, ports: &str, change: impl FnOnce(&mut Settings)) -> String {
        said_on(target, ports, Some(OnLink::default()), None, change)
    }

    /// The same, on a machine that tells this.
    fn said_on(
        target: &str,
        ports: &str,
        on_link: Option<OnLink>,
        tracking: Option<Tracking>,
        change: impl FnOnce(&mut Settings),
    ) -> String {
        let ports = PortSet::parse(ports, &fixture::services()).expect("ports");
        let plan = Plan::builder()
            .target(Target::parse(target).expect("a target"))
            .ports(ports);
        let plan = plan
            .build(&mut |_| unreachable!("no names"))
            .expect("a plan");
        let outline = plan.outline();
        let mut settings = Settings::default();
        change(&mut settings);
        let begin = Begin {
            settings,
            cap: 1_000,
            ..fixture::begin(&outline)
        };
        explain(&Ahead {
            plan: &plan,
            begin: &begin,
            on_link,
            routed_share: 1.0 - f64::from(u8::from(plan.is_loopback())),
            tracking,
            notice: Some("scan by example.org\r\n"),
            notice_printers: false,
            reports: "text to standard output",
        })
    }

    #[test]
    fn what_will_be_done_follows_from_plan_and_settings() {
        let all = said("127.0.0.1", "-", |_| ());
        for part in [
            "65,535 endpoints on 1 address",
            "up to 65,535 ports each: 1-65535.",
            "every port of every address",
            "never more than 10,000 attempts a second through routers; at most 1,000 sockets",
            "told \"scan by example.org\", then the connection is closed. Ports 515 and",
            "65,535 probes, at best 0.66 s (the most that one processor makes)",
            // 66 rounds of a thousand sockets.
            "83 s or more if nothing does (2 attempts",
            "Reports: text to standard output.",
        ] {
            assert!(all.contains(part), "{part:?} is not in {all}");
        }
        let block = said("192.0.2.0/24", "1-1000", |settings| {
            settings.banner_wait_us = Some(3_000_000)
        });
        for part in [
            "on none of its first 32 to 512 ports",
            "then what it says first is read, up to 1,024 bytes and for 3.00 s",
            "at best 26 s (10,000 attempts",
        ] {
            assert!(block.contains(part), "{part:?} is not in {block}");
        }
        let fixed = said("10.0.0.0/8", "1-9", |settings| {
            settings.timeouts.fixed_us = Some(500_000);
            settings.rate = std::num::NonZeroU32::new(10).map(|per_s| Rate {
                per_s,
                routed_only: false,
            });
            settings.max_retries = 0;
            settings.sends_datagrams = true;
        });
        for part in [
            "Each waits 500 ms; no port is asked again",
            "as a UDP datagram, too",
            "349 d 12 h (10 attempts a second)",
            "(1 attempt at",
        ] {
            assert!(fixed.contains(part), "{part:?} is not in {fixed}");
        }
    }

    #[test]
    fn a_link_with_more_addresses_than_the_table_holds_is_told() {
        let check = |target: &str, on_link: Option<OnLink>, expect: Option<&str>| {
            let said = said_on(target, "80", on_link, None, |_| ());
            let told = said
                .lines()
                .find_map(|line| line.strip_prefix("Neighbours: "));
            match expect {
                Some(part) => assert!(told.is_some_and(|told| told.contains(part)), "{said}"),
                None => assert_eq!(told, None, "{said}"),
            }
        };
        let table = Some(NeighbourTable {
            used: 96,
            most: 1_024,
            room: 800,
        });
        let with = |v4, v6| {
            Some(OnLink {
                addresses: [v4, v6],
                tables: [table; 2],
            })
        };
        check("10.0.0.0/20", with(800, 0), None);
        check("10.0.0.0/20", with(801, 0), Some("takes at least 3.00 s"));
        check(
            "10.0.0.0/20",
            with(4_093, 0),
            Some(
                "4,093 addresses on links of this machine; the kernel's table holds 1,024, 96 are used; \
                  that takes at least 15 s (sysctl -w net.ipv4.neigh.default.gc_thresh3=8192",
            ),
        );
        check("fd00::/116", with(0, 4_093), Some("net.ipv6.neigh"));
        check("fd00::/66", with(0, u64::MAX), Some("gc_thresh3=1048576 "));
        check("10.0.0.0/20", None, Some("--max-rate 170."));
        check("10.0.0.0/24", None, None);
        check("127.0.0.0/20", None, None);
        check("1.0.0.0/20", None, None);
    }

    #[test]
    fn a_scan_that_can_fill_our_own_table_is_warned_of() {
        let check = |target: &str, count, change: fn(&mut Settings), expect: bool| {
            let tracking = Some(Tracking { count, most: 8_192 });
            let said = said_on(target, "1-10000", Some(OnLink::default()), tracking, change);
            assert_eq!(said.contains("\nConnection tracking: "), expect, "{said}");
            said
        };
        let said = check("10.0.0.1", 192, |_| (), true);
        for part in ["tracks 192 of 8,192", "--max-unanswered 7000 leaves"] {
            assert!(said.contains(part), "{said}");
        }
        let ceiling = |settings: &mut Settings| settings.max_unanswered = Some(7_000);
        check("10.0.0.1", 192, ceiling, false);
        let slow = |settings: &mut Settings| {
            settings.rate = std::num::NonZeroU32::new(50).map(|per_s| Rate {
                per_s,
                routed_only: false,
            });
        };
        check("10.0.0.1", 192, slow, false);
        check("10.0.0.1", 0, |_| (), false);
        let full = check("10.0.0.1", 8_192, |_| (), true);
        assert!(full.contains("--max-unanswered 64 "), "{full}");
        check("127.0.0.1", 192, |_| (), false);
    }

    #[test]
    fn durations_are_told_in_two_units() {
        for (seconds, text) in [
            (0.0, "10 ms"),
            (0.5, "0.50 s"),
            (60.0, "60 s"),
            (200.0, "3 min 20 s"),
            (18_180.0, "5 h 3 min"),
            (1_062_000.0, "12 d 7 h"),
            (1e12, "31,688 years"),
        ] {
            assert_eq!(lasting(seconds), text);
        }
    }
}
