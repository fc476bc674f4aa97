//! Open ports, one a line: as `address:port`, which httpx and nuclei read, or as masscan's list.
//! Both consist of whole lines at any time; only a masscan list that has its last line is of a scan
//! that ended. It knows findings, no sockets.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::escape::banner_text;
use super::format::ip_text;
use super::whole_lines::WholeLines;
use super::{Begin, Origin, Progress, Sink, Summary};
use crate::plan::Services;
use crate::scan::{Finding, State};

/// Writes `address:port` lines to `W`; IPv6 addresses are in brackets.
#[derive(Debug)]
pub struct OpenList<W>(WholeLines<W>);

impl<W: Write> OpenList<W> {
    /// A sink that writes to `out`.
    pub fn new(out: W) -> Self {
        OpenList(WholeLines::new(out))
    }
}

impl<W: Write> Sink for OpenList<W> {
    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        match finding.state() {
            State::Open => self.0.add(|line| writeln!(line, "{}", finding.endpoint)),
            _ => Ok(()),
        }
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.0.flush()
    }

    fn end(&mut self, _: &Summary) -> io::Result<()> {
        self.0.flush()
    }
}

/// Writes masscan's list to `W`: `open tcp PORT ADDRESS SECONDS`, the seconds since 1970, and for a
/// banner `banner tcp PORT ADDRESS SECONDS SERVICE TEXT`. The last line is `# end`.
#[derive(Debug)]
pub struct MasscanList<'a, W> {
    out: WholeLines<W>,
    services: &'a Services,
    started_at: SystemTime,
}

impl<'a, W: Write> MasscanList<'a, W> {
    /// A sink that writes to `out`.
    pub fn new(out: W, services: &'a Services) -> Self {
        MasscanList {
            out: WholeLines::new(out),
            services,
            started_at: SystemTime::UNIX_EPOCH,
        }
    }
}

impl<W: Write> Sink for MasscanList<'_, W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.started_at = begin.started_at;
        if begin.origin == Origin::Resumed {
            return Ok(());
        }
        // Readers recognize the format by this word.
        self.out.add(|line| writeln!(line, "#masscan"))?;
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if finding.state() != State::Open {
            return Ok(());
        }
        let at = self.started_at + Duration::from_micros(finding.at.us);
        let seconds = at
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let ip = ip_text(finding.endpoint);
        let port = finding.endpoint.port();
        self.out.add(|line| {
            writeln!(line, "open tcp {port} {ip} {seconds}")?;
            let Some(banner) = &finding.banner else {
                return Ok(());
            };
            let service = self.services.name(port).unwrap_or("unknown");
            writeln!(
                line,
                "banner tcp {port} {ip} {seconds} {service} {}",
                banner_text(banner)
            )
        })
    }

    fn progress(&mut self, _: &Progress) -> io::Result<()> {
        self.out.flush()
    }

    fn end(&mut self, _: &Summary) -> io::Result<()> {
        self.out.add(|line| writeln!(line, "# end"))?;
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek};

    use super::*;
    use crate::report::fixture::play;

    fn written<S: Sink>(make: impl FnOnce(File) -> S) -> String {
        let mut file = tempfile::tempfile().expect("a file");
        play(&mut make(file.try_clone().expect("a descriptor")));
        let mut text = String::new();
        file.rewind()
            .and_then(|()| file.read_to_string(&mut text))
            .expect("UTF-8");
        text
    }

    #[test]
    fn what_is_open_is_listed() {
        let services = crate::report::fixture::services();
        assert_eq!(
            written(OpenList::new),
            "192.0.2.1:22\n[fe80::1%7]:22\n[fe80::1%7]:4444\n"
        );
        let (ssh, hostile) = (
            r#"ssh SSH-2.0-portreeve_test, "1"\r\n"#,
            r#"<b>&"'--> \u{1b}]0;x\u{7}\u{0}<b a='1'>&amp; --> \\x ]]>\xff\xc3\r\n1,2\u{202e}\u{9b}\u{fffe}"#,
        );
        let lines = [
            "#masscan".into(),
            "open tcp 22 192.0.2.1 1700000000".into(),
            format!("banner tcp 22 192.0.2.1 1700000000 {ssh}"),
            "open tcp 22 fe80::1%7 1700000000".into(),
            format!("banner tcp 22 fe80::1%7 1700000000 {ssh}"),
            "open tcp 4444 fe80::1%7 1700000000".into(),
            format!("banner tcp 4444 fe80::1%7 1700000000 {hostile}"),
            "# end\n".into(),
        ];
        assert_eq!(
            written(|out| MasscanList::new(out, &services)),
            lines.join("\n")
        );
    }
}
