//! The grammar of targets. It parses and prints; it resolves nothing, opens nothing, and knows no
//! ports except those that stand beside a host.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::octets::{MAX_PIECES, OctetSet};
use super::{PortError, PortSet, Services};

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
    /// IPv4 addresses from one to another: `10.0.0.1-10.0.0.20`.
    V4Range {
        /// The first one.
        first: Ipv4Addr,
        /// The last one.
        last: Ipv4Addr,
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
    /// A host with ports of its own: `192.0.2.5:80`, `[2001:db8::1]:443`, `name:8000-8010,9000`.
    WithPorts {
        /// The host: one address, a block or a name.
        host: Box<Target>,
        /// The ports that are scanned there.
        ports: PortSet,
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
        "{0:?} is no IPv4 address; write four parts of 0-255, such as 10.0.0.1, 10.0.0.1-20, 10.0.*.1 or 10.0.0.1-10.0.1.20"
    )]
    NotV4(String),
    /// A mask that is no prefix.
    #[error(
        "{mask} in {text:?} is no network mask; write a prefix such as /24, or a mask such as 255.255.255.0"
    )]
    Mask {
        /// The target.
        text: String,
        /// The text after the slash.
        mask: String,
    },
    /// A range of octets or addresses that counts down.
    #[error("range {part} in {text:?} is backwards; write {turned}")]
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
    /// Ports beside a host that are none.
    #[error("in {text:?}: {error}")]
    Ports {
        /// The target.
        text: String,
        /// What is wrong with the ports.
        error: PortError,
    },
    /// Ports in what is to be left out.
    #[error("{text} cannot be left out: whole addresses are left out; write {host}")]
    ExcludedPorts {
        /// The target.
        text: String,
        /// Its host.
        host: String,
    },
    /// A link-local address that does not say on which link.
    #[error(
        "{0} is on every link of this machine; add the device to reach it through, as in fe80::1%eth0"
    )]
    NoZone(String),
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
        match host_and_ports(text) {
            Some((host, ports)) => Self::parse_with_ports(text, host, ports),
            None => Self::parse_host(text),
        }
    }

    /// Parses targets with blanks or commas between them. An octet list (`10.0.0.1,3`) and ports
    /// (`host:80,443`) contain commas themselves, so whole words are tried first.
    ///
    /// # Errors
    /// [`TargetError`] with the offending text.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, TargetError> {
        let mut targets = Vec::new();
        for word in text.split(is_blank).filter(|word| !word.is_empty()) {
            match Self::parse(word) {
                Ok(target) => targets.push(target),
                Err(error) if !word.contains(',') => return Err(error),
                Err(error) => {
                    let parts: Result<Vec<_>, _> = word.split(',').map(Self::parse).collect();
                    targets.extend(parts.map_err(|_| error)?);
                }
            }
        }
        Ok(targets)
    }

    /// What has to be looked up for it: a name, or an address with a zone.
    pub(super) fn looked_up(&self) -> Option<String> {
        match self {
            Target::Name { name, .. } => Some(name.clone()),
            Target::V6Block {
                address,
                zone: Some(zone),
                ..
            } => Some(format!("{address}%{zone}")),
            Target::WithPorts { host, .. } | Target::Url { host, .. } => host.looked_up(),
            _ => None,
        }
    }

    /// Whether it is link-local, and its zone is missing (RFC 4007 section 6).
    pub fn lacks_zone(&self) -> bool {
        match self {
            Target::V6Block {
                address,
                zone: None,
                ..
            } => address.is_unicast_link_local(),
            Target::WithPorts { host, .. } | Target::Url { host, .. } => host.lacks_zone(),
            _ => false,
        }
    }

    /// Whether it may be excluded: what is left out is left out on every port.
    ///
    /// # Errors
    /// [`TargetError::ExcludedPorts`].
    pub fn check_exclusion(&self) -> Result<(), TargetError> {
        match self {
            Target::WithPorts { host, .. } => Err(TargetError::ExcludedPorts {
                text: self.to_string(),
                host: host.to_string(),
            }),
            _ => Ok(()),
        }
    }

    fn parse_with_ports(text: &str, host: &str, ports: &str) -> Result<Self, TargetError> {
        let host = Self::parse_host(host)?;
        if ports.is_empty() {
            // Brackets alone.
            return Ok(host);
        }
        let has_names = ports.contains(|letter: char| letter.is_alphabetic());
        let services = if has_names {
            Services::built_in()
        } else {
            Services::default()
        };
        let ports = PortSet::parse(&ports[1..], &services);
        Ok(Target::WithPorts {
            host: host.into(),
            ports: ports.map_err(|error| TargetError::Ports {
                text: text.into(),
                error,
            })?,
        })
    }

    fn parse_host(text: &str) -> Result<Self, TargetError> {
        let (host, prefix) = match text.split_once('/') {
            Some((host, prefix)) => (host, Some(prefix)),
            None => (text, None),
        };
        if host.contains(':') {
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
            let prefix = prefix.map_or(Ok(32), |p| match p.parse() {
                Ok(mask) => prefix_of_mask(text, mask),
                Err(_) => parse_prefix(text, p, 32),
            })?;
            return Ok(Target::V4Block { address, prefix });
        }
        let ends = host.split_once('-');
        if let Some((Ok(first), Ok(last))) = ends.map(|(a, b)| (a.parse(), b.parse()))
            && prefix.is_none()
        {
            return Self::v4_range(text, first, last);
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

    fn v4_range(text: &str, first: Ipv4Addr, last: Ipv4Addr) -> Result<Self, TargetError> {
        if first > last {
            return Err(TargetError::Backwards {
                text: text.into(),
                part: text.into(),
                turned: format!("{last}-{first}"),
            });
        }
        Ok(Target::V4Range { first, last })
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
        // In a URL, a zone's percent sign is written as %25 (RFC 6874).
        let host = match host.split_once("%25") {
            Some((address, zone)) if !zone.is_empty() => format!("{address}%{zone}"),
            _ => host.into(),
        };
        let host = match Self::parse_host(&host)? {
            many @ (Target::V4Octets(_) | Target::V4Range { .. }) => {
                return Err(TargetError::NotV4(many.to_string()));
            }
            host => Box::new(host),
        };
        Ok(Target::Url {
            scheme: scheme.to_ascii_lowercase(),
            host,
            port,
        })
    }
}

/// A host in brackets, or one before the only colon, and what follows it: `:` and ports, or nothing
/// after brackets.
fn host_and_ports(text: &str) -> Option<(&str, &str)> {
    if let Some((host, ports)) = text.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        let is_v6 = host.contains(':') && (ports.is_empty() || ports.starts_with(':'));
        return is_v6.then_some((host, ports));
    }
    let at = text.find(':').filter(|&at| at > 0)?;
    let (host, ports) = text.split_at(at);
    (!ports[1..].contains(':')).then_some((host, ports))
}

