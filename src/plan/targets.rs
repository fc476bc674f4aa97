//! The grammar of targets. It parses and prints; it resolves nothing, opens nothing, and knows no
//! port except the one in a URL.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

/// One target as it was written. Prints in a form that parses to itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// An IPv4 address or block: `192.0.2.7`, `192.0.2.0/24`.
    V4Block {
        /// Any address in the block.
        address: Ipv4Addr,
        /// The number of leading bits that are fixed, 0 to 32.
        prefix: u8,
    },
    /// nmap's octet ranges: `10.0-1.1,3.*`.
    V4Octets(Box<[OctetSet; 4]>),
    /// An IPv6 address or block, with a zone where the address is link-local: `2001:db8::/120`,
    /// `fe80::1%eth0`.
    V6Block {
        /// Any address in the block.
        address: Ipv6Addr,
        /// The number of leading bits that are fixed, 0 to 128.
        prefix: u8,
        /// The interface that the address is reached through, by name or number.
        zone: Option<String>,
    },
    /// A host name, or the block around its address: `example.org`, `example.org/28`.
    Name {
        /// The name.
        name: String,
        /// The block's size, if one was given.
        prefix: Option<u8>,
    },
    /// A URL, of which only the host and the port matter.
    Url {
        /// `http` in `http://host/`. It decides the port where none is written.
        scheme: String,
        /// The host: an address or a name.
        host: Box<Target>,
        /// The port, where one is written.
        port: Option<u16>,
    },
}

/// Why a target was not understood. Each message says what to write instead.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// Nothing was written.
    #[error("the target is empty; write an address, a block such as 192.0.2.0/24, or a host name")]
    Empty,
    /// A prefix longer than the address.
    #[error("/{prefix} in {text:?} is no {family} prefix; it goes from /0 to /{longest}")]
    Prefix {
        /// The target.
        text: String,
        /// The text after the slash.
        prefix: String,
        /// `IPv4` or `IPv6`.
        family: &'static str,
        /// 32 or 128.
        longest: u8,
    },
    /// Not a valid IPv4 address or octet pattern.
    #[error(
        "{0:?} is no IPv4 address; write four parts of 0-255, such as 10.0.0.1, 10.0.0.1-20 or 10.0.*.1, with spaces between targets"
    )]
    NotV4(String),
    /// An octet range that counts down.
    #[error("octet range {part} in {text:?} is backwards; write {turned}")]
    Backwards {
        /// The target.
        text: String,
        /// The range.
        part: String,
        /// The same range, ascending.
        turned: String,
    },
    /// Not an IPv6 address.
    #[error("{0:?} is no IPv6 address; write it like 2001:db8::1, 2001:db8::/120 or fe80::1%eth0")]
    NotV6(String),
    /// A host followed by a port.
    #[error("{host}:{port} is not a target: give {host} as the target, and {port} as a port")]
    HostPort {
        /// The text before the colon.
        host: String,
        /// The text after the colon.
        port: String,
    },
    /// Not a host name.
    #[error(
        "{0:?} is neither an address nor a host name; names have letters, digits, - and . (others in their xn-- form)"
    )]
    NotAName(String),
    /// A URL without a host or with a port that does not exist.
    #[error("{0:?} is a URL without a usable host and port; write it like http://host:8080/")]
    NotAUrl(String),
    /// Octet ranges that fall into too many pieces.
    #[error(
        "{0:?} falls into more than {MAX_PIECES} separate ranges; write larger blocks such as 10.0.0.0/8 and exclude the rest"
    )]
    TooScattered(String),
}

/// The most separate ranges that one octet pattern may fall into: 8 MiB of memory.
pub const MAX_PIECES: usize = 1 << 20;

