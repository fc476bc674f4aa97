//! What is open, a line each: as `address:port`, which httpx and nuclei read, or as masscan's list (`-oL`). Both are complete
//! lines at any time, but only a list with its last line is one of a scan that came to its end. It knows findings, no sockets.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use super::{Begin, Origin, Progress, Sink, Summary, WholeLines, ip_text};
use crate::scan::{Finding, State};

/// Writes `address:port` lines to `W`; an IPv6 address stands in brackets.
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

/// Writes masscan's list to `W`: `open tcp PORT ADDRESS SECONDS`, the latter since 1970; `# end` is the last line.
#[derive(Debug)]
pub struct MasscanList<W> {
    out: WholeLines<W>,
    started_at: SystemTime,
}

impl<W: Write> MasscanList<W> {
    /// A sink that writes to `out`.
    pub fn new(out: W) -> Self {
        MasscanList { out: WholeLines::new(out), started_at: SystemTime::UNIX_EPOCH }
    }
}

impl<W: Write> Sink for MasscanList<W> {
    fn begin(&mut self, begin: &Begin) -> io::Result<()> {
        self.started_at = begin.started_at;
        if begin.origin == Origin::Resumed {
            return Ok(());
        }
        // The word by which readers know the format.
        self.out.add(|line| writeln!(line, "#masscan"))?;
        self.out.flush()
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        if finding.state() != State::Open {
            return Ok(());
        }
        let at = self.started_at + Duration::from_micros(finding.at.us);
        let seconds = at.duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (ip, port) = (ip_text(finding.endpoint), finding.endpoint.port());
        self.out.add(|line| writeln!(line, "open tcp {port} {ip} {seconds}"))
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
    use super::*;
    use crate::report::fixture::play;

    fn written(make: impl FnOnce(&mut Vec<u8>) -> Box<dyn Sink + '_>) -> String {
        let mut text = Vec::new();
        play(make(&mut text).as_mut());
        String::from_utf8(text).unwrap()
    }

    #[test]
    fn what_is_open_is_listed() {
        assert_eq!(written(|out| Box::new(OpenList::new(out))), "192.0.2.1:22\n[fe80::1%7]:22\n[fe80::1%7]:4444\n");
        let lines = [
            "#masscan",
            "open tcp 22 192.0.2.1 1700000000",
            "open tcp 22 fe80::1%7 1700000000",
            "open tcp 4444 fe80::1%7 1700000000",
            "# end\n",
        ];
        assert_eq!(written(|out| Box::new(MasscanList::new(out))), lines.join("\n"));
    }
}
