//! nmap's XML (its nmap.dtd, xmloutputversion 1.05): a `host` element for each finished host.
//! Elements for which a connect scan has no data are left out; docs/OUTPUT.md lists the others. It
//! knows hosts and counters, no sockets.

use std::fmt::Write as _;
use std::io::Write;

use super::escape::{banner_text, printable};
use super::format::ip_text;
use super::host::Row;
use super::nmap::{Format, NmapReport, Run, doubt, state_word};
use super::{Exit, Hardware, HostReport, Listing, Summary};
use crate::plan::{Outline, Services};
use crate::scan::{State, Time};

/// The version of nmap's XML.
const XML_VERSION: &str = "1.05";

/// Writes nmap's XML to `W`.
pub type Xml<'a, W> = NmapReport<'a, W, Elements>;

/// The elements of the format.
#[derive(Debug)]
pub struct Elements;

impl<'a, W: Write> Xml<'a, W> {
    /// A sink that writes to `out` and lists the ports of `listing`; the others are counted.
    /// `scanner` is the program that the report names; nmap's DTD allows nmap only.
    pub fn new(
        out: W,
        listing: Listing,
        services: &'a Services,
        scanner: &str,
        arguments: &[String],
    ) -> Self {
        NmapReport::of(out, listing, services, scanner, arguments)
    }
}

impl Format for Elements {
    fn head(run: &Run, plan: &Outline) -> String {
        let start = run.seconds(Time::default());
        let time = run.ctime(Time::default());
        let scanner = escaped(&run.scanner);
        let arguments = escaped(&run.arguments);
        // Two hyphens would end the comment.
        let comment = escaped(&run.initiated())
            .replace("--", "-&#45;")
            .replace("--", "-&#45;");
        let version = env!("CARGO_PKG_VERSION");
        // Readers expect the first element at the beginning of a line.
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!DOCTYPE nmaprun>\n<!-- {comment} -->\n\
             <nmaprun scanner=\"{scanner}\" args=\"{arguments}\" start=\"{start}\" startstr=\"{time}\" version=\"{version}\" \
             xmloutputversion=\"{XML_VERSION}\">\n\
             <scaninfo type=\"connect\" protocol=\"tcp\" numservices=\"{}\" services=\"{}\"/>\n\
             <verbose level=\"0\"/>\n<debugging level=\"0\"/>\n",
            plan.ports.len(),
            plan.ports,
        )
    }

    fn host(run: &Run, host: &HostReport) -> String {
        let (state, reason) = match host.up_by() {
            Some(reason) => ("up", reason),
            None if run.is_forced => ("up", "user-set"),
            None => ("unknown", "no-response"),
        };
        let first = run.seconds(host.first);
        let last = run.seconds(host.last);
        let family = if host.address.is_ipv4() {
            "ipv4"
        } else {
            "ipv6"
        };
        let ip = ip_text(host.address);
        let mut text = format!(
            "<host starttime=\"{first}\" endtime=\"{last}\"><status state=\"{state}\" reason=\"{reason}\" reason_ttl=\"0\"/>\n\
             <address addr=\"{ip}\" addrtype=\"{family}\"/>\n"
        );
        if let Some(Hardware { mac, vendor }) = &host.hardware {
            let vendor = vendor.as_deref().map(escaped);
            let vendor = vendor.map_or(String::new(), |name| format!(" vendor=\"{name}\""));
            let _ = writeln!(text, "<address addr=\"{mac}\" addrtype=\"mac\"{vendor}/>");
        }
        let names = run.names.all(host.address.ip());
        let names: Vec<String> = names
            .map(|name| format!("<hostname name=\"{}\" type=\"user\"/>\n", escaped(name)))
            .collect();
        if !names.is_empty() {
            let _ = writeln!(text, "<hostnames>\n{}</hostnames>", names.concat());
        }
        if run.is_alive {
            return text + "</host>\n";
        }
        text += "<ports>";
        for state in State::ALL {
            if host.in_state(state) > 0 && !host.lists(run.listing, state) {
                extraports(&mut text, host, state);
            }
        }
        for row in host.listed(run.listing) {
            port(&mut text, row, run.services);
        }
        text += "</ports>\n</host>\n";
        text
    }

    fn tail(run: &Run, summary: &Summary) -> String {
        let end = run.seconds(summary.ended);
        let time = run.ctime(summary.ended);
        let done = escaped(&run.done(summary));
        let elapsed = summary.elapsed.us as f64 / 1e6;
        let exit = match summary.exit {
            Exit::Complete => "exit=\"success\"".into(),
            other => {
                let unscanned = summary.stats.in_state(State::Unscanned);
                format!(
                    "exit=\"error\" errormsg=\"{}: {unscanned} of {} endpoints unscanned\"",
                    other.as_str(),
                    summary.stats.planned
                )
            }
        };
        let up = run.hosts_up(summary);
        let total = run.addresses;
        let down = total.saturating_sub(up);
        let doubt = doubt(summary).map_or(String::new(), |doubt| format!("<!-- {doubt} -->\n"));
        format!(
            "{doubt}<runstats><finished time=\"{end}\" timestr=\"{time}\" summary=\"{done}\" elapsed=\"{elapsed:.2}\" {exit}/>\
             <hosts up=\"{up}\" down=\"{down}\" total=\"{total}\"/>\n</runstats>\n</nmaprun>\n",
        )
    }
}

