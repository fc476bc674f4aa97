//! The hardware address that answers for a host on a link of this machine, and who made it: only
//! the values, because reports show them. How they are found out is the engine's business.

use std::fmt;

/// A MAC address (EUI-48), as Ethernet and Wi-Fi have it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct MacAddress(pub [u8; 6]);

/// As nmap writes it: `52:54:00:12:34:56`.
impl fmt::Display for MacAddress {
    fn fmt(&self, to: &mut fmt::Formatter) -> fmt::Result {
        let [a, b, c, d, e, f] = self.0;
        write!(to, "{a:02X}:{b:02X}:{c:02X}:{d:02X}:{e:02X}:{f:02X}")
    }
}

impl MacAddress {
    /// Reads what [`Display`](fmt::Display) writes.
    pub fn parse(text: &str) -> Option<Self> {
        let mut octets = text.split(':').map(|octet| {
            let is_plain = octet.len() == 2 && octet.bytes().all(|byte| byte.is_ascii_hexdigit());
            u8::from_str_radix(octet, 16).ok().filter(|_| is_plain)
        });
        let mut address = [0; 6];
        for octet in &mut address {
            *octet = octets.next()??;
        }
        octets.next().is_none().then_some(MacAddress(address))
    }
}

/// What is known of a host's network interface.
#[derive(Clone, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "cli", derive(serde::Serialize, serde::Deserialize))]
pub struct Hardware {
    /// The address that answers for the host. A router that does so in a host's place (proxy ARP)
    /// has its own here.
    pub mac: MacAddress,
    /// Who made it, if this machine has a list that says so.
    pub vendor: Option<Box<str>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_they_are_written() {
        let check = |text: &str, expect: Option<&str>| {
            let read = MacAddress::parse(text).map(|mac| mac.to_string());
            assert_eq!(read.as_deref(), expect, "{text}");
        };
        check("52:54:00:12:34:ff", Some("52:54:00:12:34:FF"));
        check("00:00:00:00:00:0A", Some("00:00:00:00:00:0A"));
        for wrong in [
            "",
            "52:54:00:12:34",
            "52:54:00:12:34:56:78",
            "52:54:00:12:34:+6",
            "52:54:00:12:34:5",
            "52-54-00-12-34-56",
        ] {
            check(wrong, None);
        }
    }
}
