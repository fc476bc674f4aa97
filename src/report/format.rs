//! How numbers, durations, times and addresses are written; all formats share it. It reads no
//! clock.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;

use crate::scan::Time;

/// `1234567` as `1,234,567`.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 host`, `1,234 hosts`.
pub fn counted(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(count), if count == 1 { one } else { many })
}

/// The width of a table's column: that of its title, or of its longest cell.
pub(super) fn column_width<T: AsRef<str>>(title: &str, cells: impl Iterator<Item = T>) -> usize {
    let longest = cells.map(|cell| cell.as_ref().chars().count()).max();
    longest.unwrap_or(0).max(title.len())
}

/// A duration in the unit that suits it: `41 us`, `4.10 ms`, `120 ms`, `3.00 s`.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} us"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// RFC 3339, UTC, to the microsecond.
pub(super) fn timestamp(started_at: SystemTime, after: Time) -> String {
    format!("{:.6}", wall_clock(started_at, after))
}

/// A time of the scan by the wall clock. A clock beyond the year 9999 stays at its end: that is not
/// worth an error.
pub(super) fn wall_clock(started_at: SystemTime, after: Time) -> Timestamp {
    Timestamp::try_from(started_at + Duration::from_micros(after.us)).unwrap_or(Timestamp::MAX)
}

/// An endpoint's address as text, with its zone where it has one.
pub(super) fn ip_text(endpoint: SocketAddr) -> String {
    match endpoint {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        _ => endpoint.ip().to_string(),
    }
}