impl Target {
    /// Parses one target.
    ///
    /// # Errors
    /// [`TargetError`] with the offending text.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        if text.is_empty() {
            return Err(TargetError::Empty);
        }
        if let Some((scheme, rest)) = text.split_once("://") {
            return Self::parse_url(text, scheme, rest);
        }
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text, None),
        };
        if let Some((name, port)) = host
            .split_once(':')
            .filter(|(_, port)| port.parse::<u16>().is_ok() && !port.contains(':'))
            && !name.is_empty()
        {
            Err(TargetError::HostPort {
                host: name.into(),
                port: port.into(),
            })
        } else if host.contains(':') {
            Self::parse_v6(text, host, prefix)
        } else if host
            .bytes()
            .all(|b| b.is_ascii_digit() || b".*,-".contains(&b))
        {
            Self::parse_v4(text, host, prefix)
        } else {
            is_name(host)
                .then_some(())
                .ok_or_else(|| TargetError::NotAName(text.into()))?;
            let prefix = prefix.map(|p| parse_prefix(text, p, 128)).transpose()?;
            Ok(Target::Name {
                name: host.into(),
                prefix,
            })
        }
    }

    fn parse_v4(text: &str, host: &str, prefix: Option<&str>) -> Result<Self, TargetError> {
        if let Ok(address) = host.parse() {
            let prefix = prefix.map_or(Ok(32), |p| parse_prefix(text, p, 32))?;
            return Ok(Target::V4Block { address, prefix });
        }
        let mut octets = Box::new([OctetSet::default(); 4]);
        let mut parts = host.split('.');
        for octet in octets.iter_mut() {
            *octet = OctetSet::parse(text, parts.next().unwrap_or_default())?;
        }
        match (parts.next(), prefix) {
            // `10.0.0.7-7` is another way to write an address.
            (None, None) if octets.iter().all(|octet| octet.single().is_some()) => {
                let address = octets
                    .map(|octet| octet.single().unwrap_or_default())
                    .into();
                Ok(Target::V4Block {
                    address,
                    prefix: 32,
                })
            }
            (None, None) => Ok(Target::V4Octets(octets)),
            _ => Err(TargetError::NotV4(text.into())),
        }
    }

    fn parse_v6(text: &str, host: &str, prefix: Option<&str>) -> Result<Self, TargetError> {
        let (address, zone) = match host.split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (host, None),
        };
        let plain_zone = |z: &str| {
            !z.is_empty()
                && z.bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
        };
        let not_v6 = || TargetError::NotV6(text.into());
        let address: Ipv6Addr = address.parse().map_err(|_| not_v6())?;
        if zone.is_some_and(|z| !plain_zone(z)) {
            return Err(not_v6());
        }
        let prefix = prefix.map_or(Ok(128), |p| parse_prefix(text, p, 128))?;
        // An IPv4-mapped IPv6 address is the IPv4 host: it is scanned and counted as IPv4.
        match address.to_ipv4_mapped() {
            Some(address) if prefix >= 96 && zone.is_none() => Ok(Target::V4Block {
                address,
                prefix: prefix - 96,
            }),
            _ => Ok(Target::V6Block {
                address,
                prefix,
                zone: zone.map(Into::into),
            }),
        }
    }

    fn parse_url(text: &str, scheme: &str, rest: &str) -> Result<Self, TargetError> {
        let not_a_url = || TargetError::NotAUrl(text.into());
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host_port = authority.rsplit('@').next().unwrap_or_default();
        let (host, port) = match host_port
            .strip_prefix('[')
            .and_then(|rest| rest.split_once(']'))
        {
            Some((host, after)) => (host, after),
            None => host_port.split_at(host_port.find(':').unwrap_or(host_port.len())),
        };
        let port = match port.strip_prefix(':') {
            None if port.is_empty() => None,
            Some("") => None,
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => {
                Some(digits.parse().map_err(|_| not_a_url())?)
            }
            _ => return Err(not_a_url()),
        };
        if host.is_empty()
            || scheme.is_empty()
            || !scheme
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        {
            return Err(not_a_url());
        }
        let host = match Self::parse(host)? {
            octets @ Target::V4Octets(_) => return Err(TargetError::NotV4(octets.to_string())),
            host => Box::new(host),
        };
        Ok(Target::Url {
            scheme: scheme.to_ascii_lowercase(),
            host,
            port,
        })
    }
}

fn parse_prefix(text: &str, prefix: &str, longest: u8) -> Result<u8, TargetError> {
    let digits = !prefix.is_empty() && prefix.bytes().all(|b| b.is_ascii_digit());
    prefix
        .parse()
        .ok()
        .filter(|&n| digits && n <= longest)
        .ok_or_else(|| TargetError::Prefix {
            text: text.into(),
            prefix: prefix.into(),
            family: if longest == 32 { "IPv4" } else { "IPv6" },
            longest,
        })
}

