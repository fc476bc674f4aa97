//! The library's errors in the command's words. The library speaks of values; this adds the options
//! to type, where that helps.

use std::net::Ipv4Addr;

use portreeve::engine;
use portreeve::plan::{Family, PlanError, TargetError, Warning};
use portreeve::report::ReadError;
use portreeve::report::merge::MergeError;

/// The option that restricts a scan to one family.
fn only(family: Family) -> &'static str {
    match family {
        Family::V4 => "-4",
        Family::V6 => "-6",
        Family::Both => "-4 or -6",
    }
}

/// A target that was not understood.
pub fn target(error: &TargetError) -> String {
    match error {
        TargetError::NotV4(text) => not_v4(text).unwrap_or_else(|| error.to_string()),
        TargetError::NotV6(_) => format!("{error} (some ports of it: [2001:db8::1]:443)"),
        TargetError::TooScattered(_) => format!("{error} with --exclude"),
        error => error.to_string(),
    }
}

/// What was meant by something that is no IPv4 address, if that can be told.
fn not_v4(text: &str) -> Option<String> {
    let host_and_port = text
        .split_once(',')
        .filter(|(host, port)| host.parse::<Ipv4Addr>().is_ok() && port.parse::<u16>().is_ok());
    Some(match host_and_port {
        Some((host, port)) => {
            format!("{text:?} is no target; to scan a port there, write {host}:{port}")
        }
        None if text == "-" => {
            "\"-\" is no target in a list; write a range without blanks, as in 10.0.0.1-10.0.0.20"
                .into()
        }
        // What follows a blank behind -p is a target to the command line.
        None if !text.contains('.') => format!(
            "{text:?} is no target; write ports with commas between them, as in -p 22,{text}"
        ),
        None => return None,
    })
}

/// What was left out of a plan, and what else is to be known of it, as a line.
pub fn warning_line(about: &Warning) -> String {
    let kind = if about.is_loss() { "warning" } else { "note" };
    format!("{kind}: {}", warning(about))
}

/// A target that was left out.
fn warning(warning: &Warning) -> String {
    match warning {
        Warning::OtherFamily { target, wanted } => format!(
            "not scanned, because {} asks for {wanted} only: {target}",
            only(*wanted)
        ),
        Warning::OwnMachine { address, .. } if !address.is_unspecified() => {
            format!("{warning}; for this machine, write {address}")
        }
        Warning::MoreAddresses { .. } => format!("{warning} (--resolve-all scans them)"),
        warning => warning.to_string(),
    }
}

/// A plan that cannot be built.
pub fn plan(error: &PlanError) -> String {
    match error {
        PlanError::Target(error) => target(error),
        PlanError::AllExcluded => {
            "nothing is left to scan: --exclude takes every target away".into()
        }
        PlanError::NothingLeft(left_out) => {
            format!("nothing is left to scan: {}", warning(left_out))
        }
        PlanError::NoPorts => {
            "no port is left to scan; --exclude-ports takes away all that -p names".into()
        }
        error => error.to_string(),
    }
}

/// Shards that cannot be joined.
pub fn merge(error: &MergeError) -> String {
    match error {
        MergeError::Unread(error) => unread(error),
        MergeError::Stranger { .. } => format!("{error} (--seed)"),
        MergeError::Nothing => format!("{error}, written with -oJ"),
    }
}

/// A report that cannot be read.
pub fn unread(error: &ReadError) -> String {
    match error {
        ReadError::Line { .. } => format!("{error} with --json or -oJ"),
        error => error.to_string(),
    }
}

/// A scan that cannot begin or continue.
pub fn engine(error: &engine::Error) -> String {
    match error {
        engine::Error::SourceFamily { family } => {
            let other = match family {
                Family::V4 => Family::V6,
                _ => Family::V4,
            };
            format!(
                "targets are {family} too, and no {family} source address is given; \
                 add one with -S, or leave out these targets with {}",
                only(other)
            )
        }
        engine::Error::Listeners(_) => format!("{error}; leave --verify-local out"),
        error => error.to_string(),
    }
}