/// The ports in a state that is not listed, as counts.
fn extraports(text: &mut String, host: &HostReport, state: State) {
    let count = host.in_state(state);
    let word = state_word(state);
    let _ = writeln!(text, "<extraports state=\"{word}\" count=\"{count}\">");
    for (reason, count) in &host.counts {
        if reason.state() == state {
            let word = reason.as_str();
            let _ = writeln!(text, "<extrareasons reason=\"{word}\" count=\"{count}\"/>");
        }
    }
    *text += "</extraports>\n";
}

/// A port that is listed.
fn port(text: &mut String, row: &Row, services: &Services) {
    let port = row.port;
    let state = state_word(row.state());
    let reason = row.reason.as_str();
    let by = row
        .reason_ip
        .map_or(String::new(), |ip| format!(" reason_ip=\"{ip}\""));
    let _ = write!(
        text,
        "<port protocol=\"tcp\" portid=\"{port}\"><state state=\"{state}\" reason=\"{reason}\" reason_ttl=\"0\"{by}/>"
    );
    // Some readers fail without one.
    let name = escaped(services.name(port).unwrap_or("unknown"));
    let _ = write!(
        text,
        "<service name=\"{name}\" method=\"table\" conf=\"3\"/>"
    );
    if let Some(banner) = &row.banner {
        let banner = escaped(&banner_text(banner));
        let _ = write!(text, "<script id=\"banner\" output=\"{banner}\"/>");
    }
    *text += "</port>\n";
}

/// Text for an attribute. What XML cannot have in any form (control characters, noncharacters) is
/// written as in Rust, `\u{1b}`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{StateSet, fixture};

    #[test]
    fn the_elements_are_nmaps() {
        let services = fixture::services();
        let mut out = Vec::new();
        let show = StateSet::states([State::Open, State::Filtered, State::Unscanned]);
        fixture::play(&mut Xml::new(
            &mut out,
            Listing::only(show),
            &services,
            "portreeve",
            &fixture::arguments(),
        ));
        fixture::golden("findings.xml", std::str::from_utf8(&out).expect("UTF-8"));
    }

    #[test]
    fn nothing_leaves_its_attribute() {
        assert_eq!(
            escaped("a<b>&\"c\"'d'-->"),
            "a&lt;b&gt;&amp;&quot;c&quot;&apos;d&apos;--&gt;"
        );
        assert_eq!(
            escaped("\x1b[2J\0\n\u{85}\u{fffe}é"),
            "\\u{1b}[2J\\u{0}\\n\\u{85}\\u{fffe}é"
        );
    }
}