/// Whether a resolver may be asked for this without surprises (RFC 1123, plus the underscore that
/// real names use).
fn is_name(text: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
            && !label.starts_with('-')
    };
    let text = text.strip_suffix('.').unwrap_or(text);
    // A resolver reads 0x7f.1 as an address. No top-level domain is a number (RFC 3696 section 2).
    let last = text.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|b| b.is_ascii_digit())
        || last.starts_with("0x")
        || last.starts_with("0X");
    text.len() <= 253 && !is_number && text.split('.').all(label)
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::V4Block {
                address,
                prefix: 32,
            } => write!(f, "{address}"),
            Target::V4Block { address, prefix } => write!(f, "{address}/{prefix}"),
            Target::V4Octets(octets) => {
                let [a, b, c, d] = &**octets;
                write!(f, "{a}.{b}.{c}.{d}")
            }
            Target::V6Block {
                address,
                prefix,
                zone,
            } => {
                write!(f, "{address}")?;
                zone.iter().try_for_each(|zone| write!(f, "%{zone}"))?;
                if *prefix == 128 {
                    Ok(())
                } else {
                    write!(f, "/{prefix}")
                }
            }
            Target::Name { name, prefix: None } => write!(f, "{name}"),
            Target::Name {
                name,
                prefix: Some(prefix),
            } => write!(f, "{name}/{prefix}"),
            Target::Url { scheme, host, port } => {
                match **host {
                    Target::V6Block { .. } => write!(f, "{scheme}://[{host}]")?,
                    _ => write!(f, "{scheme}://{host}")?,
                }
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// Which values one octet takes: a bit for each of 0 to 255.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OctetSet([u64; 4]);

impl OctetSet {
    fn parse(text: &str, octet: &str) -> Result<Self, TargetError> {
        let mut set = OctetSet::default();
        let not_v4 = || TargetError::NotV4(text.into());
        let number = |digits: &str, if_empty: u8| match digits {
            "" => Ok(if_empty),
            // Some programs read it as octal, others as decimal.
            _ if digits.len() > 1 && digits.starts_with('0') => Err(not_v4()),
            _ => digits.parse::<u8>().map_err(|_| not_v4()),
        };
        for part in octet.split(',') {
            let (first, last) = match part.split_once('-') {
                None if part == "*" => (0, 255),
                None if part.is_empty() => return Err(not_v4()),
                None => (number(part, 0)?, number(part, 0)?),
                Some((first, last)) => (number(first, 0)?, number(last, 255)?),
            };
            if first > last {
                return Err(TargetError::Backwards {
                    text: text.into(),
                    part: part.into(),
                    turned: format!("{last}-{first}"),
                });
            }
            (first..=last).for_each(|value| set.0[usize::from(value >> 6)] |= 1 << (value & 63));
        }
        Ok(set)
    }

    /// The value, if there is only one.
    fn single(&self) -> Option<u8> {
        match self.runs()[..] {
            [(first, last)] if first == last => u8::try_from(first).ok(),
            _ => None,
        }
    }

    /// The runs of neighbouring values, ascending.
    fn runs(&self) -> Vec<(u32, u32)> {
        let has = |value: &u32| self.0[(value >> 6) as usize] >> (value & 63) & 1 == 1;
        let values: Vec<u32> = (0..256).filter(has).collect();
        values
            .chunk_by(|a, b| a + 1 == *b)
            .filter_map(|run| Some((*run.first()?, *run.last()?)))
            .collect()
    }
}

impl fmt::Display for OctetSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (first, last)) in self.runs().into_iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            match (first, last) {
                (0, 255) => write!(f, "{comma}*")?,
                _ if first == last => write!(f, "{comma}{first}")?,
                _ => write!(f, "{comma}{first}-{last}")?,
            }
        }
        Ok(())
    }
}

