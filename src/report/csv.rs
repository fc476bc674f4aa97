//! Comma-separated values (RFC 4180): a line of column names, and a line for each listed finding.
//! It knows findings, no sockets.

use std::io::{self, Write};
use std::time::SystemTime;

use super::escape::{banner_text, printable};
use super::format::{ip_text, timestamp};
use super::whole_lines::WholeLines;
use super::{Begin, Origin, Progress, Sink, StateSet, Summary};
use crate::plan::{Names, Services};
use crate::scan::Finding;

/// The columns in their order. They mean what docs/OUTPUT.md says of the JSON fields of these
/// names.
const COLUMNS: [&str; 12] = [
    "ip",
    "host",
    "port",
    "protocol",
    "state",
    "reason",
    "reason_ip",
    "rtt_us",
    "attempts",
    "service",
    "timestamp",
    "banner",
];

/// Writes comma-separated values to `W`.
#[derive(Debug)]
pub struct Csv<'a, W> {
    out: WholeLines<W>,
    show: StateSet,
    services: &'a Services,
    started_at: SystemTime,
    names: Names,
}

impl<'a, W: Write> Csv<'a, W> {
    /// A sink that writes to `out` and lists the states of `show`.
    pub fn new(out: W, show: StateSet, services: &'a Services) -> Self {
        Csv {
            out: WholeLines::new(out),
            show,
            services,
            started_at: SystemTime::UNIX_EPOCH,
            names: Names::default(),
        }
    }
}

impl<W: Write> Sink for Csv<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.started_at = begin.started_at;
        self.names = begin.plan.names.clone();
        if begin.origin == Origin::Resumed {
            return Ok(());
        }
        self.out
            .add(|line| writeln!(line, "{}", COLUMNS.join(",")))?;
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if !self.show.lists(finding.state()) {
            return Ok(());
        }
        let port = finding.endpoint.port();
        let values: [&str; COLUMNS.len()] = [
            &ip_text(finding.endpoint),
            &self
                .names
                .of(finding.endpoint)
                .map_or(String::new(), |name| harmless(printable(name))),
            &port.to_string(),
            "tcp",
            finding.state().as_str(),
            finding.reason.as_str(),
            &finding.reason_ip.map_or(String::new(), |ip| ip.to_string()),
            &finding.rtt_us.map_or(String::new(), |us| us.to_string()),
            &finding.attempts.to_string(),
            self.services.name(port).unwrap_or_default(),
            &timestamp(self.started_at, finding.at),
            &finding
                .banner
                .as_deref()
                .map_or(String::new(), |banner| harmless(banner_text(banner))),
        ];
        self.out.add(|line| {
            for (i, value) in values.into_iter().enumerate() {
                write!(line, "{}{}", if i > 0 { "," } else { "" }, quoted(value))?;
            }
            writeln!(line)
        })
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, _: &Summary) -> io::Result<()> {
        self.out.flush()
    }
}

/// A text of a stranger's that no spreadsheet takes for a formula: if it begins like one, behind
/// blanks or not, the sign is escaped like a control character.
fn harmless(text: String) -> String {
    let begin = text.trim_start();
    match begin.as_bytes().first() {
        Some(sign @ (b'=' | b'+' | b'-' | b'@')) => {
            let blanks = &text[..text.len() - begin.len()];
            format!("{blanks}\\x{sign:02x}{}", &begin[1..])
        }
        _ => text,
    }
}

/// Quotes a value that would be read as several.
fn quoted(value: &str) -> std::borrow::Cow<'_, str> {
    if value.contains(['"', ',', '\n', '\r']) {
        format!("\"{}\"", value.replace('"', "\"\"")).into()
    } else {
        value.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture::{self, golden, play};
    use crate::scan::State;

    #[test]
    fn findings_are_lines() {
        let mut text = Vec::new();
        let services = fixture::services();
        play(&mut Csv::new(
            &mut text,
            StateSet::states(State::ALL),
            &services,
        ));
        golden("findings.csv", &String::from_utf8(text).unwrap());
    }

    #[test]
    fn a_banner_is_no_formula() {
        for (text, expect) in [
            ("=1+1", r"\x3d1+1"),
            (" =1+1", r" \x3d1+1"),
            ("   @a", r"   \x40a"),
            ("220 +-=", "220 +-="),
            ("", ""),
            (" ", " "),
        ] {
            assert_eq!(harmless(text.into()), expect);
        }
        assert_eq!(harmless(banner_text(b"\t=1")), r"\t=1");
    }

    #[test]
    fn a_value_never_becomes_two() {
        assert_eq!(quoted("a.test"), "a.test");
        assert_eq!(quoted("a,\"b\"\r\n"), "\"a,\"\"b\"\"\r\n\"");
    }
}
