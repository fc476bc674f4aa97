//! The hosts of a text report where their tables would not fit on the screen: a line for each, with
//! the open ports by name and what answers for it. It knows findings and the screen's width.

use std::fmt::Write as _;
use std::io::Write;

use super::{Text, hardware};
use crate::report::HostReport;
use crate::report::format::grouped;
use crate::report::wrap::{NO_BREAK, hanging};
use crate::scan::State;

/// Ports of a state that is not always listed are named if there are no more of them.
const FEW_IN_A_LINE: usize = 3;
/// Addresses and names take one part in so many of a line, so that there is room for ports.
const HEADING_SHARE: usize = 3;

impl<W: Write> Text<'_, W> {
    /// A line for each host, wrapped at so many columns.
    pub(super) fn compact(&self, columns: usize) -> String {
        let headings = || self.told().map(|host| self.heading(host.address));
        let longest = headings().map(|heading| heading.chars().count()).max();
        let wide = longest.unwrap_or(0).min(columns / HEADING_SHARE);
        let mut text = String::from("\n");
        for (heading, host) in headings().zip(self.told()) {
            let heading = self.style.paint(&format!("{heading:wide$}"), "1");
            let mac = host.hardware.as_ref().map(hardware);
            let mac = mac.map_or(String::new(), |mac| format!("; MAC{NO_BREAK}{mac}"));
            let line = format!("{heading}  {}{mac}", self.ports(host));
            let _ = writeln!(text, "{}", hanging(&line, columns, wide + 2));
        }
        text += "-v shows a table for each host\n";
        self.untold(&mut text);
        text
    }

    /// `open 22 ssh, 80 http; closed 23 telnet`, or counts where no port is named: `100 closed`.
    fn ports(&self, host: &HostReport) -> String {
        let named = State::ALL.map(|state| self.named(host, state));
        let named: Vec<String> = named.into_iter().flatten().collect();
        if !named.is_empty() {
            return named.join("; ");
        }
        let counts = State::ALL.map(|state| (host.in_state(state), state.as_str()));
        let counts = counts.iter().filter(|(count, _)| *count > 0);
        let counts = counts.map(|&(count, state)| format!("{} {state}", grouped(count.into())));
        counts.collect::<Vec<_>>().join(", ")
    }

    /// The ports of a state by number and service, if they have room. A service is not parted from
    /// its number.
    fn named(&self, host: &HostReport, state: State) -> Option<String> {
        let listing = self.style.listing;
        let rows = host.listed(listing).filter(|row| row.state() == state);
        let ports: Vec<String> = rows
            .map(|row| match self.services.name(row.port) {
                Some(service) => format!("{}{NO_BREAK}{service}", row.port),
                None => row.port.to_string(),
            })
            .collect();
        let has_room = listing.always.lists(state) || ports.len() <= FEW_IN_A_LINE;
        (has_room && !ports.is_empty()).then(|| {
            let state = self.style.painted(state);
            format!("{state}{NO_BREAK}{}", ports.join(", "))
        })
    }
}
