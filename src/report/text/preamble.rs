//! What a verbose report begins with: the plan, the settings and the limits.

use std::fmt::Write as _;

use super::described;
use crate::report::Begin;
use crate::report::format::{counted, duration, grouped};
use crate::scan::{
    ASSUMED_NOFILE, Limits, MEMORY_SHARE, RESERVE, Rate, SOCKET_BYTES, SetBy, Timeouts,
};

/// The plan and the limits.
pub(super) fn preamble(begin: &Begin) -> String {
    let settings = begin.settings;
    let retries = counted(settings.max_retries.into(), "retry", "retries");
    let sockets = counted(begin.cap.into(), "socket", "sockets");
    let mut text = format!(
        "Scanning {}\nTimeout {}; up to {retries}; {}\nAt most {sockets} at once, set by {}:\n",
        described(begin.plan),
        timeout(settings.timeouts),
        rate(settings.rate),
        begin.cap_set_by.as_str()
    );
    limits(&mut text, &begin.limits, begin.cap_set_by);
    text
}

fn timeout(timeouts: Timeouts) -> String {
    match timeouts.fixed_us {
        Some(us) => duration(us),
        None => format!(
            "from round-trip times, {} to {}",
            duration(timeouts.min_us),
            duration(timeouts.max_us)
        ),
    }
}

fn rate(rate: Option<Rate>) -> String {
    let Some(rate) = rate else {
        return "no rate limit".into();
    };
    let where_to = if rate.routed_only {
        " through routers"
    } else {
        ""
    };
    let per_s = grouped(rate.per_s.get().into());
    format!("at most {per_s} attempts/s{where_to}")
}

/// Each limit, with a mark at the one that decides.
fn limits(text: &mut String, limits: &Limits, set_by: SetBy) {
    let mut line = |name: SetBy, words: String| {
        let mark = if name == set_by { "*" } else { " " };
        let _ = writeln!(text, " {mark} {}: {words}", name.as_str());
    };
    let reserve: Vec<String> = RESERVE
        .iter()
        .map(|(what, count)| format!("{count} for {what}"))
        .collect();
    let nofile = match limits.nofile {
        Some(u64::MAX) => "unlimited".into(),
        Some(limit) => grouped(limit),
        None => format!("{ASSUMED_NOFILE}, assumed since the system does not tell"),
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
