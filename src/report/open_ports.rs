//! On how many addresses each port is open. A port that is open on nearly every address of a plan
//! hardly belongs to all of them: something on the way answers in their place. It knows findings,
//! no formats.

use std::collections::BTreeMap;

use crate::scan::{Finding, State};

/// So many addresses may well have the same services …
const MANY_ADDRESSES: u64 = 16;
/// … and so many of a hundred addresses of a block, where others are empty, do not.
const NEARLY_ALL_PERCENT: u64 = 95;

/// Counts open ports over all addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct OpenPorts(BTreeMap<u16, u32>);

/// A port that is open on nearly every address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize))]
pub struct OpenEverywhere {
    /// The port.
    pub port: u16,
    /// On how many addresses it is open.
    pub addresses: u32,
}

impl OpenPorts {
    /// Counts a finding, if it is an open port.
    pub fn add(&mut self, finding: &Finding) {
        if finding.state() == State::Open {
            *self.0.entry(finding.endpoint.port()).or_default() += 1;
        }
    }

    /// The ports that are open on nearly all of a plan's addresses, if these are many.
    pub fn everywhere(&self, addresses: u64) -> Vec<OpenEverywhere> {
        let is_nearly_all = |open: u64| {
            open >= MANY_ADDRESSES && open * 100 >= addresses.saturating_mul(NEARLY_ALL_PERCENT)
        };
        let counts = self.0.iter();
        counts
            .filter(|(_, open)| is_nearly_all(u64::from(**open)))
            .map(|(&port, &addresses)| OpenEverywhere { port, addresses })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scan::{Reason, Time};

    fn check(open: u32, of: u64, expect: bool) {
        let mut ports = OpenPorts::default();
        let found = |host: u32, reason| Finding {
            endpoint: ((0x0a00_0000 + host).to_be_bytes(), 25).into(),
            reason,
            reason_ip: None,
            rtt_us: None,
            attempts: 1,
            banner: None,
            at: Time::default(),
        };
        (0..open).for_each(|host| ports.add(&found(host, Reason::SynAck)));
        (0..99).for_each(|host| ports.add(&found(open + host, Reason::ConnRefused)));
        let everywhere = OpenEverywhere {
            port: 25,
            addresses: open,
        };
        let expect: Vec<_> = expect.then_some(everywhere).into_iter().collect();
        assert_eq!(ports.everywhere(of), expect, "{open} of {of}");
    }

    #[test]
    fn open_nearly_everywhere_is_more_than_often_open() {
        check(512, 512, true);
        check(487, 512, true);
        check(486, 512, false);
        check(16, 16, true);
        check(15, 15, false);
        check(0, 0, false);
    }
}