/// Whether a letter separates targets. Zero-width spaces, which nobody sees, come with what is
/// copied from a web page.
fn is_blank(letter: char) -> bool {
    letter.is_whitespace() || matches!(letter, '\u{200b}' | '\u{2060}' | '\u{feff}')
}

/// The prefix that a mask such as 255.255.255.0 stands for.
fn prefix_of_mask(text: &str, mask: Ipv4Addr) -> Result<u8, TargetError> {
    let ones = mask.to_bits().leading_ones();
    if mask.to_bits().count_ones() == ones {
        return Ok(ones as u8);
    }
    Err(TargetError::Mask {
        text: text.into(),
        mask: mask.to_string(),
    })
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
            Target::V4Range { first, last } => write!(f, "{first}-{last}"),
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
            Target::WithPorts { host, ports } => write!(f, "{}:{ports}", Bracketed(host)),
            Target::Url { scheme, host, port } => {
                write!(f, "{scheme}://{}", Bracketed(host))?;
                port.map_or(Ok(()), |port| write!(f, ":{port}"))
            }
        }
    }
}

/// A host that a port may follow.
struct Bracketed<'a>(&'a Target);

impl fmt::Display for Bracketed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            host @ Target::V6Block { .. } => write!(f, "[{host}]"),
            host => write!(f, "{host}"),
        }
    }
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
        check("10.0.0.1-10.0.1.20", "10.0.0.1-10.0.1.20");
        check("10.0.0.0/255.255.255.0", "10.0.0.0/24");
        check("10.0.0.0/0.0.0.0", "10.0.0.0/0");
        check("http://[fe80::1%25eth0]:80/", "http://[fe80::1%eth0]:80");
        check("http://[fe80::1%25]/", "http://[fe80::1%25]");
    }

    #[test]
    fn hosts_have_ports_of_their_own() {
        check("192.0.2.5:80", "192.0.2.5:80");
        check("192.0.2.5:80,443,8000-8010", "192.0.2.5:80,443,8000-8010");
        check("192.0.2.0/24:-", "192.0.2.0/24:1-65535");
        check("10.0.0.1-5,9:80", "10.0.0.1-5,9:80");
        check("10.0.0.1-10.0.0.9:80", "10.0.0.1-10.0.0.9:80");
        check("[2001:db8::1]:443", "[2001:db8::1]:443");
        check("[2001:db8::/120]:443", "[2001:db8::/120]:443");
        check("[fe80::1%eth0]:22", "[fe80::1%eth0]:22");
        check("[::1]", "::1");
        check("name:8000-8010,9000", "name:8000-8010,9000");
        check("host:", "error: has an empty entry");
        check(
            "host:99999",
            "error: in \"host:99999\": port 99999 does not exist",
        );
        check("host:ssh,https", "host:22,443");
        check("host:nonesuch", "error: give the port's number");
        check("host:80/tcp", "error: \"80/tcp\" is no port");
        check("[host]:80", "error: is no IPv6 address");
        check("[::1]80", "error: is no IPv6 address");
        check("[::1", "error: is no IPv6 address");
        check("300.1.1.1:80", "error: \"300.1.1.1\" is no IPv4 address");
        check("bad_host!:80", "error: neither an address nor a host name");
    }

    #[test]
    fn blanks_and_commas_separate_targets() {
        let all = |text: &str| match Target::parse_all(text) {
            Ok(targets) => targets
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Err(error) => error.to_string(),
        };
        assert_eq!(all("10.0.0.1,10.0.0.2"), "10.0.0.1 10.0.0.2");
        assert_eq!(all("10.0.0.1,3"), "10.0.0.1,3", "an octet list");
        assert_eq!(all("10.0.0.0/24,::1,a.test"), "10.0.0.0/24 ::1 a.test");
        assert_eq!(all("h:80,443"), "h:80,443", "ports of one host");
        assert_eq!(all("10.0.0.1:80,10.0.0.2:81"), "10.0.0.1:80 10.0.0.2:81");
        assert_eq!(all(" ::1\u{a0}::2\u{200b}\n::3 "), "::1 ::2 ::3");
        assert_eq!(all(" \t"), "");
        assert!(all("10.0.0.1,").contains("\"10.0.0.1,\""));
        assert!(all("10.0.0.1,300").contains("is no IPv4 address"));
        assert!(all("::1 b!").contains("\"b!\""));
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
        check(
            "10.0.0.20-10",
            "error: range 20-10 in \"10.0.0.20-10\" is backwards; write 10-20",
        );
        check("10.0.0.1-5/24", "error: is no IPv4 address");
        check("fe80::1%", "error: is no IPv6 address");
        check("10.0.0.9-10.0.0.1", "error: write 10.0.0.1-10.0.0.9");
        check("10.0.0.1-10.0.0.9/24", "error: is no IPv4 address");
        check("10.0.0.0/255.0.255.0", "error: 255.0.255.0 in");
        check("10.0.0.0/0.0.0.255", "error: is no network mask");
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
        let range = (any::<u32>(), any::<u32>()).prop_map(|(a, b)| {
            let [first, last] = [a.min(b), a.max(b)].map(Ipv4Addr::from);
            format!("{first}-{last}")
        });
        let host = prop_oneof![
            octets.clone(),
            v6.clone().prop_map(|v6| format!("[{v6}]")),
            name
        ];
        let with_ports = (host, any::<u16>()).prop_map(|(host, port)| format!("{host}:{port}"));
        prop_oneof![octets, v6, name, url, range, with_ports]
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