/// The address ranges of an octet pattern, or `None` if there are more than [`MAX_PIECES`].
pub(super) fn octet_ranges(octets: &[OctetSet; 4]) -> Option<Vec<(u32, u32)>> {
    let mut ranges = vec![(0, 0)];
    for octet in octets {
        let runs = octet.runs();
        if let [(0, 255)] = runs[..] {
            for (first, last) in &mut ranges {
                *first <<= 8;
                *last = *last << 8 | 255;
            }
            continue;
        }
        // Combine every address prefix so far with every run of this octet.
        let prefixes: u64 = ranges
            .iter()
            .map(|&(first, last)| u64::from(last - first) + 1)
            .sum();
        if prefixes.saturating_mul(runs.len() as u64) > MAX_PIECES as u64 {
            return None;
        }
        ranges = ranges
            .iter()
            .flat_map(|&(first, last)| first..=last)
            .flat_map(|prefix| {
                runs.iter()
                    .map(move |&(first, last)| (prefix << 8 | first, prefix << 8 | last))
            })
            .collect();
    }
    Some(ranges)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(input: &str, expect: &str) {
        let got = match Target::parse(input) {
            Ok(target) => target.to_string(),
            Err(error) => format!("error: {error}"),
        };
        let right = match expect.strip_prefix("error: ") {
            Some(part) => got.starts_with("error: ") && got.contains(part),
            None => got == expect,
        };
        assert!(right, "{input:?} gave {got:?}");
    }

    #[test]
    fn grammar() {
        check("10.0.0.1", "10.0.0.1");
        check("10.0.0.0/8", "10.0.0.0/8");
        check("10.0.0.1-20", "10.0.0.1-20");
        check("10.0-1.1,3.-5", "10.0-1.1,3.0-5");
        check("10.0.*.250-", "10.0.*.250-255");
        check("10.0.0.7-7", "10.0.0.7");
        check("::1", "::1");
        check("2001:db8::/120", "2001:db8::/120");
        check("fe80::1%eth0", "fe80::1%eth0");
        check("fe80::%eth0/64", "fe80::%eth0/64");
        check("::ffff:127.0.0.1", "127.0.0.1");
        check("example.org", "example.org");
        check("example.org/28", "example.org/28");
        check("http://host:8080/path?x#y", "http://host:8080");
        check("HTTPS://user:pw@[::1]:8443/", "https://[::1]:8443");
        check("ssh://10.0.0.1", "ssh://10.0.0.1");
    }

    #[test]
    fn mistakes_are_named() {
        check("", "error: empty");
        check(
            "10.0.0.0/33",
            "error: /33 in \"10.0.0.0/33\" is no IPv4 prefix",
        );
        check("::/129", "error: it goes from /0 to /128");
        check("10.0.0.0/", "error: is no IPv4 prefix");
        check("10.0.0.0/+8", "error: is no IPv4 prefix");
        check("10.0.0", "error: is no IPv4 address");
        check("10.0.0.256", "error: is no IPv4 address");
        check("1.2.3.4,5.6.7.8", "error: spaces between targets");
        check(
            "10.0.0.20-10",
            "error: octet range 20-10 in \"10.0.0.20-10\" is backwards; write 10-20",
        );
        check("10.0.0.1-5/24", "error: is no IPv4 address");
        check("fe80::1%", "error: is no IPv6 address");
        check(
            "host:80",
            "error: give host as the target, and 80 as a port",
        );
        check(
            "127.0.0.1:443",
            "error: give 127.0.0.1 as the target, and 443 as a port",
        );
        check("010.0.0.1", "error: is no IPv4 address");
        check("0x7f.1", "error: neither an address nor a host name");
        check("127.0x1", "error: neither an address nor a host name");
        check("bad host", "error: neither an address nor a host name");
        check("müller.example", "error: xn--");
        check("http://", "error: URL without a usable host");
        check("http://host:99999/", "error: URL without a usable host");
        check("http://10.0.0.1-5/", "error: is no IPv4 address");
        check("-x", "error: neither an address nor a host name");
    }

    #[test]
    fn octets_become_few_ranges() {
        let ranges = |text: &str| match Target::parse(text) {
            Ok(Target::V4Octets(octets)) => octet_ranges(&octets),
            other => panic!("{other:?}"),
        };
        assert_eq!(ranges("10.0-1.1,3.0-255").unwrap().len(), 4);
        assert_eq!(
            ranges("10.*.*.*").unwrap(),
            [(10 << 24, (10 << 24) + 0xFF_FFFF)]
        );
        assert_eq!(ranges("0-255.*.*.*").unwrap(), [(0, u32::MAX)]);
        assert_eq!(ranges("10.*.*.1").unwrap().len(), 65_536);
        assert_eq!(ranges("*.*.*.1"), None);
    }

    fn any_target() -> impl Strategy<Value = String> {
        let octet = prop_oneof![
            any::<u8>().prop_map(|n| n.to_string()),
            (any::<u8>(), any::<u8>()).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
            Just("*".to_string()),
        ];
        let octets = proptest::collection::vec(octet, 4).prop_map(|parts| parts.join("."));
        let v6 = (any::<u128>(), 0..=128u8)
            .prop_map(|(bits, prefix)| format!("{}/{prefix}", Ipv6Addr::from(bits)));
        let name = "[a-z][a-z0-9]{0,8}(\\.[a-z]{2,5}){0,2}";
        let url = ("[a-z]{2,5}", "[a-z]{1,5}", any::<u16>())
            .prop_map(|(s, h, p)| format!("{s}://{h}:{p}/x"));
        prop_oneof![octets, v6, name, url]
    }

    proptest! {
        #[test]
        fn printed_targets_parse_to_themselves(text in any_target()) {
            let target = Target::parse(&text).unwrap();
            prop_assert_eq!(Target::parse(&target.to_string()), Ok(target));
        }

        #[test]
        fn any_text_is_answered(text in "[-0-9a-z.:/%*,@\\[\\]]{0,24}|.*") {
            let _ = Target::parse(&text);
        }
    }
}
