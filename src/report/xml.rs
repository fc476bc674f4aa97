//! nmap's XML (its nmap.dtd, xmloutputversion 1.05): a `host` element when a host is done with. It
//! knows hosts and counters, no sockets. What of nmap's elements a connect scan has nothing to say
//! in is left out; docs/OUTPUT.md lists what is there.

use std::fmt::Write as _;
use std::io::{self, Write};

use super::escape::{banner_text, printable};
use super::format::ip_text;
use super::nmap::Nmap;
use super::whole_lines::WholeLines;
use super::{Begin, Exit, HostReport, Origin, Progress, Sink, StateSet, Summary};
use crate::plan::{Outline, Services};
use crate::scan::{State, Time};

/// The version of nmap's XML that is written.
const XML_VERSION: &str = "1.05";

/// Writes nmap's XML to `W`.
#[derive(Debug)]
pub struct Xml<'a, W> {
    out: WholeLines<W>,
    show: StateSet,
    services: &'a Services,
    nmap: Nmap,
}

impl<'a, W: Write> Xml<'a, W> {
    /// A sink that writes to `out` and lists the states of `show`; the others are counted.
    /// `scanner` is who it says it is: nmap's DTD knows nmap only.
    pub fn new(
        out: W,
        show: StateSet,
        services: &'a Services,
        scanner: &str,
        arguments: &[String],
    ) -> Self {
        Xml {
            out: WholeLines::new(out),
            show,
            services,
            nmap: Nmap::new(scanner, arguments),
        }
    }

    fn head(&self, plan: &Outline) -> String {
        let start = self.nmap.seconds(Time::default());
        let time = self.nmap.ctime(Time::default());
        let scanner = escaped(&self.nmap.scanner);
        let arguments = escaped(&self.nmap.arguments);
        // Two hyphens would end the comment.
        let comment = escaped(&self.nmap.initiated())
            .replace("--", "-&#45;")
            .replace("--", "-&#45;");
        let version = env!("CARGO_PKG_VERSION");
        // Readers look for the first element at the beginning of a line.
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

    fn element(&self, host: &HostReport) -> String {
        let (state, reason) = match host.answered_by() {
            Some(reason) => ("up", reason.as_str()),
            None if self.nmap.is_forced => ("up", "user-set"),
            None => ("unknown", "no-response"),
        };
        let first = self.nmap.seconds(host.first);
        let last = self.nmap.seconds(host.last);
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
        if let Some(name) = self.nmap.names.get(host.address.ip()) {
            let _ = writeln!(
                text,
                "<hostnames>\n<hostname name=\"{}\" type=\"user\"/>\n</hostnames>",
                escaped(name)
            );
        }
        text += "<ports>";
        State::ALL
            .into_iter()
            .for_each(|state| self.folded(&mut text, host, state));
        for row in host
            .rows
            .iter()
            .filter(|row| self.show.lists(row.reason.state()))
        {
            let port = row.port;
            let state = state_word(row.reason.state());
            let reason = row.reason.as_str();
            let by = row
                .reason_ip
                .map_or(String::new(), |ip| format!(" reason_ip=\"{ip}\""));
            let _ = write!(
                text,
                "<port protocol=\"tcp\" portid=\"{port}\"><state state=\"{state}\" reason=\"{reason}\" reason_ttl=\"0\"{by}/>"
            );
            if let Some(name) = self.services.name(port) {
                let _ = write!(
                    text,
                    "<service name=\"{}\" method=\"table\" conf=\"3\"/>",
                    escaped(name)
                );
            }
            if let Some(banner) = &row.banner {
                let _ = write!(
                    text,
                    "<script id=\"banner\" output=\"{}\"/>",
                    escaped(&banner_text(banner))
                );
            }
            text += "</port>\n";
        }
        text += "</ports>\n</host>\n";
        text
    }

    /// The ports in a state that is not listed, as counts.
    fn folded(&self, text: &mut String, host: &HostReport, state: State) {
        let count = host.in_state(state);
        if count == 0 || self.show.lists(state) {
            return;
        }
        let _ = writeln!(
            text,
            "<extraports state=\"{}\" count=\"{count}\">",
            state_word(state)
        );
        for (reason, count) in host
            .counts
            .iter()
            .filter(|(reason, _)| reason.state() == state)
        {
            let _ = writeln!(
                text,
                "<extrareasons reason=\"{}\" count=\"{count}\"/>",
                reason.as_str()
            );
        }
        *text += "</extraports>\n";
    }

    fn tail(&self, summary: &Summary) -> String {
        let end = self.nmap.seconds(summary.elapsed);
        let time = self.nmap.ctime(summary.elapsed);
        let done = escaped(&self.nmap.done(summary));
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
        let up = self.nmap.hosts_up(summary);
        let total = self.nmap.addresses;
        format!(
            "<runstats><finished time=\"{end}\" timestr=\"{time}\" summary=\"{done}\" elapsed=\"{elapsed:.2}\" {exit}/>\
             <hosts up=\"{up}\" down=\"{}\" total=\"{total}\"/>\n</runstats>\n</nmaprun>\n",
            total.saturating_sub(up),
        )
    }
}

/// nmap's word for a state.
fn state_word(state: State) -> &'static str {
    match state {
        State::Unscanned => "unknown",
        other => other.as_str(),
    }
}

/// Text as it may stand in an attribute. What XML cannot have at all (control characters, in
/// whatever spelling) is told as Rust would write it, `\u{1b}`.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in printable(text).chars() {
        match letter {
            '&' => escaped += "&amp;",
            '<' => escaped += "&lt;",
            '>' => escaped += "&gt;",
            '"' => escaped += "&quot;",
            '\'' => escaped += "&apos;",
            '\u{fffe}' | '\u{ffff}' => escaped.extend(letter.escape_unicode()),
            other => escaped.push(other),
        }
    }
    escaped
}

impl<W: Write> Sink for Xml<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.nmap.begin(begin);
        if begin.origin != Origin::Resumed {
            let head = self.head(begin.plan);
            self.out.add(|out| out.write_all(head.as_bytes()))?;
        }
        self.out.flush()
    }

    fn wants_hosts(&self) -> Option<StateSet> {
        Some(self.show)
    }

    fn host(&mut self, host: &HostReport) -> io::Result<()> {
        if !self.nmap.tells_of(host) {
            return Ok(());
        }
        let element = self.element(host);
        self.out.add(|out| out.write_all(element.as_bytes()))
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, summary: &Summary) -> io::Result<()> {
        let tail = self.tail(summary);
        self.out.add(|out| out.write_all(tail.as_bytes()))?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::fixture;

    #[test]
    fn the_elements_are_nmaps() {
        let services = fixture::services();
        let mut out = Vec::new();
        let show = StateSet::states([State::Open, State::Filtered]);
        fixture::play(&mut Xml::new(
            &mut out,
            show,
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
